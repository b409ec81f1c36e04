"""`ledger doctor`: what needs a person is a problem, and what needs nobody is not."""

import shutil

import pytest

from ledger.audit import doctor
from ledger.audit.doctor import Finding
from tests.inside import call
from tests.world import DATE, World


@pytest.fixture
def night(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    return sqlite_world


def found(world: World, subject: str) -> list[Finding]:
    return [f for f in doctor.examine(world.config) if f.subject == subject and f.verdict != "ok"]


def test_a_night_of_which_all_is_in_quarantine(night):
    for path in night.night().path.glob("vcam*/*.txt"):
        path.unlink()
    night.advance()
    (told,) = found(night, f"night {DATE}")
    assert (told.verdict, told.remedy) == ("problem", f"`ledger quarantine list --date {DATE}`")
    assert call(night, "doctor", "--date", DATE).returncode == 1


def test_a_late_night(night):
    night.advance()
    night.simulate("20260101", scale=0.02, scenario=("onecamera",), seed=5)
    (told,) = found(night, "night 20260101")
    assert (told.verdict, "--late --reason TEXT" in told.remedy) == ("problem", True)


def test_a_stalled_night(night):
    night.advance(to="synced")
    assert found(night, f"night {DATE}") == []
    night.data["notify"]["stalled_hours"] = 1e-9
    with night.store().write() as session:  # the clock of the world is ahead
        session.connection().exec_driver_sql(
            "INSERT INTO entry (at_us, night_id, name, event, detail) SELECT 1, id, date, 'noted', '{}' FROM night"
        )
    (told,) = found(night, f"night {DATE}")
    assert (told.verdict, told.text.split(",")[0]) == ("problem", "it is synced")


def test_what_is_gone_and_strays(night):
    night.advance(to="synced")
    (night.folder / "archive/20260107b").mkdir()
    shutil.copytree(night.night().path, night.folder / "archive/20260103")
    shutil.rmtree(night.night().path)
    (told,) = [f for f in found(night, f"night {DATE}") if "no such folder, and it is not finished" in f.text]
    assert told.verdict == "problem"
    (told,) = found(night, "archive.root")
    assert (told.verdict, "20260107b" in told.text, told.remedy != "") == ("problem", True, True)


def test_what_is_said_of_a_night_already_is_not_said_again(night):
    night.advance(to="consolidated")
    next((night.night().path / "vgen2").glob("*.fits")).write_bytes(b"short")
    night.advance()
    (told,) = found(night, f"night {DATE}")
    assert told.text == "1 product in quarantine"


# backups


@pytest.mark.parametrize("who", ["killed", "killed after another night", "nobody"])
def test_a_lag_that_only_a_killed_run_has_left_needs_nobody(world, who):
    world.data["backup"]["automatic"] = True
    world.simulate(scale=0.02, scenario=("pdi",))
    world.advance(to="synced")
    if who != "nobody":
        run_id = world.store().begin_run("advance", {"date": "20260103"})
        with world.store().write() as session:
            session.connection().exec_driver_sql("UPDATE run SET boot = 'before'")
            if who == "killed":
                session.connection().exec_driver_sql(f"DELETE FROM run WHERE id = {run_id}")
                session.connection().exec_driver_sql("UPDATE run SET ended_us = NULL")
    (told,) = found(world, "backups")
    if who == "nobody":
        remedy = "run `ledger backup`: it makes one, or says what keeps it from being made"
        assert (told.verdict, told.remedy) == ("problem", remedy)
    else:
        assert (told.verdict, told.remedy) == ("note", "the next run, or `ledger backup`, makes it")
    assert call(world, "backup").returncode == 0
    assert found(world, "backups") == []
