"""The signature of an artifact, fetched from the server and checked."""

from __future__ import annotations

import threading
import time
from typing import Any

from partwise.client.errors import AnswerError, Cancelled, CannotReachServer, ClientError
from partwise.client.http import Http
from partwise.client.models import ArtifactInfo
from partwise.client.retry import Patience, persist
from partwise.core.signature import MEDIA_TYPE, BadSignature, Signature, largest_signature

#: A signature may have so many bytes at most, and no more than a file of that size can have.
_MOST_BYTES = 256 << 20
#: Seconds that the server may take to make a signature: some 100 GB at the speed of one core, plus time for a queue.
_PATIENCE_SECONDS = 600.0


class NoSignature(ClientError):
    """There is no signature to be had; the sentence says why."""


def fetch_signature(
    http: Http,
    artifact: ArtifactInfo,
    patience: Patience,
    cancelled: threading.Event,
    *,
    seconds: float = _PATIENCE_SECONDS,
) -> Signature:
    """Return the signature of ``artifact``, waiting while the server makes it. Raises NoSignature, Cancelled."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = persist(lambda: _get(http, artifact), patience, cancelled)
        except AnswerError as error:
            raise NoSignature(f"the server gives no signature of it ({error.status}).") from error
        if isinstance(answer, bytes):
            return _decoded(answer, artifact)
        if time.monotonic() > deadline:
            raise NoSignature("the server takes too long to make its signature.")
        if cancelled.wait(answer):
            raise Cancelled("Stopped.")


def _get(http: Http, artifact: ArtifactInfo) -> bytes | float:
    """The signature, or the seconds after which to ask again."""
    response: Any = http.request("GET", f"{artifact.href}signature/", headers={"Accept": MEDIA_TYPE}, stream=True)
    most = min(largest_signature(artifact.size), _MOST_BYTES)
    try:
        if response.status == 202:
            response.read()
            return float(response.headers.get("Retry-After", "1"))
        data: bytes = response.read(most + 1)
    except Exception as error:
        raise CannotReachServer("The connection was closed.") from error
    finally:
        response.close()
    if len(data) > most:
        raise NoSignature("its signature is too large.")
    return data


def _decoded(data: bytes, artifact: ArtifactInfo) -> Signature:
    try:
        signature = Signature.decode(data)
    except BadSignature as error:
        raise NoSignature(f"its signature cannot be used. {error}") from error
    if (signature.size, signature.sha256) != (artifact.size, artifact.sha256):
        raise NoSignature("its signature is that of another file.")
    return signature
