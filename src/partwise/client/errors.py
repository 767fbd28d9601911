"""Errors of the client.

::

    ClientError
    ├── CannotReachServer     no connection, or it kept breaking until the patience was used up
    ├── AnswerError           the server answered with an error; status, type and its own sentence
    │   ├── NotAllowed        401, 403: token missing or wrong
    │   ├── NotFound          404: no such upload or artifact, or someone else's
    │   ├── Conflict          409: what is there does not allow it now
    │   └── NoRoom            413, 429, 507: limits, quota, disk
    ├── VerificationFailed    the bytes are not those of the digest
    ├── FileChanged           the local file was changed while it was being sent
    ├── SourceFailed          the data to upload could not be read, or has another size than was said
    ├── TargetFailed          the file object to download to could not be written
    ├── LocalFileError        a local file cannot be opened, read or written; an OSError too
    ├── AlreadyRunning        another process is transferring the same file
    └── Cancelled             the caller asked to stop
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class ClientError(Exception):
    """The root of the tree. ``str(error)`` is a sentence for a person."""

    #: For how many seconds it was tried again, in vain.
    tried_seconds: float = 0.0

    def __str__(self) -> str:
        gave_up = f" Gave up after {self.tried_seconds:.0f} s." if self.tried_seconds >= 1 else ""
        return super().__str__() + gave_up


class CannotReachServer(ClientError):
    """There was no connection, or it kept breaking until the patience was used up.

    ``before_request``: the server surely saw nothing of the request. ``unknown_host``: its name does not exist.
    """

    def __init__(self, message: str, *, before_request: bool = False, unknown_host: bool = False) -> None:
        super().__init__(message)
        self.before_request: bool = before_request
        self.unknown_host: bool = unknown_host


class VerificationFailed(ClientError):
    """The bytes are not those of the digest: in a download, or in an upload that could not be repaired."""


class FileChanged(ClientError):
    """The local file was changed while it was being sent; nothing was committed."""


class SourceFailed(ClientError):
    """The file object or iterator to upload raised an error, or has another size than was said.

    ``__cause__`` is what it raised. The upload was removed.
    """


class TargetFailed(ClientError):
    """The file object to download to raised an error, which is the ``__cause__``."""


class LocalFileError(ClientError, OSError):
    """A local file cannot be opened, read or written.

    Has ``errno``, ``strerror`` and ``filename``. It is also the kind of OSError that it was, such as FileNotFoundError.
    """

    def __str__(self) -> str:
        said = self.strerror or OSError.__str__(self)
        return f"{self.filename}: {said}" if self.filename else said


class AlreadyRunning(ClientError):
    """Another process is transferring the same file."""


class Cancelled(ClientError):
    """The caller asked to stop. What was sent stays on the server, and a later upload goes on from there."""


class AnswerError(ClientError):
    """The server answered with an error.

    ``status`` is the HTTP status, ``type`` the problem's type (RFC 9457; "" when the answer is no problem document),
    ``body`` the decoded answer, ``retry_after`` the seconds after which the server invites another try, and
    ``location`` where else it says to ask.
    """

    def __init__(
        self,
        status: int,
        message: str,
        body: dict[str, Any],
        retry_after: float | None = None,
        location: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status: int = status
        self.body: dict[str, Any] = body
        self.retry_after: float | None = retry_after
        self.location: str | None = location
        self.type: str = str(body.get("type", ""))


class NotAllowed(AnswerError):
    """401 or 403: the token is missing, wrong, or not allowed to do this."""


class NotFound(AnswerError):
    """404: there is no such upload or artifact, or it is someone else's."""


class Conflict(AnswerError):
    """409: what is there does not allow it now."""


class NoRoom(AnswerError):
    """413, 429 or 507: a limit, the quota or the disk stands in the way."""


@contextmanager
def local_errors() -> Iterator[None]:
    """Turn an OSError, which here is that of a local file, into a LocalFileError of the same kind."""
    try:
        yield
    except OSError as error:
        if isinstance(error, ClientError):
            raise
        raise _local_kind(type(error))(error.errno, error.strerror or str(error), error.filename) from error


_LOCAL_KINDS: dict[type, type[LocalFileError]] = {OSError: LocalFileError}


def _local_kind(kind: type[OSError]) -> type[LocalFileError]:
    if kind not in _LOCAL_KINDS:
        _LOCAL_KINDS[kind] = type(kind.__name__, (LocalFileError, kind), {})
    return _LOCAL_KINDS[kind]


_BY_STATUS: dict[int, type[AnswerError]] = {
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    413: NoRoom,
    429: NoRoom,
    507: NoRoom,
}


_NONE: Mapping[str, str] = {}


def answer_error(status: int, reason: str, data: bytes, headers: Mapping[str, str] = _NONE) -> AnswerError:
    """The error for an answer with ``status`` above 299.

    Reads problem documents (RFC 9457), Pulp's ``{"field": ["sentence"]}`` and any other body.
    """
    try:
        body = json.loads(data)
    except ValueError:
        body = None
    location = headers.get("Location")
    if isinstance(body, dict):
        sentence = _sentence(status, reason, body)
    else:
        body = {}
        sentence = f"{_answered(status, reason)} {_hint(status, location)}".rstrip()
    kind = _BY_STATUS.get(status, AnswerError)
    return kind(status, sentence, body, _seconds(headers.get("Retry-After")), location)


def _sentence(status: int, reason: str, body: dict[str, Any]) -> str:
    for key in ("detail", "title"):
        if isinstance(body.get(key), str) and body[key]:
            return str(body[key])
    lists = [f"{key}: {value[0]}" for key, value in body.items() if isinstance(value, list) and value]
    return "; ".join(lists) or _answered(status, reason)


def _answered(status: int, reason: str) -> str:
    return f"The server answered {status} {reason}".rstrip() + "."


def _hint(status: int, location: str | None) -> str:
    """Return advice about a response that is not from partwise but from a proxy or another program."""
    if 300 <= status < 400 and location:
        return f"It says that this is at {location}: give that address as the server."
    if status == 407:
        return "The proxy wants a name and password: http_proxy=http://NAME:PASSWORD@PROXY:PORT in the environment."
    if status == 413:
        return (
            "A proxy before it takes no body of this size. Send smaller chunks (--chunk-size 1MiB), or have its "
            "limit raised (client_max_body_size, with nginx)."
        )
    return ""


def _seconds(retry_after: str | None) -> float | None:
    # The form with a date (RFC 9110, section 10.2.3) is not worth a clock comparison: the usual back-off serves.
    return float(retry_after) if retry_after is not None and retry_after.strip().isdecimal() else None
