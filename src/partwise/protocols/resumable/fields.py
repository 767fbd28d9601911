"""The header fields of resumable uploads, read and written.

They are structured fields (RFC 9651). One that cannot be read is ignored, as the draft has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import http_sf
from starlette.datastructures import Headers

from partwise.core.media_types import is_media_type
from partwise.protocols.resumable.versions import CURRENT, FIELD, VERSIONS, Version

OFFSET, LENGTH, LIMIT = "Upload-Offset", "Upload-Length", "Upload-Limit"

#: The media type of what is appended.
PARTIAL = "application/partial-upload"

#: The largest integer of a structured field (RFC 9651, section 3.3.1).
MAX_INTEGER = 999_999_999_999_999

_MAX_NAME = 1024

#: The parameters of Content-Disposition that have a file name, with a token or a quoted string.
_FILENAME = re.compile(r';[ \t]*(filename\*?)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^ \t;"]*)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Statement:
    """Header fields of a request. None: the field is missing, or cannot be parsed."""

    version: Version
    #: Whether the content is the end of the file.
    complete: bool | None
    offset: int | None
    length: int | None


def read(headers: Headers) -> Statement:
    """Return what the header fields of a request say."""
    version = VERSIONS.get(_integer(headers, FIELD) or 0, CURRENT)
    complete = _item(headers, version.completeness)
    if not isinstance(complete, bool):
        complete = None
    elif version.inverted:
        complete = not complete
    return Statement(version, complete, _integer(headers, OFFSET), _integer(headers, LENGTH))


def _item(headers: Headers, name: str) -> object:
    """Return the bare item of a field; None when there is no such field, or it is no item."""
    values = headers.getlist(name)
    if not values:
        return None
    try:
        item = http_sf.parse(", ".join(values).encode("latin-1"), tltype="item")
    except ValueError:
        return None
    return item[0] if isinstance(item, tuple) else item


def _integer(headers: Headers, name: str) -> int | None:
    value = _item(headers, name)
    return value if type(value) is int and value >= 0 else None


def format_limits(limits: Mapping[str, int]) -> str:
    """Return the value of Upload-Limit, a dictionary of integers. It must not be empty."""
    return ", ".join(f"{name}={min(value, MAX_INTEGER)}" for name, value in limits.items()) or "min-size=0"


def file_name(value: str | None) -> str | None:
    """Return the file name of a Content-Disposition field (RFC 6266); None when it has none that can be used.

    ``filename*`` counts before ``filename``. Of a path the last part counts.
    """
    found = {name.lower(): text for name, text in _FILENAME.findall(_utf8(value or ""))}
    name = _extended(found.get("filename*", ""))
    if name is None:
        name = found.get("filename", "")
        if name.startswith('"'):
            name = re.sub(r"\\(.)", r"\1", name[1:-1])
    name = name.replace("\\", "/").rpartition("/")[2]
    return name[:_MAX_NAME] if name and name.isprintable() else None


def _extended(value: str) -> str | None:
    """Return the text of an extended parameter (RFC 8187, section 3.2), such as ``UTF-8'de'gro%C3%9F``."""
    charset, _, rest = value.partition("'")
    _language, quote, encoded = rest.partition("'")
    if not quote or charset.lower() not in ("utf-8", "iso-8859-1"):
        return None
    try:
        return unquote_to_bytes(encoded).decode(charset)
    except UnicodeDecodeError:
        return None


def _utf8(value: str) -> str:
    """Return the text of a field that a client sent in UTF-8, though HTTP knows only Latin-1 there."""
    try:
        return value.encode("latin-1").decode()
    except (UnicodeEncodeError, UnicodeDecodeError):
        return value


def media_type(value: str) -> str | None:
    """Return the media type of the file that a creation's Content-Type names; None when it names none."""
    kind = value.partition(";")[0].strip().lower()
    return value if kind != PARTIAL and is_media_type(value) else None
