"""Delta transfers whose base goes in the middle, by the Python client and the command: the right file all the same."""

from __future__ import annotations

import errno
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings

from partwise.client import Client, NotFound, Observer, Phase, UploadResult, delta, files
from tests.e2e.conftest import Cli
from tests.support.edits import Edit, edited, noise, scripts
from tests.support.proxy import Proxy
from tests.support.server import ServerProcess

MIB = 1 << 20
#: Four ranges of the new version are in the old one.
PARTS = (2 * MIB, MIB, 2 * MIB, MIB)


class Notes(Observer):
    """Keeps what it is told. ``compared`` is called when all of a local file was compared."""

    def __init__(self, compared: Callable[[], object] = lambda: None) -> None:
        self.notes: list[str] = []
        self._compared = compared

    def note(self, message: str) -> None:
        self.notes.append(message)

    def progress(self, phase: Phase, done: int, total: int | None) -> None:
        if phase is Phase.COMPARING and done == total:
            self._compared()


class Case:
    """Two versions of a file, of which the server has the first. No other test has its content."""

    def __init__(self, client: Client, folder: Path, name: str) -> None:
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
        parts = [noise(seed + number, size) for number, size in enumerate(PARTS)]
        self.old = b"".join(parts)
        self.new = b"+".join(parts)
        self.path, self.target = folder / f"{seed}.img", folder / "target"
        self.client = client
        self.path.write_bytes(self.old)
        self.base: UploadResult = client.upload(self.path)
        self.path.write_bytes(self.new)

    def check(self, artifact: str) -> None:
        """The artifact has the bytes of the new version."""
        assert self.client.read(artifact) == self.new
        self.client.delete_artifact(artifact)


@pytest.fixture
def case(client: Client, tmp_path: Path, request: pytest.FixtureRequest) -> Case:
    return Case(client, tmp_path, request.node.name)


def artifact_file(server: ServerProcess, case: Case) -> Path:
    path = server.data / "artifacts" / case.base.sha256[:2] / case.base.sha256[2:]
    path.chmod(0o600)
    return path


def at_request(proxy: Proxy, line: bytes, number: int, call: Callable[[], object]) -> list[bytes]:
    """Call ``call`` before request ``number`` (from 1) that begins with ``line`` is passed on; all such requests."""
    seen: list[bytes] = []

    def look(connection: int, data: bytes) -> bytes:
        first = data.partition(b"\r\n")[0]
        if first.startswith(line.split(b" ")[0]) and line.split(b" ")[1] in first:
            seen.append(first)
            if len(seen) == number:
                call()
        return data

    proxy.mangle = look
    return seen


def delete(case: Case, server: ServerProcess) -> None:
    case.client.delete_artifact(case.base.artifact)


def replace(case: Case, server: ServerProcess) -> None:
    """Another artifact takes its name."""
    delete(case, server)
    other = case.path.with_name("other")
    other.write_bytes(case.old[::-1])
    case.client.upload(other, name=case.path.name, delta=False)


def truncate(case: Case, server: ServerProcess) -> None:
    with artifact_file(server, case).open("r+b") as file:
        file.truncate(PARTS[0] + 1)


def overwrite(case: Case, server: ServerProcess) -> None:
    artifact_file(server, case).write_bytes(bytes(len(case.old)))


files_only = pytest.mark.files_only("it damages the artifact's file")
goes = pytest.mark.parametrize(
    "go",
    [delete, replace, pytest.param(truncate, marks=files_only), pytest.param(overwrite, marks=files_only)],
)


@goes
def test_the_base_of_an_upload_goes_in_the_middle(
    case: Case,
    server: ServerProcess,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    go: Callable[[Case, ServerProcess], None],
) -> None:
    """One range was copied. The others are sent."""
    monkeypatch.setattr(delta, "_MOST_COPIES", 1)
    asked = at_request(proxy, b"POST copy/", 2, lambda: go(case, server))
    with Client(proxy.url, patience_seconds=10) as client:
        result = client.upload(case.path, base=case.base.artifact)
    assert len(asked) == len(PARTS)
    least, most = (sum(PARTS) - MIB, sum(PARTS)) if go is overwrite else (PARTS[0] - MIB, PARTS[0] + MIB)
    assert least < result.bytes_copied < most
    assert (result.chunks_repaired > 0) is (go is overwrite)
    case.check(result.artifact)


@goes
def test_the_base_of_the_command_goes_while_it_compares(
    case: Case, server: ServerProcess, proxy: Proxy, tmp_path: Path, go: Callable[[Case, ServerProcess], None]
) -> None:
    at_request(proxy, b"POST copy/", 1, lambda: go(case, server))
    ran = Cli(proxy.url, tmp_path / "state")("upload", case.path, "--base", case.base.sha256, "--json")
    assert ran.json["sha256"] == hashlib.sha256(case.new).hexdigest()
    assert "Comparing with" in ran.err
    case.check(ran.json["artifact"])


def test_an_artifact_that_is_deleted_while_its_changes_are_received(case: Case, proxy: Proxy, tmp_path: Path) -> None:
    """A clear error; what is there already is kept for the time when the content is stored again."""
    seen = at_request(proxy, b"GET /download/", 2, lambda: case.client.delete_artifact(case.base.artifact))
    local = tmp_path / "local"
    local.write_bytes(case.old[: PARTS[0]] + case.old[PARTS[0] + 200_000 : -200_000])
    with Client(proxy.url, patience_seconds=10) as client:
        with pytest.raises(NotFound, match="No such artifact"):
            client.download(case.base.artifact, case.target, base=local)
        assert len(seen) == 2
        assert not case.target.exists()
        case.path.write_bytes(case.old)
        again = client.upload(case.path)
        result = client.download(again.artifact, case.target, base=local)
    assert case.target.read_bytes() == case.old
    assert result.bytes_local + result.bytes_received < len(case.old) - PARTS[0]


def test_an_artifact_of_which_another_version_takes_the_name_meanwhile(
    case: Case, proxy: Proxy, tmp_path: Path
) -> None:
    """What was asked for is received, not what has its name now."""
    at_request(proxy, b"GET /download/", 1, lambda: case.client.upload(case.path))
    local = tmp_path / "local"
    local.write_bytes(case.new)
    with Client(proxy.url, patience_seconds=10) as client:
        result = client.download(case.base.artifact, case.target, base=local)
    assert case.target.read_bytes() == case.old
    assert result.bytes_local > 5 * MIB


@pytest.mark.parametrize("kind", ["deleted", "renamed over", "shorter", "overwritten"])
def test_the_local_file_goes_after_it_was_compared(case: Case, tmp_path: Path, kind: str) -> None:
    local = tmp_path / "local"
    local.write_bytes(case.new)

    def go() -> None:
        if kind == "deleted":
            local.unlink()
        elif kind == "renamed over":
            (tmp_path / "other").write_bytes(bytes(100))
            (tmp_path / "other").rename(local)
        elif kind == "shorter":
            with local.open("r+b") as file:
                file.truncate(PARTS[0] + 1)
        else:
            local.write_bytes(bytes(len(case.new)))

    seen = Notes(go)
    result = case.client.download(case.base.artifact, case.target, base=local, observer=seen)
    assert case.target.read_bytes() == case.old
    if kind == "overwritten":
        assert result.bytes_local == 0
        assert any("changed meanwhile" in note for note in seen.notes)
    elif kind == "shorter":
        assert PARTS[0] - MIB < result.bytes_local < PARTS[0] + 2
        assert any("Receiving bytes" in note and "local became shorter meanwhile." in note for note in seen.notes)
    else:
        assert result.bytes_local > 5 * MIB


def test_the_local_file_becomes_shorter_while_it_is_compared(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "local"
    local.write_bytes(case.new)
    read_at = files.read_at

    def shorter(fd: int, view: memoryview, offset: int) -> int:
        return read_at(fd, view, offset) if offset < 2 * MIB else 0

    monkeypatch.setattr(files, "read_at", shorter)
    seen = Notes()
    result = case.client.download(case.base.artifact, case.target, base=local, observer=seen)
    assert "Receiving the whole file: local became shorter meanwhile." in seen.notes
    assert (result.bytes_local, result.bytes_received) == (0, len(case.old))
    assert case.target.read_bytes() == case.old


@pytest.mark.parametrize("when", ["compared", "taken"])
def test_a_local_file_that_the_disk_cannot_read(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Its bytes are received: those of the whole file, or those of one range."""
    local = tmp_path / "local"
    local.write_bytes(case.new)
    read_at = files.read_at
    broken = when == "compared"

    def failing(fd: int, view: memoryview, offset: int) -> int:
        if broken and offset <= 4 * MIB < offset + len(view):
            raise OSError(errno.EIO, "Input/output error")
        return read_at(fd, view, offset)

    def fail_from_now_on() -> None:
        nonlocal broken
        broken = True

    monkeypatch.setattr(files, "read_at", failing)
    seen = Notes(fail_from_now_on)
    result = case.client.download(case.base.artifact, case.target, base=local, observer=seen)
    assert case.target.read_bytes() == case.old
    assert any("Input/output error" in note for note in seen.notes)
    assert (result.bytes_local > MIB) is (when == "taken")
    assert result.bytes_local + result.bytes_received == len(case.old)


_SERVERS: list[ServerProcess] = []


@pytest.fixture
def _known(server: ServerProcess) -> None:
    """Hypothesis' tests take no fixtures that are made anew for each test."""
    _SERVERS[:] = [server]


@pytest.mark.usefixtures("_known")
@settings(max_examples=8, deadline=None)
@given(script=scripts)
def test_any_edit_script_goes_up_and_comes_back(script: list[Edit]) -> None:
    base = noise(44, 300_000)
    new = edited(base, script)
    with tempfile.TemporaryDirectory() as folder, Client(_SERVERS[0].url) as client:
        old, path, target = (Path(folder) / name for name in ("old", "new", "target"))
        old.write_bytes(base)
        path.write_bytes(new)
        first = client.upload(old)
        result = client.upload(path, base=first.artifact)
        assert result.sha256 == hashlib.sha256(new).hexdigest()
        client.download(result.artifact, target, base=old)
        assert target.read_bytes() == new
