"""What `status` and `explain` advise acts on the night that they speak of, or on the one that it waits for."""

import shlex

import pytest

from ledger.disk.dates import Dates
from ledger.query.status import NightStatus, nights
from tests.inside import call
from tests.world import DATE, World

EARLIER, LATER = "20260101", "20260103"


def standing(world: World) -> dict[tuple[str, str], NightStatus]:
    return {(night.pipeline, night.date): night for night in nights(world.config, world.machine().pipelines)}


def obey(world: World, advice: str) -> None:
    """Run a command that was advised."""
    program, *arguments = shlex.split(advice)
    assert program == "ledger"
    done = call(world, *arguments)
    assert done.returncode == 0, (advice, done.stdout, done.stderr)


@pytest.fixture
def twins(sqlite_world: World) -> World:
    """A date that is in both roots."""
    world = sqlite_world
    world.simulate(DATE, scale=0.02, scenario=("onecamera",))
    world.simulate(DATE, pipeline="engineering", scale=0.02, scenario=("onecamera",), seed=3)
    return world


def test_the_advice_of_an_engineering_night_is_not_about_the_archives_night(twins):
    world = twins
    night = standing(world)["engineering", DATE]
    assert night.next_command == f"ledger advance {world.folder}/engineering/{DATE}"
    obey(world, night.next_command)
    after = standing(world)
    assert after["engineering", DATE].next_command == ""
    assert after["archive", DATE].next_command == f"ledger advance --date {DATE}"
    assert world.query("SELECT DISTINCT pipeline FROM file") == [("engineering",)]


def test_explain_names_the_same_night_as_status(twins):
    world = twins
    folder = f"{world.folder}/engineering/{DATE}"
    assert call(world, "advance", folder, "--to", "fixed").returncode == 0
    ((name,), *_) = world.query("SELECT name FROM file WHERE kind = 'product'")
    shown = call(world, "explain", name).stdout
    assert f"ledger advance {folder}" in shown
    assert "--date" not in shown


def test_copies_of_an_engineering_night_are_repaired_there(twins):
    world = twins
    folder = f"{world.folder}/engineering/{DATE}"
    assert call(world, "advance", folder).returncode == 0
    (cube, *_) = sorted((world.folder / "destination/engineering").rglob("*.fz"))
    cube.write_bytes(b"?")
    bad = call(world, "verify", folder)
    assert bad.returncode == 1
    night = standing(world)["engineering", DATE]
    assert night.next_command == f"ledger verify {folder} --repair"
    assert f"`{night.next_command}`" in bad.stdout
    assert f"`{night.next_command}`" in call(world, "doctor").stdout
    obey(world, night.next_command)
    assert standing(world)["engineering", DATE].next_command == ""


def test_a_night_behind_the_gate_sends_to_the_one_that_blocks_it(sqlite_world):
    world = sqlite_world
    for seed, date in enumerate((DATE, LATER)):
        world.simulate(date, seed=seed, scale=0.02, scenario=("onecamera",))
        assert world.advance(date, to="synced").succeeded
    found = standing(world)
    assert found["archive", DATE].next_command == f"ledger advance --date {DATE}"
    assert found["archive", LATER].next_command == f"ledger advance --date {DATE}"
    (alone,) = nights(world.config, world.machine().pipelines, dates=Dates([LATER]))
    assert alone.next_command == f"ledger advance --date {DATE}"
    obey(world, alone.next_command)
    assert standing(world)["archive", LATER].next_command == f"ledger advance --date {LATER}"
    obey(world, f"ledger advance --date {LATER}")
    world.simulate(EARLIER, seed=7, scale=0.02, scenario=("onecamera",))
    late = standing(world)["archive", EARLIER]
    assert late.next_command == f"ledger advance --date {EARLIER} --late --reason TEXT"
    obey(world, late.next_command)
    assert {night.next_command for night in standing(world).values()} == {""}


def test_a_night_that_was_rolled_back_blocks_later_ones(sqlite_world):
    world = sqlite_world
    for seed, date in enumerate((DATE, LATER)):
        world.simulate(date, seed=seed, scale=0.02, scenario=("onecamera",))
    assert world.advance(DATE).succeeded
    assert world.rollback(DATE).succeeded
    world.advance(LATER)
    found = standing(world)
    assert found["archive", LATER].stands == "synced"
    assert (
        found["archive", LATER].next_command == found["archive", DATE].next_command == f"ledger advance --date {DATE}"
    )


def test_a_folder_with_blanks_is_quoted(sqlite_world):
    world = sqlite_world
    world.data["engineering"]["root"] = str(world.folder / "my nights")
    world.data["archive"]["root"] = str(world.folder / "archive")
    world.simulate(DATE, pipeline="engineering", scale=0.02, scenario=("onecamera",))
    (world.folder / "engineering").rename(world.folder / "my nights")
    obey(world, standing(world)["engineering", DATE].next_command)
    assert standing(world)["engineering", DATE].stands == "finished"
