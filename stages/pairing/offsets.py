"""The offset between two cameras that are triggered together, from the times of their frames alone.

See docs/design.md, Pairing.

One trigger makes one frame in each camera, at most 0.45 of a period apart.  Of the distances between neighbours of
different cameras, those to the partner are all alike.  Those to the wrong neighbour are longer than 0.55 of a
period, or else scattered by the dither: by twice it, or half of them are gone.

Numbers below without another source were chosen on the grid of docs/accuracy.md.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from stages.pairing.windows import (
    cut_windows_of,
    fill_from_neighbours,
    row_quantile,
    sample_windows,
    spread_windows,
)

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: Candidates (frames next to one of the other camera) that share one estimate of the offset, at least if there are as
#: many; at slow rates, beyond this mean gap in microseconds, fewer, to follow clocks that drift apart; and of
#: how many of them it is made: enough that neither noise nor a fifth of the frames being dropped disturbs it.
_WINDOW, _SLOW_WINDOW, _SLOW_US, _SAMPLE = 256, 64, 10_000.0, 32

#: The offset is below 0.45 of the period (docs/design.md, Pairing); frames further apart than half are no candidates,
#: give or take the noise of the period's own estimate where there are many.
_HALF = 0.5

#: Clocks of cameras drift apart by less: quartz keeps time to some parts in a million.
_FASTEST = 1e-5

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


def estimate_offsets(
    t: FloatArray,
    is_second: BoolArray,
    first_of_block: Int64Array,
    settings: Callable[[Int64Array], tuple[Int64Array, Int64Array, FloatArray]],
) -> tuple[FloatArray, FloatArray]:
    """Return the offset of the second camera against the first, and the shortest gap of a camera, around each frame.

    Parameters
    ----------
    t : ndarray of float64, shape (n,)
        Times in order, microseconds.
    is_second : ndarray of bool, shape (n,)
        Whose frames they are.
    first_of_block : ndarray of int64, shape (b,)
        Places of the first frames of blocks.
    settings : callable
        Exposure time, dither and tolerance of the frames at some places, microseconds.

    Returns
    -------
    offset_us, shortest_us : ndarray of float64, shapes (n,)
        Microseconds; 0 in blocks without neighbours of both cameras.
    """
    is_candidate = is_second[1:] != is_second[:-1]
    is_candidate[first_of_block[1:] - 1] = False
    candidate = np.flatnonzero(is_candidate)
    if not len(candidate):
        return np.zeros(len(t)), np.zeros(len(t))
    bounds = np.append(first_of_block, len(t))
    gap_us = (t[bounds[1:] - 1] - t[first_of_block]) / np.diff(bounds)
    windows = cut_windows_of(candidate, first_of_block, np.where(gap_us > _SLOW_US, _SLOW_WINDOW, _WINDOW))
    members, is_member = sample_windows(windows, _SAMPLE)
    here, begin = candidate[members], candidate[windows.first]
    exposure_us, dither_us, tolerance_us = settings(begin)
    period_us, shortest_us = _periods(
        t,
        is_second,
        here[:, : _SAMPLE // 2],
        is_member[:, : _SAMPLE // 2],
        bounds=(bounds[windows.block], bounds[windows.block + 1]),
        dither_us=dither_us,
        least_us=np.maximum(exposure_us, 1.0),
    )
    alone = np.isinf(shortest_us)
    farthest_us = _HALF * period_us + np.where(windows.size >= _SAMPLE, _EQUAL * tolerance_us, 0.0)
    farthest_us[alone] = np.maximum(farthest_us, tolerance_us)[alone]
    distance = t[here + 1] - t[here]
    distance *= 1.0 - 2.0 * is_second[here]
    distance[~is_member | (np.abs(distance) > farthest_us[:, None])] = np.inf
    offset_us, count = _modes(distance, tolerance_us * _EQUAL)
    offset_us = fill_from_neighbours(offset_us, count >= _FEW, windows.block)
    offset_us = _unwrapped(offset_us, period_us, windows.block)
    offset_us = _agreed(offset_us, tolerance_us, windows.block)
    centre_us = (t[begin] + t[candidate[windows.first + windows.size - 1]]) / 2
    drift = _slopes(offset_us, centre_us, windows.block)
    spread = [
        spread_windows(values, begin, windows.block, bounds)
        for values in (offset_us - drift * centre_us, drift, shortest_us)
    ]
    return spread[0] + spread[1] * t, spread[2]


def _slopes(values: FloatArray, places: FloatArray, block: Int64Array) -> FloatArray:
    """Return by how much windows' values grow with their places, from neighbours of the same block, shape (w,)."""
    behind = np.append(block[1:] == block[:-1], False)
    before = np.insert(behind[:-1], 0, False)
    index = np.arange(len(values))
    first, last = index - before, index + behind
    span = places[last] - places[first]
    slope: FloatArray = (values[last] - values[first]) / np.where(span > 0, span, np.inf)
    return np.clip(slope, -_FASTEST, _FASTEST)


def _periods(
    t: FloatArray,
    is_second: BoolArray,
    here: Int64Array,
    is_member: BoolArray,
    *,
    bounds: tuple[Int64Array, Int64Array],
    dither_us: Int64Array,
    least_us: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return the period and the shortest gap between frames of one camera in each window, shapes (w,).

    Half of what four frames span, of both cameras in turn, is the period free of the dither; a dropped frame makes
    it longer only.  So does the shortest gap within a camera give the period, short by the dither at most.  A few gaps
    may all span several periods, but none that is shorter than the exposure.

    Parameters
    ----------
    t, is_second : ndarray, shape (n,)
        Times and cameras of the frames in order, microseconds.
    here : ndarray of int64, shape (w, m)
        Places in it that are followed by a frame of the other camera.
    is_member : ndarray of bool, shape (w, m)
        Which of them count.
    bounds : tuple of ndarray of int64, shapes (w,)
        Places where the blocks of the windows begin and end.
    dither_us, least_us : ndarray, shape (w,)
        Dither, and the least that the period can be, microseconds.

    Returns
    -------
    period_us, shortest_us : ndarray of float64, shapes (w,)
        The least period, and inf, in a window with one frame of each camera.
    """
    block_begins, block_ends = bounds[0][:, None], bounds[1][:, None]
    side = is_second[here]
    before, second, fourth = np.maximum(here - 1, 0), np.minimum(here + 2, len(t) - 1), np.minimum(here + 4, len(t) - 1)
    gaps = t[second] - t[here + (is_second[second] != side)]
    gaps[here + 2 >= block_ends] = np.inf
    gaps_before = t[here + (is_second[before] != side)] - t[before]
    gaps_before[here <= block_begins] = np.inf
    np.minimum(gaps, gaps_before, out=gaps)
    spans = t[fourth] - t[here]
    spans[here + 4 >= block_ends] = np.inf
    for table in (gaps, spans):
        table[~is_member] = np.inf
        table.sort(axis=1)
    n_gaps, n_spans = (np.count_nonzero(table < np.inf, axis=1) for table in (gaps, spans))
    shortest_us = row_quantile(gaps, n_gaps, _LOW)
    period_us = np.minimum(row_quantile(spans, n_spans, _LOW) / 2, shortest_us + dither_us)
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


def _agreed(offset_us: FloatArray, tolerance_us: FloatArray, block: Int64Array) -> FloatArray:
    """Return offsets where one that is out of tolerance of the median of those around has it; arrays of shape (w,)."""
    index = np.arange(len(block))
    around = np.stack([np.clip(index + apart, 0, len(block) - 1) for apart in (-2, -1, 0, 1, 2)])
    around = np.where(block[around] == block, around, index)
    median_us = np.median(offset_us[around], axis=0)
    return np.where(np.abs(offset_us - median_us) > tolerance_us, median_us, offset_us)


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
