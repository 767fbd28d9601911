"""Digests of files beside their SHA-256: which an upload is to have, which it has, and which a link's content has."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("checksums", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("uploads", sa.Column("digests", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("artifact_links", sa.Column("digests", sa.Text(), nullable=False, server_default="{}"))
