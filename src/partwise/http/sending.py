"""State of a response. After it has started, no other response can be sent on its connection."""

from __future__ import annotations

from starlette.types import Message, Send

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
