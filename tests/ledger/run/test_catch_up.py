"""catch-up: every unfinished night, oldest first, left alone where it must be, silent when there is nothing to do."""

import os
from datetime import UTC, datetime

import pytest

from ledger.audit import doctor
from ledger.audit.doctor import Finding
from ledger.clock import show_us
from ledger.night import record
from ledger.night.lease import Lease
from ledger.run.catch_up import catch_up
from tests.inside import call
from tests.world import World

NIGHTS = ("20260102", "20260103", "20260104")


def caught_up(world: World) -> list[tuple[str, str, object]]:
    """Return pipeline, date and outcome of every night that is worth a word."""
    return [(night.pipeline, night.date, outcome) for night, outcome in catch_up(world.machine())]


@pytest.fixture
def three(sqlite_world: World) -> World:
    for date in NIGHTS:
        sqlite_world.simulate(date, scale=0.02, scenario=("onecamera",))
    return sqlite_world


@pytest.fixture
def two(sqlite_world: World) -> World:
    """Return the last night, and one before it."""
    for date in NIGHTS[1:]:
        sqlite_world.simulate(date, scale=0.02, scenario=("onecamera",))
    return sqlite_world


def last_frame_us(world: World, date: str) -> int:
    return max(p.stat().st_mtime_ns for p in (world.folder / "archive" / date).rglob("*.fits")) // 1000


def test_all_nights_oldest_first_and_then_silence(three):
    three.simulate("20260103", scale=0.02, scenario=("untriggered",), pipeline="engineering")
    done = call(three, "catch-up")
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("night")]
    expected = ["20260102 (archive)", "20260103 (archive)", "20260103 (engineering)", "20260104 (archive)"]
    assert [line.removeprefix("night ").split(":")[0] for line in told] == expected
    order = three.query(
        "SELECT night.date FROM frame_id JOIN night ON night.id = frame_id.night_id ORDER BY frame_id.number"
    )
    assert [date for (date,) in order] == sorted(date for (date,) in order)
    of_nights = "SELECT id FROM run WHERE CAST(arguments AS TEXT) <> '{}'"
    runs, entries = three.query(of_nights), three.query("SELECT count(*) FROM entry")
    again = call(three, "catch-up")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert (three.query(of_nights), three.query("SELECT count(*) FROM entry")) == (runs, entries)


def test_nothing_at_all_to_do_is_silent(sqlite_world):
    done = call(sqlite_world, "catch-up")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_night_whose_date_has_not_ended_is_left_alone(three):
    three.now_us = last_frame_us(three, "20260104") + 6 * 3_600_000_000  # settled long ago, and still that UT date
    assert datetime.fromtimestamp(three.now_us / 1e6, tz=UTC).strftime("%Y%m%d") == "20260104"
    assert [date for _, date, _ in caught_up(three)] == ["20260102", "20260103"]
    assert three.query("SELECT date FROM night ORDER BY date") == [("20260102",), ("20260103",)]


def test_yesterdays_night_that_is_still_being_written_is_left_alone(three):
    midnight_us = 1_767_571_200_000_000  # 2026-01-05 00:00 UT
    newest = next((three.folder / "archive" / "20260104").rglob("*.fits"))
    os.utime(newest, ns=(midnight_us * 1000, midnight_us * 1000))
    three.now_us = midnight_us + 29 * 60_000_000
    assert [date for _, date, _ in caught_up(three)] == ["20260102", "20260103"]
    three.now_us = midnight_us + 31 * 60_000_000
    assert [date for _, date, _ in caught_up(three)] == ["20260104"]


def test_one_nights_failure_does_not_keep_the_others_from_being_tried(three):
    three.data["failures"]["retry_minutes"] = 0
    blocking = three.destination / "20260102"
    blocking.write_text("whose?")
    outcomes = {date: outcome for _, date, outcome in caught_up(three)}
    assert list(outcomes) == list(NIGHTS)
    assert not outcomes["20260102"].succeeded
    assert outcomes["20260103"].succeeded
    assert outcomes["20260104"].succeeded
    assert call(three, "catch-up").returncode == 1
    blocking.unlink()
    assert call(three, "catch-up").returncode == 0


def test_when_it_is_tried_again_is_said(three):
    (three.destination / "20260102").write_text("whose?")
    call(three, "catch-up")
    assert three.query("SELECT DISTINCT command FROM run") == [("catch-up",)]
    done = call(three, "catch-up")
    ((next_us,),) = three.query("SELECT min(next_retry_us) FROM file WHERE error IS NOT NULL")
    assert done.returncode == 1
    assert f"tried again from {show_us(next_us)} UT on, or at once by `ledger advance --date 20260102`" in done.stdout


def test_a_night_that_cannot_even_begin(three):
    blocking = three.folder / "archive" / "20260104" / "vgen2"
    blocking.write_text("whose?")
    three.simulate("20260105", scale=0.02, scenario=("onecamera",), pipeline="engineering")
    outcomes = {date: outcome for _, date, outcome in caught_up(three)}
    assert str(blocking) in outcomes["20260104"].stopped
    assert outcomes["20260105"].succeeded
    done = call(three, "catch-up")
    assert done.returncode == 1
    assert f"stopped      {blocking}" in done.stdout


def test_a_night_that_another_run_holds_is_left_to_it(three):
    machine = three.machine()
    night = record.ensure_night(machine.store, "archive", three.folder / "archive", "20260104")
    run_id = machine.store.begin_run("advance", {})
    with Lease(machine.store, night, run_id):
        assert [date for _, date, _ in caught_up(three)] == ["20260102", "20260103"]
    machine.store.end_run(run_id, 0, in_order=True)
    assert [date for _, date, _ in caught_up(three)] == ["20260104"]


def test_excluded_foreign_and_earlier_nights_are_left_alone(three):
    record.exclude(three.machine().store, "archive", three.folder / "archive", "20260103", "dome tests")
    foreign = three.folder / "archive" / "20260104" / "vgen2"
    foreign.mkdir()
    (foreign / "VMPA00000001.fits.fz").write_text("of another tool")
    three.data["archive"]["first_night"] = "20260103"
    assert caught_up(three) == []
    three.data["archive"]["first_night"] = None
    assert [date for _, date, _ in caught_up(three)] == ["20260102"]


# clocks that are ahead


@pytest.mark.parametrize(
    ("ahead_us", "growing", "salvage"),  # each two of them together
    [
        (31 * 60_000_000, ".fits", False),
        (31 * 60_000_000, ".txt", True),
        (19 * 365 * 86_400_000_000, ".fits", True),
        (19 * 365 * 86_400_000_000, ".txt", False),
        (400 * 365 * 86_400_000_000, ".fits", True),
        (400 * 365 * 86_400_000_000, ".txt", False),
    ],
)
def test_a_file_of_the_future_holds_nothing_up_and_is_told(two, salvage, growing, ahead_us):
    """How old it is cannot be known; 400 years are more nanoseconds than 64 bits hold."""
    two.data["salvage"] = salvage
    two.now_us = 1_767_571_200_000_000  # 2026-01-05 00:00 UT: the last night is of yesterday
    newest = max((two.folder / "archive" / "20260104" / "vcam1").glob(f"*{growing}"))
    future_us = two.now_us + ahead_us
    os.utime(newest, ns=(future_us * 1000, future_us * 1000))
    outcomes = {date: outcome for _, date, outcome in caught_up(two)}
    assert [outcomes[date].succeeded for date in NIGHTS[1:]] == [True] * 2
    (told,) = outcomes["20260104"].notes
    assert f"vcam1/{newest.stem}.fits was written at" in told
    assert "in the future" in told
    assert two.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("manifested",)]
    (found,) = (f for f in examine_nights(two) if "in the future" in f.text)
    assert (found.subject, found.verdict) == ("night 20260104", "note")
    assert newest.stem in found.text
    assert two.rollback("20260104", to="raw").succeeded
    assert two.advance("20260104").succeeded


def examine_nights(world: World) -> list[Finding]:
    return list(doctor._nights(world.machine(), None))


@pytest.mark.parametrize("salvage", [False, True])
def test_a_file_of_the_next_minutes_may_be_being_written(three, salvage):
    """The clock of who writes it is a little ahead."""
    three.data["salvage"] = salvage
    three.now_us = 1_767_571_200_000_000
    newest = max((three.folder / "archive" / "20260104" / "vcam1").glob("*.fits"))
    ahead_us = three.now_us + 29 * 60_000_000
    os.utime(newest, ns=(ahead_us * 1000, ahead_us * 1000))
    assert [date for _, date, _ in caught_up(three)] == ["20260102", "20260103"]
    three.now_us += 60 * 60_000_000
    assert [(date, outcome.notes) for _, date, outcome in caught_up(three)] == [("20260104", [])]


def test_a_night_of_the_future_is_an_error_and_not_silence(three):
    three.now_us = 1_767_400_000_000_000  # 2026-01-03 00:26 UT: the clock is behind, or the folder's name is wrong
    three.simulate("20620102", scale=0.02, scenario=("onecamera",))
    outcomes = {date: outcome for _, date, outcome in caught_up(three)}
    assert list(outcomes) == ["20260102", "20620102"]  # tomorrow's is nothing to speak of
    assert "20620102 is of the future: it is 20260103 by the clock of this machine" in str(outcomes["20620102"])
    assert three.query("SELECT date FROM night") == [("20260102",)]
