"""Multipart forms as clients write them, by Hypothesis, with what a server has to make of each: the tests' oracle."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import strategies as st

BOUNDARY = "-----------RubyMultipartPost-0123456789abcdef0123456789abcdef"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"

_DELIMITER = f"\r\n--{BOUNDARY}".encode()
#: What looks like the delimiter's beginning, so that a parser that cuts at the wrong place shows.
_DECOYS = (b"\r", b"\r\n", b"\r\n-", _DELIMITER[:-1], _DELIMITER[1:-1] + b"x", b"\r\n--" + b"-" * 20, b"\r" * 40)


@dataclass(frozen=True)
class Form:
    """A form, and its file; ``right`` is False where a part has another length than it says."""

    content: bytes
    file: bytes
    fields: dict[str, str]
    right: bool

    def __repr__(self) -> str:
        head = self.content[:400]
        return f"Form({len(self.file)} bytes of file in {len(self.content)}, right={self.right}, {head!r}…)"


def _file(size: int, seed: int) -> bytes:
    """Random bytes, sprinkled with decoys; never with the delimiter itself."""
    rng = random.Random(seed)
    data = bytearray(rng.randbytes(size))
    for _ in range(min(40, size // 100)):
        decoy = rng.choice(_DECOYS)
        at = rng.randrange(size - len(decoy)) if size > len(decoy) else 0
        data[at : at + len(decoy)] = decoy[: size - at]
    return bytes(data).replace(_DELIMITER, bytes(len(_DELIMITER)))


def _part(name: str, content: bytes, filename: str | None, length: int | None, headers: list[str]) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    lines = [disposition, *([] if length is None else [f"Content-Length: {length}"]), *headers]
    return f"--{BOUNDARY}\r\n".encode() + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + content


@st.composite
def forms(draw: st.DrawFn, max_size: int = 3 << 20) -> Form:
    """Forms with one file and some fields, with and without the parts' own lengths, right and wrong ones."""
    kinds = st.one_of(st.integers(0, 300), st.integers(0, min(max_size, 5000)), st.integers(0, max_size))
    file = _file(draw(kinds), draw(st.integers(0, 1 << 20)))
    stated = draw(st.sampled_from(["none", "right", "right", "wrong"]))
    length: int | None = len(file)
    if stated == "none":
        length = None
    elif stated == "wrong":
        wrong = st.one_of(st.integers(1, 3), st.integers(1, max_size), st.just(1 << 40))
        length = max(0, len(file) + draw(st.sampled_from([-1, 1])) * draw(wrong))
    headers = draw(
        st.sampled_from(
            [
                [],
                ["Content-Type: application/octet-stream", "Content-Transfer-Encoding: binary"],
                ["Content-Type: ", "Content-Transfer-Encoding: binary"],
            ]
        )
    )
    parts = [_part("file", file, draw(st.sampled_from(["chunk", "a b.iso"])), length, headers)]
    fields: dict[str, str] = {}
    for number in range(draw(st.integers(0, 2))):
        name, value = f"field{number}", "x" * draw(st.integers(0, 50))
        fields[name] = value
        with_length = len(value) if draw(st.booleans()) else None
        parts.insert(draw(st.integers(0, len(parts))), _part(name, value.encode(), None, with_length, []))
    end = draw(st.sampled_from([b"--\r\n", b"--\r\n\r\n", b"--"]))
    content = b"\r\n".join(parts) + _DELIMITER + end
    return Form(content, file, fields, length in (None, len(file)))


@st.composite
def cuts(draw: st.DrawFn, longest: int = 3 << 20, most: int = 400) -> list[int]:
    """Sizes of the pieces that a form comes in, to be used in turn; from 1 byte on."""
    small, large = st.integers(1, 200), st.integers(1, longest)
    return draw(st.lists(st.one_of(small, large), min_size=1, max_size=min(most, 12)))


def pieces(content: bytes, sizes: list[int], most: int = 3000) -> Iterator[bytes]:
    """``content`` in pieces of ``sizes``, in turn; those after ``most`` pieces are large, so that a test ends."""
    start = number = 0
    while start < len(content):
        size = sizes[number % len(sizes)] if number < most else 1 << 20
        yield content[start : start + size]
        start, number = start + size, number + 1
