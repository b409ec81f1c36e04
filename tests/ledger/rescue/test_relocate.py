"""Disks change over the years: nights are followed to where they lie, if what lies there is what is on record."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.inside import call
from tests.world import DATE, World

SECOND = "20260103"


@pytest.fixture
def moved(world: World) -> World:
    """A finished night and one that is half-way; their root has got another name."""
    world.simulate(DATE, scale=0.02, scenario=("pdi",))
    world.simulate(SECOND, scale=0.02, scenario=("onecamera",), seed=1)
    world.bring(DATE)
    assert world.advance(SECOND, to="fixed").succeeded
    (world.folder / "archive").rename(world.folder / "new disk")
    world.data["archive"]["root"] = str(world.folder / "new disk")
    return world


def roots(world: World) -> dict[str, str]:
    return dict(world.query("SELECT date, root FROM night"))


def product(world: World, date: str = DATE, ending: str = ".fits.fz") -> Path:
    return min((world.folder / "new disk" / date / "vgen2").glob(f"*{ending}"))


def test_nights_are_followed_and_go_on_there(moved):
    world = moved
    refused = call(world, "advance", "--date", SECOND)
    assert refused.returncode == 1
    assert "if the nights have moved, run `ledger relocate`" in refused.stderr
    before = roots(world)
    planned = call(world, "relocate", "--dry-run")
    assert planned.returncode == 0
    assert planned.stdout.count("would be on record at") == 2
    assert roots(world) == before
    done = call(world, "relocate", "--deep", "--json")
    assert done.returncode == 0, done.stdout
    assert [(night["date"], night["faults"]) for night in json.loads(done.stdout)] == [(DATE, []), (SECOND, [])]
    assert set(roots(world).values()) == {str(world.folder / "new disk")}
    assert call(world, "audit", "--deep").returncode == 0
    assert call(world, "relocate").stdout == "every night is on record where it is\n"
    ids = world.query("SELECT frame_id, identity FROM frame_id ORDER BY frame_id")
    for command in (["rollback", "--date", DATE, "--yes"], ["advance", "--date", f"{DATE}..{SECOND}"]):
        assert call(world, *command).returncode == 0
    assert world.query("SELECT frame_id, identity FROM frame_id ORDER BY frame_id")[: len(ids)] == ids
    told = world.query("SELECT name, detail FROM entry WHERE event = 'relocated' ORDER BY id")
    assert [name for name, _ in told] == [DATE, SECOND]


def test_doctor_says_that_nights_are_on_record_elsewhere(moved):
    told = call(moved, "doctor")
    assert "2 nights of archive are on record under" in told.stdout
    assert "`ledger relocate`" in told.stdout
    assert call(moved, "relocate").returncode == 0
    assert "on record under" not in call(moved, "doctor").stdout


def test_the_way_back_is_the_same_command(moved):
    world = moved
    assert call(world, "relocate").returncode == 0
    (world.folder / "new disk").rename(world.folder / "archive")
    world.data["archive"]["root"] = str(world.folder / "archive")
    assert call(world, "relocate").returncode == 0
    assert set(roots(world).values()) == {str(world.folder / "archive")}
    assert call(world, "audit").returncode == 0


def test_a_night_that_is_not_there_stays_where_it_was(moved):
    world = moved
    shutil.move(world.folder / "new disk" / DATE, world.folder / "elsewhere")
    done = call(world, "relocate")
    assert done.returncode == 1
    assert f"night {DATE} (archive): it stays on record at {world.folder}/archive: " in done.stdout
    assert roots(world) == {DATE: f"{world.folder}/archive", SECOND: f"{world.folder}/new disk"}


@pytest.mark.parametrize("damage", ["gone", "cut", "strange", "raw touched"])
def test_a_night_that_is_not_as_on_record_stays_where_it_was(moved, damage):
    world = moved
    if damage == "gone":
        product(world, ending=".txt").unlink()
    elif damage == "cut":
        product(world).write_bytes(product(world).read_bytes()[:-1])
    elif damage == "strange":
        product(world).with_name("VMPA00000099.fits.fz").write_bytes(b"?")
    else:
        os.utime(min((world.folder / "new disk" / DATE / "vcam1").glob("*.fits")))
    done = call(world, "relocate")
    assert done.returncode == 1
    assert roots(world) == {DATE: f"{world.folder}/archive", SECOND: f"{world.folder}/new disk"}


def test_only_a_deep_look_sees_other_bytes(moved):
    world = moved
    cube = product(world)
    cube.write_bytes(cube.read_bytes()[:-1] + b"?")
    assert call(world, "relocate", "--dry-run").returncode == 0
    done = call(world, "relocate", "--deep")
    assert done.returncode == 1
    assert cube.name.split(".")[0] in done.stdout


def test_a_night_that_left_files_in_quarantine_behind_stays_where_it_was(sqlite_world):
    world = sqlite_world
    world.simulate(DATE, scale=0.02, scenario=("pdi",))
    (timing, *_) = sorted((world.folder / "archive" / DATE).glob("vcam1/*.txt"))
    timing.unlink()
    world.bring(DATE)
    shutil.copytree(world.folder / "archive", world.folder / "new disk")
    cube = world.folder / "new disk" / DATE / "vcam1" / f"{timing.stem}.fits"
    cube.unlink()
    world.data["archive"]["root"] = str(world.folder / "new disk")
    done = call(world, "relocate")
    assert done.returncode == 1
    assert f"{cube}, which is in quarantine, is not there" in done.stdout
    (world.folder / "archive" / DATE / "vcam1" / cube.name).unlink()  # it was gone before
    assert call(world, "relocate").returncode == 0
