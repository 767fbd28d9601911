"""Plan of the ranges to send: the missing ranges, split into chunks, lowest offset first."""

from __future__ import annotations

from collections.abc import Iterable

from partwise.core.ranges import ByteRange, missing_ranges, split

MIB = 1024 * 1024
DEFAULT_CHUNK_BYTES = 16 * MIB
#: A server keeps a record of each chunk; more of them than this help nobody.
MOST_CHUNKS = 20_000


def choose_chunk_size(size: int, wanted: int | None, advised: int | None) -> int:
    """Bytes in a chunk of a file of ``size`` bytes: what the user ``wanted``, else what the server ``advised``.

    Unless wanted, chunks of very large files grow (in whole MiB), so that there are at most MOST_CHUNKS.
    """
    if wanted is not None:
        return wanted
    usual = advised or DEFAULT_CHUNK_BYTES
    if size <= usual * MOST_CHUNKS:
        return usual
    return -(-size // (MOST_CHUNKS * MIB)) * MIB


def plan(size: int, recorded: Iterable[ByteRange], chunk_size: int) -> list[ByteRange]:
    """The ranges to send for a file of ``size`` bytes of which the server has ``recorded``.

    They lie within the gaps, so they overlap no recorded chunk, whatever chunk size it was sent with. Lowest offset
    first: the server's digest follows behind the contiguous part, so this order makes the commit immediate.
    """
    return [piece for gap in missing_ranges(size, sorted(recorded)) for piece in split(gap, chunk_size)]
