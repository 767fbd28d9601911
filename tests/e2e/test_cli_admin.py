"""``partwise admin`` sees and ends what any user has, beside the running server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token, run_partwise


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("admin")
    with ServerProcess(folder / "data", auth="token", quota="1000", audit_file=folder / "audit.jsonl") as server:
        yield server


def listed(server: ServerProcess, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    printed = run_partwise(server, "admin", *arguments, "--json", code=code)
    return [json.loads(line) for line in printed.splitlines()]


def test_an_operator_sees_and_ends_what_all_have(server: ServerProcess) -> None:
    tokens = {user: {"Authorization": f"Bearer {make_token(server, user)}"} for user in ("ann", "bob")}
    with Http(server.port) as http:
        hrefs = {}
        for user, who in tokens.items():
            for name, size in (("small.iso", 10), ("large.iso", 600)):
                made = http("POST", f"{API}uploads/", {"size": size, "filename": name}, **who)
                hrefs[user, name] = made.json["pulp_href"]
        small = hrefs["ann", "small.iso"]
        http.put(small, 0, bytes(10), **tokens["ann"])
        assert http("PUT", f"{small}commit", {"sha256": sha256(bytes(10))}, **tokens["ann"]).status == 200

        found = listed(server, "uploads", "--state", "open", "--larger-than", "100")
        assert [(one["user"], one["filename"], one["size"]) for one in found] == [
            ("bob", "large.iso", 600),
            ("ann", "large.iso", 600),
        ]
        assert listed(server, "uploads", "--older-than", "1h") == []
        (artifact,) = listed(server, "artifacts", "--user", "ann", "--search", "SMALL")
        assert listed(server, "show", artifact["sha256"]) == [artifact]

        upload = hrefs["bob", "large.iso"].split("/")[-2]
        run_partwise(server, "admin", "end", upload, artifact["id"])
        assert http("GET", hrefs["bob", "large.iso"], **tokens["bob"]).status == 404
        assert http("GET", f"{API}artifacts/{artifact['id']}/", **tokens["ann"]).status == 404
        assert listed(server, "show", upload, code=7) == []

        usage = {one["user"]: one for one in listed(server, "usage")}
        assert (usage["ann"]["reserved"], usage["ann"]["stored"], usage["ann"]["quota"]) == (600, 0, 1000)
        assert (usage["bob"]["reserved"], usage["bob"]["open_uploads"]) == (10, 1)

        create = {"size": 500}
        assert http("POST", f"{API}uploads/", create, **tokens["ann"]).problem[1] == "quota-exceeded"
        run_partwise(server, "admin", "quota", "ann", "2000")
        assert http("POST", f"{API}uploads/", create, **tokens["ann"]).status == 201
        assert http("GET", f"{API}status/", **tokens["ann"]).json["limits"]["quota"] == 2000
        run_partwise(server, "admin", "quota", "ann", "default")
        assert http("POST", f"{API}uploads/", create, **tokens["ann"]).problem[1] == "quota-exceeded"

    trail = [json.loads(line) for line in Path(str(server.settings["PARTWISE_AUDIT_FILE"])).read_text().splitlines()]
    told = [(line["action"], line["owner"]) for line in trail if "server's machine" in line["user"]]
    assert told[-4:] == [
        ("upload.deleted", "bob"),
        ("artifact.deleted", "ann"),
        ("quota.changed", "ann"),
        ("quota.changed", "ann"),
    ]


def test_what_makes_no_sense_is_said(server: ServerProcess) -> None:
    run_partwise(server, "admin", "uploads", "--state", "lost", code=2)
    run_partwise(server, "admin", "uploads", "--older-than", "soon", code=2)
    run_partwise(server, "admin", "quota", "ann", "much", code=2)
