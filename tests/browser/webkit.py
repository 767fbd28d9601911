"""WebKitGTK over WebDriver (W3C): MiniBrowser on a screen of its own that nobody sees (Xvfb)."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.nginx import free_port
from tests.support.until import wait_until

_DRIVER = shutil.which("WebKitWebDriver")
_XVFB = shutil.which("Xvfb")
#: It is in no folder of PATH: it comes with the library, one for each version of its interface.
_BROWSER = max(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"), default=None)

#: The driver, where all that it needs is installed too.
WEBKIT = _DRIVER if _XVFB and _BROWSER else None

#: The key of an element's name in JSON (W3C WebDriver, section 12).
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class WebDriverError(Exception):
    """A command failed."""


class Tab:
    """One page, as scripts see it."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        options = {"binary": str(_BROWSER), "args": ["--automation"]}
        wanted = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        self._path = "/session"
        self._path += "/" + self.call("POST", "", {"capabilities": wanted})["sessionId"]

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Carry out a command; its value."""
        content = None if method != "POST" else json.dumps(body or {})
        self._connection.request(method, self._path + path, content, {"Content-Type": "application/json"})
        value = json.loads(self._connection.getresponse().read())["value"]
        if isinstance(value, dict) and "error" in value:
            raise WebDriverError(f"{method} {path}: {value['error']}: {value['message']}")
        return value

    def close(self) -> None:
        """End the browser."""
        with suppress(WebDriverError, OSError):
            self.call("DELETE", "")
        self._connection.close()

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self.call("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        """Where it is."""
        return str(self.call("GET", "/url"))

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        return self.call("POST", "/execute/sync", {"script": f"return {expression}", "args": []})

    def choose(self, *files: Path, field: str = "#choose-files") -> None:
        """Choose files in a field."""
        found = self.call("POST", "/element", {"using": "css selector", "value": field})[_ELEMENT]
        self.call("POST", f"/element/{found}/value", {"text": "\n".join(str(file) for file in files)})

    def text(self, selector: str = "body") -> str:
        """The text of all that a selector finds."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return str(self.evaluate(f"{found}.map((each) => each.innerText).join('\\n')"))

    def click(self, name: str) -> None:
        """Press the button of this name, once it is there, as a person does: some of what it does needs that."""
        named = (
            f"each.getAttribute('aria-label') === {json.dumps(name)} || each.innerText.trim() === {json.dumps(name)}"
        )
        found = f"[...document.querySelectorAll('button')].find((each) => {named})"
        wait_until(lambda: self.evaluate(f"Boolean({found})"), f"the button {name!r}")
        self.call("POST", f"/element/{self.evaluate(found)[_ELEMENT]}/click")

    def wait_for(self, words: str, selector: str = "body", seconds: float = 60) -> None:
        """Wait until what a selector finds has these words."""
        try:
            wait_until(lambda: words in self.text(selector), repr(words), seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; the page says: {self.text()}") from None

    def digest(self, seconds: float = 60) -> str:
        """Wait until a file is uploaded; the SHA-256 that the page tells."""
        self.wait_for("SHA-256", "li[data-state=done]", seconds)
        return str(self.evaluate("document.querySelector('li[data-state=done] code').title"))


@contextmanager
def webkit(folder: Path) -> Iterator[Tab]:
    """Runs the browser with a home of its own."""
    assert _XVFB is not None
    assert _DRIVER is not None
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        log = stack.enter_context((folder / "webkit.log").open("wb"))
        read, write = os.pipe()
        screen = [_XVFB, "-displayfd", str(write), "-screen", "0", "1000x1000x24", "-nolisten", "tcp"]
        stack.enter_context(_running(screen, log, pass_fds=(write,)))
        os.close(write)
        with os.fdopen(read) as told:
            display = told.readline().strip()
        port = free_port()
        environment = os.environ | {"DISPLAY": f":{display}", "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        stack.enter_context(_running([_DRIVER, f"--port={port}"], log, env=environment))
        wait_until(lambda: _answers(port), "WebKitWebDriver")
        tab = Tab(port)
        stack.callback(tab.close)
        yield tab


@contextmanager
def _running(command: list[str], log: Any, **options: Any) -> Iterator[None]:
    with subprocess.Popen(command, stdout=log, stderr=log, **options) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/status")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
