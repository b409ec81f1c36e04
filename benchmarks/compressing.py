"""How fast cubes are compressed and proven, on one core, against `fpack -r` on the same cubes in the same run.

    no proof    the file is written, synced, read back and hashed             budget 3 x
    proven      every tile is decoded too and compared with the plain cube    budget 1.5 x
    without C   not proven, by imagecodecs alone                              budget 0.95 x
    the same    proven

The ways take turns; medians are compared. What fpack writes is synced as well.

    python benchmarks/compressing.py [--frames N] [--repeats N]
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stages import compressed, rice
from stages.base import Instrument, Job, Product, Stream
from stages.cards import padded
from stages.compressed import Parameters

#: Frames and their size, as in the trials that the budgets come from: 115 MB and 131 MB.
CUBES = {"200 x 536 x 536": (200, 536, 536), "1000 x 256 x 256": (1000, 256, 256)}
N_CARDS = 390
NAME = "cube.fits"


def write_cube(path: Path, shape: tuple[int, int, int], rng: np.random.Generator) -> None:
    """Write a cube of a star on a noisy background, with a header of a usual length."""
    frames, rows, columns = shape
    sizes = {"SIMPLE": "T", "BITPIX": 16, "NAXIS": 3, "NAXIS1": columns, "NAXIS2": rows, "NAXIS3": frames}
    cards = [f"{keyword:<8}= {value!s:>20}" for keyword, value in sizes.items()]
    cards += [f"KEY{i:05d}= {i / 7:20.12f} / a number" for i in range(N_CARDS - len(cards) - 2)]
    cards += [f"{'BSCALE':<8}= {1:>20}", f"{'BZERO':<8}= {32768:>20}", "END"]
    header = "".join(f"{card:<80}" for card in cards).encode()
    y, x = np.indices((rows, columns))
    star = 200 + 8000 * np.exp(-((y - rows / 2) ** 2 + (x - columns / 2) ** 2) / 50)
    with path.open("wb") as file:
        file.write(header.ljust(padded(len(header))))
        for _ in range(frames):
            frame = rng.poisson(star) + rng.normal(0, 6, star.shape)
            file.write((np.clip(frame, 0, 65535) - 32768).astype(">i2").tobytes())
        file.write(bytes(-file.tell() % 2880))


def ours(folder: Path, *, prove: bool) -> None:
    """Compress as the stage does."""
    product = Product("0" * 64, "cube", 1, "A", True, 0, (), (), 0, 0, 0, files=(NAME,))
    instrument = Instrument("VAMPIRES", (Stream("vcam1", 1), Stream("vcam2", 2)))
    outcome = compressed.forward(
        job=Job(folder, "20260102", folder, instrument, products=(product,)), params=Parameters(prove=prove)
    )
    for temporary in outcome.outputs.values():
        temporary.unlink()


def without_c(folder: Path, *, prove: bool) -> None:
    """Compress as where there is no compiler."""
    compiled, rice._compiled = rice._compiled, None  # noqa: SLF001
    try:
        ours(folder, prove=prove)
    finally:
        rice._compiled = compiled  # noqa: SLF001


def fpack(folder: Path) -> None:
    """Compress by cfitsio's tool, in its default way."""
    made = folder / f"{NAME}.fz"
    subprocess.run(["fpack", "-r", NAME], cwd=folder, check=True)
    descriptor = os.open(made, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    made.unlink()


def measure(ways: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Return the median time of each, seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, help="of each cube (default: as many as make about 120 MB)")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print(f"pixels of 16 bits are encoded by {rice.encoder()}")
    if shutil.which("fpack") is None:
        print("fpack is not installed: no baseline, so nothing is measured (Debian: libcfitsio-bin)")
        return 0
    rng = np.random.default_rng(1)
    for name, (frames, rows, columns) in CUBES.items():
        with tempfile.TemporaryDirectory() as folder_name:
            folder = Path(folder_name)
            write_cube(folder / NAME, (arguments.frames or frames, rows, columns), rng)
            size_bytes = (folder / NAME).stat().st_size
            ways = {
                "fpack -r": lambda folder=folder: fpack(folder),
                "no proof": lambda folder=folder: ours(folder, prove=False),
                "proven": lambda folder=folder: ours(folder, prove=True),
                "without C": lambda folder=folder: without_c(folder, prove=False),
                "the same": lambda folder=folder: without_c(folder, prove=True),
            }
            seconds = measure(ways, arguments.repeats)
        budgets = {"no proof": "budget 3", "proven": "budget 1.5", "without C": "budget 0.95"}
        for way, median in seconds.items():
            ratio = seconds["fpack -r"] / median
            told = f"{size_bytes / median / 1e6:7.0f} MB/s  {ratio:5.2f} x fpack -r  {budgets.get(way, '')}"
            print(f"{name:<18} {way:<10} {told}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
