"""Databases, nights and commands for the tests. Both databases are real."""

import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ledger.cli import main
from tests import warm
from tests.databases import (
    TEMPLATE,
    create_database,
    database_of,
    drop_database,
    initialise,
    initialised_file,
    make_database,
    running_postgresql,
    spare_the_disk,
    url_of,
)
from tests.sshd import Server, running_sshd
from tests.world import World

for name in [name for name in os.environ if name.startswith("LEDGER_")]:
    del os.environ[name]  # no test may see the configuration of whoever runs it

for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:  # as in the background of a shell, or under nohup
        signal.signal(number, handler)

warm.share_compiled_statements()


def pytest_collection_finish() -> None:
    """All is imported."""
    warm.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many workers `-n auto` means: some tests wait, for other processes and for another host."""
    n = os.cpu_count() or 1
    return 2 * n


@pytest.fixture(scope="session")
def sqlite_template() -> Path:
    """Return an initialised SQLite database to copy."""
    return initialised_file()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Start a PostgreSQL server; yield its URL without a database name."""
    with running_postgresql() as server:
        url = url_of(server)
        spare_the_disk(url)
        yield url


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> str:
    """Return the name of an initialised database to copy."""
    create_database(postgresql_server, TEMPLATE)
    initialise(database_of(postgresql_server, TEMPLATE))
    return TEMPLATE


@pytest.fixture(scope="session")
def sshd() -> Iterator[Server]:
    """Start an SSH server."""
    with running_sshd() as server:
        yield server


@pytest.fixture(scope="session")
def place_of_worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the world of each test lies in turn: nights that were kept are put back where they were made."""
    return tmp_path_factory.mktemp("worlds", numbered=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, world_home: Path) -> str:
    """Return the URL of an initialised, empty ledger; each test runs on both databases."""
    return make_database(request, world_home, request.param, "ledger_world")


@pytest.fixture
def sqlite_url(request: pytest.FixtureRequest, world_home: Path) -> str:
    """Return the URL of an initialised, empty ledger on SQLite, for what the database cannot matter to."""
    return make_database(request, world_home, "sqlite")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a database with nothing in it; each test runs on both databases."""
    yield from _empty_database(request, tmp_path / "empty.db")


@pytest.fixture(params=["sqlite", "postgresql"])
def other_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of another one than the world's, for a ledger that is made anew; on both databases."""
    yield from _empty_database(request, tmp_path / "other.db")


def _empty_database(request: pytest.FixtureRequest, path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{path}"
        return
    server = request.getfixturevalue("postgresql_server")
    name = f"{path.stem}_{uuid.uuid4().hex}"
    create_database(server, name)
    yield database_of(server, name)
    drop_database(server, name)


@pytest.fixture
def world_home(place_of_worlds: Path, tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a world and of its SQLite database; in the end it is beside the test's other files."""
    folder = place_of_worlds / "home"
    folder.mkdir()
    yield folder
    folder.rename(tmp_path / "the world's home")


@pytest.fixture
def world(database_url: str, world_home: Path) -> Iterator[World]:
    """Return roots, a destination and an initialised ledger, on either database."""
    made = World(world_home / "world", database_url, is_new=True)
    yield made
    made.close()


@pytest.fixture
def sqlite_world(sqlite_url: str, world_home: Path) -> Iterator[World]:
    """Return roots, a destination and an initialised ledger on SQLite."""
    made = World(world_home / "world", sqlite_url, is_new=True)
    yield made
    made.close()


@pytest.fixture
def ledger(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Return the command line, in this process: exit status, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(sqlite_world.folder)
        monkeypatch.setattr(sys, "argv", ["ledger", "--config", str(sqlite_world.config_path), *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            main()
        said = capsys.readouterr()
        return int(exited.value.code or 0), said.out, said.err

    return run
