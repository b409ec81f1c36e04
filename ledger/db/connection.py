"""Connections: SQLite and PostgreSQL made to mean the same thing by a transaction."""

import sqlite3
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from ledger.db.readonly import BUSY_TIMEOUT_MS, NO_DRIVER, SqliteFile, refuse_damage
from ledger.disk.mounts import refuse_network
from ledger.errors import UsageError

#: Execution option of a connection that will write: SQLite must take its lock before it reads, or a
#: transaction that reads first and then writes fails at once whatever the timeout.
WRITES = "ledger_writes"


#: The first SQLite with the operator ``->>`` (https://sqlite.org/json1.html), which views have.
OLDEST_SQLITE = (3, 38, 0)


def connect(url: URL, file: SqliteFile | None = None) -> Engine:
    """Return an engine for a ledger at `url`; nothing is opened yet.

    Parameters
    ----------
    url : URL
        Of the database.
    file : SqliteFile, optional
        Of SQLite, what was found of it.

    Raises
    ------
    UsageError
        If the folder of an SQLite file is missing or on a network file system, SQLite is too old, or the driver is not
        installed.
    """
    if url.get_backend_name() == "sqlite":
        return _connect_sqlite(file or SqliteFile(Path(str(url.database))))
    try:
        return create_engine(url, pool_pre_ping=True)
    except (NoSuchModuleError, ModuleNotFoundError) as exc:
        raise UsageError(NO_DRIVER) from exc


def _connect_sqlite(file: SqliteFile) -> Engine:
    refuse_network(file.path)
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise UsageError(
            f"SQLite {sqlite3.sqlite_version} of this Python is too old for the ledger's views; expected"
            f" {'.'.join(map(str, OLDEST_SQLITE))} or newer: a newer Python, or PostgreSQL (database.url)"
        )
    timeout_s = BUSY_TIMEOUT_MS / 1000

    def open_to_read() -> sqlite3.Connection:
        return sqlite3.connect(file.uri, uri=True, timeout=timeout_s, check_same_thread=False)

    how: dict[str, Any] = {"connect_args": {"timeout": timeout_s}} if file.may_write else {"creator": open_to_read}
    engine = create_engine(URL.create("sqlite", database=str(file.path)), **how)

    def on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if file.may_write:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA recursive_triggers = ON")  # guards see the delete inside a replace

    def on_begin(connection: Any) -> None:
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine


def read_only(url: URL, file: SqliteFile | None = None) -> Engine:
    """Return an engine whose connections cannot write, whatever statement they are given.

    SQLite opens the file with ``mode=ro``. PostgreSQL sets the role `READER`, which may only select,
    and begins each transaction ``READ ONLY``; one statement is sent a time (extended protocol), so
    none can follow that would undo it.
    """
    if url.get_backend_name() == "sqlite":
        file = file or SqliteFile(Path(str(url.database)))
        engine = create_engine(
            URL.create("sqlite", database=file.uri.replace("mode=rw", "mode=ro"), query={"uri": "true"}),
            poolclass=NullPool,
            connect_args={"timeout": BUSY_TIMEOUT_MS / 1000},
        )

        def no_attach(connection: Any, _record: object) -> None:
            # mode=ro guards this file; another one must not be attached beside it
            connection.setlimit(_SQLITE_LIMIT_ATTACHED, 0)

        event.listen(engine, "connect", no_attach)
        return engine
    engine = create_engine(url, poolclass=NullPool)

    def become_reader(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_has_role(current_user, oid, 'member') FROM pg_roles WHERE rolname = %s", [READER])
            row = cursor.fetchone()
            if row and row[0]:
                cursor.execute(f"SET ROLE {READER}")
        connection.commit()
        connection.read_only = True
        connection.prepare_threshold = 0  # prepared: the extended protocol refuses a second statement

    event.listen(engine, "connect", become_reader)
    return engine


def query(url: URL, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the columns and rows of one statement, run where nothing can be written.

    Raises
    ------
    UsageError
        If the database refuses the statement.
    """
    file = SqliteFile(Path(str(url.database))) if url.get_backend_name() == "sqlite" else None
    engine = read_only(url, file)
    try:
        with engine.connect() as connection:
            # psycopg would take a % for a placeholder
            sent = statement if url.get_backend_name() == "sqlite" else statement.replace("%", "%%")
            result = connection.exec_driver_sql(sent)
            if not result.returns_rows:
                return [], []
            columns, rows = list(result.keys()), [tuple(row) for row in result]
        if file is not None:
            file.refuse_changed()
    except DBAPIError as exc:
        if file is not None:
            file.refuse_changed()
        refuse_damage(url.render_as_string(hide_password=True), exc.orig)
        raise UsageError(f"sql: {_refusal(exc.orig)}") from exc
    else:
        return columns, rows
    finally:
        engine.dispose()


#: What the databases say of a table or column that is not there, and of a statement that is not one that only reads: in
#: SQLite's words, and as SQLSTATEs.
_NO_SUCH = ("no such table", "no such column"), {"42P01", "42703"}
_NOT_READING = (
    ("readonly database", "one statement at a time", "too many attached", "not authorized"),
    {"25006", "42501"},
)


def _refusal(error: BaseException | None) -> str:
    """Return what the database says of a statement, and what to do."""
    said = str(error).strip().splitlines()[0]
    state = getattr(error, "sqlstate", None)

    def is_any(words: Iterable[str], states: Collection[str]) -> bool:
        return state in states or any(word in said for word in words)

    if is_any(*_NO_SUCH):
        return f"{said}; `ledger sql --schema` lists tables, views and their columns"
    if is_any(*_NOT_READING) or "multiple commands" in said:
        return f"{said}; expected one statement that only reads"
    return said


#: Each column of each table and view, in order.
_RELATIONS = {
    "sqlite": (
        "SELECT relation.name, relation.type, attribute.name FROM sqlite_master AS relation"
        " JOIN pragma_table_info(relation.name) AS attribute"
        " WHERE relation.type IN ('table', 'view') AND relation.name NOT LIKE 'sqlite_%'"
        " ORDER BY relation.name, attribute.cid"
    ),
    "postgresql": (
        "SELECT relation.table_name, CASE relation.table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END,"
        " attribute.column_name FROM information_schema.tables AS relation"
        " JOIN information_schema.columns AS attribute USING (table_schema, table_name)"
        " WHERE table_schema = current_schema() ORDER BY relation.table_name, attribute.ordinal_position"
    ),
}


def relations(url: URL) -> list[tuple[str, str, list[str]]]:
    """Return the views and then the tables that there are: name, ``view`` or ``table``, and columns."""
    _, rows = query(url, _RELATIONS[url.get_backend_name()])
    found: dict[tuple[str, str], list[str]] = {}
    for name, kind, attribute in rows:
        found.setdefault((name, kind), []).append(attribute)
    in_order = sorted(found.items(), key=lambda relation: relation[0][1] != "view")
    return [(name, kind, attributes) for (name, kind), attributes in in_order if name != _OF_MIGRATIONS]


#: The migrations' own table; it says nothing of nights.
_OF_MIGRATIONS = "alembic_version"

#: Role of PostgreSQL that may only select; ``ledger init`` makes it where it may.
READER = "ledger_reader"

_SQLITE_LIMIT_ATTACHED = 7  # sqlite3.SQLITE_LIMIT_ATTACHED
