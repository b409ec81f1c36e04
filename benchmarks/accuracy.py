"""How right pairing and FLC states are, on trains of known truth: makes the tables of docs/accuracy.md.

Every cell is many blocks of both cameras, one after the other with 20 s between them, through the code that
the stage `synced` runs: pairing, segments, cycles.  Nothing is timed: the numbers are the same on any machine.

    python benchmarks/accuracy.py            # prints the tables
    python benchmarks/accuracy.py --write    # writes them into docs/accuracy.md, every cell into docs/accuracy.tsv
"""

import argparse
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from ledger.simulation._trains import Sight, Walk, flc_states, frames_seen, trigger_times
from stages.instrument import Cards
from stages.pairing.exposures import PAIRED
from stages.pairing.trains import Train
from stages.product import Raw
from stages.synced import Parameters, classify

DOCS = Path(__file__).parents[1] / "docs"
START_US = 1_767_333_600_000_000
BETWEEN_BLOCKS_US = 20_000_000
CARDS = Cards()
PARAMETERS = Parameters(cut_either=(), cut_own=())

#: Triggers that pass unseen where a train pauses: more than are ever counted across.
PAUSED = 1000

#: The clocks drift apart by as much, but by no more than this share of a period within a block; nor does the period.
CLOCK_PPM, MOST_DRIFT = 5.0, 0.02


@dataclass(frozen=True)
class Cell:
    """A condition, and how many triggers of it are made; units in the names, offset in periods."""

    block: int = 1000
    rate_hz: float = 500.0
    drop: float = 0.02
    jitter_us: float = 7.0
    offset: float = 0.2
    dither_us: float = 80.0
    walk: Walk = field(default_factory=lambda: Walk(drift=0.0))
    burst: float = 0.0
    repeated: float = 0.0
    mode: str = "FAST"
    cameras: int = 2
    triggers: int = 8000


@dataclass
class Score:
    """Counts of frames.

    `missed` are in no pair though their partner was there; `unavoidable` are those of `dubious` that nothing could
    have labelled.
    """

    frames: int = 0
    lost: int = 0
    mispaired: int = 0
    missed: int = 0
    mislabelled: int = 0
    dubious: int = 0
    unavoidable: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def is_best(self) -> bool:
        """Whether all is as right as it can be."""
        return not (self.lost or self.mispaired or self.missed or self.mislabelled) and self.dubious <= self.unavoidable


@dataclass
class Blocks:
    """Blocks of a cell.

    Attributes
    ----------
    trains : list of Train
        Of either camera.
    triggers : list of ndarray of int64
        The trigger of each of its frames; numbers jump between blocks and where the train pauses.
    flc, block : ndarray of int64
        By trigger: the FLC's state, and the number of the block.
    """

    trains: list[Train]
    triggers: list[np.ndarray]
    flc: np.ndarray
    block: np.ndarray


def make_blocks(cell: Cell) -> Blocks:
    """Return the blocks of a cell."""
    rng = np.random.default_rng([cell.block, round(cell.drop * 1000), round(cell.rate_hz), round(cell.jitter_us)])
    period_us = 1e6 / cell.rate_hz
    walk = replace(cell.walk, drift=cell.walk.drift or min(2e-6 * cell.block, MOST_DRIFT))
    clock_ppm = min(CLOCK_PPM, MOST_DRIFT / cell.block * 1e6)
    number_jumps = [round(where * cell.block) for where, _ in walk.pauses]
    frames: list[list[tuple[np.ndarray, np.ndarray]]] = [[], []]
    flc, block, start_us, n = [np.zeros(1, int)], [np.zeros(1, int)], START_US, 1
    for index in range(max(1, cell.triggers // cell.block)):
        states = flc_states(cell.block, rng)
        train_us = trigger_times(states, period_us=period_us, dither_us=cell.dither_us, walk=walk, rng=rng)
        number = np.arange(cell.block) + PAUSED * np.searchsorted(number_jumps, np.arange(cell.block), side="left")
        for camera in range(cell.cameras):
            sight = Sight(
                offset_us=camera * cell.offset * period_us,
                clock_ppm=camera * clock_ppm,
                noise_us=cell.jitter_us,
                drop=cell.drop,
                burst=cell.burst,
                repeated=cell.repeated,
            )
            trigger, time_us = frames_seen(train_us, sight, rng)
            if len(trigger):
                frames[camera].append((number[trigger] + n, time_us + start_us))
        length = number[-1] + 2
        of_trigger = np.zeros(length, int)
        of_trigger[number] = states
        flc.append(of_trigger)
        block.append(np.full(length, index))
        n += length
        start_us += round(train_us[-1] + period_us) + BETWEEN_BLOCKS_US
    trains = [make_train(camera + 1, [time_us for _, time_us in frames[camera]], cell) for camera in range(2)]
    triggers = [np.concatenate([np.empty(0, int), *(trigger for trigger, _ in of)]) for of in frames]
    return Blocks(trains, triggers, np.concatenate(flc), np.concatenate(block))


def make_train(camera: int, times_us: list[np.ndarray], cell: Cell) -> Train:
    """Return the train of a camera, with a raw file for each block."""
    cards = {
        "EXTTRIG": True,
        "U_FLCEN": True,
        "U_FLCST": "IN",
        "U_FLC": "NA",
        "U_TRIGJT": cell.dither_us,
        "U_DETMOD": cell.mode,
        "PRD-RNG2": 536,
    }
    exposure_us = round(0.75e6 / cell.rate_hz)
    raws = tuple(
        Raw(Path(), Path(), f"{camera} {i}", camera, len(t), 1, 1, int(t[0]), int(t[-1]), exposure_us, cards)
        for i, t in enumerate(times_us)
    )
    counts = [len(t) for t in times_us]
    none = np.empty(0, int)
    return Train(
        raws,
        np.concatenate([none, *times_us]),
        np.repeat(np.arange(len(raws)), counts),
        np.concatenate([none, *(np.arange(n) for n in counts)]),
    )


def measure(cell: Cell) -> Score:
    """Return what becomes of the frames of a cell."""
    blocks = make_blocks(cell)
    trains, triggers = blocks.trains, blocks.triggers
    exposures, state, _ = classify(trains, CARDS, {}, PARAMETERS)
    score = Score(frames=sum(map(len, triggers)), unavoidable=unavoidable(blocks))
    both = exposures.kind == PAIRED
    first, second = (t[p[both]] for p, t in zip(exposures.places, triggers, strict=True))
    score.mispaired = 2 * int(np.count_nonzero(first != second))
    score.missed = 2 * (len(np.intersect1d(*triggers)) - int(np.count_nonzero(first == second)))
    for place, trigger in zip(exposures.places, triggers, strict=True):
        here = place >= 0
        score.lost += int(np.count_nonzero(np.bincount(place[here], minlength=len(trigger)) != 1))
        true, found = blocks.flc[trigger[place[here]]], state[here]
        score.mislabelled += int(np.count_nonzero((found != 0) & (found != true)))
        score.dubious += int(np.count_nonzero(found == 0))
    return score


def unavoidable(blocks: Blocks) -> int:
    """Return how many frames nothing could label.

    Those in no whole cycle of A and the following B (docs/design.md, FLC states and cycles), those that repeat the time
    of the one before, and those of blocks of which fewer than three triggers were seen: one gap alone is neither short
    nor long. Where no trigger was seen by both cameras their offset is unknown, and each camera has to be read by
    itself.
    """
    n = len(blocks.flc) + 1
    counts = [np.bincount(trigger, minlength=n) for trigger in blocks.triggers]
    seen = [count > 0 for count in counts]
    pairs = seen[0] & seen[1]
    block = np.append(blocks.block, -1)

    def in_block(of_trigger: np.ndarray) -> np.ndarray:
        return np.bincount(block + 1, weights=of_trigger)[block + 1]

    is_paired, together = in_block(pairs) > 0, in_block(seen[0] | seen[1])
    total = sum(int((count - there).sum()) for count, there in zip(counts, seen, strict=True))
    for there, weight, known in (
        (pairs, 2, together),
        *((mine & ~pairs, 1, np.where(is_paired, together, in_block(mine))) for mine in seen),
    ):
        is_a = there[:-1] & there[1:] & (blocks.flc == 1) & (known[:-1] >= 3)
        whole = np.append(is_a, False)
        whole[1:] |= is_a
        total += weight * int(np.count_nonzero(there & ~whole))
    return total


def grid(triggers: int) -> Iterator[Cell]:
    """Yield the cells of the grid; the dither is the weakest that is asked for, five times the timing noise."""
    for block, drop, rate_hz, jitter_us, offset in itertools.product(
        (1, 2, 3, 4, 8, 25, 100, 1000, 100_000),
        (0.0, 0.02, 0.2),
        (1.0, 50.0, 500.0, 1000.0),
        (4.0, 10.0),
        (0.0, 0.2, -0.45),
    ):
        if block < 100_000 or (rate_hz == 500 and jitter_us == 10):
            yield Cell(block, rate_hz, drop, jitter_us, offset, dither_us=5 * jitter_us, triggers=triggers)


def hard_conditions() -> Mapping[str, Cell]:
    """Return conditions apart from the grid, by what they are; the rest is as in `Cell`."""
    drift = replace(Walk(), drift=0.05)
    return {
        "J 20 us, 1 kHz, noise 2 us": Cell(dither_us=20, rate_hz=1000, jitter_us=2),
        "J 500 us (half of the period), 1 kHz": Cell(dither_us=500, rate_hz=1000, offset=-0.45),
        "SLOW, 50 Hz, noise 100 us, J 500 us": Cell(mode="SLOW", rate_hz=50, jitter_us=100, dither_us=500),
        "SLOW, 50 Hz, noise 173 us, J 500 us (2.9 x)": Cell(mode="SLOW", rate_hz=50, jitter_us=173, dither_us=500),
        "the period walks by 4 us a trigger, 50 Hz, J 20 us": Cell(
            walk=Walk(period_us=4.0, drift=0.0), rate_hz=50, dither_us=20, jitter_us=4
        ),
        "the period drifts by 5 % in 1000 triggers, 50 Hz, J 20 us": Cell(
            walk=drift, rate_hz=50, dither_us=20, jitter_us=4
        ),
        "the period steps by +5 %, then -20 %": Cell(walk=Walk(steps=((0.3, 1.05), (0.6, 0.8)))),
        "pauses of 2 s and 1 s": Cell(walk=Walk(pauses=((0.3, 2.0), (0.6, 1.0)))),
        "bursts of 2 frames lost, begun at 5 % of the triggers": Cell(drop=0.0, burst=0.05),
        "2 % of the rows repeat the time before": Cell(repeated=0.02),
        "one camera alone, 20 % dropped": Cell(cameras=1, drop=0.2),
        "one camera alone, blocks of 25, 20 % dropped": Cell(cameras=1, drop=0.2, block=25),
    }


def summed(scores: Mapping[Cell, Score], keys: tuple[str, ...]) -> dict[tuple[object, ...], Score]:
    """Return sums of scores over all but some attributes of their cells."""
    sums: dict[tuple[object, ...], Score] = {}
    for cell, score in scores.items():
        key = tuple(getattr(cell, name) for name in keys)
        sums[key] = sums.get(key, Score()) + score
    return sums


def table(first: tuple[str, ...], rows: Iterable[tuple[tuple[object, ...], Score]]) -> str:
    """Return a Markdown table of scores."""
    names = (*first, *(f.name for f in fields(Score)))
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for key, score in rows:
        cells = [f"{v:g}" if isinstance(v, float) else str(v) for v in (*key, *vars(score).values())]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triggers", type=int, default=8000, help="of each cell, at least one block (default 8000)")
    parser.add_argument("--write", action="store_true", help="write docs/accuracy.md and docs/accuracy.tsv")
    arguments = parser.parse_args()
    scores = {}
    for cell in grid(arguments.triggers):
        scores[cell] = measure(cell)
        if sys.stderr.isatty():
            print(f"\r{len(scores)} cells", end="", file=sys.stderr)
    hard = [((name,), measure(replace(c, triggers=arguments.triggers))) for name, c in hard_conditions().items()]
    tables = {
        "grid": table(("block", "drop"), summed(scores, ("block", "drop")).items()),
        "rest": table(
            ("block", "drop", "offset"),
            [(key, score) for key, score in summed(scores, ("block", "drop", "offset")).items() if not score.is_best],
        ),
        "hard": table(("condition",), hard),
    }
    if not arguments.write:
        print("\n\n".join(tables.values()))
        return 0
    page = DOCS / "accuracy.md"
    text = page.read_text()
    for name, content in tables.items():
        before, _, behind = text.partition(f"<!-- {name} -->\n")
        text = f"{before}<!-- {name} -->\n{content}\n<!-- end -->{behind.partition('<!-- end -->')[2]}"
    page.write_text(text)
    keys = ("block", "drop", "rate_hz", "jitter_us", "offset")
    lines = ["\t".join((*keys, *(f.name for f in fields(Score))))]
    for cell, score in scores.items():
        lines.append("\t".join(f"{v:g}" for v in (*(getattr(cell, k) for k in keys), *vars(score).values())))
    (DOCS / "accuracy.tsv").write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
