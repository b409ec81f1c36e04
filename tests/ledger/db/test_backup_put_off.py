"""A backup that takes long is not made after each command that only registered and paired raw files."""

import json
import os

import pytest

from ledger.clock import now_us, show_us
from ledger.db import backup
from ledger.night import record
from tests.inside import call
from tests.world import DATE, World


def backed_up(world: World, took_s: int = 300) -> None:
    """Make a backup that took some time, and let a second pass."""
    began_us = world.now_us = world.now_us // 10**6 * 10**6
    ticks = iter((began_us, began_us + took_s * 10**6))
    world.store().clock = lambda: next(ticks)
    backup.make(world.store(), world.config)
    world.store().clock = lambda: world.now_us
    world.now_us += (took_s + 1) * 10**6


def is_put_off(world: World) -> bool:
    return backup.put_off_until_us(world.store(), world.config) is not None


def n_made(world: World) -> int:
    here, there = (len(list(f.iterdir())) for f in (world.folder / "backups", world.destination / ".ledger"))
    assert here == there
    return here


@pytest.fixture
def observed(world: World) -> World:
    world.data["backup"]["automatic"] = True
    world.simulate(scale=0.02, scenario=("pdi",))
    return world


@pytest.mark.parametrize(
    ("took_s", "later_s", "waits"),
    [(300, 2999, True), (300, 3001, False), (59, 2, False), (20_000, 86_399, True), (20_000, 86_401, False)],
)
def test_it_waits_ten_times_as_long_as_the_last_took_and_a_day_at_most(sqlite_world, took_s, later_s, waits):
    world = sqlite_world
    world.data["backup"]["automatic"] = True
    world.simulate(scale=0.02, scenario=("pdi",))
    backed_up(world, took_s)
    assert world.advance(to="synced").succeeded
    world.now_us += (later_s - 1) * 10**6
    assert is_put_off(world) == waits
    assert backup.after_work(world.store(), world.config) is None
    assert n_made(world) == (1 if waits else 2)
    assert len(backup.make(world.store(), world.config)) == 2, "who asks for one gets one"


def test_what_was_written_or_taken_back_is_backed_up_at_once(observed):
    world = observed
    backed_up(world)
    for state in world.config.archive.states:
        assert world.advance(to=state).succeeded
        is_routine = state in ("raw", "synced")
        assert is_put_off(world) == is_routine, state
        assert backup.after_work(world.store(), world.config) is None
        if not is_routine:
            backed_up(world)
            assert is_put_off(world)
    for state in ("transferred", "fixed", "synced", "raw"):
        assert world.rollback(to=state).succeeded
        assert not is_put_off(world), state
        backed_up(world)


def test_what_somebody_decided_is_backed_up_at_once(observed):
    world = observed
    backed_up(world)
    assert is_put_off(world)
    record.exclude(world.store(), "archive", world.folder / "archive", DATE, "dome tests")
    assert not is_put_off(world)
    assert backup.after_work(world.store(), world.config) is None
    assert n_made(world) == 2


def test_nobody_waits_for_a_time_that_a_wrong_clock_wrote(sqlite_world):
    world = sqlite_world
    (made, _) = backup.make(world.store(), world.config)
    os.utime(made, (world.now_us / 1e6 + 1000,) * 2)
    assert not is_put_off(world)


def test_doctor_says_when_the_next_is_made(sqlite_world):
    world = sqlite_world
    world.data["backup"]["automatic"] = True
    world.simulate(scale=0.02, scenario=("pdi",))
    made_us = world.now_us = (now_us() - 600 * 10**6) // 10**6 * 10**6
    (made, _) = backup.make(world.store(), world.config)
    assert world.advance(to="synced").succeeded
    world.close()
    for took_s, verdict, said in (
        (300, "note", f"command that ends after {show_us(made_us + 11 * 300 * 10**6)} UT makes one"),
        (59, "problem", "lacks the last"),
    ):
        os.utime(made, (made_us / 1e6 + took_s,) * 2)
        findings = json.loads(call(world, "doctor", "--json").stdout)
        (found,) = [each for each in findings if each["subject"] == "backups"]
        assert found["verdict"] == verdict
        assert said in found["text"]
