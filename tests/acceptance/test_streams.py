"""Standard streams that are closed, full or left by their reader: the work is done, and what is said is true."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from subprocess import CompletedProcess

import pytest

from tests.world import DATE, World

CLOSED = {"errors": "2>&-", "output": ">&-", "input": "<&-", "all": "<&- >&- 2>&-"}
FULL = "/dev/full"


def started(world: World, redirections: str, *arguments: str) -> CompletedProcess[str]:
    """Run a command as a process that begins with these streams."""
    command = [sys.executable, "-m", "ledger.cli", "--config", str(world.config_path), *arguments]
    script = f'{{ "$@"; echo $? > status; }} {redirections}'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *command], cwd=world.folder, capture_output=True, text=True, timeout=300, check=False
    )
    done.returncode = int((world.folder / "status").read_text())  # of the ledger, also in a pipeline
    return done


def log(world: World) -> str:
    return (world.folder / "ledger.log").read_text()


def check_whole(world: World) -> None:
    """Check that nothing was written into the database but by SQLite."""
    with closing(sqlite3.connect(world.url.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.fixture
def night(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    return sqlite_world


@pytest.mark.parametrize("closed", CLOSED)
def test_with_streams_that_are_closed_the_work_is_done(night, closed):
    night.data["engine"] = {"executor": "processes", "workers": 2}
    done = started(night, CLOSED[closed], "catch-up")
    assert done.returncode == 0, done.stdout + done.stderr
    assert night.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("manifested",)]
    check_whole(night)
    assert "manifested: " in log(night)
    said = f"night {DATE} (archive): register "
    lost = [line for line in log(night).splitlines() if line.split(maxsplit=3)[3].startswith(said)]
    assert bool(lost) == (closed in ("output", "all"))
    assert (said in done.stdout) == (closed in ("errors", "input"))
    for command in (("status", "--json"), ("ids", "check"), ("doctor",)):
        looked = started(night, CLOSED[closed], *command)
        assert looked.returncode == 0, (command, looked)
        assert bool(looked.stdout) == (closed in ("errors", "input")), command


def test_whom_nobody_can_ask_nothing_is_done_and_the_log_has_why(night):
    assert night.advance(to="synced").succeeded
    refused = started(night, CLOSED["all"], "rollback", "--date", DATE)
    assert refused.returncode == 2
    assert "ledger: rollback was not confirmed: expected a terminal to ask on, or --yes" in log(night)
    assert night.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("synced",)]
    check_whole(night)


@pytest.mark.parametrize("arguments", [("status",), ("status", "--json"), ("sql", "SELECT name FROM state")])
def test_what_only_prints_fails_on_a_full_device(sqlite_world, arguments):
    done = started(sqlite_world, f">{FULL}", *arguments)
    assert done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("ledger: "))
    assert line.startswith("ledger: standard output: No space left on device")
    assert "Traceback" not in done.stderr


def test_work_that_cannot_be_told_is_done(night):
    done = started(night, f">{FULL}", "catch-up")
    assert done.returncode == 1
    assert night.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("manifested",)]
    assert "Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("ledger: "))
    assert "standard output: No space left on device; the work is done, but not all of its output was written" in line
    assert f"night {DATE} (archive): register" in log(night)


@pytest.mark.parametrize("redirections", [f"2>{FULL}", f">{FULL} 2>{FULL}", "| true", "2>&1 | true"])
def test_no_stream_that_breaks_keeps_nights_from_going_on(night, redirections):
    """Nor the later ones of a catch-up, after what is told of the first."""
    night.simulate("20260103", seed=1, scale=0.02, scenario=("onecamera",))
    done = started(night, redirections, "catch-up")
    assert done.returncode == (1 if redirections.startswith(">") else 0)
    assert night.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("manifested",)]
    assert night.query("SELECT COUNT(*) FROM manifest") == [(2,)]


def test_a_log_that_is_full_is_told_once_and_the_work_is_done(night):
    night.data["log"] = FULL
    done = started(night, "", "advance", "--date", DATE)
    assert done.returncode == 0, done.stderr
    assert night.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("manifested",)]
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("ledger: "))
    assert line == f"ledger: log '{FULL}': No space left on device; the work goes on without it"
    assert "Traceback" not in done.stderr
