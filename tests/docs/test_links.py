"""Every link of every page leads somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, ROOT, anchors, links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    broken = []
    for link in links(page):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (fragment and fragment not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_on_the_site() -> None:
    index = (ROOT / "docs/index.md").read_text()
    missing = []
    for page in PAGES:
        path = page.relative_to(ROOT).with_suffix("")
        name = str(path.relative_to("docs")) if path.parts[0] == "docs" else f"../{path}"
        if name != "index" and f"\n{name}\n" not in index and f"<{name}>" not in index:
            missing.append(name)
    assert missing == []
