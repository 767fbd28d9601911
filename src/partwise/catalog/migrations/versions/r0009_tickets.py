"""Tickets, each of which opens one upload, and what applications note of their uploads."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("metadata", sa.Text(), nullable=False, server_default="{}"))
    op.create_table(
        "tickets",
        sa.Column("sha256", sa.String(), primary_key=True),
        sa.Column(
            "upload_id",
            sa.String(),
            sa.ForeignKey("uploads.id", name="fk_tickets_upload_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("created", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_tickets_upload_id", "tickets", ["upload_id"])
