"""`ledger doctor`: what keeps the ledger from working is told with what to do, and nothing is changed."""

import json
import os
import socket
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import text

from ledger.audit import doctor
from ledger.db.processes import boot_id
from ledger.disk.dates import Dates
from ledger.night import record
from ledger.night.lease import Lease
from ledger.run.hold import leftovers
from tests.acceptance.crash_night import CrashNight, chosen, directions
from tests.acceptance.faults import kill, run
from tests.inside import call
from tests.world import DATE, World


@pytest.fixture
def night(world: World) -> World:
    world.simulate(scale=0.02, scenario=("pdi",))
    return world


@pytest.fixture
def sqlite_night(sqlite_world: World) -> World:
    """Return a night of which the doctor looks at disks only."""
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    return sqlite_world


def problems(world: World) -> dict[str, str]:
    """Return subject and text of what needs somebody."""
    return {f.subject: f.text for f in doctor.examine(world.config) if f.verdict == "problem"}


def test_nothing_is_wrong(night):
    assert call(night, "doctor").returncode == 0
    assert night.advance().succeeded
    ran = call(night, "doctor", "--date", DATE)
    assert ran.returncode == 0, ran.stdout
    assert "problems: 0, notes: 1" in ran.stdout  # backups are off
    subjects = {finding["subject"] for finding in json.loads(call(night, "doctor", "--json").stdout)}
    expected = {"software", "archive.root", "destination of archive", "log", "database", "backups", "frame IDs"}
    assert expected <= subjects


@pytest.mark.parametrize("place", ["archive.root", "destination of archive"])
def test_a_place_that_is_not_there(sqlite_night, place):
    folder = sqlite_night.destination if "destination" in place else sqlite_night.folder / "archive"
    folder.rename(folder.with_name("elsewhere"))
    found = problems(sqlite_night)
    assert f"{folder}: no such folder" in found[place]
    assert call(sqlite_night, "doctor").returncode == 1


def test_a_disk_that_is_short(sqlite_night):
    sqlite_night.data["space"]["keep_free_mb"] = 1e12
    assert set(problems(sqlite_night)) >= {"archive.root", "destination of archive"}


def test_a_log_and_backups_that_cannot_be_written(sqlite_night):
    (sqlite_night.folder / "in the way").write_text("")
    sqlite_night.data["log"] = str(sqlite_night.folder / "in the way/ledger.log")
    sqlite_night.data["backup"].update(automatic=True, folder=str(sqlite_night.folder / "in the way"))
    found = problems(sqlite_night)
    assert "cannot be written" in found["log"]
    assert "cannot be written" in found["backup.folder"]


def test_a_database_that_is_not_there(sqlite_world, tmp_path):
    world = sqlite_world
    world.data["database"]["url"] = f"sqlite:///{tmp_path / 'none.db'}"
    assert "run `ledger init` first" in problems(world)["database"]
    assert not (tmp_path / "none.db").exists()


def test_a_database_that_is_damaged(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring()
    world.close()
    path = world.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_entry_identity'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with open(path, "r+b") as file:  # noqa: PTH123  to seek in
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    assert "is damaged" in problems(world)["database"]
    ran = call(world, "history", "VMPA00000001")
    assert ran.returncode == 1
    assert "damaged" in ran.stderr
    assert "ledger backup --restore" in ran.stderr


def test_states_that_were_not_declared(night):
    night.data["archive"]["states"].remove("manifested")
    del night.data["states"]["manifested"]
    assert "run `ledger init` to declare them" in problems(night)["database"]


def test_of_a_new_ledger_there_is_nothing_to_back_up(sqlite_world):
    sqlite_world.data["backup"]["automatic"] = True
    assert problems(sqlite_world) == {}
    assert "ledger backup" not in call(sqlite_world, "doctor").stdout


def test_a_rebuilt_ledger_has_numbers_left_and_waits_for_a_word(sqlite_night, tmp_path):
    sqlite_night.bring()
    sqlite_night.close()
    sqlite_night.data["database"]["url"] = f"sqlite:///{tmp_path}/rebuilt.db"
    assert call(sqlite_night, "rebuild").returncode == 0
    told = problems(sqlite_night)["frame IDs"]
    assert told == "none is given until somebody has said where the sequence goes on"
    assert told in call(sqlite_night, "ids", "next").stdout


def test_backups_that_lag_behind(night):
    night.data["backup"]["automatic"] = True
    night.bring()
    assert "there is none of the last" in problems(night)["backups"]
    assert call(night, "backup").returncode == 0
    assert problems(night) == {}
    assert night.rollback(to="fixed").succeeded
    assert "lacks the last" in problems(night)["backups"]


def test_numbers_that_somebody_else_has_given(sqlite_night):
    (sqlite_night.destination / "20250101/vgen2").mkdir(parents=True)
    (sqlite_night.destination / "20250101/vgen2/VMPA00000007.fits.fz").write_text("of before")
    assert "VMPA00000007 is in use" in problems(sqlite_night)["frame IDs"]


def test_a_night_that_a_run_holds(night):
    night.bring(to="synced")
    store = night.store()
    run_id = store.begin_run("advance", {})
    with Lease(store, record.find_night(store, "archive", DATE), run_id):
        (found,) = [f for f in doctor.examine(night.config) if f.subject.startswith("night")]
    assert found.verdict == "note"
    assert f"run {run_id} (`ledger advance`, process {os.getpid()} on {socket.gethostname()}) works on it" in found.text
    assert boot_id() or not os.path.exists("/proc")  # noqa: PTH110


def test_products_that_need_somebody(night):
    night.bring(to="consolidated")
    cubes = sorted((night.night().path / "vgen2").glob("*.fits"))
    cubes[0].write_bytes(b"short")
    cubes[1].rename(cubes[1].with_suffix(".away"))
    assert not night.advance().succeeded
    found = {f.verdict: f for f in doctor.examine(night.config) if f.subject.startswith("night")}
    assert "1 product in quarantine" in found["problem"].text
    assert f"ledger quarantine list --date {DATE}" in found["problem"].remedy
    assert "1 product failed and will be tried again" in found["note"].text


@directions
def test_what_a_dead_run_left_is_what_the_next_run_settles(sqlite_world, direction):
    """It is said before, nothing is changed by saying it, and the next run does just that.

    On one database: what a dead run leaves on both is what the crash matrix settles.
    """
    world = sqlite_world
    night = CrashNight(world, direction)
    store, told = world.store(), 0
    for at in chosen(night.count(), 0, sample=5):
        night.begin()
        assert run(world, night.act, at, kill).said is None
        row = record.find_night(store, "archive", DATE)
        before = world.tree(), world.tree(world.destination), world.query("SELECT count(*) FROM entry")
        left = leftovers(world.machine(), world.night(), row)
        shown = [f.text for f in doctor.examine(world.config, dates=Dates([DATE])) if f.subject.startswith("night")]
        assert (world.tree(), world.tree(world.destination), world.query("SELECT count(*) FROM entry")) == before
        settled = set(world.advance().settled)
        ours = {f"{path.name}: left behind, removed" for path in left.files}
        for step in left.steps:
            if step.remedy != "an advance repeats it, a rollback undoes it":
                ours |= {f"{p.name}: {p.edge} had begun and not ended" for p in step.pending}
        assert ours == settled, at
        assert len(shown) == len(left.steps) + len(left.files), shown
        told += len(shown)
        with store.read() as session:
            assert session.execute(text("SELECT count(*) FROM run WHERE ended_us IS NULL")).scalar() == 0
    assert told > 5
