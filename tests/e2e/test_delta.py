"""Delta transfers as users meet them: the command line and the Python client against a real server."""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from partwise.client import Cancelled, Client, NotFound, Observer, Phase, UploadResult
from partwise.core.signature import Signature
from tests.e2e.conftest import Cli
from tests.support.edits import noise, sign
from tests.support.proxy import Proxy
from tests.support.server import ServerProcess
from tests.support.until import wait_until

MIB = 1 << 20
SIZE = 12 * MIB


@dataclass(frozen=True)
class Versions:
    """Two versions of a file, which no other test uploads: an owner has each content once, under one name."""

    name: str
    old: bytes
    new: bytes

    @classmethod
    def of(cls, name: str) -> Versions:
        """Versions that are made from the name."""
        seed = zlib.crc32(name.encode())
        old = noise(seed, SIZE)
        new = old[: 3 * MIB] + b"inserted" + old[3 * MIB : 8 * MIB] + noise(seed + 1, MIB) + old[9 * MIB :]
        return cls(f"{name}.img", old, new)


class On(Observer):
    """Calls a function when a note begins with some words."""

    def __init__(self, words: str, call: Callable[[], object]) -> None:
        self.notes: list[str] = []
        self._words, self._call = words, call

    def note(self, message: str) -> None:
        self.notes.append(message)
        if message.startswith(self._words):
            self._call()


@pytest.fixture
def client(server: ServerProcess) -> Any:
    with Client(server.url) as made:
        yield made


@pytest.fixture
def files(request: pytest.FixtureRequest) -> Versions:
    return Versions.of(request.node.name)


@pytest.fixture
def base(client: Client, tmp_path: Path, files: Versions) -> UploadResult:
    """An upload of the old version."""
    path = tmp_path / "first" / files.name
    path.parent.mkdir()
    path.write_bytes(files.old)
    return client.upload(path, journal_folder=tmp_path / "journal")


def changed(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def stored(client: Client, result: UploadResult, tmp_path: Path) -> bytes:
    """The bytes of the artifact that an upload came to."""
    target = tmp_path / "stored"
    client.download(result.artifact, target, delta=False, overwrite=True)
    return target.read_bytes()


def test_only_what_changed_goes_up_and_comes_back(cli: Cli, tmp_path: Path, files: Versions) -> None:
    path = changed(tmp_path, "tonight.img", files.old)
    old = cli("upload", path, "--json").json
    assert (old["bytes_sent"], old["bytes_copied"]) == (len(files.old), 0)
    path.write_bytes(files.new)
    ran = cli("upload", path)
    assert "Comparing with tonight.img of 20" in ran.err
    assert re.search(r"delta     1[01]\.\d MiB were there; sent 1\.\d MiB\n", ran.out)
    digest = hashlib.sha256(files.new).hexdigest()
    assert f"sha256    {digest}" in ran.out

    target = changed(tmp_path, "here.img", files.old)
    ran = cli("download", digest, "-o", target, "--force")
    assert target.read_bytes() == files.new
    assert re.search(r"delta     1[01]\.\d MiB were here; received 1\.\d MiB\n", ran.out)
    down = cli("download", old["sha256"], "-o", tmp_path / "other", "--base", target, "--json").json
    assert (tmp_path / "other").read_bytes() == files.old
    assert down["bytes_local"] + down["bytes_received"] == len(files.old)
    assert down["bytes_received"] < 1.3 * MIB


def test_a_base_by_its_digest_and_none_at_all(cli: Cli, tmp_path: Path, files: Versions) -> None:
    old = cli("upload", changed(tmp_path, "a.bin", files.old), "--json").json
    path = changed(tmp_path, "b.bin", files.new)
    up = cli("upload", path, "--base", old["sha256"], "--json").json
    assert up["bytes_copied"] > 10 * MIB
    path.write_bytes(files.new + b"!")
    up = cli("upload", path, "--no-delta", "--json").json
    assert (up["bytes_copied"], up["bytes_sent"]) == (0, len(files.new) + 1)
    target = changed(tmp_path, "c.bin", files.old)
    down = cli("download", up["sha256"], "-o", target, "--force", "--no-delta", "--json").json
    assert (down["bytes_local"], down["bytes_received"]) == (0, len(files.new) + 1)
    assert "No artifact" in cli("upload", path, "--base", "0" * 64, code=7).err
    assert "one file only" in cli("upload", path, target, "--base", old["sha256"], code=2).err


def test_small_files_are_sent_unless_it_is_asked_for(client: Client, tmp_path: Path, files: Versions) -> None:
    small = files.old[: 2 * MIB]
    path = changed(tmp_path, files.name, small)
    client.upload(path)
    path.write_bytes(small + b"more")
    assert client.upload(path).bytes_copied == 0
    path.write_bytes(small + b"other")
    assert client.upload(path, delta=True).bytes_sent < 64 << 10


def test_a_file_of_the_same_name_with_other_content(
    client: Client, base: UploadResult, tmp_path: Path, files: Versions
) -> None:
    seen = On("", lambda: None)
    other = files.old[::-1]
    result = client.upload(changed(tmp_path, files.name, other), observer=seen)
    assert (result.bytes_sent, result.bytes_copied) == (len(other), 0)
    assert any("has little in common" in note for note in seen.notes)
    target = changed(tmp_path, "target", files.old)
    down = client.download(result.artifact, target, observer=seen, overwrite=True)
    assert (down.bytes_received, down.bytes_local) == (len(other), 0)
    assert target.read_bytes() == other


def test_a_signature_that_lies(
    client: Client, base: UploadResult, server: ServerProcess, tmp_path: Path, files: Versions
) -> None:
    """It says that the base has all pieces of the new file: what is copied is wrong, and sent again."""
    lie = sign(files.new[: len(files.old)])
    planted = Signature(lie.cutting, len(files.old), base.sha256, lie.table).encode()
    (server.data / "artifacts" / base.sha256[:2] / f"{base.sha256[2:]}.signature").write_bytes(planted)
    result = client.upload(changed(tmp_path, files.name, files.new), observer=On("", lambda: None))
    assert result.chunks_repaired > 0
    assert stored(client, result, tmp_path) == files.new
    target = changed(tmp_path, "target", files.new)
    down = client.download(base.artifact, target, overwrite=True)
    assert target.read_bytes() == files.old
    assert (down.bytes_received >= len(files.old), down.bytes_local) == (True, 0)


no_signatures = pytest.mark.parametrize(
    "content",
    [b"", b"PWSG", os.urandom(5000), sign(noise(1, 50_000)).encode()],
    ids=["empty", "head", "noise", "other"],
)


@no_signatures
def test_a_signature_that_is_none(
    base: UploadResult, server: ServerProcess, tmp_path: Path, files: Versions, content: bytes
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\nConnection: close"
    answer = head % len(content) + b"\r\n\r\n" + content
    seen = On("", lambda: None)
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        proxy.instead = lambda piece: answer if b"/signature/" in piece.partition(b"\r\n")[0] else None
        result = client.upload(changed(tmp_path, files.name, files.new), observer=seen)
    assert seen.notes[0].startswith("Sending the whole file: its signature")
    assert (result.bytes_sent, result.bytes_copied) == (len(files.new), 0)


@no_signatures
def test_a_damaged_signature_is_made_again(
    client: Client, base: UploadResult, server: ServerProcess, tmp_path: Path, files: Versions, content: bytes
) -> None:
    (server.data / "artifacts" / base.sha256[:2] / f"{base.sha256[2:]}.signature").write_bytes(content)
    result = client.upload(changed(tmp_path, files.name, files.new))
    assert result.bytes_copied > 10 * MIB
    assert result.bytes_sent < 2 * MIB


def test_the_local_file_changes_while_it_is_used(
    client: Client, base: UploadResult, tmp_path: Path, files: Versions
) -> None:
    old = changed(tmp_path, files.name, files.new)

    class Changing(Observer):
        def progress(self, phase: Phase, done: int, total: int | None) -> None:
            if phase is Phase.COMPARING and done == total:
                old.write_bytes(bytes(len(files.new)))

    target = tmp_path / "target"
    result = client.download(base.artifact, target, base=old, observer=Changing())
    assert target.read_bytes() == files.old
    assert result.bytes_local == 0


def test_a_base_must_be_a_file(client: Client, base: UploadResult, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        client.download(base.artifact, tmp_path / "target", base=tmp_path / "none")
    with pytest.raises(NotFound):
        client.upload(tmp_path / "none", base="11111111-1111-1111-1111-111111111111")


def test_an_upload_that_was_killed_goes_on(
    cli: Cli, client: Client, base: UploadResult, server: ServerProcess, tmp_path: Path, files: Versions
) -> None:
    path = changed(tmp_path, files.name, noise(6, 3 * MIB) + files.new)
    with Proxy(server.port) as proxy:
        proxy.hold_after(2 * MIB)
        process = cli.begin("upload", path, "--chunk-size", "256KiB", PARTWISE_SERVER=proxy.url)
        proxy.wait_until_held()
        process.kill()
        process.communicate()
        proxy.release()
        up = cli("upload", path, "--chunk-size", "256KiB", "--json", PARTWISE_SERVER=proxy.url).json
    assert up["resumed"]
    assert up["bytes_sent"] < 4.3 * MIB - MIB
    assert up["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_download_that_was_killed_goes_on(
    cli: Cli, base: UploadResult, server: ServerProcess, tmp_path: Path, files: Versions
) -> None:
    old, target = changed(tmp_path, files.name, files.new), tmp_path / "target"
    arguments = ("download", base.sha256, "-o", target, "--base", old, "--json")
    with Proxy(server.port) as proxy:
        # Three requests pass as far as their first lines: for the artifact, its signature, and the first missing range.
        proxy.hold_after(600)
        process = cli.begin(*arguments, PARTWISE_SERVER=proxy.url)
        proxy.wait_until_held()
        part = tmp_path / f"target.{base.sha256[:12]}.part"
        wait_until(lambda: part.exists() and part.stat().st_size > 2 * MIB)
        process.kill()
        process.communicate()
        proxy.release()
        assert not target.exists()
        down = cli(*arguments, PARTWISE_SERVER=proxy.url).json
    assert target.read_bytes() == files.old
    assert down["bytes_local"] + down["bytes_received"] < len(files.old) - 2 * MIB


def test_a_download_that_was_stopped_goes_on(
    client: Client, base: UploadResult, tmp_path: Path, files: Versions
) -> None:
    old, target = changed(tmp_path, files.name, files.new), tmp_path / "target"

    class Stopping(Observer):
        def progress(self, phase: Phase, done: int, total: int | None) -> None:
            if phase is Phase.RECEIVING and done > 5 * MIB:
                raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        client.download(base.artifact, target, base=old, observer=Stopping())
    result = client.download(base.artifact, target, base=old)
    assert target.read_bytes() == files.old
    assert result.bytes_local + result.bytes_received < len(files.old) - 4 * MIB


def test_a_server_that_is_killed_is_waited_for(tmp_path: Path, files: Versions) -> None:
    with ServerProcess(tmp_path / "data") as server, Client(server.url) as client:
        path = changed(tmp_path, "disk.img", files.old)
        client.upload(path, journal_folder=tmp_path / "journal")
        path.write_bytes(files.new)

        def restart() -> None:
            server.kill()
            server.start()

        result = client.upload(path, journal_folder=tmp_path / "journal", observer=On("Comparing", restart))
        assert result.bytes_copied > 10 * MIB
        assert result.sha256 == hashlib.sha256(files.new).hexdigest()
