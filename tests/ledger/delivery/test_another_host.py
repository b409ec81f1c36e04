"""A whole night whose destination is on another host: a real sshd and rsync."""

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from ledger.audit import doctor
from ledger.audit.deep import audit_deeply
from ledger.db import backup
from ledger.delivery.copies import verify
from ledger.errors import ConfigError
from ledger.ids.numbers import numbers_on_disk
from ledger.rescue.rebuild import rebuild
from ledger.run.catch_up import catch_up
from tests.ledger.audit.test_laws_by_sql import violations
from tests.ledger.cli.forked import Running
from tests.ledger.db.test_backup import fresh
from tests.world import DATE


@pytest.fixture
def afar(sqlite_world, sshd):
    """A world whose archive is sent to another host."""
    sqlite_world.send_afar(sshd)
    sqlite_world.simulate(scale=0.005, scenario=("pdi",))
    return sqlite_world


def test_a_night_goes_there_and_comes_back(afar):
    before = afar.tree()
    assert afar.advance().succeeded
    copies = afar.query("SELECT host, path, tool FROM copy WHERE withdrawn_us IS NULL")
    assert len(copies) == afar.query("SELECT count(*) FROM file WHERE kind = 'product'")[0][0] > 0
    assert {host for host, _, _ in copies} == {"127.0.0.1"}
    assert {path for _, path, _ in copies} == {str(path) for path in afar.destination.rglob("*.fz")}
    assert (afar.destination / DATE / f"manifest_VMP_{DATE}.csv").is_file()
    assert (afar.destination / DATE / "SHA256SUMS").is_file()
    assert not list(afar.destination.rglob(".ledger-*"))
    assert violations(afar) == []
    report = audit_deeply(afar.store(), afar.config)
    assert report.violations == []
    assert [explained.kind for explained in report.explained] == ["afar"]
    assert afar.rollback().succeeded
    assert afar.tree() == before
    assert list(afar.destination.iterdir()) == []


def test_a_host_that_is_down_is_waited_for(afar):
    port = afar.data["transfer"]["ssh"]["port"]
    afar.bring(to="compressed")
    afar.data["transfer"]["ssh"]["port"] = 1
    result = afar.advance()
    assert not result.succeeded
    assert set(result.states) == {"compressed"}
    assert all("refused" in error for _, error in result.failed)
    assert afar.query("SELECT count(*) FROM copy") == [(0,)]
    assert afar.query("SELECT count(*) FROM file WHERE quarantine_reason IS NOT NULL") == [(0,)]
    afar.data["transfer"]["ssh"]["port"] = port
    assert afar.advance().succeeded


def test_copies_on_this_machine_are_not_taken_for_those_there(afar):
    afar.bring()
    afar.data["transfer"]["destination"] = str(afar.destination)
    found = verify(afar.machine(), afar.night())  # they are asked for where they are
    assert found.succeeded
    hosts = afar.query("SELECT DISTINCT host FROM copy WHERE withdrawn_us IS NULL")
    assert hosts == [("127.0.0.1",)]


@pytest.mark.parametrize(
    ("window", "is_open"),
    [("07:00-09:00", True), ("09:00-07:00", False), ("08:01-10:00", False), ("22:00-08:01", True)],
)
def test_products_are_sent_within_the_window(sqlite_world, window, is_open):
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))  # it is 08:00
    sqlite_world.bring(to="compressed")
    sqlite_world.data["transfer"]["window"] = window
    result = sqlite_world.advance()
    assert result.succeeded is is_open
    assert set(result.states) == {"manifested" if is_open else "compressed"}
    sqlite_world.data["transfer"]["window"] = None
    assert sqlite_world.advance().succeeded


def test_catch_up_waits_for_the_window_in_silence(sqlite_world):
    sqlite_world.data["transfer"]["window"] = "08:01-10:00"
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    ((_, result),) = catch_up(sqlite_world.machine())
    assert result.is_waiting
    assert list(catch_up(sqlite_world.machine())) == []
    sqlite_world.now_us += 60_000_000
    ((_, result),) = catch_up(sqlite_world.machine())
    assert result.succeeded
    assert set(result.states) == {"manifested"}


@pytest.mark.parametrize("window", ["8-9", "08:00-24:00", "08:00-08:00", "night"])
def test_a_window_is_two_times(sqlite_world, window):
    sqlite_world.data["transfer"]["window"] = window
    with pytest.raises(ConfigError, match=r"transfer\.window"):
        _ = sqlite_world.config


def test_numbers_in_use_there_are_seen(afar):
    strange = afar.destination / "20250101/vgen2"
    strange.mkdir(parents=True)
    (strange / "VMPA00000500.fits.fz").write_bytes(b"of another ledger")
    (strange.parent / "manifest_VMP_20250101.csv").write_bytes(b"VMPA00000777|/x/VMPA00000777.fits.fz|5\r\n")
    assert {500, 777} <= {first for first, _, _ in numbers_on_disk(afar.store(), afar.config).runs}
    result = afar.advance()
    assert "VMPA00000" in (result.stopped or "")
    assert "identified" not in result.states


def test_numbers_that_cannot_be_seen_are_not_given(afar):
    afar.data["transfer"]["ssh"]["port"] = 1
    result = afar.advance()
    assert "could not be seen" in (result.stopped or "")
    assert afar.query("SELECT count(*) FROM frame_id") == [(0,)]


def test_backups_go_there(afar):
    afar.bring()
    here, there = backup.make(afar.store(), afar.config)
    found = afar.destination / ".ledger" / here.name
    assert str(there) == f"127.0.0.1:{found}"
    assert found.read_bytes() == here.read_bytes()


def test_the_oldest_backups_there_go(afar):
    afar.data["backup"] |= {"keep": 1, "keep_days": 1}
    afar.bring(to="synced")
    backup.make(afar.store(), afar.config)
    afar.now_us += 1_000_000
    assert afar.advance(to="fixed").succeeded
    here, _ = backup.make(afar.store(), afar.config)
    assert [path.name for path in (afar.destination / ".ledger").iterdir()] == [here.name]


def test_a_database_that_is_lost_is_made_anew_of_what_is_here_and_there(afar, other_url):
    afar.bring()
    before = afar.query("SELECT identity, state, sha256 FROM file WHERE kind = 'product' ORDER BY identity")
    proofs = afar.query("SELECT host, path, sha256 FROM copy ORDER BY path")
    fresh(afar, other_url)
    assert rebuild(afar.config, clock=lambda: afar.now_us).succeeded
    assert afar.query("SELECT identity, state, sha256 FROM file WHERE kind = 'product' ORDER BY identity") == before
    assert afar.query("SELECT host, path, sha256 FROM copy ORDER BY path") == proofs


def test_doctor_looks_there(afar):
    (found,) = [f for f in doctor.examine(afar.config) if f.subject == "destination of archive"]
    assert found.verdict == "ok"
    assert "hashed by" in found.text
    shutil.rmtree(afar.destination)
    (found,) = [f for f in doctor.examine(afar.config) if f.subject == "destination of archive"]
    assert found.verdict == "problem"


@pytest.mark.parametrize(("number", "to_all"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_a_signal_ends_what_is_being_sent(afar, number, to_all):
    """While rsync brings a batch; to the command alone, or to all that it has started.

    On one database: that a run ends in order is the same on both, and the crash matrix kills it on both.
    """
    afar.data["backup"]["automatic"] = True
    afar.bring(to="compressed")
    stop_sending(afar, number, to_all=to_all)
    found = {f.subject: f for f in doctor.examine(afar.config)}
    assert found["backups"].verdict == "ok", found["backups"]
    afar.data["transfer"]["ssh"]["limit_mb_s"] = None
    assert afar.advance().succeeded
    assert not list(afar.destination.glob(f"{DATE}/.ledger-incoming-*"))
    assert verify(afar.machine(), afar.night()).succeeded


def test_what_a_signal_left_there_goes_with_a_rollback(afar):
    raw = afar.tree()
    afar.bring(to="compressed")
    stop_sending(afar, signal.SIGTERM)
    assert afar.rollback().succeeded
    assert (afar.tree(), afar.tree(afar.destination)) == (raw, {})


def stop_sending(world, number, *, to_all=False):
    """Stop what sends a night, and see that no more than that has happened."""
    stop_at_second(world, world.destination / DATE, number, to_all=to_all)
    ((n,),) = world.query("SELECT count(*) FROM file WHERE kind = 'product'")
    ((n_sent,),) = world.query("SELECT count(*) FROM file WHERE state = 'transferred'")
    assert 1 <= n_sent < n
    rows = "SELECT count(*) FROM file WHERE error IS NOT NULL OR attempts > 0 OR next_retry_us IS NOT NULL"
    assert world.query(rows) == [(0,)]
    assert world.query("SELECT count(*) FROM entry WHERE event = 'failed'") == [(0,)]
    assert world.query("SELECT count(*) FROM run WHERE ended_us IS NULL") == [(0,)]
    assert len(list(world.destination.glob(f"{DATE}/vgen2/*.fz"))) == n_sent


def test_a_repair_that_is_stopped_calls_nothing_right(afar):
    afar.bring()
    for cube in afar.destination.glob(f"{DATE}/vgen2/*.fz"):
        cube.unlink()
    stop_at_second(afar, afar.destination / DATE, signal.SIGTERM, "verify", "--repair", "--date", DATE)
    n_there = len(list(afar.destination.glob(f"{DATE}/vgen2/*.fz")))
    ((n, n_bad),) = afar.query("SELECT count(*), (SELECT count(*) FROM unverified) FROM file WHERE kind = 'product'")
    assert 1 <= n_there == n - n_bad < n


def test_a_recall_that_is_stopped_brings_back_what_has_come(afar):
    afar.bring()
    before = afar.tree()
    folder = afar.night().path / "vgen2"
    for cube in folder.glob("VMPA*"):
        cube.unlink()
    stop_at_second(afar, folder, signal.SIGTERM, "recall", "--date", DATE)
    assert afar.query("SELECT count(*) FROM entry WHERE event = 'unrecalled'") == [(0,)]
    n_here = len(list(folder.glob("VMPA*.fz")))
    assert afar.query("SELECT count(*) FROM entry WHERE event = 'recalled'") == [(n_here,)]
    assert 1 <= n_here < len(list(afar.destination.glob(f"{DATE}/vgen2/*.fz")))
    afar.data["transfer"]["ssh"]["limit_mb_s"] = None
    assert afar.run("recall", "--date", DATE).returncode == 0
    assert afar.tree() == before


def stop_at_second(world, folder, number, *arguments, to_all=False):
    """Run a command, and send a signal once the second product begins to arrive somewhere below a folder.

    Each product takes two seconds: there are some left in which the signal is obeyed.
    """
    world.data["transfer"]["ssh"] = {**world.data["transfer"]["ssh"], "limit_mb_s": 0.02}
    with Running(world, *(arguments or ("advance", "--date", DATE))) as running:
        while not [path for path in folder.rglob(".VMPA00000002.*") if ".ledger-" in str(path.parent)]:
            assert not running.is_over(), running.told
            time.sleep(0.05)
        for pid in descendants(running.pid) if to_all else ():
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, number)
        running.send_signal(number)
        assert running.wait() == 128 + number, running.told
        assert "the same command goes on" in running.told


def descendants(pid):
    """Return the processes that a process has started, and those that these have."""
    children: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            children += map(int, path.read_text().split())
    return [*children, *(each for child in children for each in descendants(child))]
