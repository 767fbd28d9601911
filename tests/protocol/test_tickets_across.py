"""A ticket in each dialect: it sends and completes its upload, and opens nothing else, nor anything afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.protocol.test_across_dialects import HALF, SIZE, SPEAKERS, Speaker
from tests.support.server import API, Answer, Http, ServerProcess, sha256
from tests.support.tokens import make_token
from tests.support.until import wait_until

#: Fine Uploader names files itself, by its user: it cannot speak of an upload that an application made.
DIALECTS = [name for name in SPEAKERS if name != "fine"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("tickets")
    with ServerProcess(folder, auth="token", dialects=",".join(SPEAKERS), chunk_size=HALF) as process:
        yield process


@pytest.fixture(scope="module")
def app_token(guarded: ServerProcess) -> str:
    return make_token(guarded, "app", "--admin")


class Bearing(Http):
    """A connection of one who has a ticket or a token, and the status of its last answer."""

    def __init__(self, port: int, secret: str) -> None:
        super().__init__(port)
        self._secret = secret
        self.status = 0
        #: Further connections, which end with this one.
        self.opened = ExitStack()

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        answer = super().__call__(method, path, body, **{"Authorization": f"Bearer {self._secret}"} | headers)
        self.status = answer.status
        return answer


class Case:
    """Ann's upload with its first half there, which the application began, and one who has its ticket."""

    def __init__(self, guarded: ServerProcess, app: Bearing, dialect: str) -> None:
        self.app, self.data = app, os.urandom(SIZE)
        wish = {"size": SIZE, "user": "ann", "ticket": True, "auto_commit": dialect == "tus"}
        made = app("POST", f"{API}uploads/", wish).json
        self.href, self.ticket = made["pulp_href"], made["ticket"]
        self.id = self.href.split("/")[-2]
        assert app.put(self.href, 0, self.data[:HALF], SIZE).status == 200
        self.bearer = app.opened.enter_context(Bearing(guarded.port, self.ticket))
        self.speaker: Speaker = SPEAKERS[dialect](self.bearer, self.data)

    def refused(self, request: Callable[[], Any]) -> int:
        """The status that a request is refused with."""
        with pytest.raises(AssertionError):
            request()
        assert self.bearer.status >= 400
        return self.bearer.status


@pytest.fixture
def app(guarded: ServerProcess, app_token: str) -> Iterator[Bearing]:
    with Bearing(guarded.port, app_token) as made, made.opened:
        yield made


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_ticket_in_each_dialect(guarded: ServerProcess, app: Bearing, dialect: str) -> None:
    case, other = (Case(guarded, app, dialect) for _ in range(2))
    assert case.refused(case.speaker.begin) == 403
    assert case.refused(lambda: case.speaker.send(other.id)) == 403
    case.speaker.send(case.id)
    case.speaker.complete(case.id)
    shown = app("GET", case.href).json
    assert (shown["state"], shown["sha256"], shown["user"]) == ("completed", sha256(case.data), "ann")
    # No byte is taken any more, and none is given out.
    assert case.refused(lambda: case.speaker.send(case.id)) in (400, 409)
    assert case.bearer("GET", f"{shown['artifact']}download/").status == 403
    assert app("GET", other.href).json["received"] == HALF


def test_a_ticket_that_is_over_opens_nothing_in_any_dialect(guarded: ServerProcess, app: Bearing) -> None:
    cases = {name: Case(guarded, app, name) for name in DIALECTS}
    gone = {name: Case(guarded, app, name) for name in DIALECTS}
    for case in (*cases.values(), *gone.values()):
        assert case.bearer("GET", case.href).status == 200
    for case in cases.values():
        assert app("DELETE", f"{case.href}ticket/").status == 204
    for case in gone.values():
        assert app("DELETE", case.href).status == 204
    for name, case in (*cases.items(), *gone.items()):
        wait_until(lambda case=case: case.bearer("GET", case.href).status == 401, "it is over")  # type: ignore[misc]
        assert case.refused(lambda case=case: case.speaker.send(case.id)) == 401, name  # type: ignore[misc]
        assert case.refused(lambda case=case: case.speaker.complete(case.id) or case.speaker.begin()) == 401, name  # type: ignore[misc]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_ticket_is_read_from_its_field_alone(guarded: ServerProcess, app: Bearing, dialect: str) -> None:
    """Whatever a dialect's own clients put into URLs, cookies or bodies."""
    case = Case(guarded, app, dialect)
    path = {
        "pulp": case.href,
        "tus": f"/tus/{case.id}",
        "resumable": f"/resumable/{case.id}",
        "drf": f"/drf/{case.id}/",
        "box": f"/box/2.0/files/upload_sessions/{case.id}",
    }[dialect]
    method = "HEAD" if dialect in ("tus", "resumable") else "GET"
    assert case.bearer(method, path, Tus_Resumable="1.0.0").status < 300
    with Http(guarded.port) as nobody:
        names = ("ticket", "token", "access_token", "authorization", "box_device_id")
        query = "&".join(f"{name}={case.ticket}" for name in names)
        assert nobody(method, f"{path}?{query}").status == 401
        assert nobody(method, f"{path}/{case.ticket}").status == 401
        cookies = "; ".join(f"{name}={case.ticket}" for name in ("partwise_download", "session", "token"))
        assert nobody(method, path, Cookie=cookies).status == 401
        two = {"Authorization": f"Bearer {case.ticket}, Bearer {case.ticket}"}
        assert nobody(method, path, **two).status == 401
        answer = nobody("POST", "/box/oauth2/token", {"client_secret": case.ticket})
        assert answer.status == 401, "it is no token that a client signs in with"
