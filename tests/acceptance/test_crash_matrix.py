"""Killed at every fault point and at random instants, on both databases: nothing lost, nothing false.

`make test` takes a sample; `make crashtest` takes all of them, in portions that run side by side.
"""

import os
import random
import time

import pytest

from tests.acceptance.crash_night import IS_WHOLE, CrashNight, chosen, directions, portions, whole_or
from tests.acceptance.faults import Call, Points, kill, run, run_under
from tests.acceptance.syscalls import Answer

#: How often a run is killed at a random instant, in each direction and on each database.
ROUNDS = int(os.environ.get("TEST_CRASH_ROUNDS", "100" if IS_WHOLE else "2"))
#: Of those instants; told where a test fails.
SEED = int(os.environ.get("TEST_CRASH_SEED", str(time.time_ns() % 10**6)))


@directions
@portions
def test_killed_at_every_fault_point(world, direction, portion):
    night = CrashNight(world, direction)
    for at in chosen(night.count(), portion, sample=3):
        for check in night.both_ways_on():
            ran = run(world, night.act, at, kill)
            assert ran.said is None, f"fault point {at} did not come: {ran.said}"
            check(f"killed at {at}, {ran.points[at]}")
    night.check_audit()


@directions
def test_killed_at_random_instants(world, direction):
    print(f"TEST_CRASH_SEED={SEED}")  # noqa: T201  shown if the test fails
    instants = random.Random(SEED)
    night = CrashNight(world, direction)
    start = time.perf_counter()
    night.count()
    longest_s = time.perf_counter() - start
    for number in range(ROUNDS):
        for check in night.both_ways_on():
            instant_s = instants.uniform(0, longest_s)
            run_under(world, night.act, Points(world), kill_after_s=instant_s)
            check(f"round {number}, killed after {instant_s:.6f} s, TEST_CRASH_SEED={SEED}")
    night.check_audit()


@pytest.mark.parametrize("part", whole_or([0.1, 0.5, 0.9], [0.5]))
@directions
def test_a_worker_dies(sqlite_world, direction, part):
    """SIGKILL of a worker in the middle of its work, as by the system when memory runs out."""
    world = sqlite_world
    night = CrashNight(world, direction)
    world.data["engine"] = {"executor": "processes", "workers": 2}
    points = PointsOfWorkers(world)
    run_under(world, night.act, points)
    world.data["engine"]["executor"] = "inline"
    at = int(part * len(points.ran.points))
    for check in night.both_ways_on():
        world.data["engine"]["executor"] = "processes"
        ran = run_under(world, night.act, PointsOfWorkers(world, at, kill))
        assert ran.said is not None
        assert "a worker process died" in ran.said["error"]
        assert "run the same command again" in ran.said["error"]
        assert ran.said["exit_status"] == 1
        world.data["engine"]["executor"] = "inline"
        check(f"worker killed at {at}, {ran.points[-1]}")


class PointsOfWorkers(Points):
    """Fault points in processes other than the one that coordinates."""

    coordinator: int | None = None

    def __call__(self, call: Call) -> Answer:
        self.coordinator = self.coordinator or call.process
        return super().__call__(call)

    def what(self, call: Call) -> str | None:
        """Return what a worker is about to change."""
        return None if call.process == self.coordinator else super().what(call)
