"""Cycles: the FLC's state at each exposure, and which exposures make a whole cycle of A and B (DESIGN section 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from stages.base import Cards, Raw
from stages.exposures import Exposures
from stages.flc import read_states
from stages.trains import Train, is_true, text_of

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
    enforce_pairs: bool,
) -> tuple[Int64Array, BoolArray]:
    """Read the FLC's state at each exposure, and find the whole cycles.

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
    triggered, dither_us, settings = (np.zeros(len(exposures.time_us), np.int64) for _ in range(3))
    for camera in (1, 0):  # a pair has the settings of the first camera
        here, place = present[camera], exposures.places[camera][present[camera]]
        flc = of_trains[camera]
        switching[here] &= flc.switching[place]
        triggered[here], dither_us[here] = flc.triggered[place], flc.dither_us[place]
        settings[here] = flc.settings[place]
    state = np.where(switching, 0, _NO_STATE)
    ends_cycle, in_cycle = np.zeros((2, len(state)), np.bool_)
    # Triggered exposures of both cameras are one train; without trigger each camera is one of its own.
    for mine in (triggered == 1, (triggered == 0) & present[0], (triggered == 0) & present[1]):
        train = np.flatnonzero(switching & mine)
        changed = np.diff(settings[train], prepend=settings[train[:1]]) != 0
        read = read_states(
            exposures.clock_us[train],
            dither_us=dither_us[train].astype(float),
            starts=changed,
            significance=significance,
        )
        state[train] = read.state if polarity == "short_first" else -read.state
        first, second = train[:-1], train[1:]
        cycle = (state[first] == 1) & (state[second] == -1) & (exposures.kind[first] == exposures.kind[second])
        cycle &= (np.diff(read.chain) == 0) & (np.diff(read.count) == 1)
        cycle &= (segments[:, first] == segments[:, second]).all(axis=0)
        ends_cycle[second[cycle]] = True
        in_cycle[first[cycle]] = in_cycle[second[cycle]] = True
    if enforce_pairs:
        state[switching & ~in_cycle] = 0
    return state, ends_cycle


@dataclass(frozen=True)
class _FlcCards:
    """What the FLC's cards say of each frame of a train: arrays of shape (n,)."""

    switching: BoolArray
    triggered: BoolArray
    dither_us: Int64Array
    settings: Int64Array

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
            train.spread((_dither_us(raw, cards) for raw in train.raws), np.int64),
            train.spread_alike(
                (raw.exposure_us, text_of(raw, cards.mode), _dither_us(raw, cards)) for raw in train.raws
            ),
        )


def _dither_us(raw: Raw, cards: Cards) -> int:
    """Return the half-width of the dither, 0 if the header does not say."""
    dither = raw.cards.get(cards.dither_us)
    return abs(round(dither)) if isinstance(dither, int | float) else 0
