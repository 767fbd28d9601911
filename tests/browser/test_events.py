"""The feed of events, read by a browser's own EventSource."""

from __future__ import annotations

from playwright.sync_api import Browser

from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess

#: What a page does, in short: it keeps what it hears.
READ = """(path) => {
    window.heard = [];
    window.opened = 0;
    window.source = new EventSource(path);
    source.onopen = () => { opened += 1; };
    for (const type of ["upload.completed", "upload.removed", "cursor-expired"]) {
        source.addEventListener(type, (event) => heard.push([event.type, JSON.parse(event.data), event.lastEventId]));
    }
}"""


def test_an_event_source_hears_of_everything_once(browser: Browser, server: ServerProcess, proxy: Proxy) -> None:
    with Http(server.port) as http:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{proxy.url}/livez")
        page.evaluate(READ, f"{API}events/?after=now")
        page.wait_for_function("opened === 1")
        first = http.store(b"one")
        page.wait_for_function("heard.length === 1")
        # What happens while there is no connection is not lost: the browser says what it has seen.
        proxy.cut()
        http("DELETE", first["pulp_href"])
        second = http.store(b"two")
        page.wait_for_function("opened === 2 && heard.length === 3")
        heard = page.evaluate("heard")
        assert [
            (kind, event["data"]["upload"] in (first["pulp_href"] + second["pulp_href"])) for kind, event, _ in heard
        ] == [("upload.completed", True), ("upload.removed", True), ("upload.completed", True)]
        assert [event["cursor"] for _, event, _ in heard] == [last for *_, last in heard]
        context.close()


def test_an_event_source_is_told_that_it_is_behind_the_horizon(
    browser: Browser, server: ServerProcess, proxy: Proxy
) -> None:
    with Http(server.port) as http:
        http.store(b"one")
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{proxy.url}/livez")
        page.evaluate(READ, f"{API}events/?after=999999999")
        page.wait_for_function("heard.length >= 2")
        (kind, problem, _), (_, oldest, _) = page.evaluate("heard.slice(0, 2)")
        assert (kind, problem["status"]) == ("cursor-expired", 410)
        assert oldest["cursor"] == http("GET", f"{API}events/?limit=1").json["events"][0]["cursor"]
        assert page.evaluate("source.readyState") == 1
        context.close()
