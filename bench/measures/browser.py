"""The upload page in a browser against the command line, with the same file and the same server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.harness import Bench
from bench.load import Refused
from bench.report import Section, Table, rate, size_text, spread
from bench.servers import Partwise

_PAGE = "the page, in chromium"
_PLAIN = "`partwise upload`"
_VERIFIED = "`partwise upload --verify-chunks`"
_SLOWEST_SECONDS = 300.0


def run(bench: Bench) -> Section:
    size = bench.scale.size
    section = Section(
        "The upload page against the command line",
        f"{size_text(size)} from a file to a verified artifact. The page sends a digest with each chunk, as "
        "`--verify-chunks` does, over at most five connections. Its time starts when the file is chosen in a "
        "running browser. The time of the command line includes its start. Browser and server share the "
        "processors.",
    )
    program = shutil.which("chromium")
    if program is None:
        section.tables.append(Table(("", "seconds"), [("no chromium on this machine", "")]))
        return section
    whole = bench.folder / "for-the-page.bin"
    bench.source.cut(bench.whole, whole)
    with bench.partwise() as server, _Browser(program, bench, server, whole) as browser:
        runs: dict[str, Callable[[], float]] = {
            _PAGE: browser.upload,
            _PLAIN: lambda: _command(bench, server, whole),
            _VERIFIED: lambda: _command(bench, server, whole, "--verify-chunks"),
        }
        found = bench.in_turn(runs)
    whole.unlink()
    page = found[_PAGE]
    rows = [
        (name, spread(series), rate(size, series.median), f"{page.over(series):.2f}") for name, series in found.items()
    ]
    section.tables.append(Table(("", "seconds", "MB/s", "page ÷ this"), rows))
    return section


class _Browser:
    """A headless browser with the page open."""

    def __init__(self, program: str, bench: Bench, server: Partwise, file: Path) -> None:
        from playwright.sync_api import sync_playwright

        self._bench, self._server, self._file = bench, server, file
        self._playwright = sync_playwright().start()
        arguments = ["--disable-background-networking", *(["--no-sandbox"] if os.getuid() == 0 else [])]
        self._browser = self._playwright.chromium.launch(executable_path=program, args=arguments)
        self._page = self._browser.new_page()

    def __enter__(self) -> _Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.close()
        self._playwright.stop()

    def upload(self) -> float:
        """Seconds."""
        self._page.goto(self._server.url)
        started = time.monotonic()
        self._page.locator("#choose-files").set_input_files(str(self._file))
        done = self._page.locator("li[data-state=done]")
        done.wait_for(timeout=_SLOWEST_SECONDS * 1000)
        seconds = time.monotonic() - started
        if done.locator("code").get_attribute("title") != self._bench.source.sha256(self._bench.whole):
            raise Refused("the page shows another digest")
        href = done.get_by_role("link").get_attribute("href") or ""
        self._server.delete(href.removesuffix("download/"))
        return seconds


def _command(bench: Bench, server: Partwise, file: Path, *options: str) -> float:
    command = [sys.executable, "-m", "partwise.cli", "upload", str(file), "--server", server.url, "--no-resume"]
    started = time.monotonic()
    said = subprocess.run([*command, *options, "--json", "--quiet"], check=True, stdout=subprocess.PIPE).stdout
    seconds = time.monotonic() - started
    answer = json.loads(said)
    if answer["sha256"] != bench.source.sha256(bench.whole):
        raise Refused(f"partwise upload says {answer}")
    server.delete(answer["artifact"])
    return seconds
