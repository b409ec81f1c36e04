"""Nights that stand still: which they are, and why."""

import shutil

import pytest

from ledger.clock import now_us
from ledger.query.standing import Still, standing_still
from tests.world import DATE, World

HOUR_US = 3_600_000_000
NEXT = "20260103"


def still(world: World, at_us: int | None = None) -> list[Still]:
    return standing_still(world.config, world.machine().pipelines, world.now_us if at_us is None else at_us)


def why(world: World, at_us: int | None = None) -> list[tuple[str, str]]:
    return [(found.why, found.where) for found in still(world, at_us)]


@pytest.fixture
def night(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    return sqlite_world


@pytest.fixture
def watched(night: World) -> World:
    night.data["notify"]["stalled_hours"] = 48
    return night


def test_nothing_stands_still(night):
    night.advance()
    assert still(night) == []


# stalled


def test_a_night_at_which_nothing_changes_is_stalled(world):
    world.data["notify"]["stalled_hours"] = 48
    world.simulate(scale=0.02, scenario=("pdi",))
    world.advance(to="synced")
    assert still(world, world.now_us + 47 * HOUR_US) == []
    (found,) = still(world, world.now_us + 49 * HOUR_US)
    assert (found.why, found.where) == ("stalled", f"night {DATE} (archive)")
    assert "it is synced, and nothing has changed since 2027-01-15 08:00:00 UT" in found.text
    assert found.remedy == f"`ledger advance --date {DATE}` says what it waits for"


def test_what_was_only_tried_changes_nothing(watched):
    (watched.destination / DATE).write_text("whose?")
    watched.advance()
    watched.now_us += 49 * HOUR_US
    watched.advance()
    ((last_us,),) = watched.query("SELECT max(at_us) FROM entry")
    assert last_us == watched.now_us
    assert why(watched) == [("stalled", f"night {DATE} (archive)")]


def test_a_night_that_is_not_registered_is_as_old_as_its_folder(watched):
    assert still(watched, now_us() + 47 * HOUR_US) == []
    assert why(watched, now_us() + 49 * HOUR_US) == [("stalled", f"night {DATE} (archive)")]


def test_a_finished_night_is_never_stalled(watched):
    watched.advance()
    assert still(watched, watched.now_us + 10**6 * HOUR_US) == []


# waiting for a person


def test_a_night_of_which_all_is_in_quarantine(night):
    for path in night.night().path.glob("vcam*/*.txt"):
        path.unlink()
    night.advance()
    (found,) = still(night)
    assert (found.why, found.remedy) == ("quarantined", f"`ledger quarantine list --date {DATE}`")


def test_a_night_that_is_late(night):
    night.advance()
    night.simulate("20260101", scale=0.02, scenario=("onecamera",), seed=5)
    (found,) = still(night)
    assert (found.why, found.where) == ("stopped", "night 20260101 (archive)")
    assert "--late --reason TEXT" in found.remedy


# gone


def test_an_unfinished_night_whose_folder_is_gone(night):
    night.simulate(NEXT, scale=0.02, scenario=("onecamera",), seed=5)
    night.advance(to="fixed")
    night.night().path.rename(night.folder / "elsewhere")
    (found,) = still(night)
    assert (found.why, found.where, found.is_of_root) == ("gone", f"night {DATE} (archive)", False)
    assert f"ledger exclude {DATE} --reason" in found.remedy


def test_a_finished_night_may_go(night):
    night.simulate(NEXT, scale=0.02, scenario=("onecamera",), seed=5)
    night.advance()
    shutil.rmtree(night.night().path)
    assert still(night) == []


@pytest.mark.parametrize("to", ["fixed", "manifested"])
def test_a_root_without_any_night_is_a_disk_that_is_not_mounted(night, to):
    night.advance(to=to)
    night.night().path.rename(night.folder / "elsewhere")
    (found,) = still(night)
    assert (found.why, found.where, found.is_of_root) == ("gone", "archive.root", True)
    assert f"{night.folder / 'archive'}: no night is left in it, and 1 night of it are on record" in found.text


# strays


def test_folders_that_look_like_nights(night):
    strays = ("2026-01-07", "20260107.bak", "20260107b", "20261399", "old_2026_01_07")
    for name in (*strays, "notes", "20260104", ".20260107.swp", "123420260107", "20250101_old"):
        (night.folder / "archive" / name).mkdir()
    (night.folder / "archive/20260107.txt").write_text("a file")
    night.data["archive"]["first_night"] = "20260101"
    assert why(night) == [("stray", "archive.root")] * 5
    assert [found.folder for found in still(night)] == [str(night.folder / "archive" / name) for name in strays]
    night.data["notify"]["ignore"] = ["*.bak", "old_*"]
    assert len(still(night)) == 3


def test_a_root_or_destination_within_a_root_is_no_stray(night):
    other = night.folder / "archive/eng_20260101/nights"
    other.mkdir(parents=True)
    night.data["engineering"]["root"] = str(other)
    assert still(night) == []


@pytest.mark.parametrize("pipeline", ["archive", "engineering"])
def test_cubes_in_folders_of_other_names_than_the_streams(sqlite_world, pipeline):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",), pipeline=pipeline)
    folder = world.folder / pipeline / DATE
    (folder / "vcam1").rename(folder / "VCAM1")
    assert "stray" not in [reason for reason, _ in why(world)]  # one camera may be alone
    (folder / "vcam2").rename(folder / "cam2")
    (found,) = still(world)
    assert (found.why, found.where, found.folder) == ("stray", f"night {DATE} ({pipeline})", "VCAM1, cam2")
    assert "no cube in vcam1 or vcam2" in found.text
    world.data["notify"]["ignore"] = ["VCAM1", "cam2"]
    assert "stray" not in [reason for reason, _ in why(world)]
