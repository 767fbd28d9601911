"""Part of a name finds artifacts, by an index where it helps, and the same without one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from partwise.catalog import SqlCatalog, migrate, open_catalog, search
from partwise.catalog import artifacts as queries
from partwise.catalog.tables import artifact_links
from partwise.core.records import Artifact
from tests.contract.catalog.support import later

COMPOSED, DECOMPOSED = "Jos\u00e9-Menu.pdf", "Jose\u0301-Plan.pdf"
NAMES = [
    "disk-1.iso", "Disk-2.ISO", "a b.tar.gz", "100%_sure.img", 'say "no" OR yes.txt', "back\\slash.bin",
    "GRÖSSE.iso", "größe.img", COMPOSED, DECOMPOSED, "日本語のファイル.zip", "ab", "", "x" * 300 + "needle" + "y" * 700,
]  # fmt: skip
SEARCHES = [
    "disk",
    "DISK-2", "k-1.i", "b.t", "%_s", "100%", '"no"', '" OR ', "k\\s", "grösse", "GRÖSSE", "öß", "é-m", "E\u0301-P",
    "se\u0301", "本語の", "ファイル", "ab", "a", "needle", "xneedley", "disk-1.isoo", "\0", "a\0b", "NOT", "*", "^dis",
]  # fmt: skip


def link(number: int, name: str | None) -> Artifact:
    sha256 = f"{number:064x}"
    return Artifact(id=f"a{number}", owner="ann", sha256=sha256, size=1, created=later(number), filename=name)


def insert(connection: Connection, names: list[str]) -> None:
    for number, name in enumerate(names):
        queries.link(connection, link(number, name))


@pytest.fixture
async def filled(catalog: SqlCatalog) -> SqlCatalog:
    await catalog.runner.write(insert, NAMES)
    return catalog


async def found(catalog: SqlCatalog, sought: str, **more: Any) -> tuple[list[str | None], int]:
    page = await catalog.list_artifacts("ann", search=sought, **more)
    return [artifact.filename for artifact in page.items], page.count


async def test_all_searches_find_what_a_look_at_each_name_finds(
    filled: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_index = {sought: await found(filled, sought) for sought in SEARCHES}
    monkeypatch.setattr(queries, "candidates", lambda *_: [])
    assert by_index == {sought: await found(filled, sought) for sought in SEARCHES}
    assert by_index["disk"] == (["Disk-2.ISO", "disk-1.iso"], 2)
    assert by_index["é-m"] == ([COMPOSED], 1)
    assert by_index["E\u0301-P"] == ([DECOMPOSED], 1)
    assert by_index["se\u0301"] == ([DECOMPOSED, COMPOSED], 2)
    assert by_index["needle"][1] == by_index["ファイル"][1] == by_index['" OR '][1] == 1
    assert by_index["\0"] == ([], 0)


async def test_the_index_follows_what_is_deleted(filled: SqlCatalog) -> None:
    assert await filled.unlink_artifact("a0")
    assert await found(filled, "disk") == (["Disk-2.ISO"], 1)
    await filled.runner.write(queries.link, link(0, "other disk"))
    assert (await found(filled, "disk"))[0] == ["Disk-2.ISO", "other disk"]


async def test_of_many_the_newest_come_first_and_counting_ends(
    filled: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "CANDIDATES", 2)
    monkeypatch.setattr(search, "COUNTED", 3)
    names = [name for name in reversed(NAMES) if "s" in name.casefold()]
    assert await found(filled, "i") == await found(filled, "I")
    assert await found(filled, "s", limit=2) == (names[:2], 4)
    assert await found(filled, ".is") == (["GRÖSSE.iso", "Disk-2.ISO", "disk-1.iso"], 3)


def plan(connection: Connection, sought: str) -> str:
    """How the database finds them."""
    conditions = [*search.candidates(connection, sought), search.holds(artifact_links.c.search_name, sought)]
    statement = queries._LINKS.where(*conditions).compile(connection, compile_kwargs={"literal_binds": True})
    sqlite = connection.dialect.name == "sqlite"
    if not sqlite:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
    rows = connection.exec_driver_sql(f"EXPLAIN {'QUERY PLAN' if sqlite else ''} {statement}".replace("%", "%%"))
    return " ".join(str(row) for row in rows)


async def test_few_names_are_read(filled: SqlCatalog) -> None:
    shown = await filled.runner.read(plan, "disk-1")
    assert "ix_artifact_links_trigrams" in shown or "sqlite_autoindex_artifact_links_1 (id=?)" in shown


# What follows is SQLite's alone.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


async def use(path: Path, function: Callable[[SqlCatalog], Any]) -> Any:
    catalog = open_catalog(f"sqlite:///{path}")
    await catalog.start()
    try:
        return await function(catalog)
    finally:
        await catalog.stop()


async def test_the_index_outlives_vacuum(path: Path, tmp_path: Path) -> None:
    migrate(f"sqlite:///{path}")

    async def fill(catalog: SqlCatalog) -> None:
        await catalog.runner.write(insert, NAMES)
        await catalog.unlink_artifact("a0")

    await use(path, fill)
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")
        connection.execute(f"VACUUM INTO '{copy}'")
    for file in (path, copy):
        assert await use(file, lambda catalog: found(catalog, "needle")) == ([NAMES[-1]], 1)


@pytest.mark.parametrize("lost", [False, True], ids=["never", "any more"])
async def test_all_is_found_without_fts5(path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool) -> None:
    if not lost:
        monkeypatch.setattr("partwise.catalog.sqlite.has_trigrams", lambda _: False)
    migrate(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection, connection:
        made = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'artifact_search'").fetchone()
        assert made == (int(lost),)
        if lost:  # a SQLite that does not know the module
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'fts5', 'fts9')")

    async def fill(catalog: SqlCatalog) -> Any:
        await catalog.runner.write(insert, NAMES)
        await catalog.unlink_artifact("a0")
        return await found(catalog, "disk")

    assert await use(path, fill) == (["Disk-2.ISO"], 1)
