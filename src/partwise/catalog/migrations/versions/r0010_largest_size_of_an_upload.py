"""The largest size that an application allowed an upload whose size is declared later."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("largest", sa.BigInteger()))
