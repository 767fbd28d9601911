"""Parsing of header fields and members in requests of Box's SDKs."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence

from partwise.core.errors import BadBody, BadDigest, NotFound

#: The digests of a Digest field (RFC 3230) that are checked: what ``hashlib`` calls them, and their bytes.
ALGORITHMS = {"sha": ("sha1", 20), "sha-256": ("sha256", 32), "sha-512": ("sha512", 64)}

#: The folder that all files are in.
ROOT = "0"

_SHA1 = re.compile(r"[0-9a-fA-F]{40}", re.ASCII)

_MAX_NAME = 255


def parse_digest(values: Sequence[str]) -> dict[str, bytes]:
    """The digests of Digest fields, by the names that ``hashlib`` has; others are passed over.

    Raises BadDigest when one cannot be read, when two differ, and when the SHA-1 is missing.
    """
    found: dict[str, bytes] = {}
    for item in ",".join(values).split(","):
        name, _, encoded = item.strip(" \t").partition("=")
        if name.lower() not in ALGORITHMS:
            continue
        algorithm, size = ALGORITHMS[name.lower()]
        try:
            digest = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            digest = b""
        if len(digest) != size:
            raise BadDigest(f"Digest is not valid: {name} needs {size} bytes in base64.", field="Digest")
        if found.setdefault(algorithm, digest) != digest:
            raise BadDigest(f"Digest has two different values for {name}. Send one.", field="Digest")
    if "sha1" not in found:
        raise BadDigest("The SHA-1 of the bytes is missing. Send 'Digest: sha=BASE64'.", field="Digest")
    return found


def parse_content_md5(value: str | None) -> bytes | None:
    """The SHA-1 of a Content-MD5 field, which Box has there in hex; None where there is no such field. BadDigest."""
    if value is None:
        return None
    if not _SHA1.fullmatch(value):
        raise BadDigest("Content-MD5 is not valid. Send the SHA-1 of the file in hexadecimal.", field="Content-MD5")
    return bytes.fromhex(value)


def parse_name(value: object, field: str) -> str:
    """The name of a new file. Raises BadBody."""
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME or "\0" in value:
        raise BadBody(f"The file name is not valid. Use 1 to {_MAX_NAME} characters without NUL.", field=field)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadBody(
            "The file name is not valid: it contains half of a surrogate pair. Remove it.", field=field
        ) from error
    return value


def check_folder(value: object) -> None:
    """Raise NotFound unless ``value`` is the id of the one folder."""
    if str(value) != ROOT:
        raise NotFound("folder", "All files are in folder 0.")


def check_parent(members: Mapping[str, object]) -> None:
    """Raise NotFound unless the ``parent`` among the members is the one folder. BadBody when it is no object."""
    parent = members.get("parent")
    if not isinstance(parent, Mapping):
        raise BadBody('The folder is missing: "parent": {"id": "0"}.', field="parent")
    check_folder(parent.get("id"))
