"""The parameters of Fine Uploader, from the query, a form or a small body: all of them under its default names."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from partwise.core.errors import BadRequest
from partwise.core.numbers import parse_size
from partwise.core.ranges import ByteRange

#: What the ids of uploads are made in.
_FILES = uuid.UUID("0b2c9a52-6a0c-4d1e-9a53-0d1f4c3b8a77")

_MAX_UUID, _MAX_NAME = 200, 1024


def upload_id(owner: str, name: str) -> str:
    """The id of the upload that ``owner``'s client calls ``name``. BadRequest when that is no name of a file."""
    if not name or len(name) > _MAX_UUID or not name.isprintable():
        raise BadRequest(
            f"qquuid is missing or too long. Send 1 to {_MAX_UUID} characters that name the file.", field="qquuid"
        )
    return str(uuid.uuid5(_FILES, f"{owner}\n{name}"))


@dataclass(frozen=True, slots=True)
class Params:
    """Parameters that a request gives for its bytes."""

    uuid: str
    filename: str | None
    total: int
    span: ByteRange
    #: Whether the client goes on with an upload that it began before the page was loaded again.
    resumed: bool


def parse(members: Mapping[str, str]) -> Params:
    """The parameters of a chunk, or of a file in one request. BadRequest, BadSize."""
    total = _number(members, "qqtotalfilesize")
    offset, size = 0, total
    if "qqpartindex" in members:
        offset, size = _number(members, "qqpartbyteoffset"), _number(members, "qqchunksize")
    if not size or offset + size > total:
        raise BadRequest(
            f"The part of {size} bytes at offset {offset} exceeds the file of {total} bytes. Correct the part."
        )
    name = members.get("qqfilename", "")
    if "\0" in name:
        raise BadRequest("The file name contains a NUL character. Remove it.", field="qqfilename")
    return Params(
        uuid=members.get("qquuid", ""),
        filename=name[:_MAX_NAME] or None,
        total=total,
        span=ByteRange(offset, size),
        resumed=members.get("qqresume") == "true",
    )


def _number(members: Mapping[str, str], name: str) -> int:
    if name not in members:
        raise BadRequest(f"{name} is missing. Send it.", field=name)
    try:
        return parse_size(members[name])
    except BadRequest as error:
        error.field = name
        raise
