"""Which frames of two cameras are one exposure: arrays of times in, pairs of indices out (DESIGN section 5)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: Candidates that share one estimate of the offset: enough for a median that neither noise nor a fifth of
#: the frames being dropped disturbs, few enough to follow a drift.
_WINDOW = 32

#: A pause is so many times longer than the gaps beside it.  The dither halves a gap at most, and a fifth of
#: the frames dropped does not often remove four in a row.
_PAUSE = 9.0

#: Fewer candidates than this do not make a stretch of their own.
_FEW = 8

#: The offset is below 0.45 of the period (DESIGN section 5); frames further apart than half are no candidates.
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Pairing:
    """Frames of two cameras that belong together.

    Attributes
    ----------
    pairs : ndarray of int64, shape (n, 2)
        Indices into the first and the second camera's times, both strictly increasing.
    first_us, second_us : ndarray of float64, shapes (n1,), (n2,)
        All times with the offset removed, half of it from each camera, microseconds.
    """

    pairs: Int64Array
    first_us: FloatArray
    second_us: FloatArray


def pair_frames(
    first_us: Int64Array, second_us: Int64Array, *, first_tolerance_us: Any, second_tolerance_us: Any
) -> Pairing:
    """Pair the frames of two cameras that are triggered together.

    Both trains are merged.  Two frames are a pair if they are neighbours in the merged train, are of
    different cameras, neither has a nearer neighbour of the other camera, and their distance, less the
    cameras' static offset, is within the smaller of both tolerances.  The offset is the median distance of
    the pairs found without regard to it, over windows of some tens of pairs within a stretch without pause;
    it is then refined with the pairs found with it.

    Swapping the cameras swaps the columns of the result; shifting all times does not change it.

    Parameters
    ----------
    first_us, second_us : ndarray of int64, shapes (n1,), (n2,)
        Frame times, ascending, microseconds.
    first_tolerance_us, second_tolerance_us : float or ndarray, shapes (n1,), (n2,)
        How far from its partner a frame may be, microseconds.

    Returns
    -------
    Pairing
        The pairs and all times on the common clock.
    """
    n_first = len(first_us)
    times = np.concatenate([first_us, second_us])
    if not n_first or not len(second_us):
        return Pairing(np.empty((0, 2), np.int64), *np.split(times.astype(float), [n_first]))
    origin_us = times.min()
    times -= origin_us
    side = np.ones(len(times))
    side[n_first:] = -1.0
    period = np.concatenate([_own_period(first_us), _own_period(second_us)])
    offset = np.zeros(len(times))
    for _ in range(2):
        offset = _offsets(times, side, period, offset)
    aligned = times + side * offset / 2
    order, links = _nearest_neighbours(aligned, side)
    left, right = order[links], order[links + 1]
    first, second = np.minimum(left, right), np.maximum(left, right)
    tolerance = np.minimum(
        np.broadcast_to(first_tolerance_us, n_first)[first],
        np.broadcast_to(second_tolerance_us, len(second_us))[second - n_first],
    )
    near = np.abs(aligned[second] - aligned[first]) <= tolerance
    pairs = np.column_stack([first[near], second[near] - n_first])
    return Pairing(pairs, *np.split(aligned + origin_us, [n_first]))


def starts_of_stretches(times_us: npt.NDArray[Any]) -> BoolArray:
    """Return where a train of frames resumes after a pause, shape (n,); its first frame counts.

    Parameters
    ----------
    times_us : ndarray, shape (n,)
        Ascending.

    Returns
    -------
    ndarray of bool, shape (n,)
        A pause is a gap more than 9 times as long as the shorter of the gaps beside it.
    """
    starts = np.zeros(len(times_us), np.bool_)
    starts[:1] = True
    if len(times_us) > 2:
        gaps = np.diff(times_us).astype(float)
        beside = np.minimum(np.append(gaps[1:], np.inf), np.insert(gaps[:-1], 0, np.inf))
        starts[1:] = gaps > _PAUSE * beside
    return starts


def window_quantiles(
    values: FloatArray, starts: BoolArray, window: int, fraction: float = 0.5
) -> tuple[FloatArray, Int64Array]:
    """Return quantiles over windows of consecutive values that do not reach across starts.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        Without NaN.
    starts : ndarray of bool, shape (n,)
        Where a stretch starts; the first value always starts one.
    window : int
        Least number of values to a window, if the stretch has as many; at most twice as many.
    fraction : float
        Which quantile; the median by default.

    Returns
    -------
    quantiles : ndarray of float64, shape (w,)
        One for each window.
    membership : ndarray of int64, shape (n,)
        The window that each value is in.
    """
    if not len(values):
        return np.empty(0), np.empty(0, np.int64)
    stretch = np.cumsum(starts) - starts[0]
    count = np.bincount(stretch)
    first = np.cumsum(count) - count
    n_windows = np.maximum(count // window, 1)
    position = np.arange(len(values)) - first[stretch]
    membership = (np.cumsum(n_windows) - n_windows)[stretch] + position * n_windows[stretch] // count[stretch]
    size = np.bincount(membership)
    begin = np.cumsum(size) - size
    table = np.full((len(size), size.max()), np.inf)
    table[membership, np.arange(len(values)) - begin[membership]] = values
    table.sort(axis=1)
    row = np.arange(len(size))
    place = fraction * (size - 1)
    lower, upper = np.floor(place).astype(np.int64), np.ceil(place).astype(np.int64)
    quantiles: FloatArray = (table[row, lower] + table[row, upper]) / 2
    return quantiles, membership


def starts_of_pools(stretch: Int64Array) -> BoolArray:
    """Return where to start anew when estimating something from values of several stretches.

    Parameters
    ----------
    stretch : ndarray of int64, shape (n,)
        Number of the stretch that each value is from, ascending.

    Returns
    -------
    ndarray of bool, shape (n,)
        At each stretch, except that short ones next to each other stay together.
    """
    starts = np.ones(len(stretch), np.bool_)
    few = np.bincount(stretch)[stretch] < _FEW
    starts[1:] = (np.diff(stretch) != 0) & ~(few[1:] & few[:-1])
    return starts


def nearest_places(places: Int64Array, stretch: Int64Array) -> Int64Array:
    """Return which of some places in a train speaks for each of its members.

    Parameters
    ----------
    places : ndarray of int64, shape (p,), p > 0
        Ascending places in the train.
    stretch : ndarray of int64, shape (n,)
        Number of the stretch that each member is in, ascending.

    Returns
    -------
    ndarray of int64, shape (n,)
        Index into `places` of the last one up to the member if that is in its stretch, or else of the next
        if that is, or else of either.
    """
    is_place = np.zeros(len(stretch), np.bool_)
    is_place[places] = True
    upto = np.cumsum(is_place) - 1
    following = np.minimum(upto + 1, len(places) - 1)
    upto = np.maximum(upto, 0)
    found: Int64Array = np.where(stretch[places[upto]] == stretch, upto, following)
    return found


def _own_period(times_us: Int64Array) -> FloatArray:
    """Return the spacing of frames around each, shape (n,): inf for a lone frame.

    The mean of the gaps on both sides, in which the dither cancels, unless one of them is a pause.
    """
    gaps = np.diff(times_us).astype(float)
    before, behind = np.insert(gaps, 0, np.inf), np.append(gaps, np.inf)
    shorter, longer = np.minimum(before, behind), np.maximum(before, behind)
    period: FloatArray = np.where(longer > 3 * shorter, shorter, (shorter + longer) / 2)
    return period


def _nearest_neighbours(times: FloatArray, side: FloatArray) -> tuple[Int64Array, Int64Array]:
    """Return the merged order, and the places in it whose frame and the next are mutually nearest.

    Of two equally near neighbours, the earlier counts.
    """
    order = np.argsort(times, kind="stable")
    merged = times[order]
    distance = np.where(np.diff(side[order]) != 0, np.diff(merged), np.inf)
    before, behind = np.insert(distance[:-1], 0, np.inf), np.append(distance[1:], np.inf)
    return order, np.flatnonzero(np.isfinite(distance) & (distance < before) & (distance <= behind))


def _offsets(times: Int64Array, side: FloatArray, period: FloatArray, offset: FloatArray) -> FloatArray:
    """Return the offset of the second camera against the first around each frame, shape (n,).

    Estimated from the pairs that the `offset` so far gives.
    """
    order, links = _nearest_neighbours(times + side * offset / 2, side)
    left, right = order[links], order[links + 1]
    first, second = np.minimum(left, right), np.maximum(left, right)
    distance = (times[second] - times[first]).astype(float)
    shortest = np.minimum(period[first], period[second])
    good = np.abs(distance) <= _HALF * shortest
    links, distance = links[good], distance[good]
    if not len(links):
        return np.zeros(len(times))
    # Stretches are those of the merged train: the shorter of its gaps alternate with the longer.
    gaps = np.diff(times[order]).astype(float)
    pause = gaps > _PAUSE * np.minimum(period[order][1:], period[order][:-1]) / 2
    stretch = np.insert(np.cumsum(pause, dtype=np.int64), 0, 0)
    starts = starts_of_pools(stretch[links])
    medians, membership = window_quantiles(distance, starts, _WINDOW)
    medians = _without_lone_ones(medians, np.bincount(membership), times[order][links], membership)
    result = np.empty(len(times))
    result[order] = medians[membership[nearest_places(links, stretch)]]
    return result


def _without_lone_ones(medians: FloatArray, size: Int64Array, times: FloatArray, membership: Int64Array) -> FloatArray:
    """Return medians where a window of one candidate, which proves nothing, has that of the nearest other.

    Without any other it is 0.
    """
    if (size > 1).all():
        return medians
    known = np.flatnonzero(size > 1)
    if not len(known):
        return np.zeros(len(medians))
    centre = times[np.searchsorted(membership, np.arange(len(medians)))].astype(float)
    behind = np.clip(np.searchsorted(centre[known], centre), 0, len(known) - 1)
    before = np.maximum(behind - 1, 0)
    nearer = np.abs(centre[known[before]] - centre) < np.abs(centre[known[behind]] - centre)
    return np.where(size > 1, medians, medians[known[np.where(nearer, before, behind)]])
