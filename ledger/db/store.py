"""The one door to the database: sessions, rows, and the journal.

What changes a night goes through :class:`ledger.night.journal.Journal`, which writes its entries in the same
transaction, after it has checked its lease.
"""

import json
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import JSON, ColumnElement, Text, and_, cast, inspect, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, SQLModel, col

from ledger.clock import Clock, now_us
from ledger.config.urls import parse_url
from ledger.db import schema
from ledger.db.connection import WRITES, connect
from ledger.db.models import Run
from ledger.db.processes import boot_id, user_name
from ledger.db.readonly import PROOF, SqliteFile, is_small, refuse_damage, translate_driver_error
from ledger.errors import Damaged, LedgerError, UsageError

T = TypeVar("T")

#: Each catch-up is recorded by itself, without arguments, and each night that it advances as a run of its own.
CATCH_UP = "catch-up"

#: Runs of one process that are looked at for a request to stop.
_RECENT_RUNS = 50


def is_catch_up() -> ColumnElement[bool]:
    """Return the condition that a run stands for a catch-up as a whole: it takes no step, and so leaves none open."""
    return and_(col(Run.command) == CATCH_UP, cast(col(Run.arguments), Text) == "{}")


class Store:
    """A ledger's database.

    Parameters
    ----------
    url : str or URL
        Of SQLite or PostgreSQL.
    clock : Clock, optional
        What time it is, for everybody; by default the system says, and to leases the database's server.
    """

    def __init__(self, url: str | URL, clock: Clock | None = None) -> None:
        self.url = parse_url(url) if isinstance(url, str) else url
        self._file = SqliteFile(Path(str(self.url.database))) if self._is_sqlite else None
        self.engine = connect(self.url, self._file)
        self.clock = clock or now_us
        self._begun: list[int] = []  # runs, in order
        self._process = secrets.token_hex(8)
        self._asks_server = clock is None and self.url.get_backend_name() == "postgresql"

    def common_us(self, session: Session) -> int:
        """Return what time it is for all hosts that share this database: their own clocks may be minutes apart."""
        if not self._asks_server:
            return self.clock()
        return int(session.execute(text("SELECT extract(epoch FROM clock_timestamp()) * 1000000")).scalar_one())

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def open(self) -> None:
        """Refuse a database that is not at the code's revision, or (an SQLite file that is small) damaged."""
        schema.check(self.engine)
        if self._is_sqlite and is_small(str(self.url.database)):
            self.prove()

    def prove(self) -> None:
        """Let SQLite check the whole database, and refuse one that is damaged.

        Raises
        ------
        Damaged
            If a page of an SQLite file is not in order, or an index has not what its table has.
        """
        if self._is_sqlite:
            with self.read() as session:
                verdict = session.execute(text(PROOF)).scalar()
            if verdict != "ok":
                self._refuse_changed()
                raise Damaged(self.shown, str(verdict))

    def refuse_damage(self, exc: DBAPIError) -> None:
        """Raise `Damaged` if that is what the database said, whatever it was asked."""
        refuse_damage(self.shown, exc.orig)

    @property
    def _is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    # sessions

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session that only reads; of several statements, each may see more than the one before."""
        with self._translated(), Session(self.engine, expire_on_commit=False) as session:
            yield session
        self._refuse_changed()

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Open a session that only reads, and whose statements all see the database as the first of them does.

        SQLite's transactions are like that; PostgreSQL's see what others commit meanwhile, unless told not to.
        """
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        is_postgresql = self.engine.dialect.name == "postgresql"
        with (
            self._translated(),
            self.engine.connect().execution_options(**(options if is_postgresql else {})) as connection,
            Session(connection, expire_on_commit=False) as session,
        ):
            yield session
        self._refuse_changed()

    def _refuse_changed(self) -> None:
        if self._file is not None:
            self._file.refuse_changed()

    @contextmanager
    def write(self, fence: Callable[[Session], None] | None = None) -> Iterator[Session]:
        """Open a session that writes; it is committed at the end, or rolled back by an exception.

        Parameters
        ----------
        fence : callable, optional
            Called first, inside the transaction; raises if the lease was lost.

        Raises
        ------
        UsageError
            If this user may only read the database.
        """
        if self._file is not None and not self._file.may_write:
            raise UsageError(
                f"database {self._file.path}: this user may only read it; expected one who may write the file and its"
                " folder; run the command as that user"
            )
        with (
            self._translated(),
            self.engine.connect().execution_options(**{WRITES: True}) as connection,
            Session(connection, expire_on_commit=False) as session,
        ):
            if fence is not None:
                fence(session)
            yield session
            session.commit()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as exc:
            self._refuse_changed()  # half of what was read may be old, and half new
            if exc.orig is not None and (refusal := translate_driver_error(self.shown, exc.orig)):
                raise refusal from exc
            raise

    @cached_property
    def shown(self) -> str:
        """Return the URL without its password."""
        return self.url.render_as_string(hide_password=True)

    # the schema

    def init(self, machines: Iterable[schema.Declared]) -> tuple[str | None, str]:
        """Create or migrate the database and declare the states; return the revisions before and after."""
        if self._is_sqlite:
            Path(str(self.url.database)).parent.mkdir(parents=True, exist_ok=True)
        with self._translated():
            revisions = schema.upgrade(self.engine)
        with self.write() as session:
            every = list(machines)
            schema.declare(session, [s for m in every for s in m.rows()], [e for m in every for e in m.edges()])
        return revisions

    def check_declared(self, machines: Iterable[schema.Declared]) -> None:
        """Refuse to work with states that the database does not know.

        Raises
        ------
        UsageError
            If the configuration's states are not those of the last ``ledger init``.
        """
        expected = schema.as_tuples(row for machine in machines for row in (*machine.rows(), *machine.edges()))
        with self.read() as session:
            found = schema.declared(session)
        if found != expected:
            raise UsageError(
                "the states of the configuration are not those that the database guards:"
                " run `ledger init` to declare them"
            )

    # runs

    def begin_run(self, command: str, arguments: Mapping[str, Any]) -> int:
        """Record an invocation; return its number."""
        run = Run(
            command=command,
            arguments=json.loads(json.dumps(arguments, default=str)),
            host=socket.gethostname(),
            boot=boot_id(),
            pid=os.getpid(),
            version=version("ledger"),
            begun_by=user_name(),
            process=self._process,
            started_us=self.clock(),
        )
        with self.write() as session:
            session.add(run)
            session.flush()
            number = int(run.id or 0)
        self._begun.append(number)
        return number

    def end_run(self, run_id: int, exit_status: int, *, in_order: bool) -> None:
        """Record how an invocation ended; one that did not end in order is settled by the next."""
        ended_us = self.clock() if in_order else None
        with self.write() as session:
            session.execute(update(Run).where(col(Run.id) == run_id).values(ended_us=ended_us, exit_status=exit_status))

    def ask_to_stop(self, run_id: int) -> None:
        """Ask a run to end in order: its process hears of it with the next heartbeat of any of its runs."""
        with self.write() as session:
            session.execute(update(Run).where(col(Run.id) == run_id).values(stop_asked_us=self.clock()))

    def is_asked_to_stop(self, session: Session) -> bool:
        """Whether any run that was begun here is asked to stop; one that has ended counts for those that follow it."""
        if not self._begun:
            return False
        mine = {self._begun[0], *self._begun[-_RECENT_RUNS:]}  # the first may stand for all others, as in a catch-up
        query = select(col(Run.id)).where(col(Run.id).in_(mine), col(Run.stop_asked_us).is_not(None))
        return session.execute(query.limit(1)).first() is not None

    @contextmanager
    def recorded(self, command: str, arguments: Mapping[str, Any]) -> Iterator[tuple[Session, int]]:
        """Open a session that writes, for a command that is one transaction, and record the command as a run."""
        run_id = self.begin_run(command, arguments)
        status = 3  # a bug, unless it turns out otherwise
        try:
            with self.write() as session:
                yield session, run_id
            status = 0
        except LedgerError as exc:
            status = exc.exit_status
            raise
        finally:
            self.end_run(run_id, status, in_order=True)


def chunks(items: Sequence[T], size: int = 500) -> Iterator[Sequence[T]]:
    """Yield `items` in pieces: databases limit how many parameters a statement may have."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def insert_if_new(session: Session, table: type[SQLModel], values: Mapping[str, Any]) -> None:
    """Insert a row unless there is one with its key: two processes may come at the same moment."""
    session.execute(_insert(session, table).values(**values).on_conflict_do_nothing())


def put(session: Session, table: type[SQLModel], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or replace what is there under their keys."""
    if not rows:
        return
    keys = [column.name for column in inspect(table).primary_key]
    statement = _insert(session, table)
    others = {name: statement.excluded[name] for name in table.model_fields if name not in keys}
    session.execute(statement.on_conflict_do_update(index_elements=keys, set_=others), list(rows))


def _insert(session: Session, table: type[SQLModel]) -> postgresql.Insert | sqlite.Insert:
    """Return an insert of the database's own dialect, which has ON CONFLICT."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def insert_many(session: Session, table: type[SQLModel], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, all of the same columns, in their order.

    In one statement: a statement a row takes PostgreSQL ten times as long, and SQLite, which prepares to undo each
    where a guard may refuse it, twice.
    """
    if not rows:
        return
    target, names = inspect(table).local_table, list(rows[0])
    if session.get_bind().dialect.name == "postgresql":
        values = ", ".join(names)
        source = f"json_populate_recordset(CAST(NULL AS {target.name}), CAST(:rows AS json))"
    else:
        values = ", ".join(f"json_extract(value, '$.{name}')" for name in names)
        source = "json_each(:rows) ORDER BY key"
    statement = f"INSERT INTO {target.name} ({', '.join(names)}) SELECT {values} FROM {source}"  # noqa: S608  names of the models
    session.connection().execute(text(statement), {"rows": json.dumps(list(rows))})


def update_many(session: Session, table: type[SQLModel], rows: Sequence[Mapping[str, Any]]) -> None:
    """Update rows by their ``id``, in one statement for each set of columns that they have.

    JSON has the same text as in any other update: SQLite would write its own of what is nested in the rows' JSON.
    """
    target = inspect(table).local_table
    as_text = {column.name for column in target.columns if isinstance(column.type, JSON)}
    for names in dict.fromkeys(tuple(row) for row in rows):
        of_names = [dict(row) for row in rows if tuple(row) == names]
        if session.get_bind().dialect.name == "postgresql":
            value = "new.{}".format
            source = f"json_populate_recordset(CAST(NULL AS {target.name}), CAST(:rows AS json)) AS new"
        else:
            value = "json_extract(new.value, '$.{}')".format
            source = "json_each(:rows) AS new"
            of_names = [{k: json.dumps(v) if k in as_text else v for k, v in row.items()} for row in of_names]
        values = ", ".join(f"{name} = {value(name)}" for name in names if name != "id")
        statement = f"UPDATE {target.name} SET {values} FROM {source} WHERE {target.name}.id = {value('id')}"  # noqa: S608  names of the models
        session.connection().execute(text(statement), {"rows": json.dumps(of_names)})
