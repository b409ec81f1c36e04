"""A night that is put back is as an advance left it, and is put back only where nothing else happened."""

import os
import shutil

import pytest

from tests.databases import begin_anew
from tests.ledger.db.test_backup import rows_of
from tests.world import DATE, World


def begun(world: World) -> World:
    """Return a world in the same place, as each test begins with."""
    world.close()
    shutil.rmtree(world.folder)
    begin_anew(world.url)
    made = World(world.folder, world.url, is_new=True)
    made.simulate(scale=0.02, scenario=("pdi",))
    return made


def all_of(world: World):
    """Return everything there is: modes, times and bytes of files, and rows."""
    status = {path: os.lstat(path) for path in world.folder.rglob("*") if path.name != "config.yaml"}
    files = {
        path: (s.st_mode, *((s.st_mtime_ns, path.read_bytes()) if path.is_file() else ())) for path, s in status.items()
    }
    return files, rows_of(world.url)


@pytest.fixture
def advanced(monkeypatch):
    """Return the worlds that are advanced for real."""
    really, seen = World.advance, []
    monkeypatch.setattr(World, "advance", lambda world, *a, **k: seen.append(world) or really(world, *a, **k))
    return seen


@pytest.mark.parametrize("steps", [["fixed"], ["compressed", "manifested"]])
def test_it_is_put_back_as_it_was(world, advanced, steps):
    first = begun(world)
    for state in steps:
        first.bring(to=state)
    left = all_of(first)
    advanced.clear()
    second = begun(first)
    for state in steps:
        second.bring(to=state)
    assert all_of(second) == left
    assert advanced == []
    assert second.rollback().succeeded
    second.close()


def test_a_world_that_somebody_changed_is_advanced(world, advanced):
    made = begun(world)
    made.bring()
    for change in (remove_a_file, set_a_time, register):
        made = begun(made)
        change(made)
        advanced.clear()
        made.bring()
        assert advanced == [made]
    made.close()


def remove_a_file(world: World) -> None:
    cube = max((world.night().path / "vcam1").glob("*.fits"))
    cube.with_suffix(".txt").unlink()
    cube.unlink()


def set_a_time(world: World) -> None:
    os.utime(max((world.night().path / "vcam1").glob("*.fits")))


def register(world: World) -> None:
    world.machine().scan(world.night())


def test_rows_are_looked_at_too(world, advanced):
    made = begun(world)
    made.bring(to="synced")
    made = begun(made)
    made.machine().scan(made.night())
    assert made.run("exclude", DATE, "--reason", "dome").returncode == 0
    advanced.clear()
    made.bring(to="synced")
    assert advanced == [made]
    made.close()
