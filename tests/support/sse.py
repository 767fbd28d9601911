"""A reader of Server-Sent Events that shows each block as it came."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Block:
    """One block: the values of its fields, and how many comments it has."""

    fields: dict[str, str] = field(default_factory=dict)
    comments: int = 0

    @property
    def json(self) -> Any:
        """The data."""
        return json.loads(self.fields["data"])


class Stream:
    """An answer that is a stream, or not one."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self.status = response.status
        self.headers = response.headers

    def block(self) -> Block | None:
        """The next block; None at the end of the stream."""
        block = Block()
        while line := self.response.readline().decode().removesuffix("\n"):
            name, _, value = line.partition(":")
            if name:
                block.fields[name] = value.removeprefix(" ")
            else:
                block.comments += 1
        return block if block.fields or block.comments else None

    def event(self) -> Block | None:
        """The next block with data; None at the end of the stream."""
        while block := self.block():
            if "data" in block.fields:
                return block
        return None


@contextmanager
def stream(port: int, path: str, **headers: str) -> Iterator[Stream]:
    """Ask for a stream, on a connection of its own."""
    fields = {"Accept": "text/event-stream"} | {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers=fields)
        with connection.getresponse() as response:
            yield Stream(response)
    finally:
        connection.close()
