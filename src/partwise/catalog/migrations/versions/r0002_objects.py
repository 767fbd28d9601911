"""What a storage of immutable objects keeps records of: the segments of artifacts, and objects that nothing needs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "segments",
        sa.Column(
            "sha256",
            sa.String(),
            sa.ForeignKey("artifacts.sha256", name="fk_segments_sha256", ondelete="CASCADE"),
        ),
        sa.Column("offset", sa.BigInteger(), autoincrement=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("ref", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", "offset", name="pk_segments"),
        sa.UniqueConstraint("ref", name="uq_segments_ref"),
    )
    op.create_table(
        "garbage",
        sa.Column("ref", sa.String(), primary_key=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_garbage_since", "garbage", ["since"])
