"""Webhooks from a real server to a real receiver, whose signatures the specification's library verifies."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from partwise.engine.ports import Delivery
from partwise.server import webhooks
from partwise.server.settings import Settings
from partwise.server.webhooks import WebhookSender
from tests.contract.catalog.support import NOW
from tests.support.server import Http, ServerProcess
from tests.support.tokens import run_partwise
from tests.support.until import wait_until

SECRET = f"whsec_{base64.b64encode(os.urandom(32)).decode()}"
OLD_SECRET = f"whsec_{base64.b64encode(os.urandom(24)).decode()}"


@dataclass
class Receiver:
    """What came, and what is answered."""

    port: int = 0
    status: int = 204
    fields: dict[str, str] = field(default_factory=dict)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/files?for=partwise"

    def uploads(self) -> list[str]:
        return [json.loads(body)["data"]["upload"] for _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    told = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(told.status)
            for name, value in told.fields.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False
        told.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield told
        server.shutdown()
        thread.join()


def settings(url: str, **members: object) -> str:
    return json.dumps([{"name": "app", "url": url, "secrets": [SECRET, OLD_SECRET], **members}])


def stored(http: Http) -> str:
    return str(http.store(os.urandom(10))["pulp_href"].split("/")[-2])


@pytest.mark.parametrize("workers", [1, 2])
def test_events_arrive_signed_once_each(tmp_path: Path, receiver: Receiver, workers: int) -> None:
    config = tmp_path / "partwise.toml"
    config.write_text(
        f'[[webhooks]]\nname = "app"\nurl = "{receiver.url}"\nsecrets = ["{SECRET}", "{OLD_SECRET}"]\n'
        'types = ["upload.completed"]\n'
    )
    with ServerProcess(tmp_path / "data", workers=workers, config=config) as server, Http(server.port) as http:
        uploads = [stored(http) for _ in range(5)]
        wait_until(lambda: len(receiver.got) >= 5, "five events came")
        href = http.create(1)
        assert http("DELETE", href).status == 204
        uploads.append(stored(http))
        wait_until(lambda: len(receiver.got) >= 6, "six events came")
        name = 'partwise_webhook_attempts_total{endpoint="app",outcome="accepted"}'
        wait_until(lambda: http.figures().get(name) == 6, "all are counted")
        assert http.figures()['partwise_webhook_deliveries{endpoint="app",state="pending"}'] == 0
    assert sorted(receiver.uploads()) == sorted(uploads)
    for fields, body in receiver.got:
        event = Webhook(SECRET).verify(body, fields)
        assert Webhook(OLD_SECRET).verify(body, fields) == event
        assert (event["id"], event["type"]) == (fields["webhook-id"], "upload.completed")
        assert fields["content-type"] == "application/json"


def test_a_failure_is_kept_and_sent_again_after_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    receiver.status = 500
    with ServerProcess(tmp_path / "data", webhooks=settings(receiver.url)) as server:
        with Http(server.port) as http:
            upload = stored(http)
            wait_until(lambda: receiver.got, "the first try")
            name = 'partwise_webhook_attempts_total{endpoint="app",outcome="failed"}'
            wait_until(lambda: http.figures().get(name), "it is counted")
        [shown] = map(json.loads, run_partwise(server, "events", "deliveries", "--json").splitlines())
        assert (shown["webhook"], shown["tries"], shown["status"], shown["dead"]) == ("app", 1, 500, False)
        receiver.status = 200
        server.kill()
        server.start()
        wait_until(lambda: len(receiver.got) >= 2, "the second try")
        assert receiver.uploads() == [upload, upload]
        ids = {fields["webhook-id"] for fields, _ in receiver.got}
        assert len(ids) == 1


def test_gone_pauses_and_a_replay_goes_on(tmp_path: Path, receiver: Receiver) -> None:
    receiver.status = 410
    with ServerProcess(tmp_path / "data", webhooks=settings(receiver.url)) as server, Http(server.port) as http:
        stored(http)
        wait_until(lambda: http.figures().get('partwise_webhook_paused{endpoint="app"}'), "it is paused")
        receiver.status = 200
        stored(http)
        pending = 'partwise_webhook_deliveries{endpoint="app",state="pending"}'
        wait_until(lambda: http.figures()[pending] == 2, "both wait")
        assert len(receiver.got) == 1
        run_partwise(server, "events", "replay", "other", code=7)
        run_partwise(server, "events", "replay", "app")
        wait_until(lambda: len(receiver.got) == 3, "both came")
        assert "All events" in run_partwise(server, "events", "deliveries")


@pytest.fixture
def sender(receiver: Receiver) -> Iterator[WebhookSender]:
    made = _sender(receiver.url)
    yield made
    made.close()


def _sender(url: str) -> WebhookSender:
    [webhook] = Settings(webhooks=json.loads(settings(url))).webhooks
    return WebhookSender(webhook)


DELIVERY = Delivery(id="d", endpoint="app", event_id="evt_1", event_type="t", body="{}", created=NOW, due=NOW)


async def test_redirects_are_not_followed(receiver: Receiver, sender: WebhookSender) -> None:
    receiver.status, receiver.fields = 302, {"Location": "/elsewhere"}
    receipt = await sender.send(DELIVERY)
    assert (receipt.accepted, receipt.status) == (False, 302)
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("1 Jan 99999999999999999999 00:00:00 +0000", None),
        ("120", 120),
        ("soon", None),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 1e8),
        ("9" * 30, 1 << 31),
    ],
)
async def test_retry_after_in_either_form(
    receiver: Receiver, sender: WebhookSender, text: str, seconds: float | None
) -> None:
    receiver.status, receiver.fields = 503, {"Retry-After": text}
    receipt = await sender.send(DELIVERY)
    assert receipt.status == 503
    if seconds is None:
        assert receipt.retry_after is None
    else:
        assert receipt.retry_after is not None
        assert receipt.retry_after.total_seconds() >= seconds


async def test_nobody_there_and_no_http_are_failures() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        made = _sender(f"http://127.0.0.1:{listener.getsockname()[1]}/")

        def lie() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"hello there\r\n\r\n")

        lying = pool.submit(lie)
        receipt = await made.send(DELIVERY)
        lying.result(10)
        assert (receipt.accepted, receipt.status) == (False, None)
        assert receipt.error == "The endpoint did not respond with HTTP."
    receipt = await made.send(DELIVERY)
    assert (receipt.accepted, receipt.status) == (False, None)
    assert receipt.error == "The endpoint cannot be reached: Connection refused."
    made.close()


async def test_a_head_that_drips_is_cut_when_the_try_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, the whole never: the thread ends with the try."""
    import asyncio

    monkeypatch.setattr(webhooks, "_TIMEOUT_SECONDS", 60.0)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        made = _sender(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        begun = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                begun.set()
                while not over.wait(0.01):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        dripping = pool.submit(drip)
        sending = asyncio.create_task(made.send(DELIVERY))
        await asyncio.to_thread(begun.wait, 30)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await asyncio.to_thread(made.close)  # waits for the thread
        over.set()
        dripping.result(30)
