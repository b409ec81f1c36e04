"""The database dies in the middle of a run: a clear error, and the next run completes.

PostgreSQL is stopped with mode "immediate", which is what a crash of it is, and started again. A server of its own.
"""

import signal
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.crash_night import IS_WHOLE, CrashNight, directions
from tests.acceptance.faults import GO_ON, Points, run_under
from tests.acceptance.syscalls import Answer, Call
from tests.databases import create_database, database_of, initialise, running_postgresql, url_of
from tests.world import World

#: Commits of a run at which it dies, as parts of all of them.
PARTS = [part / 20 for part in range(20)] if IS_WHOLE else [0.6]


class Commits(Points):
    """The commits of a run."""

    def what(self, call: Call) -> str | None:
        """Return what a call is about to change if it is a commit."""
        found = super().what(call)
        return found if found == "COMMIT" else None


@dataclass(frozen=True)
class Dying:
    """A server that can be stopped and started again."""

    server: Any

    def stop(self) -> None:
        """Have it crash."""
        process = self.server.get_postmaster_info().process
        process.send_signal(signal.SIGQUIT)  # what `pg_ctl stop -m immediate` sends
        process.wait(30)

    def before_the_commit(self, _: Call) -> Answer:
        """Stop it before it is asked to commit."""
        self.stop()
        return GO_ON

    def before_the_answer(self, call: Call) -> Answer:
        """Stop it once the commit was sent; whether it was made nobody was told."""
        assert call.data is not None
        sent = call.perform(len(call.data))
        self.stop()
        return Answer(value=sent)


@pytest.fixture(scope="module")
def server():
    with running_postgresql() as started:
        yield started


@pytest.fixture
def dying_world(server, tmp_path):
    name = f"ledger_{uuid.uuid4().hex}"
    create_database(url_of(server), name)
    url = database_of(url_of(server), name)
    initialise(url)
    made = World(tmp_path / "world", url)
    yield made
    made.close()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("when", [Dying.before_the_commit, Dying.before_the_answer])
@directions
def test_the_server_dies_at_a_commit(server, dying_world, direction, when: Callable[..., Answer], part):
    world = dying_world
    night = CrashNight(world, direction)
    points = Commits(world)
    run_under(world, night.act, points)
    n = len(points.ran.points)
    assert n > 10
    dying = Dying(server)
    at = min(int(part * n), n - 2)  # of the last, the answer may have come before it died
    for check in night.both_ways_on():
        ran = run_under(world, night.act, Commits(world, at, lambda call: when(dying, call)))
        assert ran.said is not None
        assert ran.said["exit_status"] == 1, ran.said
        assert "check that it is there" in ran.said["error"]
        server.start()
        check(f"commit {at} of {n}")
    night.check_audit()
