"""``partwise events``: print the feed of events, or run a command for each."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from partwise.cli.exits import Exit
from partwise.cli.output import emit, exit_with_message, say
from partwise.client import AnswerError, CannotReachServer, Client, EventInfo
from partwise.client.retry import waits, worth_another_try

#: Seconds that the server waits for the next event before it answers that there is none.
_WAIT = 25
_EVENTS = 100


class CursorFile:
    """Keeps the cursor of a reader in a file, which one process uses at a time; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> CursorFile:
        """Lock it. Raises BlockingIOError when another process has it, OSError when it cannot be made."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = self._path.with_name(f"{self._path.name}.lock")
        self._fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise BlockingIOError(
                11, "another process uses this cursor file. Stop it, or name another file", str(self._path)
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def read(self) -> str | None:
        """The cursor; None when there is none yet."""
        try:
            return self._path.read_text().strip() or None
        except FileNotFoundError:
            return None

    def write(self, cursor: str) -> None:
        """Replace the cursor, whole or not at all, and durably."""
        with tempfile.NamedTemporaryFile("w", dir=self._path.parent, prefix=".cursor-", delete=False) as file:
            try:
                file.write(f"{cursor}\n")
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, self._path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)  # an interrupt may come after the replacement
                raise


def follow(
    client: Client, *, after: str | None, types: Sequence[str], cursor: Path | None, command: str | None, forever: bool
) -> Exit:
    """Hand the events on, in their order. ``forever``: wait for new ones, and outlast failures."""
    with exit_with_message("The cursor is kept. Run the same command again to continue."):
        if cursor is None:
            return _Follower(client, types, None, command, forever).run(after)
        with CursorFile(cursor) as file:
            return _Follower(client, types, file, command, forever).run(file.read() or after)


class _Follower:
    """One run of the command."""

    def __init__(
        self, client: Client, types: Sequence[str], cursor: CursorFile | None, command: str | None, forever: bool
    ) -> None:
        self._client = client
        self._types = types
        self._cursor = cursor
        self._command = command
        self._forever = forever
        self._kept = "" if cursor is None else cursor.read()

    def run(self, after: str | None) -> Exit:
        pauses = waits()
        while True:
            try:
                wait = _WAIT if self._forever else 0
                batch = self._client.events(after=after, types=self._types, limit=_EVENTS, wait=wait)
            except (AnswerError, CannotReachServer) as error:
                if not self._forever or not worth_another_try(error):
                    raise
                say(f"partwise: {error}", "yellow")
                threading.Event().wait(next(pauses))
                continue
            pauses = waits()
            for event in batch.events:
                if not self._hand_on(event):
                    return Exit.FAILED
                self._keep(event.cursor)
            # Also past events of other types, or of others: the cursor must not fall behind the horizon.
            self._keep(batch.cursor)
            after = batch.cursor
            if not self._forever and not batch.more:
                return Exit.OK

    def _hand_on(self, event: EventInfo) -> bool:
        """Handle the event. With ``--follow``, retry until it succeeds, because no event may be skipped."""
        if self._command is None:
            emit(dict(event.raw))
            return True
        for pause in waits(0.5):
            status = _run(self._command, event)
            if status == 0:
                return True
            say(f"partwise: the command ended with {status} for {event.id} ({event.type}).", "yellow")
            if not self._forever:
                return False
            threading.Event().wait(pause)
        raise AssertionError("the waits have no end")

    def _keep(self, cursor: str) -> None:
        if self._cursor is not None and cursor != self._kept:
            self._cursor.write(cursor)
            self._kept = cursor


def _run(command: str, event: EventInfo) -> int:
    """Run the operator's command with the event as JSON on its standard input; its exit status."""
    text = json.dumps(event.raw) + "\n"
    ran = subprocess.run(["/bin/sh", "-c", command], input=text, text=True, check=False)  # noqa: S603
    return ran.returncode
