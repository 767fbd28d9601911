"""The files of a command: those named, and with ``--recursive`` those below the named folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path


def find_files(
    paths: Iterable[Path], *, recursive: bool, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Iterator[tuple[Path, str | None]]:
    """Each file to upload, and its name where it is another than its own: below a folder its path from there.

    ``include`` and ``exclude`` are shell patterns for files below folders: they are compared with the name and with
    the path from the folder. Hidden files count, links to folders are not followed, and what is no regular file is
    passed over. Raises OSError for a folder that cannot be read, and for one without ``recursive``.
    """
    for path in paths:
        if not path.is_dir():
            yield path, None
            continue
        if not recursive:
            raise IsADirectoryError(21, "is a folder. Use --recursive (-r) to upload what is in it", str(path))
        root = path.resolve()
        for file in _walk(root):
            inside = file.relative_to(root)
            if _matches(inside, include or ("*",)) and not _matches(inside, exclude):
                yield file, f"{root.name}/{inside.as_posix()}"


def _walk(root: Path) -> Iterator[Path]:
    """The regular files below ``root``, and links to such, in the order of their names."""
    with os.scandir(root) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        elif entry.is_file():
            yield Path(entry.path)


def _matches(path: Path, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path.name, pattern) or fnmatchcase(path.as_posix(), pattern) for pattern in patterns)
