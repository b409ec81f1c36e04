"""Which frames of two cameras are one exposure: arrays of times in, pairs of indices out (DESIGN section 5).

The frames of both cameras are merged in order of time.  One trigger makes one frame in each camera, at most 0.45
of a period apart, so a pair lies side by side there.  What is left is to know the cameras' offset, which tells
partners from neighbours: it is estimated from the frames themselves, locally, as it may drift.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.windows import cut_windows, fill_from_neighbours, row_quantile, sample_windows

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: Candidates (frames next to one of the other camera) that share one estimate of the offset, at least if there are as
#: many; and of how many of them it is made.  Enough that neither noise nor a fifth of the frames being dropped
#: disturbs it; few enough to follow clocks that drift apart by 5 ppm, at a frame a second.
_WINDOW, _SAMPLE = 64, 32

#: The offset is below 0.45 of the period (DESIGN section 5); frames further apart than half are no candidates.
_HALF = 0.5

#: An offset beyond this share of the period may have drifted across half of it.
_NEAR_HALF = 0.4

#: Fewer candidates than this are outvoted by those of the next windows.
_FEW = 8

#: Quantile over a window of spans that a dropped frame makes longer and nothing but noise shorter.
_LOW = 0.1

#: So few gaps may all span a dropped frame.
_SURE = 4

#: Of two offsets that explain candidates equally well, within this share of the tolerance, the smaller is believed:
#: this share of its size counts as much as candidates being apart.
_EQUAL, _PREFERENCE = 1 / 8, 0.1


@dataclass(frozen=True, slots=True)
class Seen:
    """The frames of one camera.

    Attributes
    ----------
    time_us : ndarray of int64, shape (n,)
        Acquisition times, never descending, microseconds.
    exposure_us : ndarray of int64, shape (n,)
        Exposure times, microseconds; no period is shorter.
    dither_us : ndarray of int64, shape (n,)
        Half-width of the dither on the trigger, microseconds; no gap is shorter than the period by more.
    tolerance_us : ndarray of float64, shape (n,)
        How far from its partner a frame may be, microseconds.
    """

    time_us: Int64Array
    exposure_us: Int64Array
    dither_us: Int64Array
    tolerance_us: FloatArray

    def only(self, chosen: BoolArray) -> "Seen":
        """Return some of the frames; `chosen` has shape (n,)."""
        return Seen(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def joined(self, other: "Seen") -> list[npt.NDArray[Any]]:
        """Return each attribute of these frames followed by that of others, shapes (n1 + n2,)."""
        return [np.concatenate([getattr(self, field.name), getattr(other, field.name)]) for field in fields(self)]


@dataclass(frozen=True, slots=True)
class Pairing:
    """Frames of two cameras, merged in order of time, and which of them belong together.

    Attributes
    ----------
    order : ndarray of int64, shape (n1 + n2,)
        Index of each frame among those of the first camera followed by those of the second.
    first_of_pair, second_of_pair : ndarray of int64, shape (p,)
        Places in `order` of the two frames of each pair, as they come in time.
    clock_us : ndarray of float64, shape (n1 + n2,)
        Their times with the offset removed, half of it from each camera, microseconds.
    """

    order: Int64Array
    first_of_pair: Int64Array
    second_of_pair: Int64Array
    clock_us: FloatArray


def pair_frames(first: Seen, second: Seen, *, dead_time_us: float) -> Pairing:
    """Pair the frames of two cameras that are triggered together.

    Two frames are a pair if, on the common clock, they are neighbours, of different cameras, neither has a nearer
    neighbour of the other camera, and their distance is within the smaller of both tolerances and within half of
    the shortest gap between frames of a camera.  A frame with the same time as the one before it in its own
    camera is in no pair.

    The common clock has the cameras' offset removed: over windows of some hundred frames, the mode of the distances
    of neighbours that are no further apart than half of the period, that is, the middle of the shortest interval
    that holds half of them.  (Distances to the wrong neighbour are scattered by twice the dither.)  Nothing is
    concluded across a dead time, so what is joined after one does not change what was there.

    Swapping the cameras swaps them in the result; shifting all times does not change it.

    Parameters
    ----------
    first, second : Seen
        The frames of each camera.
    dead_time_us : float
        A longer time without exposure starts anew, microseconds.

    Returns
    -------
    Pairing
        All frames, in order of time.
    """
    repeated = [np.diff(seen.time_us, prepend=-1) == 0 for seen in (first, second)]
    if not (repeated[0].any() or repeated[1].any()):
        return _pair_unrepeated(first, second, dead_time_us)
    once = _pair_unrepeated(first.only(~repeated[0]), second.only(~repeated[1]), dead_time_us)
    index = np.flatnonzero(~np.concatenate(repeated))
    copies = np.diff(np.append(index, len(first.time_us) + len(second.time_us)))[once.order]
    place = np.cumsum(copies) - copies
    order = np.repeat(index[once.order], copies) + np.arange(copies.sum()) - np.repeat(place, copies)
    return Pairing(order, place[once.first_of_pair], place[once.second_of_pair], np.repeat(once.clock_us, copies))


def _pair_unrepeated(first: Seen, second: Seen, dead_time_us: float) -> Pairing:
    """Pair frames as :func:`pair_frames` does, where no two of a camera have the same time."""
    n_first = len(first.time_us)
    times_us, exposure_us, dither_us, tolerance_us = first.joined(second)
    order = np.argsort(times_us, kind="stable")
    origin_us = times_us.min(initial=np.iinfo(np.int64).max)
    clock_us = (times_us[order] - origin_us).astype(np.float64)
    nothing = np.empty(0, np.int64)
    if not 0 < n_first < len(order):
        return Pairing(order, nothing, nothing, clock_us + origin_us)
    is_second, exposure_us, tolerance_us = order >= n_first, exposure_us[order], tolerance_us[order]
    starts = np.ones(len(order), np.bool_)
    starts[1:] = np.diff(clock_us) - exposure_us[1:] > dead_time_us
    block = np.cumsum(starts) - 1
    offset_us, reach_us = _offsets(clock_us, is_second, exposure_us, dither_us[order], tolerance_us, block)
    clock_us += np.where(is_second, -0.5, 0.5) * offset_us
    again = np.argsort(clock_us, kind="stable")
    order, clock_us, is_second = order[again], clock_us[again], is_second[again]
    reach_us = np.minimum(reach_us, tolerance_us)[again]
    apart = np.diff(clock_us)
    apart[(is_second[1:] == is_second[:-1]) | (apart > reach_us[1:]) | (apart > reach_us[:-1])] = np.inf
    before, behind = np.insert(apart[:-1], 0, np.inf), np.append(apart[1:], np.inf)
    links = np.flatnonzero((apart < before) & (apart <= behind) & (apart < np.inf))
    clock_us += origin_us + _left_over(clock_us, is_second, links, block)
    return Pairing(order, links, links + 1, clock_us)


def _offsets(
    t: FloatArray,
    is_second: BoolArray,
    exposure_us: Int64Array,
    dither_us: Int64Array,
    tolerance_us: FloatArray,
    block: Int64Array,
) -> tuple[FloatArray, FloatArray]:
    """Return the offset of the second camera against the first, and half of the shortest gap, around each frame.

    Parameters
    ----------
    t, exposure_us, dither_us, tolerance_us, block : ndarray, shape (n,)
        Times, exposure times, dithers, tolerances and numbers of blocks of the merged train, microseconds.
    is_second : ndarray of bool, shape (n,)
        Whose frames they are.

    Returns
    -------
    offset_us, reach_us : ndarray of float64, shapes (n,)
        Microseconds.
    """
    candidate = np.flatnonzero((is_second[1:] != is_second[:-1]) & (block[1:] == block[:-1]))
    if not len(candidate):
        return np.zeros(len(t)), np.full(len(t), np.inf)
    of_block = block[candidate]
    windows = cut_windows(np.diff(of_block, prepend=-1) != 0, _WINDOW)
    members, is_member = sample_windows(windows, _SAMPLE)
    here = candidate[members]
    period_us, shortest_us = _periods(t, is_second, exposure_us, dither_us, block, here, is_member)
    at_first = candidate[windows.first]
    unknown = np.isinf(shortest_us)
    farthest_us = np.where(unknown, np.maximum(tolerance_us[at_first], _HALF * period_us), _HALF * period_us)
    distance = np.where(is_second[here], t[here] - t[here + 1], t[here + 1] - t[here])
    distance[~is_member | (np.abs(distance) > farthest_us[:, None])] = np.inf
    offset_us, count = _modes(distance, tolerance_us[at_first] * _EQUAL)
    offset_us = fill_from_neighbours(offset_us, count >= _FEW, windows.block)
    offset_us = _unwrapped(offset_us, period_us, windows.block)
    of_window = of_block[windows.first]
    return _spread(offset_us, at_first, of_window, block), _spread(_HALF * shortest_us, at_first, of_window, block)


def _periods(
    t: FloatArray,
    is_second: BoolArray,
    exposure_us: Int64Array,
    dither_us: Int64Array,
    block: Int64Array,
    here: Int64Array,
    is_member: BoolArray,
) -> tuple[FloatArray, FloatArray]:
    """Return the period and the shortest gap between frames of one camera in each window, shapes (w,).

    Half of what four frames span, of both cameras in turn, is the period free of the dither; a dropped frame makes
    it longer only.  So does the shortest gap within a camera give the period, short by the dither at most.  A few gaps
    may all span several periods, but none that is shorter than the exposure.

    Parameters
    ----------
    t, is_second, exposure_us, dither_us, block : ndarray, shape (n,)
        Times, cameras, exposure times, dithers and numbers of blocks of the merged train, microseconds.
    here : ndarray of int64, shape (w, m)
        Places in it that are followed by a frame of the other camera.
    is_member : ndarray of bool, shape (w, m)
        Which of them count.

    Returns
    -------
    period_us, shortest_us : ndarray of float64, shapes (w,)
        The exposure time, and inf, in a window with one frame of each camera.
    """
    before, second, fourth = np.maximum(here - 1, 0), np.minimum(here + 2, len(t) - 1), np.minimum(here + 4, len(t) - 1)
    gaps = t[second] - t[np.where(is_second[second] == is_second[here], here, here + 1)]
    gaps_before = t[np.where(is_second[before] == is_second[here], here, here + 1)] - t[before]
    spans = (t[fourth] - t[here]) / 2
    gaps[~is_member | (second < here + 2) | (block[second] != block[here])] = np.inf
    gaps_before[~is_member | (before == here) | (block[before] != block[here])] = np.inf
    spans[~is_member | (fourth < here + 4) | (block[fourth] != block[here])] = np.inf
    np.minimum(gaps, gaps_before, out=gaps)
    gaps.sort(axis=1)
    spans.sort(axis=1)
    n_gaps, n_spans = (np.count_nonzero(table < np.inf, axis=1) for table in (gaps, spans))
    shortest_us = row_quantile(gaps, n_gaps, _LOW)
    period_us = np.minimum(row_quantile(spans, n_spans, _LOW), shortest_us + dither_us[here[:, 0]])
    least_us = np.maximum(exposure_us[here[:, 0]], 1.0)
    few = (n_gaps < _SURE) & (n_gaps > 0)
    period_us[few] /= np.maximum(np.floor(period_us[few] / least_us[few]), 1.0)
    return np.where(n_gaps > 0, np.maximum(period_us, least_us), least_us), shortest_us


def _unwrapped(offset_us: FloatArray, period_us: FloatArray, block: Int64Array) -> FloatArray:
    """Return offsets that may drift beyond half a period; arrays of shape (w,).

    The neighbour that is nearest then is no longer the partner: from one window to the next of a block the
    offset jumps from one end of its range to the other, which is a period.
    """
    wide = np.abs(offset_us) > _NEAR_HALF * period_us
    jumps = np.zeros(len(offset_us))
    jumps[1:] = np.sign(offset_us[:-1]) - np.sign(offset_us[1:])
    jumps[1:] *= wide[1:] & wide[:-1] & (block[1:] == block[:-1])
    if not jumps.any():
        return offset_us
    turns = np.cumsum(jumps / 2)
    turns -= turns[np.searchsorted(block, block)]
    return offset_us + turns * period_us


def _modes(values: FloatArray, resolution: FloatArray) -> tuple[FloatArray, Int64Array]:
    """Return the mode of each row, shape (w,), and of how many values; the rows, shape (w, m), are sorted.

    The middle of the shortest interval that holds half of the values that are not inf; 0 if there are none.
    Of intervals that are no longer than the `resolution`, shape (w,), the one nearest to 0.
    """
    values.sort(axis=1)
    count = np.count_nonzero(values < np.inf, axis=1)
    half = (count + 1) // 2
    column = np.arange(values.shape[1])
    last = np.minimum(column + np.maximum(half, 1)[:, None] - 1, values.shape[1] - 1)
    upper = np.take_along_axis(values, last, axis=1)
    middle = np.take_along_axis(values, (column + last) // 2, axis=1)
    upper[column + half[:, None] > count[:, None]] = np.inf
    with np.errstate(invalid="ignore"):
        length = np.maximum(upper - values, resolution[:, None])
        cost = np.where(upper < np.inf, length + _PREFERENCE * np.abs(middle), np.inf)
    best = cost.argmin(axis=1)
    row = np.arange(len(values))
    return np.where(count > 0, middle[row, best], 0.0), count


def _left_over(clock_us: FloatArray, is_second: BoolArray, links: Int64Array, block: Int64Array) -> FloatArray:
    """Return what to add to times so that the offset that is left between the frames of pairs goes, shape (n,).

    Parameters
    ----------
    clock_us : ndarray of float64, shape (n,)
        Times with an offset removed that was estimated over many frames.
    is_second : ndarray of bool, shape (n,)
        Whose frames they are.
    links : ndarray of int64, shape (p,)
        Places of frames that are a pair with the next.
    block : ndarray of int64, shape (n,)
        Number of the block of each frame, ascending.
    """
    if not len(links):
        return np.zeros(len(clock_us))
    of_block = block[links]
    windows = cut_windows(np.diff(of_block, prepend=-1) != 0, _FEW)
    apart = np.where(is_second[links], -1.0, 1.0) * (clock_us[links + 1] - clock_us[links])
    left_us = np.add.reduceat(apart, windows.first) / windows.size
    return np.where(is_second, -0.5, 0.5) * _spread(left_us, links[windows.first], of_block[windows.first], block)


def _spread(values: FloatArray, begin: Int64Array, of_block: Int64Array, block: Int64Array) -> FloatArray:
    """Return for each frame the value of the window that it is in, shape (n,); 0 in a block without windows.

    Parameters
    ----------
    values : ndarray of float64, shape (w,)
        Of windows.
    begin, of_block : ndarray of int64, shape (w,)
        Place of the first frame that each window knows of, and the block that is in; what comes before the first
        window of a block counts with it.
    block : ndarray of int64, shape (n,)
        Number of the block of each frame, ascending.
    """
    opens = np.diff(of_block, prepend=-1) != 0
    begin = np.where(opens, np.searchsorted(block, of_block), begin)
    lengths = np.diff(np.append(begin, len(block)))
    lengths[0] += begin[0]
    return np.where(np.repeat(of_block, lengths) == block, np.repeat(values, lengths), 0.0)
