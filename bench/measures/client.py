"""``partwise upload`` and ``download`` against what people do with curl and sha256sum."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.curl import CURL, PROCESSES, Pieces
from bench.harness import Bench, timed
from bench.load import Refused
from bench.report import Section, Table, at_most, rate, size_text, spread
from bench.servers import Partwise

_UPLOAD, _DOWNLOAD = "`partwise upload`", "`partwise download`"
_CURL_AFTER = f"{PROCESSES} parallel curl, then sha256sum, commit"
_CURL_BESIDE = f"{PROCESSES} parallel curl with sha256sum beside them, commit"
_CURL_DOWN = "curl, then sha256sum"


def run(bench: Bench) -> Section:
    pieces = Pieces(bench)
    with bench.partwise() as server:
        up: dict[str, Callable[[], float]] = {
            _UPLOAD: partial(_upload, bench, server, pieces.whole),
            _CURL_AFTER: partial(_curl_upload, bench, pieces, server, beside=False),
            _CURL_BESIDE: partial(_curl_upload, bench, pieces, server, beside=True),
        }
        uploads = bench.in_turn(up)
        uploaded = server.upload(bench.source, bench.whole, bench.scale.chunk, PROCESSES)
        down: dict[str, Callable[[], float]] = {
            _DOWNLOAD: partial(_download, bench, server),
            _CURL_DOWN: partial(_curl_download, bench, server, uploaded.artifact),
        }
        downloads = bench.in_turn(down)
    pieces.remove()
    size = bench.scale.size
    section = Section(
        "The command line against curl",
        f"{size_text(size)} between a file and a server, including the start of the programs and the digest at both "
        f"ends. Each curl process sends its share of the {size_text(bench.scale.chunk)} pieces over one connection. "
        "The pieces were split before the measurement. `partwise upload` also determines the chunk size, keeps a "
        "journal for resuming, and retries.",
    )
    for found in (uploads, downloads):
        first = next(iter(found.values()))
        rows = [
            (name, spread(series), rate(size, series.median), f"{first.over(series):.2f}")
            for name, series in found.items()
        ]
        section.tables.append(Table(("", "seconds", "MB/s", "partwise ÷ this"), rows))
    section.targets = [
        at_most(f"{_UPLOAD} against {_CURL_AFTER}", uploads[_UPLOAD].over(uploads[_CURL_AFTER]), 1.1),
        at_most(f"{_DOWNLOAD} against {_CURL_DOWN}", downloads[_DOWNLOAD].over(downloads[_CURL_DOWN]), 1.1),
    ]
    return section


def _curl_upload(bench: Bench, pieces: Pieces, server: Partwise, *, beside: bool) -> float:
    """Seconds; ``beside``: sha256sum runs while curl sends."""
    started = time.monotonic()
    href = server.create(bench.scale.size)
    command = ["sha256sum", str(pieces.whole)]
    hashing = subprocess.Popen(command, stdout=subprocess.PIPE, text=True) if beside else None
    pieces.send(pieces.to_partwise(server, href))
    sha256 = hashing.communicate()[0].split()[0] if hashing else _sha256sum(pieces.whole)
    artifact = server.commit(href, sha256)
    seconds = time.monotonic() - started
    _expect(bench, sha256)
    server.delete(artifact)
    return seconds


def _partwise(*arguments: str | Path) -> dict[str, str]:
    command = [sys.executable, "-m", "partwise.cli", *map(str, arguments), "--json", "--quiet"]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def _upload(bench: Bench, server: Partwise, file: Path) -> float:
    started = time.monotonic()
    answer = _partwise("upload", file, "--server", server.url, "--no-resume")
    seconds = time.monotonic() - started
    if answer["sha256"] != bench.source.sha256(bench.whole):
        raise Refused(f"partwise upload says {answer}")
    server.delete(answer["artifact"])
    return seconds


def _download(bench: Bench, server: Partwise) -> float:
    target = bench.folder / "downloaded"
    sha256 = bench.source.sha256(bench.whole)
    try:
        return timed(lambda: _partwise("download", sha256, "--server", server.url, "-o", target))
    finally:
        target.unlink(missing_ok=True)


def _curl_download(bench: Bench, server: Partwise, artifact: str) -> float:
    target = bench.folder / "downloaded"

    def work() -> None:
        subprocess.run([*CURL, "--fail", "--output", target, f"{server.url}{artifact}download/"], check=True)
        _expect(bench, _sha256sum(target))

    try:
        return timed(work)
    finally:
        target.unlink(missing_ok=True)


def _sha256sum(file: Path) -> str:
    found = subprocess.run(["sha256sum", file], check=True, stdout=subprocess.PIPE, text=True)
    return found.stdout.split()[0]


def _expect(bench: Bench, sha256: str) -> None:
    if sha256 != bench.source.sha256(bench.whole):
        raise Refused("sha256sum says something else")
