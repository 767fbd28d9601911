"""An index of the trigrams of artifacts' names, so that a search for part of a name looks at few of them."""

from alembic import op

from partwise.catalog.sqlite import has_trigrams

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

#: No extension is needed, nor the right to create one. A small list of what is not sorted in yet keeps searches short.
_POSTGRES = (
    "CREATE FUNCTION partwise_trigrams(name text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS "
    "$$ SELECT ARRAY(SELECT substr(name, i, 3) FROM generate_series(1, length(name) - 2) AS i) $$",
    "CREATE INDEX ix_artifact_links_trigrams ON artifact_links USING gin (partwise_trigrams(search_name)) "
    "WITH (gin_pending_list_limit = 256)",
)


#: FTS5 names rows by numbers, and those of `artifact_links` may change with a VACUUM. A link's name never changes.
_SQLITE = (
    "CREATE TABLE artifact_names (seq INTEGER PRIMARY KEY, id VARCHAR NOT NULL UNIQUE)",
    "CREATE VIRTUAL TABLE artifact_search USING fts5("
    "name, content = '', columnsize = 0, tokenize = 'trigram case_sensitive 1')",
    "INSERT INTO artifact_names (id) SELECT id FROM artifact_links ORDER BY rowid",
    "INSERT INTO artifact_search (rowid, name) "
    "SELECT seq, search_name FROM artifact_names JOIN artifact_links USING (id) ORDER BY seq",
    "CREATE TRIGGER search_artifact_links_insert AFTER INSERT ON artifact_links BEGIN "
    "INSERT INTO artifact_names (id) VALUES (NEW.id); "
    "INSERT INTO artifact_search (rowid, name) VALUES (last_insert_rowid(), NEW.search_name); END",
    "CREATE TRIGGER search_artifact_links_delete AFTER DELETE ON artifact_links BEGIN "
    "INSERT INTO artifact_search (artifact_search, rowid, name) "
    "SELECT 'delete', seq, OLD.search_name FROM artifact_names WHERE id = OLD.id; "
    "DELETE FROM artifact_names WHERE id = OLD.id; END",
)


def upgrade() -> None:
    connection = op.get_bind()
    sqlite = _SQLITE if connection.dialect.name == "sqlite" and has_trigrams(connection) else ()
    for statement in _POSTGRES if connection.dialect.name == "postgresql" else sqlite:
        # Not as a text of SQLAlchemy's, in which a colon begins the name of a value.
        connection.exec_driver_sql(statement)
