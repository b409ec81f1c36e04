"""Which state the FLC had at each trigger: trigger times in, states out (DESIGN section 5)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.pairing import nearest_places, starts_of_pools, starts_of_stretches, window_quantiles

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: Two-step gaps that share the first and the second estimate of the period: few, as it walks.
_ROUGH_WINDOW, _PERIOD_WINDOW = 64, 24

#: Gaps that share one estimate of the noise.
_NOISE_WINDOW = 128

#: Gaps on either side of a trigger that its state is read from.
_REACH = 32

#: Over a longer gap the triggers are not counted: the walk of the period adds up.
_LONGEST_GAP = 16

#: A gap is not counted if it is about as far from an odd number of periods, give or take the dither, as from
#: an even one: within so many periods.
_UNCLEAR = 0.3

#: The scatter of fewer estimates than this says nothing about their error.
_FEW = 16

#: Standard deviation of a normal distribution in units of its median absolute deviation.
_SIGMA_OF_MEDIAN = 1.4826

#: The first estimate of the period is this quantile: with a fifth of the frames of a camera dropped, a third
#: of the two-step gaps of a window hardly ever spans more than two periods.
_UNDROPPED = 0.33


@dataclass(frozen=True, slots=True)
class States:
    """The FLC's state at each trigger, and the count that it was read with.

    Attributes
    ----------
    state : ndarray of int8, shape (n,)
        +1 before a short gap, -1 before a long one, 0 where that is not significant.
    chain : ndarray of int64, shape (n,)
        Number of the chain of triggers, from 0, within which triggers could be counted.
    count : ndarray of int64, shape (n,)
        Number of the trigger in its chain; what was dropped counts.
    """

    state: npt.NDArray[np.int8]
    chain: Int64Array
    count: Int64Array


def read_states(times_us: FloatArray, *, dither_us: FloatArray, starts: BoolArray, significance: float) -> States:
    """Read the FLC's state at each trigger from the alternation of the gaps between them.

    The gap that follows a trigger is ``m P - J`` in one state and ``m P + J`` in the other if m is odd, and
    ``m P`` if m is even, where P is the local period (:func:`_local_period`), J the dither, and m = 1
    unless frames were dropped.  The sum of all m before a trigger is its count; a chain ends where m is
    not certain.  Along a chain states alternate with the count, so the residuals ``m P - gap`` of odd m,
    each with its sign turned for odd counts, all estimate plus or minus J, as the chain began with one
    state or the other.  What P lacks alternates in them and goes as the means of neighbours are taken.  The
    mean a of these over 32 of them on both sides of a trigger, within its chain, decides its state.

    The state is significant if ``|a| > significance * s`` and, where the dither is known,
    ``J / 2 < |a| < 2 J``.  s, the standard error of a, comes from the robust scatter of the estimates around.
    Errors of single times, which are in three neighbouring estimates, and errors of single gaps, which are
    in two, both give at most ``scatter * sqrt((8 N - 5) / 3) / N`` for the mean of N.  Fewer than 16
    estimates show no scatter: then only ``J / 2 < |a| < 2 J`` is asked for, and without J nothing is significant.

    How often a label is false: where there is no alternation, a normal error passes 4 s (the default of
    the stage) in 6 of 10^5 cases.  Where there is one of J, the wrong state needs an error of at least
    1.5 J, which for the mean of only two estimates (a block of 4 frames) and a noise of J / 5 is 6.7
    standard errors: 1 in 10^11.

    Parameters
    ----------
    times_us : ndarray of float64, shape (n,)
        Trigger times, ascending, microseconds.
    dither_us : ndarray of float64, shape (n,)
        J as the headers have it, microseconds; 0 if unknown.
    starts : ndarray of bool, shape (n,)
        Where the settings changed, so that nothing is to be concluded across.
    significance : float
        In standard errors.

    Returns
    -------
    States
        The same for times shifted by anything.
    """
    n = len(times_us)
    if not n:
        return States(np.zeros(0, np.int8), np.zeros(0, np.int64), np.zeros(0, np.int64))
    stretch = np.cumsum(starts | starts_of_stretches(times_us), dtype=np.int64) - 1
    times_us = times_us - times_us[0]
    gaps = np.diff(times_us)
    period = _local_period(times_us, stretch)[:-1]
    steps, broken = _count_steps(gaps, period, dither_us[:-1], np.diff(stretch) != 0)
    chain = np.insert(np.cumsum(broken, dtype=np.int64), 0, 0)
    count = np.insert(np.cumsum(steps), 0, 0)
    count -= count[np.searchsorted(chain, np.arange(chain[-1] + 1))][chain]
    sign = 1 - 2 * (count % 2)
    odd = np.flatnonzero(steps % 2)
    residual = sign[odd] * (steps[odd] * period[odd] - gaps[odd])
    together = np.flatnonzero(np.diff(chain[odd]) == 0)
    estimates = (residual[together] + residual[together + 1]) / 2
    mean, error = _local_mean(estimates, odd[together + 1], chain, stretch)
    size = np.abs(mean)
    as_dithered = (size > dither_us / 2) & (size < dither_us * 2)
    unknown = dither_us == 0
    significant = np.where(np.isnan(error), as_dithered, (size > significance * error) & (as_dithered | unknown))
    state = np.where(significant, np.sign(mean) * sign, 0.0).astype(np.int8)
    return States(state, chain, count)


def _local_period(times_us: FloatArray, stretch: Int64Array) -> FloatArray:
    """Return the local period at each trigger, shape (n,), microseconds; inf in a stretch that shows none.

    From times between a trigger and the next but one.  Half of a low quantile is a first estimate: the dither
    cancels unless a frame was dropped.  The second is the median of those that span an even number of
    periods, each divided by it: these are free of the dither.
    """
    first = np.flatnonzero(stretch[2:] == stretch[:-2])
    spans = times_us[first + 2] - times_us[first]
    half, window = window_quantiles(spans / 2, starts_of_pools(stretch[first]), _ROUGH_WINDOW, _UNDROPPED)
    number = np.rint(spans / half[window])
    even = (number > 0) & (number % 2 == 0)
    first, spans, number = first[even], spans[even], number[even]
    if not len(first):
        return np.full(len(times_us), np.inf)
    periods, window = window_quantiles(spans / number, starts_of_pools(stretch[first]), _PERIOD_WINDOW)
    nearest = nearest_places(first, stretch)
    period: FloatArray = np.where(stretch[first[nearest]] == stretch, periods[window[nearest]], np.inf)
    return period


def _count_steps(
    gaps: FloatArray, period: FloatArray, dither: FloatArray, starts: BoolArray
) -> tuple[Int64Array, BoolArray]:
    """Return how many triggers each gap spans, shape (n - 1,), and where that is not certain."""
    ratio = gaps / period
    even, odd = 2 * np.rint(ratio / 2), 2 * np.floor(ratio / 2) + 1
    off_even, off_odd = np.abs(ratio - even), np.abs(np.abs(ratio - odd) - dither / period)
    steps = np.where(off_odd < off_even, odd, even)
    broken = starts | (steps < 1) | (steps > _LONGEST_GAP) | (np.abs(off_odd - off_even) < _UNCLEAR)
    return np.where(broken, 0.0, steps).astype(np.int64), broken


def _local_mean(
    values: FloatArray, place: Int64Array, chain: Int64Array, stretch: Int64Array
) -> tuple[FloatArray, FloatArray]:
    """Return the mean of the estimates around each trigger and its standard error, shapes (n,).

    Parameters
    ----------
    values : ndarray of float64, shape (v,)
        Estimates of plus or minus J, in order.
    place : ndarray of int64, shape (v,)
        The trigger in the middle of each.
    chain, stretch : ndarray of int64, shape (n,)
        Numbers of the chain and of the stretch of each trigger.

    Returns
    -------
    mean : ndarray of float64, shape (n,)
        0 where there are no estimates.
    error : ndarray of float64, shape (n,)
        inf where there are none, NaN where they are too few to tell.
    """
    pools = starts_of_pools(stretch[place])
    level, window = window_quantiles(np.abs(values), pools, _NOISE_WINDOW)
    bound = 3.0 * level[window]  # one bad time must not outweigh its neighbours
    total = np.insert(np.cumsum(np.clip(values, -bound, bound)), 0, 0.0)
    is_place = np.zeros(len(chain), np.int64)
    is_place[place] = 1
    upto = np.cumsum(is_place)
    before = upto - is_place
    ends = np.append(np.flatnonzero(np.diff(chain)), len(chain) - 1)
    low = np.maximum(before - _REACH, np.insert(upto[ends[:-1]], 0, 0)[chain])
    high = np.minimum(upto + _REACH, upto[ends][chain])
    number = np.maximum(high - low, 1)
    mean = (total[high] - total[low]) / number
    error = np.full(len(chain), np.inf)
    if len(values):
        scatter, window = window_quantiles(np.abs(values - mean[place]), pools, _NOISE_WINDOW)
        scatter = np.where(np.bincount(window) < _FEW, np.nan, _SIGMA_OF_MEDIAN * scatter)
        error = scatter[window[nearest_places(place, chain)]] * np.sqrt((8 * number - 5) / 3) / number
        error[high == low] = np.inf
    return mean, error
