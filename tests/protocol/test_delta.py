"""Signatures and copies over HTTP: documented answers, and what people try with them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from partwise.core.outline import make_outline
from partwise.core.signature import MEDIA_TYPE, Signature
from tests.support.edits import noise, sign
from tests.support.server import API, Http, ServerProcess
from tests.support.tokens import make_token

BASE = noise(1, 700_000)


def wanted(offset: int, size: int, artifact: str, source: int) -> dict[str, Any]:
    return {"offset": offset, "size": size, "artifact": artifact, "from": source}


@pytest.fixture
def base(http: Http) -> str:
    """The path of an artifact with the bytes of BASE."""
    return str(http.store(BASE)["artifact"])


def test_a_signature_in_both_forms(http: Http, base: str) -> None:
    answer = http("GET", f"{base}signature/")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == MEDIA_TYPE
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert answer.body == sign(BASE).encode()
    signature = Signature.decode(answer.body)
    for path in (f"{base}signature/", f"{base}signature"):
        people = http("GET", path, Accept="application/json").json
        pieces = [(piece["size"], bytes.fromhex(piece["sha256"])) for piece in people.pop("pieces")]
        assert pieces == [(piece.size, piece.sha256) for piece in signature.pieces()]
        assert people == {"version": 1, "average": 4096, "size": len(BASE), "sha256": signature.sha256}


@pytest.mark.parametrize("accept", ["application/json;q=0", f"application/json;q=0.5, {MEDIA_TYPE}"])
def test_who_prefers_the_binary_form_gets_it(http: Http, base: str, accept: str) -> None:
    assert http("GET", f"{base}signature/", Accept=accept).headers["Content-Type"] == MEDIA_TYPE


def test_a_signature_without_a_piece(http: Http) -> None:
    artifact = http.store(b"")["artifact"]
    assert http("GET", f"{artifact}signature/").body == sign(b"").encode()
    assert http("GET", f"{artifact}signature/", Accept="application/json").json["pieces"] == []


def test_the_head_of_a_signature(http: Http, base: str) -> None:
    answer = http("HEAD", f"{base}signature/")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["Content-Length"]) == len(sign(BASE).encode())


def test_the_outline_of_a_signature_and_some_of_its_pieces(http: Http, base: str) -> None:
    answer = http("GET", f"{base}signature/?outline=true")
    assert answer.headers["Content-Type"] == "application/vnd.partwise.signature-outline"
    signature = sign(BASE)
    assert answer.body == make_outline(signature.encode())
    table = bytes(signature.table)
    for ranges, wanted in {
        "0-0": table[:36],
        "3-9,10-10,20-21": table[3 * 36 : 11 * 36] + table[20 * 36 : 22 * 36],
        f"0-{signature.count - 1}": table,
    }.items():
        answer = http("GET", f"{base}signature/?pieces={ranges}")
        assert (answer.status, answer.body) == (200, wanted)


@pytest.mark.parametrize(
    "ranges",
    [
        *("", "1", "1-", "-1", "a-b", "2-1", "0-9,9-10", "5-6,1-2", "0-99999", "1-2,", "0-1;2-3", "1" * 30 + "-2"),
        "\u0660-\u0661",
        ",".join(f"{2 * number}-{2 * number}" for number in range(257)),
    ],
    ids=lambda ranges: ascii(ranges[:20]),
)
def test_what_is_no_list_of_pieces(http: Http, base: str, ranges: str) -> None:
    answer = http("GET", f"{base}signature/?pieces={quote(ranges)}")
    assert answer.problem == (400, "bad-request"), answer.body
    assert "'pieces'" in answer.json["detail"]


def test_there_is_no_signature_of_what_is_not_there(http: Http) -> None:
    assert http("GET", f"{API}artifacts/nothing/signature/").problem == (404, "not-found")


def test_only_what_changed_is_sent(http: Http, base: str) -> None:
    new = BASE[:300_000] + b"changed" + BASE[300_000:]
    href = http.create(len(new))
    answer = http("POST", f"{href}copy/", [wanted(0, 300_000, base, 0), wanted(300_007, 400_000, base, 300_000)])
    assert answer.status == 200, answer.body
    assert answer.json["received"] == 700_000
    assert [one["state"] for one in answer.json["ranges"]] == ["copied"] * 2
    assert http.put(href, 300_000, b"changed").status == 200
    assert http.commit(href, new).json["state"] == "completed"


def test_each_range_has_its_own_answer(http: Http, base: str) -> None:
    href = http.create(1000)
    ranges = [
        wanted(0, 100, base, 0),
        wanted(0, 100, f"{API}artifacts/nothing/", 0),
        wanted(0, 100, href, 0),
        wanted(50, 100, base, 0),
        wanted(950, 100, base, 0),
        wanted(100, 100, base, len(BASE)),
        wanted(100, 100, base.split("/")[-2], 5),
    ]
    answer = http("POST", f"{href}copy", ranges)
    assert answer.status == 200
    got = [(one["state"], (one["problem"] or "").partition("#")[2]) for one in answer.json["ranges"]]
    assert got == [
        ("copied", ""),
        ("missing", "not-found"),
        ("missing", "not-found"),
        ("refused", "chunk-overlap"),
        ("refused", "bad-content-range"),
        ("refused", "bad-content-range"),
        ("copied", ""),
    ]
    assert all(one["detail"] for one in answer.json["ranges"] if one["state"] != "copied")
    assert answer.json["received"] == 200


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        [[]],
        [1],
        [wanted(0, 1, "x", 0)] * 257,
        [wanted(0, 0, "x", 0)],
        [wanted(-1, 1, "x", 0)],
        [wanted(0, 1, "x", -1)],
        [wanted(0, -1, "x", 0)],
        [wanted(0, (1 << 30) + 1, "x", 0)],
        [wanted(2**62, 1, "x", 0)],
        [wanted(0, 1, "x", 10**30)],
        [wanted(0, True, "x", 0)],
        [wanted(0, 1, "x\0", 0)],
        [wanted(0, 1, "x" * 2000, 0)],
        [{"offset": 0, "size": 1, "artifact": "x"}],
        [{"offset": "0", "size": 1, "artifact": "x", "from": 0}],
        [wanted(0, 1.5, "x", 0)],  # type: ignore[arg-type]
        [wanted(0, 1, 7, 0)],  # type: ignore[arg-type]
    ],
    ids=lambda body: repr(body)[:50],
)
def test_what_is_no_list_of_ranges(http: Http, body: Any) -> None:
    href = http.create(10)
    answer = http("POST", f"{href}copy/", body)
    assert answer.problem == (400, "bad-body")
    assert http("GET", href).json["received"] == 0


@pytest.mark.parametrize("content", [b"", b"[", b"\xff", b"[" * 60_000, b"[" + b" " * 70_000 + b"]"])
def test_what_is_no_json(http: Http, content: bytes) -> None:
    href = http.create(10)
    answer = http("POST", f"{href}copy/", content, Content_Type="application/json")
    assert answer.problem == (400, "bad-body")


def test_a_list_as_long_as_may_be(http: Http, base: str) -> None:
    href = http.create(25_600)
    ranges = [wanted(at, 100, base, at) for at in range(0, 25_600, 100)]
    while ranges:
        states = [one["state"] for one in http("POST", f"{href}copy/", ranges).json["ranges"]]
        # What there was no time for is asked for again.
        count = states.index("later") if "later" in states else len(states)
        assert states == ["copied"] * count + ["later"] * (len(states) - count)
        assert count > 0
        ranges = ranges[count:]
    assert http.commit(href, BASE[:25_600]).json["state"] == "completed"


def test_a_copy_into_what_is_not_open(http: Http, base: str) -> None:
    href = http.create(10)
    http("POST", f"{href}copy/", [wanted(0, 10, base, 0)])
    assert http.commit(href, BASE[:10]).status == 200
    assert http("POST", f"{href}copy/", [wanted(0, 10, base, 0)]).problem == (409, "wrong-state")
    assert http("POST", f"{API}uploads/nothing/copy/", [wanted(0, 10, base, 0)]).problem == (404, "not-found")


@pytest.mark.files_only("it damages the artifact's file")
def test_a_source_that_is_damaged(http: Http, server: ServerProcess) -> None:
    content = noise(9, 300_000)
    stored = http.store(content)
    digest = stored["sha256"]
    path = server.data / "artifacts" / digest[:2] / digest[2:]
    path.chmod(0o600)
    os.truncate(path, 200_000)
    href = http.create(300_000)
    answer = http(
        "POST",
        f"{href}copy/",
        [wanted(0, 100_000, stored["artifact"], 0), wanted(100_000, 200_000, stored["artifact"], 100_000)],
    )
    assert [one["state"] for one in answer.json["ranges"]] == ["copied", "damaged"]
    # Nothing holds the source open: a file that is deleted would keep its room.
    links = [os.readlink(link) for link in Path(f"/proc/{server.pid}/fd").iterdir() if link.is_symlink()]
    assert not [link for link in links if digest[2:] in link]
    # The bytes are sent instead, and all is well.
    assert http.put(href, 100_000, content[100_000:]).status == 200
    assert http.commit(href, content).json["state"] == "completed"


def test_others_artifacts_cannot_be_told_from_none(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", auth="token") as server, Http(server.port) as http:
        alice, bob = (f"Bearer {make_token(server, name)}" for name in ("alice", "bob"))
        up = http("POST", f"{API}uploads/", {"size": 10}, Authorization=alice).json["pulp_href"]
        http("PUT", up, BASE[:10], Content_Range="bytes 0-9/10", Authorization=alice)
        hers = http("PUT", f"{up}commit", {"sha256": sign(BASE[:10]).sha256}, Authorization=alice).json["artifact"]
        his = http("POST", f"{API}uploads/", {"size": 10}, Authorization=bob).json["pulp_href"]
        nothing = f"{API}artifacts/{'1' * 8}-1111-1111-1111-{'1' * 12}/"
        answers = {
            http("POST", f"{his}copy/", [wanted(0, 10, source, 0)], Authorization=bob).body
            for source in (hers, nothing)
        }
        assert len(answers) == 1
        signatures = [http("GET", f"{source}signature/", Authorization=bob) for source in (hers, nothing)]
        assert signatures[0].body == signatures[1].body
        assert [answer.problem for answer in signatures] == [(404, "not-found")] * 2
        assert http("POST", f"{his}copy/", [wanted(0, 10, hers, 0)], Authorization=alice).problem == (404, "not-found")
        assert http("POST", f"{his}copy/", [wanted(0, 10, hers, 0)]).problem == (401, "not-signed-in")
        assert http("GET", f"{hers}signature/").problem == (401, "not-signed-in")
        assert http("GET", his, Authorization=bob).json["received"] == 0
