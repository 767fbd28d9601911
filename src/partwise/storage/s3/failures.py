"""Translation of a store's errors and broken connections into the project's errors."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from partwise.core.errors import OutOfSpace, StorageFailed
from partwise.storage.objects.store import ObjectMissing

#: Why a request got no response that could be read; the first kind that fits counts.
_REASONS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (
        (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.CredentialRetrievalError),
        "there are no complete credentials for the object store. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    ),
    (
        (exceptions.SSLError, ssl.SSLError),
        "TLS to the object store failed. Check its certificate, and AWS_CA_BUNDLE if it is of a private authority.",
    ),
    (
        (exceptions.ConnectTimeoutError, exceptions.ReadTimeoutError, TimeoutError),
        "the object store did not respond in time. Try again later.",
    ),
    (
        (exceptions.EndpointConnectionError, exceptions.ProxyConnectionError, ConnectionRefusedError, socket.gaierror),
        "the object store cannot be reached. Check its address, and that it runs.",
    ),
    (
        (exceptions.ConnectionClosedError, exceptions.ResponseStreamingError, ConnectionError),
        "the connection to the object store broke. Try again.",
    ),
)
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
        raise StorageFailed(f"Cannot {action}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Return a sentence on why a request got no response that could be read, for the operator."""
    for kinds, sentence in _REASONS:
        if isinstance(error, kinds):
            return sentence
    return "the request to the object store failed. Try again later, and look at the store's log."


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
