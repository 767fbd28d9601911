"""The header fields of tus: what is written is read back, and anything else is read or refused."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import given
from hypothesis import strategies as st

from partwise.core.errors import BadRequest
from partwise.core.ranges import MAX_SIZE
from partwise.protocols.tus.fields import (
    ALGORITHMS,
    MAX_PARTS,
    file_of,
    parse_checksum,
    parse_concat,
    parse_deferred,
    parse_metadata,
    parse_number,
)

T = TypeVar("T")

#: What a header field can hold, as a server decodes it; and what is nearly right.
latin = st.text("".join(map(chr, range(256))), max_size=60)
pieces = [
    "a",
    "filename",
    " ",
    ",",
    "YQ==",
    "YQ",
    "=",
    "/w==",
    "AA==",
    "\xe4",
    "final;",
    "partial",
    "/tus/",
    "sha1",
    "1",
]
nearly = st.lists(st.sampled_from(pieces), max_size=10).map("".join)
fields = latin | nearly

visible = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != ",")
keys = st.text(visible, min_size=1, max_size=20)


def attempt(parse: Callable[..., T], *arguments: Any) -> T | BadRequest:
    """What is read, or the refusal. Any other exception fails the test."""
    try:
        return parse(*arguments)
    except BadRequest as error:
        return error


@given(st.dictionaries(keys, st.binary(max_size=40), max_size=6), st.sampled_from([",", ", ", " , "]))
def test_metadata_is_read_back(pairs: dict[str, bytes], comma: str) -> None:
    value = comma.join(f"{key} {base64.b64encode(content).decode()}".strip() for key, content in pairs.items())
    assert parse_metadata(value) == pairs


@given(fields)
def test_any_metadata_is_read_or_refused(value: str) -> None:
    pairs = attempt(parse_metadata, value)
    if isinstance(pairs, BadRequest):
        assert pairs.field == "Upload-Metadata"
        return
    name, kind = file_of(pairs)
    assert name is None or (0 < len(name) <= 1024 and "\0" not in name)
    assert kind is None or kind.isascii()


@given(st.sampled_from([*ALGORITHMS]), st.binary())
def test_a_checksum_is_read_back(algorithm: str, data: bytes) -> None:
    digest = hashlib.new(algorithm, data, usedforsecurity=False).digest()
    found = parse_checksum({"Upload-Checksum": f"{algorithm} {base64.b64encode(digest).decode()}"}, ALGORITHMS)
    assert found is not None
    assert (found.algorithm, found.digest) == (algorithm, digest)


@given(fields)
def test_any_checksum_is_read_or_refused(value: str) -> None:
    found = attempt(parse_checksum, {"Upload-Checksum": value}, ALGORITHMS)
    if isinstance(found, BadRequest):
        assert found.field == "Upload-Checksum"
        return
    assert found is not None
    assert len(found.digest) == ALGORITHMS[found.algorithm]


@given(fields | st.integers(-5, 2**70).map(str) | st.text("\u0663\xb2\xbd\u2167\uff111", max_size=4))
def test_any_number_is_read_or_refused(value: str) -> None:
    number = attempt(parse_number, {"Upload-Offset": value}, "Upload-Offset")
    if isinstance(number, BadRequest):
        assert number.field == "Upload-Offset"
        return
    assert number is not None
    assert 0 <= number <= MAX_SIZE
    assert value.isascii()
    assert value.isdigit()


@given(fields)
def test_a_length_is_deferred_by_1_alone(value: str) -> None:
    assert (attempt(parse_deferred, {"Upload-Defer-Length": value}) is True) is (value == "1")


@given(
    st.lists(st.text("0123456789abcdef-", min_size=36, max_size=36), min_size=1, max_size=5),
    st.sampled_from(["", "https://files.example"]),
)
def test_the_parts_of_a_final_upload_are_read_back(ids: list[str], origin: str) -> None:
    value = "final;" + " ".join(f"{origin}/tus/{id_}" for id_ in ids)
    assert parse_concat(value, "/tus/") == ids


@given(fields)
def test_any_concatenation_is_read_or_refused(value: str) -> None:
    parts = attempt(parse_concat, value, "/tus/")
    if isinstance(parts, BadRequest):
        assert parts.field == "Upload-Concat"
        return
    assert parts is not None
    assert len(parts) <= MAX_PARTS
    assert not any("/" in part or not part for part in parts)
