"""Which state the FLC had at each trigger: trigger times in, states out.

See docs/design.md, FLC states and cycles.

The dither makes gaps alternate between ``P - J`` and ``P + J``.  The period P walks, so it is only used to count how
many triggers each gap spans; the alternation itself is read from how far each trigger is off the line between its
neighbours, which no slow change of the period moves.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.pairing.triggers import FEW, MOST_DITHERS, FloatArray, Int64Array, IntArray, count_triggers
from stages.pairing.windows import Windows, cut_windows, row_quantile, sample_windows

BoolArray = npt.NDArray[np.bool_]

#: Deviations that are summed together, at least if a chain has as many; states are read from three such sums.
_SUM = 32

#: Deviations of more than so many times this quantile do not count, if there are enough to tell.  Those of a drifting
#: period are half of them small.
_WILD, _NOT_WILD = 4.0, 0.7

#: Deviations of a scatter like their own that speak for no drift of the period.
_NO_DRIFT = 0.1

#: The alternation is believed if it is at least this share of the dither.
_LEAST = 1 / 4


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


def read_states(times_us: FloatArray, *, dither_us: IntArray, starts: BoolArray, significance: float) -> States:
    """Read the FLC's state at each trigger from the alternation of the gaps between them.

    The gap that follows a trigger is ``m P - J`` in one state and ``m P + J`` in the other if m is odd, and
    ``m P`` if m is even, where P is the local period (:mod:`stages.pairing.triggers`), J the dither, and m = 1
    unless frames were dropped.  The sum of all m before a trigger is its count; a chain ends where m is
    not certain.  Along a chain states alternate with the count.

    A trigger is off the line between its neighbours by plus or minus J, the sign turning with the count, and by
    what the period grows there, which does not turn.  Both are fitted (:func:`_alternation`) over some 100
    triggers around, or as many as the chain has: the deviations' alternating part a decides all their states.

    They are significant if ``|a| > significance * s`` and, where the dither is known, ``J / 4 < |a| < 7/4 J``.  s, the
    standard error of a, comes from the scatter of the deviations about the fit.  Fewer than 16 of them do not tell it
    well: then a scatter below J / 2 is asked for (below J for one degree of freedom), and without J nothing is
    significant.

    How often a label is false: where there is an alternation of J, the wrong state needs an error of at least 5/4 J.
    The least that a state is read from is 3 triggers, whose a has an error of 1.22 times that of a time: with J
    five times that, the wrong state is 5.1 standard errors away (2 of 10^7), and D 3.1 (1 of 10^3).  For 4 triggers
    it is 5.6 (1 of 10^8) and 3.4.  Pairs of frames have times better by the square root of 2.  Where there is no
    alternation though the header says that there is, a normal error passes 4 s (the default of the stage) in 6 of
    10^5 cases, but J / 4 alone, with fewer than 16 deviations, in up to a third (3 triggers).

    Parameters
    ----------
    times_us : ndarray of float64, shape (n,)
        Trigger times, ascending, microseconds.
    dither_us : ndarray, shape (n,)
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
    steps, broken, chain, count = count_triggers(times_us, dither_us, np.flatnonzero(starts[1:]) + 1)
    again = steps == 0
    again[broken - 1] = False
    once = np.insert(np.flatnonzero(~again) + 1, 0, 0)
    first_of_chain = np.searchsorted(once, np.insert(broken, 0, 0))
    if len(once) == n:
        return States(_states_of_triggers(times_us, dither_us, count, first_of_chain, significance), chain, count)
    state = _states_of_triggers(times_us[once], dither_us[once], count[once], first_of_chain, significance)
    return States(np.repeat(state, np.diff(np.append(once, n))), chain, count)


def _states_of_triggers(
    times_us: FloatArray, dither_us: IntArray, count: Int64Array, first_of_chain: Int64Array, significance: float
) -> npt.NDArray[np.int8]:
    """Return the state at each trigger, shape (n,).

    Parameters
    ----------
    times_us, dither_us, count : ndarray, shape (n,)
        As in :func:`read_states`, each trigger once.
    first_of_chain : ndarray of int64, shape (c,)
        Where chains begin.
    significance : float
        In standard errors.
    """
    n = len(times_us)
    lengths = np.diff(np.append(first_of_chain, n))
    first_of_chain, lengths = first_of_chain[lengths > 2], lengths[lengths > 2]
    state = np.zeros(n, np.int8)
    if not len(lengths):
        return state
    # Of each chain, the first and the last trigger have no deviation.
    first_of_deviations = np.cumsum(lengths - 2) - (lengths - 2)
    middle = np.arange((lengths - 2).sum()) + np.repeat(first_of_chain + 1 - first_of_deviations, lengths - 2)
    windows = cut_windows(first_of_deviations, len(middle), _SUM)
    amplitude_us, scatter_us, error_us = _alternation(times_us, count, middle, windows)
    size_us, known_us = np.abs(amplitude_us), dither_us[middle[windows.first]]
    as_dithered = (size_us > _LEAST * known_us) & (size_us < MOST_DITHERS * known_us)
    significant = (size_us > significance * error_us) & (as_dithered | (known_us == 0))
    significant = np.where(np.isnan(error_us), as_dithered & (scatter_us < known_us / 2), significant)
    of_window = np.where(significant, np.sign(amplitude_us), 0.0).astype(np.int8)
    opens = np.diff(windows.block, prepend=-1) != 0
    n_triggers = windows.size + opens + np.append(opens[1:], True)
    of_chains = np.repeat(of_window, n_triggers)
    if len(of_chains) == n:
        state = of_chains
    else:
        places = np.arange(len(of_chains)) + np.repeat(first_of_chain - (np.cumsum(lengths) - lengths), lengths)
        state[places] = of_chains
    state *= 1 - 2 * (count & 1).astype(np.int8)
    return state


def _alternation(
    times_us: FloatArray, count: Int64Array, middle: Int64Array, windows: Windows
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Fit the alternating part of the deviations from lines between neighbours, shapes (w,).

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
    scatter_us : ndarray of float64, shape (w,)
        Standard deviation from the fit, over 1 + 1 / f for f degrees of freedom, as that of few varies more; 0 where
        there are none.
    error_us : ndarray of float64, shape (w,)
        Standard error of the amplitude; NaN where deviations are too few to tell.
    """
    # Of all triggers but the first and the last: slices are read faster than places, and nearly all are wanted.
    deviation = times_us[1:-1] - (times_us[:-2] + times_us[2:]) / 2
    turned = 1.0 - 2.0 * (count[1:-1] & 1)
    is_wide = count[2:] - count[:-2] != 2
    if len(middle) < len(deviation):
        at = middle - 1
        deviation, turned, is_wide = deviation[at], turned[at], is_wide[at]
    # Most gaps are of one period: these deviations have a = b = 1, and weigh 1.
    wide = np.flatnonzero(is_wide)
    i = middle[wide]
    a, b = count[i] - count[i - 1], count[i + 1] - count[i]
    share = a / (a + b)
    deviation[wide] = times_us[i] - times_us[i - 1] - share * (times_us[i + 1] - times_us[i - 1])
    wild = _wild(deviation, windows)
    of_wide = np.stack(
        [
            turned[wide] * (0.5 - 0.5 * ((1 - share) * (1 - 2 * (a & 1)) + share * (1 - 2 * (b & 1)))),
            -0.5 * a * b,
            deviation[wide],
        ]
    )
    weight = np.where(np.isin(wide, wild), 0.0, 1 / (a * b))
    deviation[wide] = turned[wide] = deviation[wild] = turned[wild] = 0.0
    n, total, ty, y, yy = (
        np.add.reduceat(term, windows.first)
        for term in (np.abs(turned), turned, turned * deviation, deviation, deviation * deviation)
    )
    sums = [n, -0.5 * total, 0.25 * n, ty, -0.5 * y, yy, n]
    window = np.searchsorted(windows.first, wide, side="right") - 1
    for place, (one, other) in enumerate(((0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2))):
        sums[place] = sums[place] + np.bincount(window, weight * of_wide[one] * of_wide[other], len(n))
    sums[-1] = sums[-1] + np.bincount(window, weight, len(n))
    tt, td, dd, ty, dy, yy, n = (_around(term, windows.block) for term in sums)
    dd += _NO_DRIFT
    determinant = tt * dd - td * td
    informed = determinant > 1e-9
    determinant[~informed] = 1.0
    amplitude = np.where(informed, (ty * dd - td * dy) / determinant, 0.0)
    drift = np.where(informed, (dy * tt - td * ty) / determinant, 0.0)
    rest = np.maximum(yy - amplitude * ty - drift * dy, 0.0)
    freedom = np.maximum(n - 2, 1.0)
    error = np.where(n < FEW, np.nan, np.sqrt(8 / 3 * rest / freedom * dd / determinant))
    return amplitude, np.sqrt(rest / freedom) / (1 + 1 / freedom), error


def _wild(deviation: FloatArray, windows: Windows) -> Int64Array:
    """Return which deviations are much larger than others of their window; few of a window tell nothing."""
    members, is_member = sample_windows(windows, FEW)
    sizes = np.where(is_member, np.abs(deviation[members]), np.inf)
    sizes.sort(axis=1)
    bound = np.where(windows.size < FEW, np.inf, _WILD * row_quantile(sizes, windows.size.clip(max=FEW), _NOT_WILD))
    return np.flatnonzero(np.abs(deviation) > np.repeat(bound, windows.size))


def _around(sums: FloatArray, block: Int64Array) -> FloatArray:
    """Return the sums of each window and of those beside it in the same block, shape (w,)."""
    total = sums.copy()
    same = block[1:] == block[:-1]
    total[1:] += np.where(same, sums[:-1], 0.0)
    total[:-1] += np.where(same, sums[1:], 0.0)
    return total
