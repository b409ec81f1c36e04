"""How right pairing and FLC states are, on trains of known truth: writes the table of docs/accuracy.md.

Every cell is many blocks of both cameras, one after the other with 20 s between them, through the code that
the stage `synced` runs: pairing, segments, cycles.  Nothing is timed, so the numbers are the same on any machine.

    python benchmarks/accuracy.py            # prints the table
    python benchmarks/accuracy.py --write    # writes it into docs/accuracy.md
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ledger.simulated_trains import Sight, Walk, flc_states, frames_seen, trigger_times
from stages.base import Cards, Raw
from stages.cycles import find_cycles
from stages.exposures import PAIRED, UNPAIRED, expose, pairing_tolerance_us
from stages.groups import find_segments
from stages.synced import Parameters
from stages.trains import Train

START_US = 1_767_333_600_000_000
BETWEEN_BLOCKS_US = 20_000_000
CARDS = Cards()
PARAMETERS = Parameters()


@dataclass(frozen=True)
class Cell:
    """A condition, and how many triggers of it are made."""

    drop: float
    jitter_us: float
    offset: float
    rate_hz: float
    block: int
    dither_us: float = 80.0
    walk: Walk = Walk(drift=0.0)
    burst: float = 0.0
    repeated: float = 0.0
    clock_ppm: float = 5.0
    mode: str = "FAST"
    cameras: int = 2
    triggers: int = 8000
    seed: int = 0


@dataclass
class Score:
    """Counts of frames; `missed` are those left alone though their partner was there."""

    frames: int = 0
    lost: int = 0
    mispaired: int = 0
    missed: int = 0
    mislabelled: int = 0
    dubious: int = 0
    unavoidable: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def make_blocks(cell: Cell) -> tuple[list[Train], list[np.ndarray], np.ndarray]:
    """Return a train for each camera, the trigger of each of its frames, and the FLC state of each trigger."""
    rng = np.random.default_rng([cell.seed, cell.block, round(cell.drop * 1000)])
    period_us = 1e6 / cell.rate_hz
    frames: list[list[tuple]] = [[], []]
    states, start_us, trigger_0 = [], float(START_US), 0
    for _ in range(max(1, cell.triggers // cell.block)):
        flc = flc_states(cell.block, rng)
        train_us = trigger_times(flc, period_us=period_us, dither_us=cell.dither_us, walk=replace(cell.walk, drift=cell.walk.drift or 2e-6 * cell.block), rng=rng)
        for camera in range(cell.cameras):
            sight = Sight(
                offset_us=camera * cell.offset * period_us,
                clock_ppm=camera * cell.clock_ppm,
                noise_us=cell.jitter_us,
                drop=cell.drop,
                burst=cell.burst,
                repeated=cell.repeated,
            )
            trigger, time_us = frames_seen(train_us, sight, rng)
            if len(trigger):
                frames[camera].append((trigger + trigger_0, time_us + round(start_us)))
        states.append(flc)
        trigger_0 += cell.block + 2
        states.append(np.zeros(2, np.int8))
        start_us += train_us[-1] + period_us + BETWEEN_BLOCKS_US
    trains, triggers = [], []
    for camera in range(2):
        raws = tuple(raw_of(camera + 1, number, time_us, cell) for number, (_, time_us) in enumerate(frames[camera]))
        counts = [raw.n_frames for raw in raws]
        trains.append(
            Train(
                raws,
                np.concatenate([np.empty(0, np.int64), *(time_us for _, time_us in frames[camera])]),
                np.repeat(np.arange(len(raws)), counts),
                np.concatenate([np.empty(0, np.int64), *(np.arange(n) for n in counts)]),
            )
        )
        triggers.append(np.concatenate([np.empty(0, np.int64), *(trigger for trigger, _ in frames[camera])]))
    return trains, triggers, np.concatenate(states)


def raw_of(camera: int, number: int, time_us: np.ndarray, cell: Cell) -> Raw:
    """Return a raw file of a block."""
    path = Path(f"vcam{camera}_{number}.fits")
    cards = {
        "EXTTRIG": True,
        "U_FLCEN": True,
        "U_FLCST": "IN",
        "U_FLC": "NA",
        "U_TRIGJT": cell.dither_us,
        "U_DETMOD": cell.mode,
        "PRD-RNG2": 536,
        "EXPTIME": 0.75 / cell.rate_hz,
    }
    exposure_us = round(0.75e6 / cell.rate_hz)
    return Raw(
        path, path, str(path), camera, len(time_us), 1, 1, int(time_us[0]), int(time_us[-1]), exposure_us, cards
    )


def measure(cell: Cell) -> Score:
    """Return what becomes of the frames of a cell."""
    trains, triggers, flc = make_blocks(cell)
    tolerance_us = [
        pairing_tolerance_us(train, CARDS, us_per_row=PARAMETERS.tolerance_us_per_row, slow_mode="SLOW", slow_factor=2.5)
        for train in trains
    ]
    dead_time_us = PARAMETERS.dead_time_s * 1e6
    exposures = expose(trains, CARDS, tolerance_us=tolerance_us, dead_time_us=dead_time_us)
    segments = find_segments(exposures, trains, cut_either=(), cut_own=(), printed={}, dead_time_us=dead_time_us)
    state, _ = find_cycles(
        exposures,
        segments,
        trains,
        CARDS,
        polarity="short_first",
        significance=PARAMETERS.significance,
        dead_time_us=dead_time_us,
        enforce_pairs=True,
    )
    score = Score(frames=sum(map(len, triggers)), unavoidable=unavoidable(triggers, flc, cell.block))
    seen = [np.bincount(p[p >= 0], minlength=len(t)) for p, t in zip(exposures.places, triggers, strict=True)]
    score.lost = sum(int(np.count_nonzero(count != 1)) for count in seen)
    both = exposures.kind == PAIRED
    first, second = (t[p[both]] for p, t in zip(exposures.places, triggers, strict=True))
    score.mispaired = 2 * int(np.count_nonzero(first != second))
    common = np.intersect1d(*triggers)
    score.missed = 2 * (len(common) - int(np.count_nonzero(first == second)))
    for place, trigger in zip(exposures.places, triggers, strict=True):
        here = place >= 0
        true, found = flc[trigger[place[here]]], state[here]
        score.mislabelled += int(np.count_nonzero((found != 0) & (found != true)))
        score.dubious += int(np.count_nonzero(found == 0))
    return score


def unavoidable(triggers: list[np.ndarray], flc: np.ndarray, block: int) -> int:
    """Return how many frames nothing could label.

    Those in no whole cycle of A and the following B, and those of blocks of which fewer than three triggers were
    seen: one gap does not tell whether it is short or long.
    """
    counts = [np.bincount(t, minlength=len(flc) + 1) for t in triggers]
    number = np.arange(len(flc) + 1) // (block + 2)
    seen = [np.bincount(number, weights=count > 0)[number] for count in counts]
    both = np.bincount(number, weights=np.minimum(*counts) > 0)[number] > 0
    together = np.bincount(number, weights=np.maximum(*counts) > 0)[number]
    pairs = np.minimum(*counts) > 0
    total = 0
    for count, weight, known in [(pairs.astype(int), 2, together)] + [
        (count - pairs, 1, np.where(both, together, alone)) for count, alone in zip(counts, seen, strict=True)
    ]:
        there = count > 0
        first = np.flatnonzero(there[:-1] & there[1:] & (flc == 1) & (known[:-1] >= 3))
        whole = np.zeros(len(count), int)
        np.add.at(whole, first, 1)
        np.add.at(whole, first + 1, 1)
        total += weight * int((count - np.minimum(whole, count)).sum())
    return total


def grid() -> Iterator[Cell]:
    """Yield the cells of the table."""
    for block, rate_hz, drop, jitter_us, offset in itertools.product(
        (4, 8, 25, 1000), (1.0, 50.0, 500.0, 1000.0), (0.0, 0.02, 0.2), (2.0, 10.0), (0.0, 0.2, -0.45)
    ):
        yield Cell(drop=drop, jitter_us=jitter_us, offset=offset, rate_hz=rate_hz, block=block)


def main() -> int:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triggers", type=int, default=8000)
    arguments = parser.parse_args()
    for cell in grid():
        s = measure(replace(cell, triggers=arguments.triggers))
        flag = "" if not (s.lost or s.mispaired or s.missed or s.mislabelled or s.dubious != s.unavoidable) else " <"
        print(cell.block, cell.rate_hz, cell.drop, cell.jitter_us, cell.offset, *vars(s).values(), flag, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
