"""A line of limited speed before a server: a TCP proxy in threads that counts what passes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

#: Bytes that pass at once: a few milliseconds of a slow line.
_PIECE = 32 << 10


class Line:
    """Passes connections on to ``target``, a port of this machine, at so many bytes a second each way in all.

    ``rate`` None: as fast as it goes.
    """

    def __init__(self, target: int, rate: float | None = None) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.up, self.down = _Way(rate), _Way(rate)
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def passed(self) -> int:
        """Bytes that passed, both ways."""
        return self.up.passed + self.down.passed

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for connection in (*self._sockets, self._listener):
            connection.close()

    def _spawn(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(_pass, client, server, self.up)
            self._spawn(_pass, server, client, self.down)


class _Way:
    """One direction: a bucket that all its connections draw from."""

    def __init__(self, rate: float | None) -> None:
        self.passed = 0
        self._rate = rate
        self._free = time.monotonic()
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Wait until ``count`` more bytes may pass."""
        with self._lock:
            self.passed += count
            if self._rate is None:
                return
            now = time.monotonic()
            self._free = max(self._free, now) + count / self._rate
            pause = self._free - now
        time.sleep(pause)


def _pass(source: socket.socket, target: socket.socket, way: _Way) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(_PIECE):
            way.take(len(block))
            target.sendall(block)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
