"""Delta downloads: what a local file has of an artifact is taken from there, and only the rest is received."""

from __future__ import annotations

import threading
from bisect import bisect_right

from partwise.client.delta import looks_alike
from partwise.client.http import Http
from partwise.client.models import ArtifactInfo, Observer, Phase
from partwise.client.retry import Patience
from partwise.client.signatures import NoSignature, Scan, fetch_signature
from partwise.client.source import LocalFile
from partwise.core.delta import Copy, Matcher, Script, Send
from partwise.core.ranges import ByteRange
from partwise.core.signature import Signature

#: A shorter range is received, even if the local file has it: each gap costs a request, one after the other.
SMALLEST_TAKEN = 64 << 10


class Steps:
    """Plan of a patch: ranges to copy from the local file and ranges to receive, without a gap."""

    def __init__(self, parts: list[Copy | Send]) -> None:
        self._parts = parts
        self._offsets = [part.range.offset for part in parts]

    def at(self, offset: int) -> Copy | Send:
        """Return the rest of the range that holds byte ``offset``."""
        part = self._parts[bisect_right(self._offsets, offset) - 1]
        rest = ByteRange(offset, part.range.end - offset)
        if isinstance(part, Copy):
            return Copy(rest, part.source + offset - part.range.offset)
        return Send(rest)

    @property
    def local(self) -> int:
        """Bytes that come from the local file."""
        return sum(part.range.size for part in self._parts if isinstance(part, Copy))


def find_steps(
    http: Http,
    artifact: ArtifactInfo,
    base: LocalFile,
    observer: Observer,
    patience: Patience,
    cancelled: threading.Event,
    *,
    always: bool,
) -> Steps | None:
    """Compare ``base`` with the artifact; None: receive all of it.

    ``always``: compare the whole file, also where its first look promises little. Raises ClientError.
    """
    scan = Scan(base, cancelled, lambda offset: observer.progress(Phase.COMPARING, offset, base.size))
    try:
        signature = fetch_signature(http, artifact, patience, cancelled, scan=scan)
    except NoSignature as error:
        observer.note(f"Receiving the whole file: {error}")
        return None
    if not always and not looks_alike(base, Matcher(signature), signature.cutting):
        observer.note(f"Receiving the whole file: {base.path.name} has little in common with it.")
        return None
    observer.note(f"Comparing with {base.path.name}, which is here already.")
    table = scan.table(signature.cutting)
    script = Script(Matcher(Signature(signature.cutting, base.size, "", table)), smallest_copy=SMALLEST_TAKEN)
    parts = [part for piece in signature.pieces() for part in script.add(piece)]
    return Steps([*parts, *script.end()])
