"""How long a whole night takes, from raw to manifested, and where the time goes.

night           against the sum of `cp` of the raw files, synced, `fpack -r` of that on all processors, synced, and a
                copy of what that made, proven by `cp`, sync and `sha256sum` of both            budget 0.6 x the sum
utilisation     of all processors meanwhile
bytes           read and written by the ledger's calls, for each byte of raw
scaling         with 1, 2, … workers, and with a night of a tenth of the size; --plot draws it (extra `report`)

python benchmarks/night.py [--scale N] [--size NY NX] [--repeats N] [--workers N …] [--plot FILE]
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import common
from common import Figure

from ledger.cli import app
from ledger.simulation.night import simulate_night

DATE = "20260102"
#: Numbers of workers to compare.
WORKERS = (1, 2, 3, 4)
#: Scale of the simulated night: 3.2 GB of raw files, in cubes of 144 and 172 MB, of two targets' angles.
SCALE = 3.0
SHAPE = (536, 536)


class Place:
    """A folder with a night's raw files, to be taken through again and again.

    Parameters
    ----------
    folder : Path
        Where it is written.
    scale : float
        See `ledger simulate`.
    shape : tuple of int
        Rows and columns of a frame.
    """

    def __init__(self, folder: Path, scale: float, shape: tuple[int, int]) -> None:
        self.folder = folder
        simulate_night(folder / "archive", DATE, scenario=("pdi",), scale=scale, shape=shape)
        self.night = folder / "archive" / DATE
        self.streams = sorted(self.night.iterdir())
        self.raw_bytes = sum(path.stat().st_size for path in self.night.rglob("*.fits"))
        (folder / "destination").mkdir()
        self.environment = {
            "LEDGER_DATABASE__URL": f"sqlite:///{folder / 'ledger.db'}",
            "LEDGER_ARCHIVE__ROOT": str(folder / "archive"),
            "LEDGER_ENGINEERING__ROOT": str(folder / "engineering"),
            "LEDGER_TRANSFER__DESTINATION": str(folder / "destination"),
            "LEDGER_LOG": str(folder / "ledger.log"),
            "LEDGER_BACKUP__FOLDER": str(folder / "backups"),
        }

    def clear(self) -> None:
        """Leave nothing but raw files, all of them on disk."""
        for path in self.night.iterdir():
            if path not in self.streams:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in (*self.folder.glob("ledger.db*"), *self.folder.glob("ledger.log*")):
            path.unlink()
        for name in ("destination", "backups", "copy", "proven"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "destination").mkdir()
        os.sync()

    def advance(self, *options: str) -> float:
        """Take the night all the way; return the seconds."""
        self.clear()
        common.ledger(self.environment, "init")
        start = time.perf_counter()
        common.ledger(self.environment, "advance", "--date", DATE, *options)
        return time.perf_counter() - start

    def by_tools(self) -> float:
        """Copy, compress, copy and prove with tools; return the seconds."""
        self.clear()
        copy, proven = self.folder / "copy", self.folder / "proven"
        copy.mkdir()
        proven.mkdir()
        start = time.perf_counter()
        common.run("cp", "-r", *self.streams, copy)
        cubes = sorted(copy.rglob("*.fits"))
        common.sync(*cubes)
        listed = "\0".join(map(str, cubes)).encode()
        subprocess.run(["xargs", "-0", "-n", "1", "-P", str(os.cpu_count()), "fpack", "-r"], input=listed, check=True)
        packed = [Path(f"{cube}.fz") for cube in cubes]
        common.sync(*packed)
        copies = [proven / path.name for path in packed]
        common.run("cp", *packed, proven)
        common.sync(*copies, proven)
        common.run("sha256sum", *packed, *copies)
        return time.perf_counter() - start


class Busy(NamedTuple):
    """What the processors did since the system began, in ticks."""

    total: int
    idle: int

    @classmethod
    def now(cls) -> "Busy | None":
        """Return it; None where the system does not tell."""
        path = Path("/proc/stat")
        if not path.exists():
            return None
        ticks = [int(word) for word in path.read_text().splitlines()[0].split()[1:9]]
        return cls(sum(ticks), ticks[3] + ticks[4])


def utilisation(before: Busy | None, after: Busy | None) -> float | None:
    """Return how much of the processors' time was used between two looks, from 0 to 1."""
    if before is None or after is None or after.total == before.total:
        return None
    return 1 - (after.idle - before.idle) / (after.total - before.total)


def whole(place: Place, repeats: int) -> Iterator[Figure]:
    """Compare the night with the sum of what tools take for its parts."""
    ours, theirs, used = [], [], []
    for _ in range(repeats):
        before = Busy.now()
        ours.append(place.advance())
        share = utilisation(before, Busy.now())
        used += [] if share is None else [share]
        if common.has("fpack"):
            theirs.append(place.by_tools())
    seconds = statistics.median(ours)
    part, told = f"night of {place.raw_bytes / 1e9:.2f} GB, raw to manifested", f"{seconds:.1f} s"
    if theirs:
        base = statistics.median(theirs)
        ratio = seconds / base
        baseline = f"cp + fpack -r + proven copy, {base:.1f} s"
        yield Figure(part, told, baseline, f"{ratio:.2f} x", "<= 0.6 x", round(ratio, 2) <= 0.6)
    else:
        yield common.absent(part, "fpack (Debian: libcfitsio-bin)")
    if used:
        yield Figure("processors in use meanwhile, all of them: 100 %", f"{100 * statistics.median(used):.0f} %")


def moved_bytes(place: Place) -> Iterator[Figure]:
    """Count what the ledger reads and writes, all in one process."""
    place.clear()
    common.ledger(place.environment, "init")
    command = [sys.executable, __file__, "--count"]
    environment = {**os.environ, **place.environment, "LEDGER_ENGINE__EXECUTOR": "inline"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    for name, count in (line.split() for line in done.stdout.splitlines() if line.startswith(("read", "written"))):
        yield Figure(f"bytes {name} for each byte of raw", f"{int(count) / place.raw_bytes:.2f}")


def count() -> None:
    """Take the night all the way in this process, and say how many bytes its calls moved."""
    try:
        app(["advance", "--date", DATE])
    except SystemExit as exc:
        if exc.code:
            raise
    found = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    print(f"\nread {found['rchar']}\nwritten {found['wchar']}")


class Scaling(NamedTuple):
    """Seconds by the number of workers, and by the size of the night in bytes."""

    by_workers: dict[int, float]
    by_bytes: dict[int, float]


def scaling(place: Place, small: Place, repeats: int, workers: Sequence[int]) -> Scaling:
    """Measure with 1, 2, … workers, and two sizes of the night."""
    by_workers: dict[int, list[float]] = {}
    by_bytes: dict[int, list[float]] = {}
    for _ in range(repeats):
        for n in workers:
            by_workers.setdefault(n, []).append(place.advance("--jobs", str(n)))
        for sized in (small, place):
            by_bytes.setdefault(sized.raw_bytes, []).append(sized.advance())
    medians = [{key: statistics.median(found) for key, found in some.items()} for some in (by_workers, by_bytes)]
    return Scaling(*medians)


def told(found: Scaling, raw_bytes: int) -> Iterator[Figure]:
    """Return the figures of a scaling."""
    fewest, one = next(iter(found.by_workers.items()))
    for n, seconds in found.by_workers.items():
        speed = f"{raw_bytes / seconds / 1e6:.0f} MB/s"
        yield Figure(f"night with {n} worker{'s' * (n > 1)}", speed, f"{fewest}", f"{one / seconds:.2f} x")
    for size, seconds in sorted(found.by_bytes.items()):
        yield Figure(f"night of {size / 1e9:.2f} GB", f"{size / seconds / 1e6:.0f} MB/s, {seconds:.1f} s")


def plot(found: Scaling, raw_bytes: int, path: Path) -> None:
    """Draw a scaling."""
    from matplotlib import rcParams  # noqa: PLC0415  of the extra `dev`
    from matplotlib.figure import Figure as Sheet  # noqa: PLC0415

    rcParams["svg.hashsalt"] = "ledger"  # the same bytes for the same figures
    sheet = Sheet(figsize=(9, 3.4), layout="constrained")
    left, right = sheet.subplots(1, 2)
    speeds = [raw_bytes / seconds / 1e6 for seconds in found.by_workers.values()]
    left.plot(list(found.by_workers), speeds, "o-", label="measured")
    left.plot(list(found.by_workers), [speeds[0] * n for n in found.by_workers], ":", label="in proportion")
    left.axvline(os.cpu_count() or 1, color="0.8", label="processors")
    left.set(xlabel="workers", ylabel="raw MB/s", xticks=list(found.by_workers))
    left.set_ylim(0, max(speeds) * 1.6)
    left.legend()
    sizes = sorted(found.by_bytes)
    seconds = [found.by_bytes[size] for size in sizes]
    right.plot([size / 1e9 for size in sizes], seconds, "o-")
    right.set(xlabel="raw, GB", ylabel="seconds", xlim=(0, None), ylim=(0, None))
    sheet.savefig(path, metadata={"Date": None})


def figures(
    repeats: int = 3,
    scale: float = SCALE,
    shape: tuple[int, int] = SHAPE,
    picture: Path | None = None,
    workers: Sequence[int] = WORKERS,
) -> Iterator[Figure]:
    """Measure all of it."""
    with tempfile.TemporaryDirectory() as name:
        place = Place(Path(name, "night"), scale, shape)
        small = Place(Path(name, "small"), scale / 10, shape)
        yield from whole(place, repeats)
        if Path("/proc/self/io").exists():
            yield from moved_bytes(place)
        found = scaling(place, small, repeats, workers)
    yield from told(found, place.raw_bytes)
    if picture is not None:
        plot(found, place.raw_bytes, picture)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=SCALE, help=f"of the night (default {SCALE:g}: 3.2 GB)")
    parser.add_argument("--size", type=int, nargs=2, default=SHAPE, help="rows and columns of a frame")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--plot", type=Path, help="draw the scaling here (SVG)")
    parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.count:
        count()
        return 0
    common.show(figures(arguments.repeats, arguments.scale, tuple(arguments.size), arguments.plot, arguments.workers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
