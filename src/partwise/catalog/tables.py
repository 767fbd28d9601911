"""The tables, and the types that carry records in and out of them. The migrations make them; a test compares both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    func,
    literal_column,
    text,
)

from partwise.core.events import EventType
from partwise.core.records import Artifact, Chunk, Scope, Task, TaskState, Upload
from partwise.core.state import UploadState

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

E = TypeVar("E", bound=StrEnum)


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime as whole microseconds since 1970: exact, sortable, and the same in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Microseconds since 1970; a datetime without a time zone is a TypeError."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """The datetime in UTC."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class EnumValue(TypeDecorator[E]):
    """A member of an enum by its value."""

    impl = String
    cache_ok = True

    def __init__(self, enum: type[E]) -> None:
        super().__init__()
        self.enum = enum

    def process_bind_param(self, value: E | str | None, dialect: Dialect) -> str | None:
        """The plain string, as drivers want it."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> E | None:
        """The member."""
        return None if value is None else self.enum(value)


class Notes(TypeDecorator[Mapping[str, str]]):
    """A mapping of strings as JSON text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Mapping[str, str] | None, dialect: Dialect) -> str | None:
        """JSON."""
        return None if value is None else json.dumps(dict(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Mapping[str, str] | None:
        """The mapping."""
        return None if value is None else json.loads(value)


class Members(TypeDecorator[Mapping[str, Any]]):
    """A JSON object as text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Mapping[str, Any] | None, dialect: Dialect) -> str | None:
        """JSON."""
        return None if value is None else json.dumps(dict(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Mapping[str, Any] | None:
        """The object."""
        return None if value is None else json.loads(value)


class Names(TypeDecorator[Sequence[str]]):
    """Some strings, in their order, as JSON text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> str | None:
        """JSON."""
        return None if value is None else json.dumps(list(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Sequence[str] | None:
        """The strings."""
        return None if value is None else tuple(json.loads(value))


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

_UNFINISHED = text("state <> 'completed'")

uploads = Table(
    "uploads",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("size", BigInteger),
    Column("created", UtcTime, nullable=False),
    Column("updated", UtcTime, nullable=False),
    Column("state", EnumValue(UploadState), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("durable_seq", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("chunk_count", BigInteger, nullable=False),
    Column("hashed", BigInteger, nullable=False),
    Column("digest", String),
    Column("declared_sha256", String),
    Column("expected_sha256", String),
    Column("checksums", Notes, nullable=False, server_default="{}"),
    Column("digests", Notes, nullable=False, server_default="{}"),
    Column("filename", Text),
    Column("media_type", Text),
    Column("completed", UtcTime),
    # No foreign key: an upload outlives its owner's link to the artifact.
    Column("artifact_id", String),
    Column("sha256", String),
    Column("artifact_filename", Text),
    Column("auto_commit", Boolean, nullable=False, server_default=false()),
    Column("parts", Names, nullable=False, server_default="[]"),
    Column("reserved", BigInteger, nullable=False, server_default="0"),
    Column("internal", Boolean, nullable=False, server_default=false()),
    Column("part", Boolean, nullable=False, server_default=false()),
    Column("metadata", Notes, nullable=False, server_default="{}"),
    Column("largest", BigInteger),
    Column("notes", Notes, nullable=False),
    # The file name in folded case: what a database calls lower case differs between databases and stops at ASCII.
    Column("search_name", Text, nullable=False),
    Index("ix_uploads_owner_created_id", "owner", "created", "id"),
    Index("ix_uploads_created_id", "created", "id"),
    # By `completed`, not by `updated`: an index on that would have to move with every recorded chunk.
    Index("ix_uploads_state_completed", "state", "completed"),
    Index("ix_uploads_owner_state_created_id", "owner", "state", "created", "id"),
    # Those that are not completed are few, whatever there is: lists of them are read in its order.
    Index("ix_uploads_unfinished", "created", "id", sqlite_where=_UNFINISHED, postgresql_where=_UNFINISHED),
    Index("ix_uploads_joined", "id", sqlite_where=text("parts <> '[]'"), postgresql_where=text("parts <> '[]'")),
    Index("ix_uploads_internal", "id", sqlite_where=text("internal = 1"), postgresql_where=text("internal")),
)

chunks = Table(
    "chunks",
    metadata,
    Column("upload_id", String, ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String),
    Column("verified", Boolean, nullable=False),
    Column("ref", String),
    Column("seq", BigInteger, nullable=False),
    CheckConstraint('"offset" >= 0 AND size > 0', name="range"),
    # The rows lie in the order of their key, which is how they are read: one B-tree to write instead of two.
    sqlite_with_rowid=False,
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("sha256", String, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("created", UtcTime, nullable=False),
)

artifact_links = Table(
    "artifact_links",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("sha256", String, ForeignKey("artifacts.sha256"), nullable=False),
    # The artifact's, here too: so what an owner holds is added up from one index.
    Column("size", BigInteger, nullable=False, server_default="0"),
    Column("created", UtcTime, nullable=False),
    Column("filename", Text),
    Column("media_type", Text),
    Column("digests", Notes, nullable=False, server_default="{}"),
    Column("search_name", Text, nullable=False),
    UniqueConstraint("owner", "sha256"),
    Index("ix_artifact_links_sha256", "sha256"),
    Index("ix_artifact_links_owner_size", "owner", "size"),
    Index("ix_artifact_links_owner_created_id", "owner", "created", "id"),
    Index("ix_artifact_links_created_id", "created", "id"),
)
#: What the index of names has of one: PostgreSQL refuses longer entries than some. Its numbers are written out, as in
#: the index: with parameters in their place no database would use that.
name_prefix = func.substr(artifact_links.c.filename, literal_column("1"), literal_column("100"))
Index("ix_artifact_links_name", name_prefix, artifact_links.c.owner, artifact_links.c.created, artifact_links.c.id)

tasks = Table(
    "tasks",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    # No foreign key: clients ask for a task when its upload is gone.
    Column("upload_id", String, nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("state", EnumValue(TaskState), nullable=False),
    Column("finished", UtcTime),
    Column("artifact_id", String),
    Column("error", Text),
    Column("found_sha256", String),
    Index("ix_tasks_upload_id_created_id", "upload_id", "created", "id"),
    Index("ix_tasks_owner_created_id", "owner", "created", "id"),
    Index("ix_tasks_created_id", "created", "id"),
    Index("ix_tasks_unfinished", "created", "id", sqlite_where=_UNFINISHED, postgresql_where=_UNFINISHED),
)

events = Table(
    "events",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    # Readers go on from here; see ``events.py`` for when it is assigned.
    Column("position", BigInteger),
    Column("id", String, nullable=False),
    Column("type", EnumValue(EventType), nullable=False),
    Column("owner", String, nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("data", Members, nullable=False),
    UniqueConstraint("position"),
    Index("ix_events_owner_position", "owner", "position"),
    Index(
        "ix_events_unplaced",
        "seq",
        sqlite_where=text("position IS NULL"),
        postgresql_where=text("position IS NULL"),
    ),
)

#: Where each endpoint is in the feed.
endpoints = Table(
    "endpoints",
    metadata,
    Column("name", String, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("paused", Boolean, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String, primary_key=True),
    Column("endpoint", String, nullable=False),
    # No foreign key: a delivery outlives its event, whose JSON it holds.
    Column("event_id", String, nullable=False),
    Column("event_type", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due", UtcTime, nullable=False),
    Column("dead", Boolean, nullable=False),
    Column("status", Integer),
    Column("error", Text),
    Column("lease", String),
    Column("leased_until", UtcTime),
    UniqueConstraint("endpoint", "event_id"),
    Index("ix_deliveries_endpoint_dead_due", "endpoint", "dead", "due"),
)

#: Artifacts whose files were released: a repeat of the call is answered by it.
releases = Table(
    "releases",
    metadata,
    Column("artifact_id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("path", Text, nullable=False),
    Column("created", UtcTime, nullable=False),
    Index("ix_releases_created", "created"),
)

#: What an artifact consists of, where storage keeps each chunk as an object of its own. Local files have none.
segments = Table(
    "segments",
    metadata,
    Column("sha256", String, ForeignKey("artifacts.sha256", ondelete="CASCADE"), primary_key=True),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("ref", String, nullable=False),
    UniqueConstraint("ref"),
)

#: Objects that nothing needs any more, to be deleted.
garbage = Table(
    "garbage",
    metadata,
    Column("ref", String, primary_key=True),
    Column("since", UtcTime, nullable=False),
    Index("ix_garbage_since", "since"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("name", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("last_used", UtcTime),
    Column("revoked", UtcTime),
    Column("expires", UtcTime),
    Column("scope", EnumValue(Scope), nullable=False, server_default="all"),
    UniqueConstraint("sha256"),
)

#: Quotas of users who have another than the default. ``bytes`` None: no limit.
quotas = Table("quotas", metadata, Column("owner", String, primary_key=True), Column("bytes", BigInteger))

#: Each opens one upload, and goes with it.
tickets = Table(
    "tickets",
    metadata,
    Column("sha256", String, primary_key=True),
    Column("upload_id", String, ForeignKey("uploads.id", ondelete="CASCADE"), nullable=False),
    Column("created", UtcTime, nullable=False),
    Index("ix_tickets_upload_id", "upload_id"),
)

#: How many rows there are, and the sum of their sizes, maintained by triggers (``r0012_counts.py``), so that they are
#: right whichever version of partwise writes. ``counts.py`` has the kinds. ``part``: 0, or the transaction of
#: PostgreSQL that has not been added up yet.
counts = Table(
    "counts",
    metadata,
    Column("kind", String, primary_key=True),
    Column("owner", String, primary_key=True),
    Column("state", String, primary_key=True),
    Column("part", BigInteger, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    # The sum of whole MiB of each size, and of the rest: three sizes near 2^62 are more than a 64-bit sum holds.
    Column("high", BigInteger, nullable=False),
    Column("low", BigInteger, nullable=False),
    # What is still to be added up.
    Index("ix_counts_unfolded", "part", sqlite_where=text("part <> 0"), postgresql_where=text("part <> 0")),
    sqlite_with_rowid=False,
)

#: What the catalog knows about itself: the boot that its chunks were recorded in.
meta = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", Text, nullable=False))

#: The columns of each record by its fields, so that a row becomes a record by name.
UPLOAD: list[Column[Any]] = [uploads.c[field.name] for field in fields(Upload)]
CHUNK: list[Column[Any]] = [chunks.c[field.name] for field in fields(Chunk)]
TASK: list[Column[Any]] = [tasks.c[field.name] for field in fields(Task)]
ARTIFACT: list[Column[Any]] = [artifact_links.c[field.name] for field in fields(Artifact)]


def unfinished(table: Table) -> ColumnElement[bool]:
    """Return whether an upload or task is not completed, in the words of the index of those."""
    return table.c.state != literal_column("'completed'")


def folded(filename: str | None) -> str:
    """Return the form in which ``search_name`` stores a file name, and in which searches look for it."""
    return (filename or "").casefold()
