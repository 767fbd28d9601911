"""Runners of transactions, one for each database. A transaction is a plain function of a connection.

So the queries are written once, read as a straight sequence of statements, and know neither threads nor tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection

P = ParamSpec("P")
T = TypeVar("T")


class Runner(Protocol):
    """Runs transactions against one database."""

    async def start(self, *, look_only: bool = False) -> None:
        """Open connections. ``look_only``: the caller only reads, and the database is not changed by that."""

    async def stop(self) -> None:
        """Finish what waits, and close connections."""

    async def check_writable(self) -> None:
        """Find out cheaply whether reads and writes can succeed. StorageFailed when they cannot."""

    async def read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``query`` in a transaction that sees one snapshot and changes nothing."""

    async def look_up(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``read`` of a few rows by their keys, where it may run without a thread of its own.

        ``query`` consists of prepared statements (``prepared.py``) alone.
        """

    async def write(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``query`` in a transaction that is durable when this returns, and undone when it raises.

        What was handed over is carried out even when the caller is cancelled while it waits. ``query`` may run
        more than once, and has no effect but through its connection.
        """

    async def free(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``write`` what leads to room being given back: it may use the room that is kept for that, if any is."""
