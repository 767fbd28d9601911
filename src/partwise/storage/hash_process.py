"""The program of the hash process (``hashing.py`` starts it): hashes files as it is told on standard input.

A SHA-256 in the server's own process shares the interpreter's lock with all that receives and answers, and for each
block it waits until it has that lock again: under load that was half of its time. Here nothing else needs one. The
program is run by its path and uses the standard library alone, so that it starts at once and stays small.

Messages are lines of JSON, on a socket that is standard input and output in one. In, ``[hash, what, …]``; those of one
hash are carried out in their order, those of several hashes side by side, in turn:

====================================  ===========================================================================
``[1, "begin", algorithms]``          begin anew, with these beside SHA-256 (``hashlib`` names them)
``[1, "feed", path, offset, size]``   go over these bytes of a file; answered ``[1, "fed", size]``
``[1, "mark"]``                       remember the state
``[1, "forget"]``                     forget the oldest state remembered
``[1, "rewind"]``                     go back to the oldest state remembered, and forget all
``[1, "digest"]``                     answered ``[1, "digest", {"sha256": hex, …}]``
``[1, "close"]``                      forget the hash
====================================  ===========================================================================

Once a file could not be read, each question about the hash is answered ``[1, "failed", errno, words]``: ENOENT when it
has no name any more, ENODATA when it ends too early.

At the end of its input, so also when the server is killed, the program ends.
"""

import contextlib
import errno
import hashlib
import json
import os
import queue
import signal
import socket
import stat
import sys
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

_BLOCK = 1 << 20


class State:
    """Running hashes of the same bytes: the SHA-256, and others by their algorithms."""

    def __init__(self, algorithms: Iterable[str] = ()) -> None:
        self._hashers = {name: hashlib.new(name, usedforsecurity=False) for name in ("sha256", *algorithms)}

    def update(self, block: memoryview) -> None:
        """Hash the next block."""
        for hasher in self._hashers.values():
            hasher.update(block)

    def copy(self) -> "State":
        """The state of now, which stays as it is."""
        made = State()
        made._hashers = {name: hasher.copy() for name, hasher in self._hashers.items()}
        return made

    def digests(self) -> dict[str, str]:
        """Those of the bytes so far, in hex, by their algorithms."""
        return {name: hasher.hexdigest() for name, hasher in self._hashers.items()}


class _Failure(Exception):
    """A file could not be read: an errno, and words for it."""


class _Hash:
    """One running hash, and the messages for it that are still to be carried out."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.waiting: deque[list[Any]] = deque()
        #: Whether a thread has it, or will.
        self.scheduled = False
        self._state = State()
        self._marks: deque[State] = deque()
        self._failure: _Failure | None = None

    def carry_out(self, what: str, arguments: list[Any], block: memoryview) -> list[Any] | None:
        """The answer, if there is one."""
        if what == "mark":
            self._marks.append(self._state.copy())
        elif what == "forget":
            self._marks.popleft()
        elif what == "rewind":
            self._state = self._marks.popleft()
            self._marks.clear()
        elif what == "begin":
            self._state = State(*arguments)
        else:
            return [self.number, *self._answer(what, arguments, block)]
        return None

    def _answer(self, what: str, arguments: list[Any], block: memoryview) -> list[Any]:
        try:
            if self._failure is not None:
                raise self._failure
            if what == "digest":
                return ["digest", self._state.digests()]
            path, offset, size = arguments
            self._feed(path, offset, size, block)
        except _Failure as failure:
            self._failure = failure
            return ["failed", *failure.args]
        return ["fed", size]

    def _feed(self, path: str, offset: int, size: int, block: memoryview) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise _Failure(errno.ELOOP, "not a plain file")
                end = offset + size
                while offset < end:
                    count = os.preadv(fd, [block[: end - offset]], offset)
                    if not count:
                        gone = os.fstat(fd).st_nlink == 0
                        raise _Failure(errno.ENOENT if gone else errno.ENODATA, "a file ends before its last chunk")
                    self._state.update(block[:count])
                    offset += count
            finally:
                os.close(fd)
        except OSError as error:
            raise _Failure(error.errno, error.strerror) from error


class _Program:
    """Reads messages on one thread, and carries them out on others."""

    def __init__(self, connection: socket.socket, threads: int) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._answering = threading.Lock()
        self._hashes: dict[int, _Hash] = {}
        self._ready: queue.SimpleQueue[_Hash] = queue.SimpleQueue()
        for _ in range(threads):
            threading.Thread(target=self._work, daemon=True).start()

    def run(self) -> None:
        """Until the input ends."""
        for line in self._connection.makefile("rb"):
            number, *message = json.loads(line)
            with self._lock:
                hash_ = self._hashes.setdefault(number, _Hash(number))
                hash_.waiting.append(message)
                if not hash_.scheduled:
                    hash_.scheduled = True
                    self._ready.put(hash_)

    def _work(self) -> None:
        block = memoryview(bytearray(_BLOCK))
        while True:
            hash_ = self._ready.get()
            what, *arguments = hash_.waiting.popleft()
            if what == "close":
                with self._lock:
                    del self._hashes[hash_.number]
                continue
            answer = hash_.carry_out(what, arguments, block)
            if answer is not None:
                self._send(answer)
            with self._lock:
                hash_.scheduled = bool(hash_.waiting)
                if hash_.scheduled:
                    self._ready.put(hash_)

    def _send(self, answer: list[Any]) -> None:
        line = json.dumps(answer).encode() + b"\n"
        with self._answering, contextlib.suppress(OSError):  # the server was killed; the input ends too
            self._connection.sendall(line)


def main() -> None:
    """``hash_process.py THREADS``, with a socket as standard input."""
    # It ends with the server, which may still have to finish what it does when a terminal or a service says stop.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # the server was killed
        _Program(socket.socket(fileno=0), int(sys.argv[1])).run()
    os._exit(0)  # without waiting for what nobody wants to know any more


if __name__ == "__main__":
    main()
