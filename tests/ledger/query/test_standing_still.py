"""A night of which all is in quarantine is not finished."""

from pathlib import Path

import pytest

from ledger.ids.gate import exclude
from ledger.night.pipeline import pipelines
from ledger.query.status import NightStatus, nights, unfinished
from ledger.run.catch_up import catch_up
from ledger.run.quarantine import discard
from tests.world import DATE, World


def stands(world: World) -> NightStatus:
    (night,) = nights(world.config, pipelines(world.config))
    return night


def timing_files(world: World) -> list[Path]:
    return sorted((world.folder / "archive" / DATE).glob("vcam*/*.txt"))


@pytest.fixture
def spoilt(sqlite_world: World) -> World:
    """A night without any timing file; they lie beside it."""
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    for path in timing_files(sqlite_world):
        path.rename(sqlite_world.folder / path.name)
    assert sqlite_world.advance().succeeded
    return sqlite_world


def test_a_night_of_raw_files_in_quarantine_waits_for_a_person(spoilt):
    night = stands(spoilt)
    assert (night.stands, night.is_finished) == ("quarantined", False)
    assert night.next_command == f"ledger quarantine list --date {DATE}"
    assert unfinished(spoilt.config, pipelines(spoilt.config)) == []
    runs = spoilt.query("SELECT count(*) FROM run")
    assert list(catch_up(spoilt.machine())) == []
    assert spoilt.query("SELECT count(*) FROM run") == runs


def test_it_goes_on_when_its_files_are_mended(spoilt):
    for stream in ("vcam1", "vcam2"):
        for path in spoilt.folder.glob(f"{stream}_*.txt"):
            path.rename(spoilt.folder / "archive" / DATE / stream / path.name)
    assert stands(spoilt).stands == "changed"
    ((_, result),) = catch_up(spoilt.machine())
    assert result.succeeded
    assert stands(spoilt).stands == "finished"


def test_it_is_left_alone_once_somebody_has_excluded_it(spoilt):
    exclude(spoilt.store(), spoilt.config, DATE, "no times")
    night = stands(spoilt)
    assert (night.stands, night.is_finished) == ("excluded", True)


def test_products_that_are_all_skipped_are_no_finished_night(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    world.data["failures"] |= {"barrier": "skip", "attempts": 1}
    world.bring(to="consolidated")
    for path in (world.folder / "archive" / DATE / "vgen2").glob("*.fits"):
        path.write_bytes(b"")
    world.advance()
    assert world.query("SELECT count(*) FROM file WHERE kind = 'product' AND quarantine_reason IS NULL") == [(0,)]
    night = stands(world)
    assert (night.stands, night.next_command) == ("quarantined", f"ledger quarantine list --date {DATE}")
    for (name,) in world.query("SELECT name FROM file WHERE kind = 'product'"):
        discard(world.store(), name, "cut off")
    night = stands(world)
    assert (night.stands, night.next_command) == ("finished", "")
