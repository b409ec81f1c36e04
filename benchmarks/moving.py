"""How fast frames are moved: from raw cubes into a product, and from a product to a proven copy.

consolidated    frames of three cubes into one, synced, against `cp` of as many bytes, synced   budget 1 x
memory          of a process that does it, and compresses and proves it: as much for any length
proven copy     written, synced, read again from the disk and hashed, against `cp`, synced, and
                `sha256sum` of both                                                             budget 3.5 x
the same        against `rsync -a`, synced, which proves nothing                                budget 0.8 x

python benchmarks/moving.py [--frames N] [--long N] [--repeats N]
"""

import argparse
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import common
import compressing
import numpy as np
from astropy.io import fits
from common import CUBES, Figure

from stages.fits import cubes
from stages.product import Run
from stages.transport import proof

N_SOURCES = 3
N_COPIES = 4


def consolidate(sources: list[Path], target: Path, runs: tuple[Run, ...]) -> None:
    """Copy frames as the stage does."""
    layouts = [cubes.read_cube_layout(path) for path in sources]
    cubes.copy_frames(target, layouts[0].header, [(layout, runs) for layout in layouts])


def by_astropy(sources: list[Path], target: Path, runs: tuple[Run, ...]) -> None:
    """Copy frames in the plain way."""
    ((first, step, n),) = runs
    data = [fits.getdata(path)[first : first + step * n : step] for path in sources]
    fits.PrimaryHDU(np.concatenate(data), fits.getheader(sources[0])).writeto(target, overwrite=True)
    common.sync(target)


def consolidated(folder: Path, shape: tuple[int, int, int], repeats: int) -> Iterator[Figure]:
    """Measure the copying of every third frame of three cubes."""
    n, rows, columns = shape
    rng = np.random.default_rng(1)
    sources = [folder / f"raw{i}.fits" for i in range(N_SOURCES)]
    common.write_cube(sources[0], shape, rng)
    for path in sources[1:]:
        shutil.copy(sources[0], path)
    alternate, whole = ((0, N_SOURCES, n // N_SOURCES),), ((0, 1, n // N_SOURCES),)
    target = folder / "product.fits"
    consolidate(sources, folder / "as_many.fits", alternate)
    size_bytes = (folder / "as_many.fits").stat().st_size

    def cp() -> None:
        common.run("cp", folder / "as_many.fits", target)
        common.sync(target)

    ways = {
        "cp": cp,
        "frames that alternate": lambda: consolidate(sources, target, alternate),
        "frames in a row": lambda: consolidate(sources, target, whole),
        "astropy": lambda: by_astropy(sources, target, alternate),
    }
    seconds = common.taking_turns(ways, repeats)
    base = seconds.pop("cp")
    for way, median in seconds.items():
        part = f"consolidated, {way}, {rows} x {columns}" if way != "astropy" else f"astropy, the plain way, {rows}"
        budget = None if way == "astropy" else 1.0
        speed = f"{size_bytes / median / 1e6:.0f} MB/s"
        yield common.compared(part, speed, f"cp, {size_bytes / base / 1e6:.0f} MB/s", base / median, budget)


def copied(folder: Path, shape: tuple[int, int, int], repeats: int) -> Iterator[Figure]:
    """Measure proven copies of several files, two in flight."""
    common.write_cube(folder / "0.fz", shape, np.random.default_rng(1))
    sources = [folder / f"{i}.fz" for i in range(N_COPIES)]
    for path in sources[1:]:
        shutil.copy(sources[0], path)
    there = folder / "there"
    there.mkdir()
    finals = [there / path.name for path in sources]
    size_bytes = sum(path.stat().st_size for path in sources)

    def cleared() -> None:
        for path in finals:
            path.unlink(missing_ok=True)

    def ours() -> None:
        cleared()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(proof.copy_proven, sources, finals))
        proof.sync_folder(there)

    def by_tools() -> None:
        cleared()
        common.run("cp", *sources, there)
        common.sync(*finals, there)
        common.run("sha256sum", *sources, *finals)

    def rsync() -> None:
        cleared()
        common.run("rsync", "-a", *sources, there)
        common.sync(*finals, there)

    ways = {"ours": ours, "cp + sha256sum of both": by_tools}
    if common.has("rsync"):
        ways["rsync -a"] = rsync
    seconds = common.taking_turns(ways, repeats)
    median = seconds.pop("ours")
    for way, base in seconds.items():
        baseline = f"{way}, {size_bytes / base / 1e6:.0f} MB/s"
        budget = 0.8 if way == "rsync -a" else 3.5
        yield common.compared(
            "proven local copy", f"{size_bytes / median / 1e6:.0f} MB/s", baseline, base / median, budget
        )
    if "rsync -a" not in ways:
        yield common.absent("proven local copy", "rsync")


def peak_kib() -> int:
    """Return the most memory that this process ever had."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss begins with that of the process that started this one
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # bytes, on macOS


def peak_mib(frames: int, folder: Path) -> float:
    """Return the greatest memory of a process that consolidates, compresses and proves a cube of so many frames."""
    command = [sys.executable, __file__, "--one", str(folder), str(frames)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def one(folder: Path, frames: int) -> None:
    """Consolidate, compress and prove one cube of `frames` frames, and print how much memory that took, MiB."""
    source = cubes.read_cube_layout(folder / "source.fits")
    n = source.shape[0]
    header = source.header.replace(b"= %20d" % n, b"= %20d" % frames, 1)
    cubes.copy_frames(folder / compressing.NAME, header, [(source, ((0, 1, n),))] * (frames // n))
    compressing.ours(folder, prove=True)
    print(peak_kib() / 1024)


def memory(folder: Path, shape: tuple[int, int, int], long: int) -> Iterator[Figure]:
    """Measure the memory of a short cube and of a long one."""
    common.write_cube(folder / "source.fits", (10, *shape[1:]), np.random.default_rng(1))
    short = shape[0]
    sizes = {n: peak_mib(n, folder) for n in (short, long)}
    frame_bytes = shape[1] * shape[2] * 2
    for n, mib in sizes.items():
        yield common.limited(f"memory of a worker, cube of {n * frame_bytes / 1e9:.2f} GB", mib, "MiB", 300, 0)


def figures(repeats: int = 5, frames: int | None = None, long: int = 2090) -> Iterator[Figure]:
    """Measure all of it."""
    for shape in CUBES.values():
        with tempfile.TemporaryDirectory() as folder:
            yield from consolidated(Path(folder), (frames or shape[0], *shape[1:]), repeats)
    shape = (frames or 200, 536, 536)
    for part in (copied, memory):
        with tempfile.TemporaryDirectory() as folder:
            yield from part(Path(folder), shape, repeats if part is copied else long)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, help="of each cube (default: as many as make about 120 MB)")
    parser.add_argument("--long", type=int, default=2090, help="frames of the long cube (default: 1.2 GB)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(Path(arguments.one[0]), int(arguments.one[1]))
        return 0
    common.show(figures(arguments.repeats, arguments.frames, arguments.long))
    return 0


if __name__ == "__main__":
    sys.exit(main())
