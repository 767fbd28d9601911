"""The named points of the protocol, and the hook that ends the process at one of them."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections import Counter
from functools import cache
from pathlib import Path

import partwise

_CALL = re.compile(r'failpoint\("([a-z_.]+)"\)')


#: Sources with the points of one storage alone, and points that only bytes in place have.
_OBJECTS = ("storage/objects/storage.py", "storage/objects/housekeeping.py")
_FILES = ("storage/local.py", "storage/claims.py", "storage/files.py")
_IN_PLACE = {"chunk.unrecorded", "flush.synced", "release.linked", "release.recorded", "release.unlinked"}


@cache
def names(*, objects: bool = False) -> tuple[str, ...]:
    """All that the code has for a storage, in order: read from its source, so that a new one is not forgotten."""
    if objects:
        return tuple(sorted(_found(_FILES) - _IN_PLACE))
    return tuple(sorted(_found(_OBJECTS)))


def _found(left_out: tuple[str, ...]) -> set[str]:
    package = Path(partwise.__file__).parent
    sources = [path for path in package.rglob("*.py") if path.relative_to(package).as_posix() not in left_out]
    return {name for path in sources for name in _CALL.findall(path.read_text())}


class Killer:
    """A fail point hook that counts, and kills the process with SIGKILL at the ``nth`` pass of ``name`` (of any)."""

    def __init__(self, name: str | None = None, nth: int = 0) -> None:
        self.passes: Counter[str] = Counter()
        self._name, self._nth = name, nth
        self._mutex = threading.Lock()  # points are passed on worker threads too

    def __call__(self, name: str) -> None:
        with self._mutex:
            self.passes[name] += 1
            count = self.passes[name] if self._name else self.passes.total()
            if count == self._nth and self._name in (None, name):
                os.kill(os.getpid(), signal.SIGKILL)
