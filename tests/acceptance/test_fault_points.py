"""No change escapes: between two fault points nothing may change but what the first of them was about to.

The process stands still at each call, so what changed since the one before can be seen on the disk itself,
whichever way it was changed: by a call that the table lacks, or by none (a mapping).
"""

import mmap
from pathlib import Path

import pytest

from ledger.report import Result
from tests.acceptance.crash_night import CrashNight, directions
from tests.acceptance.faults import Points, kill, run, run_under
from tests.acceptance.syscalls import Answer, Call
from tests.world import DATE, World


class Watching(Points):
    """Compares the folders before every fault point with what they were at the one before."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.seen = self._look()
        self.expected: list[str] = []
        self.changes = 0

    def __call__(self, call: Call) -> Answer:
        if self.what(call) is not None:
            self.compare()
            self.expected = [str(Path(path)) for path in call.paths]
        return super().__call__(call)

    def compare(self) -> None:
        """Check that nothing changed but what the last fault point was about to."""
        now = self._look()
        changed = {path for path in self.seen.keys() | now.keys() if self.seen.get(path) != now.get(path)}
        assert changed <= set(self.expected), f"changed beside {self.expected}: {sorted(changed - set(self.expected))}"
        self.changes += bool(changed)
        self.seen = now

    def _look(self) -> dict[str, tuple[object, ...]]:
        found: dict[str, tuple[object, ...]] = {}
        for root in self.roots:
            for path in Path(root).rglob("*"):
                info = path.lstat()
                what = path.read_bytes() if path.is_file() else b""
                mtime_ns = info.st_mtime_ns if path.is_file() else None  # a folder's changes with what is in it
                found[str(path)] = (info.st_ino, info.st_mode, info.st_uid, info.st_gid, mtime_ns, what)
        return found


@directions
def test_no_change_without_a_fault_point(sqlite_world, direction):
    night = CrashNight(sqlite_world, direction)
    watching = Watching(sqlite_world)
    ran = run_under(sqlite_world, night.act, watching)
    watching.compare()
    assert ran.said is not None
    assert not ran.complaint
    assert watching.changes > 50
    assert len(ran.points) > 2 * watching.changes // 3


def test_a_change_without_a_call_is_seen(sqlite_world):
    """What the test above must be able to find."""
    path = sqlite_world.folder / "archive" / "mapped"
    path.write_bytes(b"before")

    def act(_machine):
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[:] = b"behind"
        return Result("archive", DATE)

    watching = Watching(sqlite_world)
    assert run_under(sqlite_world, act, watching).points == []
    with pytest.raises(AssertionError, match="mapped"):
        watching.compare()


def test_a_write_that_is_killed_is_torn(sqlite_world):
    path = sqlite_world.folder / "archive" / "torn"

    def act(_machine):
        with path.open("wb", buffering=0) as file:
            file.write(b"12345678")
            file.write(b"90")

    ran = run(sqlite_world, act, 1, kill)
    assert ran.said is None
    assert [point.split()[0] for point in ran.points] == ["openat", "write"]
    assert path.read_bytes() == b"1234"
