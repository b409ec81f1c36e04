"""When catch-up ran last and how it ended, and what a monitor is told."""

import socket

import pytest

from ledger.clock import show_us
from ledger.night.pipeline import pipelines
from ledger.query.unattended import Verdict, check
from tests.inside import call
from tests.world import DATE, World

HOST = socket.gethostname()
HOUR_US = 3_600_000_000


@pytest.fixture
def night(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    return sqlite_world


def last_line(world: World) -> str:
    done = call(world, "status")
    assert done.returncode == 0
    return done.stderr.splitlines()[-1]


def began_us(world: World) -> int:
    ((at_us,),) = world.query("SELECT max(started_us) FROM run WHERE command = 'catch-up'")
    return int(at_us)


def test_the_last_line_of_status(night):
    assert last_line(night) == "catch-up has not run yet"
    assert call(night, "catch-up").returncode == 0
    ((first_us,),) = night.query("SELECT min(started_us) FROM run WHERE command = 'catch-up'")
    assert last_line(night) == f"catch-up ran last at {show_us(first_us)} UT on {HOST}, and ended in order"
    (night.folder / "archive").rename(night.folder / "elsewhere")
    assert call(night, "catch-up").returncode == 2
    (night.folder / "elsewhere").rename(night.folder / "archive")
    assert last_line(night) == f"catch-up ran last at {show_us(began_us(night))} UT on {HOST}, and ended with 2"


def test_a_catch_up_that_has_no_end_runs_or_was_killed(night):
    store = night.store()
    run_id = store.begin_run("catch-up", {})
    assert last_line(night).endswith("it runs, or was killed")
    with store.write() as session:
        session.connection().exec_driver_sql(f"UPDATE run SET boot = 'before' WHERE id = {run_id}")
    assert call(night, "catch-up").returncode == 0
    assert night.query(f"SELECT exit_status, ended_us IS NULL FROM run WHERE id = {run_id}") == [(-1, 0)]


# for monitors


def checked(world: World, at_us: int) -> Verdict:
    return check(world.config, pipelines(world.config), at_us)


def test_in_order(world):
    world.simulate(scale=0.02, scenario=("pdi",))
    assert call(world, "catch-up").returncode == 0
    done = call(world, "status", "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("in order: catch-up ran last at ")
    assert done.stdout.count("\n") == 1


def test_a_night_that_needs_a_person(night):
    for path in night.night().path.glob("vcam*/*.txt"):
        path.unlink()
    (night.folder / "archive/20260107b").mkdir()
    assert call(night, "catch-up").returncode == 0
    done = call(night, "status", "--check")
    assert done.returncode == 1
    assert done.stdout.startswith("stray: archive.root, ")
    assert done.stdout.endswith("; and 1 more problem: `ledger doctor`\n")
    (night.folder / "archive/20260107b").rmdir()
    done = call(night, "status", "--check")
    assert done.returncode == 1
    assert done.stdout.startswith(f"quarantined: night {DATE} (archive): ")


def test_a_catch_up_that_failed(night):
    (night.destination / DATE).write_text("whose?")
    assert call(night, "catch-up").returncode == 1
    done = call(night, "status", "--check")
    assert (done.returncode, done.stdout.split(" ")[0]) == (1, "failed:")


def test_stale(night):
    night.data["notify"]["stalled_hours"] = 48
    night.advance()
    assert checked(night, night.now_us) == Verdict(2, "stale: catch-up has not run yet")
    assert call(night, "catch-up").returncode == 0
    assert checked(night, began_us(night) + 47 * HOUR_US).exit_status == 0
    stale = checked(night, began_us(night) + 49 * HOUR_US)
    assert (stale.exit_status, stale.text.split(" ")[0]) == (2, "stale:")


@pytest.mark.parametrize("what", ["database", "root", "configuration"])
def test_broken(night, what):
    if what == "database":
        night.data["database"]["url"] = f"sqlite:///{night.folder}/none.db"
    elif what == "root":
        (night.folder / "archive").rename(night.folder / "elsewhere")
    else:
        night.data["archive"]["rooot"] = night.data["archives"] = "x"
    done = call(night, "status", "--check")
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith("broken: ")
    assert done.stdout.count("\n") == 1


def test_a_check_is_of_all(night):
    assert call(night, "status", "--check", "--date", DATE).returncode == 2
