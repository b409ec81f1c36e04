"""Questions to the database by its driver alone.

`ledger status` is asked all day long, and SQLAlchemy takes longer to import than the answer. So what it asks is SQL of
both databases, on a connection that cannot write. Everything else goes through :mod:`ledger.db.store`.
"""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ledger.config.urls import PLAIN_URL
from ledger.disk.mounts import refuse_network
from ledger.errors import Busy, Damaged, LedgerError, StateError, UsageError

#: A value in a statement, as SQLite has it; of PostgreSQL's casts there are none.
_VALUE = re.compile(r":(\w+)")

_PASSWORD = re.compile(r"(://[^:@/]*):[^@]*@")

NO_DRIVER = "the PostgreSQL driver is not installed: expected psycopg 3; install ledger with its extra `postgres`"

#: An SQLite file of up to so many bytes is looked through by every command, which takes less than 0.1 s.
SMALL_BYTES = 8_000_000

#: What proves that the pages of an SQLite file are in order, and that indexes have what their tables have.
PROOF = "PRAGMA integrity_check(1)"

#: What a damaged database is told by: SQLite's primary result codes CORRUPT and NOTADB, and PostgreSQL's SQLSTATEs
#: `data_corrupted`, `index_corrupted` and `io_error`.
_DAMAGE_CODES, _DAMAGE_STATES = frozenset({11, 26}), frozenset({"XX001", "XX002", "58030"})

#: How long a connection waits for another one's write, in milliseconds (docs/design.md, Database).
BUSY_TIMEOUT_MS = 30_000


class SqliteFile:
    """An SQLite file, as this process may open it.

    Whoever may read the file may ask the ledger. SQLite's journal (WAL) asks for more: readers, too, write beside the
    file. So where this process may not write, the file is opened read-only, beside those who have it open; and if
    nobody has, as one that does not change, which is made sure of afterwards.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()  # where SQLite has its journal, too
        there = next(place for place in (self.path, *self.path.parents) if place.exists())  # it may be made yet
        folder = there if there.is_dir() else self.path.parent
        self.may_write = os.access(there, os.W_OK) and os.access(folder, os.W_OK | os.X_OK)
        self._seen = None if self.may_write or self._is_open() else self._stat()

    @property
    def uri(self) -> str:
        """Return the file as SQLite takes it; it is not created if it is not there."""
        mode = "rw" if self.may_write else "ro"
        still = "" if self._seen is None else "&immutable=1"
        return f"file:{quote(os.fsencode(self.path.absolute()))}?mode={mode}{still}"

    def refuse_changed(self) -> None:
        """Refuse what was read if somebody began to write meanwhile, and no lock kept it from being read.

        Raises
        ------
        Busy
            Then the same is asked again.
        """
        if self._seen is not None and (self._is_open() or self._stat() != self._seen):
            raise Busy(f"database {self.path}: somebody wrote to it while it was read; try again")

    def _is_open(self) -> bool:
        """Whether somebody has the file open, or died and left in its journal what belongs to it."""
        journal = Path(f"{self.path}-wal")
        return Path(f"{self.path}-shm").exists() or (journal.exists() and journal.stat().st_size > 0)

    def _stat(self) -> tuple[int, int] | None:
        if not self.path.exists():
            return None
        status = self.path.stat()
        return status.st_mtime_ns, status.st_size


class Reader:
    """A connection to a ledger's database that only reads, and sees one state of it.

    Parameters
    ----------
    url : str
        Of the database, as the configuration has it.

    Raises
    ------
    UsageError
        If its file is where SQLite's locks cannot be trusted, or the driver is not installed.
    LedgerError
        If there is no such database.
    """

    def __init__(self, url: str) -> None:
        self._shown = _PASSWORD.sub(r"\1:***@", url)
        self._is_sqlite = url.startswith("sqlite")
        self._file = SqliteFile(_path_of(url)) if self._is_sqlite else None
        with self._translated():
            self._connection = _sqlite(self._file) if self._file else _postgresql(url)

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return the rows that a statement finds; ``:name`` in it stands for a value.

        Raises
        ------
        LedgerError
            With what the database says.
        """
        with self._translated():
            sent = statement if self._is_sqlite else _VALUE.sub(r"%(\1)s", statement)
            cursor = self._connection.cursor()
            cursor.execute(sent, values)
            found = list(cursor.fetchall())
        if self._file is not None:
            self._file.refuse_changed()
        return found

    def value(self, statement: str, **values: Any) -> Any:
        """Return the first value of the first row that a statement finds, or None."""
        return next((row[0] for row in self.rows(statement, **values)), None)

    def refuse_damaged(self) -> None:
        """Refuse a damaged database, if a look at it is quick.

        Raises
        ------
        Damaged
            If an SQLite file that is small is not in order.
        """
        if self._is_sqlite:
            file = next(row[2] for row in self.rows("PRAGMA database_list") if row[1] == "main")
            if is_small(file) and (verdict := self.value(PROOF)) != "ok":
                raise Damaged(self._shown, str(verdict))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Exception as exc:
            if not _is_of_a_driver(exc):
                raise
            if self._file is not None:  # half of it may be old, and half new
                self._file.refuse_changed()
            raise translate_driver_error(self._shown, exc) or LedgerError(
                f"database {self._shown}: {_first_line(exc)}"
            ) from exc


def _is_of_a_driver(exc: BaseException) -> bool:
    """Whether an exception is one of PEP 249, of whichever driver."""
    return any(kind.__name__ == "DatabaseError" for kind in type(exc).__mro__)


def is_small(file: str) -> bool:
    """Whether an SQLite file can be looked through by every command."""
    return os.stat(file).st_size <= SMALL_BYTES  # noqa: PTH116  SQLite's name of it


def is_damage(exc: BaseException) -> bool:
    """Whether a driver's exception says that the database is damaged, whatever was asked of it."""
    code, state = getattr(exc, "sqlite_errorcode", None), getattr(exc, "sqlstate", None)
    not_text = isinstance(exc, sqlite3.OperationalError) and "Could not decode" in str(exc)
    return (code is not None and code & 0xFF in _DAMAGE_CODES) or state in _DAMAGE_STATES or not_text


def refuse_damage(shown: str, exc: BaseException | None) -> None:
    """Raise Damaged if that is what a driver's exception says of the database `shown`."""
    if exc is not None and is_damage(exc):
        raise Damaged(shown, _first_line(exc)) from exc


def _first_line(exc: BaseException) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]


def translate_driver_error(shown: str, exc: BaseException) -> LedgerError | None:
    """Return a driver's exception as one of ours; None if it is a bug.

    Parameters
    ----------
    shown : str
        The database's URL, without its password.
    exc : Exception
        Of :mod:`sqlite3` or `psycopg`; both have the kinds of PEP 249.
    """
    if not _is_of_a_driver(exc):
        return None
    reason = _first_line(exc)
    if is_damage(exc):
        return Damaged(shown, reason)
    if any(kind.__name__ == "OperationalError" for kind in type(exc).__mro__):
        if "locked" in reason or "busy" in reason:
            return Busy(f"database {shown}: {reason}; another process is writing, try again")
        return LedgerError(f"database {shown}: {reason}; check that it is there and may be written")
    if "guard:" in reason:
        return StateError(f"the database refused: {reason.split('guard:', 1)[1].strip()}")
    return None


def _path_of(url: str) -> Path:
    if PLAIN_URL.fullmatch(url):
        return Path(url.removeprefix("sqlite:///"))
    from sqlalchemy import make_url  # noqa: PLC0415

    return Path(str(make_url(url).database))


def _sqlite(file: SqliteFile) -> Any:
    refuse_network(file.path)
    connection = sqlite3.connect(file.uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
    except BaseException:
        connection.close()
        raise
    return connection


def _postgresql(url: str) -> Any:
    try:
        import psycopg  # noqa: PLC0415  SQLite needs none
    except ModuleNotFoundError as exc:
        raise UsageError(NO_DRIVER) from exc
    if PLAIN_URL.fullmatch(url):
        connection = psycopg.connect(url.replace("postgresql+psycopg:", "postgresql:", 1))
    else:
        from sqlalchemy import make_url  # noqa: PLC0415

        parsed = make_url(url)
        connection = psycopg.connect(**parsed.get_dialect()().create_connect_args(parsed)[1])
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    return connection


def migrations_folder() -> Path:
    """Return where the migrations are: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def newest_revision() -> str:
    """Return the code's own revision: that of the last migration, by the number that its name begins with."""
    found = [path.name.partition("_")[0] for path in (migrations_folder() / "versions").glob("[0-9]*.py")]
    if not found:
        raise UsageError(f"no migrations in {migrations_folder()}: the installation is broken; install ledger again")
    return max(found)
