"""Uploads that are created before their size is known: ``"size": "unknown"``, and the size with the commit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from partwise.server.handover import SMALLEST
from tests.support.server import API, Answer, Http, ServerProcess, sha256

SIZE = 3 * SMALLEST + 4321
DATA = os.urandom(SIZE)


def create(http: Http, **members: object) -> str:
    answer = http("POST", f"{API}uploads/", {"size": "unknown", **members})
    assert answer.status == 201, answer.body
    assert answer.json["size"] is None
    return str(answer.json["pulp_href"])


def commit(http: Http, href: str, data: bytes, size: object) -> Answer:
    return http("PUT", f"{href}commit", {"sha256": sha256(data), "size": size})


def test_a_file_whose_end_is_not_known_becomes_an_artifact(http: Http) -> None:
    href = create(http, filename="stream.bin")
    for offset in (2 * SMALLEST, 0, SMALLEST):  # in any order
        assert http.put(href, offset, DATA[offset : offset + SMALLEST]).status == 200
    shown = http("GET", href).json
    assert (shown["size"], shown["received"], shown["missing"]) == (None, 3 * SMALLEST, [])
    assert http.put(href, 3 * SMALLEST, DATA[3 * SMALLEST :]).status == 200
    done = commit(http, href, DATA, SIZE)
    assert done.status == 200, done.body
    assert (done.json["size"], done.json["state"], done.json["sha256"]) == (SIZE, "completed", sha256(DATA))
    assert commit(http, href, DATA, SIZE).json["artifact"] == done.json["artifact"]  # the same again
    assert http("GET", f"{done.json['artifact']}download/").body == DATA


def test_gaps_between_chunks_are_told_and_block_the_commit(http: Http) -> None:
    href = create(http)
    assert http.put(href, 1000, DATA[1000:2000]).status == 200
    for query in ("", "?fields=missing,missing_count"):
        assert http("GET", href + query).json["missing"] == [{"offset": 0, "size": 1000}]
    assert commit(http, href, DATA[:2000], 2000).problem == (409, "incomplete-upload")
    assert http.put(href, 0, DATA[:1000]).status == 200
    assert commit(http, href, DATA[:2000], 2000).status == 200


def test_an_empty_file(http: Http) -> None:
    assert commit(http, create(http), b"", 0).json["size"] == 0


def test_a_form_declares_both(http: Http) -> None:
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    href = http("POST", f"{API}uploads/", b"size=unknown&filename=f", **form).json["pulp_href"]
    assert http.put(href, 0, DATA[:10]).status == 200
    body = f"sha256={sha256(DATA[:10])}&size=10".encode()
    assert http("PUT", f"{href}commit", body, **form).json["state"] == "completed"


def test_a_commit_without_a_size_says_what_to_do(http: Http) -> None:
    href = create(http)
    assert http.put(href, 0, DATA[:10]).status == 200
    refused = http.commit(href, DATA[:10])
    assert refused.problem == (409, "conflict")
    assert "Declare its size" in refused.json["detail"]
    assert commit(http, href, DATA[:10], 10).status == 200


@pytest.mark.parametrize("size", [9, 11])
def test_another_size_than_that_of_the_bytes_is_refused(http: Http, size: int) -> None:
    href = create(http)
    assert http.put(href, 0, DATA[:10]).status == 200
    assert commit(http, href, DATA[:10], size).status == 409


def test_a_declared_size_cannot_be_changed(http: Http) -> None:
    href = http.create(10)
    assert http.put(href, 0, DATA[:10]).status == 200
    assert commit(http, href, DATA[:10], 11).problem == (400, "bad-body")
    assert commit(http, href, DATA[:10], 10).status == 200


@pytest.mark.parametrize("size", [None, "", "Unknown", "-1", True])
def test_nothing_else_stands_for_an_unknown_size(http: Http, size: object) -> None:
    assert http("POST", f"{API}uploads/", {"size": size}).status == 400


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http]:
    """A server with tight limits."""
    data: Path = tmp_path_factory.mktemp("data")
    with ServerProcess(data, max_upload_size=2000, quota=3000) as process, Http(process.port) as http:
        yield http


def test_limits_and_quota_hold_while_it_grows(small: Http) -> None:
    first, second = create(small), create(small)
    assert small.put(first, 0, bytes(2000)).status == 200
    assert small.put(first, 2000, b"x").problem == (413, "upload-too-large")
    assert small.put(second, 0, bytes(1001)).problem == (413, "quota-exceeded")
    # What was refused holds no room; what is deleted gives it back.
    assert small.put(second, 0, bytes(1000)).status == 200
    assert small.put(second, 1000, b"x").problem == (413, "quota-exceeded")
    assert small("DELETE", first).status == 204
    assert small.put(second, 1000, b"x").status == 200
    assert commit(small, second, bytes(1001), 2001).status == 413
