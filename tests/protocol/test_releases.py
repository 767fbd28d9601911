"""Releasing artifacts over HTTP: for administrators, into one folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token

pytestmark = pytest.mark.files_only("an object store has no files to release")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("releasing")
    (made / "out" / "inner").mkdir(parents=True)
    (made / "out" / "escape").symlink_to(made)
    return made


@pytest.fixture(scope="module")
def releasing(folder: Path) -> Iterator[ServerProcess]:
    with ServerProcess(folder / "data", auth="token", release_folder=folder / "out") as process:
        yield process


def test_an_administrator_takes_the_file(releasing: ServerProcess, folder: Path) -> None:
    ann, root = (f"Bearer {make_token(releasing, *name)}" for name in (["ann"], ["root", "--admin"]))
    data = os.urandom(1000)
    with Http(releasing.port) as http:
        created = http("POST", f"{API}uploads/", {"size": 1000}, Authorization=ann).json["pulp_href"]
        assert http.put(created, 0, data, 1000, Authorization=ann).status == 200
        done = http("PUT", f"{created}commit", {"sha256": sha256(data)}, Authorization=ann)
        href = f"{done.json['artifact']}release/"
        assert http("POST", href, {"path": "x"}, Authorization=ann).problem == (403, "admins-only")
        for bad in ("/etc/x", "../x", "inner/../../x", "escape/x", "", ".", "a\nb", "x" * 1025):
            assert http("POST", href, {"path": bad}, Authorization=root).problem == (400, "bad-body"), bad
        assert http("POST", href, {"path": "none/x"}, Authorization=root).problem == (409, "conflict")
        answer = http("POST", href, {"path": "inner/x"}, Authorization=root)
        assert answer.json == {"path": "inner/x", "size": 1000, "sha256": sha256(data)}
        assert (folder / "out" / "inner" / "x").read_bytes() == data
        assert http("GET", done.json["artifact"], Authorization=ann).status == 404
        assert http("POST", href, {"path": "inner/x"}, Authorization=root).json == answer.json
        events = http("GET", f"{API}events/", Authorization=ann).json["events"]
        assert [event["type"] for event in events] == ["upload.completed", "artifact.released"]


def test_without_a_folder_nothing_is_released(http: Http) -> None:
    artifact = http.store(os.urandom(10))["artifact"]
    assert http("POST", f"{artifact}release/", {"path": "x"}).problem == (409, "conflict")
    assert http("GET", artifact).status == 200
