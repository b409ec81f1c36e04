"""Many processes at one sequence: whoever comes when, IDs are in order of time, without gaps or duplicates.

``TEST_ROUNDS`` sets how often each race is run (``LEDGER_…`` would name a key of the configuration).
"""

import os
import random
import time
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from sqlalchemy import text

from ledger.night import record
from tests.acceptance.numbering import check_entries, check_sequence, earlier_night, kind_of, numbered_nights
from tests.acceptance.racers import PATIENCE_S, Job, Outcome, Racers
from tests.databases import make_database
from tests.world import World

NIGHTS = 8
ROUNDS = int(os.environ.get("TEST_ROUNDS", "1"))
FIRST = date(2020, 1, 1)


@pytest.fixture(scope="module")
def racers() -> Iterator[Racers]:
    with Racers() as made:
        yield made


def dates(world: World, n: int) -> list[str]:
    """Simulate `n` nights after all others; return their dates."""
    before = sum(1 for _ in (world.folder / "archive").iterdir())
    made = [f"{FIRST + timedelta(days=before + i):%Y%m%d}" for i in range(n)]
    for seed, name in enumerate(made):
        world.simulate(name, seed=seed, scale=0.02, shape=(1, 5), scenario=("onecamera", "untriggered")[: 1 + seed % 2])
    return made


def check(world: World) -> dict[str, bool]:
    """Check all IDs there are; return the nights, and whether they have IDs."""
    check_sequence(world)
    check_entries(world)
    return numbered_nights(world)


def refused_by(outcome: Outcome) -> str:
    """Return which refusal it was; nothing may have failed."""
    assert outcome.how == "refused", outcome.text
    return kind_of(outcome.text)


def test_eight_nights_at_once(world, racers):
    rng = random.Random(20260102)
    for _ in range(ROUNDS):
        nights = dates(world, NIGHTS)
        todo, passes = list(nights), 0
        while todo:
            passes += 1
            assert passes <= NIGHTS
            twice = rng.sample(todo, k=min(2, len(todo), NIGHTS - len(todo)))
            jobs = [Job(name) for name in rng.sample(todo + twice, len(todo) + len(twice))]
            outcomes = racers.race(world, jobs)
            done = {outcome.job.date for outcome in outcomes if outcome.how == "done"}
            assert todo[0] in done, outcomes
            for outcome in outcomes:
                if outcome.how == "busy":
                    assert outcome.job.date in twice, outcome.text
                    assert f"night {outcome.job.date} is held by run" in outcome.text
                elif outcome.how != "done":
                    assert refused_by(outcome) == "gate"
                    assert earlier_night(outcome.text) in todo[: todo.index(outcome.job.date)]
            todo = [name for name in todo if name not in done]
            assert [name for name, is_numbered in sorted(check(world).items()) if not is_numbered] == todo
    assert all(check(world).values())


def test_two_processes_on_one_night(world, racers):
    for _ in range(4 * ROUNDS):
        (night,) = dates(world, 1)
        outcomes = racers.race(world, [Job(night), Job(night)])
        assert {outcome.how for outcome in outcomes} in ({"done"}, {"done", "busy"}), outcomes
        assert check(world)[night]
    n_ids, n_entries = (
        world.query(f"SELECT COUNT(*) FROM {table}")[0][0]
        for table in ("frame_id", "entry WHERE event IN ('assigned', 'withdrawn', 'reclaimed')")
    )
    assert n_ids == n_entries


def test_a_night_that_comes_back_while_the_next_is_at_the_door(world, racers):
    """Both are `fixed`; whichever takes the counter first, the other one sees it."""
    for _ in range(3 * ROUNDS):
        first, second = dates(world, 2)
        root = world.folder / "archive"
        assert world.advance(first, to="fixed").succeeded
        record.exclude(world.store(), "archive", root, first, "dome tests")
        assert world.advance(second, to="fixed").succeeded
        returns, follows = racers.race(world, [Job(first, includes=True), Job(second)])
        numbered = check(world)
        assert (numbered[first], numbered[second]) == (returns.how == "done", follows.how == "done")
        if returns.how == "done":  # it was back before the other one looked
            assert follows.how == "done" or refused_by(follows) == "gate", follows.text
        else:
            assert refused_by(returns) == "late"
            record.exclude(world.store(), "archive", root, first, "dome tests")
        assert world.advance(second, to="identified").succeeded
        assert check(world)[second]


@pytest.fixture
def postgresql_world(request, tmp_path) -> Iterator[World]:
    made = World(tmp_path / "world", make_database(request, tmp_path, "postgresql"))
    yield made
    made.close()


def until_waiting(world: World, n: int) -> None:
    """Wait until `n` processes wait for the counter."""
    waiting = (
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        " AND query LIKE '%frame_sequence%'"
    )
    give_up = time.monotonic() + PATIENCE_S
    while world.query(waiting) != [(n,)]:
        assert time.monotonic() < give_up, world.query("SELECT state, wait_event, query FROM pg_stat_activity")
        time.sleep(0.01)


def test_first_the_lock_then_the_look(postgresql_world, racers):
    """A night that comes back while the next one waits for the counter goes first: the next looks again.

    SQLite has one lock for everything, so nobody can be seen waiting there.
    """
    world = postgresql_world
    (before,) = dates(world, 1)
    assert world.advance(before, to="identified").succeeded
    for _ in range(ROUNDS):
        first, second = dates(world, 2)
        record.exclude(world.store(), "archive", world.folder / "archive", first, "dome tests")
        with world.store().write() as session:
            session.execute(text("SELECT next_number FROM frame_sequence FOR UPDATE"))
            running = racers.start(world, [Job(second)])
            until_waiting(world, 1)
            running += racers.start(world, [Job(first, includes=True)])
            until_waiting(world, 2)
        follows, returns = racers.finish(running)
        assert returns.how == "done", returns.text
        assert (refused_by(follows), earlier_night(follows.text)) == ("gate", first)
        assert check(world) == {**check(world), first: True, second: False}
        assert world.advance(second, to="identified").succeeded
        assert check(world)[second]


@pytest.mark.parametrize("dies", ["before", "after"])
def test_killed_at_the_commit(world, racers, dies):
    for _ in range(ROUNDS):
        first, second, third = dates(world, 3)
        killed, *others = racers.race(world, [Job(first, dies=dies), Job(second), Job(third)])
        assert killed.how == "killed", killed.text
        assert all(other.how == "done" or refused_by(other) == "gate" for other in others)
        numbered = check(world)
        assert numbered[first] == (dies == "after")
        given = world.query("SELECT frame_id, identity FROM frame_id ORDER BY number")
        for name in (first, second, third):
            assert world.advance(name, to="identified").succeeded
            assert check(world)[name]
        assert world.query("SELECT frame_id, identity FROM frame_id ORDER BY number")[: len(given)] == given
