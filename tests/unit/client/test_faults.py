"""Whatever goes wrong, a call raises a ClientError: a table of calls and of faults."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from partwise.client import Client, ClientError
from tests.unit.client.fake_server import Answer, FakeServer

DIGEST = "0" * 64
HREF = "/pulp/api/v3/artifacts/1/"


def gone() -> Answer:
    raise ConnectionError


FAULTS: dict[str, Callable[[], Any]] = {
    "cut": gone,
    "no JSON": lambda: (200, b"<html>", {}),
    "no text": lambda: (200, b"\xff\xfe", {}),
    "a list": lambda: (200, b"[1]", {}),
    "an empty object": lambda: (200, {}, {}),
    "null": lambda: (200, b"null", {}),
    "nothing": lambda: (200, b"", {}),
    "wrong types": lambda: (
        200,
        {"pulp_href": 5, "size": "x", "sha256": [], "results": 7, "events": 7, "chunks": 7, "count": "x", "cursor": 1},
        {},
    ),
    "wrong items": lambda: (200, {"results": [7], "events": [7], "pulp_href": "/x", "size": {}, "chunks": [7]}, {}),
    "a page of a proxy": lambda: (502, b"<html>Bad gateway", {}),
    "a redirect": lambda: (302, b"", {"Location": "http://[::1"}),
    "a strange status": lambda: (418, {"detail": 7, "type": 7}, {"Retry-After": "soon"}),
    "a problem that is a list": lambda: (400, b"[]", {}),
}

CALLS: dict[str, Callable[[Client, Path], Any]] = {
    "upload a path": lambda client, path: client.upload(path),
    "upload a missing path": lambda client, path: client.upload(path / "none"),
    "upload a folder": lambda client, path: client.upload(path.parent),
    "upload bytes": lambda client, path: client.upload(b"bytes"),
    "upload a stream": lambda client, path: client.upload(iter([bytes(400_000)])),
    "download": lambda client, path: client.download(DIGEST, path.with_name("out")),
    "download by href": lambda client, path: client.download(HREF, path.with_name("out")),
    "download over a file": lambda client, path: client.download(HREF, path),
    "download to no folder": lambda client, path: client.download(HREF, path / "none" / "out"),
    "download to a file object": lambda client, path: client.download(HREF, io.BytesIO()),
    "read": lambda client, path: client.read(HREF),
    "stream": lambda client, path: list(client.stream(HREF)),
    "upload_info": lambda client, path: client.upload_info("1"),
    "artifact": lambda client, path: client.artifact("1"),
    "artifact by digest": lambda client, path: client.artifact(DIGEST),
    "artifact by a strange href": lambda client, path: client.artifact("/ü\n x"),
    "find_artifact": lambda client, path: client.find_artifact("name"),
    "find_content": lambda client, path: client.find_content(path),
    "uploads": lambda client, path: list(client.uploads()),
    "artifacts": lambda client, path: list(client.artifacts()),
    "events": lambda client, path: client.events(),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_call_that_cannot_succeed_raises_a_client_error(
    fake: FakeServer, tmp_path: Path, fault: Callable[[], Any]
) -> None:
    fake.fault = lambda method, path, body: fault()
    other = {}
    with Client(fake.url, patience_seconds=0) as client:
        for number, (name, call) in enumerate(CALLS.items()):
            path = tmp_path / str(number) / "file"
            path.parent.mkdir()
            path.write_bytes(b"content")
            try:
                other[name] = call(client, path)
            except Exception as error:
                if not isinstance(error, ClientError) or not str(error):
                    other[name] = error
    assert other == {}
