"""Tickets over HTTP: what one opens, and that it opens nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from partwise.client import NotAllowed
from partwise.client.http import Http as ClientHttp
from tests.support.server import API, Answer, Http, ServerProcess, sha256
from tests.support.tokens import make_token
from tests.support.tus import BYTES
from tests.support.until import wait_until


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("guarded"), auth="token") as process:
        yield process


@pytest.fixture(scope="module")
def bearers(guarded: ServerProcess) -> dict[str, str]:
    """By name, what Authorization holds."""
    made = {name: f"Bearer {make_token(guarded, name)}" for name in ("ann", "bob")}
    return made | {"app": f"Bearer {make_token(guarded, 'app', '--admin')}"}


@pytest.fixture
def http(guarded: ServerProcess) -> Iterator[Http]:
    with Http(guarded.port) as connection:
        yield connection


class Ticketed:
    """An upload that the application made for ann, and the ticket to it."""

    def __init__(self, http: Http, bearers: dict[str, str], size: int, **members: Any) -> None:
        wish = {"size": size, "user": "ann", "ticket": True, **members}
        answer = http("POST", f"{API}uploads/", wish, Authorization=bearers["app"])
        assert answer.status == 201, answer.body
        self.json = answer.json
        self.href = str(answer.json["pulp_href"])
        self.id = self.href.split("/")[-2]
        self.bearer = f"Bearer {answer.json['ticket']}"
        self._http = http

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return self._http(method, path, body, Authorization=self.bearer, **headers)


def test_a_browser_uploads_with_a_ticket_alone(http: Http, bearers: dict[str, str]) -> None:
    data, start = os.urandom(3000), http("GET", f"{API}events/?after=now", Authorization=bearers["app"]).json["cursor"]
    upload = Ticketed(http, bearers, len(data), filename="a.bin", media_type="text/plain", metadata={"order": "4711"})
    assert (upload.json["user"], upload.json["metadata"]) == ("ann", {"order": "4711"})
    for first in (0, 1000, 2000):
        span = f"bytes {first}-{first + 999}/3000"
        assert upload("PUT", upload.href, data[first : first + 1000], Content_Range=span).status == 200
    assert upload("GET", upload.href).json["missing"] == []
    done = upload("PUT", f"{upload.href}commit", {"sha256": sha256(data)})
    assert (done.status, done.json["state"]) == (200, "completed")
    # It is ann's, and the application hears of it.
    assert http("GET", f"{done.json['artifact']}download/", Authorization=bearers["ann"]).body == data
    [event] = http("GET", f"{API}events/?after={start}", Authorization=bearers["app"]).json["events"]
    assert (event["data"]["user"], event["data"]["metadata"]) == ("ann", {"order": "4711"})
    # Who lost the answer asks again, and no byte is taken any more.
    assert upload("PUT", f"{upload.href}commit", {"sha256": sha256(data)}).status == 200
    assert upload("PUT", upload.href, data[:1000], Content_Range="bytes 0-999/3000").problem == (409, "wrong-state")
    assert upload("GET", f"{done.json['artifact']}download/").problem == (403, "ticket-only")


def test_tus_clients_use_tickets_too(http: Http, bearers: dict[str, str]) -> None:
    data = os.urandom(500)
    upload = Ticketed(http, bearers, 500, auto_commit=True)
    path = f"/tus/{upload.id}"
    tus = {"Tus_Resumable": "1.0.0"}
    for offset in (0, 200):
        head = upload("HEAD", path, **tus)
        assert (head.status, head.headers["Upload-Offset"]) == (200, str(offset))
        piece = data[offset : 200 if offset == 0 else 500]
        answer = upload("PATCH", path, piece, Upload_Offset=str(offset), Content_Type=BYTES, **tus)
        assert answer.status == 204, answer.body
    shown = http("GET", upload.href, Authorization=bearers["ann"]).json
    assert (shown["state"], shown["sha256"]) == ("completed", sha256(data))
    assert upload("DELETE", path, **tus).status == 403
    assert upload("GET", path, **tus).status == 403
    assert upload("POST", "/tus/", Upload_Length="1", **tus).status == 403


def test_a_ticket_opens_nothing_else(http: Http, bearers: dict[str, str]) -> None:
    upload, other = Ticketed(http, bearers, 10), Ticketed(http, bearers, 10)
    done = Ticketed(http, bearers, 0)
    artifact = done("PUT", f"{done.href}commit", {"sha256": sha256(b"")}).json["artifact"]
    refused = [
        ("GET", other.href),
        ("PUT", other.href),
        ("PUT", f"{other.href}commit"),
        ("GET", f"{API}uploads/00000000-0000-0000-0000-000000000000/"),
        ("DELETE", upload.href),
        ("POST", f"{upload.href}copy/"),
        ("POST", f"{upload.href}ticket/"),
        ("DELETE", f"{upload.href}ticket/"),
        ("GET", f"{API}uploads/"),
        ("POST", f"{API}uploads/"),
        ("GET", f"{API}artifacts/"),
        ("POST", f"{API}artifacts/"),
        ("GET", artifact),
        ("DELETE", artifact),
        ("GET", f"{artifact}download/"),
        ("GET", f"{API}tasks/"),
        ("GET", f"{API}events/"),
        ("GET", f"{API}status/"),
        ("GET", "/metrics"),
        ("POST", "/session"),
        ("GET", "/nothing"),
    ]
    for method, path in refused:
        assert upload(method, path).problem == (403, "ticket-only"), (method, path)
    # In a URL it is nothing.
    secret = upload.bearer.removeprefix("Bearer ")
    assert http("GET", f"{upload.href}?token={secret}&ticket={secret}").status == 401
    assert http("GET", upload.href, Cookie=f"partwise_download={secret}").status == 401


def test_a_ticket_goes_with_its_upload_and_can_be_revoked(http: Http, bearers: dict[str, str]) -> None:
    gone, revoked = Ticketed(http, bearers, 10), Ticketed(http, bearers, 10)
    assert gone("GET", gone.href).status == revoked("GET", revoked.href).status == 200
    assert http("DELETE", gone.href, Authorization=bearers["ann"]).status == 204
    assert gone("GET", gone.href).status in (401, 404)
    assert http("DELETE", f"{revoked.href}ticket/", Authorization=bearers["bob"]).status == 404
    assert http("DELETE", f"{revoked.href}ticket/", Authorization=bearers["app"]).status == 204
    for one in (gone, revoked):
        wait_until(lambda one=one: one("GET", one.href).status == 401, "it opens nothing any more")  # type: ignore[misc]
    again = http("POST", f"{revoked.href}ticket/", Authorization=bearers["ann"])
    assert again.status == 201
    assert http("GET", revoked.href, Authorization=f"Bearer {again.json['ticket']}").status == 200


def test_only_admins_act_for_others(http: Http, bearers: dict[str, str]) -> None:
    mine = {"size": 1, "user": "ann", "ticket": True}
    assert http("POST", f"{API}uploads/", mine, Authorization=bearers["bob"]).problem == (403, "admins-only")
    assert http("POST", f"{API}uploads/", mine, Authorization=bearers["ann"]).status == 201
    plain = http("POST", f"{API}uploads/", {"size": 1}, Authorization=bearers["ann"])
    assert plain.json["ticket"] is None
    assert http("POST", f"{plain.json['pulp_href']}ticket/", Authorization=bearers["bob"]).status == 404


@pytest.mark.parametrize(
    "members",
    [
        {"user": ""},
        {"user": "a\nb"},
        {"user": 5},
        {"metadata": {"a": 1}},
        {"metadata": []},
        {"metadata": {"": "x"}},
        {"metadata": {"a": "x" * 1025}},
        {"metadata": {str(number): "" for number in range(33)}},
        {"metadata": {"a": "\0"}},
        {"ticket": {}},
    ],
)
def test_bad_wishes(http: Http, bearers: dict[str, str], members: dict[str, Any]) -> None:
    answer = http("POST", f"{API}uploads/", {"size": 1, **members}, Authorization=bearers["app"])
    assert answer.problem == (400, "bad-body")


def test_a_made_up_ticket_is_nothing(guarded: ServerProcess) -> None:
    client = ClientHttp(guarded.url, token="partwise_ticket_" + "x" * 43)
    with pytest.raises(NotAllowed):
        client.call("GET", "uploads/")
    client.close()
