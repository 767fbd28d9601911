"""SHA-256 digests as clients write them: 64 hexadecimal digits, or the structured fields of RFC 9530."""

from __future__ import annotations

import base64
import re

import http_sf

from partwise.core.errors import BadDigest

#: The SHA-256 of no bytes at all: what every empty file is known by.
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

_HEX = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


def is_sha256(text: str) -> bool:
    """Return whether ``text`` is a SHA-256 as it is stored: in lower-case hexadecimal."""
    return _HEX.fullmatch(text) is not None and text == text.lower()


def parse_sha256(value: object) -> str:
    """A SHA-256 in lower-case hexadecimal. Raises BadDigest unless ``value`` is a string of 64 hex digits."""
    if isinstance(value, str) and _HEX.fullmatch(value):
        return value.lower()
    raise BadDigest("The SHA-256 is not valid. Write it as 64 hexadecimal digits.")


def parse_digest_field(value: str) -> str | None:
    """The SHA-256 in a ``Content-Digest`` or ``Repr-Digest`` field, in hex (RFC 9530, section 2).

    None when the field holds only other algorithms, which a recipient may ignore. Raises BadDigest when the field
    is no dictionary of byte sequences, or its SHA-256 does not have 32 bytes.
    """
    digest = _digest_in(value, "sha-256", 32)
    return None if digest is None else digest.hex()


def parse_sha512_field(value: str) -> bytes | None:
    """The SHA-512 in such a field. None when there is none; BadDigest as for the SHA-256."""
    return _digest_in(value, "sha-512", 64)


def _digest_in(value: str, algorithm: str, size: int) -> bytes | None:
    try:
        members = http_sf.parse(value.encode("ascii"), tltype="dictionary")
    except (ValueError, UnicodeEncodeError) as error:
        raise BadDigest("The digest field is not valid. Write 'sha-256=:BASE64:' (RFC 9530).") from error
    assert isinstance(members, dict)
    if algorithm not in members:
        return None
    item = members[algorithm]
    digest = item[0] if isinstance(item, tuple) else item
    if not isinstance(digest, bytes) or len(digest) != size:
        raise BadDigest(f"The digest field is not valid. Its {algorithm} must have {size} bytes (RFC 9530).")
    return digest


def format_digest_field(sha256: str) -> str:
    """The value of ``Content-Digest`` or ``Repr-Digest`` for a SHA-256 in hex (RFC 9530, section 2)."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"
