"""Nights with frame IDs, and ways to plant in them what is not in order."""

import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ledger.ids.check import LAWS, Disorder, Report, check
from ledger.ids.reservation import start
from tests.databases import make_database
from tests.world import World

FIRST, SECOND, THIRD = "20260101", "20260102", "20260103"


FOREIGN, OTHER = "20250601", "20250602"


ONE, TWO = "VMPA00000001", "VMPA00000002"


#: Numbers up to here lie between blocks, but for the first few.
SECOND_BLOCK = 1001


def simulate(world: World, *dates: str) -> None:
    for date in dates:
        world.simulate(date, seed=int(date), scale=0.02, scenario=("pdi",))


def skip_ahead(world: World) -> None:
    """Go on from another number: those between are in no block."""
    start(world.store(), world.config, "VMPA", SECOND_BLOCK)


@pytest.fixture(scope="module")
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Return where two finished nights lie, whose IDs begin at 1 and 1001, a copy of all that, and the database."""
    folder = tmp_path_factory.mktemp("finished")
    url = make_database(request, folder, "sqlite")
    world = World(folder / "world", url)
    simulate(world, FIRST, SECOND)
    assert world.advance(FIRST).succeeded
    skip_ahead(world)
    assert world.advance(SECOND).succeeded
    world.close()
    kept = tmp_path_factory.mktemp("kept") / "copy"
    shutil.copytree(folder, kept)
    return folder, kept, url


@pytest.fixture
def nights(finished: tuple[Path, Path, str]) -> Iterator[World]:
    """Return the two nights, as they were when they were finished; rows name their paths, so they lie there again."""
    folder, kept, url = finished
    shutil.rmtree(folder)
    world = World(folder / "world", url)
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    yield world
    world.close()


def look(world: World, **options: str) -> Report:
    return check(world.store(), world.config, **options)


def found(world: World, law: str, **options: str) -> list[Disorder]:
    """Return what breaks a law; all that is found has a law, and a place."""
    disorders = look(world, **options).disorders
    assert all(d.law in LAWS and d.where and d.found and d.expected for d in disorders), disorders
    return [disorder for disorder in disorders if disorder.law == law]


def products(world: World, date: str = FIRST, *, place: str = "archive") -> Path:
    return world.folder / place / date / "vgen2"


def put_file(world: World, date: str, name: str, *, place: str = "archive") -> Path:
    path = products(world, date, place=place) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def edit(path: Path, pattern: bytes, new: bytes | Callable[[re.Match[bytes]], bytes]) -> None:
    """Replace bytes of a header by as many."""
    content = path.read_bytes()
    changed, n = re.subn(pattern, new, content, count=1)
    assert n == 1
    assert changed != content
    assert len(changed) == len(content)
    path.write_bytes(changed)


def around_the_guards(world: World, statement: str) -> None:
    """Change rows as somebody does who has the file and drops guards and unique indices first."""
    with sqlite3.connect(world.url.removeprefix("sqlite:///")) as connection:
        kinds = "SELECT type, name FROM sqlite_master WHERE type = 'trigger' OR name = 'uq_frame_id_live_identity'"
        for kind, name in connection.execute(kinds).fetchall():
            connection.execute(f"DROP {kind} {name}")
        assert connection.execute(statement).rowcount > 0
    connection.close()
