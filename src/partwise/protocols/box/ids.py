"""Ids as Box has them: those of files and users are decimal, since SDKs refuse others."""

from __future__ import annotations

import re
import uuid

from partwise.core.errors import NotFound

_USERS = uuid.UUID("4a0f4b3e-6b5d-4b7c-8d59-0f7b1c2e9a64")

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,38}", re.ASCII)


def file_id(artifact_id: str) -> str:
    """The id of the file that an artifact is."""
    return str(uuid.UUID(artifact_id).int)


def artifact_id(file: str) -> str:
    """The artifact that a file is. NotFound when no file has such an id."""
    if not _DECIMAL.fullmatch(file) or int(file) >= 1 << 128:
        raise NotFound("file")
    return str(uuid.UUID(int=int(file)))


def user_id(name: str) -> str:
    """The id of a user."""
    return str(uuid.uuid5(_USERS, name).int)


def part_id(offset: int) -> str:
    """The id of the part that begins at ``offset``: 8 hexadecimal digits, or more beyond 4 GiB."""
    return f"{offset:08X}"
