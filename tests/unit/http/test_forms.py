"""The form parser against forms cut at every place, and against forms that are wrong."""

from __future__ import annotations

import hashlib
import random

import pytest

from partwise.core.errors import BadBody, BadDigest
from partwise.http.forms import MAX_FIELD_SIZE, MAX_PARTS, FormBody, FormParser, is_form, parse_urlencoded
from tests.support.bodies import BytesBody

KIND = "multipart/form-data; boundary=XyZ"
FILE = b"\r\n--XyZ not the end\r\n--XyZ\r" * 40


def part(name: str, content: bytes, extra: str = "") -> bytes:
    return f'--XyZ\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--XyZ--\r\n"


async def drain(
    content: bytes, kind: str = KIND, sha256: str | None = None, block: int = 1 << 16
) -> tuple[bytes, FormBody]:
    got = bytearray()
    body = FormBody(BytesBody(content, block=block), kind, sha256)
    await body.drain(got.extend)
    return bytes(got), body


def test_every_way_to_cut_a_form_gives_the_same_file() -> None:
    file = FILE.replace(b"--XyZ", b"--XyY")
    content = form(part("sha256", b"a" * 64), part("file", file, '; filename="f.bin"'))
    for size in range(1, len(content) + 1):
        got = bytearray()
        parser = FormParser(KIND, got.extend)
        for start in range(0, len(content), size):
            parser.feed(content[start : start + size])
        parser.close()
        assert bytes(got) == file
        assert (parser.fields, parser.filename) == ({"sha256": "a" * 64}, "f.bin")


@pytest.mark.parametrize("margin", [0, 3])
def test_blocks_of_one_buffer_give_the_same_file_however_they_are_cut(margin: int) -> None:
    file = FILE.replace(b"--XyZ", b"--XyY")
    content = form(part("sha256", b"a" * 64), part("file", file, '; filename="f.bin"'), part("more", b"x" * 99))
    for size in range(1, len(content) + 1):
        got = bytearray()
        parser = FormParser(KIND, got.extend)
        # What is left of the block before lies behind each view, and with a margin before it too.
        buffer = bytearray(margin + size)
        for start in range(0, len(content), size):
            piece = content[start : start + size]
            buffer[margin : margin + len(piece)] = piece
            parser.feed_block(memoryview(buffer)[margin : margin + len(piece)])
        parser.close()
        assert (bytes(got), parser.fields) == (file, {"sha256": "a" * 64, "more": "x" * 99}), size


def test_a_block_that_is_all_file_is_not_copied() -> None:
    blocks: list[memoryview] = []
    parser = FormParser(KIND, blocks.append)
    parser.feed_block(memoryview(part("file", b"", '; filename="f.bin"')[:-2]))
    parser.feed_block(memoryview(b"The line break before this might have begun the delimiter."))
    buffer = bytearray(b"\r-" * 5000)
    parser.feed_block(memoryview(buffer)[:9000])
    assert blocks[-1].obj is buffer
    assert len(blocks[-1]) == 9000


async def test_digest_field_counts_before_and_after_the_file() -> None:
    data = random.Random(1).randbytes(3_000_000)
    digest = hashlib.sha256(data).hexdigest()
    field, file = part("sha256", digest.upper().encode()), part("file", data)
    for content in (form(field, file), form(file, field)):
        got, body = await drain(content, block=1 << 20)
        assert got == data
        assert body.sha256 == digest


async def test_unknown_fields_are_ignored() -> None:
    got, body = await drain(form(part("color", b"blue"), part("file", b"data"), part("", b"")))
    assert (got, body.sha256) == (b"data", None)


async def test_quoted_boundary() -> None:
    got, _ = await drain(form(part("file", b"data")), 'multipart/form-data; charset=utf-8; boundary="XyZ"')
    assert got == b"data"


async def test_two_digests_that_differ_are_refused() -> None:
    with pytest.raises(BadDigest, match="differ"):
        await drain(form(part("file", b"x"), part("sha256", b"a" * 64)), sha256="b" * 64)
    for fields in ([b"a" * 64, b"b" * 64], [b"b" * 64, b"a" * 64]):
        with pytest.raises(BadDigest, match="differ"):
            await drain(form(*(part("sha256", field) for field in fields), part("file", b"x")))


@pytest.mark.parametrize(
    "content, reason",
    [
        (form(part("file", b"data"))[:-6], "closing boundary"),
        (part("file", b"data")[:-5], "closing boundary"),
        (b"", "closing boundary"),
        (b"no form at all", "closing boundary"),
        (form(part("other", b"data")), "lacks the part 'file'"),
        (form(part("file", b"a"), part("file", b"b")), "more than one"),
        (form(part("x", b"y" * (MAX_FIELD_SIZE + 1))), "a field exceeds"),
        (form(*[part("x", b"")] * (MAX_PARTS + 1)), "cannot be read"),
        (form(part("x", b"\xff")), "UTF-8"),
        (b"--XyZ\r\nContent-Disposition: form-data; name=file\r\nX: " + b"h" * 100_000 + b"\r\n\r\n", "cannot be read"),
        (b"--XyZ\r\n" + b"X: y\r\n" * 100 + b"\r\n", "cannot be read"),
        (b"--XyZ\r\nContent-Type: text/plain\r\n\r\nx\r\n--XyZ--\r\n", "cannot be read"),
    ],
)
async def test_wrong_forms_are_refused(content: bytes, reason: str) -> None:
    with pytest.raises(BadBody, match=reason):
        await drain(content)


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'x' * 71}"]
)
def test_unusable_boundaries_are_refused(kind: str) -> None:
    with pytest.raises(BadBody, match="boundary"):
        FormBody(BytesBody(b""), kind)


def test_which_types_are_forms() -> None:
    assert is_form("Multipart/Form-Data; boundary=x")
    assert not is_form("multipart/mixed; boundary=x")
    assert not is_form(None)


def test_urlencoded() -> None:
    assert parse_urlencoded(b"size=10&filename=a+b%2Fc&empty=") == {"size": "10", "filename": "a b/c", "empty": ""}
    for content in (b"x=%ff", b"\xff", b"&".join([b"a=1"] * (MAX_PARTS + 1))):
        with pytest.raises(BadBody):
            parse_urlencoded(content)
