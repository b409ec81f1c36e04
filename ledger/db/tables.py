"""All rows of one ledger copied into another, SQLite or PostgreSQL: backups, and ways from one to the other."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import JSON, Column, Connection, MetaData, Table, Text, cast, func, insert, inspect, select, text

#: Rows in hand at a time.
ROWS = 5000
#: Not ours: Alembic writes it when it makes the tables.
REVISION_TABLE = "alembic_version"


def copy_rows(source: Connection, target: Connection) -> int:
    """Copy every row of every table.

    Parameters
    ----------
    source : Connection
        In one transaction, which sees one state of the database.
    target : Connection
        Of a database with the same tables, all empty. The caller commits.

    Returns
    -------
    int
        How many rows there were.
    """
    ours, theirs = _tables(source), _tables(target)
    n_rows = 0
    with _without_guards(target, theirs):
        streamed = source.execution_options(stream_results=True)
        for table in theirs.sorted_tables:
            columns = [ours.tables[table.name].columns[column.name] for column in table.columns]
            put = _put_plain if target.dialect.name == "sqlite" else _put
            n_rows += put(streamed, target, table, columns)
        set_counters(target, theirs)
    return n_rows


def _put(source: Connection, target: Connection, table: Table, columns: Sequence[Column[Any]]) -> int:
    """Copy the rows of a table, each value by its type."""
    n_rows = 0
    for chunk in source.execute(select(*columns)).mappings().partitions(ROWS):
        target.execute(insert(table), [dict(row) for row in chunk])
        n_rows += len(chunk)
    return n_rows


def _put_plain(source: Connection, target: Connection, table: Table, columns: Sequence[Column[Any]]) -> int:
    """Copy the rows of a table into SQLite, values as they are: a third of the time, and JSON keeps its text."""
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    marks = ", ".join("?" for _ in table.columns)
    statement = f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})'  # noqa: S608  names of ours
    plain = [cast(c, Text).label(c.name) if isinstance(c.type, JSON) else c for c in columns]
    n_rows = 0
    for chunk in source.execute(select(*plain)).partitions(ROWS):
        target.exec_driver_sql(statement, [tuple(row) for row in chunk])
        n_rows += len(chunk)
    return n_rows


def _tables(connection: Connection) -> MetaData:
    """Return the tables as they are: a database that is to be migrated is not yet what the models say."""
    tables = MetaData()
    tables.reflect(connection, only=[name for name in inspect(connection).get_table_names() if name != REVISION_TABLE])
    return tables


@contextmanager
def _without_guards(connection: Connection, tables: MetaData) -> Iterator[None]:
    """Switch the guards off: they admit files as raw only, and every change with its entry.

    SQLite is without most indexes meanwhile, too: it takes less time to sort many hashes at the end than to put each in
    its place.
    """
    if connection.dialect.name == "postgresql":
        for name in tables.tables:
            connection.execute(text(f'ALTER TABLE "{name}" DISABLE TRIGGER USER'))
        yield
        for name in tables.tables:
            connection.execute(text(f'ALTER TABLE "{name}" ENABLE TRIGGER USER'))
        return
    query = "SELECT type, name, sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
    dropped = connection.execute(text(query)).all()
    for kind, name, _ in dropped:
        connection.execute(text(f'DROP {kind} "{name}"'))
    yield
    for *_, statement in dropped:
        connection.exec_driver_sql(statement)


def set_counters(connection: Connection, tables: MetaData) -> None:
    """Make PostgreSQL number new rows after those that came with numbers; SQLite does so by itself."""
    if connection.dialect.name != "postgresql":
        return
    for table in tables.tables.values():
        if "id" in table.columns:
            last = connection.execute(select(func.max(table.columns["id"]))).scalar()
            if last is not None:
                connection.execute(select(func.setval(func.pg_get_serial_sequence(table.name, "id"), last)))
