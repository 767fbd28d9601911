"""The drafts that clients in the field speak: what they have otherwise than the newest one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.protocol.resumable.client import PARTIAL, ROOT, Client, limits
from tests.support.server import ServerProcess, sha256

#: On PostgreSQL and an object store with --all-engines.
pytestmark = pytest.mark.more_engines

DATA = os.urandom(200_000)


class Draft:
    """A client of one draft."""

    def __init__(self, client: Client, number: int) -> None:
        self.client, self.number = client, number
        self.name = "upload-incomplete" if number == 3 else "upload-complete"

    def complete(self, value: bool) -> dict[str, str]:
        """The field that says whether this is the end."""
        return {self.name.replace("-", "_"): f"?{(not value if self.number == 3 else value):d}"}

    def is_complete(self, headers: dict[str, str]) -> bool:
        """What an answer's field says."""
        other = {"upload-incomplete", "upload-complete"} - {self.name}
        assert not other & set(headers)
        return headers[self.name] == ("?0" if self.number == 3 else "?1")

    def patch(self, path: str, offset: int, body: bytes, complete: bool, **fields: Any) -> Any:
        """Append, with a media type where the draft has one."""
        kind = {"Content_Type": PARTIAL} if self.number >= 6 else {}
        return self.client("PATCH", path, body, Upload_Offset=str(offset), **kind, **self.complete(complete), **fields)


@contextmanager
def drafts(server: ServerProcess, number: int) -> Iterator[Draft]:
    with Client(server.port, number) as client:
        yield Draft(client, number)


@pytest.fixture(params=[3, 4, 5, 6, 7, 8])
def draft(resumable_server: ServerProcess, request: pytest.FixtureRequest) -> Iterator[Draft]:
    with drafts(resumable_server, request.param) as draft:
        yield draft


@pytest.fixture(params=[3, 4, 5, 6])
def old(resumable_server: ServerProcess, request: pytest.FixtureRequest) -> Iterator[Draft]:
    with drafts(resumable_server, request.param) as draft:
        yield draft


def test_a_file_in_one_request(draft: Draft) -> None:
    answer = draft.client("POST", ROOT, DATA, **draft.complete(True))
    [announced] = answer.interim
    assert announced.headers["upload-draft-interop-version"] == str(draft.number)
    assert announced.headers["location"] == answer.headers["location"]
    assert ("upload-limit" in announced.headers) is (draft.number >= 6)
    assert (answer.status, answer.headers["upload-offset"]) == (201, str(len(DATA)))
    assert draft.is_complete(answer.headers)
    assert answer.json["sha256"] == sha256(DATA)


def test_a_file_in_parts(draft: Draft) -> None:
    created = draft.client("POST", ROOT, DATA[:1000], **draft.complete(False))
    assert (created.status, created.headers["upload-offset"]) == (201, "1000")
    assert not draft.is_complete(created.headers)
    path = created.headers["location"]
    part = draft.patch(path, 1000, DATA[1000:2000], False)
    assert (part.status, part.headers["upload-offset"]) == (201 if draft.number < 7 else 204, "2000")
    assert not draft.is_complete(part.headers)
    head = draft.client("HEAD", path)
    assert (head.status, head.headers["upload-offset"]) == (204, "2000")
    assert head.headers["cache-control"] == "no-store"
    assert not draft.is_complete(head.headers)
    conflict = draft.patch(path, 1999, DATA[1999:], True)
    assert (conflict.status, conflict.headers["upload-offset"]) == (409, "2000")
    last = draft.patch(path, 2000, DATA[2000:], True)
    assert (last.status, last.json["sha256"]) == (201, sha256(DATA))
    assert draft.is_complete(last.headers)
    assert draft.is_complete(draft.client("HEAD", path).headers)
    assert draft.client("DELETE", path).status == 204
    assert draft.client("HEAD", path).status == 404


@pytest.mark.parametrize("name", ["Upload_Offset", "Upload_Length", "completeness"])
@pytest.mark.parametrize("method", ["HEAD", "DELETE"])
def test_fields_of_an_append_in_other_requests(old: Draft, method: str, name: str) -> None:
    """The drafts up to -05 want them refused."""
    path = old.client("POST", ROOT, b"abc", **old.complete(False)).headers["location"]
    fields: dict[str, Any] = old.complete(False) if name == "completeness" else {name: "3"}
    assert old.client(method, path, **fields).status == 400
    assert old.client("HEAD", path).status == 204


def test_lifetimes(resumable_server: ServerProcess) -> None:
    """They had another name in -04 and -05, and none before."""
    for number, name in ((6, "expires"), (7, "max-age")):
        with drafts(resumable_server, number) as draft:
            assert set(limits(draft.client("OPTIONS", ROOT))) == {name}
    with drafts(resumable_server, 5) as draft:
        assert "upload-limit" not in draft.client("OPTIONS", ROOT).headers


def test_an_append_without_a_word_of_the_end(resumable_server: ServerProcess) -> None:
    """It is the end in -01, more is to come in -02 to -05, and it is refused since."""
    for number, status, complete in (
        (3, 201, True),
        (4, 201, False),
        (5, 201, False),
        (6, 201, False),
        (8, 400, False),
    ):
        with drafts(resumable_server, number) as draft:
            path = draft.client("POST", ROOT, b"abc", **draft.complete(False)).headers["location"]
            answer = draft.client("PATCH", path, b"d", Upload_Offset="3", Content_Type=PARTIAL)
            assert answer.status == status, number
            assert draft.is_complete(draft.client("HEAD", path).headers) is complete, number


@pytest.mark.parametrize("number, complete", [(4, False), (5, True), (6, True), (7, False), (8, False)])
def test_an_end_that_only_the_length_tells(resumable_server: ServerProcess, number: int, complete: bool) -> None:
    """tus-js-client reports success then, so the upload must be complete. Whoever says so again is told the same."""
    with drafts(resumable_server, number) as draft:
        created = draft.client("POST", ROOT, b"abc", Upload_Length="4", **draft.complete(False))
        path = created.headers["location"]
        assert not draft.is_complete(created.headers)
        assert draft.is_complete(draft.patch(path, 3, b"d", False).headers) is complete
        assert draft.is_complete(draft.client("HEAD", path).headers) is complete
        assert draft.patch(path, 4, b"", True).json["sha256"] == sha256(b"abcd")
        empty = draft.client("POST", ROOT, b"", Upload_Length="0", **draft.complete(False))
        assert draft.is_complete(empty.headers) is complete


def test_begun_with_one_draft_and_gone_on_with_another(resumable_server: ServerProcess) -> None:
    """An application may be updated in between."""
    with drafts(resumable_server, 3) as first, drafts(resumable_server, 8) as second:
        path = first.client("POST", ROOT, b"abc", **first.complete(False)).headers["location"]
        assert second.client("HEAD", path).headers["upload-complete"] == "?0"
        assert second.patch(path, 3, b"d", True).json["sha256"] == sha256(b"abcd")
        assert first.client("HEAD", path).headers["upload-incomplete"] == "?0"
