"""An application's page sends a file with a ticket: the application's token never leaves its back end."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Request

from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token

SIZE = 3_000_000
PAGE = b"""<!doctype html><title>The application</title><input type=file id=file>
<script>
async function send(server, file) {
  const wish = JSON.stringify({size: file.size, name: file.name});
  const made = await (await fetch("/begin", {method: "POST", body: wish})).json();
  const headers = {Authorization: `Bearer ${made.ticket}`};
  const piece = 1000000, waiting = [];
  for (let first = 0; first < file.size; first += piece) {
    const last = Math.min(first + piece, file.size) - 1;
    waiting.push(fetch(server + made.href, {method: "PUT", body: file.slice(first, last + 1),
      headers: {...headers, "Content-Range": `bytes ${first}-${last}/${file.size}`}}));
  }
  const sent = await Promise.all(waiting);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
  const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const done = await fetch(`${server}${made.href}commit`, {method: "PUT", body: JSON.stringify({sha256}),
    headers: {...headers, "Content-Type": "application/json"}});
  const other = await fetch(`${server}/pulp/api/v3/uploads/`, {headers});
  return {statuses: sent.map((answer) => answer.status), done: await done.json(), other: other.status};
}
</script>"""


class Backend:
    """The application's back end, which alone has the token."""

    def __init__(self) -> None:
        self.port = 0
        self.server: ServerProcess | None = None
        self.token = ""

    def begin(self, wish: dict[str, Any]) -> dict[str, Any]:
        assert self.server is not None
        with Http(self.server.port) as http:
            members = {"size": wish["size"], "filename": wish["name"], "user": "ann", "ticket": True}
            made = http("POST", f"{API}uploads/", members, Authorization=f"Bearer {self.token}").json
        return {"href": made["pulp_href"], "ticket": made["ticket"]}


@contextmanager
def backend() -> Iterator[Backend]:
    made = Backend()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(PAGE, "text/html")

        def do_POST(self) -> None:
            wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(json.dumps(made.begin(wish)).encode(), "application/json")

        def answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = False
        made.port = httpd.server_address[1]
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield made
        httpd.shutdown()
        thread.join()


def test_a_page_of_another_origin_sends_a_file_with_a_ticket(browser: Browser, tmp_path: Path) -> None:
    data = os.urandom(SIZE)
    (tmp_path / "disk.img").write_bytes(data)
    with backend() as app:
        origin = f"http://localhost:{app.port}"
        started = ServerProcess(tmp_path / "data", auth="token", cors_origins=origin)
        with started as server, Http(server.port) as http:
            app.server, app.token = server, make_token(server, "app", "--admin")
            context = browser.new_context()
            page = context.new_page()
            seen: list[Request] = []
            page.on("request", lambda one: seen.append(one))
            page.goto(origin)
            page.locator("#file").set_input_files(str(tmp_path / "disk.img"))
            result = page.evaluate(f"send('{server.url}', document.getElementById('file').files[0])")
            assert result["statuses"] == [200] * 3
            assert (result["done"]["state"], result["done"]["sha256"]) == ("completed", sha256(data))
            assert result["other"] == 403
            said = "\n".join(f"{one.url} {one.all_headers()}" for one in seen)
            assert app.token not in said
            assert not [one.url for one in seen if "partwise_ticket_" in one.url]
            assert context.cookies() == []
            context.close()
            owner = {"Authorization": f"Bearer {app.token}"}
            [event] = http("GET", f"{API}events/", **owner).json["events"]
            assert (event["type"], event["data"]["user"], event["data"]["filename"]) == (
                "upload.completed",
                "ann",
                "disk.img",
            )
