"""The name under which the artifact of a completed upload is kept. Uploads of earlier servers have none."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("artifact_filename", sa.Text()))
