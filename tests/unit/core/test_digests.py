from __future__ import annotations

import base64
import hashlib

import pytest

from partwise.core.digests import (
    EMPTY_SHA256,
    format_digest_field,
    parse_digest_field,
    parse_sha256,
    parse_sha512_field,
)
from partwise.core.errors import BadDigest

HELLO = hashlib.sha256(b"hello").hexdigest()


def test_digest_of_nothing_is_the_digest_of_nothing() -> None:
    assert hashlib.sha256().hexdigest() == EMPTY_SHA256


def test_sha256_is_kept_in_lower_case() -> None:
    assert parse_sha256(HELLO.upper()) == HELLO


@pytest.mark.parametrize("value", [None, 5, "", HELLO[:-1], HELLO + "0", HELLO[:-1] + "g", HELLO + "\n", " " + HELLO])
def test_what_is_no_sha256_is_refused(value: object) -> None:
    with pytest.raises(BadDigest):
        parse_sha256(value)


def test_digest_field_survives_a_round_trip() -> None:
    assert parse_digest_field(format_digest_field(HELLO)) == HELLO


def test_digest_field_of_other_algorithms_alone_says_nothing() -> None:
    assert parse_digest_field("md5=:AAAA:, unixsum=5") is None


def test_sha512_is_read_beside_the_sha256() -> None:
    digest = hashlib.sha512(b"hello").digest()
    field = f"{format_digest_field(HELLO)}, sha-512=:{base64.b64encode(digest).decode()}:"
    assert (parse_sha512_field(field), parse_digest_field(field)) == (digest, HELLO)
    assert parse_sha512_field(format_digest_field(HELLO)) is None
    for wrong in ("sha-512", "sha-512=5", "sha-512=:AAAA:", "="):
        with pytest.raises(BadDigest):
            parse_sha512_field(wrong)


def test_digest_field_takes_the_sha256_among_others() -> None:
    assert parse_digest_field(f"md5=:AAAA:, {format_digest_field(HELLO)}") == HELLO


@pytest.mark.parametrize(
    "value", ["sha-256", "sha-256=5", "sha-256=:AAAA:", "sha-256=:*:", "=", "sha-256=ü", f"sha-256={HELLO}"]
)
def test_malformed_digest_fields_are_refused(value: str) -> None:
    with pytest.raises(BadDigest):
        parse_digest_field(value)
