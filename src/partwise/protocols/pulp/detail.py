"""The JSON of an upload with its chunks (``models.UploadDetail``), written while their rows are read.

There may be a hundred thousand of them: they, and models of them, are never in memory together.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from partwise.core.ranges import Gaps
from partwise.core.records import Chunk


async def detail_json(
    members: dict[str, Any],
    chunks: AsyncIterator[Chunk],
    gaps: Gaps,
    *,
    digests: bool,
    wanted: Callable[[str], bool] | None,
) -> AsyncIterator[str]:
    """An upload's own ``members``, its ``chunks``, and what is missing, in parts.

    ``gaps`` is complete once the chunks have passed. ``digests``: show those of chunks. ``wanted`` says of a member, by
    its name, whether it was asked for; None: all were.
    """
    wanted = wanted or (lambda _name: True)
    head = {name: value for name, value in members.items() if wanted(name)}
    yield _json(head)[:-1]
    comma = "," if head else ""
    if wanted("chunks"):
        yield f'{comma}"chunks":['
        comma = ""
    async for chunk in chunks:
        if wanted("chunks"):
            yield comma + _chunk(chunk, digests=digests)
            comma = ","
    if wanted("chunks"):
        yield "]"
        comma = ","
    missing = [{"offset": gap.offset, "size": gap.size} for gap in gaps.first]
    tail = {"missing": missing, "missing_count": gaps.count}
    tail = {name: value for name, value in tail.items() if wanted(name)}
    yield (comma if tail else "") + _json(tail)[1:]


def _chunk(chunk: Chunk, *, digests: bool) -> str:
    """By hand: a thousand times as many as of all else."""
    digest = f',"sha256":{json.dumps(chunk.sha256)}' if digests else ""
    return f'{{"offset":{chunk.offset},"size":{chunk.size}{digest}}}'


def _json(members: dict[str, Any]) -> str:
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False)
