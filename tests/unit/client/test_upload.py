from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from partwise.client import (
    AnswerError,
    AsyncClient,
    Cancelled,
    CannotReachServer,
    Client,
    ClientError,
    FileChanged,
    NoRoom,
    Observer,
    Phase,
    VerificationFailed,
)
from partwise.client.journal import Journal
from partwise.client.whole import MOST_BYTES
from partwise.core.ranges import ByteRange
from tests.unit.client.fake_server import ROOT, Answer, FakeServer, FakeUpload, problem

Make = Callable[..., Path]


class Notes(Observer):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.last: dict[Phase, tuple[int, int | None]] = {}

    def note(self, message: str) -> None:
        self.notes.append(message)

    def progress(self, phase: Phase, done: int, total: int | None) -> None:
        self.last[phase] = done, total


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(size: int, name: str = "data.bin") -> Path:
        path = tmp_path / name
        path.write_bytes(os.urandom(size))
        return path

    return make


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 12_345])
@pytest.mark.parametrize("verify_chunks", [False, True])
def test_a_file_arrives_whole(client: Client, fake: FakeServer, make: Make, size: int, verify_chunks: bool) -> None:
    path = make(size)
    seen = Notes()
    result = client.upload(path, verify_chunks=verify_chunks, observer=seen)
    assert fake.artifacts[result.sha256] == path.read_bytes()
    assert result.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert result.artifact == f"{ROOT}artifacts/{result.sha256}/"
    assert (result.chunks_sent, result.bytes_sent) == (-(-size // 1000), size)
    assert (result.chunks_skipped, result.retries, result.resumed) == (0, 0, False)
    assert seen.last[Phase.SENDING] == (size, size)
    digests = [headers.get("Content-Digest") for headers in fake.headers if "Content-Range" in headers]
    assert all(bool(digest) is verify_chunks for digest in digests)


def test_chunk_size_and_name_are_the_callers(client: Client, fake: FakeServer, make: Make) -> None:
    result = client.upload(make(1000), chunk_size=300, parallel=1, name="other.iso")
    assert sorted(fake.uploads["u0"].chunks) == [
        ByteRange(0, 300),
        ByteRange(300, 300),
        ByteRange(600, 300),
        ByteRange(900, 100),
    ]
    assert fake.uploads["u0"].filename == result.name == "other.iso"


def test_an_upload_that_was_cut_is_taken_up(client: Client, fake: FakeServer, make: Make) -> None:
    path = make(10_000)
    fake.fault = lambda method, path, body: (
        problem(413, "too-many-chunks", "Full.") if fake.uploads and len(fake.uploads["u0"].chunks) >= 4 else None
    )
    with pytest.raises(NoRoom, match="Full"):
        client.upload(path)
    recorded = len(fake.uploads["u0"].chunks)  # a chunk that was on its way may have come in beside the fourth
    fake.fault = _fine
    seen = Notes()
    # Another chunk size must not matter to what is sent.
    result = client.upload(path, chunk_size=700, observer=seen)
    assert result.resumed
    assert result.chunks_skipped == recorded >= 4
    assert result.bytes_sent == 6000
    assert fake.artifacts[result.sha256] == path.read_bytes()
    assert "4000 of 10000 bytes" in seen.notes[0]
    # Done is done: the next run makes a new upload.
    assert client.upload(path).resumed is False


def test_without_resume_an_upload_begins_anew(client: Client, fake: FakeServer, make: Make) -> None:
    path = make(3000)
    fake.fault = lambda method, path, body: problem(413, "x", "Full.") if method == "PUT" else None
    with pytest.raises(NoRoom):
        client.upload(path)
    fake.fault = _fine
    assert client.upload(path, resume=False).resumed is False
    assert len(fake.uploads) == 2


def test_an_expired_upload_is_begun_anew_and_that_is_said(client: Client, fake: FakeServer, make: Make) -> None:
    path = make(3000)
    fake.fault = lambda method, path, body: problem(413, "x", "Full.") if method == "PUT" else None
    with pytest.raises(NoRoom):
        client.upload(path)
    fake.fault = _fine
    fake.uploads = {"gone": fake.uploads["u0"]}
    seen = Notes()
    assert client.upload(path, observer=seen).resumed is False
    assert "starting anew" in seen.notes[0]


def test_cut_connections_and_busy_answers_are_tried_again(client: Client, fake: FakeServer, make: Make) -> None:
    path = make(8000)
    failures: Iterator[ConnectionError | Answer] = iter(
        [ConnectionError(), problem(503, "busy", "Busy."), problem(500, "storage-failed", "Disk."), ConnectionError()]
    )

    def fault(method: str, path: str, body: bytes) -> Answer | None:
        failure = next(failures, None) if method == "PUT" else None
        if isinstance(failure, ConnectionError):
            raise failure
        return failure or None

    fake.fault = fault
    result = client.upload(path)
    assert result.retries == 4
    assert result.chunks_sent == 8
    assert fake.artifacts[result.sha256] == path.read_bytes()


def test_a_server_that_stays_away_ends_the_upload_when_patience_is_used_up(fake: FakeServer, make: Make) -> None:
    def fault(method: str, path: str, body: bytes) -> Answer | None:
        if method == "PUT":
            raise ConnectionError
        return None

    fake.fault = fault
    with Client(fake.url, patience_seconds=0.5) as client, pytest.raises(CannotReachServer):
        client.upload(make(1000))


def test_creating_is_not_repeated_when_the_answer_is_lost(client: Client, fake: FakeServer, make: Make) -> None:
    def fault(method: str, path: str, body: bytes) -> Answer | None:
        if method == "POST":
            raise ConnectionError
        return None

    fake.fault = fault
    with pytest.raises(CannotReachServer):
        client.upload(make(MOST_BYTES + 1))
    assert fake.count("POST") == 1


def test_nobody_there_is_said_soon(make: Make) -> None:
    with (
        Client("http://127.0.0.1:9", patience_seconds=0.2) as client,
        pytest.raises(CannotReachServer, match="refused"),
    ):
        client.upload(make(10))


def test_only_the_damaged_chunk_is_sent_again(client: Client, fake: FakeServer, make: Make) -> None:
    path = make(9000)
    once = iter([True])

    def damage(span: ByteRange, data: bytes) -> bytes:
        if span.offset == 4000 and next(once, False):
            return bytes([data[0] ^ 1]) + data[1:]
        return data

    fake.damage = damage
    seen = Notes()
    result = client.upload(path, observer=seen)
    assert result.chunks_repaired == 1
    assert result.chunks_sent == 10
    assert fake.artifacts[result.sha256] == path.read_bytes()
    assert any("4000-4999" in note for note in seen.notes)


def test_damage_is_refused_on_arrival_when_chunks_are_verified(client: Client, fake: FakeServer, make: Make) -> None:
    path = make(5000)
    once = iter([True])
    fake.damage = lambda span, data: (
        bytes([data[0] ^ 1]) + data[1:] if span.offset == 2000 and next(once, False) else data
    )
    result = client.upload(path, verify_chunks=True)
    assert (result.retries, result.chunks_repaired) == (1, 0)
    assert fake.count("PUT", "commit") == 1


def test_a_server_that_damages_every_time_is_given_up(client: Client, fake: FakeServer, make: Make) -> None:
    fake.damage = lambda span, data: b"\0" * len(data)
    with pytest.raises(VerificationFailed, match="still wrong"):
        client.upload(make(2000))
    assert fake.artifacts == {}


def test_chunks_that_others_sent_meanwhile_are_planned_around(client: Client, fake: FakeServer, make: Make) -> None:
    path = make(5000)
    data = path.read_bytes()
    done = threading.Event()

    def fault(method: str, path: str, body: bytes) -> Answer | None:
        if method == "PUT" and not done.is_set():
            done.set()
            fake.uploads["u0"].chunks[ByteRange(1500, 1000)] = data[1500:2500]
        return None

    fake.fault = fault
    result = client.upload(path)
    assert fake.artifacts[result.sha256] == data


def test_bytes_that_the_server_lost_before_the_commit_are_sent_again(
    client: Client, fake: FakeServer, make: Make
) -> None:
    path = make(5000)
    lost = iter([True])

    def fault(method: str, path: str, body: bytes) -> Answer | None:
        if path.endswith("commit") and next(lost, False):
            del fake.uploads["u0"].chunks[ByteRange(3000, 1000)]
        return None

    fake.fault = fault
    result = client.upload(path)
    assert result.chunks_sent == 6
    assert fake.artifacts[result.sha256] == path.read_bytes()


def test_a_commit_that_takes_long_is_followed(client: Client, fake: FakeServer, make: Make) -> None:
    fake.commit_polls = 3
    seen = Notes()
    path = make(4000)
    result = client.upload(path, observer=seen)
    assert fake.artifacts[result.sha256] == path.read_bytes()
    assert seen.last[Phase.VERIFYING] == (2000, 4000)


def test_a_commit_whose_answer_was_lost_is_asked_for_again(client: Client, fake: FakeServer, make: Make) -> None:
    path = make(2000)
    cut = iter([True])

    def fault(method: str, path: str, body: bytes) -> Answer | None:
        if path.endswith("commit") and next(cut, False):
            raise ConnectionError
        return None

    fake.fault = fault
    assert client.upload(path).retries == 1


def test_a_file_that_changes_is_not_committed(client: Client, fake: FakeServer, make: Make) -> None:
    path = make(8000)

    def fault(method: str, route: str, body: bytes) -> Answer | None:
        if method == "PUT":
            os.utime(path, ns=(1, 1))
        return None

    fake.fault = fault
    with pytest.raises(FileChanged, match="changed during"):
        client.upload(path)
    assert fake.count("PUT", "commit") == 0
    assert fake.uploads == {}, "nobody goes on with it, and it reserves room"


def test_an_upload_of_a_changed_file_that_was_begun_elsewhere_stays(
    client: Client, fake: FakeServer, make: Make
) -> None:
    path = make(8000)
    fake.uploads["theirs"] = FakeUpload(8000)

    def fault(method: str, route: str, body: bytes) -> Answer | None:
        if method == "PUT":
            path.write_bytes(b"y" * 8000)
        return None

    fake.fault = fault
    with pytest.raises(FileChanged):
        client.upload(path, upload="theirs")
    assert list(fake.uploads) == ["theirs"]


def test_a_file_that_shrinks_is_not_committed(client: Client, fake: FakeServer, make: Make) -> None:
    path = make(8000)

    def fault(method: str, route: str, body: bytes) -> Answer | None:
        if method == "PUT":
            os.truncate(path, 100)
        return None

    fake.fault = fault
    with pytest.raises(FileChanged):
        client.upload(path)
    assert fake.count("PUT", "commit") == 0


def test_cancelling_stops_and_keeps_what_was_sent(client: Client, fake: FakeServer, make: Make) -> None:
    path = make(50_000)
    cancelled = threading.Event()

    def fault(method: str, route: str, body: bytes) -> Answer | None:
        if fake.count("PUT") == 10:
            cancelled.set()
        return None

    fake.fault = fault
    with pytest.raises(Cancelled):
        client.upload(path, cancelled=cancelled)
    fake.fault = _fine
    result = client.upload(path)
    assert result.resumed
    assert 0 < result.chunks_sent < 50


def test_a_journal_that_cannot_be_kept_does_not_stop_an_upload(client: Client, make: Make, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_bytes(b"")
    seen = Notes()
    client.upload(make(100), journal_folder=tmp_path / "blocked" / "folder", observer=seen)
    assert "cannot be resumed" in seen.notes[0]


def test_where_no_journal_could_be_written_nothing_is_left_on_the_server(
    client: Client, fake: FakeServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Notes()

    def full(self: Journal, upload: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "journal")

    monkeypatch.setattr(Journal, "write", full)
    fake.fault = lambda method, path, body: problem(400, "bad", "No.") if method == "PUT" else None
    with pytest.raises(AnswerError):
        client.upload(make(1000), observer=seen)
    assert fake.uploads == {}
    assert "cannot be resumed" in seen.notes[0]
    fake.fault = lambda method, path, body: None
    assert client.upload(make(1000)).chunks_sent == 1


def test_many_threads_upload_with_one_client(client: Client, fake: FakeServer, make: Make) -> None:
    paths = [make(3000, f"{number}.bin") for number in range(48)]
    with ThreadPoolExecutor(16) as pool:
        digests = [result.sha256 for result in pool.map(client.upload, paths)]
    assert digests == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert len(fake.uploads) == 48


def test_the_token_is_sent_as_bearer(fake: FakeServer, make: Make) -> None:
    with Client(fake.url, token="secret") as client:
        client.upload(make(10))
    assert {headers.get("Authorization") for headers in fake.headers} == {"Bearer secret"}


def test_proxies_of_the_environment_are_used(fake: FakeServer, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", fake.url)
    monkeypatch.setenv("no_proxy", "")
    with Client("http://partwise.invalid") as client:
        client.upload(make(10))
    # A proxy is asked with the whole URL.
    assert fake.requests[0] == ("POST", "http://partwise.invalid/pulp/api/v3/artifacts/")


@pytest.mark.parametrize("server", ["ftp://x", "http://", "http:///path", ""])
def test_addresses_that_are_none_are_refused(server: str) -> None:
    with pytest.raises(ClientError, match="server address"):
        Client(server)


async def test_the_async_client_does_the_same(fake: FakeServer, make: Make, tmp_path: Path) -> None:
    path = make(5000)
    async with AsyncClient(fake.url) as client:
        result = await client.upload(path)
        await client.download(result.sha256, tmp_path / "back")
        assert [artifact.sha256 for artifact in await client.artifacts()] == [result.sha256]
    assert (tmp_path / "back").read_bytes() == path.read_bytes()


async def test_cancelling_the_awaiting_task_stops_the_upload(fake: FakeServer, make: Make) -> None:
    path = make(50_000)
    reached = threading.Event()

    def fault(method: str, route: str, body: bytes) -> Answer | None:
        if fake.count("PUT") == 5:
            reached.set()
        return None

    fake.fault = fault
    async with AsyncClient(fake.url) as client:
        task = asyncio.create_task(client.upload(path))
        await asyncio.to_thread(reached.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert fake.artifacts == {}


def _fine(method: str, path: str, body: bytes) -> Answer | None:
    return None


def test_an_upload_begun_elsewhere_is_gone_on_with(client: Client, fake: FakeServer, make: Make) -> None:
    path = make(5000)
    first = client.upload(path, journal_folder=path.parent / "first")
    again = client.upload(path, upload=first.upload, journal_folder=path.parent / "second")
    assert (again.upload, again.resumed, again.chunks_sent) == (first.upload, True, 0)
    with pytest.raises(VerificationFailed, match="for 5000 bytes"):
        client.upload(make(4000), upload=first.upload, journal_folder=path.parent / "third")
