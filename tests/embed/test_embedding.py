"""partwise as a guest, in this process."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from starlette.applications import Starlette
from starlette.routing import Mount

from partwise.core.errors import UploadTooLarge
from partwise.embed import Allowed, Creation, Denied, Event, Partwise, Principal, Settings
from partwise.engine import creation
from partwise.engine.uploads import set_size
from partwise.protocols.pulp import event_stream
from tests.support.until import until

API = "/files/pulp/api/v3/"


def guest(data: Path, **options: Any) -> Partwise:
    options.setdefault("identity", lambda request: request.headers.get("x-user"))
    return Partwise(Settings.of(data=data), base_path="/files", **options)


@asynccontextmanager
async def mounted(files: Partwise, user: str = "ann") -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a host whose lifespan runs."""
    host = Starlette(routes=[Mount("/files", app=files.app)])
    async with (
        files.lifespan(host),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=host), base_url="http://localhost", headers={"X-User": user}
        ) as client,
    ):
        yield client


async def test_before_its_lifespan_ran_it_says_what_to_do(tmp_path: Path) -> None:
    files = guest(tmp_path / "data")
    transport = httpx2.ASGITransport(app=Starlette(routes=[Mount("/files", app=files.app)]))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for path in (f"{API}uploads/", "/files/livez", "/files/metrics"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert "lifespan=files.lifespan" in answer.json()["detail"]
    with pytest.raises(RuntimeError, match="lifespan"):
        _ = files.engine
    assert not (tmp_path / "data").exists()


async def test_a_guest_leaves_alone_what_is_the_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARTWISE_MAX_UPLOAD_SIZE", "1")
    monkeypatch.setenv("PARTWISE_CONFIG", "/nowhere")
    before, environment = resource.getrlimit(resource.RLIMIT_NOFILE), dict(os.environ)
    lowered = (min(before[0], 512), before[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, lowered)
    try:
        async with mounted(guest(tmp_path / "data")) as client:
            with structlog.contextvars.bound_contextvars(host="mine"):
                answer = await client.post(f"{API}uploads/", json={"size": 1000})
                assert structlog.contextvars.get_contextvars() == {"host": "mine"}
            assert answer.status_code == 201
            assert answer.json()["pulp_href"].startswith(API)
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == lowered
        assert dict(os.environ) == environment
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_who_asks_is_who_the_host_says(tmp_path: Path) -> None:
    async def identity(request: Any) -> Principal | None:
        name = request.headers.get("x-user")
        return Principal(name, admin=name == "root") if name else None

    async with mounted(guest(tmp_path / "data", identity=identity)) as client:
        href = (await client.post(f"{API}uploads/", json={"size": 5})).json()["pulp_href"]
        statuses = {
            name: (await client.get(href, headers={"X-User": name})).status_code for name in ("ann", "bob", "root", "")
        }
        assert statuses == {"ann": 200, "bob": 404, "root": 200, "": 401}
        nobody = await client.get(href, headers={"X-User": ""})
        assert (await client.get("/files/")).status_code == 404, "the page is off unless it is asked for"
        # Clients that read the description send what the host goes by, and need no token for that.
        assert {} in (await client.get(f"{API}docs/api.json")).json()["security"]
        assert nobody.json()["detail"] == "You are not signed in. Sign in to the application first."
        # The host has a page to sign in at: no dialog of the browser's.
        assert "Basic" not in nobody.headers["WWW-Authenticate"]
        assert (await client.get("/files/metrics")).status_code == 403
        assert (await client.get("/files/metrics", headers={"X-User": "root"})).status_code == 200


async def test_handlers_hear_of_what_happens_and_again_after_a_failure(tmp_path: Path) -> None:
    heard: list[Event] = []
    failing = True

    def build() -> Partwise:
        files = guest(tmp_path / "data")

        @files.on("upload.removed", name="removed")
        def removed(event: Event) -> None:
            heard.append(event)
            if failing:
                raise OSError("the host's database is down")

        @files.on("upload.completed", name="completed")
        async def completed(event: Event) -> None:
            raise AssertionError("nothing was completed")

        return files

    async with mounted(build()) as client:
        href = (await client.post(f"{API}uploads/", json={"size": 5})).json()["pulp_href"]
        assert (await client.delete(href)).status_code == 204
        await until(lambda: heard, "the handler is called")
    failing = False
    files = build()
    async with mounted(files):

        async def settled() -> bool:
            return not await files.engine.catalog.list_deliveries()

        await until(settled, "the event is accepted by the next process")
    assert len({event.id for event in heard}) == 1
    assert len(heard) >= 2
    assert heard[0].type == "upload.removed"
    assert heard[0].data["user"] == "ann"


async def test_the_hook_is_asked_once_before_anything_is_reserved(tmp_path: Path) -> None:
    asked: list[Creation] = []
    staged: list[int] = []
    files = guest(tmp_path / "data")

    @files.before_create
    def hook(wanted: Creation) -> Allowed | None:
        asked.append(wanted)
        staged.append(len(list((tmp_path / "data" / "staging").iterdir())))
        if wanted.filename == "no":
            raise Denied("Not today.")
        return Allowed(owner="team", filename="b.bin", metadata={"ticket": "7"}, largest=100)

    async with mounted(files) as client:
        wish = {"size": 5, "filename": "a.bin", "media_type": "text/plain"}
        answer = await client.post(f"{API}uploads/", json=wish)
        assert answer.status_code == 201
        shown = answer.json()
        assert (shown["user"], shown["filename"], shown["metadata"]) == ("team", "b.bin", {"ticket": "7"})
        assert asked == [Creation(user="ann", admin=False, size=5, filename="a.bin", media_type="text/plain")]
        answer = await client.post(f"{API}uploads/", json={"size": 5, "filename": "no"})
        assert (answer.status_code, answer.json()["detail"]) == (403, "Not today.")
        assert (await client.post(f"{API}uploads/", json={"size": 101})).status_code == 413
        assert staged == [0, 1, 1], "asked once each, before anything is reserved"
        assert len(list((tmp_path / "data" / "staging").iterdir())) == 1
        # tus: a size that is declared later is held to it too.
        tus = await client.post("/files/tus/", headers={"Tus-Resumable": "1.0.0", "Upload-Defer-Length": "1"})
        assert tus.status_code == 201
        assert tus.headers["Location"].startswith("/files/tus/")
        with pytest.raises(UploadTooLarge):
            await set_size(files.engine, Principal("team"), tus.headers["Location"].rpartition("/")[2], 101)


@pytest.mark.parametrize("lifetime", [60.0, 0.0])
async def test_a_stream_of_events_ends_with_the_session_or_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lifetime: float
) -> None:
    """The host's server does not tell that it stops, and waits for answers that have begun."""
    monkeypatch.setattr(event_stream, "TRUST_SECONDS", 0.0)
    monkeypatch.setattr(event_stream, "SHORTEST_SILENCE", 0.01)
    monkeypatch.setattr(event_stream, "LIFETIME_SECONDS", lifetime)
    session = iter(["ann", "ann", "ann"])
    async with mounted(guest(tmp_path / "data", identity=lambda _request: next(session, None))) as client:
        answer = await client.get(f"{API}events/?wait=0", headers={"Accept": "text/event-stream"})
    assert answer.status_code == 200
    # The first comment comes at once, and after each look at who reads there is another one.
    assert answer.text.count(":\nid: 0\n\n") == (2 if lifetime else 1)


def _raises(_wanted: Creation) -> None:
    raise OSError("down")


async def _hangs(_wanted: Creation) -> None:
    await asyncio.Event().wait()


def _lies(_wanted: Creation) -> Any:
    return True


@pytest.mark.parametrize("hook", [_raises, _hangs, _lies])
async def test_a_hook_that_fails_lets_nothing_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: Callable[[Creation], Any]
) -> None:
    monkeypatch.setattr(creation, "HOOK_SECONDS", 0.01)
    files = guest(tmp_path / "data")
    files.before_create(hook)
    async with mounted(files) as client:
        answer = await client.post(f"{API}uploads/", json={"size": 5})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert answer.json()["type"].endswith("#hook-failed")
        whole = await client.post(f"{API}artifacts/", files={"file": b"abc"})
        assert whole.status_code == 503
        assert list((tmp_path / "data" / "staging").iterdir()) == []


def test_names_of_handlers_are_their_own(tmp_path: Path) -> None:
    files = guest(tmp_path / "data")
    files.on("upload.completed", name="a")(print)
    with pytest.raises(ValueError, match="name a"):
        files.on("upload.removed", name="a")(print)
    with pytest.raises(ValueError, match="nonsense"):
        files.on("nonsense")
    files.before_create(print)
    with pytest.raises(ValueError, match="one function"):
        files.before_create(print)
