"""A small file in one request, in place of one to create an upload, one with its bytes and one that commits.

The request declares the file's SHA-256. It may be repeated: the same content of the same owner is one artifact. If the
request fails, or the server refuses it, the file is sent in parts like a larger one, whose errors say what to do.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
import secrets
from collections.abc import Callable
from typing import Any

from partwise.client.errors import AnswerError, Cancelled, CannotReachServer, ClientError
from partwise.client.line import FIRST_BYTES
from partwise.client.models import ArtifactInfo
from partwise.client.retry import is_away
from partwise.client.source import Source
from partwise.core.ranges import ByteRange

#: The size of the largest file that is sent in one request. It is that of the first part on an unknown line.
MOST_BYTES = FIRST_BYTES
#: Times that connections may break before the file goes in parts, of which the server keeps what came.
_MOST_CUTS = 2
#: Characters that servers read differently in the file name of a form (RFC 7578, section 4.2), and lone surrogates.
_NOT_FOR_FORMS = re.compile(r'["\\%\x00-\x1f\x7f\ud800-\udfff]')


def fits(name: str, size: int) -> bool:
    """Return whether a file may be sent in one request."""
    return size <= MOST_BYTES and bool(name) and _NOT_FOR_FORMS.search(name) is None


def media_type_of(name: str) -> str | None:
    """Return the media type that a file's name tells, if it tells one."""
    media_type, encoding = mimetypes.guess_type(name)
    return None if encoding else media_type


def send_whole(file: Source, name: str, post: Callable[..., dict[str, Any]]) -> ArtifactInfo | None:
    """Send a file for which `fits` is true; its artifact. None: it has to go in parts.

    ``post(body, content_type, again=…)`` sends the request, and again while ``again(error)``. Raises FileChanged,
    Cancelled, and CannotReachServer for a server that cannot be found.
    """
    content = b"".join(bytes(block) for block in file.blocks(ByteRange(0, file.size))) if file.size else b""
    file.check_unchanged()
    sha256 = hashlib.sha256(content).hexdigest()
    cuts = 0

    def again(error: ClientError) -> bool:
        nonlocal cuts
        if isinstance(error, CannotReachServer) and not error.before_request:
            cuts += 1
        return is_away(error) and cuts < _MOST_CUTS and not (isinstance(error, AnswerError) and error.status == 500)

    body, content_type = _form(content, name, sha256)
    try:
        artifact = ArtifactInfo.parse(post(body, content_type, again=again))
    except Cancelled:
        raise
    except ClientError as error:
        if isinstance(error, CannotReachServer) and error.before_request:
            raise
        return None
    return artifact if (artifact.sha256, artifact.size) == (sha256, len(content)) else None


def _form(content: bytes, name: str, sha256: str) -> tuple[bytes, str]:
    """A form with the file and its digest (RFC 7578), and the form's media type."""
    boundary = secrets.token_hex(16)
    media_type = media_type_of(name)
    head = [
        f"--{boundary}",
        'Content-Disposition: form-data; name="sha256"',
        "",
        sha256,
        f"--{boundary}",
        f'Content-Disposition: form-data; name="file"; filename="{name}"',
        *([f"Content-Type: {media_type}"] if media_type else []),
        "",
        "",
    ]
    body = "\r\n".join(head).encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"
