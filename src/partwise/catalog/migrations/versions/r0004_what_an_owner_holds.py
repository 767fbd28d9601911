"""What an owner holds is added up at each creation: its open uploads by their state, its artifacts from one index."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_uploads_owner_state_created_id", "uploads", ["owner", "state", "created", "id"])
    op.add_column("artifact_links", sa.Column("size", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(
        "UPDATE artifact_links SET size = (SELECT size FROM artifacts WHERE artifacts.sha256 = artifact_links.sha256)"
    )
    op.create_index("ix_artifact_links_owner_size", "artifact_links", ["owner", "size"])
