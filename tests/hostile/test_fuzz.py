"""Header fields and forms that Hypothesis makes up, and calls that schemathesis derives from the API's description:
no input makes the server fail (5xx), and none is recorded that was not right."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.server import API, Http, ServerProcess

BODY = b"0123456789"

#: One example is one request; the same server and connection serve all of them.
fuzz = settings(
    max_examples=150,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

#: What header fields can hold: visible characters, spaces, and bytes that are no ASCII.
_text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60)
_number = st.integers(-1, 2**70).map(str) | st.sampled_from(["", "0", "9", "10", "00", "1e1", "0x9", " 9"])


@st.composite
def content_ranges(draw: st.DrawFn) -> str:
    unit = draw(st.sampled_from(["bytes", "BYTES", "items", ""]))
    space = draw(st.sampled_from([" ", "", "=", "\t", "  "]))
    total = draw(_number | st.just("*"))
    return f"{unit}{space}{draw(_number)}-{draw(_number)}/{total}"


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    """Forms in pieces that are nearly right, in any order."""
    pieces = [
        b"--B\r\n",
        b"--B--",
        b"--B--\r\n",
        b"--B",
        b"\r\n",
        b"\n",
        b"\r",
        b'Content-Disposition: form-data; name="file"; filename="f"\r\n',
        b'Content-Disposition: form-data; name="sha256"\r\n',
        b"Content-Disposition: form-data\r\n",
        b"Content-Type: text/plain; charset=utf-7\r\n",
        b"X: y\r\n",
        b"\r\n\r\n",
        BODY,
        b"\0\xff",
    ]
    return b"".join(draw(st.lists(st.sampled_from(pieces) | st.binary(max_size=30), max_size=14)))


@pytest.fixture(scope="module")
def line(server: ServerProcess) -> Iterator[Http]:
    with Http(server.port) as connection:
        yield connection


def untouched(line: Http, href: str) -> bool:
    shown = line("GET", href).json
    return (shown["state"], shown["received"], shown["chunks"]) == ("open", 0, [])


@fuzz
@given(field=content_ranges() | _text)
def test_content_ranges(line: Http, field: str) -> None:
    href = line.create(10)
    answer = line("PUT", href, BODY, Content_Range=field)
    assert answer.status in {200, 400}, answer.body
    shown = line("GET", href).json
    assert shown["received"] == (10 if answer.status == 200 else 0)
    if answer.status == 200:
        assert re.fullmatch(r"\s*bytes\s+0+-0*9/(0*10|\*)\s*", field, re.ASCII | re.IGNORECASE)


@fuzz
@given(
    field=_text
    | st.from_regex(r"sha-256=:[A-Za-z0-9+/]{0,60}={0,3}:", fullmatch=True)
    | st.lists(st.sampled_from(["sha-256", "sha-512", "=", ":", ",", ";", "AA==", "?1", '"x"', " "]), max_size=12).map(
        "".join
    )
)
def test_digests(line: Http, field: str) -> None:
    href = line.create(10)
    answer = line("PUT", href, BODY, Content_Range="bytes 0-9/10", Content_Digest=field)
    assert answer.status in {200, 400}, answer.body
    assert answer.status == 200 or untouched(line, href)


@fuzz
@given(body=forms(), digest=st.none() | _text)
def test_forms(line: Http, body: bytes, digest: str | None) -> None:
    href = line.create(10)
    answer = line("PUT", href, body, Content_Range="bytes 0-9/10", Content_Type="multipart/form-data; boundary=B")
    assert answer.status in {200, 400}, answer.body
    assert answer.status == 200 or untouched(line, href)


@fuzz
@given(name=st.text(max_size=80), kind=_text)
def test_names_of_files(line: Http, name: str, kind: str) -> None:
    answer = line("POST", f"{API}uploads/", {"size": 0, "filename": name, "media_type": kind})
    assert answer.status in {201, 400}, answer.body
    if answer.status == 400:
        return
    upload = line.commit(answer.json["pulp_href"], b"").json
    assert upload["filename"] == (name or None)


@pytest.mark.timeout(600)
def test_calls_derived_from_the_description(server: ServerProcess, tmp_path: Path) -> None:
    run = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{server.url}{API}docs/api.json",
            "--checks=not_a_server_error",
            "--max-examples=8",
            "--phases=coverage,fuzzing",
            "--seed=1",
            "--request-timeout=30",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
