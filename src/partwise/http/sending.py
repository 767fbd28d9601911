"""State of a response (once it has started, no other can be sent on its connection), and files as parts of one."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

from starlette.types import Message, Send

from partwise.core.ranges import ByteRange
from partwise.engine.ports import ArtifactFile

#: The name, among ``scope["extensions"]``, of the offer to take messages of the type FILE.
SENDS_FILES = "partwise.sends-files"
#: The type of a message whose ``part``, a FilePart, is sent as a part of the body. Another one follows it.
FILE = "partwise.response.file"

#: Seconds within which a reader has to take some of what is sent: a block of 128 KiB, 1 KiB a second.
READ_SECONDS = 120.0


@dataclass(slots=True)
class FilePart:
    """Bytes of a file, as ``Storage.artifact_file`` opened it, how many of them have been sent, and who sends them."""

    file: ArtifactFile
    span: ByteRange
    threads: Executor
    sent: int = 0


#: In the scope of a request whose answer lasts for as long as the client reads: its time is no measure of the server.
LASTING = "partwise.lasting"


class Sending:
    """ASGI's ``send``, which notes that something was sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def __call__(self, message: Message) -> None:
        """Note it, and send."""
        self.begun = True
        await self._send(message)
