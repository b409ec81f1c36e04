"""Room on disk is looked at before anything is written, and what is missing is told in bytes."""

import re
from itertools import pairwise

import pytest

from ledger.night import record
from ledger.night.space import Need, needed, shortfall, size_of
from ledger.run.plan import plan_advance
from tests.world import DATE

#: More than any disk has.
FULL_MB = 1e12
STATES = ("raw", "synced", "consolidated", "fixed", "identified", "compressed", "transferred", "manifested")


def bytes_short(text: str) -> int:
    """Return what a refusal says is missing."""
    found = re.search(r": ([\d,]+) bytes short: the night needs ([\d,]+) there, and 0 may be used", text)
    assert found, text
    assert found[1] == found[2]
    return int(found[1].replace(",", ""))


@pytest.mark.parametrize("state", STATES[:-2])
def test_a_night_for_which_there_is_no_room_is_not_begun(sqlite_world, state):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to=state)
    before = world.tree(), world.tree(world.destination)
    world.data["space"] = {"keep_free_mb": FULL_MB}
    plan = plan_advance(world.machine(), world.night(), None)
    result = world.advance()
    assert not result.succeeded
    assert plan.stopped == result.stopped
    needed_bytes = plan.space_bytes + plan.destination_bytes  # both folders are on one disk
    assert bytes_short(str(result.stopped)) == needed_bytes > 0
    assert "space.keep_free_mb" in str(result.stopped)
    assert (world.tree(), world.tree(world.destination)) == before
    assert set(result.states) <= {state, "synced"}
    world.data["space"] = {"keep_free_mb": None}
    assert world.advance().succeeded


def test_a_night_for_which_another_host_has_no_room_is_not_begun(sqlite_world, sshd):
    world = sqlite_world
    world.send_afar(sshd)
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to="compressed")
    before = world.tree(), world.tree(world.destination)
    world.data["space"] = {"keep_free_mb": FULL_MB}
    plan = plan_advance(world.machine(), world.night(), None)
    result = world.advance()
    assert not result.succeeded
    assert result.is_short
    assert plan.stopped == result.stopped
    assert str(result.stopped).startswith(f"127.0.0.1:{world.destination}: ")
    assert bytes_short(str(result.stopped)) == plan.destination_bytes > 0
    assert (world.tree(), world.tree(world.destination)) == before
    assert "127.0.0.1" in str(shortfall(world.config, world.config.site(), world.night(), Need(0, 1)))
    assert shortfall(world.config, world.config.site(), world.night(), Need(0, 0)) is None
    world.data["transfer"]["ssh"]["port"] = 1  # nothing is known of its room
    assert shortfall(world.config, world.config.site(), world.night(), Need(0, 1)) is None
    world.send_afar(sshd)
    world.data["space"] = {"keep_free_mb": 0}
    assert world.advance().succeeded


@pytest.mark.parametrize("state", STATES[-2:])
def test_a_night_that_needs_no_room_needs_none(sqlite_world, state):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to=state)
    world.data["space"] = {"keep_free_mb": FULL_MB}
    world.bring()


def test_what_is_needed_shrinks_as_the_night_goes_on(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    pipeline, needs = world.machine().pipelines["archive"], []
    for state in STATES[1:]:
        assert world.advance(to=state).succeeded
        items = record.products(world.store(), record.find_night(world.store(), "archive", DATE))
        needs.append(needed(pipeline, items, "manifested", record.compression_ratio(world.store())))
    for before, after in pairwise(needs):
        assert before.night_bytes >= after.night_bytes
    compressed = needs[STATES.index("compressed") - 1]
    copies = [path for path in (world.destination / DATE).rglob("V*") if path.is_file()]
    assert {path.suffix for path in copies} == {".fz", ".txt"}
    assert compressed.night_bytes == 0
    assert compressed.destination_bytes == pytest.approx(sum(path.stat().st_size for path in copies), rel=0.01)
    assert needs[-1] == Need()
    assert needed(pipeline, items, "synced", None) == Need()


def test_what_was_compressed_lately_tells_what_is_needed_at_the_destination(world):
    world.simulate_two("20260102", "20260103")
    store, pipeline = world.store(), world.machine().pipelines["archive"]
    assert record.compression_ratio(store) is None
    assert world.advance("20260102").succeeded
    assert world.advance("20260103", to="synced").succeeded
    ratio = record.compression_ratio(store)
    plain_bytes = size_of(
        [item.product for item in record.products(store, record.find_night(store, "archive", "20260102"))]
    )
    files = list((world.destination / "20260102").rglob("*.fits.fz"))
    assert ratio == pytest.approx(sum(path.stat().st_size for path in files) / plain_bytes)
    items = record.products(store, record.find_night(store, "archive", "20260103"))
    plain = needed(pipeline, items, "transferred", None)
    told = needed(pipeline, items, "transferred", 0.25)
    frames_bytes = size_of([item.product for item in items])
    assert plain.destination_bytes - told.destination_bytes == pytest.approx(0.7 * frames_bytes, abs=1)
    assert told.night_bytes == plain.night_bytes


def test_a_destination_that_vanished_is_told(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    world.destination.rmdir()
    with pytest.raises(Exception, match=re.escape(str(world.destination))):
        shortfall(world.config, world.config.site(), world.night(), Need(1, 1))
