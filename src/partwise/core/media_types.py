"""Media types such as ``application/x-iso9660-image`` (RFC 6838, section 4.2; parameters: RFC 9110, section 8.3.1)."""

from __future__ import annotations

import re

#: Characters of the longest one that is stored.
MAX_MEDIA_TYPE = 255

_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:[ \t]*;[ \t]*[\x20-\x7e]*)?", re.ASCII)


def is_media_type(value: str) -> bool:
    """Return whether ``value`` reads like a media type, so that a header field can hold it."""
    return len(value) <= MAX_MEDIA_TYPE and _MEDIA_TYPE.fullmatch(value) is not None
