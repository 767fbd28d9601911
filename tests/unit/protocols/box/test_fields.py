"""What Box's SDKs say in header fields and members: well formed, and anything else."""

from __future__ import annotations

import base64
import hashlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partwise.core.errors import BadBody, BadDigest, NotFound
from partwise.protocols.box.fields import check_folder, check_parent, parse_content_md5, parse_digest, parse_name
from partwise.protocols.box.ids import artifact_id, file_id, part_id


def b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


@given(st.binary(), st.sampled_from(["sha", "SHA", "Sha"]), st.booleans())
def test_digests_as_they_are_sent(data: bytes, name: str, more: bool) -> None:
    sha1, sha512 = hashlib.sha1(data).digest(), hashlib.sha512(data).digest()
    field = f"{name}={b64(sha1)}"
    wanted = {"sha1": sha1}
    if more:
        field += f", sha-512={b64(sha512)}, md5=AAAA"
        wanted["sha512"] = sha512
    assert parse_digest([field]) == wanted
    assert parse_digest(field.split(",")) == wanted, "in fields of their own"


@given(st.lists(st.text(max_size=60), max_size=4))
def test_any_digest_field_is_read_or_refused(values: list[str]) -> None:
    try:
        found = parse_digest(values)
    except BadDigest:
        return
    assert len(found["sha1"]) == 20


@pytest.mark.parametrize("field", ["", "sha=", "sha=AAAA", "sha-512=" + b64(bytes(64)), "sha=" + b64(bytes(21))])
def test_digests_that_are_none(field: str) -> None:
    with pytest.raises(BadDigest):
        parse_digest([field])


def test_two_digests_that_differ() -> None:
    with pytest.raises(BadDigest, match="differ"):
        parse_digest([f"sha={b64(bytes(20))}", f"SHA={b64(b'x' * 20)}"])


@given(st.uuids())
def test_files_have_decimal_ids_that_lead_back(id_: uuid.UUID) -> None:
    assert file_id(str(id_)).isdecimal()
    assert artifact_id(file_id(str(id_))) == str(id_)


@given(st.text(max_size=45))
def test_any_id_of_a_file_is_read_or_not_found(text: str) -> None:
    try:
        found = artifact_id(text)
    except NotFound:
        return
    assert file_id(found) == text, "one id for each artifact"


@pytest.mark.parametrize("text", ["", "-1", "01", "1 ", "٣", str(1 << 128), "9" * 4000])
def test_ids_of_no_file(text: str) -> None:
    with pytest.raises(NotFound):
        artifact_id(text)


@given(st.lists(st.integers(0, 2**62), unique=True, max_size=50))
def test_parts_have_ids_of_their_own(offsets: list[int]) -> None:
    assert len({part_id(offset) for offset in offsets}) == len(offsets)
    assert all(len(part_id(offset)) >= 8 for offset in offsets)


@given(st.text(max_size=300))
def test_any_name_is_taken_or_refused(name: str) -> None:
    try:
        assert parse_name(name, "name") == name
    except BadBody:
        assert not 0 < len(name) <= 255 or "\0" in name


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0b", "\ud800", 5, None])
def test_names_that_are_none(name: object) -> None:
    with pytest.raises(BadBody):
        parse_name(name, "name")


def test_folders() -> None:
    check_folder("0")
    check_folder(0)
    check_parent({"parent": {"id": "0"}})
    for other in ("1", "", None, 1):
        with pytest.raises(NotFound):
            check_folder(other)
    with pytest.raises(BadBody):
        check_parent({"parent": "0"})


def test_content_md5_has_a_sha1_in_hex() -> None:
    assert parse_content_md5(None) is None
    assert parse_content_md5("AB" * 20) == b"\xab" * 20
    for wrong in ("", "ab" * 16, "zz" * 20):
        with pytest.raises(BadDigest):
            parse_content_md5(wrong)
