"""Failures that may pass are tried again, those that cannot are put aside; people release or discard."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger.errors import Busy, UsageError
from ledger.night import record
from ledger.night.lease import Lease
from ledger.run.catch_up import catch_up
from ledger.run.quarantine import discard, held, release
from stages.base import TEMPORARY_PREFIX
from tests.inside import call
from tests.world import DATE, World

MINUTE_US = 60_000_000


@pytest.fixture
def night(world: World) -> World:
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to="consolidated")
    return world


def products(world: World) -> list[str]:
    return [name for (name,) in world.query("SELECT name FROM file WHERE kind = 'product' ORDER BY id")]


def spoil(world: World, name: str) -> bytes:
    """Cut a product's cube short: bad input; return its bytes."""
    path = world.night().path / "vgen2" / f"{name}.fits"
    data = path.read_bytes()
    path.write_bytes(data[:1000])
    return data


def block(world: World, name: str) -> Path:
    """Put a folder where a product's cube is to be written: an error of the system, which may pass."""
    assert world.rollback(to="synced").succeeded
    path = world.night().path / "vgen2" / f"{TEMPORARY_PREFIX}{name}.fits"
    path.mkdir(parents=True)
    return path


def test_bad_input_is_put_aside_at_once_and_holds_the_night_up(night):
    name, *others = products(night)
    data = spoil(night, name)
    result = night.advance()
    ((failed, why),) = result.failed
    assert failed == name
    assert "`ledger quarantine list`" in why
    assert result.states == {"consolidated": 1, "fixed": len(others)}
    assert "1 product in quarantine before identified, which takes the whole night" in result.stopped
    assert f"`ledger quarantine list --date {DATE}`" in result.stopped
    assert night.query("SELECT COUNT(*) FROM frame_id") == [(0,)]
    (found,) = held(night.store())
    assert (found.name, found.stands, found.attempts, found.state) == (name, "quarantined", 1, "consolidated")
    assert "it was cut off" in found.reason
    assert [e for (e,) in night.query(f"SELECT event FROM entry WHERE name = '{name}' ORDER BY id")][-2:] == [
        "failed",
        "quarantined",
    ]
    status = call(night, "status").stdout
    assert f"ledger quarantine list --date {DATE}" in status
    explained = call(night, "explain", name).stdout
    assert f"ledger quarantine discard {name} --reason TEXT" in explained
    # it is not tried again by itself
    assert night.advance().failed == []
    (night.night().path / "vgen2" / f"{name}.fits").write_bytes(data)
    release(night.store(), name)
    assert night.advance().succeeded
    assert night.query("SELECT COUNT(*) FROM frame_id") == [(len(others) + 1,)]
    assert held(night.store()) == []
    assert call(night, "audit").returncode == 0


def test_a_discarded_product_holds_nothing_up(night):
    name, *others = products(night)
    data = spoil(night, name)
    assert not night.advance().succeeded
    discard(night.store(), name, "the disk has a hole")
    result = night.advance()
    assert result.succeeded
    assert result.states == {"consolidated": 1, "manifested": len(others)}
    assert night.query("SELECT COUNT(*) FROM manifest_line") == [(len(others),)]
    assert call(night, "audit").returncode == 0
    assert "finished" in call(night, "status").stdout
    (found,) = held(night.store())
    assert (found.stands, found.reason) == ("discarded", "the disk has a hole")
    # taken back, it is late: the others have their numbers
    (night.night().path / "vgen2" / f"{name}.fits").write_bytes(data)
    release(night.store(), name)
    assert "older than frame IDs that are taken" in str(night.advance().stopped)
    assert night.advance(late_reason="it was found whole on a backup").succeeded
    assert call(night, "audit").returncode == 0
    assert night.rollback().succeeded


def test_skip_goes_on_without_what_is_in_quarantine(night):
    name, *others = products(night)
    spoil(night, name)
    night.data["failures"]["barrier"] = "skip"
    result = night.advance()
    assert result.states == {"consolidated": 1, "manifested": len(others)}
    assert [failed for failed, _ in result.failed] == [name]
    assert night.advance().succeeded
    assert "finished" in call(night, "status").stdout


def test_the_plan_tells_what_holds_the_night_up(night):
    spoil(night, products(night)[0])
    night.advance(to="fixed")
    told = call(night, "advance", "--date", DATE, "--dry-run").stdout
    assert "stops there    1 product in quarantine before identified" in told
    assert "identify" not in told.split("stops there")[0]


def test_what_may_pass_is_tried_again_later_and_later_and_then_put_aside(night):
    night.data["failures"] = {"attempts": 3, "retry_minutes": 10}
    name = products(night)[0]
    blocking = block(night, name)
    start_us = night.now_us
    tries: list[tuple[int, str]] = []
    for minutes in range(0, 60, 5):
        night.now_us = start_us + minutes * MINUTE_US
        before = night.query("SELECT COUNT(*) FROM entry WHERE event = 'failed'")
        list(catch_up(night.machine()))
        if night.query("SELECT COUNT(*) FROM entry WHERE event = 'failed'") != before:
            tries.append((minutes, held(night.store())[0].stands))
    assert tries == [(0, "waits"), (10, "waits"), (30, "quarantined")]
    blocking.rmdir()
    night.now_us += 24 * 60 * MINUTE_US
    ((_, result),) = catch_up(night.machine())
    assert "in quarantine" in result.stopped
    release(night.store(), name)
    ((_, result),) = catch_up(night.machine())
    assert result.succeeded


def test_by_hand_a_product_that_waits_is_tried_at_once(night):
    name = products(night)[0]
    blocking = block(night, name)
    assert not night.advance().succeeded
    (found,) = held(night.store())
    assert (found.stands, found.next_retry_us) == ("waits", night.now_us + 10 * MINUTE_US)
    shown = call(night, "quarantine", "list").stdout
    assert datetime.fromtimestamp(found.next_retry_us / 1e6, tz=UTC).strftime("%H:%M:%S") in shown
    blocking.rmdir()
    assert night.advance().succeeded
    assert night.query("SELECT attempts, next_retry_us, error FROM file WHERE name = '" + name + "'") == [
        (0, None, None)
    ]


def test_a_clock_that_was_wrong_makes_nothing_wait(night):
    blocking = block(night, products(night)[0])
    start_us = night.now_us
    night.now_us += 365 * 24 * 60 * MINUTE_US
    assert not night.advance().succeeded
    blocking.rmdir()
    night.now_us = start_us
    ((_, result),) = catch_up(night.machine())
    assert result.succeeded


def test_the_destination_is_not_the_files_fault(night):
    """Nothing is put in quarantine because an archive cannot be written."""
    night.data["failures"] = {"attempts": 1}
    blocking = night.destination / DATE
    blocking.write_text("whose?")
    for _ in range(2):
        result = night.advance()
        assert result.failed
        assert {found.stands for found in held(night.store())} == {"waits"}
    blocking.unlink()
    assert night.advance().succeeded


def test_a_raw_file_is_looked_into_again(sqlite_world):
    truth = sqlite_world.simulate(scale=0.02, scenario=("bad",))
    assert truth.files
    sqlite_world.bring()
    raws = [found for found in held(sqlite_world.store()) if found.kind == "raw"]
    found = raws[0]
    path = sqlite_world.night().path / found.folder / found.name
    release(sqlite_world.store(), str(path))
    n = sqlite_world.query("SELECT COUNT(*) FROM entry WHERE event = 'quarantined'")[0][0]
    assert sqlite_world.advance().quarantined == [(f"{found.folder}/{found.name}", found.reason)]
    assert sqlite_world.query("SELECT COUNT(*) FROM entry WHERE event = 'quarantined'") == [(n + 1,)]
    with pytest.raises(UsageError, match="leave it there"):
        discard(sqlite_world.store(), str(path), "x")


def test_nonsense_is_refused(night):
    name = products(night)[0]
    store = night.store()
    with pytest.raises(UsageError, match="nothing to release"):
        release(store, name)
    with pytest.raises(UsageError, match="has not failed"):
        discard(store, name, "no reason")
    with pytest.raises(UsageError, match="--reason is empty"):
        discard(store, name, " ")
    with pytest.raises(UsageError):
        release(store, "nothing.fits")


def test_not_while_a_run_works_on_the_night(night):
    name = products(night)[0]
    blocking = block(night, name)
    night.advance()
    store = night.store()
    blocking.rmdir()
    row = record.find_night(store, "archive", DATE)
    assert row is not None
    with Lease(store, row, store.begin_run("advance", {})), pytest.raises(Busy, match=f"process {os.getpid()}"):
        release(store, name)
    release(store, name)


def test_at_the_command_line(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    sqlite_world.bring(to="consolidated")
    name = products(sqlite_world)[0]
    spoil(sqlite_world, name)
    sqlite_world.advance()
    listed = call(sqlite_world, "quarantine", "list", "--date", DATE)
    assert f"{DATE}\tvgen2/{name}\tconsolidated\tquarantined\t1\t\t" in listed.stdout
    assert call(sqlite_world, "quarantine", "discard", name).returncode == 2
    done = call(sqlite_world, "quarantine", "discard", name, "--reason", "cut short")
    assert (done.returncode, "goes on without it" in done.stdout) == (0, True), done.stderr
    assert "discarded" in call(sqlite_world, "quarantine", "list").stdout
    assert "is_discarded" in call(sqlite_world, "quarantine", "list", "--json").stdout
    done = call(sqlite_world, "quarantine", "release", name)
    assert (done.returncode, f"ledger advance --date {DATE}" in done.stdout) == (0, True), done.stderr
    assert call(sqlite_world, "quarantine", "list").stdout.count("\n") == 1
