"""Blocks of frames of known truth, as arrays, and what pairing and cycles make of them, as the stage runs them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ledger.simulation._trains import Sight, Walk, flc_states, frames_seen, trigger_times
from stages.instrument import Cards
from stages.pairing.trains import Train
from stages.product import Raw
from stages.synced import Parameters, classify
from tests.stages.nights import CARDS, START_US

PARAMETERS = Parameters()
DEAD_TIME_US = round(PARAMETERS.dead_time_s * 1e6)


@dataclass(frozen=True, repr=False)
class Block:
    """What two cameras saw of a train of triggers.

    `trigger` and `time_us` have an array for each camera, `flc` has the state at each trigger; `cubes` are how many
    frames each camera puts in a cube.
    """

    trigger: tuple[np.ndarray, np.ndarray]
    time_us: tuple[np.ndarray, np.ndarray]
    flc: np.ndarray
    exposure_us: int
    dither_us: int
    cubes: tuple[int, int] = (300, 300)

    def __repr__(self):
        times = [(t - START_US).tolist() for t in self.time_us]
        triggers = [t.tolist() for t in self.trigger]
        return f"<{triggers} at {times} us, flc {self.flc[:1]}, {self.exposure_us=} {self.dither_us=} {self.cubes=}>"

    def _repr_pretty_(self, printer, _is_cycle):
        """Show what hypothesis found in brief; see IPython's pretty printer."""
        printer.text(repr(self))

    @property
    def cards(self):
        return {**CARDS, "EXPTIME": self.exposure_us / 1e6, "U_TRIGJT": self.dither_us}

    def moved(self, by_us):
        return replace(self, time_us=tuple(t + by_us for t in self.time_us))

    def swapped(self):
        return replace(self, trigger=self.trigger[::-1], time_us=self.time_us[::-1], cubes=self.cubes[::-1])

    def without(self, lost):
        """Return the block without frames; `lost` has an array of bool for each camera."""
        trigger, time_us = (
            tuple(of[~gone] for of, gone in zip(of_cameras, lost, strict=True))
            for of_cameras in (self.trigger, self.time_us)
        )
        return replace(self, trigger=trigger, time_us=time_us)

    def shortest_stretch(self):
        """Return the least number of triggers seen between dead times."""
        time_us, trigger = np.concatenate(self.time_us), np.concatenate(self.trigger)
        order = np.argsort(time_us, kind="stable")
        cuts = np.flatnonzero(np.diff(time_us[order]) - self.exposure_us > 0.9 * DEAD_TIME_US) + 1
        return min(len(set(stretch.tolist())) for stretch in np.split(trigger[order], cuts))


@dataclass(frozen=True)
class Found:
    """What became of a block: pairs of places of frames in both cameras, and the state at each frame of either."""

    pairs: np.ndarray
    state: tuple[np.ndarray, np.ndarray]


def make_block(
    seed: int,
    n: int,
    sights: tuple[Sight, Sight],
    *,
    period_us: float,
    dither_us: int,
    walk: Walk,
    cubes: tuple[int, int] = (300, 300),
) -> Block:
    """Return what two cameras see of `n` triggers."""
    rng = np.random.default_rng(seed)
    flc = flc_states(n, rng)
    at_us = trigger_times(flc, period_us=period_us, dither_us=dither_us, walk=walk, rng=rng)
    trigger, time_us = zip(*(frames_seen(at_us, sight, rng) for sight in sights), strict=True)
    return Block(trigger, tuple(t + START_US for t in time_us), flc, round(0.75 * period_us), dither_us, cubes)


def one_after_the_other(blocks: Sequence[Block], apart_us: Sequence[int]) -> list[Block]:
    """Return the blocks moved: nothing is exposed for `apart_us` before the first frame of each."""
    free_us, moved = START_US, []
    for block, apart in zip(blocks, apart_us, strict=True):
        time_us = np.concatenate(block.time_us)
        if not len(time_us):
            moved.append(block)
            continue
        by_us = free_us + apart + block.exposure_us - int(time_us.min())
        moved.append(block.moved(by_us))
        free_us = int(time_us.max()) + by_us
    return moved


def find(blocks: Sequence[Block], *, enforce_pairs: bool = False) -> list[Found]:
    """Return what becomes of each block's frames; every frame must be in exactly one exposure."""
    trains = [_train(blocks, camera) for camera in range(2)]
    exposures, state, _ = classify(trains, Cards(), {}, replace(PARAMETERS, enforce_pairs=enforce_pairs))
    assert (exposures.places >= 0).any(axis=0).all()
    exposure_of = []
    for places, train in zip(exposures.places, trains, strict=True):
        here = np.flatnonzero(places >= 0)
        assert np.array_equal(np.sort(places[here]), np.arange(len(train.time_us)))
        exposure_of.append(here[np.argsort(places[here])])
    found, begin = [], [0, 0]
    for block in blocks:
        end = [b + len(t) for b, t in zip(begin, block.time_us, strict=True)]
        mine = [of[b:e] for of, b, e in zip(exposure_of, begin, end, strict=True)]
        partner = exposures.places[1][mine[0]]
        paired = np.flatnonzero(partner >= 0)
        found.append(Found(np.column_stack([paired, partner[paired] - begin[1]]), tuple(state[m] for m in mine)))
        begin = end
    return found


def errors(block: Block, found: Found) -> tuple[int, int]:
    """Return how many pairs join two triggers, and how many frames have the wrong label."""
    first, second = (trigger[of] for trigger, of in zip(block.trigger, found.pairs.T, strict=True))
    wrong = [
        np.count_nonzero((state != 0) & (state != block.flc[trigger]))
        for state, trigger in zip(found.state, block.trigger, strict=True)
    ]
    return int(np.count_nonzero(first != second)), int(sum(wrong))


def same(found: Sequence[Found], expected: Sequence[Found]) -> bool:
    """Return whether pairs and states are the same."""
    return all(
        np.array_equal(one.pairs, other.pairs) and all(map(np.array_equal, one.state, other.state))
        for one, other in zip(found, expected, strict=True)
    )


def _train(blocks: Sequence[Block], camera: int) -> Train:
    raws, times = [], [np.empty(0, np.int64)]
    for block in blocks:
        for start in range(0, len(block.time_us[camera]), block.cubes[camera]):
            t = block.time_us[camera][start : start + block.cubes[camera]]
            path = Path(f"vcam{camera + 1}_{len(raws):06d}.fits")
            span = int(t[0]), int(t[-1])
            raws.append(Raw(path, path, path.name, camera + 1, len(t), 1, 1, *span, block.exposure_us, block.cards))
            times.append(t)
    counts = [raw.n_frames for raw in raws]
    frame = np.concatenate([np.empty(0, np.int64), *(np.arange(n) for n in counts)])
    return Train(tuple(raws), np.concatenate(times), np.repeat(np.arange(len(raws)), counts), frame)
