from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

import pytest

from partwise.client import AlreadyRunning, CannotReachServer, Client, NotFound, VerificationFailed
from tests.unit.client.fake_server import Answer, FakeServer

DATA = bytes(range(256)) * 40
DIGEST = hashlib.sha256(DATA).hexdigest()


def part_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.{DIGEST[:12]}.part")


def test_an_artifact_is_downloaded_and_verified(client: Client, fake: FakeServer, tmp_path: Path) -> None:
    fake.artifacts[DIGEST] = DATA
    result = client.download(DIGEST, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == DATA
    assert result.bytes_received == len(DATA)
    assert os.listdir(tmp_path) == ["out"]


def test_what_is_no_file_stays(client: Client, fake: FakeServer, tmp_path: Path) -> None:
    fake.artifacts[DIGEST] = DATA
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(FileExistsError, match="not a regular file"):
            client.download(DIGEST, tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    client.download(DIGEST, tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").read_bytes() == DATA
    assert (tmp_path / "pipe").is_fifo()


def test_an_empty_artifact_is_downloaded(client: Client, fake: FakeServer, tmp_path: Path) -> None:
    empty = hashlib.sha256(b"").hexdigest()
    fake.artifacts[empty] = b""
    client.download(empty, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b""


def test_only_the_rest_of_a_cut_download_is_asked_for(client: Client, fake: FakeServer, tmp_path: Path) -> None:
    fake.artifacts[DIGEST] = DATA
    part_of(tmp_path / "out").write_bytes(DATA[:4000])
    result = client.download(DIGEST, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == DATA
    assert result.bytes_received == len(DATA) - 4000
    assert fake.headers[-1]["Range"] == "bytes=4000-"
    assert fake.headers[-1]["If-Range"] == f'"{DIGEST}"'


def test_a_connection_cut_in_the_middle_is_gone_on_from(client: Client, fake: FakeServer, tmp_path: Path) -> None:
    fake.artifacts[DIGEST] = DATA
    cut = iter([True])

    def fault(method: str, path: str, body: bytes) -> Answer | None:
        if path.endswith("download/") and next(cut, False):
            # More is promised than comes; the connection then closes.
            return 200, DATA[:3000], {"Content-Length": str(len(DATA)), "Connection": "close"}  # type: ignore[return-value]
        return None

    fake.fault = fault
    result = client.download(DIGEST, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == DATA
    assert result.bytes_received == len(DATA)


@pytest.mark.parametrize("wrong", [b"x" + DATA[1:], DATA + b"x"])
def test_wrong_bytes_never_get_the_name(client: Client, fake: FakeServer, tmp_path: Path, wrong: bytes) -> None:
    fake.artifacts[DIGEST] = DATA

    def fault(method: str, path: str, body: bytes) -> Answer | None:
        return (200, wrong, {}) if path.endswith("download/") else None  # type: ignore[return-value]

    fake.fault = fault
    (tmp_path / "out").write_bytes(b"old")
    with pytest.raises(VerificationFailed):
        client.download(DIGEST, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out"]


def test_two_downloads_of_one_file_do_not_mix(client: Client, fake: FakeServer, tmp_path: Path) -> None:
    fake.artifacts[DIGEST] = DATA
    with part_of(tmp_path / "out").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(AlreadyRunning):
            client.download(DIGEST, tmp_path / "out")


def test_an_unknown_artifact_is_not_found(client: Client, tmp_path: Path) -> None:
    for reference in (DIGEST, "1234", "../../etc/passwd"):
        with pytest.raises(NotFound):
            client.download(reference, tmp_path / "out")
    assert os.listdir(tmp_path) == []


def without_ranges(fake: FakeServer, *, cut: int) -> None:
    """Answer every download from its beginning; the first ``cut`` answers end in the middle."""
    answers = 0

    def fault(method: str, path: str, body: bytes) -> Answer | None:
        nonlocal answers
        if not path.endswith("download/"):
            return None
        answers += 1
        if answers <= cut:
            return 200, DATA[:5000], {"Content-Length": str(len(DATA)), "Connection": "close"}  # type: ignore[return-value]
        return 200, DATA, {}  # type: ignore[return-value]

    fake.fault = fault


def test_where_nobody_gives_parts_a_cut_download_begins_again(client: Client, fake: FakeServer, tmp_path: Path) -> None:
    fake.artifacts[DIGEST] = DATA
    without_ranges(fake, cut=2)
    client.download(DIGEST, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == DATA


def test_where_nobody_gives_parts_a_download_ends_some_time(client: Client, fake: FakeServer, tmp_path: Path) -> None:
    fake.artifacts[DIGEST] = DATA
    without_ranges(fake, cut=1000)
    with pytest.raises(CannotReachServer, match="cannot resume"):
        client.download(DIGEST, tmp_path / "out")
    assert len(fake.requests) < 20


def test_another_part_than_the_one_asked_for_is_not_taken(client: Client, fake: FakeServer, tmp_path: Path) -> None:
    fake.artifacts[DIGEST] = DATA
    part_of(tmp_path / "out").write_bytes(DATA[:4000])

    def earlier(method: str, path: str, body: bytes) -> Answer | None:
        if path.endswith("download/") and "Range" in fake.headers[-1]:
            return 206, DATA[:4000], {"Content-Range": f"bytes 0-3999/{len(DATA)}"}  # type: ignore[return-value]
        return None

    fake.fault = earlier
    client.download(DIGEST, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == DATA


def test_a_long_name_leaves_room_for_the_part_files(client: Client, fake: FakeServer, tmp_path: Path) -> None:
    fake.artifacts[DIGEST] = DATA
    client.download(DIGEST, tmp_path / ("\u00fc" * 127))
    assert os.listdir(tmp_path) == ["\u00fc" * 127]
