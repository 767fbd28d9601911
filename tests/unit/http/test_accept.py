"""Which of two forms of an answer a client asks for (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from partwise.http.accept import asks_for

STREAM, JSON = "text/event-stream", "application/json"


def asks_for_stream(*fields: str) -> bool:
    headers = [(b"accept", field.encode("latin-1")) for field in fields]
    return asks_for(Request({"type": "http", "headers": headers}), STREAM, rather_than=JSON)


@pytest.mark.parametrize(
    "field",
    [
        STREAM,
        "Text/Event-Stream",
        f" {STREAM} ; charset=utf-8",
        f"{STREAM};q=0.001",
        f"{STREAM};q=1.000",
        f"{STREAM}; Q = 0.5",
        f"{STREAM}, */*",
        f"{STREAM}, {JSON}",
        f"{STREAM};q=0.5, */*;q=0.1",
        f"{STREAM};q=0.5, */*, application/*;q=0.2",
        f"{STREAM};q=0.5, application/*, {JSON};q=0.5",
        f'{STREAM};x="a,b;q=0"',
        f"{STREAM};q=0.7, {JSON};q=2",
        f",,{STREAM},",
    ],
)
def test_a_stream(field: str) -> None:
    assert asks_for_stream(field)


@pytest.mark.parametrize(
    "field",
    [
        "",
        "*/*",
        "text/*",
        JSON,
        f"{STREAM};q=0",
        f"{STREAM};q=0.000",
        f"{STREAM} ; q=0",
        f"{STREAM};charset=utf-8;q=0",
        f"{STREAM};q=0.5, {JSON}",
        f"{STREAM};q=0.5, application/*",
        f"{STREAM};q=0.5, */*",
        f"{STREAM};q=0, */*",
        f"{STREAM};q=-1",
        f"{STREAM};q=2",
        f"{STREAM};q=1e-3",
        f"{STREAM};q=0.0001",
        f"{STREAM};q=nan",
        f'x/y;x="{STREAM}"',
        f'x/y;x=", {STREAM}, "',
        f"x{STREAM}",
        f"{STREAM}x",
        "\xff" * 1000,
        '"' * 1001,
        ";" * 1000,
    ],
)
def test_a_page(field: str) -> None:
    assert not asks_for_stream(field)


def test_several_fields_are_one_list() -> None:
    assert asks_for_stream("text/html", STREAM)
    assert not asks_for_stream(f"{STREAM};q=0.5", JSON)
    assert not asks_for_stream()
