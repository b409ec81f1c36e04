"""Cycles: the FLC's state at each exposure, and which exposures make a whole cycle of A and B.

See docs/design.md, FLC states and cycles.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from stages.instrument import Cards
from stages.pairing.exposures import PAIRED, Exposures
from stages.pairing.flc import read_states
from stages.pairing.trains import Train, is_true, size_of, text_of
from stages.product import Raw

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: The state's number where the FLC was not switching.
_NO_STATE = 2

#: Letters of the states that :mod:`stages.pairing.flc` numbers 1, -1 and 0, and of the number for no switching.
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
    segments : ndarray of int64, shape (n,)
        Equal if nothing between two exposures of a kind cuts groups; a cycle across a cut is not whole.
    trains : sequence of Train
        Of both cameras.
    cards : Cards
        Those of trigger, FLC, dither and detector mode are read.
    polarity : {"short_first", "long_first"}
        Which gap follows an A.
    significance : float
        See :func:`stages.pairing.flc.read_states`.
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
    is_first = exposures.places[0] >= 0
    switching = exposures.value_of(trains, lambda raw: _is_switching(raw, cards)) > 0
    switching &= exposures.value_of(trains, lambda raw: _is_switching(raw, cards), first=1) > 0
    triggered = exposures.value_of(trains, lambda raw: is_true(raw, cards.external_trigger)) > 0
    settings = exposures.count_changes(
        trains,
        lambda raw: (raw.exposure_us, text_of(raw, cards.mode), size_of(raw, cards.dither_us)),
        but_after_us=dead_time_us,
    )
    dither_us = exposures.value_of(trains, lambda raw: size_of(raw, cards.dither_us))
    exposure_us = exposures.value_of(trains, lambda raw: raw.exposure_us)
    state = np.where(switching, 0, _NO_STATE)
    readable = switching & ~exposures.are_repeated(trains)
    ends_cycle, in_cycle = np.zeros((2, len(state)), np.bool_)
    # Triggered exposures of both cameras are one train; without trigger each camera is one of its own.
    for mine in (triggered, ~triggered & is_first, ~triggered & ~is_first):
        train = np.flatnonzero(readable & mine)
        starts = np.ones(len(train), np.bool_)
        starts[1:] = np.diff(exposures.clock_us[train]) - exposure_us[train[1:]] > dead_time_us
        train, starts = _apart_unless_paired(train, starts, exposures)
        starts[1:] |= settings[train[1:]] != settings[train[:-1]]
        clock_us = exposures.clock_us[train]
        read = read_states(clock_us, dither_us=dither_us[train], starts=starts, significance=significance)
        state[train] = read.state if polarity == "short_first" else -read.state
        # Exposures of other kinds in between do not break a cycle.
        by_kind = np.argsort(exposures.kind[train], kind="stable")
        first, second = by_kind[:-1], by_kind[1:]
        cycle = (read.chain[first] == read.chain[second]) & (read.count[second] - read.count[first] == 1)
        first, second = train[first], train[second]
        cycle &= (state[first] == 1) & (state[second] == -1) & (exposures.kind[first] == exposures.kind[second])
        cycle &= segments[first] == segments[second]
        ends_cycle[second[cycle]] = True
        in_cycle[first[cycle]] = in_cycle[second[cycle]] = True
    if enforce_pairs:
        state[switching & ~in_cycle] = 0
    return state, ends_cycle


def _is_switching(raw: Raw, cards: Cards) -> bool:
    """Return whether the FLC is enabled, in the beam, and in no fixed state."""
    in_beam = cards.flc_stage is None or text_of(raw, cards.flc_stage) == "IN"
    return is_true(raw, cards.flc_enabled) and in_beam and text_of(raw, cards.flc_state) in ("", "NA")


def _apart_unless_paired(train: Int64Array, starts: BoolArray, exposures: Exposures) -> tuple[Int64Array, BoolArray]:
    """Return exposures so that those of a block without pairs, in which the cameras' offset is unknown, are by camera.

    Parameters
    ----------
    train : ndarray of int64, shape (n,)
        Exposures in order of time.
    starts : ndarray of bool, shape (n,)
        Where blocks start.
    exposures : Exposures
        All of them.

    Returns
    -------
    train, starts : ndarray, shapes (n,)
        Reordered within such blocks, and with starts between their cameras.
    """
    first_of_block = np.flatnonzero(starts)
    n_pairs = np.add.reduceat(exposures.kind[train] == PAIRED, first_of_block) if len(train) else np.zeros(0)
    if n_pairs.all():
        return train, starts
    block = np.cumsum(starts) - 1
    camera = np.where(n_pairs[block] > 0, 0, exposures.places[0, train] < 0)
    order = np.lexsort((camera, block))
    camera, block = camera[order], block[order]
    starts = np.ones(len(train), np.bool_)
    starts[1:] = (camera[1:] != camera[:-1]) | (block[1:] != block[:-1])
    return train[order], starts
