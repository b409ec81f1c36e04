"""One sequence, in order of time, whatever happens."""

import pytest

from ledger.errors import StateError
from ledger.reservation import start
from tests.world import World

FIRST, SECOND, THIRD = "20260101", "20260102", "20260103"


def live(world: World) -> list[tuple]:
    return world.query("SELECT frame_id, identity, late FROM frame_id WHERE status = 'live' ORDER BY frame_id")


def in_order(world: World) -> bool:
    rows = world.query("SELECT COUNT(*), SUM(disorder), MAX(number) FROM id_order")
    return rows[0][1] == 0 and rows[0][0] == rows[0][2]


@pytest.fixture
def nights(world: World) -> World:
    world.simulate_two(FIRST, SECOND)
    return world


def test_numbers_go_on_from_night_to_night(nights):
    assert nights.advance(FIRST, to="identified").succeeded
    assert nights.advance(SECOND, to="identified").succeeded
    assert in_order(nights)
    assert live(nights)[0][0] == "VMPA00000001"


def test_the_gate_waits_for_the_earlier_night(nights):
    result = nights.advance(SECOND)
    assert "the earlier night 20260101 was never scanned" in result.stopped
    assert "ledger advance --date 20260101" in result.stopped
    assert set(result.states) == {"synced"}
    assert not (nights.folder / "archive" / SECOND / "vgen2").exists()
    assert nights.machine().scan(nights.night(FIRST)).succeeded
    assert "has no frame IDs yet" in nights.advance(SECOND).stopped
    assert nights.advance(FIRST, to="fixed").succeeded
    assert "has no frame IDs yet" in nights.advance(SECOND).stopped
    assert nights.advance(FIRST, to="identified").succeeded
    assert nights.advance(SECOND).succeeded
    assert in_order(nights)


def test_an_excluded_night_does_not_block(nights):
    folder = nights.night(FIRST)
    nights.store().exclude("archive", folder.root, FIRST, "dome tests")
    assert nights.advance(SECOND).succeeded
    nights.store().exclude("archive", folder.root, FIRST, None)
    assert "older than frame IDs that are taken" in str(nights.advance(FIRST).stopped)


def test_a_night_of_nothing_but_quarantine_does_not_block(world):
    world.simulate(FIRST, scale=0.02, scenario=("bad",))
    for path in (world.folder / "archive" / FIRST).glob("vcam*/*.txt"):
        path.unlink()
    world.simulate(SECOND, scale=0.02, scenario=("pdi",))
    assert world.machine().scan(world.night(FIRST)).succeeded
    assert world.advance(SECOND).succeeded


def test_the_same_product_has_the_same_id(nights):
    assert nights.advance(FIRST, to="identified").succeeded
    assert nights.advance(SECOND, to="identified").succeeded
    before = live(nights)
    assert nights.rollback(FIRST).succeeded
    assert live(nights) == before
    assert nights.advance(FIRST, to="identified").succeeded
    assert live(nights) == before


def change_products(world: World) -> None:
    world.data["states"]["synced"]["parameters"]["enforce_pairs"] = False
    world.data["states"]["synced"]["parameters"]["polarity"] = "long_first"


def test_a_changed_newest_night_is_numbered_anew_without_a_gap(nights):
    assert nights.advance(FIRST, to="identified").succeeded
    assert nights.advance(SECOND, to="identified").succeeded
    before = live(nights)
    change_products(nights)
    assert nights.rollback(SECOND).succeeded
    assert nights.advance(SECOND, to="identified").succeeded
    after = live(nights)
    assert {i for _, i, _ in after} != {i for _, i, _ in before}
    assert in_order(nights)
    events = {event for (event,) in nights.query("SELECT DISTINCT event FROM entry")}
    assert {"assigned", "withdrawn", "reclaimed"} <= events


def test_a_changed_older_night_is_late(nights):
    assert nights.advance(FIRST, to="identified").succeeded
    assert nights.advance(SECOND, to="identified").succeeded
    numbers = [frame_id for frame_id, _, _ in live(nights)]
    change_products(nights)
    assert nights.rollback(FIRST).succeeded
    result = nights.advance(FIRST)
    assert f"ledger advance --date {FIRST} --late --reason" in result.stopped
    assert set(result.states) == {"synced"}  # and no disk is spent
    assert [frame_id for frame_id, _, _ in live(nights)] == numbers  # refused as a whole
    assert nights.advance(FIRST, late_reason="the polarity was wrong").succeeded
    late = [frame_id for frame_id, _, is_late in live(nights) if is_late]
    assert late
    assert min(late) > max(numbers)
    assert nights.query("SELECT SUM(disorder) FROM id_order") == [(0,)]
    audit = nights.run("audit")
    assert audit.returncode == 0, audit.stdout


def test_manifested_numbers_are_never_used_again(world):
    world.simulate(FIRST, scale=0.02, scenario=("pdi",))
    assert world.advance(FIRST).succeeded
    first = {frame_id for frame_id, _, _ in live(world)}
    change_products(world)
    assert world.rollback(FIRST).succeeded
    assert "--late --reason" in world.advance(FIRST).stopped  # what was manifested keeps its number
    assert world.advance(FIRST, late_reason="the polarity was wrong").succeeded
    withdrawn = {frame_id for (frame_id,) in world.query("SELECT frame_id FROM frame_id WHERE status = 'withdrawn'")}
    assert withdrawn
    assert withdrawn <= first
    fresh = {frame_id for frame_id, _, _ in live(world)} - first
    assert min(fresh) > max(first)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (None, r"2 left of its own; the last is 99999999; a new prefix is needed \(instrument.prefix\)"),
        (69_999_999, r"the last is 69999999 \(ids.last_number: raise it if the observatory allows\); a new prefix"),
    ],
)
def test_the_numbers_run_out(world, last, message):
    world.simulate(FIRST, scale=0.02, scenario=("pdi",))
    world.data["ids"] = {"last_number": last}
    start(world.store(), world.config, "VMPA", (last or 99_999_999) - 1, is_sure=True)
    with pytest.raises(StateError, match=message):
        world.advance(FIRST)
    assert live(world) == []
    assert not (world.folder / "archive" / FIRST / "vgen2").exists()
