"""Windows: stretches of an array over which something is estimated, all at once (pairing, FLC states)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: Members next to each other in a sample.
_RUN = 8


@dataclass(frozen=True, slots=True)
class Windows:
    """Stretches that together are the whole array.

    Attributes
    ----------
    first, size : ndarray of int64, shape (w,)
        Index of the first member of each, and how many there are.
    block : ndarray of int64, shape (w,)
        Number of the block that each is in, from 0, ascending.
    """

    first: Int64Array
    size: Int64Array
    block: Int64Array


def after_dead_time(
    time_us: npt.NDArray[Any], dead_time_us: float, exposure_us: Callable[[Int64Array], npt.ArrayLike]
) -> Int64Array:
    """Return the places of frames whose exposure began longer than a dead time after the frame before.

    Parameters
    ----------
    time_us : ndarray, shape (n,)
        Times, never descending, microseconds.
    dead_time_us : float
        Microseconds.
    exposure_us : callable
        Exposure times of the frames at some places, microseconds; asked for few.

    Returns
    -------
    ndarray of int64, shape (b,)
        Ascending; the first frame is not among them.
    """
    late = np.flatnonzero(time_us[1:] - time_us[:-1] > dead_time_us) + 1
    begin_us = time_us[late] - np.asarray(exposure_us(late))
    places: Int64Array = late[begin_us - time_us[late - 1] > dead_time_us]
    return places


def cut_windows(first_of_block: Int64Array, n: int, size: int | Int64Array) -> Windows:
    """Cut an array into windows that do not reach across the starts of blocks.

    Parameters
    ----------
    first_of_block : ndarray of int64, shape (b,)
        Index of the first member of each block, strictly ascending from 0.
    n : int
        Length of the array, more than 0.
    size : int or ndarray of int64, shape (b,)
        Least number of members to a window, if the block has as many; less than twice as many at most.

    Returns
    -------
    Windows
        Those of a block are equally long, give or take one.
    """
    members = np.diff(np.append(first_of_block, n))
    number = np.maximum(members // size, 1)
    block = np.repeat(np.arange(len(members)), number)
    place = np.arange(len(block)) - np.repeat(np.cumsum(number) - number, number)
    first = first_of_block[block] + place * members[block] // number[block]
    return Windows(first, np.diff(np.append(first, n)), block)


def sample_windows(windows: Windows, most: int) -> tuple[Int64Array, BoolArray]:
    """Return members of each window, in runs of eight that are evenly spaced, as a table.

    Runs, as every other of what alternates would be all of one kind.

    Parameters
    ----------
    windows : Windows
        At least one.
    most : int
        How many members at most, a multiple of eight.

    Returns
    -------
    members : ndarray of int64, shape (w, m), m <= most
        Their indices, ascending; where a window has fewer, that of its last member again.
    is_member : ndarray of bool, shape (w, m)
        Which are not such repetitions.
    """
    size = windows.size[:, None]
    column = np.arange(min(int(windows.size.max()), most))
    is_member = column < size
    run, within = column // _RUN, column % _RUN
    spaced = within + run * (size - _RUN) // max(most // _RUN - 1, 1)
    place = np.where(size > most, spaced, np.minimum(column, size - 1))
    return windows.first[:, None] + place, is_member


def row_quantile(ordered: FloatArray, count: Int64Array, fraction: float) -> FloatArray:
    """Return a quantile of each row.

    Parameters
    ----------
    ordered : ndarray of float64, shape (w, m)
        Ascending along rows, of which the first `count` values are meant.
    count : ndarray of int64, shape (w,)
        How many.
    fraction : float
        Which quantile; of values in between, the lower.

    Returns
    -------
    ndarray of float64, shape (w,)
        inf for a row without values.
    """
    place = (fraction * np.maximum(count - 1, 0)).astype(np.int64)
    quantile: FloatArray = np.where(count > 0, ordered[np.arange(len(ordered)), place], np.inf)
    return quantile


def fill_from_neighbours(values: FloatArray, is_good: BoolArray, block: Int64Array) -> FloatArray:
    """Return values where those that are not good are replaced by the nearest good one of the same block.

    Parameters
    ----------
    values : ndarray of float64, shape (w,)
        Of windows.
    is_good : ndarray of bool, shape (w,)
        Which are to be kept.
    block : ndarray of int64, shape (w,)
        Number of each one's block, ascending.

    Returns
    -------
    ndarray of float64, shape (w,)
        As it was where its block has no good one.
    """
    good = np.flatnonzero(is_good)
    if len(good) in (0, len(values)):
        return values
    place = np.arange(len(values))
    behind = np.minimum(np.searchsorted(good, place), len(good) - 1)
    before = np.maximum(behind - 1, 0)
    of_before, of_behind = good[before], good[behind]
    in_before, in_behind = block[of_before] == block, block[of_behind] == block
    nearer_before = in_before & ~(in_behind & (np.abs(of_behind - place) <= np.abs(of_before - place)))
    source = np.where(nearer_before, of_before, np.where(in_behind, of_behind, place))
    return values[np.where(is_good, place, source)]


def cut_windows_of(places: Int64Array, first_of_block: Int64Array, size: Int64Array) -> Windows:
    """Return windows of some frames; their numbers of blocks are those of `first_of_block`.

    Parameters
    ----------
    places : ndarray of int64, shape (m,), m > 0
        Ascending.
    first_of_block : ndarray of int64, shape (b,)
        Places of the first frames of blocks.
    size : ndarray of int64, shape (b,)
        See :func:`cut_windows`.
    """
    first = np.searchsorted(places, first_of_block)
    block = np.flatnonzero(np.diff(np.append(first, len(places))))
    windows = cut_windows(first[block], len(places), size[block])
    return replace(windows, block=block[windows.block])


def spread_windows(values: FloatArray, begin: Int64Array, block: Int64Array, bounds: Int64Array) -> FloatArray:
    """Return for each frame the value of the window that it is in, shape (n,); 0 in a block without windows.

    Parameters
    ----------
    values : ndarray of float64, shape (w,)
        Of windows.
    begin, block : ndarray of int64, shape (w,)
        Place of the first frame that each window knows of, and its block; what comes before the first window of
        a block counts with it.
    bounds : ndarray of int64, shape (b + 1,)
        Places of the first frames of blocks, and the number of frames.
    """
    begin = np.where(np.diff(block, prepend=-1) != 0, bounds[block], begin)
    without = np.flatnonzero(np.bincount(block, minlength=len(bounds) - 1) == 0)
    if len(without):
        begin, values = np.append(begin, bounds[without]), np.append(values, np.zeros(len(without)))
        order = np.argsort(begin, kind="stable")
        begin, values = begin[order], values[order]
    return np.repeat(values, np.diff(np.append(begin, bounds[-1])))
