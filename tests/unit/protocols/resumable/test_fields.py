"""The header fields of resumable uploads, whatever a client puts into them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import http_sf
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from partwise.http.downloads import content_disposition
from partwise.protocols.resumable.fields import MAX_INTEGER, file_name, format_limits, media_type, read
from tests.protocol.resumable.sentences import must

#: What a header field can hold, as a server decodes it.
latin = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=60)
NAMES = ["Upload-Offset", "Upload-Length", "Upload-Complete", "Upload-Incomplete", "Upload-Draft-Interop-Version"]


def headers(**fields: str) -> Headers:
    return Headers({name.replace("_", "-"): value for name, value in fields.items()})


@given(st.lists(st.tuples(st.sampled_from(NAMES), latin | st.sampled_from(["?1", "?0", "5", "3"]))))
def test_whatever_comes_is_read_or_ignored(fields: list[tuple[str, str]]) -> None:
    said = read(Headers(raw=[(name.lower().encode(), value.encode("latin-1")) for name, value in fields]))
    assert said.complete in (None, True, False)
    for number in (said.offset, said.length):
        assert number is None or 0 <= number <= MAX_INTEGER


@given(st.integers(0, MAX_INTEGER), st.booleans())
def test_what_is_written_is_read(number: int, complete: bool) -> None:
    said = read(headers(Upload_Offset=f" {number} ", Upload_Length=f"{number};x=1", Upload_Complete=f"?{complete:d}"))
    assert (said.offset, said.length, said.complete, said.version.number) == (number, number, complete, None)


@given(st.booleans())
def test_the_first_draft_says_the_opposite(incomplete: bool) -> None:
    said = read(headers(Upload_Draft_Interop_Version="3", Upload_Incomplete=f"?{incomplete:d}", Upload_Complete="?0"))
    assert said.complete is not incomplete


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_the_name_of_a_file_is_read_back(name: str) -> None:
    """As our own downloads write it."""
    plain = "".join(character for character in name if character.isprintable() and character not in "/\\").strip(". ")
    assume(plain)
    assert file_name(content_disposition(plain)) == plain


@given(latin)
def test_no_name_is_a_path_or_has_controls(value: str) -> None:
    for field in (
        value,
        f"inline; filename={value}",
        f'inline; filename="{value}"',
        f"x; filename*=UTF-8''{quote(value)}",
    ):
        name = file_name(field)
        assert name is None or (name.isprintable() and "/" not in name and "\\" not in name and name)


@pytest.mark.parametrize(
    "field, name",
    [
        ("inline; filename*=UTF-8''a%2Fb", "b"),
        ("inline; filename*=iso-8859-1'en'%A3", "£"),
        ("inline; filename*=utf-16''x; filename=plain", "plain"),
        ("inline; filename*=UTF-8''%FF; filename=plain", "plain"),
        (r'inline; filename="a\"b"', 'a"b'),
        ('inline;FILENAME = "a b"', "a b"),
        ("inline; xfilename=a", None),
        ("filename=a", None),
    ],
)
def test_names(field: str, name: str | None) -> None:
    assert file_name(field) == name


def test_media_types() -> None:
    assert media_type("image/png") == "image/png"
    assert media_type("application/partial-upload") is media_type("nonsense") is media_type("") is None


@must("limit-none", "limit-form")
def test_limits_are_a_dictionary() -> None:
    assert format_limits({}) == "min-size=0"
    parsed: Any = http_sf.parse(format_limits({"max-size": 2**62, "max-age": 5}).encode(), tltype="dictionary")
    assert {name: item[0] for name, item in parsed.items()} == {"max-size": MAX_INTEGER, "max-age": 5}
