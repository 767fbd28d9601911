"""Settings of the documentation's site, which `make docs` builds from the Markdown of the repository.

The sources are read from the root of the repository, so that README, docs and examples link to each other by the same
relative paths on the site and in the repository.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "src")]

from sphinx.application import Sphinx  # noqa: E402  # stands with the import below

from partwise import __version__  # noqa: E402  # the path above makes it importable

project = "partwise"
author = "The partwise authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "cli_help"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "examples/**"]
exclude_patterns = [".*", "build", "dist", "src", "tests", "web", "bench", "scripts", "partwise-data", "docs/images"]

# Headings are link targets under the names that code hosts give them.
myst_heading_anchors = 4
# A snippet in a language without a lexer, or a JSON document with an ellipsis in it, is shown without colours.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = f"partwise {version}"
html_copy_source = False
html_show_sphinx = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}


def _add_entry(app: Sphinx, error: Exception | None) -> None:
    """Lead from the root of the site to its first page."""
    if error is None:
        refresh = '<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html">'
        (Path(app.outdir) / "index.html").write_text(f'{refresh}<a href="docs/index.html">partwise</a>\n')


def setup(app: Sphinx) -> None:
    """Register what this file does beside its settings."""
    app.connect("build-finished", _add_entry)
