"""The database that a rebuilt ledger is written to, and the sequence in it."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ledger.db import backup
from ledger.errors import Interrupted, UsageError
from ledger.report import Silent, Stop
from ledger.rescue.rebuild import rebuild
from tests.inside import call
from tests.ledger.db.test_backup import fresh
from tests.ledger.rescue.lost import facts, lose
from tests.world import DATE


def test_the_sequence_goes_on_above_what_backups_know(night, new_url):
    world = night
    world.data["backup"]["automatic"] = True
    world.bring()
    assert call(world, "ids", "start", "VMPA", "500").returncode == 0
    backup.make(world.store(), world.config)
    made = lose(world, new_url)
    assert made.lowest_id == "VMPA00000500"
    assert world.query("SELECT next_number FROM frame_sequence") == [(500,)]
    assert backup.why_outdated(world.store(), world.config) is None
    assert call(world, "audit").returncode == 0


def test_a_database_with_runs_is_not_replaced(night):
    world = night
    world.bring()
    before = facts(world)
    with pytest.raises(UsageError, match="runs on record"):
        rebuild(world.config)
    assert facts(world) == before


def test_a_database_that_somebody_began_meanwhile_is_not_replaced(night, other_url):
    world = night
    world.bring()
    fresh(world, other_url)

    class Visitor(Silent):
        def phase(self, name: str, total: int) -> None:  # noqa: ARG002
            if name.endswith("copies"):
                assert world.run("init", "--new").returncode == 0
                world.store().begin_run("scan", {})

    with pytest.raises(UsageError, match="1 runs on record"):
        rebuild(world.config, reporter=Visitor())
    assert world.query("SELECT command FROM run") == [("scan",)]


def test_the_command_says_what_it_did_and_what_is_lost(night, new_url):
    world = night
    world.bring()
    fresh(world, new_url)
    done = call(world, "rebuild")
    assert done.returncode == 0, done.stderr
    assert "manifested" in done.stdout
    assert "lost" in done.stdout
    assert call(world, "audit").returncode == 0
    again = call(world, "rebuild")
    assert again.returncode == 2
    assert "runs on record" in again.stderr
    assert "restored=1" in call(world, "history", "VMPA00000001").stdout


@pytest.mark.parametrize("phase", ["timing", "products", "copies"])
def test_one_that_is_stopped_leaves_no_database(night, new_url, phase):
    world = night
    world.bring()
    fresh(world, new_url)
    stop = Stop()

    class Stopping(Silent):
        def phase(self, name: str, total: int) -> None:  # noqa: ARG002
            if name.endswith(phase):
                stop.signal_number = 15

    with pytest.raises(Interrupted):
        rebuild(world.config, stop=stop, reporter=Stopping())
    path = Path(new_url.removeprefix("sqlite:///"))
    assert not path.exists()
    assert not list(path.parent.glob(".ledger-*"))
    assert rebuild(world.config).succeeded


def test_somebody_who_has_the_database_open_is_not_written_over(night, new_url):
    world = night
    world.bring()
    before = facts(world)
    fresh(world, new_url)
    assert call(world, "init", "--new").returncode == 0
    path = new_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as other:
        other.execute("SELECT count(*) FROM run").fetchall()
        done = call(world, "rebuild")
        assert done.returncode == 1
        assert "open" in done.stderr
        assert other.execute("SELECT count(*) FROM run").fetchall() == [(0,)]
    done = call(world, "rebuild")
    assert done.returncode == 0, done.stderr
    assert facts(world) == before


def test_a_journal_of_the_empty_database_does_no_harm(night, new_url):
    """Whoever had it open was killed: its journal is still there."""
    world = night
    world.bring()
    before = facts(world)
    fresh(world, new_url)
    path = Path(new_url.removeprefix("sqlite:///"))
    script = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA journal_mode = WAL');"
        " c.execute('CREATE TABLE alembic_version (version_num)'); c.commit(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True)
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0
    assert rebuild(world.config, clock=lambda: world.now_us).succeeded
    assert facts(world) == before
    with closing(sqlite3.connect(path)) as made:
        assert made.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_two_at_once_make_one_database(night, new_url):
    world = night
    world.bring()
    before = facts(world)
    fresh(world, new_url)
    others = []

    class Second(Silent):
        def phase(self, name: str, total: int) -> None:  # noqa: ARG002
            if name.endswith("copies") and not others:
                others.append(call(world, "rebuild").returncode)

    with pytest.raises(UsageError, match="runs on record"):
        rebuild(world.config, reporter=Second())
    assert others == [0]
    assert facts(world) == before


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"garbage" * 5000, "damaged, or no database"), (None, "no file"), (b"", None)],
    ids=["garbage", "folder", "empty"],
)
def test_what_is_in_the_place_of_the_database_is_left_alone(night, new_url, content, told):
    world = night
    world.bring()
    fresh(world, new_url)
    path = Path(new_url.removeprefix("sqlite:///"))
    path.mkdir() if content is None else path.write_bytes(content)
    done = call(world, "rebuild")
    assert done.returncode == (2 if told else 0)
    assert str(told) in done.stderr or told is None
    assert "raw: " not in done.stderr or told is None, "refused before any work"
    assert path.is_dir() or path.read_bytes() == content or told is None


def test_tables_of_somebody_else_are_left_alone(night, new_url):
    world = night
    world.bring()
    with closing(sqlite3.connect(new_url.removeprefix("sqlite:///"))) as other:
        other.execute("CREATE TABLE precious (x)")
        other.commit()
    with pytest.raises(UsageError, match="precious"):
        lose(world, new_url)


def test_the_highest_number_of_all_backups_counts(night, new_url):
    world = night
    world.data["backup"]["automatic"] = True
    assert call(world, "ids", "start", "VMPA", "500").returncode == 0
    fresh(world, f"{new_url}.begun-anew")
    assert call(world, "init", "--new").returncode == 0
    assert call(world, "scan", "--date", DATE).returncode == 0
    newest = backup.found(world.config)[-1]
    newest.path.with_name(newest.path.name.replace(f"{newest.last_entry:012d}", f"{10**6:012d}")).write_bytes(
        b"?" * 999
    )
    assert len({found.path.parent for found in backup.found(world.config)}) == 2
    assert lose(world, new_url).lowest_id == "VMPA00000500"
