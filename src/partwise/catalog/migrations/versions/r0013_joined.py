"""An index of the few uploads that were joined from parts, which each process looks for every few seconds."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    where = sa.text("parts <> '[]'")
    op.create_index("ix_uploads_joined", "uploads", ["id"], sqlite_where=where, postgresql_where=where)
