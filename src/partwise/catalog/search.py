"""Searches for part of a file name, by an index of all trigrams (three characters in a row) of the names of artifacts.

The index is ``artifact_search`` of SQLite's FTS5, or a GIN index in PostgreSQL; ``r0015_search.py`` has both. It finds
candidates, and the names themselves are compared then. So an index that is missing costs time and no result. Two
characters or fewer, and uploads, are looked for without an index.

Names are compared in folded case (``tables.folded``). A name may be written in composed characters, as most systems do,
or in decomposed ones, as macOS did: a search finds both.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, false, func, literal, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from partwise.catalog.tables import artifact_links, folded

#: Rows that are counted one by one. There may be a million.
COUNTED = 1000
#: Candidates that are sorted. Of more, the newest are found sooner by a look at one name after the other.
CANDIDATES = 2000

# Without the triggers it is not maintained: see ``sqlite.drop_unusable_index``.
_INDEXED = text("SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = 'search_artifact_links_insert'")
_MATCHING = text(
    "SELECT n.id FROM artifact_search s JOIN artifact_names n ON n.seq = s.rowid "
    "WHERE artifact_search MATCH :terms LIMIT :most"
)


def holds(column: Column[str], search: str) -> ColumnElement[bool]:
    """Return whether a ``search_name`` holds ``search``."""
    return or_(false(), *(column.contains(form, autoescape=True) for form in _forms(search)))


def candidates(connection: Connection, search: str) -> list[ColumnElement[bool]]:
    """Return a condition that each link to an artifact meets whose name holds ``search``; none where no index helps."""
    forms = _forms(search)
    if not forms or min(map(len, forms)) < 3:
        return []
    if connection.dialect.name == "postgresql":
        grams = func.partwise_trigrams(artifact_links.c.search_name, type_=ARRAY(Text))
        return [or_(*(grams.contains(literal(_trigrams(form), ARRAY(Text))) for form in forms))]
    if connection.execute(_INDEXED).one_or_none() is None:
        return []
    terms = " OR ".join('"' + form.replace('"', '""') + '"' for form in forms)
    ids = connection.execute(_MATCHING, {"terms": terms, "most": CANDIDATES + 1}).scalars().all()
    return [] if len(ids) > CANDIDATES else [artifact_links.c.id.in_(ids)]


def count_some(connection: Connection, table: Any, conditions: list[ColumnElement[bool]]) -> int:
    """Return how many rows meet the conditions; ``COUNTED + 1`` when there are more than ``COUNTED``."""
    some = select(literal(1)).select_from(table).where(*conditions).limit(COUNTED + 1)
    return connection.execute(select(func.count()).select_from(some.subquery())).scalar_one()


def _forms(search: str) -> list[str]:
    """Return what a ``search_name`` that holds ``search`` may hold, each once. No name has a NUL."""
    if "\0" in search:
        return []
    return sorted({folded(search), *(folded(unicodedata.normalize(form, search)) for form in ("NFC", "NFD"))})


def _trigrams(form: str) -> list[str]:
    return sorted({form[index : index + 3] for index in range(len(form) - 2)})
