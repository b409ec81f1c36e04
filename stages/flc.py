"""Which state the FLC had at each trigger: trigger times in, states out (DESIGN section 5).

The dither makes gaps alternate between ``P - J`` and ``P + J``.  The period P walks, so it is only used to count how
many triggers each gap spans; the alternation itself is read from how far each trigger is off the line between its
neighbours, which no slow change of the period moves.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.windows import Windows, cut_windows, row_quantile, sample_windows

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: Triggers that share one estimate of the period, at least if there are as many; and of how many of them it is made.
_PERIOD_WINDOW, _SAMPLE = 128, 64

#: The period is this quantile of half of the time between a trigger and the next but one: with a fifth of the
#: frames of a camera dropped, a third of these hardly ever span more than two periods.
_UNDROPPED = 0.33

#: A quantile of gaps that are of one period, short by the dither.
_SHORTEST = 0.1

#: Over a longer gap the triggers are not counted: the walk of the period adds up.
_LONGEST_GAP = 16

#: A gap is not counted if it is about as far from an odd number of periods, give or take the dither, as from
#: an even one: within so many periods.
_UNCLEAR = 0.2

#: Deviations that are summed together, at least if a chain has as many, and how many such sums on either side of a
#: trigger its state is read from.
_SUM, _REACH = 16, 2

#: Deviations of more than so many times their median do not count.
_WILD = 5.0

#: Deviations of a scatter like their own that speak for no drift of the period.
_NO_DRIFT = 0.1

#: The scatter of fewer deviations than this says nothing about their error.
_FEW = 16

#: The alternation is believed if it is of this share of the dither to this multiple.
_LEAST, _MOST = 1 / 3, 2.0


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
    not certain.  Along a chain states alternate with the count.

    A trigger is off the line between its neighbours by plus or minus J, the sign turning with the count, and by
    what the period grows there, which does not turn.  Both are fitted (:func:`_alternation`) over some 80
    triggers around, or as many as the chain has: the deviations' alternating part a decides all their states.

    They are significant if ``|a| > significance * s`` and, where the dither is known, ``J / 3 < |a| < 2 J``.  s, the
    standard error of a, comes from the scatter of the deviations.  Fewer than 16 of them show no scatter: then only
    ``J / 3 < |a| < 2 J`` is asked for, and without J nothing is significant.

    How often a label is false: where there is no alternation, a normal error passes 4 s (the default of
    the stage) in 6 of 10^5 cases.  Where there is one of J, the wrong state needs an error of at least
    4/3 J.  The least that a state is read from is 3 triggers, whose a has an error of 1.22 times that of a time:
    with J five times that, the wrong state is 5.4 standard errors away (3 of 10^8), and D 2.7 (4 of 10^3).  For 4
    triggers it is 6.0 (10^9) and 3.0.  Pairs of frames have times better by the square root of 2.

    Parameters
    ----------
    times_us : ndarray of float64, shape (n,)
        Trigger times, ascending, microseconds.
    dither_us : ndarray of float64, shape (n,)
        J as the headers have it, microseconds; 0 if unknown.
    starts : ndarray of bool, shape (n,)
        Where the settings changed, or after a dead time, so that nothing is to be concluded across.
    significance : float
        In standard errors.

    Returns
    -------
    States
        The same for times shifted by anything.
    """
    n = len(times_us)
    if n < 2:
        return States(np.zeros(n, np.int8), np.zeros(n, np.int64), np.zeros(n, np.int64))
    times_us = times_us - times_us[0]
    gaps = np.diff(times_us)
    steps, broken = _count_steps(gaps, _local_period(times_us, gaps, dither_us, starts)[1:], dither_us[:-1], starts[1:])
    chain, count = np.zeros((2, n), np.int64)
    np.cumsum(broken, out=chain[1:])
    np.cumsum(steps, out=count[1:])
    count -= count[np.append(0, np.flatnonzero(broken) + 1)][chain]
    once = np.append(0, np.flatnonzero((steps > 0) | broken) + 1)
    of_once = _states_of_triggers(times_us[once], dither_us[once], chain[once], count[once], significance)
    state = of_once if len(once) == n else np.repeat(of_once, np.diff(np.append(once, n)))
    return States(state, chain, count)


def _local_period(times_us: FloatArray, gaps: FloatArray, dither_us: FloatArray, starts: BoolArray) -> FloatArray:
    """Return the local period at each trigger, shape (n,), microseconds; inf in a block of one.

    Half of a low quantile of the time between a trigger and the next but one, in which the dither cancels;
    where drops leave few of these, the shortest gap and the dither.
    """
    n = len(times_us)
    windows = cut_windows(starts, _PERIOD_WINDOW)
    here, is_member = sample_windows(windows, _SAMPLE)
    block_ends = np.repeat(np.append(np.flatnonzero(starts[1:]) + 1, n), np.bincount(windows.block))[:, None]
    single, double = gaps[np.minimum(here, n - 2)], (times_us[np.minimum(here + 2, n - 1)] - times_us[here]) / 2
    single[~is_member | (here + 1 >= block_ends)] = np.inf
    double[~is_member | (here + 2 >= block_ends)] = np.inf
    single.sort(axis=1)
    double.sort(axis=1)
    n_single, n_double = (np.count_nonzero(table < np.inf, axis=1) for table in (single, double))
    shortest_us = row_quantile(single, n_single, _SHORTEST) + dither_us[windows.first]
    period_us = np.minimum(row_quantile(double, n_double, _UNDROPPED), shortest_us)
    return np.repeat(period_us, windows.size)


def _count_steps(
    gaps: FloatArray, period: FloatArray, dither: FloatArray, starts: BoolArray
) -> tuple[Int64Array, BoolArray]:
    """Return how many triggers each gap spans, shape (n - 1,), and where that is not certain.

    None, if both its frames are of one trigger.
    """
    ratio = gaps / period
    half = ratio / 2
    even, odd = 2 * np.rint(half), 2 * np.floor(half) + 1
    off_even, off_odd = np.abs(ratio - even), np.abs(np.abs(ratio - odd) - dither / period)
    steps = np.where(off_odd < off_even, odd, even)
    broken = starts | (steps > _LONGEST_GAP) | (np.abs(off_odd - off_even) < _UNCLEAR) | np.isinf(period)
    return np.where(broken, 0.0, steps).astype(np.int64), broken


def _states_of_triggers(
    times_us: FloatArray, dither_us: FloatArray, chain: Int64Array, count: Int64Array, significance: float
) -> npt.NDArray[np.int8]:
    """Return the state at each trigger, shape (n,); arrays as in :func:`read_states`, each trigger once."""
    state = np.zeros(len(times_us), np.int8)
    middle = np.flatnonzero(chain[2:] == chain[:-2]) + 1
    if not len(middle):
        return state
    windows = cut_windows(np.diff(chain[middle], prepend=-1) != 0, _SUM)
    amplitude_us, error_us = _alternation(times_us, count, middle, windows)
    size_us, known_us = np.abs(amplitude_us), dither_us[middle[windows.first]]
    as_dithered = (size_us > _LEAST * known_us) & (size_us < _MOST * known_us)
    significant = (size_us > significance * error_us) & (as_dithered | (known_us == 0))
    significant = np.where(np.isnan(error_us), as_dithered, significant)
    of_middle = np.repeat(np.where(significant, np.sign(amplitude_us), 0.0).astype(np.int8), windows.size)
    state[middle] = of_middle
    begins = np.diff(chain[middle], prepend=-1) != 0
    ends = np.append(begins[1:], True)
    state[middle[begins] - 1] = of_middle[begins]
    state[middle[ends] + 1] = of_middle[ends]
    state[count % 2 == 1] *= -1
    return state


def _alternation(
    times_us: FloatArray, count: Int64Array, middle: Int64Array, windows: Windows
) -> tuple[FloatArray, FloatArray]:
    """Fit the alternating part of the deviations from lines between neighbours, and its standard error, shapes (w,).

    With a and b triggers to its neighbours, in time as in count, a trigger that is early or late by J / 2 like all
    others is off by ``J / 2`` times ``1 - (b p(a) + a p(b)) / (a + b)``, where p is 1 for even and -1 for odd
    numbers; and a period that grows by d from trigger to trigger makes it off by ``-a b d / 2``.  A least-squares fit
    of both, over the window and the next ones of its chain; deviations weigh by ``1 / (a b)``, as the walk of the
    period is in them, and wild ones do not count.

    Successive deviations share times, so the alternation's error is larger than of independent ones: by a factor
    of at most sqrt(8 / 3), for errors of single times (that of errors of single gaps is less).

    Parameters
    ----------
    times_us, count : ndarray, shape (n,)
        Times and counts of triggers.
    middle : ndarray of int64, shape (m,)
        Triggers with both neighbours in their chain.
    windows : Windows
        Of these.

    Returns
    -------
    amplitude_us : ndarray of float64, shape (w,)
        Positive if triggers of even count are late.
    error_us : ndarray of float64, shape (w,)
        NaN where deviations are too few to tell.
    """
    dense = len(middle) == len(times_us) - 2
    before, here, behind = (slice(k, k + len(middle)) if dense else middle + k - 1 for k in range(3))
    a, b = count[here] - count[before], count[behind] - count[here]
    share = a / (a + b)
    deviation = times_us[here] - times_us[before]
    deviation -= share * (times_us[behind] - times_us[before])
    turned = (0.5 - 0.5 * ((1 - share) * (1 - 2 * (a & 1)) + share * (1 - 2 * (b & 1)))) * (1 - 2 * (count[here] & 1))
    drifted = -0.5 * (a * b)
    weight = -0.5 / drifted
    members, is_member = sample_windows(windows, 2 * _SUM)
    sizes = np.where(is_member, np.abs(deviation)[members], np.inf)
    sizes.sort(axis=1)
    weight[np.abs(deviation) > np.repeat(_WILD * row_quantile(sizes, windows.size, 0.5), windows.size)] = 0.0
    of_turned, of_drifted = weight * turned, weight * drifted
    terms = (
        of_turned * turned,
        of_turned * drifted,
        of_drifted * drifted,
        of_turned * deviation,
        of_drifted * deviation,
        weight * deviation * deviation,
        weight,
    )
    tt, td, dd, ty, dy, yy, n = (_around(np.add.reduceat(term, windows.first), windows.block) for term in terms)
    dd += _NO_DRIFT
    determinant = tt * dd - td * td
    informed = determinant > 1e-9
    determinant[~informed] = 1.0
    amplitude = np.where(informed, (ty * dd - td * dy) / determinant, 0.0)
    drift = np.where(informed, (dy * tt - td * ty) / determinant, 0.0)
    rest = np.maximum(yy - amplitude * ty - drift * dy, 0.0)
    error = np.sqrt(8 / 3 * rest / np.maximum(n - 2, 1.0) * dd / determinant)
    return amplitude, np.where(n < _FEW, np.nan, error)


def _around(sums: FloatArray, block: Int64Array) -> FloatArray:
    """Return the sums of each window and of up to two on either side, of the same block, shape (w,)."""
    total = sums.copy()
    for apart in range(1, _REACH + 1):
        same = block[apart:] == block[:-apart]
        total[apart:] += np.where(same, sums[:-apart], 0.0)
        total[:-apart] += np.where(same, sums[apart:], 0.0)
    return total
