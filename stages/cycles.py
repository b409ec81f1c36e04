"""Cycles: the FLC's state at each exposure, and which exposures make a whole cycle of A and B (DESIGN section 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from stages.base import Cards
from stages.exposures import PAIRED, Exposures
from stages.flc import read_states
from stages.trains import Train, is_true, size_of, text_of

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: The state's number where the FLC was not switching.
_NO_STATE = 2

#: Letters of the states that :mod:`stages.flc` numbers 1, -1 and 0, and of the number for no switching.
LETTERS = {1: "A", -1: "B", 0: "D", _NO_STATE: None}


def find_cycles(
    exposures: Exposures,
    segments: Int64Array,
    trains: Sequence[Train],
    cards: Cards,
    *,
    polarity: Literal["short_first", "long_first"],
    significance: float,
    dead_time_us: float,
    enforce_pairs: bool,
) -> tuple[Int64Array, BoolArray]:
    """Read the FLC's state at each exposure, and find the whole cycles.

    A frame that has the time of the one before, as if logged twice, is D: which trigger it is of cannot be told.

    Parameters
    ----------
    exposures : Exposures
        All of the night.
    segments : ndarray of int64, shape (k, n)
        Equal columns if nothing between two exposures cuts groups; a cycle across a cut is not whole.
    trains : sequence of Train
        Of both cameras.
    cards : Cards
        Those of trigger, FLC, dither and detector mode are read.
    polarity : {"short_first", "long_first"}
        Which gap follows an A.
    significance : float
        See :func:`stages.flc.read_states`.
    dead_time_us : float
        Nothing is concluded across a longer time without exposure, microseconds.
    enforce_pairs : bool
        Whether what is not part of a whole cycle becomes D.

    Returns
    -------
    state : ndarray of int64, shape (n,)
        As in :data:`LETTERS`.
    ends_cycle : ndarray of bool, shape (n,)
        Which are the second of a whole cycle.
    """
    of_trains = [_FlcCards.of(train, cards) for train in trains]
    present = exposures.places >= 0
    switching = np.ones(len(exposures.time_us), np.bool_)
    is_repeated = np.zeros(len(exposures.time_us), np.bool_)
    triggered, dither_us, exposure_us, settings = (np.zeros(len(exposures.time_us), np.int64) for _ in range(4))
    for camera in (1, 0):  # a pair has the settings of the first camera
        here, place = present[camera], exposures.places[camera][present[camera]]
        flc = of_trains[camera]
        switching[here] &= flc.switching[place]
        triggered[here], dither_us[here] = flc.triggered[place], flc.dither_us[place]
        exposure_us[here], settings[here] = flc.exposure_us[place], flc.settings[place]
        is_repeated[here] |= flc.repeated[place]
    state = np.where(switching, 0, _NO_STATE)
    readable = switching & ~(is_repeated & (exposures.kind != PAIRED))
    ends_cycle, in_cycle = np.zeros((2, len(state)), np.bool_)
    # Triggered exposures of both cameras are one train; without trigger each camera is one of its own.
    for mine in (triggered == 1, (triggered == 0) & present[0], (triggered == 0) & present[1]):
        train = np.flatnonzero(readable & mine)
        starts = np.ones(len(train), np.bool_)
        starts[1:] = np.diff(exposures.clock_us[train]) - exposure_us[train[1:]] > dead_time_us
        train, starts = _apart_unless_paired(train, starts, exposures.kind)
        starts[1:] |= settings[train[1:]] != settings[train[:-1]]
        clock_us = exposures.clock_us[train]
        read = read_states(clock_us, dither_us=dither_us[train].astype(float), starts=starts, significance=significance)
        state[train] = read.state if polarity == "short_first" else -read.state
        # Exposures of other kinds in between do not break a cycle.
        by_kind = np.argsort(exposures.kind[train], kind="stable")
        first, second = by_kind[:-1], by_kind[1:]
        cycle = (read.chain[first] == read.chain[second]) & (read.count[second] - read.count[first] == 1)
        first, second = train[first], train[second]
        cycle &= (state[first] == 1) & (state[second] == -1) & (exposures.kind[first] == exposures.kind[second])
        cycle &= (segments[:, first] == segments[:, second]).all(axis=0)
        ends_cycle[second[cycle]] = True
        in_cycle[first[cycle]] = in_cycle[second[cycle]] = True
    if enforce_pairs:
        state[switching & ~in_cycle] = 0
    return state, ends_cycle


def _apart_unless_paired(train: Int64Array, starts: BoolArray, kind: Int64Array) -> tuple[Int64Array, BoolArray]:
    """Return exposures so that those of a block without pairs, in which the cameras' offset is unknown, are by camera.

    Parameters
    ----------
    train : ndarray of int64, shape (n,)
        Exposures in order of time.
    starts : ndarray of bool, shape (n,)
        Where blocks start.
    kind : ndarray of int64
        Of all exposures.

    Returns
    -------
    train, starts : ndarray, shapes (n,)
        Reordered within such blocks, and with starts between their cameras.
    """
    block = np.cumsum(starts) - 1
    paired = np.bincount(block, weights=kind[train] == PAIRED)[block] > 0
    if paired.all():
        return train, starts
    part = np.where(paired, PAIRED, kind[train])
    order = np.lexsort((part, block))
    part, block = part[order], block[order]
    starts = np.ones(len(train), np.bool_)
    starts[1:] = (part[1:] != part[:-1]) | (block[1:] != block[:-1])
    return train[order], starts


@dataclass(frozen=True)
class _FlcCards:
    """What the FLC's cards say of each frame of a train: arrays of shape (n,)."""

    switching: BoolArray
    triggered: BoolArray
    dither_us: Int64Array
    exposure_us: Int64Array
    settings: Int64Array
    repeated: BoolArray

    @classmethod
    def of(cls, train: Train, cards: Cards) -> "_FlcCards":
        """Read them; the FLC switches if enabled, in the beam, and in no fixed state."""
        return cls(
            train.spread(
                (
                    is_true(raw, cards.flc_enabled)
                    and text_of(raw, cards.flc_stage) == "IN"
                    and text_of(raw, cards.flc_state) in ("", "NA")
                    for raw in train.raws
                ),
                np.bool_,
            ),
            train.spread((is_true(raw, cards.external_trigger) for raw in train.raws), np.bool_),
            train.spread((size_of(raw, cards.dither_us) for raw in train.raws), np.int64),
            train.spread((raw.exposure_us for raw in train.raws), np.int64),
            train.spread_alike(
                (raw.exposure_us, text_of(raw, cards.mode), size_of(raw, cards.dither_us)) for raw in train.raws
            ),
            np.diff(train.time_us, prepend=-1) == 0,
        )
