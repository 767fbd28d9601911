"""Exit codes: their meanings, and the errors that lead to them. ``docs/cli.md`` and ``--help`` show the same table."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    UNVERIFIED = 4
    NO_ROOM = 5
    NOT_ALLOWED = 6
    NOT_FOUND = 7
    INTERRUPTED = 130


MEANINGS: dict[Exit, str] = {
    Exit.OK: "done",
    Exit.FAILED: "failed for another reason; see the message",
    Exit.USAGE: "usage error, or a local file cannot be used",
    Exit.UNREACHABLE: "the server is unreachable, or the connection kept failing",
    Exit.UNVERIFIED: "checksum mismatch, or the file changed during the transfer",
    Exit.NO_ROOM: "refused: a limit, the quota or the server's disk is exhausted",
    Exit.NOT_ALLOWED: "the token is missing or wrong",
    Exit.NOT_FOUND: "no such upload or artifact",
    Exit.INTERRUPTED: "interrupted (Ctrl-C)",
}


def exit_code(error: BaseException) -> Exit:
    """The code for an error that ended a command."""
    from partwise.client import errors

    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    if isinstance(error, errors.CannotReachServer):
        return Exit.UNREACHABLE
    if isinstance(error, (errors.VerificationFailed, errors.FileChanged)):
        return Exit.UNVERIFIED
    if isinstance(error, errors.SourceFailed):
        return Exit.USAGE
    if isinstance(error, errors.AnswerError):
        # A server that stays busy is one that cannot be reached.
        if error.status in (502, 503, 504):
            return Exit.UNREACHABLE
        kinds = {errors.NoRoom: Exit.NO_ROOM, errors.NotAllowed: Exit.NOT_ALLOWED, errors.NotFound: Exit.NOT_FOUND}
        return kinds.get(type(error), Exit.FAILED)
    return Exit.USAGE if isinstance(error, OSError) else Exit.FAILED
