"""A TCP proxy in threads, for tests that need a network that holds, cuts, damages or answers what a client sends."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self


class Proxy:
    """Listens on a free port of 127.0.0.1 and passes on to ``target`` (a port there)."""

    def __init__(self, target: int) -> None:
        self.target = target
        #: Applied to each piece that a client sent before it is passed on; the first argument tells connections apart.
        self.mangle: Callable[[int, bytes], bytes] = lambda connection, data: data
        #: The same for what the server answers.
        self.mangle_answer: Callable[[int, bytes], bytes] = lambda connection, data: data
        #: Given the first piece of a request, what is answered in place of the server, which then never sees it.
        self.instead: Callable[[bytes], bytes | None] = lambda piece: None
        #: Bytes that clients have sent and that were passed on.
        self.passed = 0
        self._hold_at: int | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def hold_after(self, count: int) -> None:
        """Pass on no more than about ``count`` further bytes until `release`."""
        with self._changed:
            self._hold_at = self.passed + count

    def wait_until_held(self, timeout: float = 30) -> None:
        """Wait until the hold is reached."""
        with self._changed:
            reached = self._changed.wait_for(
                lambda: self._hold_at is not None and self.passed >= self._hold_at, timeout
            )
        assert reached, f"only {self.passed} bytes came"

    def release(self) -> None:
        """Pass on again."""
        with self._changed:
            self._hold_at = None
            self._changed.notify_all()

    def cut(self) -> None:
        """Cut all connections."""
        with self._changed:
            sockets = list(self._sockets)
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _spawn(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            with self._changed:
                self._sockets |= {client, server}
            self._spawn(self._serve, client, server)

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        back = threading.Thread(target=self._pump, args=(server, client, False), daemon=True)
        back.start()
        self._pump(client, server, True)
        back.join()
        with self._changed:
            self._sockets -= {client, server}
        client.close()
        server.close()

    def _pump(self, source: socket.socket, sink: socket.socket, upward: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if upward and (answer := self.instead(data)) is not None:
                    source.sendall(answer)
                    source.shutdown(socket.SHUT_WR)
                    # Were it closed at once, what is still on the way would have the answer thrown away.
                    while source.recv(65536):
                        pass
                    break
                if upward:
                    with self._changed:
                        self._changed.wait_for(
                            lambda: self._closed or self._hold_at is None or self.passed < self._hold_at
                        )
                        self.passed += len(data)
                        self._changed.notify_all()
                    data = self.mangle(id(source), data)
                else:
                    data = self.mangle_answer(id(sink), data)
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
