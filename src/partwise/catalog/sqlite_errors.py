"""Classification of SQLite's errors (busy, full, damaged), and the errors raised to callers."""

from __future__ import annotations

import logging
import sqlite3

from sqlalchemy.exc import DBAPIError

from partwise.core.errors import OutOfSpace, StorageFailed

logger = logging.getLogger(__name__)


def is_busy(error: BaseException) -> bool:
    """Return whether another process held the lock."""
    return isinstance(error, sqlite3.Error) and _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def may_be_full(error: BaseException) -> bool:
    """Return whether the disk may have no room: SQLite's files beside the database cannot be made then either."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    codes = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
    return isinstance(cause, sqlite3.Error) and _code(cause) in codes


def is_damaged(error: BaseException) -> bool:
    """Return whether the file's content is not what SQLite wrote."""
    return isinstance(error, sqlite3.Error) and _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; the upper bits say more exactly where it happened."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def translated(error: BaseException) -> BaseException:
    """The error for the caller: a database that cannot do its work is a failing storage, anything else is itself."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    defect = isinstance(cause, sqlite3.IntegrityError | sqlite3.ProgrammingError)
    if not isinstance(cause, sqlite3.DatabaseError) or defect:
        return error
    advice = ". It is damaged: stop the server and restore a backup" if is_damaged(cause) else ""
    logger.error("the metadata database failed: %s%s", cause, advice)
    if _code(cause) == sqlite3.SQLITE_FULL:
        found: BaseException = OutOfSpace(
            "The metadata database is full. Try again later, or ask the operator to free space."
        )
    else:
        found = StorageFailed("The metadata database is unavailable. Try again later.")
    found.__cause__ = error
    return found
