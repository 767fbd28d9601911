"""What an upload of undeclared size has reserved, and uploads that exist for one request."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("reserved", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("uploads", sa.Column("internal", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index(
        "ix_uploads_internal",
        "uploads",
        ["id"],
        sqlite_where=sa.text("internal = 1"),
        postgresql_where=sa.text("internal"),
    )
