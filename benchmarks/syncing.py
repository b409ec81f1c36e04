"""How fast times are read, frames are paired and FLC states are read, and in how much memory a night is synced.

Writes a night of timing files (no cubes: the stage `synced` reads no pixels) and measures, on one core:

    reading     rows per second of `read_timing`, against `numpy.loadtxt` on the same file     budget 10 x
    pairing     frames per second of `pair_frames` and `read_states` together                  budget 10^7 /s
    synced      frames per second of the whole stage, timing files included
    memory      growth of the process while a night is synced that is ten times as long as a block of it

    python benchmarks/syncing.py
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import common
import numpy as np
from common import Figure

from ledger.simulation._trains import Sight, Walk, flc_states, frames_seen, trigger_times
from stages import synced
from stages.base import Job
from stages.fits.timing import Timing, format_timing, read_timing
from stages.instrument import Instrument, Stream
from stages.pairing.flc import read_states
from stages.pairing.pairs import Seen, pair_frames
from stages.product import Raw
from stages.synced import Parameters

START_US = 1_767_333_600_000_000
RATE_HZ, DITHER_US, EXPOSURE_US = 500.0, 80, 1500
CUBE_FRAMES = 5000
BLOCK_FRAMES = 200_000
PAUSE_US = 10_000_000
REPEATS = 5


def make_block(rng: np.random.Generator, n_triggers: int, drop: float) -> list[np.ndarray]:
    """Return the times of both cameras' frames, microseconds."""
    flc = flc_states(n_triggers, rng)
    train_us = trigger_times(flc, period_us=1e6 / RATE_HZ, dither_us=DITHER_US, walk=Walk(), rng=rng)
    sights = [Sight(offset_us=offset_us, drop=drop) for offset_us in (0.0, 110.0)]
    return [frames_seen(train_us, sight, rng)[1] for sight in sights]


def write_night(folder: Path, n_rows: int, rng: np.random.Generator) -> list[Raw]:
    """Write timing files of both cameras, in blocks that pauses divide."""
    cards = {
        "EXTTRIG": True,
        "U_FLCEN": True,
        "U_FLCST": "IN",
        "U_FLC": "NA",
        "U_TRIGJT": DITHER_US,
        "U_DETMOD": "FAST",
        "PRD-RNG2": 536,
    }
    raws = []
    start_us = START_US
    while sum(raw.n_frames for raw in raws) < n_rows:
        block = make_block(rng, BLOCK_FRAMES // 2, 0.02)
        for camera, frames_us in enumerate(block, start=1):
            for first in range(0, len(frames_us), CUBE_FRAMES):
                t = frames_us[first : first + CUBE_FRAMES] + start_us
                index = np.arange(len(t))
                path = folder / f"vcam{camera}_{len(raws):06d}.txt"
                logged_ns = t * 1000 + 320_000
                timing = Timing(b"# \n", index, index, logged_ns - logged_ns[0], logged_ns, t, index, index * 0)
                path.write_bytes(format_timing(timing))
                fits = path.with_suffix(".fits")
                raws.append(Raw(fits, path, path.stem, camera, len(t), 1, 1, int(t[0]), int(t[-1]), EXPOSURE_US, cards))
        start_us += int(max(frames_us[-1] for frames_us in block)) + PAUSE_US
    return raws


def reading(path: Path) -> Figure:
    """Return how fast a timing file is read."""
    n = read_timing(path).n
    seconds = common.taking_turns({"ours": lambda: read_timing(path), "loadtxt": lambda: np.loadtxt(path)}, REPEATS)
    ours, theirs = seconds.values()
    baseline = f"numpy.loadtxt, {n / theirs / 1e6:.2f} x 10^6/s"
    return common.compared("timing txt", f"{n / ours / 1e6:.2f} x 10^6 rows/s", baseline, theirs / ours, 10)


def pairing(rng: np.random.Generator, n_triggers: int, drop: float) -> Figure:
    """Return how fast frames are paired and states are read."""
    block = make_block(rng, n_triggers, drop)
    seen = [
        Seen(t, np.zeros(len(t), int), np.array([EXPOSURE_US]), np.array([DITHER_US]), np.array([465.0])) for t in block
    ]
    n = sum(map(len, block))

    def run() -> None:
        found = pair_frames(seen[0], seen[1], dead_time_us=3e6)
        clock_us = found.clock_us.copy()
        clock_us[found.first_of_pair] += clock_us[found.second_of_pair]
        clock_us[found.first_of_pair] /= 2
        clock_us = np.delete(clock_us, found.second_of_pair)
        starts = np.zeros(len(clock_us), bool)
        read_states(clock_us, dither_us=np.full(len(clock_us), DITHER_US), starts=starts, significance=4.0)

    times_us = np.concatenate(block)
    seconds, sorting = common.taking_turns(
        {"ours": run, "sort": lambda: np.sort(rng.permutation(times_us))}, REPEATS
    ).values()
    speed, part = n / seconds, f"pairing and FLC states, {drop:.0%} of the frames dropped"
    baseline = "sorting as many numbers"
    ratio = f"{sorting / seconds:.2f} x"
    return Figure(part, f"{speed / 1e6:.1f} x 10^6 frames/s", baseline, ratio, ">= 10^7/s", speed >= 1e7)


def syncing(folder: Path, raws: list[Raw]) -> Iterator[Figure]:
    """Yield how fast a night is synced, and how much the process grows."""
    instrument = Instrument("VAMPIRES", (Stream("vcam1", 1), Stream("vcam2", 2)))

    def run(some: list[Raw]) -> float:
        start = time.perf_counter()
        job = Job(folder, "20260102", folder / "vgen2", instrument, raws=tuple(some))
        outcome = synced.forward(job=job, params=Parameters())
        n_frames = sum(product.n_frames for product in outcome.products)
        if n_frames != sum(raw.n_frames for raw in some):
            raise RuntimeError(f"{n_frames} frames in products, expected all of them")
        return n_frames / (time.perf_counter() - start)

    run([raw for raw in raws if raw.first_us < raws[0].first_us + 1_000_000_000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rate = run(raws)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    n_frames = sum(raw.n_frames for raw in raws)
    yield Figure("synced, with timing files read and products made", f"{rate / 1e6:.2f} x 10^6 frames/s")
    blocks = f"{n_frames / 1e6:.1f} x 10^6 frames, {n_frames / BLOCK_FRAMES:.0f} blocks"
    yield Figure(f"memory for {blocks}, beyond that for five", f"{grown / 1024:.0f} MiB")


def figures(n_rows: int = 4_000_000, n_triggers: int = 500_000, folder: Path | None = None) -> Iterator[Figure]:
    """Measure all of it."""
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        raws = write_night(Path(name), n_rows, rng)
        yield reading(raws[0].timing)
        for drop in (0.0, 0.02, 0.2):
            yield pairing(rng, n_triggers, drop)
        yield from syncing(Path(name), raws)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000, help="of the night, both cameras (default 4 000 000)")
    parser.add_argument("--triggers", type=int, default=500_000, help="paired at once (default 500 000)")
    parser.add_argument("--folder", type=Path, help="where to write it (120 bytes a row; default: the system's)")
    arguments = parser.parse_args()
    common.show(figures(arguments.rows, arguments.triggers, arguments.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
