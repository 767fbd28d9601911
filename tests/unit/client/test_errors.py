from __future__ import annotations

import pytest

from partwise.client import AnswerError, Conflict, NoRoom, NotAllowed, NotFound
from partwise.client.errors import answer_error


@pytest.mark.parametrize(
    "data,sentence",
    [
        (b'{"type":"/docs/errors#x","title":"T","detail":"The detail."}', "The detail."),
        (b'{"title":"Only a title"}', "Only a title"),
        (b'{"size":["This field is required."]}', "size: This field is required."),
        (b"<html>", "The server answered 400 Bad Request."),
        (b"[1]", "The server answered 400 Bad Request."),
        (b"", "The server answered 400 Bad Request."),
    ],
)
def test_the_servers_own_sentence_is_kept(data: bytes, sentence: str) -> None:
    assert str(answer_error(400, "Bad Request", data)) == sentence


@pytest.mark.parametrize(
    "status,kind",
    [(401, NotAllowed), (403, NotAllowed), (404, NotFound), (409, Conflict), (413, NoRoom), (507, NoRoom)],
)
def test_statuses_have_their_exceptions(status: int, kind: type[AnswerError]) -> None:
    error = answer_error(status, "", b'{"type":"/docs/errors#a-name"}')
    assert type(error) is kind
    assert error.status == status
    assert error.type == "/docs/errors#a-name"


@pytest.mark.parametrize(
    "field,seconds", [("3", 3.0), (" 3 ", 3.0), (None, None), ("Wed, 21 Oct 2015 07:28:00 GMT", None), ("-1", None)]
)
def test_retry_after_in_seconds_is_read(field: str | None, seconds: float | None) -> None:
    assert answer_error(503, "", b"", {} if field is None else {"Retry-After": field}).retry_after == seconds
