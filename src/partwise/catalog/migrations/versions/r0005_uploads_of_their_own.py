"""Ids of uploads are never used again; files of one request are hidden; room of undeclared size is counted."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("join_key", sa.String()))
    op.add_column("uploads", sa.Column("internal", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("uploads", sa.Column("reserved", sa.BigInteger(), nullable=False, server_default="0"))
    # The id of a joined upload was its key until now, a UUID of version 5; all others were random ones.
    op.execute("UPDATE uploads SET join_key = id WHERE id LIKE '______________5%' AND state <> 'deleting'")
    op.execute("UPDATE uploads SET reserved = received WHERE size IS NULL")
    op.create_index("ix_uploads_join_key", "uploads", ["join_key"], unique=True)
    _listings()


def _listings() -> None:
    """Lists leave internal uploads out: their indexes have the column, so that no row is looked at to count them."""
    op.drop_index("ix_uploads_state_completed", "uploads")
    op.drop_index("ix_uploads_owner_state_created_id", "uploads")
    op.create_index("ix_uploads_state_completed_internal", "uploads", ["state", "completed", "internal"])
    op.create_index(
        "ix_uploads_owner_state_created_id_internal", "uploads", ["owner", "state", "created", "id", "internal"]
    )
