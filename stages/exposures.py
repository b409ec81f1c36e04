"""Exposures: what the cameras took at once; a pair of frames, or one frame alone (DESIGN section 5)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.base import BadInput, Cards, Raw
from stages.pairing import Pairing, Seen, pair_frames
from stages.timing import paired_time_us
from stages.trains import Train, is_true, size_of, text_of

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
    trains: Sequence[Train], cards: Cards, *, tolerance_us: Sequence[FloatArray], dead_time_us: float
) -> Exposures:
    """Pair the triggered frames of two cameras, and find out which files are solo.

    Parameters
    ----------
    trains : sequence of Train
        Of both cameras; one may be empty.
    cards : Cards
        Those of trigger and dither are read; the former says whether a raw file's frames were triggered together with
        the other camera's.
    tolerance_us : sequence of ndarray of float64, shapes (n1,), (n2,)
        How far from its partner a frame may be, microseconds.
    dead_time_us : float
        A longer time without exposure interrupts a stretch of frames, microseconds.

    Returns
    -------
    Exposures
        Every frame is in one of them.
    """
    triggered = [
        train.spread((is_true(raw, cards.external_trigger) for raw in train.raws), np.bool_) for train in trains
    ]
    ran = [train.only(chosen) for train, chosen in zip(trains, triggered, strict=True)]
    seen = [
        Seen(
            train.time_us,
            train.spread((raw.exposure_us for raw in train.raws), np.int64),
            train.spread((size_of(raw, cards.dither_us) for raw in train.raws), np.int64),
            tolerance[chosen],
        )
        for train, tolerance, chosen in zip(ran, tolerance_us, triggered, strict=True)
    ]
    of_triggered = _merge(pair_frames(*seen, dead_time_us=dead_time_us), [np.flatnonzero(t) for t in triggered])
    of_free = [_free(camera, train, ~triggered[camera]) for camera, train in enumerate(trains)]
    places, clock_us = (np.concatenate(parts, axis=-1) for parts in zip(of_triggered, *of_free, strict=True))
    if np.any(clock_us[1:] < clock_us[:-1]):
        order = np.argsort(clock_us, kind="stable")
        places, clock_us = places[:, order], clock_us[order]
    return _classify(places, clock_us, trains, ran, dead_time_us)


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


def _merge(pairing: Pairing, triggered: Sequence[Int64Array]) -> tuple[Int64Array, FloatArray]:
    """Return the places and the clocks of triggered exposures, shapes (2, n), (n,).

    Parameters
    ----------
    pairing : Pairing
        Of the triggered frames.
    triggered : sequence of ndarray of int64, shapes (n1,), (n2,)
        Places of these frames in either camera's train.
    """
    n_first = len(triggered[0])
    is_first = pairing.order < n_first
    places = np.full((2, len(pairing.order)), -1)
    places[0, is_first] = triggered[0][pairing.order[is_first]]
    places[1, ~is_first] = triggered[1][pairing.order[~is_first] - n_first]
    begin, end = pairing.first_of_pair, pairing.second_of_pair
    places[:, begin] = np.maximum(places[:, begin], places[:, end])
    clock_us = pairing.clock_us.copy()
    clock_us[begin] = (clock_us[begin] + clock_us[end]) / 2
    is_exposure = np.ones(len(clock_us), np.bool_)
    is_exposure[end] = False
    return places[:, is_exposure], clock_us[is_exposure]


def _free(camera: int, train: Train, free: BoolArray) -> tuple[Int64Array, FloatArray]:
    """Return the places and the clocks of the frames that were not triggered, shapes (2, n), (n,)."""
    places = np.full((2, np.count_nonzero(free)), -1)
    places[camera] = np.flatnonzero(free)
    return places, train.time_us[free].astype(np.float64)


def _classify(
    places: Int64Array, clock_us: FloatArray, trains: Sequence[Train], ran: Sequence[Train], dead_time_us: float
) -> Exposures:
    """Return exposures with their times and kinds.

    Parameters
    ----------
    places, clock_us : ndarray, shapes (2, n), (n,)
        Of all exposures, in order.
    trains, ran : sequence of Train
        All frames of both cameras, and the triggered ones.
    dead_time_us : float
        Microseconds.
    """
    paired = (places >= 0).all(axis=0)
    kind = np.full(len(clock_us), PAIRED)
    time_us = np.empty(len(clock_us), np.int64)
    time_us[paired] = paired_time_us(*(train.time_us[of[paired]] for train, of in zip(trains, places, strict=True)))
    for camera, train in enumerate(trains):
        solo = _solo_files(train, places[camera, paired], ran[camera], ran[1 - camera], dead_time_us)
        kind_of_file = np.where(solo, SOLO + 2 * np.arange(len(solo)) + camera, UNPAIRED[camera])
        alone = (places[camera] >= 0) & ~paired
        kind[alone] = kind_of_file[train.raw[places[camera, alone]]]
        time_us[alone] = train.time_us[places[camera, alone]]
    return Exposures(time_us, clock_us, places, kind)
