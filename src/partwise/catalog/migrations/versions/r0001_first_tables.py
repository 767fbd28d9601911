"""The first tables: uploads, chunks, artifacts, links, tasks, tokens, meta."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _uploads()
    _chunks()
    _artifacts()
    _tasks()
    _tokens()
    op.create_table(
        "meta", sa.Column("key", sa.String(), primary_key=True), sa.Column("value", sa.Text(), nullable=False)
    )


def _uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger()),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("durable_seq", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("chunk_count", sa.BigInteger(), nullable=False),
        sa.Column("hashed", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String()),
        sa.Column("declared_sha256", sa.String()),
        sa.Column("expected_sha256", sa.String()),
        sa.Column("filename", sa.Text()),
        sa.Column("media_type", sa.Text()),
        sa.Column("completed", sa.BigInteger()),
        sa.Column("artifact_id", sa.String()),
        sa.Column("sha256", sa.String()),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("search_name", sa.Text(), nullable=False),
    )
    op.create_index("ix_uploads_owner_created_id", "uploads", ["owner", "created", "id"])
    op.create_index("ix_uploads_created_id", "uploads", ["created", "id"])
    op.create_index("ix_uploads_state_completed", "uploads", ["state", "completed"])


def _chunks() -> None:
    op.create_table(
        "chunks",
        sa.Column(
            "upload_id", sa.String(), sa.ForeignKey("uploads.id", name="fk_chunks_upload_id", ondelete="CASCADE")
        ),
        sa.Column("offset", sa.BigInteger(), autoincrement=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String()),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.Column("ref", sa.String()),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("upload_id", "offset", name="pk_chunks"),
        sa.CheckConstraint('"offset" >= 0 AND size > 0', name="ck_chunks_range"),
        sqlite_with_rowid=False,
    )


def _artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("sha256", sa.String(), primary_key=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "artifact_links",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column(
            "sha256", sa.String(), sa.ForeignKey("artifacts.sha256", name="fk_artifact_links_sha256"), nullable=False
        ),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("filename", sa.Text()),
        sa.Column("media_type", sa.Text()),
        sa.Column("search_name", sa.Text(), nullable=False),
        sa.UniqueConstraint("owner", "sha256", name="uq_artifact_links_owner_sha256"),
    )
    op.create_index("ix_artifact_links_sha256", "artifact_links", ["sha256"])
    op.create_index("ix_artifact_links_owner_created_id", "artifact_links", ["owner", "created", "id"])
    op.create_index("ix_artifact_links_created_id", "artifact_links", ["created", "id"])


def _tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("upload_id", sa.String(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("finished", sa.BigInteger()),
        sa.Column("artifact_id", sa.String()),
        sa.Column("error", sa.Text()),
        sa.Column("found_sha256", sa.String()),
    )
    op.create_index("ix_tasks_upload_id_created_id", "tasks", ["upload_id", "created", "id"])
    op.create_index("ix_tasks_owner_created_id", "tasks", ["owner", "created", "id"])
    op.create_index("ix_tasks_created_id", "tasks", ["created", "id"])


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("last_used", sa.BigInteger()),
        sa.Column("revoked", sa.BigInteger()),
        sa.UniqueConstraint("sha256", name="uq_tokens_sha256"),
    )
