"""Exposures: what the cameras took at once; a pair of frames, or one frame alone.

See docs/design.md, Pairing.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.base import BadInput
from stages.fits.timing import paired_time_us
from stages.instrument import Cards
from stages.pairing.pairs import Pairing, Seen, pair_frames
from stages.pairing.trains import Train, is_true, numbers_alike, size_of, text_of
from stages.product import Raw

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
    dividers_us : ndarray of float64, shape (b - 1,)
        Times within dead times of both cameras, ascending: between them are the blocks, of which none knows of another.
    """

    time_us: Int64Array
    clock_us: FloatArray
    places: Int64Array
    kind: Int64Array
    dividers_us: FloatArray

    def value_of(self, trains: Sequence[Train], of_raw: Callable[[Raw], int], *, first: int = 0) -> Int64Array:
        """Return a value of the raw file of each exposure, shape (n,).

        Parameters
        ----------
        trains : sequence of Train
            Of both cameras.
        of_raw : callable
            The value of a raw file.
        first : int
            Of a pair, whose raw file counts: 0 or 1.
        """
        tables = [np.array([of_raw(raw) for raw in train.raws], np.int64) for train in trains]
        known = np.concatenate(tables)
        if (known == known[:1]).all():
            return np.full(len(self.kind), known[0] if len(known) else 0)
        values = np.empty(len(self.kind), np.int64)
        for camera in (1 - first, first):
            here = np.flatnonzero(self.places[camera] >= 0)
            values[here] = tables[camera][trains[camera].raw[self.places[camera, here]]]
        return values

    def count_changes(
        self, trains: Sequence[Train], of_raw: Callable[[Raw], Hashable], *, but_after_us: float | None = None
    ) -> Int64Array:
        """Return how often a value of either camera's raw files has changed until each exposure, shape (n,).

        Of a camera that has no frame there, until its last one before, or else its first, in the block.

        Parameters
        ----------
        trains : sequence of Train
            Of both cameras.
        of_raw : callable
            The value of a raw file.
        but_after_us : float, optional
            Changes after such a dead time of their camera do not count, microseconds.
        """
        changes = np.zeros(len(self.kind), np.int64)
        for camera, train in enumerate(trains):
            number = numbers_alike(of_raw(raw) for raw in train.raws)
            if (number != number[:1]).any():
                changes += train.count_changes(number, but_after_us=but_after_us)[self._places_in_block(camera, train)]
        return changes

    def _places_in_block(self, camera: int, train: Train) -> Int64Array:
        """Return the place in a camera's train of each exposure's frame, or of one that speaks for it, shape (n,)."""
        places: Int64Array = self.places[camera].copy()
        absent = np.flatnonzero(places < 0)
        time_us = self.time_us[absent]
        block = np.searchsorted(self.dividers_us, time_us)
        bounds = np.concatenate([[0], np.searchsorted(train.time_us, self.dividers_us), [len(train.time_us)]])
        last = np.searchsorted(train.time_us, time_us, side="right") - 1
        # In a block without frames of the camera, any does that is the same for all.
        places[absent] = np.maximum(np.minimum(np.maximum(last, bounds[block]), bounds[block + 1] - 1), 0)
        return places

    def are_repeated(self, trains: Sequence[Train]) -> BoolArray:
        """Return which are single frames that have the time of the one before in their camera, shape (n,)."""
        repeated = np.zeros(len(self.kind), np.bool_)
        for camera, train in enumerate(trains):
            again = train.time_us[1:] == train.time_us[:-1]
            if again.any():
                alone = np.flatnonzero((self.places[camera] > 0) & (self.places[1 - camera] < 0))
                repeated[alone] = again[self.places[camera, alone] - 1]
        return repeated


def pairing_tolerance_us(
    train: Train, cards: Cards, *, us_per_row: float, slow_mode: str, slow_factor: float
) -> FloatArray:
    """Return how far from its partner a frame of each raw file may be: the time that reading its rows takes, and some.

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
    ndarray of float64, shape (files,)
        Microseconds.

    Raises
    ------
    BadInput
        If a raw file has neither.
    """
    slow_modes = (slow_mode, slow_mode.strip().upper())  # as it is in rows now, and in those of earlier versions
    return np.array(
        [
            us_per_row * _rows(raw, cards) * (slow_factor if text_of(raw, cards.mode) in slow_modes else 1.0)
            for raw in train.raws
        ],
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
    tolerance_us : sequence of ndarray of float64, shapes (files,)
        How far from its partner a frame of each raw file may be, microseconds.
    dead_time_us : float
        A longer time without exposure interrupts a stretch of frames, microseconds.

    Returns
    -------
    Exposures
        Every frame is in one of them.
    """
    triggered = [np.array([is_true(raw, cards.external_trigger) for raw in train.raws], np.bool_) for train in trains]
    frames = [np.flatnonzero(of_raw[train.raw]) for train, of_raw in zip(trains, triggered, strict=True)]
    seen = [
        Seen(
            train.time_us[chosen],
            train.raw[chosen],
            np.array([raw.exposure_us for raw in train.raws], np.int64),
            np.array([size_of(raw, cards.dither_us) for raw in train.raws], np.int64),
            tolerance,
        )
        for train, chosen, tolerance in zip(trains, frames, tolerance_us, strict=True)
    ]
    parts = [_merge(pair_frames(*seen, dead_time_us=dead_time_us), *frames)]
    for camera, train in enumerate(trains):
        if len(frames[camera]) < len(train.time_us):
            parts.append(_free(camera, train, np.flatnonzero(~triggered[camera][train.raw])))
    places, clock_us = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    if np.any(clock_us[1:] < clock_us[:-1]):
        order = np.argsort(clock_us, kind="stable")
        places, clock_us = places[:, order], clock_us[order]
    return _classify(places, clock_us, trains, frames, dead_time_us)


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


def _solo_files(
    train: Train, in_pairs: Int64Array, ran: Int64Array, other: Train, other_ran: Int64Array, dead_time_us: float
) -> BoolArray:
    """Return which raw files are solo, shape (files,).

    Those not triggered, and those without a pair whose exposures meet no uninterrupted stretch (without a dead
    time) of the other camera's triggered frames.

    Parameters
    ----------
    train, other : Train
        Whose raw files, and the other camera's.
    in_pairs : ndarray of int64, shape (p,)
        Places in `train` of frames that are in pairs.
    ran, other_ran : ndarray of int64
        Places in either of triggered frames.
    dead_time_us : float
        Microseconds.
    """
    paired = np.zeros(len(train.raws), np.bool_)
    paired[train.raw[in_pairs]] = True
    if paired.all():
        return ~paired
    triggered = np.zeros(len(train.raws), np.bool_)
    triggered[train.raw[ran]] = True
    if not len(other_ran):
        return ~paired
    stretches = other.only(other_ran)
    begins = np.insert(stretches.after_dead_time(dead_time_us), 0, 0)
    until_us = stretches.time_us[np.append(begins[1:], len(other_ran)) - 1]
    from_us = stretches.time_us[begins] - [other.raws[place].exposure_us for place in stretches.raw[begins]]
    first_us = np.array([raw.first_us - raw.exposure_us for raw in train.raws], np.int64)
    last_us = np.array([raw.last_us for raw in train.raws], np.int64)
    latest = np.searchsorted(from_us, last_us, side="right") - 1
    solo: BoolArray = ~triggered | (latest < 0) | (until_us[latest] < first_us)
    return solo & ~paired


def _merge(pairing: Pairing, first: Int64Array, second: Int64Array) -> tuple[Int64Array, FloatArray]:
    """Return the places and the clocks of triggered exposures, shapes (2, n), (n,).

    Parameters
    ----------
    pairing : Pairing
        Of the triggered frames.
    first, second : ndarray of int64, shapes (n1,), (n2,)
        Places of these frames in either camera's train.
    """
    n_first = len(first)
    begin, end = pairing.first_of_pair, pairing.second_of_pair
    clock_us = pairing.clock_us.copy()
    clock_us[begin] = (clock_us[begin] + clock_us[end]) / 2
    partner = np.full(len(clock_us), -1)
    partner[begin] = pairing.order[end]
    is_exposure = np.ones(len(clock_us), np.bool_)
    is_exposure[end] = False
    one, other = pairing.order[is_exposure], partner[is_exposure]
    is_first = one < n_first
    of_first = np.where(is_first, one, other)
    of_second = np.maximum(np.where(is_first, other, one) - n_first, -1)
    # The index -1 of a frame that is not there is the last: -1.
    return np.stack([np.append(first, -1)[of_first], np.append(second, -1)[of_second]]), clock_us[is_exposure]


def _free(camera: int, train: Train, free: Int64Array) -> tuple[Int64Array, FloatArray]:
    """Return the places and the clocks of the frames that were not triggered, shapes (2, n), (n,)."""
    places = np.full((2, len(free)), -1)
    places[camera] = free
    return places, train.time_us[free].astype(np.float64)


def _classify(
    places: Int64Array, clock_us: FloatArray, trains: Sequence[Train], ran: Sequence[Int64Array], dead_time_us: float
) -> Exposures:
    """Return exposures with their times and kinds.

    Parameters
    ----------
    places, clock_us : ndarray, shapes (2, n), (n,)
        Of all exposures, in order.
    trains : sequence of Train
        All frames of both cameras.
    ran : sequence of ndarray of int64
        Places of the triggered ones in either.
    dead_time_us : float
        Microseconds.
    """
    present = places >= 0
    paired = present[0] & present[1]
    kind = np.full(len(clock_us), PAIRED)
    time_us = np.empty(len(clock_us), np.int64)
    time_us[paired] = paired_time_us(*(train.time_us[of[paired]] for train, of in zip(trains, places, strict=True)))
    for camera, train in enumerate(trains):
        in_pairs, other = places[camera, paired], 1 - camera
        solo = _solo_files(train, in_pairs, ran[camera], trains[other], ran[other], dead_time_us)
        kind_of_file = np.where(solo, SOLO + 2 * np.arange(len(solo)) + camera, UNPAIRED[camera])
        alone = np.flatnonzero(present[camera] & ~paired)
        kind[alone] = kind_of_file[train.raw[places[camera, alone]]]
        time_us[alone] = train.time_us[places[camera, alone]]
    return Exposures(time_us, clock_us, places, kind, _dividers(trains, dead_time_us))


def _dividers(trains: Sequence[Train], dead_time_us: float) -> FloatArray:
    """Return a time within each dead time that the cameras have in common, shape (b - 1,), microseconds."""
    idle: list[tuple[FloatArray, FloatArray]] = []
    for train in trains:
        late = train.after_dead_time(dead_time_us)
        exposure_us = np.array([train.raws[place].exposure_us for place in train.raw[late]], np.int64)
        begins, ends = train.time_us[late - 1], train.time_us[late] - exposure_us
        if len(train.time_us):
            begins = np.append(begins, train.time_us[-1])
            ends = np.insert(ends, 0, train.time_us[0] - train.raws[train.raw[0]].exposure_us)
        idle.append((begins.astype(np.float64), ends.astype(np.float64)))
    edges = np.unique(np.concatenate([edge for both in idle for edge in both]))
    middle: FloatArray = (edges[1:] + edges[:-1]) / 2
    common = edges[1:] - edges[:-1] > dead_time_us
    for idle_begins, idle_ends in idle:
        # A camera is idle before its first exposure, and then as long as its idle times that began have not ended.
        common &= np.searchsorted(idle_begins, middle) == np.searchsorted(idle_ends, middle)
    dividers_us: FloatArray = middle[common]
    return dividers_us
