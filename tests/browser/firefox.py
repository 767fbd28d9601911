"""Firefox over WebDriver BiDi (W3C), which it speaks by itself: no driver is needed beside it.

What the page's policy forbids does not bind the scripts that are sent here: they run beside the page, in a sandbox.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.until import wait_until
from tests.support.websocket import WebSocket

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")

#: Nobody is called, nothing is asked.
_PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "datareporting.usage.uploadEnabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.systemAddon.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disablePrefetch": True,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "toolkit.telemetry.server": "",
}


class BidiError(Exception):
    """A command failed."""


class Tab:
    """One page, as scripts see it."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._count = 0
        #: What the browser logged as errors.
        self.complaints: list[str] = []
        self.call("session.new", capabilities={})
        self.call("session.subscribe", events=["log.entryAdded"])
        self._context: str = self.call("browsingContext.getTree")["contexts"][0]["context"]

    def call(self, method: str, **params: object) -> Any:
        """Carry out a command; its result."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.receive())
            if message.get("type") == "event":
                if message["params"].get("level") == "error":
                    self.complaints.append(message["params"].get("text") or "")
            elif message.get("id") == self._count:
                if message["type"] == "error":
                    raise BidiError(f"{method}: {message['error']}: {message['message']}")
                return message["result"]

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self.call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, by way of JSON."""
        answer = self.call(
            "script.evaluate",
            expression=f"JSON.stringify({expression} ?? null)",
            target={"context": self._context, "sandbox": "tests"},
            awaitPromise=True,
        )
        if answer["type"] != "success":
            raise BidiError(answer["exceptionDetails"]["text"])
        return json.loads(answer["result"]["value"])

    def choose(self, *files: Path, field: str = "#choose-files") -> None:
        """Choose files in a field."""
        locator = {"type": "css", "value": field}
        found = self.call("browsingContext.locateNodes", context=self._context, locator=locator)["nodes"]
        self.call(
            "input.setFiles",
            context=self._context,
            element={"sharedId": found[0]["sharedId"]},
            files=[str(file) for file in files],
        )

    def text(self, selector: str = "body") -> str:
        """The text of all that a selector finds."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return str(self.evaluate(f"{found}.map((each) => each.innerText).join('\\n')"))

    def click(self, name: str) -> None:
        """Press the button of this name, once it is there."""
        named = f"each.ariaLabel === {json.dumps(name)} || each.innerText.trim() === {json.dumps(name)}"
        found = f"[...document.querySelectorAll('button')].find((each) => {named})"
        wait_until(lambda: self.evaluate(f"Boolean({found})"), f"the button {name!r}")
        self.evaluate(f"{found}.click()")

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
def firefox(profile: Path, **preferences: object) -> Iterator[Tab]:
    """Runs Firefox without a window, with a profile of its own."""
    assert FIREFOX is not None
    profile.mkdir(exist_ok=True)
    lines = (
        f"user_pref({json.dumps(key)}, {json.dumps(value)});" for key, value in (_PREFERENCES | preferences).items()
    )
    (profile / "user.js").write_text("\n".join(lines))
    told = profile / "WebDriverBiDiServer.json"
    command = [FIREFOX, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
    with (
        (profile.parent / "firefox.log").open("wb") as log,
        subprocess.Popen([*command, "about:blank"], stdout=log, stderr=log, start_new_session=True) as process,
    ):
        try:
            wait_until(
                lambda: (told.exists() and told.read_text().endswith("}")) or process.poll() is not None, "Firefox"
            )
            port = json.loads(told.read_text())["ws_port"]
            with WebSocket(port, "/session") as socket:
                tab = Tab(socket)
                yield tab
                # It ends in the middle of its answer, or of ours.
                with suppress(ConnectionError):
                    tab.call("browser.close")
        finally:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
