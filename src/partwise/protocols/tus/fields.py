"""The header fields of tus, read and written. What is malformed is a BadRequest that names the field."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import urljoin, urlsplit

from partwise.core.errors import BadRequest
from partwise.core.media_types import is_media_type
from partwise.core.numbers import parse_size

#: The most uploads that one is made of.
MAX_PARTS = 1000

#: Under which keys clients send a file's name and its media type.
_NAME_KEYS, _TYPE_KEYS = ("filename", "name"), ("filetype", "type", "content-type")
_MAX_NAME = 1024

#: The algorithms of checksums, and how many bytes a digest of each has. The protocol asks for sha1, and md5 is what
#: some have. Neither guards against malice here, only against damage on the way.
ALGORITHMS = {"sha1": 20, "sha256": 32, "sha512": 64, "md5": 16}

_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]+", re.ASCII)  # visible, no space, no comma


def parse_number(fields: Mapping[str, str], name: str) -> int | None:
    """The whole number of a field, or None where there is no such field. Raises BadSize."""
    value = fields.get(name)
    if value is None:
        return None
    try:
        return parse_size(value)
    except BadRequest as error:
        error.field = name
        raise


def parse_deferred(fields: Mapping[str, str]) -> bool:
    """Return whether the length is deferred."""
    value = fields.get("Upload-Defer-Length")
    if value not in (None, "1"):
        raise BadRequest("Upload-Defer-Length is not valid. Send 1.", field="Upload-Defer-Length")
    return value == "1"


def parse_metadata(value: str) -> dict[str, bytes]:
    """The pairs of Upload-Metadata: keys and base64 values, joined by commas; a value may be left out."""
    pairs: dict[str, bytes] = {}
    for pair in value.split(",") if value.strip(" ") else ():
        key, _, encoded = pair.strip(" ").partition(" ")
        if not _KEY.fullmatch(key) or key in pairs:
            raise _bad_metadata("Upload-Metadata needs keys, each once, without spaces and commas.")
        try:
            pairs[key] = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _bad_metadata(f"The value of {key!r} in Upload-Metadata is not base64.") from error
    return pairs


def _bad_metadata(message: str) -> BadRequest:
    return BadRequest(message, field="Upload-Metadata")


def file_of(metadata: Mapping[str, bytes]) -> tuple[str | None, str | None]:
    """The file's name and media type, where the metadata give them in a form that can be used."""
    name = _text(metadata, _NAME_KEYS)
    kind = _text(metadata, _TYPE_KEYS)
    if kind is not None and not is_media_type(kind):
        kind = None
    return name[:_MAX_NAME] if name else None, kind


def _text(metadata: Mapping[str, bytes], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        try:
            text = metadata.get(key, b"").decode()
        except UnicodeDecodeError:
            continue
        if text and "\0" not in text:
            return text
    return None


@dataclass(frozen=True, slots=True)
class Checksum:
    """A parsed Upload-Checksum."""

    algorithm: str
    digest: bytes


def parse_checksum(fields: Mapping[str, str], algorithms: Mapping[str, int]) -> Checksum | None:
    """Upload-Checksum, or None; ``algorithms`` are the known ones with the bytes that a digest of each has."""
    value = fields.get("Upload-Checksum")
    if value is None:
        return None
    algorithm, _, encoded = value.strip(" ").partition(" ")
    if algorithm not in algorithms:
        known = ", ".join(algorithms)
        raise BadRequest(
            f"The algorithm of Upload-Checksum is not supported. Use one of: {known}.", field="Upload-Checksum"
        )
    try:
        digest = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != algorithms[algorithm]:
        raise BadRequest(f"Upload-Checksum is not valid. Send a {algorithm} digest in base64.", field="Upload-Checksum")
    return Checksum(algorithm, digest)


def parse_concat(value: str | None, prefix: str) -> list[str] | None:
    """The ids of the parts that a ``final`` is made of; none for a ``partial``; None where there is no Upload-Concat.

    ``prefix`` is the path that the parts' URLs begin with; they may be absolute.
    """
    if value is None:
        return None
    kind, _, urls = value.partition(";")
    if kind.strip(" ") == "partial" and not urls:
        return []
    if kind.strip(" ") != "final":
        raise _bad_concat("Upload-Concat is either 'partial' or 'final;' with the URLs of the parts.")
    parts = [_part_id(url, prefix) for url in urls.split()]
    if not 0 < len(parts) <= MAX_PARTS:
        raise _bad_concat(f"A final upload is made of 1 to {MAX_PARTS} parts.")
    return parts


def _part_id(url: str, prefix: str) -> str:
    try:
        path = urlsplit(urljoin(prefix, url)).path
    except ValueError:
        path = ""
    part = path.removeprefix(prefix)
    if part == path or not part or "/" in part:
        raise _bad_concat(f"{url} is no upload of this server.")
    return part


def _bad_concat(message: str) -> BadRequest:
    return BadRequest(message, field="Upload-Concat")


def format_time(time: datetime) -> str:
    """A time as Upload-Expires has it (RFC 9110, section 5.6.7)."""
    return format_datetime(time.replace(microsecond=0), usegmt=True)
