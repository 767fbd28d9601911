"""The Markdown pages of the repository: their headings, links and snippets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])

_FENCE = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    """A fenced block: its language, its text, and whether the comment ``<!-- run -->`` stands above it."""

    page: Path
    line: int
    language: str
    text: str
    run: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def snippets(page: Path) -> Iterator[Snippet]:
    text = page.read_text()
    for found in _FENCE.finditer(text):
        indent = len(found[1])
        body = "".join(line[indent:] or "\n" for line in found[3].splitlines(keepends=True))
        before = text[: found.start()]
        run = before.rstrip().endswith("<!-- run -->")
        yield Snippet(page, before.count("\n") + 1, found[2], body, run)


def anchors(page: Path) -> set[str]:
    """The fragments that a code host gives to the headings."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    found: set[str] = set()
    for heading in headings:
        text = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        copies = sum(1 for other in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other))
        found.add(f"{slug}-{copies}" if copies else slug)
    return found


def links(page: Path) -> Iterator[str]:
    """The targets of links and pictures."""
    text = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page.read_text()))
    for found in re.finditer(r"\]\(([^)\s]+)\)", text):
        yield found[1]
