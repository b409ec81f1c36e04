"""How fast cubes are compressed and proven, on one core, against `fpack -r` on the same cubes in the same run.

    no proof    the file is written, synced, read back and hashed             budget 3 x
    proven      every tile is decoded too and compared with the plain cube    budget 1.5 x
    without C   not proven, by imagecodecs alone                              budget 0.95 x
    the same    proven

The ways take turns; medians are compared. What fpack writes is synced as well.

    python benchmarks/compressing.py [--frames N] [--repeats N]
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import common
import numpy as np
from common import CUBES, Figure

from stages import compressed
from stages.base import Job
from stages.compressed import Parameters
from stages.fits import rice
from stages.instrument import Instrument, Stream
from stages.product import Product

NAME = "cube.fits"


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
    common.run("fpack", "-r", NAME, cwd=folder)
    common.sync(made)
    made.unlink()


def figures(repeats: int = 5, frames: int | None = None) -> Iterator[Figure]:
    """Measure."""
    if not common.has("fpack"):
        yield common.absent("compressed", "fpack (Debian: libcfitsio-bin)")
        return
    rng = np.random.default_rng(1)
    for name, (n, rows, columns) in CUBES.items():
        with tempfile.TemporaryDirectory() as folder_name:
            folder = Path(folder_name)
            common.write_cube(folder / NAME, (frames or n, rows, columns), rng)
            size_bytes = (folder / NAME).stat().st_size
            seconds = common.taking_turns(
                {
                    "fpack": lambda folder=folder: fpack(folder),
                    "not proven": lambda folder=folder: ours(folder, prove=False),
                    "every tile proven": lambda folder=folder: ours(folder, prove=True),
                    "not proven, no compiler": lambda folder=folder: without_c(folder, prove=False),
                    "every tile proven, no compiler": lambda folder=folder: without_c(folder, prove=True),
                },
                repeats,
            )
        budgets = {"not proven": 3.0, "every tile proven": 1.5, "not proven, no compiler": 0.95}
        base = seconds.pop("fpack")
        for way, median in seconds.items():
            speed = f"{size_bytes / median / 1e6:.0f} MB/s"
            baseline = f"fpack -r, {size_bytes / base / 1e6:.0f} MB/s"
            yield common.compared(f"compressed, {way}, {name}", speed, baseline, base / median, budgets.get(way))


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, help="of each cube (default: as many as make about 120 MB)")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print(f"pixels of 16 bits are encoded by {rice.encoder()}")
    common.show(figures(arguments.repeats, arguments.frames))
    return 0


if __name__ == "__main__":
    sys.exit(main())
