"""The signature of an artifact, fetched from the server and checked."""

from __future__ import annotations

import threading
import time
from typing import Any

import urllib3

from partwise.client.errors import AnswerError, Cancelled, CannotReachServer, ClientError
from partwise.client.http import Http
from partwise.client.models import ArtifactInfo
from partwise.client.retry import Patience, persist, worth_another_try
from partwise.client.source import BLOCK
from partwise.core.signature import MEDIA_TYPE, BadSignature, Signature, largest_signature

#: A signature may have so many bytes at most, and no more than a file of that size can have.
_MOST_BYTES = 256 << 20
#: Seconds that the server may take to make a signature: some 100 GB at the speed of one core, plus time for a queue.
_PATIENCE_SECONDS = 600.0
#: Bytes that an answer without a signature may have, and seconds that it may ask to wait.
_MOST_WAITING, _LONGEST_PAUSE = 64 << 10, 10.0
_TOO_LONG = "the server takes too long to make and to send its signature."


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
            answer = persist(
                lambda: _get(http, artifact, deadline, cancelled), patience, cancelled, again=_may_be_had_later
            )
        except AnswerError as error:
            raise NoSignature(f"the server gives no signature of it ({error.status}).") from error
        except _Cut as error:
            raise NoSignature("the connection was closed each time before all of its signature came.") from error
        if isinstance(answer, bytes):
            return _decoded(answer, artifact)
        if time.monotonic() > deadline:
            raise NoSignature(_TOO_LONG)
        if cancelled.wait(answer):
            raise Cancelled("Stopped.")


class _Cut(CannotReachServer):
    """The connection was closed in the middle of a signature."""


def _may_be_had_later(error: ClientError) -> bool:
    """Return whether to ask again. A server that lost bytes (500) has to be mended first: the file can be sent now."""
    return worth_another_try(error) and not (isinstance(error, AnswerError) and error.status == 500)


def _get(http: Http, artifact: ArtifactInfo, deadline: float, cancelled: threading.Event) -> bytes | float:
    """The signature, or the seconds after which to ask again."""
    # Not decompressed: a signature does not shrink, and few bytes could become many.
    headers = {"Accept": MEDIA_TYPE, "Accept-Encoding": "identity"}
    response: Any = http.request("GET", f"{artifact.href}signature/", headers=headers, stream=True)
    most = min(largest_signature(artifact.size), _MOST_BYTES)
    try:
        data = _read(response, _MOST_WAITING if response.status == 202 else most, deadline, cancelled)
    finally:
        response.close()
    if response.status != 202:
        return data
    wait = response.headers.get("Retry-After", "")
    return min(float(wait) if wait.strip().isdecimal() else 1.0, _LONGEST_PAUSE)


def _read(response: Any, most: int, deadline: float, cancelled: threading.Event) -> bytes:
    """Return the body of a response. Raises NoSignature if it is longer than ``most`` bytes, or does not end."""
    data = bytearray()
    while True:
        try:
            block = response.read1(BLOCK, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _Cut("The connection was closed.") from error
        if not block:
            return bytes(data)
        data += block
        if len(data) > most:
            raise NoSignature("its signature is too large.")
        if cancelled.is_set():
            raise Cancelled("Stopped.")
        if time.monotonic() > deadline:
            raise NoSignature(_TOO_LONG)


def _decoded(data: bytes, artifact: ArtifactInfo) -> Signature:
    try:
        signature = Signature.decode(data)
    except BadSignature as error:
        raise NoSignature(f"its signature cannot be used. {error}") from error
    if (signature.size, signature.sha256) != (artifact.size, artifact.sha256):
        raise NoSignature("its signature is that of another file.")
    return signature
