"""An error of the system at every fault point: it is told, the rest goes on, and the next run makes up for it."""

import hashlib
import os
from pathlib import Path

from stages.base import TEMPORARY_PREFIX
from stages.fits.cards import BLOCK
from tests.acceptance.crash_night import CrashNight, chosen, directions, portions
from tests.acceptance.faults import ERRORS, Ran, fails, run, short
from tests.world import World

#: Of the night's products, at every level.
HEADER_BYTES = 12 * BLOCK
#: States that the night is taken to, to see which files there can be.
STATES = ("consolidated", "fixed", "identified", "compressed", "transferred", "manifested")


def files_of(world: World) -> set[tuple[str, str]]:
    """Return what is under final names: each file with its hash, checksums line by line, as some may be missing.

    A plain cube's header is left out: it is written in place, and made again by the next run.
    """
    found = set()
    for root in (world.night().path, world.destination):
        for path in root.rglob("*"):
            if path.is_dir() or path.name.startswith(TEMPORARY_PREFIX):
                continue
            content = path.read_bytes()
            if path.suffix == ".fits" and path.parent.name == "vgen2":
                content = content[HEADER_BYTES:]
            pieces = content.splitlines(keepends=True) if path.name == "SHA256SUMS" else [content]
            found |= {(path.name, hashlib.sha256(piece).hexdigest()) for piece in pieces}
    return found


def possible_files(world: World) -> set[tuple[str, str]]:
    """Take the night from state to state, and return every file that there is in one of them."""
    found = files_of(world)
    for state in STATES:
        assert world.advance(to=state).succeeded
        found |= files_of(world)
    return found


def _is_of_a_checkpoint(ran: Ran, at: int) -> bool:
    """Whether SQLite had committed, and synced its log again to clear it: it does so another time, and says nothing."""
    return ran.points[at].endswith("-wal") and ran.points[at - 1 : at + 1] == [ran.points[at]] * 2


def check_told(ran: Ran, at: int, number: int) -> None:
    """Check that the error is told, names what it happened to, and that the other products went on."""
    assert ran.said is not None
    point = ran.points[at]
    path = Path(point.split(" ", 1)[1])
    if _is_of_a_checkpoint(ran, at):
        return
    if not ran.complaint:  # a product that is not to be had back is dropped: it can be made again
        assert ran.said["remarks"], point
        return
    if path.name.endswith("-wal"):
        assert path.name.removesuffix("-wal") in ran.complaint, f"{point}: {ran.complaint}"
        return
    assert os.strerror(number) in ran.complaint, f"{point}: {ran.complaint}"
    names = {str(path), str(path.with_name(path.name.removeprefix(TEMPORARY_PREFIX))), str(path.parent)}
    assert any(name in ran.complaint for name in names), f"{point}: {ran.complaint}"
    if path.parent.name == "vgen2" and "destination" not in path.parts and "lineage" not in path.name:
        assert len(ran.said["failed"]) <= 1, f"{point}: {ran.complaint}"
        states = ran.said["states"].values()
        assert sum(states) - max(states, default=0) <= 1, f"{point}: {ran.said['states']}"


@directions
@portions
def test_an_error_at_every_fault_point(sqlite_world, direction, portion):
    world = sqlite_world
    night = CrashNight(world, direction)
    n_points = night.count()
    night.check_back("first")
    possible = possible_files(world)
    for at in chosen(n_points, portion, sample=4):
        number = ERRORS[at % len(ERRORS)]
        for check in night.both_ways_on():
            ran = run(world, night.act, at, fails(number))
            check_told(ran, at, number)
            half_made = files_of(world) - possible
            assert not half_made, f"{ran.points[at]}: {half_made}"
            check(f"{os.strerror(number)} at {at}, {ran.points[at]}")
    night.check_audit()


@directions
@portions
def test_a_short_write_at_every_fault_point(sqlite_world, direction, portion):
    """The system may write less than it was given, and say so: nobody is to notice."""
    night = CrashNight(sqlite_world, direction)
    for at in chosen(night.count(), portion, sample=2):
        night.begin()
        ran = run(sqlite_world, night.act, at, short)
        assert ran.said is not None
        if ran.points[at].endswith("-wal"):
            continue  # SQLite takes it for a full disk
        assert not ran.complaint, f"{ran.points[at]}: {ran.complaint}"
        check = night.check_finished if direction == "advance" else night.check_back
        check(f"short at {at}, {ran.points[at]}")
