"""Disks that are full, read-only or forbidden, files that vanish or change: by the system itself, not injected."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.crash_night import IS_WHOLE, CrashNight
from tests.acceptance.faults import Points, Ran, run_under
from tests.acceptance.syscalls import Answer, Call
from tests.acceptance.test_crash_errors import STATES, files_of, possible_files
from tests.tools import missing
from tests.world import World

PAGE = 4096
#: How many sizes of a disk are tried.
N_SIZES = 40 if IS_WHOLE else 4
#: Folders that can be disks of their own, relative to the world's.
DISKS = ("archive", "destination/archive")


@contextmanager
def disk_at(folder: Path) -> Iterator[None]:
    """Have a disk of its own at a folder, in memory."""
    if os.geteuid() != 0 or shutil.which("mount") is None or not mounted(folder, "size=64m"):
        missing("the right to mount a disk in memory")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def mounted(folder: Path, options: str) -> bool:
    """Mount a disk in memory, or (with ``remount``) change it; return whether that was allowed."""
    command = ["mount", "-t", "tmpfs", "-o", options, "ledger-test", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@contextmanager
def remounted(folder: Path, during: str, after: str) -> Iterator[None]:
    """Change a disk for the block."""
    assert mounted(folder, f"remount,{during}")
    try:
        yield
    finally:
        assert mounted(folder, f"remount,{after}")


class Nowhere(Points):
    """No fault points: the system itself refuses."""

    def what(self, _: Call) -> str | None:
        """Return None."""
        return None

    def __call__(self, call: Call) -> Answer:
        return super().__call__(call)


def used_bytes(folder: Path) -> int:
    """Return how much of a disk is used."""
    usage = os.statvfs(folder)
    return (usage.f_blocks - usage.f_bfree) * usage.f_frsize


@pytest.mark.parametrize("disk", DISKS)
def test_a_disk_that_is_full(sqlite_world, disk):
    """Of every size between what is there and what is needed."""
    world = sqlite_world
    folder = world.folder / disk
    with disk_at(folder):
        night = CrashNight(world)
        least = used_bytes(folder)
        possible = possible_files(world)
        most = used_bytes(folder) + 20 * PAGE
        night.begin()
        refused = 0
        for size in range(least + PAGE, most, (most - least) // N_SIZES // PAGE * PAGE + PAGE):
            for check in night.both_ways_on():
                with remounted(folder, f"size={size}", "size=64m"):
                    result = world.advance()
                told = "\n".join([*(reason for _, reason in result.failed), result.stopped or ""])
                assert result.succeeded or "No space left" in told or "bytes needed" in told, told
                refused += not result.succeeded
                assert files_of(world) <= possible
                check(f"{size} bytes")
        assert refused > N_SIZES // 3
        night.check_audit()
        world.close()


@pytest.mark.parametrize("disk", DISKS)
def test_a_disk_that_is_read_only(sqlite_world, disk):
    world = sqlite_world
    folder = world.folder / disk
    with disk_at(folder):
        night = CrashNight(world)
        for state in ("raw", *STATES[:-1]):
            for check in night.both_ways_on():
                assert world.advance(to=state).succeeded
                with remounted(folder, "ro", "rw"):
                    result = world.advance()
                told = "\n".join([*(reason for _, reason in result.failed), result.stopped or ""])
                assert "Read-only file system" in told, f"{state}: {told}"
                assert str(folder) in told, told
                check(f"read-only from {state} on")
        world.close()


def without_privileges() -> None:
    """Give up what lets root pass by the modes of files."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, none) == 0


def forbidden(world: World, path: Path, mode: int) -> Ran:
    """Advance while a file or folder may not be used."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        return run_under(world, lambda m: m.advance(world.night()), Points(world), prepare=without_privileges)
    finally:
        path.chmod(before)


@pytest.mark.parametrize("state", STATES[:-1])
@pytest.mark.parametrize("where", ["night", "products", "destination"])
def test_a_folder_that_may_not_be_written(sqlite_world, where, state):
    world = sqlite_world
    night = CrashNight(world)
    folders = {"night": world.night().path, "destination": world.destination}
    for check in night.both_ways_on():
        assert world.advance(to=state).succeeded
        ran = forbidden(world, folders.get(where, world.night().path / "vgen2"), 0o500)
        refused = "Permission denied" in ran.complaint
        assert refused or not ran.complaint, ran.complaint
        assert refused or (where, state) in HARMLESS, f"{where} at {state}: {ran.said}"
        check(f"{where} not to be written at {state}")


#: Nothing is written there any more.
HARMLESS = {("products", "compressed"), ("products", "transferred"), ("destination", "transferred")}


def test_a_raw_file_that_may_not_be_read(sqlite_world):
    world = sqlite_world
    night = CrashNight(world)
    raw = next(path for path in sorted((world.night().path / "vcam1").glob("*.fits")))
    for state in ("raw", "synced", "consolidated"):
        for check in night.both_ways_on():
            assert world.advance(to=state).succeeded
            ran = forbidden(world, raw, 0)
            assert "Permission denied" in ran.complaint, state
            assert str(raw) in ran.complaint
            assert ran.said is not None
            check(f"raw not to be read at {state}")


@pytest.mark.parametrize("state", ["raw", "synced", *STATES[:-1]])
@pytest.mark.parametrize("change", ["gone", "older", "longer"])
def test_a_raw_file_that_changes_underneath(sqlite_world, change, state):
    world = sqlite_world
    night = CrashNight(world)
    raw = min((world.night().path / "vcam1").glob("*.fits"))
    for check in night.both_ways_on():
        assert world.advance(to=state).succeeded
        kept, info = raw.read_bytes(), raw.stat()
        if change == "gone":
            raw.unlink()
        elif change == "older":
            os.utime(raw, ns=(info.st_mtime_ns, info.st_mtime_ns - 1))
        else:
            raw.write_bytes(kept + bytes(2880))
        result = world.advance()
        raw.write_bytes(kept)
        os.utime(raw, ns=(info.st_atime_ns, info.st_mtime_ns))
        if state == "raw" and change != "gone":  # of which nothing was made: it is looked at again
            assert result.succeeded or result.quarantined or result.failed
        else:
            assert raw.name in "".join(name + reason for name, reason in result.failed), result
        check(f"{raw.name} {change} at {state}")


@pytest.mark.parametrize("state", STATES[:-1])
@pytest.mark.parametrize("suffix", [".fits*", ".txt"])
def test_a_product_that_vanishes(sqlite_world, suffix, state):
    """The others go on; put back, it goes on too; and without it the night can be taken back and made again."""
    world = sqlite_world
    night = CrashNight(world)
    for number, check in enumerate(night.both_ways_on()):
        assert world.advance(to=state).succeeded
        lost = sorted((world.night().path / "vgen2").glob("v*" + suffix.lower()) or ())
        lost = lost or sorted((world.night().path / "vgen2").glob("V*" + suffix))
        kept = lost[0].read_bytes()
        lost[0].unlink()
        for _ in range(2):
            result = world.advance()
            if state != "transferred":
                assert lost[0].name in "".join(reason for _, reason in result.failed), result
                assert len(result.failed) == 1
                assert sum(result.states.values()) - max(result.states.values()) == 1
        if state == "transferred" or number == 0:
            lost[0].write_bytes(kept)
        check(f"{lost[0].name} vanished at {state}")


def test_a_copy_that_vanishes(sqlite_world):
    """Between the proof of it and the manifest, or after."""
    world = sqlite_world
    night = CrashNight(world)
    for state in ("transferred", "manifested"):
        assert world.advance(to=state).succeeded
        copy = min(world.destination.rglob("*.fz"))
        copy.unlink()
        assert world.advance().succeeded
        night.check_back(f"{copy.name} vanished at {state}")
        night.check_finished("again")
        night.begin()
