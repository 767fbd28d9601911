"""The upload client: plans chunks, transfers them in parallel and resumes what was cut.

Use `Client`, or `AsyncClient` in asynchronous code::

    from partwise.client import Client

    with Client("http://127.0.0.1:24817") as client:
        result = client.upload("disk.img")
        print(result.sha256, result.artifact)
"""

from partwise.client.aio import AsyncClient
from partwise.client.api import Client
from partwise.client.errors import (
    AlreadyRunning,
    AnswerError,
    Cancelled,
    CannotReachServer,
    ClientError,
    Conflict,
    FileChanged,
    LocalFileError,
    NoRoom,
    NotAllowed,
    NotFound,
    SourceFailed,
    TargetFailed,
    VerificationFailed,
)
from partwise.client.models import (
    ArtifactInfo,
    DownloadResult,
    EventBatch,
    EventInfo,
    Observer,
    Phase,
    UploadInfo,
    UploadResult,
)

__all__ = [
    "AlreadyRunning",
    "AnswerError",
    "ArtifactInfo",
    "AsyncClient",
    "Cancelled",
    "CannotReachServer",
    "Client",
    "ClientError",
    "Conflict",
    "DownloadResult",
    "EventBatch",
    "EventInfo",
    "FileChanged",
    "LocalFileError",
    "NoRoom",
    "NotAllowed",
    "NotFound",
    "Observer",
    "Phase",
    "SourceFailed",
    "TargetFailed",
    "UploadInfo",
    "UploadResult",
    "VerificationFailed",
]
