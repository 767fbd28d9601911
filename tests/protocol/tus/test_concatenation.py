"""The concatenation extension of tus 1.0.0. ``must`` names the sentences of the protocol that a test covers."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.protocol.tus.sentences import must
from tests.support.server import API, Answer, Http, ServerProcess
from tests.support.tus import ROOT, Tus, metadata, repr_digest


def partials(tus: Tus, *pieces: bytes) -> list[str]:
    """Whole partial uploads of the pieces."""
    paths = [tus.create(len(piece), Upload_Concat="partial") for piece in pieces]
    for path, piece in zip(paths, pieces, strict=True):
        assert tus.patch(path, 0, piece).status == 204
    return paths


def join(tus: Tus, paths: Sequence[str], **headers: str) -> Answer:
    return tus("POST", ROOT, Upload_Concat=f"final;{' '.join(paths)}", **headers)


@must("concat-sum", "concat-head-after")
def test_partial_uploads_become_a_final_one(tus: Tus) -> None:
    """Concatenation: the final upload's length is the sum of the parts', which are joined in the order given."""
    pieces = [os.urandom(size) for size in (100_001, 1, 0, 300_000)]
    data = b"".join(pieces)
    answer = join(tus, partials(tus, *pieces))
    assert answer.status == 201
    head = tus.head(answer.headers["Location"])
    assert head.headers["Upload-Length"] == head.headers["Upload-Offset"] == str(len(data))
    assert head.headers["Repr-Digest"] == repr_digest(data)
    assert tus.artifact(data) == data


@must("concat-head", "concat-head-partial")
def test_head_tells_what_an_upload_is(tus: Tus) -> None:
    """Upload-Concat: HEAD MUST tell it of partial and final uploads as it was in the creation, and of no other."""
    paths = partials(tus, b"ab", b"cd")
    assert tus.head(paths[0]).headers["Upload-Concat"] == "partial"
    final = join(tus, paths).headers["Location"]
    assert tus.head(final).headers["Upload-Concat"] == f"final;{' '.join(paths)}"
    assert "Upload-Concat" not in tus.head(tus.create(1)).headers


@must("concat-unprocessed")
def test_a_partial_upload_becomes_no_artifact_by_itself(tus: Tus) -> None:
    (path,) = partials(tus, os.urandom(50))
    assert "Repr-Digest" not in tus.head(path).headers
    assert tus.http("GET", f"{API}uploads/{path.removeprefix(ROOT)}/").json["state"] == "open"


@must("concat-form")
def test_the_parts_addresses_may_be_absolute(tus: Tus, server: ServerProcess) -> None:
    """Upload-Concat: the list has absolute URLs, or paths."""
    first, second = partials(tus, b"ab", b"cd")
    assert join(tus, [f"{server.url}{first}", second]).status == 201
    assert tus.artifact(b"abcd") == b"abcd"


@must("concat-no-length")
def test_a_final_upload_has_no_length_of_its_own(tus: Tus) -> None:
    """Concatenation: the client MUST NOT send Upload-Length with a final upload."""
    paths = partials(tus, b"ab", b"cd")
    assert join(tus, paths, Upload_Length="4").status == 400
    assert join(tus, paths, Upload_Defer_Length="1").status == 400


@must("concat-no-patch")
def test_a_final_upload_takes_no_bytes(tus: Tus) -> None:
    """Concatenation: PATCH on a final upload MUST be answered with 403, and it is not modified."""
    final = join(tus, partials(tus, b"ab", b"cd")).headers["Location"]
    assert tus.patch(final, 4, b"e").status == 403
    assert tus.patch(final, 0, b"abcd").status == 403
    assert tus.head(final).headers["Upload-Offset"] == "4"


@must("concat-listed")
def test_unfinished_parts_are_refused(tus: Tus) -> None:
    """Concatenation: unless concatenation-unfinished is offered, final is for uploads that are whole; else 4xx."""
    whole = partials(tus, b"ab")
    unfinished = tus.create(10, Upload_Concat="partial")
    deferred = tus.create(None, Upload_Concat="partial")
    tus.patch(unfinished, 0, b"abc")
    for other in (unfinished, deferred):
        assert join(tus, [*whole, other]).status == 409
    assert tus.offset(unfinished) == 3
    assert tus.offset(whole[0]) == 2


@pytest.mark.parametrize(
    "value",
    [
        "final",
        "final;",
        "final; ",
        "Final;/tus/a",
        "partial;x",
        "",
        "final;/other/place",
        "final;/tus/",
        "final;/tus/a/b",
        "final;http://[/tus/a",
        f"final;{'/tus/a ' * 1001}",
    ],
)
@must("concat-form")
def test_upload_concat_has_a_form(tus: Tus, value: str) -> None:
    """Upload-Concat: partial, or final with a list of URLs."""
    answer = tus("POST", ROOT, Upload_Concat=value)
    assert answer.problem == (400, "bad-request")


def test_parts_that_are_not_there(tus: Tus) -> None:
    (path,) = partials(tus, b"ab")
    assert join(tus, [path, f"{ROOT}nothing"]).status == 404
    assert join(tus, [tus.create(0)]).status == 409  # an upload of its own, completed
    assert tus.offset(path) == 2


@must("concat-again")
def test_a_part_may_be_there_twice(tus: Tus) -> None:
    """Concatenation: partial uploads may be used several times."""
    (path,) = partials(tus, b"ab")
    assert join(tus, [path, path, path]).status == 201
    assert tus.artifact(b"ababab") == b"ababab"


def test_a_repeated_request_makes_no_second_file(tus: Tus) -> None:
    """A client whose answer was lost asks again: also after the parts have been deleted."""
    data = os.urandom(200_000)
    paths = partials(tus, data[:70_000], data[70_000:])
    places = {join(tus, paths).headers["Location"] for _ in range(3)}
    assert len(places) == 1
    assert tus.head(places.pop()).headers["Repr-Digest"] == repr_digest(data)


def test_equal_requests_at_once_make_one_file(tus: Tus, server: ServerProcess) -> None:
    data = os.urandom(3_000_000)
    paths = partials(tus, data[:1_000_000], data[1_000_000:])
    answers: list[Answer] = []

    def send() -> None:
        with Http(server.port) as http:
            answers.append(join(Tus(http), paths))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {201}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert tus.artifact(data) == data


def test_the_parts_go_when_the_whole_is_there(tus: Tus, server: ServerProcess) -> None:
    paths = partials(tus, os.urandom(100), os.urandom(200))
    assert join(tus, paths).status == 201
    assert [tus.head(path).status for path in paths] == [404, 404]
    left = {path.name for path in (server.data / "staging").glob("*")}
    assert left.isdisjoint(path.removeprefix(ROOT) for path in paths)


@must("concat-metadata")
def test_metadata_of_the_final_upload_name_the_artifact(tus: Tus) -> None:
    """Upload-Metadata of a final upload are its own: those of the parts do not pass on to it."""
    data = os.urandom(100)
    paths = partials(tus, data)
    join(tus, paths, Upload_Metadata=metadata(filename="whole.bin"))
    listed = tus.http("GET", f"{API}artifacts/?search=whole.bin").json["results"]
    assert [artifact["size"] for artifact in listed] == [100]


def test_rest_writes_nothing_into_a_final_upload(tus: Tus) -> None:
    """Also while its bytes are being copied: there, not its chunks but the parts are its bytes."""
    final = join(tus, partials(tus, b"ab")).headers["Location"]
    assert tus.http.put(f"{API}uploads/{final.removeprefix(ROOT)}/", 0, b"xy").status == 409


@pytest.mark.more_engines
@pytest.mark.usefixtures("engines")
def test_a_quota_counts_the_bytes_once(tmp_path: Path) -> None:
    """Parts give their place up to the whole, so a quota that holds the file is enough."""
    with ServerProcess(tmp_path, quota=1000, max_open_uploads=2) as server, Http(server.port) as http:
        tus = Tus(http)
        paths = partials(tus, bytes(600), bytes(300))
        assert join(tus, paths).status == 201
        assert tus("POST", ROOT, Upload_Length="101").status == 413
        assert tus("POST", ROOT, Upload_Length="100").status == 201


@pytest.mark.more_engines
@pytest.mark.usefixtures("engines")
def test_the_sum_of_the_parts_is_limited_too(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, max_upload_size=1000) as server, Http(server.port) as http:
        tus = Tus(http)
        paths = partials(tus, bytes(600), bytes(600))
        assert join(tus, paths).status == 413
        assert [tus.offset(path) for path in paths] == [600, 600]
