"""Questions to the database by its driver alone.

`ledger status` is asked all day long, and SQLAlchemy takes longer to import than the answer. So what it asks is SQL of
both databases, on a connection that cannot write. Everything else goes through :mod:`ledger.store`.
"""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ledger.errors import BadInput, Busy, LedgerError, StateError

#: URLs of databases that are what they seem; others are for SQLAlchemy to take apart.
PLAIN_URL = re.compile(
    r"sqlite:///[^?]+|postgresql(\+psycopg)?://([^:@/?]*(:[^:@/?]*)?@)?[\w.-]*(:\d+)?(/[^/?]*)?(\?(?!.*host=.*host=).*)?"
)

#: A value in a statement, as SQLite has it; of PostgreSQL's casts there are none.
_VALUE = re.compile(r":(\w+)")

_PASSWORD = re.compile(r"(://[^:@/]*):[^@]*@")

#: How long a connection waits for another one's write, in milliseconds (DESIGN section 13).
BUSY_TIMEOUT_MS = 30_000


class Reader:
    """A connection to a ledger's database that only reads, and sees one state of it.

    Parameters
    ----------
    url : str
        Of the database, as the configuration has it.

    Raises
    ------
    LedgerError
        If there is no such database.
    """

    def __init__(self, url: str) -> None:
        self._shown = _PASSWORD.sub(r"\1:***@", url)
        self._is_sqlite = url.startswith("sqlite")
        with self._translated():
            self._connection = _sqlite(url) if self._is_sqlite else _postgresql(url)

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return what a statement finds; in it a value is written as ``:name``.

        Raises
        ------
        LedgerError
            With what the database says.
        """
        with self._translated():
            sent = statement if self._is_sqlite else _VALUE.sub(r"%(\1)s", statement)
            cursor = self._connection.cursor()
            cursor.execute(sent, values)
            return list(cursor.fetchall())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Exception as exc:
            if refusal := refused(self._shown, exc):
                raise refusal from exc
            raise


def refused(shown: str, exc: BaseException) -> LedgerError | None:
    """Return what to tell of an exception of a driver, or None if it is none that is told.

    Parameters
    ----------
    shown : str
        The database's URL, without its password.
    exc : Exception
        Of :mod:`sqlite3` or `psycopg`; both have the kinds of PEP 249.
    """
    kinds = {kind.__name__ for kind in type(exc).__mro__}
    if "DatabaseError" not in kinds:
        return None
    reason = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
    if "OperationalError" in kinds:
        if "locked" in reason or "busy" in reason:
            return Busy(f"database {shown}: {reason}; another process is writing, try again")
        return LedgerError(f"database {shown}: {reason}; check that it is there and may be written")
    if "guard:" in reason:
        return StateError(f"the database refused: {reason.split('guard:', 1)[1].strip()}")
    if type(exc).__name__ == "DatabaseError":  # of no kind: SQLite's "malformed", "not a database"
        return LedgerError(
            f"database {shown} is damaged: {reason}; move it away, and `ledger backup --restore` the newest backup"
        )
    return None


def _sqlite(url: str) -> Any:
    if PLAIN_URL.fullmatch(url):
        path = url.removeprefix("sqlite:///")
    else:
        from sqlalchemy import make_url  # noqa: PLC0415

        path = str(make_url(url).database)
    file = f"file:{quote(os.path.abspath(path))}?mode=rw"  # noqa: PTH100  not created if it is not there
    connection = sqlite3.connect(file, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("BEGIN")
    return connection


def _postgresql(url: str) -> Any:
    try:
        import psycopg  # noqa: PLC0415  SQLite needs none
    except ModuleNotFoundError as exc:
        raise BadInput(
            "the PostgreSQL driver is not installed: expected psycopg 3; install ledger with its extra `postgres`"
        ) from exc
    if PLAIN_URL.fullmatch(url):
        connection = psycopg.connect(url.replace("+psycopg", "", 1))
    else:
        from sqlalchemy import make_url  # noqa: PLC0415

        parsed = make_url(url)
        connection = psycopg.connect(**parsed.get_dialect()().create_connect_args(parsed)[1])
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    return connection


def migrations_folder() -> Path:
    """Return where the migrations are: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def newest_revision() -> str:
    """Return the code's own revision: that of the last migration, by the number that its name begins with."""
    found = [path.name.partition("_")[0] for path in (migrations_folder() / "versions").glob("[0-9]*.py")]
    if not found:
        raise BadInput(f"no migrations in {migrations_folder()}: the installation is broken; install ledger again")
    return max(found)
