"""``partwise serve``, of which a process kills itself once, at the pass of a point that the environment names.

``python -m tests.crash.server`` with CRASH_POINT (a name), CRASH_PASS (a number) and CRASH_ONCE (a file that the dying
process makes, so that those after it live).
"""

from __future__ import annotations

import os
import signal
from functools import partial

from partwise.engine.engine import Engine
from partwise.server import assembly
from partwise.server.run import serve
from partwise.server.settings import Settings
from partwise.storage.local import LocalStorage

_passes = 0


def _point(name: str) -> None:
    global _passes
    if name != os.environ.get("CRASH_POINT"):
        return
    _passes += 1
    if _passes != int(os.environ["CRASH_PASS"]):
        return
    try:
        os.close(os.open(os.environ["CRASH_ONCE"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


# Worker processes import this module too, under another name, before they make their engine.
setattr(assembly, "LocalStorage", partial(LocalStorage, failpoint=_point))  # noqa: B010
setattr(assembly, "Engine", partial(Engine, failpoint=_point))  # noqa: B010

if __name__ == "__main__":
    serve(Settings())
