"""Forms with every kind of part length, cut into every kind of pieces, against the oracle in ``support/forms.py``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings

from partwise.core.errors import BadBody
from partwise.http.forms import FormParser
from tests.support.forms import CONTENT_TYPE, Form, cuts, forms, pieces

#: How a piece reaches the parser: each of the ways that bodies come in.
Feed = Callable[[FormParser, bytes], None]


def _as_message(parser: FormParser, piece: bytes) -> None:
    """As from an ASGI message: bytes of its own."""
    parser.feed_block(memoryview(piece))


def _in_buffer(parser: FormParser, piece: bytes) -> None:
    """As from a socket: the front of a buffer that holds what came before, too."""
    buffer = bytearray(piece + b"\r\n" + piece[:50])
    parser.feed_block(memoryview(buffer)[: len(piece)])


def _in_the_middle(parser: FormParser, piece: bytes) -> None:
    """A view that begins inside of its buffer."""
    buffer = bytearray(b"xyz" + piece)
    parser.feed_block(memoryview(buffer)[3:])


def _plain(parser: FormParser, piece: bytes) -> None:
    parser.feed(piece)


@pytest.mark.parametrize("feed", [_as_message, _in_buffer, _in_the_middle, _plain])
@settings(max_examples=250, deadline=None)
@given(form=forms(), sizes=cuts())
def test_a_form_is_taken_or_refused_however_it_is_cut(feed: Feed, form: Form, sizes: list[int]) -> None:
    got = bytearray()
    parser = FormParser(CONTENT_TYPE, got.extend)
    refused: BadBody | None = None
    try:
        for piece in pieces(form.content, sizes):
            feed(parser, piece)
        parser.close()
    except BadBody as error:
        refused = error

    assert (refused is None) == form.right, refused
    if refused is None:
        assert bytes(got) == form.file
        assert parser.fields == form.fields
    else:
        assert "Content-Length" in str(refused)
        assert form.file.startswith(bytes(got))
