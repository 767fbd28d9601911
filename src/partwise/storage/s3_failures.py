"""What a store's refusals and broken connections are among the project's errors."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

from botocore.exceptions import BotoCoreError, ClientError

from partwise.core.errors import NotFound, OutOfSpace, StorageFailed

_NO_ROOM = {"XMinioStorageFull", "InsufficientCapacity", "QuotaExceeded", "InsufficientStorage"}


@contextmanager
def failures(action: str) -> Iterator[None]:
    """Turn what botocore and connections raise into the project's errors."""
    try:
        yield
    except ClientError as error:
        raise refusal(action, status_of(error), b"", str(error.response.get("Error", {}).get("Code", ""))) from error
    except (BotoCoreError, OSError, http.client.HTTPException) as error:
        raise StorageFailed(f"The object store failed to {action} ({type(error).__name__}).") from error


def status_of(error: ClientError) -> int:
    """The status of the store's answer; 0: there was none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def refusal(action: str, status: int, text: bytes, code: str = "") -> Exception:
    """What the store's answer means; ``text`` is its body, where ``code`` is not known yet."""
    if not code and text:
        try:
            code = ElementTree.fromstring(text).findtext("{*}Code") or ""  # noqa: S314 (our own store's answer)
        except ElementTree.ParseError:
            code = ""
    if status == 404 and code not in ("NoSuchBucket", "NoSuchUpload"):
        return NotFound("upload")
    if status == 507 or code in _NO_ROOM:
        return OutOfSpace()
    return StorageFailed(f"The object store refused to {action} (status {status}{f', {code}' if code else ''}).")
