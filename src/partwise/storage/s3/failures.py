"""Translation of a store's errors and broken connections into the project's errors."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

from botocore.exceptions import BotoCoreError, ClientError

from partwise.core.errors import OutOfSpace, StorageFailed
from partwise.storage.objects.store import ObjectMissing

_NO_ROOM = {"XMinioStorageFull", "InsufficientCapacity", "QuotaExceeded", "InsufficientStorage"}


@contextmanager
def failures(action: str, *, missing: str | None = None) -> Iterator[None]:
    """Turn what botocore and connections raise into the project's errors. ``missing``: see ``refusal``."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        raise refusal(action, status_of(error), b"", code, missing=missing) from error
    except KeyError as error:  # an answer that is not the store's own lacks what every answer has
        raise StorageFailed(
            f"The object store returned an invalid response: it failed to {action}. Try again later."
        ) from error
    except (BotoCoreError, OSError, http.client.HTTPException) as error:
        raise StorageFailed(f"The object store failed to {action} ({type(error).__name__}).") from error


def status_of(error: ClientError) -> int:
    """The status of the store's answer; 0: there was none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def refusal(action: str, status: int, text: bytes, code: str = "", *, missing: str | None = None) -> Exception:
    """Return the error of a store's response; ``text`` is its body, if ``code`` is not known yet.

    A 404 is ObjectMissing where an object, whose key is ``missing``, may be absent; a proxy, a replica that lags and a
    wrong route answer 404, too, so whoever acts on it confirms it first (``objects/place.py``). All else, a 404 of a
    write too, is StorageFailed: nothing is known.
    """
    if not code and text:
        try:
            code = ElementTree.fromstring(text).findtext("{*}Code") or ""  # noqa: S314 (our own store's answer)
        except ElementTree.ParseError:
            code = ""
    if missing is not None and status == 404 and code not in ("NoSuchBucket", "NoSuchUpload"):
        return ObjectMissing(missing)
    if status == 507 or code in _NO_ROOM:
        return OutOfSpace()
    return StorageFailed(f"The object store refused to {action} (status {status}{f', {code}' if code else ''}).")
