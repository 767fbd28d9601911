"""The page in a host application, below a path of it, for users whom the host signs in with a cookie."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.conftest import MIB, UploadPage, write_file
from tests.browser.test_access import AXE, failings
from tests.embed.conftest import hosted
from tests.support.proxy import Proxy
from tests.support.server import sha256

HOST = """
import os
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from partwise.embed import Partwise, Settings

async def user_of(request):
    return request.cookies.get("host-session")

async def log_in(request):
    answer = PlainTextResponse("Welcome.")
    answer.set_cookie("host-session", "ann", httponly=True, samesite="lax")
    return answer

files = Partwise(
    Settings.of(data=os.environ["EXAMPLE_DATA"], chunk_size=1048576), base_path="/files", identity=user_of, page=True
)
app = Starlette(routes=[Route("/login", log_in), Mount("/files", app=files.app)], lifespan=files.lifespan)
"""


def test_the_page_in_a_host_application(browser: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "application"
    folder.mkdir()
    (folder / "site_of_tests.py").write_text(HOST)
    large, small = write_file(tmp_path / "disk.img", 6 * MIB), write_file(tmp_path / "notes.md", 1000)
    with hosted(folder, "site_of_tests", tmp_path / "data", "uvicorn") as port, Proxy(port) as proxy:
        # Without the page's policy, for the check of what keeps anyone out.
        context = browser.new_context(bypass_csp=True, reduced_motion="reduce")
        web = UploadPage(context.new_page())
        web.page.goto(f"{proxy.url}/files/")
        expect(web.page.get_by_role("heading", name="You are signed out")).to_be_visible()
        expect(web.page.get_by_label("Token")).to_have_count(0)
        if AXE.exists():
            assert failings(web) == []
        other = context.new_page()
        other.goto(f"{proxy.url}/login")
        web.page.get_by_role("button", name="Try again").click()
        web.choose(tmp_path / "disk.img", tmp_path / "notes.md")
        web.await_digest("disk.img", sha256(large))
        web.await_digest("notes.md", sha256(small))
        expect(web.page.locator("footer code")).to_have_text(f"partwise upload FILE -s {proxy.url}/files")
        # The session ends in the middle, and the person signs in again.
        more = write_file(tmp_path / "more.img", 6 * MIB)
        proxy.hold_after(3 * MIB)
        web.choose(tmp_path / "more.img")
        proxy.wait_until_held()
        context.clear_cookies()
        proxy.release()
        expect(web.page.get_by_role("heading", name="You are signed out")).to_be_visible()
        other.goto(f"{proxy.url}/login")
        web.page.get_by_role("button", name="Try again").click()
        web.await_digest("more.img", sha256(more))
        with web.page.expect_download() as download:
            web.page.get_by_role("link", name="Download notes.md").first.click()
        assert Path(download.value.path()).read_bytes() == small
        assert web.complaints == []
        context.close()
