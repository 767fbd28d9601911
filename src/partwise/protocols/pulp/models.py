"""JSON models of requests and responses. docs/api.json is generated from them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, RootModel, WithJsonSchema

from partwise.core.digests import parse_sha256
from partwise.core.errors import BadBody
from partwise.core.media_types import is_media_type
from partwise.core.members import MAX_FILENAME, check_filename, check_metadata, check_user
from partwise.core.numbers import parse_size
from partwise.core.ranges import MAX_SIZE
from partwise.engine.copying import MAX_COPY, CopyState

#: Ranges that one request may copy.
MAX_COPIES = 256


def _check_media_type(value: str | None) -> str | None:
    if value and not is_media_type(value):
        raise BadBody("The media type is not valid. Write it like 'application/x-iso9660-image'.", field="media_type")
    return value or None


def _check_reference(value: str) -> str:
    if "\0" in value:
        raise BadBody("The path contains a NUL character. Remove it.", field="upload")
    return value


def _check_artifact(value: str) -> str:
    if "\0" in value:
        raise BadBody("The path contains a NUL character. Remove it.", field="artifact")
    return value


def _flag(value: object) -> object:
    """Yes or no; forms say it as text."""
    return value.lower() in {"true", "1", "yes"} if isinstance(value, str) else value


def _optional_sha256(value: object) -> str | None:
    return None if value is None or value == "" else parse_sha256(value)


Sha256 = Annotated[
    str | None,
    BeforeValidator(_optional_sha256),
    WithJsonSchema({"type": ["string", "null"], "pattern": "^([0-9a-fA-F]{64})?$"}),
]
FileName = Annotated[str | None, Field(max_length=MAX_FILENAME), AfterValidator(check_filename)]
MediaType = Annotated[str | None, Field(max_length=255), AfterValidator(_check_media_type)]


Flag = Annotated[bool, BeforeValidator(_flag)]


#: The size of a file whose end is not known yet. A word, so that no missing value of a program passes for it.
UNKNOWN = "unknown"


def _size_or_unknown(value: object) -> int | None:
    return None if value == UNKNOWN else parse_size(value)


def _optional_size(value: object) -> int | None:
    return None if value is None or value == "" else parse_size(value)


_SIZES: list[dict[str, Any]] = [
    {"type": "integer", "minimum": 0, "maximum": MAX_SIZE},
    {"type": "string", "pattern": "^[0-9]{1,19}$"},
]
DeclaredSize = Annotated[
    int | None,
    BeforeValidator(_size_or_unknown),
    WithJsonSchema({"anyOf": [*_SIZES, {"type": "string", "enum": [UNKNOWN]}]}),
]
FinalSize = Annotated[
    int | None, BeforeValidator(_optional_size), WithJsonSchema({"anyOf": [*_SIZES, {"type": "null"}]})
]


class RequestModel(BaseModel):
    """Base of request bodies. Unknown members are ignored, as in Pulp."""

    model_config = ConfigDict(strict=True, extra="ignore")


class UploadCreate(RequestModel):
    """A new upload: ``size`` in bytes (or ``unknown``), and what is known about the file.

    ``user``: whose it is to be, for admins. ``metadata``: what an application notes. ``auto_commit``: the server
    commits it once all bytes are there. ``ticket``: answer with a secret that opens this upload alone.
    """

    size: DeclaredSize
    filename: FileName = None
    media_type: MediaType = None
    sha256: Sha256 = None
    user: Annotated[str | None, AfterValidator(check_user)] = None
    metadata: Annotated[dict[str, str], AfterValidator(check_metadata)] = {}
    auto_commit: Flag = False
    ticket: Flag = False


class UploadCommit(RequestModel):
    """The SHA-256 of the whole file; may be left out when every chunk came with a digest that matched.

    ``size`` in bytes: of an upload that was created without one.
    """

    sha256: Sha256 = None
    size: FinalSize = None


class CopyWanted(RequestModel):
    """The bytes ``[offset, offset + size)`` of the upload are those of the artifact (path or id) from ``from`` on."""

    offset: Annotated[int, Field(ge=0, le=MAX_SIZE)]
    size: Annotated[int, Field(ge=1, le=MAX_COPY)]
    artifact: Annotated[str, Field(max_length=1024), AfterValidator(_check_artifact)]
    source: Annotated[int, Field(ge=0, le=MAX_SIZE, alias="from")]


class CopiesWanted(RootModel[Annotated[list[CopyWanted], Field(min_length=1, max_length=MAX_COPIES)]]):
    """The ranges to copy, at most 256."""


class ArtifactCreate(RequestModel):
    """The path or id of a completed upload."""

    upload: Annotated[str, Field(max_length=1024), AfterValidator(_check_reference)]
    sha256: Sha256 = None


class ArtifactRelease(RequestModel):
    """Target of the file: a relative path below the server's ``release_folder``."""

    path: Annotated[str, Field(min_length=1, max_length=1024)]


class TaskCancel(RequestModel):
    """The state that a task shall have: ``canceled``, as Pulp's clients ask for it."""

    state: Literal["canceled"]


class ChunkForm(RequestModel):
    """Beside the ``file`` of a chunk: the SHA-256 of its bytes."""

    sha256: Sha256 = None


class FileHead(RequestModel):
    """The name and type of a form's file."""

    filename: FileName = None
    media_type: MediaType = None


class ArtifactForm(RequestModel):
    """Either the path or id of a completed upload, or a ``file``; the SHA-256 of the whole file with it."""

    upload: Annotated[str | None, Field(max_length=1024)] = None
    sha256: Sha256 = None


class Resource(BaseModel):
    """Members of all resources."""

    pulp_href: str
    prn: str
    pulp_created: datetime
    pulp_last_updated: datetime


class UploadOut(Resource):
    """An upload. ``received`` counts bytes; ``artifact`` and ``sha256`` are there once it is completed.

    ``artifact_filename`` is the name of the artifact. It differs from ``filename`` if you had the content already.
    """

    size: int | None
    received: int
    state: Literal["open", "committing", "completed", "deleting"]
    user: str
    filename: str | None
    media_type: str | None
    completed: datetime | None
    expires: datetime
    artifact: str | None
    artifact_filename: str | None
    sha256: str | None
    metadata: dict[str, str]


class Advice(BaseModel):
    """Advised chunk size (bytes), and number of parallel requests."""

    chunk_size: int
    parallel: int


class UploadCreated(UploadOut, Advice):
    """A new upload, with advice: how large chunks should be (bytes), and how many to send at once.

    ``ticket`` is there if it was asked for. It is shown this once.
    """

    ticket: str | None = None


class TicketOut(BaseModel):
    """A secret that opens one upload, as a Bearer token. It is shown this once."""

    ticket: str


class RangeOut(BaseModel):
    """The bytes ``[offset, offset + size)``."""

    offset: int
    size: int


class ChunkOut(RangeOut):
    """A chunk, with the SHA-256 of its bytes when ``digests`` asked for it and it is known."""

    sha256: str | None = None


class UploadDetail(UploadOut, Advice):
    """An upload with its chunks, the first 100 of the ranges that are missing, and the advice of its creation."""

    chunks: list[RangeOut | ChunkOut]
    missing: list[RangeOut]
    missing_count: int


class ArtifactOut(Resource):
    """An artifact; ``file`` is the path of its bytes. Digests beside the SHA-256 are shown where they are known."""

    file: str
    size: int
    md5: str | None = None
    sha1: str | None = None
    sha224: str | None = None
    sha256: str
    sha384: str | None = None
    sha512: str | None = None
    filename: str | None
    media_type: str | None
    user: str


class CopyOut(RangeOut):
    """Result of one range. ``problem`` is the type of the problem, ``detail`` its message."""

    state: CopyState
    problem: str | None = None
    detail: str | None = None


class CopiesOut(BaseModel):
    """Result of each range, in the order of the request; ``received`` counts the bytes of the upload."""

    received: int
    ranges: list[CopyOut]


class SignatureWaiting(BaseModel):
    """The signature is being made: ``done`` of ``size`` bytes of the artifact are read. Ask again."""

    state: Literal["running"] = "running"
    done: int
    size: int


class PieceOut(BaseModel):
    """A piece of the file: its size in bytes, and its SHA-256 in hex."""

    size: int
    sha256: str


class SignatureOut(BaseModel):
    """The signature of a file (docs/delta.md): its pieces in order, as FastCDC cuts them at the average size."""

    version: Literal[1]
    average: int
    size: int
    sha256: str
    pieces: list[PieceOut]


class ReleaseOut(BaseModel):
    """An artifact that is a file of the application now."""

    path: str
    size: int
    sha256: str


class TaskHref(BaseModel):
    """Link to the task of a running commit."""

    task: str


class ProgressReport(BaseModel):
    """Progress of a task: ``done`` of ``total`` percent."""

    message: str
    code: str
    state: str
    total: int
    done: int
    suffix: str | None = None


class TaskOut(Resource):
    """A commit, in the shape that Pulp's clients poll. ``result`` stays null."""

    state: Literal["waiting", "running", "completed", "failed", "canceled"]
    name: str = "partwise.commit"
    logging_cid: str = ""
    created_by: str
    unblocked_at: datetime
    started_at: datetime
    finished_at: datetime | None
    error: dict[str, str] | None
    worker: None = None
    parent_task: None = None
    child_tasks: list[str] = []
    task_group: None = None
    progress_reports: list[ProgressReport]
    created_resources: list[str]
    reserved_resources_record: list[str]
    result: None = None


class PageOut(BaseModel):
    """One page of a listing: how many there are in all, and the paths of the pages beside it."""

    count: int
    next: str | None
    previous: str | None


class UploadPage(PageOut):
    """Uploads, newest first."""

    results: list[UploadOut]


class ArtifactPage(PageOut):
    """Artifacts, newest first."""

    results: list[ArtifactOut]


class TaskPage(PageOut):
    """Tasks, newest first."""

    results: list[TaskOut]


class EventOut(BaseModel):
    """Something that happened to an upload or artifact. ``id`` is the same whenever it is told again."""

    id: str
    type: str
    timestamp: datetime
    data: dict[str, Any]
    cursor: str


class EventPage(BaseModel):
    """Events in the order of the feed. ``cursor`` is what to send as ``after`` next; ``more``: do so at once."""

    events: list[EventOut]
    cursor: str
    more: bool


class Version(BaseModel):
    """One component's version, as Pulp's clients ask for it."""

    component: str
    version: str
    package: str
    module: str
    domain_compatible: bool = False


class StorageOut(BaseModel):
    """Bytes of the storage: in all, used, free on the device, and available for new uploads."""

    total: int
    used: int
    free: int
    available: int


class LimitsOut(BaseModel):
    """Limits set by the operator, in bytes; null: no limit."""

    max_upload_size: int | None
    quota: int | None


class ContentSettings(BaseModel):
    """The address of Pulp's content server, which clients require. partwise has no separate one."""

    content_origin: str | None = None
    content_path_prefix: str = "/"


class StatusOut(BaseModel):
    """That the server runs, what it is, and who asks. Where tokens are needed, ``user`` and ``limits`` are null without
    one, and ``storage`` is null without an admin's."""

    versions: list[Version]
    online_workers: list[Any] = []
    online_api_apps: list[Any] = []
    online_content_apps: list[Any] = []
    database_connection: dict[str, bool]
    redis_connection: None = None
    storage: StorageOut | None
    user: str | None
    limits: LimitsOut | None
    content_settings: ContentSettings = ContentSettings()
    domain_enabled: bool = False


class ProblemOut(BaseModel):
    """Problem details (RFC 9457); more members depend on the type, see the page of errors."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
