"""``partwise serve`` as if no blocks could be shared, whose copies wait until the file ``go`` is in the data folder.

``python -m tests.protocol.tus.slow_copies``; a copy that waits makes the file ``begun`` there.
"""

from __future__ import annotations

import errno
import os
import time

from partwise.server.run import serve
from partwise.server.settings import Settings
from partwise.storage.files import SystemCalls

_SETTINGS = Settings()


def _wait_and_copy(src: int, dst: int, count: int, offset_src: int | None = None, offset_dst: int | None = None) -> int:
    (_SETTINGS.data / "begun").touch()
    while not (_SETTINGS.data / "go").exists():
        time.sleep(0.01)
    return os.copy_file_range(src, dst, count, offset_src, offset_dst)


def _share(source: int, target: int, size: int, offset: int) -> None:
    raise OSError(errno.EOPNOTSUPP, "this one does not share blocks")


SystemCalls.copy_file_range = staticmethod(_wait_and_copy)
SystemCalls.clone_range = staticmethod(_share)

if __name__ == "__main__":
    serve(_SETTINGS)
