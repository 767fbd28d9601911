"""curl as the client: processes that each send their share of a file's pieces, over one connection."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from bench.harness import Bench
from bench.load import Refused, Span, split
from bench.servers import Nginx, Partwise

PROCESSES = 8
CURL = ["curl", "--silent", "--show-error"]

#: The URL that a piece is put to, and header fields of the request.
Target = Callable[[Span], tuple[str, tuple[str, ...]]]


class Pieces:
    """The file, and its pieces as files of their own, as ``split`` makes them: curl cannot send a part of a file."""

    def __init__(self, bench: Bench) -> None:
        self._size = bench.scale.size
        self._folder = bench.folder / "pieces"
        self._folder.mkdir()
        self.whole = self._folder / "whole"
        self.spans = split(bench.scale.size, bench.scale.chunk)
        bench.source.cut(bench.whole, self.whole)
        for span in self.spans:
            bench.source.cut(span, self._path(span))

    def _path(self, span: Span) -> Path:
        return self._folder / f"{span.offset:015}"

    def remove(self) -> None:
        for file in self._folder.iterdir():
            file.unlink()
        self._folder.rmdir()

    def to_partwise(self, server: Partwise, href: str) -> Target:
        """The pieces as chunks of the upload ``href``."""
        # Without the final slash, which curl would put the file's name behind.
        url = f"{server.url}{href.rstrip('/')}"
        return lambda span: (url, (f"Content-Range: bytes {span.offset}-{span.end - 1}/{self._size}",))

    def to_nginx(self, server: Nginx) -> Target:
        """Each piece as a file of its own, in the order of their names."""
        return lambda span: (f"http://127.0.0.1:{server.port}/{span.offset:015}", ())

    def send(self, target: Target) -> None:
        """Send all pieces. Raises Refused."""
        processes = [
            subprocess.Popen([*CURL, "--config", self._config(target, number)])
            for number in range(min(PROCESSES, len(self.spans)))
        ]
        if sum([process.wait() for process in processes]):
            raise Refused("curl failed")

    def _config(self, target: Target, number: int) -> Path:
        requests = []
        for span in self.spans[number::PROCESSES]:
            url, headers = target(span)
            lines = [f'url = "{url}"', "fail", f'upload-file = "{self._path(span)}"', 'output = "/dev/null"']
            requests.append("\n".join([*lines, *(f'header = "{header}"' for header in headers)]))
        path = self._folder / f"curl-{number}"
        path.write_text("\nnext\n".join(requests) + "\n")
        return path
