"""Artifacts are found by their name: by its first characters, as PostgreSQL refuses longer entries of an index."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_artifact_links_name",
        "artifact_links",
        [sa.text("substr(filename, 1, 100)"), "owner", "created", "id"],
    )
