"""Counts that triggers maintain, also where an older server beside this one writes; an index of what is unfinished."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_MIB = 1 << 20
#: For each table: the kind of one owner's rows and the kind of all rows; whether rows have a state, and a size.
_COUNTED = {
    "uploads": ("upload", "uploads", True, False),
    "artifact_links": ("link", "links", False, True),
    "artifacts": (None, "artifacts", False, True),
    "tasks": ("task", "tasks", True, False),
}
_INTO = "INSERT INTO counts (kind, owner, state, part, count, high, low)"
#: How often the tables are locked when another transaction is in the way.
_TRIES = 20


def upgrade() -> None:
    op.create_table(
        "counts",
        sa.Column("kind", sa.String(), primary_key=True),
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("state", sa.String(), primary_key=True),
        sa.Column("part", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("high", sa.BigInteger(), nullable=False),
        sa.Column("low", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
    postgres = op.get_bind().dialect.name == "postgresql"
    if postgres:
        # Nobody writes from here to the end: what triggers do not see is what is counted now.
        _lock_tables()
    for table, (one, every, stated, sized) in _COUNTED.items():
        if postgres:
            _postgres_triggers(table, stated, sized)
        else:
            _sqlite_triggers(table, stated, sized)
        for kind in filter(None, (one, every)):
            op.execute(_count_now(table, kind, owned=kind == one, stated=stated, sized=sized))

    unfolded = sa.text("part <> 0")
    op.create_index("ix_counts_unfolded", "counts", ["part"], sqlite_where=unfolded, postgresql_where=unfolded)
    for table in ("uploads", "tasks"):
        where = sa.text("state <> 'completed'")
        op.create_index(f"ix_{table}_unfinished", table, ["created", "id"], sqlite_where=where, postgresql_where=where)


def _lock_tables() -> None:
    connection = op.get_bind()
    for left in range(_TRIES, 0, -1):
        try:
            with connection.begin_nested():
                op.execute("LOCK TABLE uploads, artifact_links, artifacts, tasks IN SHARE ROW EXCLUSIVE MODE")
        except DBAPIError as error:
            # A deadlock with servers that go on: they run their transactions again, and so does this.
            if left == 1 or getattr(error.orig, "sqlstate", None) != "40P01":
                raise
        else:
            return


def _count_now(table: str, kind: str, *, owned: bool, stated: bool, sized: bool) -> str:
    owner, state = "owner" if owned else "''", "state" if stated else "''"
    sums = f"coalesce(sum(size / {_MIB}), 0), coalesce(sum(size % {_MIB}), 0)" if sized else "0, 0"
    groups = ", ".join(column for column in (owner, state) if column != "''")
    grouped = f" GROUP BY {groups}" if groups else ""
    selected = f"SELECT '{kind}', {owner}, {state}, 0, count(*), {sums} FROM {table}{grouped}"  # noqa: S608 (our names)
    return f"{_INTO} {selected}"


def _adds(table: str, row: str, sign: str, part: str, *, stated: bool, sized: bool) -> str:
    """Return the statements that add (or take away) a row of a table to its counts."""
    one, every, _, _ = _COUNTED[table]
    state = f"{row}.state" if stated else "''"
    high, low = (f"{sign}({row}.size / {_MIB})", f"{sign}({row}.size % {_MIB})") if sized else ("0", "0")
    return "".join(
        f"{_INTO} VALUES ('{kind}', {owner}, {state}, {part}, {sign}1, {high}, {low}) "
        "ON CONFLICT (kind, owner, state, part) DO UPDATE SET count = counts.count + excluded.count, "
        "high = counts.high + excluded.high, low = counts.low + excluded.low; "
        for kind, owner in ((one, f"{row}.owner"), (every, "''"))
        if kind is not None
    )


def _changes(table: str, part: str, *, stated: bool, sized: bool) -> dict[str, str]:
    """Return the statements for each event of a table."""
    added = _adds(table, "NEW", "", part, stated=stated, sized=sized)
    removed = _adds(table, "OLD", "-", part, stated=stated, sized=sized)
    return {"INSERT": added, "DELETE": removed} | ({"UPDATE OF state": removed + added} if stated else {})


def _sqlite_triggers(table: str, stated: bool, sized: bool) -> None:
    for event, statements in _changes(table, "0", stated=stated, sized=sized).items():
        when = " WHEN OLD.state <> NEW.state" if event.startswith("UPDATE") else ""
        name = f"count_{table}_{event.split()[0].lower()}"
        op.execute(f"CREATE TRIGGER {name} AFTER {event} ON {table}{when} BEGIN {statements}END")


def _postgres_triggers(table: str, stated: bool, sized: bool) -> None:
    # Each transaction has rows of its own, so that none waits for another; the maintenance adds them up.
    for event, statements in _changes(table, "txid_current()", stated=stated, sized=sized).items():
        when = " WHEN (OLD.state IS DISTINCT FROM NEW.state)" if event.startswith("UPDATE") else ""
        name = f"count_{table}_{event.split()[0].lower()}"
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statements}RETURN NULL; END $$"
        )
        op.execute(f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW{when} EXECUTE FUNCTION {name}()")
