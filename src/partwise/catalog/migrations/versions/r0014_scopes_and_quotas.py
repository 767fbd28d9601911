"""Tokens that expire or allow less, and quotas of single users."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tokens", sa.Column("expires", sa.BigInteger()))
    op.add_column("tokens", sa.Column("scope", sa.String(), nullable=False, server_default="all"))
    op.create_table(
        "quotas",
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("bytes", sa.BigInteger()),
    )
