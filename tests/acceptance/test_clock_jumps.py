"""The machine's clock jumps back by a day, between runs or within one."""

from tests.acceptance.crash_night import CrashNight, directions
from tests.acceptance.faults import ACTS, kill, run

DAY_US = 86_400_000_000


@directions
def test_the_clock_jumps_back_after_a_run_that_died(world, direction):
    """The dead run's heartbeat is then of the future: its process is known to be gone all the same."""
    night = CrashNight(world, direction)
    n_points = night.count()
    for check in night.both_ways_on():
        assert run(world, night.act, n_points // 2, kill).said is None
        world.now_us -= DAY_US
        check("a day back")
    night.check_audit()
    assert world.run("ids", "check").returncode == 0


@directions
def test_the_clock_jumps_back_within_a_run(sqlite_world, direction):
    world = sqlite_world
    night = CrashNight(world, direction)
    for after in (1, 5, 20):
        night.begin()
        calls = iter(range(10**9))
        world.store().clock = lambda first=world.now_us, calls=calls, after=after: (
            first + 1000 if next(calls) < after else first - DAY_US
        )
        assert ACTS[direction](world)(world.machine()).succeeded
        world.store().clock = lambda: world.now_us
        check = night.check_finished if direction == "advance" else night.check_back
        check(f"a day back after {after} looks at the clock")
    night.check_audit()
