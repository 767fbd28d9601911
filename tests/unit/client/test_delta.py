from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from partwise.client import delta
from partwise.client.delta import DeltaUpload, Hooks
from partwise.client.errors import AnswerError, Cancelled, ClientError
from partwise.client.http import Http
from partwise.client.lanes import Lane
from partwise.client.models import UploadInfo
from partwise.client.patching import Steps
from partwise.client.retry import Patience
from partwise.client.signatures import NoSignature
from partwise.client.source import LocalFile
from partwise.core.delta import Copy, Send
from partwise.core.ranges import ByteRange
from tests.support.until import wait_until


class Answers:
    """Hooks whose server has some artifacts, and a line that takes so many seconds for each send."""

    def __init__(self, *artifacts: Mapping[str, Any], seconds: float = 0.0) -> None:
        self.asked: list[tuple[str, str]] = []
        self.sent: list[ByteRange] = []
        self._artifacts, self._seconds = artifacts, seconds

    def ask(
        self, method: str, href: str, *, query: Mapping[str, str | int] | None = None, data: Any = None
    ) -> tuple[int, dict[str, Any]]:
        self.asked.append((method, href))
        return 200, {"count": len(self._artifacts), "results": list(self._artifacts)}

    def send(self, spans: Sequence[ByteRange]) -> None:
        self.sent += spans

    @property
    def hooks(self) -> Hooks:
        return Hooks(
            ask=self.ask,
            patience=Patience(1),
            send=self.send,
            stop_sending=lambda: None,
            reached=lambda offset: None,
            copied=lambda count: None,
            note=lambda message: None,
            cancelled=threading.Event(),
        )


def artifact(name: str, *, user: str = "me", size: int = 1 << 30, number: int = 1) -> dict[str, Any]:
    return {"pulp_href": f"/a/{number}/", "sha256": "0" * 64, "size": size, "filename": name, "user": user}


def upload(**members: Any) -> UploadInfo:
    return UploadInfo.parse({"pulp_href": "/u/1/", "size": 9 << 20, "user": "me", **members})


@pytest.fixture
def file(tmp_path: Path) -> Any:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(9 << 20))
    with LocalFile(path) as made:
        yield made


def test_the_base_is_the_newest_of_exactly_that_name_and_owner(file: LocalFile) -> None:
    found = [
        artifact("other disk.img", number=1),
        artifact("DISK.img", number=2),
        artifact("disk.img", user="someone", number=3),
        artifact("disk.img", size=5, number=4),
        artifact("disk.img", number=5),
        artifact("disk.img", number=6),
    ]
    making = DeltaUpload(file, "disk.img", base=None, always=False)
    base = making._find_base(upload(), Answers(*found).hooks)
    assert base is not None
    assert base.href == "/a/5/"
    assert making._find_base(upload(), Answers(*found[:4]).hooks) is None


def test_a_server_that_does_not_search_has_no_base(file: LocalFile) -> None:
    class Refusing(Answers):
        def ask(self, method: str, href: str, **more: Any) -> tuple[int, dict[str, Any]]:
            raise AnswerError(400, "Unknown filter.", {})

    http = Http("http://127.0.0.1:1")
    assert not DeltaUpload(file, "disk.img", base=None, always=True).fill(upload(), http, 1 << 20, Refusing().hooks)
    http.close()


def test_nothing_is_asked_for_a_small_file_or_without_a_base(tmp_path: Path, file: LocalFile) -> None:
    http = Http("http://127.0.0.1:1")
    answers = Answers()
    assert not DeltaUpload(file, "disk.img", base=None, always=False).fill(upload(), http, 1 << 20, answers.hooks)
    assert answers.asked == [("GET", "artifacts/")]
    small = tmp_path / "small"
    small.write_bytes(bytes((8 << 20) - 1))
    with LocalFile(small) as opened:
        answers = Answers(artifact("small"))
        assert not DeltaUpload(opened, "small", base=None, always=False).fill(upload(), http, 1, answers.hooks)
        assert answers.asked == []
    http.close()


@pytest.mark.parametrize("rate, whole", [(1e9, True), (201e6, True), (199e6, False), (1e6, False)])
def test_on_a_fast_line_a_large_file_is_sent_whole(
    file: LocalFile, monkeypatch: pytest.MonkeyPatch, rate: float, whole: bool
) -> None:
    # Of the four pieces of work, two are sent at this rate and two are compared at 500 MB/s.
    seconds = iter([delta.PROBE / rate] * 2 + [delta.PROBE / 500e6] * 2)
    clock = iter([at for one in seconds for at in (0.0, one)])
    monkeypatch.setattr(delta, "PROBED_FILE", file.size)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    answers = Answers(artifact("disk.img"))
    compared: list[Any] = []

    def fetch(*arguments: Any, scan: Any) -> Any:
        compared.append(arguments)
        raise NoSignature("none")

    monkeypatch.setattr(delta, "fetch_signature", fetch)
    http = Http("http://127.0.0.1:1")
    assert DeltaUpload(file, "disk.img", base=None, always=False).fill(upload(), http, 1 << 20, answers.hooks)
    assert answers.sent == [ByteRange(0, delta.PROBE), ByteRange(delta.PROBE, delta.PROBE)]
    assert bool(compared) is not whole
    http.close()


def test_steps_know_where_each_byte_comes_from() -> None:
    steps = Steps([Send(ByteRange(0, 10)), Copy(ByteRange(10, 20), 100), Send(ByteRange(30, 5))])
    assert steps.at(0) == Send(ByteRange(0, 10))
    assert steps.at(9) == Send(ByteRange(9, 1))
    assert steps.at(10) == Copy(ByteRange(10, 20), 100)
    assert steps.at(15) == Copy(ByteRange(15, 15), 105)
    assert steps.at(34) == Send(ByteRange(34, 1))


class Slow:
    """Work that waits for a gate."""

    def __init__(self) -> None:
        self.gate, self.batches = threading.Event(), list[list[int]]()

    def __call__(self, items: list[int]) -> None:
        self.batches.append(items)
        self.gate.wait(10)


def test_a_lane_takes_all_that_waits_at_once_and_in_order() -> None:
    for most, batches in ((0, [[0], [1, 2, 3, 4]]), (2, [[0], [1, 2], [3, 4]])):
        work = Slow()
        lane = Lane("lane", work, most=most)
        lane.put(0)
        wait_until(lambda work=work: work.batches)  # type: ignore[misc]
        for number in range(1, 5):
            lane.put(number)
        work.gate.set()
        lane.finish(threading.Event())
        assert work.batches == batches


def failing(items: list[int]) -> None:
    raise ClientError("No.")


def test_a_lane_tells_what_went_wrong() -> None:
    lane = Lane("lane", failing)
    lane.put(1)
    with pytest.raises(ClientError, match=r"No\."):
        lane.finish(threading.Event())
    with pytest.raises(ClientError):
        lane.check()


def test_a_lane_is_abandoned() -> None:
    work, cancelled = Slow(), threading.Event()
    lane = Lane("lane", work)
    lane.put(1)
    wait_until(lambda: bool(work.batches))
    lane.put(2)
    cancelled.set()
    with pytest.raises(Cancelled):
        lane.finish(cancelled)
    lane.abandon(lambda: None, seconds=0)
    lane.abandon(work.gate.set)
    assert work.batches == [[1]]
