"""Uploads that the server commits by itself, and those that are made of others."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("auto_commit", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("uploads", sa.Column("parts", sa.Text(), nullable=False, server_default="[]"))
