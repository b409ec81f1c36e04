"""Exposures: what the cameras took at once; a pair of frames, or one frame alone (DESIGN section 5)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.base import BadInput, Cards, Raw
from stages.pairing import pair_frames
from stages.timing import paired_time_us
from stages.trains import Train, is_true, text_of

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: Kinds of exposures: unpaired ones by camera, and the first of solo ones, which are as many as raw files.
PAIRED, UNPAIRED, SOLO = 0, (1, 2), 3

#: Rows of a frame as they lie in the cube (FITS 4.0 sec. 4.4.1.1).
_FRAME_ROWS = "NAXIS2"


@dataclass(frozen=True)
class Exposures:
    """What the cameras took at once, in order of `clock_us`.

    Attributes
    ----------
    time_us : ndarray of int64, shape (n,)
        Its time, UNIX, microseconds; for a pair, the mean of both.
    clock_us : ndarray of float64, shape (n,)
        The same with the cameras' offset removed: when it was triggered.
    places : ndarray of int64, shape (2, n)
        Place of its frame in either camera's train; -1 if it has none.
    kind : ndarray of int64, shape (n,)
        Paired, unpaired of either camera, or solo and then of which raw file.
    """

    time_us: Int64Array
    clock_us: FloatArray
    places: Int64Array
    kind: Int64Array


def pairing_tolerance_us(
    train: Train, cards: Cards, *, us_per_row: float, slow_mode: str, slow_factor: float
) -> FloatArray:
    """Return how far from its partner a frame may be: the time that reading its rows takes, and some.

    Parameters
    ----------
    train : Train
        Of one camera.
    cards : Cards
        Those of rows and detector mode are read; without a number of rows, NAXIS2 stands for it.
    us_per_row : float
        The tolerance is this times the rows read, microseconds.
    slow_mode, slow_factor : str, float
        Detector mode in which it is so many times as wide.

    Returns
    -------
    ndarray of float64, shape (n,)
        Microseconds.

    Raises
    ------
    BadInput
        If a raw file has neither.
    """
    return train.spread(
        (
            us_per_row * _rows(raw, cards) * (slow_factor if text_of(raw, cards.mode) == slow_mode else 1.0)
            for raw in train.raws
        ),
        np.float64,
    )


def expose(
    trains: Sequence[Train], *, trigger: str, tolerance_us: Sequence[FloatArray], dead_time_us: float
) -> Exposures:
    """Pair the triggered frames of two cameras, and find out which files are solo.

    Parameters
    ----------
    trains : sequence of Train
        Of both cameras; one may be empty.
    trigger : str
        The card that says whether a raw file's frames were triggered together with the other camera's.
    tolerance_us : sequence of ndarray of float64, shapes (n1,), (n2,)
        How far from its partner a frame may be, microseconds.
    dead_time_us : float
        A longer time without exposure interrupts a stretch of frames, microseconds.

    Returns
    -------
    Exposures
        Every frame is in one of them.
    """
    triggered = [train.spread((is_true(raw, trigger) for raw in train.raws), np.bool_) for train in trains]
    ran = [train.only(chosen) for train, chosen in zip(trains, triggered, strict=True)]
    pairing = pair_frames(
        ran[0].time_us,
        ran[1].time_us,
        first_tolerance_us=tolerance_us[0][triggered[0]],
        second_tolerance_us=tolerance_us[1][triggered[1]],
    )
    clocks = [train.time_us.astype(float) for train in trains]
    clocks[0][triggered[0]], clocks[1][triggered[1]] = pairing.first_us, pairing.second_us
    pairs = [np.flatnonzero(chosen)[of_ran] for chosen, of_ran in zip(triggered, pairing.pairs.T, strict=True)]
    paired = Exposures(
        time_us=paired_time_us(trains[0].time_us[pairs[0]], trains[1].time_us[pairs[1]]),
        clock_us=(clocks[0][pairs[0]] + clocks[1][pairs[1]]) / 2,
        places=np.stack(pairs),
        kind=np.full(len(pairs[0]), PAIRED),
    )
    alone = []
    for camera, train in enumerate(trains):
        solo = _solo_files(train, pairs[camera], ran[camera], ran[1 - camera], dead_time_us)
        alone.append(_alone(camera, train, clocks[camera], pairs[camera], solo))
    return _in_order([paired, *alone])


def _rows(raw: Raw, cards: Cards) -> float:
    """Return how many rows were read; where the header does not say, as many as its frames have."""
    for keyword in (cards.rows, _FRAME_ROWS):
        rows = raw.cards.get(keyword)
        if isinstance(rows, int | float) and not isinstance(rows, bool):
            return rows
    raise BadInput(
        f"{raw.cube}: found no number of rows in its cards {cards.rows} and {_FRAME_ROWS}, expected one of them: the "
        "tolerance of pairing is computed from it; scan the night again, or quarantine the file"
    )


def _solo_files(train: Train, in_pairs: Int64Array, ran: Train, other_ran: Train, dead_time_us: float) -> BoolArray:
    """Return which raw files are solo, shape (files,).

    Those not triggered, and those without a pair whose exposures meet no uninterrupted stretch (without a dead
    time) of the other camera's triggered frames.

    Parameters
    ----------
    train : Train
        Whose raw files.
    in_pairs : ndarray of int64, shape (p,)
        Places in it of frames that are in pairs.
    ran, other_ran : Train
        The triggered frames of the same camera and of the other.
    dead_time_us : float
        Microseconds.
    """
    solo = np.ones(len(train.raws), np.bool_)
    solo[ran.raw] = False
    if len(other_ran.time_us):
        begins = np.insert(np.flatnonzero(other_ran.after_dead_time(dead_time_us)), 0, 0)
        until_us = other_ran.time_us[np.append(begins[1:], len(other_ran.time_us)) - 1]
        from_us = other_ran.time_us[begins] - [other_ran.raws[place].exposure_us for place in other_ran.raw[begins]]
        first_us = np.array([raw.first_us - raw.exposure_us for raw in train.raws], np.int64)
        last_us = np.array([raw.last_us for raw in train.raws], np.int64)
        latest = np.searchsorted(from_us, last_us, side="right") - 1
        solo |= (latest < 0) | (until_us[latest] < first_us)
    else:
        solo[:] = True
    solo[train.raw[in_pairs]] = False
    return solo


def _alone(camera: int, train: Train, clock_us: FloatArray, in_pairs: Int64Array, solo: BoolArray) -> Exposures:
    """Return the exposures of those frames that are in no pair."""
    alone = np.ones(len(train.time_us), np.bool_)
    alone[in_pairs] = False
    places = np.full((2, np.count_nonzero(alone)), -1)
    places[camera] = np.flatnonzero(alone)
    kind_of_file = np.where(solo, SOLO + 2 * np.arange(len(solo)) + camera, UNPAIRED[camera])
    return Exposures(train.time_us[alone], clock_us[alone], places, kind_of_file[train.raw[alone]])


def _in_order(several: Sequence[Exposures]) -> Exposures:
    """Merge exposures into one, in order of their clocks; of equal ones, the earlier in the sequence first."""
    clock_us = np.concatenate([exposures.clock_us for exposures in several])
    order = np.argsort(clock_us, kind="stable")
    return Exposures(
        np.concatenate([exposures.time_us for exposures in several])[order],
        clock_us[order],
        np.concatenate([exposures.places for exposures in several], axis=1)[:, order],
        np.concatenate([exposures.kind for exposures in several])[order],
    )
