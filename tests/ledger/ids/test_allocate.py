"""One sequence, in order of time, whatever happens."""

import pytest

from ledger.errors import StateError, UsageError
from ledger.ids.reservation import start
from ledger.night import record
from ledger.run.plan import plan_advance
from tests.inside import call
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
    nights.bring(FIRST, to="identified")
    nights.bring(SECOND, to="identified")
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
    record.exclude(nights.store(), "archive", folder.root, FIRST, "dome tests")
    assert nights.advance(SECOND).succeeded
    record.exclude(nights.store(), "archive", folder.root, FIRST, None)
    assert "older than frame IDs that are taken" in str(nights.advance(FIRST).stopped)


def test_a_night_of_nothing_but_quarantine_does_not_block(world):
    world.simulate(FIRST, scale=0.02, scenario=("bad",))
    for path in (world.folder / "archive" / FIRST).glob("vcam*/*.txt"):
        path.unlink()
    world.simulate(SECOND, scale=0.02, scenario=("pdi",))
    assert world.machine().scan(world.night(FIRST)).succeeded
    assert world.advance(SECOND).succeeded


def test_the_same_product_has_the_same_id(nights):
    nights.bring(FIRST, to="identified")
    nights.bring(SECOND, to="identified")
    before = live(nights)
    assert nights.rollback(FIRST).succeeded
    assert live(nights) == before
    assert nights.advance(FIRST, to="identified").succeeded
    assert live(nights) == before


def change_products(world: World) -> None:
    world.data["states"]["synced"]["parameters"]["enforce_pairs"] = False
    world.data["states"]["synced"]["parameters"]["polarity"] = "long_first"


def test_a_changed_newest_night_is_numbered_anew_without_a_gap(nights):
    nights.bring(FIRST, to="identified")
    nights.bring(SECOND, to="identified")
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
    nights.bring(FIRST, to="identified")
    nights.bring(SECOND, to="identified")
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
    audit = call(nights, "audit")
    assert audit.returncode == 0, audit.stdout


def test_manifested_numbers_are_never_used_again(world):
    world.simulate(FIRST, scale=0.02, scenario=("pdi",))
    world.bring(FIRST)
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


# a numbered night whose raw files were put right


@pytest.fixture
def put_right(world):
    """Return a numbered night of which a camera's timing file came back since, and that was rolled back."""
    world.simulate(FIRST, scale=0.02, scenario=("slow",))
    timing = sorted((world.folder / "archive" / FIRST / "vcam1").glob("*.txt"))[1]
    content = timing.read_bytes()
    timing.unlink()
    world.begin()
    world.bring(FIRST, to="identified")
    assert world.query("SELECT COUNT(*) FROM file WHERE kind = 'product' AND NOT synchronised") != [(0,)]
    timing.write_bytes(content)
    assert world.rollback(FIRST).succeeded
    return world


def unpaired(world: World) -> int:
    ((n,),) = world.query(
        "SELECT COUNT(*) FROM file JOIN night ON night.id = file.night_id"
        f" WHERE date = '{FIRST}' AND kind = 'product' AND NOT synchronised"
    )
    return n


def test_what_comes_to_a_numbered_night_is_not_paired_and_the_way_is_told(put_right):
    before = live(put_right)
    result = put_right.advance(FIRST, to="synced")
    (note,) = result.notes
    assert note.startswith("1 raw file came after the night was numbered")
    assert "--anew" in note
    assert unpaired(put_right)
    assert live(put_right) == before
    with pytest.raises(UsageError, match="ledger rollback"):
        put_right.advance(FIRST, anew=True)
    with pytest.raises(UsageError, match="ledger rollback"):
        plan_advance(put_right.machine(), put_right.night(FIRST), None, anew=True)
    assert put_right.rollback(FIRST).succeeded
    assert put_right.advance(FIRST, to="synced").notes == [note]


def test_paired_anew_every_frame_has_its_partner_and_ids_are_in_order(put_right):
    before = live(put_right)
    planned = plan_advance(put_right.machine(), put_right.night(FIRST), "identified", anew=True)
    result = put_right.advance(FIRST, to="identified", anew=True)
    assert result.succeeded
    assert not result.notes
    assert [step.files for step in planned.steps if step.state == "identified"] == [result.moved["identify"]]
    assert unpaired(put_right) == 0
    assert live(put_right) != before
    assert in_order(put_right)
    assert audit_is_clean(put_right)
    again = live(put_right)
    assert put_right.rollback(FIRST).succeeded
    assert put_right.advance(FIRST, to="identified").succeeded  # the new pairing is the night's own now
    assert live(put_right) == again
    assert unpaired(put_right) == 0


def test_paired_anew_when_later_nights_are_numbered_is_late(put_right):
    put_right.simulate(SECOND, scale=0.02, scenario=("pdi",))
    put_right.bring(FIRST, to="synced")
    put_right.bring(FIRST, to="identified", late_reason="txt came back")
    put_right.bring(SECOND, to="identified")
    assert put_right.rollback(FIRST).succeeded
    assert "--late --reason" in put_right.advance(FIRST, to="identified", anew=True).stopped
    withdrawn = put_right.query("SELECT COUNT(*) FROM frame_id WHERE status = 'withdrawn'")
    assert put_right.advance(FIRST, to="identified", late_reason="txt came back").succeeded
    assert unpaired(put_right) == 0
    assert put_right.query("SELECT COUNT(*) FROM frame_id WHERE status = 'withdrawn'") > withdrawn
    assert put_right.query("SELECT SUM(disorder) FROM id_order") == [(0,)]


def audit_is_clean(world: World) -> bool:
    done = call(world, "audit")
    return done.returncode == 0


def test_calibrations_of_the_morning_are_appended_without_a_word(world):
    world.simulate(FIRST, scale=0.02, scenario=("slow", "onecamera"))
    folder = world.folder / "archive" / FIRST
    last = max(folder.glob("vcam*/*.fits"), key=lambda path: path.name.split("_")[1])
    content = {path: path.read_bytes() for path in (last, last.with_suffix(".txt"))}
    for path in content:
        path.unlink()
    assert world.advance(FIRST, to="identified").succeeded
    for path, data in content.items():
        path.write_bytes(data)
    result = world.advance(FIRST, to="identified")
    assert result.succeeded, result.stopped
    assert result.registered == 1
    assert not result.notes
