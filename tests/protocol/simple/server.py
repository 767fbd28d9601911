"""``partwise serve`` with one more dialect, in a process that can be killed at a point: see ``tests.crash.server``."""

from __future__ import annotations

import tests.crash.server  # noqa: F401 - its failpoints
from partwise.protocols import DIALECTS
from partwise.server.run import serve
from partwise.server.settings import Settings
from tests.protocol.simple import dialect

DIALECTS["simple"] = dialect

if __name__ == "__main__":
    serve(Settings())
