"""A small night that is brought to the begin of a run, killed or hindered, and looked at, again and again."""

import os
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import pytest

from tests.acceptance.faults import ACTS, Direction, run
from tests.world import World

#: Whether everything is to be tried (`make crashtest`), or a sample (`make test`).
IS_WHOLE = os.environ.get("TEST_CRASH") == "all"
#: In how many tests the points of a run are taken, so that they run side by side.
N_PORTIONS = 16 if IS_WHOLE else 1

T = TypeVar("T")

directions = pytest.mark.parametrize("direction", ACTS)
portions = pytest.mark.parametrize("portion", range(N_PORTIONS))


def chosen(n: int, portion: int, sample: int) -> range:
    """Return the fault points of a portion, of `n`; where they are sampled, `sample` of them."""
    return range(portion, n, N_PORTIONS) if IS_WHOLE else range(n // 7, n, -(-n // sample))


def whole_or(every: Iterable[T], sample: Iterable[T]) -> list[T]:
    """Return everything, or a sample where samples are taken."""
    return list(every if IS_WHOLE else sample)


def simulate_small(world: World) -> None:
    """Simulate a night with pairs of cameras, states, a camera by itself and a file in quarantine: six products."""
    world.simulate(scale=0.02, scenario=("bad",))
    for camera in ("vcam1", "vcam2"):
        _, *others = sorted((world.night().path / camera).glob("*.fits"))
        for cube in others:
            if cube.with_suffix(".txt").exists():
                cube.unlink()
                cube.with_suffix(".txt").unlink()
    world.data["states"]["transferred"]["parameters"]["in_flight"] = 1  # the order of calls is then always the same


class CrashNight:
    """A night, and what it is before and after an undisturbed run.

    Parameters
    ----------
    world : World
        With nothing in it.
    direction : {"advance", "rollback"}
        Which way the runs go that are disturbed.
    """

    def __init__(self, world: World, direction: Direction = "advance") -> None:
        simulate_small(world)
        self.world = world
        self.direction = direction
        self.act = ACTS[direction](world)
        self.before = world.tree()
        world.bring()
        self.undisturbed = self._finished()
        self.begin()

    def count(self) -> int:
        """Return how many fault points an undisturbed run has."""
        ran = run(self.world, self.act)
        assert ran.said is not None
        assert not ran.complaint
        assert len(ran.points) > 100
        return len(ran.points)

    def begin(self) -> None:
        """Bring the night to where the run begins."""
        if self.direction == "advance":
            self.check_back("at the begin")
        else:
            self.check_finished("at the begin")

    def check_finished(self, why: object) -> None:
        """Check that an advance gives the bytes and IDs of the first one."""
        assert self._finished() == self.undisturbed, f"{why}: advanced"

    def check_back(self, why: object) -> None:
        """Check that a rollback gives back what was there before the first advance."""
        result = self.world.rollback()
        assert result.succeeded, f"{why}: rolled back: {result}"
        assert (self.world.tree(), self.world.tree(self.world.destination)) == (self.before, {}), f"{why}: rolled back"

    def both_ways_on(self) -> Iterator[Any]:
        """Yield, at the begin of the run, a check for each way on after it: forward and back."""
        for check in (self.check_finished, self.check_back):
            self.begin()
            yield check

    def check_audit(self) -> None:
        """Check the laws."""
        audit = self.world.run("audit")
        assert audit.returncode == 0, audit.stdout

    def _finished(self) -> tuple[Any, ...]:
        result = self.world.advance()
        assert result.succeeded, result
        ids = self.world.query("SELECT frame_id, identity FROM frame_id WHERE status = 'live' ORDER BY frame_id")
        return self.world.tree(), self.world.tree(self.world.destination), ids
