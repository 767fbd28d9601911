"""Box's SDKs for Python and Node.js, old and new, unmodified: only their base URLs are other ones."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import HERE, NPM, Program, write_file
from tests.support.folders import make_data_folder
from tests.support.proxy import Proxy
from tests.support.server import Http, ServerProcess, sha256
from tests.support.tokens import make_token

pytestmark = pytest.mark.clients

SIZE, PART = 2_500_001, 500_000

CLASSIC, GENERATED = "boxsdk 3", "box-sdk-gen"
SDKS = [CLASSIC, GENERATED, "boxsdk 10", "box-node-sdk 3", "box-node-sdk 10"]

each_sdk = pytest.mark.parametrize("sdk", SDKS)


class Sdks:
    """Starts programs around the SDKs."""

    def __init__(self, python: Path, node: Path, newest: Path) -> None:
        self._python, self._node, self._newest = python / "python", node, newest

    def __call__(self, sdk: str, **options: Any) -> Program:
        programs = HERE / "programs"
        commands: dict[str, list[str | Path]] = {
            CLASSIC: [self._python, programs / "box_classic.py"],
            GENERATED: [self._python, programs / "box_generated.py"],
            "boxsdk 10": ["env", f"PYTHONPATH={self._newest}", self._python, programs / "box_generated.py"],
            "box-node-sdk 3": [self._node, NPM / "box_classic.mjs"],
            "box-node-sdk 10": [self._node, NPM / "box_generated.mjs"],
        }
        return Program(*commands[sdk], json.dumps(options))


@pytest.fixture(scope="module")
def sdks(python_clients: Path, node: Path, newest_boxsdk: Path) -> Sdks:
    return Sdks(python_clients, node, newest_boxsdk)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(make_data_folder(tmp_path / "box"), dialects="box,pulp", chunk_size=PART) as server:
        yield server


def check(program: Program, data: bytes, name: str = "file.bin", me: str = "local") -> None:
    """The SDK made the file, got it back and deleted it."""
    done = program.until("done")
    assert done["sha256"] == sha256(data)
    assert done.get("sha1") in (None, hashlib.sha1(data).hexdigest())
    assert done["listed"] == [name]
    assert done["me"] == me
    missing = program.until("missing")
    assert (missing["status"], missing["code"]) == (404, "not_found")


@each_sdk
@pytest.mark.parametrize("how", ["chunked", "simple"])
def test_a_file(sdks: Sdks, box: ServerProcess, tmp_path: Path, sdk: str, how: str) -> None:
    file, data = write_file(tmp_path, SIZE, "Größe.bin")
    with sdks(sdk, url=box.url, token="anything", file=str(file), how=how) as program:
        check(program, data, "Größe.bin")


@each_sdk
def test_the_server_is_killed_in_the_middle(sdks: Sdks, box: ServerProcess, tmp_path: Path, sdk: str) -> None:
    """The connection breaks within a part; the SDK sends that part again."""
    file, data = write_file(tmp_path, SIZE)
    with Proxy(box.port) as proxy:
        proxy.hold_after(PART + PART // 2)
        with sdks(sdk, url=proxy.url, token="anything", file=str(file), how="chunked") as program:
            proxy.wait_until_held()
            box.kill()
            box.start()
            proxy.release()
            proxy.cut()
            check(program, data)


@each_sdk
def test_the_line_is_cut(sdks: Sdks, box: ServerProcess, tmp_path: Path, sdk: str) -> None:
    """Also behind the last byte of a part, whose answer is lost: then the part comes twice."""
    file, data = write_file(tmp_path, SIZE)
    with Proxy(box.port) as proxy:
        proxy.hold_after(2 * PART)
        with sdks(sdk, url=proxy.url, token="anything", file=str(file), how="chunked") as program:
            proxy.wait_until_held()
            proxy.release()
            proxy.cut()
            check(program, data)


def test_what_was_begun_goes_on(sdks: Sdks, box: ServerProcess, tmp_path: Path) -> None:
    """One part is there; the client asks for the list and sends the others."""
    file, data = write_file(tmp_path, SIZE)
    with sdks(CLASSIC, url=box.url, token="anything", file=str(file), how="resume") as program:
        program.until("part")
        box.kill()
        box.start()
        program.go_on()
        check(program, data)


@pytest.mark.parametrize("sdk", [GENERATED, "boxsdk 10"])
def test_aborted_and_begun_again(sdks: Sdks, box: ServerProcess, tmp_path: Path, sdk: str) -> None:
    file, data = write_file(tmp_path, SIZE)
    with sdks(sdk, url=box.url, token="anything", file=str(file), how="abort") as program:
        check(program, data)


@pytest.mark.parametrize(
    "sdk, how",
    [(sdk, "chunked") for sdk in SDKS] + [(sdk, "credentials") for sdk in SDKS if sdk != "box-node-sdk 3"],
)
def test_with_tokens(sdks: Sdks, tmp_path: Path, sdk: str, how: str) -> None:
    """Another user has a file, too, which this one does not see."""
    file, data = write_file(tmp_path, SIZE)
    folder = make_data_folder(tmp_path / "box")
    with ServerProcess(folder, dialects="box", chunk_size=PART, auth="token") as server:
        with Http(server.port) as http:
            content = (
                b'--b\r\nContent-Disposition: form-data; name="attributes"\r\n\r\n{"name":"x","parent":{"id":"0"}}\r\n'
                b'--b\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n'
                + os.urandom(9)
                + b"\r\n--b--"
            )
            fields = {
                "Authorization": f"Bearer {make_token(server, 'bob')}",
                "Content_Type": "multipart/form-data; boundary=b",
            }
            assert http("POST", "/box/2.0/files/content", content, **fields).status == 201
        with sdks(sdk, url=server.url, token=make_token(server, "ann"), file=str(file), how=how) as program:
            check(program, data, me="ann")
