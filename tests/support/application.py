"""An application over HTTP that answers as a test has it, and notes what it was sent."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def new_secret() -> str:
    """A secret of Standard Webhooks."""
    return f"whsec_{base64.b64encode(os.urandom(32)).decode()}"


@dataclass
class Reply:
    """What is answered: JSON unless ``body`` is bytes."""

    body: Any = None
    status: int = 200
    fields: dict[str, str] = field(default_factory=dict)


@dataclass
class Application:
    """What came, and what is answered."""

    port: int
    reply: Callable[[dict[str, Any]], Reply]
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it is sent things."""
        return f"http://127.0.0.1:{self.port}/hooks?for=partwise"

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The bodies of what came."""
        return [json.loads(body) for _, body in self.got]


@contextmanager
def application() -> Iterator[Application]:
    """Serve, on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            reply = told.reply(json.loads(body))
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in ({"Content-Type": "application/json"} | reply.fields).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST

        def log_message(self, *args: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False
        told = Application(server.server_address[1], lambda _asked: Reply({"allow": True}))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield told
        server.shutdown()
        thread.join()
