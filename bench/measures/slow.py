"""Whether a fast upload stays fast beside many slow clients, and what those cost."""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType
from typing import Self

from bench.harness import Bench
from bench.procfs import cpu_seconds, resident_memory
from bench.report import MiB, Section, Series, Table, at_least, rate, size_text, spread
from bench.servers import Partwise

#: Large enough for the server's fast way of taking bodies, which is what slow clients could hold up.
_CHUNK = 256 << 10
_CONNECTIONS = 8
_SECOND = 1024
#: The longest wait for the server to let all in; the processor seconds in a second below which it has.
_SETTLE_SECONDS, _SETTLED = 30.0, 0.3


def run(bench: Bench) -> Section:
    count, rounds = bench.scale.slow_clients, min(3, bench.scale.rounds)
    alone, beside, idle, memory, kept = Series(), Series(), Series(), Series(), Series()
    with bench.partwise() as server:
        bench.upload_seconds(server, _CONNECTIONS)  # loads what is loaded when first needed
        for number in range(rounds):
            alone.append(bench.upload_seconds(server, _CONNECTIONS))
            before = resident_memory(server.pids)
            with _SlowClients(server, count) as clients:
                memory.append(resident_memory(server.pids) - before)
                started = time.monotonic(), cpu_seconds(server.pids)
                time.sleep(1.0)
                idle.append((cpu_seconds(server.pids) - started[1]) / (time.monotonic() - started[0]))
                beside.append(bench.upload_seconds(server, _CONNECTIONS))
                kept.append(clients.connected())
            bench.say(f"  round {number + 1}  alone {alone[-1]:.3f}, beside {beside[-1]:.3f}, {kept[-1]:.0f} slow ones")
    section = Section(
        f"A fast upload beside {count:,} slow ones",
        f"{size_text(bench.scale.size)} over {_CONNECTIONS} connections, {rounds} rounds, alone and beside {count:,} "
        "connections that each send a chunk at 1 KiB/s.",
    )
    size = bench.scale.size
    rows = [
        ("seconds alone", spread(alone)),
        ("seconds beside them", spread(beside)),
        ("MB/s alone", rate(size, alone.median)),
        ("MB/s beside them", rate(size, beside.median)),
        ("memory that they add, at most (MiB)", f"{max(memory) / MiB:.0f}"),
        ("processor that they take (of one core)", f"{idle.median:.0%}"),
        ("slow connections still open at the end", f"{min(kept):,.0f}"),
    ]
    section.tables.append(Table(("", ""), rows))
    section.targets.append(
        at_least(f"fast upload beside {count:,} slow ones, speed against alone", alone.over(beside), 0.7)
    )
    return section


class _SlowClients:
    """Connections that each send one chunk of an upload at 1 KiB/s, as long as the ``with`` block lasts."""

    def __init__(self, server: Partwise, count: int) -> None:
        self._server = server
        self._href = server.create(count * _CHUNK)
        self._over = threading.Event()
        self._connections = [self._connect(number, count) for number in range(count)]
        self._thread = threading.Thread(target=self._trickle, name="slow-clients")

    def _connect(self, number: int, count: int) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._server.port))
        start = number * _CHUNK
        head = (
            f"PUT {self._href} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {_CHUNK}\r\n"
            f"Content-Range: bytes {start}-{start + _CHUNK - 1}/{count * _CHUNK}\r\n\r\n"
        )
        connection.sendall(head.encode() + bytes(_SECOND))
        connection.setblocking(False)
        return connection

    def __enter__(self) -> Self:
        self._thread.start()
        self._settle()
        return self

    def _settle(self) -> None:
        """Wait until the server has let all of them in, after which it has next to nothing to do."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        used = cpu_seconds(self._server.pids)
        while time.monotonic() < deadline:
            time.sleep(1.0)
            before, used = used, cpu_seconds(self._server.pids)
            if used - before < _SETTLED:
                return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        for connection in self._connections:
            connection.close()
        self._server.delete(self._href)

    def connected(self) -> int:
        """How many the server has neither closed nor answered."""
        return sum(map(_is_silent, self._connections))

    def _trickle(self) -> None:
        """A tenth of the connections every tenth of a second."""
        block = bytes(_SECOND)
        turn = 0
        while not self._over.wait(0.1):
            for connection in self._connections[turn % 10 :: 10]:
                try:
                    connection.send(block)
                except OSError:
                    continue  # counted by ``connected``
            turn += 1


def _is_silent(connection: socket.socket) -> bool:
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
