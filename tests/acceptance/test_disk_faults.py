"""Disks that are full, read-only or forbidden, files that vanish or change: by the system itself, not injected."""

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest

from ledger.errors import LedgerError
from tests.acceptance.crash_night import IS_WHOLE, CrashNight, directions, simulate_small, whole_or
from tests.acceptance.faults import ACTS, Direction, Points, Ran, run_under
from tests.acceptance.test_crash_errors import STATES, files_of, possible_files
from tests.world import World

PAGE = 4096
#: How many sizes of a disk are tried.
N_SIZES = 40 if IS_WHOLE else 2
#: Folders that can be disks of their own, relative to the world's.
DISKS = {"archive": "archive", "destination": "destination/archive"}
#: Where a run begins that is disturbed.
BEGINS = ("raw", "synced", *STATES)
#: Of those, the ones from which a run needs to write to a disk or folder, or to read a raw cube.
NEEDED = {
    ("advance", "archive disk"): BEGINS[:-1],
    ("advance", "destination disk"): BEGINS[:-1],
    ("advance", "night"): BEGINS[:-1],
    ("advance", "products"): BEGINS[:-3],
    ("advance", "destination"): BEGINS[:-2],
    ("advance", "raw"): BEGINS[:4],
    ("rollback", "archive disk"): BEGINS[2:],
    ("rollback", "destination disk"): BEGINS[-2:],
    ("rollback", "night"): BEGINS[2:],
    ("rollback", "products"): BEGINS[2:],
    ("rollback", "destination"): BEGINS[-2:],
    ("rollback", "raw"): (),  # products that need it are dropped: they can be made of it again
}


@contextmanager
def disk_at(folder: Path) -> Iterator[None]:
    """Have a disk of its own at a folder, in memory."""
    if os.geteuid() != 0 or shutil.which("mount") is None or not mounted(folder, "size=64m"):
        pytest.skip("missing: the right to mount a disk in memory")  # on CI too: it cannot be installed
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


def used_bytes(folder: Path) -> int:
    """Return how much of a disk is used."""
    usage = os.statvfs(folder)
    return (usage.f_blocks - usage.f_bfree) * usage.f_frsize


def complaint(world: World, direction: Direction, **options: str) -> str:
    """Run, and return every error that was told, one a line: none if all went well."""
    try:
        result = ACTS[direction](world, **options)(world.machine())
    except LedgerError as exc:
        return str(exc)
    told = [*(f"{name}: {reason}" for name, reason in result.failed), result.stopped or ""]
    assert result.succeeded or any(told)
    return "\n".join(filter(None, told))


def check_told(told: str, direction: Direction, what: str, state: str, expected: tuple[str, ...]) -> None:
    """Check that an error is told where `what` is needed, with all that is expected; and none elsewhere."""
    assert bool(told) == (state in NEEDED[direction, what]), f"{direction} from {state}: {told}"
    assert not told or all(text in told for text in expected), f"{direction} from {state}: {told}"


@pytest.mark.parametrize(
    ("disk", "direction"), [("archive", "advance"), ("destination", "advance"), ("archive", "rollback")]
)
def test_a_disk_that_is_full(sqlite_world, disk, direction):
    """Of every size between what is there when the run begins and what is needed; cubes unpacked are twice there."""
    world = sqlite_world
    folder = world.folder / DISKS[disk]
    world.data["space"] = {"keep_free_mb": None}  # otherwise the night is refused before the disk is full
    options = {"to": "identified"} if direction == "rollback" else {}  # further back, products are dropped
    with disk_at(folder):
        night = CrashNight(world, direction)
        least = used_bytes(folder)
        night.check_back("first")
        raw = used_bytes(folder)
        possible = possible_files(world)
        n_pages = 2 * (used_bytes(folder) - raw) // PAGE
        refused = 0
        for number in range(N_SIZES):
            size = least + (1 + n_pages * number // N_SIZES) * PAGE
            for check in night.both_ways_on():
                with remounted(folder, f"size={size}", "size=64m"):
                    told = complaint(world, direction, **options)
                assert not told or "No space left" in told or "bytes needed" in told, told
                assert not told or str(folder) in told, told
                refused += bool(told)
                assert files_of(world) <= possible
                check(f"{size} bytes")
        assert refused >= N_SIZES // 2
        night.check_audit()
        world.close()


@pytest.mark.parametrize("disk", DISKS)
def test_a_disk_that_is_too_small_is_told_beforehand(sqlite_world, disk):
    """Nothing is written; and with as much room as it says is missing, the night goes through."""
    world = sqlite_world
    folder = world.folder / DISKS[disk]
    with disk_at(folder):
        simulate_small(world)
        assert world.advance(to="synced").succeeded
        before = world.tree(), world.tree(world.destination)
        kept_bytes = 10**6
        world.data["space"] = {"keep_free_mb": kept_bytes / 1e6}
        size = used_bytes(folder) + kept_bytes // PAGE * PAGE
        with remounted(folder, f"size={size}", "size=64m"):
            told = complaint(world, "advance")
        found = re.search(r": ([\d,]+) bytes short", told)
        assert found, told
        assert str(folder) in told
        assert (world.tree(), world.tree(world.destination)) == before
        missing_bytes = int(found[1].replace(",", ""))
        assert missing_bytes > 10 * PAGE
        with remounted(folder, f"size={size + missing_bytes - 2 * PAGE}", "size=64m"):
            assert "bytes short" in complaint(world, "advance")
        assert (world.tree(), world.tree(world.destination)) == before
        with remounted(folder, f"size={size + missing_bytes + 2 * PAGE}", "size=64m"):
            assert not complaint(world, "advance")
        world.close()


@pytest.mark.parametrize(
    ("disk", "direction"), whole_or(product(DISKS, ACTS), (("archive", "rollback"), ("destination", "advance")))
)
def test_a_disk_that_is_read_only(sqlite_world, disk, direction):
    world = sqlite_world
    folder = world.folder / DISKS[disk]
    world.data["space"] = {"keep_free_mb": None}  # the disk is a small one
    with disk_at(folder):
        night = CrashNight(world)
        for state in whole_or(BEGINS, ("synced", "transferred")):
            for check in night.both_ways_on():
                assert world.advance(to=state).succeeded
                with remounted(folder, "ro", "rw"):
                    told = complaint(world, direction)
                check_told(told, direction, f"{disk} disk", state, ("Read-only file system", str(folder)))
                check(f"read-only from {state} on")
        world.close()


def without_privileges() -> None:
    """Give up what lets root pass by the modes of files."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, none) == 0


def forbidden(world: World, direction: Direction, path: Path, mode: int) -> Ran:
    """Run while a file or folder may not be used."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        return run_under(world, ACTS[direction](world), Points(world), prepare=without_privileges)
    finally:
        path.chmod(before)


@pytest.mark.parametrize(
    ("direction", "where", "state"),
    whole_or(
        product(ACTS, ("night", "products", "destination"), STATES),
        (
            ("advance", "night", "transferred"),
            ("advance", "destination", "compressed"),
            ("rollback", "products", "identified"),
        ),
    ),
)
def test_a_folder_that_may_not_be_written(sqlite_world, direction, where, state):
    world = sqlite_world
    night = CrashNight(world)
    folders = {"night": world.night().path, "destination": world.destination}
    for check in night.both_ways_on():
        assert world.advance(to=state).succeeded
        folder = folders.get(where, world.night().path / "vgen2")
        told = forbidden(world, direction, folder, 0o500).complaint
        check_told(told, direction, where, state, ("Permission denied", str(folder)))
        check(f"{where} not to be written at {state}")


@directions
def test_a_raw_file_that_may_not_be_read(sqlite_world, direction):
    world = sqlite_world
    night = CrashNight(world)
    raw = min((world.night().path / "vcam1").glob("*.fits"))
    for state in whole_or(BEGINS, ("synced",)):
        for check in night.both_ways_on():
            assert world.advance(to=state).succeeded
            told = forbidden(world, direction, raw, 0).complaint
            check_told(told, direction, "raw", state, ("Permission denied", str(raw)))
            check(f"raw not to be read at {state}")


@pytest.mark.parametrize(
    ("direction", "change", "state"),
    whole_or(
        product(ACTS, ("gone", "older", "longer", "timing"), BEGINS),
        (
            ("advance", "gone", "raw"),
            ("advance", "older", "fixed"),
            ("advance", "timing", "synced"),
            ("rollback", "gone", "consolidated"),
            ("rollback", "longer", "identified"),
        ),
    ),
)
def test_a_raw_file_that_changes_underneath(sqlite_world, direction, change, state):
    world = sqlite_world
    night = CrashNight(world)
    raw = min((world.night().path / "vcam1").glob("*.fits"))
    file = raw.with_suffix(".txt") if change == "timing" else raw
    kept, info = file.read_bytes(), file.stat()
    for check in night.both_ways_on():
        assert world.advance(to=state).succeeded
        if change == "gone":
            file.unlink()
        elif change == "older":
            os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns - 1))
        elif change == "longer":
            file.write_bytes(kept + bytes(2880))
        else:
            file.write_bytes(kept[:-2] + bytes([kept[-2] ^ 1]) + kept[-1:])
        if state == "raw" and direction == "advance":  # of which nothing was made: it is looked at again
            world.advance(to="raw")
        else:
            is_needed = direction == "advance" or (change in ("gone", "longer") and state in STATES)
            told = complaint(world, direction)
            assert (raw.name in told) == is_needed, told
        if direction == "advance" and state == "synced":  # products of other files go on
            assert ("fixed",) in world.query("SELECT state FROM file WHERE kind = 'product'")
        file.write_bytes(kept)
        os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
        check(f"{file.name} {change} at {state}")


@pytest.mark.parametrize(
    ("suffix", "state"),
    whole_or(product((".fits*", ".txt"), STATES[:-1]), ((".fits*", "identified"), (".txt", "fixed"))),
)
def test_a_product_that_vanishes(sqlite_world, suffix, state):
    """The others go on; put back, it goes on too; and without it the night can be taken back and made again."""
    world = sqlite_world
    night = CrashNight(world)
    for number, check in enumerate(night.both_ways_on()):
        assert world.advance(to=state).succeeded
        lost = min((world.night().path / "vgen2").glob(f"[vV]*{suffix}"))
        kept = lost.read_bytes()
        lost.unlink()
        for _ in range(2):
            result = world.advance()
            if state != "transferred":
                assert lost.name in "".join(reason for _, reason in result.failed), result
                assert len(result.failed) == 1
                assert sum(result.states.values()) - max(result.states.values()) == 1
        if state == "transferred" or number == 0:
            lost.write_bytes(kept)
        check(f"{lost.name} vanished at {state}")


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
