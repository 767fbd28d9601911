"""Moves an artifact's file out to the application, within one file system; ``engine/release.py`` has the order."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from partwise.core.errors import Conflict, NotFound
from partwise.storage.files import SystemCalls, failures, open_file, sync_folder

#: What is wrong with a path, by the system's word for it.
_WRONG = {
    errno.EXDEV: "The path is on another file system than the data folder: a file is released by renaming it.",
    errno.ENOENT: "There is no such folder.",
    errno.ENOTDIR: "There is no such folder.",
    errno.EACCES: "The server may not write there.",
    errno.EPERM: "The server may not write there.",
    errno.EROFS: "The server may not write there.",
    errno.ENAMETOOLONG: "The path is too long.",
    errno.ELOOP: "The path leads nowhere.",
}


def link_out(calls: SystemCalls, source: str, path: str) -> None:
    """Give the file at ``source`` the name ``path`` too. Conflict, NotFound, StorageFailed."""
    made = True
    try:
        calls.link(source, path, follow_symlinks=False)
    except FileExistsError:
        if not is_same(source, path):
            raise Conflict(
                "The artifact cannot be released: a file already exists at the path. Choose another path."
            ) from None
        made = False
    except OSError as error:
        if not os.path.lexists(source):
            raise NotFound("artifact") from error
        if error.errno in _WRONG:
            raise Conflict(_WRONG[error.errno]) from error
        with failures("release a file"):
            raise
    with failures("release a file"):
        if os.lstat(path).st_nlink > 2:
            # An upload that is being committed has the file: it may still be written, or linked anew.
            if made:
                os.unlink(path)
            busy = Conflict(
                "The artifact cannot be released: "
                "an upload is being committed with the same file. Try again in a moment."
            )
            busy.retry_after = 1
            raise busy
        sync_folder(calls, os.path.dirname(path))


def take_back(source: str, path: str) -> None:
    """Take the name ``path`` away, if it is the same file's."""
    with failures("release a file"), suppress(FileNotFoundError):
        if is_same(source, path):
            os.unlink(path)


def let_go(calls: SystemCalls, source: str, path: str) -> None:
    """Take the name ``source`` away if it is the same file's, then make the file its new owner's to write."""
    with failures("release a file"):
        if is_same(source, path):
            os.unlink(source)
            sync_folder(calls, os.path.dirname(source))
        with suppress(FileNotFoundError):
            fd = open_file(path, os.O_RDONLY)
            try:
                if os.fstat(fd).st_mode & 0o777 == 0o400:
                    os.fchmod(fd, 0o600)
            finally:
                os.close(fd)


def is_same(source: str, path: str) -> bool:
    """Return whether both names are links to one file."""
    try:
        return os.path.samestat(os.lstat(source), os.lstat(path))
    except FileNotFoundError:
        return False
