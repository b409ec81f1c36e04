"""Which state the FLC had at each trigger: trigger times in, states out.

See docs/design.md, FLC states and cycles.

The dither makes gaps alternate between ``P - J`` and ``P + J``.  The period P walks, so it is only used to count how
many triggers each gap spans; the alternation itself is read from how far each trigger is off the line between its
neighbours, which no slow change of the period moves.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.pairing.windows import Windows, cut_windows, row_quantile, sample_windows

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
IntArray = npt.NDArray[np.integer]
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

#: A gap is not counted either if it is not close enough to a number of periods, as after a pause of the trigger: six
#: standard deviations of a gap, which are twice those of half the time over two gaps, which are the difference of
#: its quantiles of 33 and 10 %, divided by 0.84; within these bounds, microseconds and periods.
_SLACK = 6 * 2 / 0.84
_LEAST_SLACK_US, _MOST_SLACK, _MOST_OFF = 5.0, 0.2, 0.3

#: Deviations that are summed together, at least if a chain has as many; states are read from three such sums.
_SUM = 32

#: Deviations of more than so many times this quantile do not count, if there are enough to tell.  Those of a drifting
#: period are half of them small.
_WILD, _NOT_WILD = 4.0, 0.7

#: Deviations of a scatter like their own that speak for no drift of the period.
_NO_DRIFT = 0.1

#: The scatter of fewer deviations than this says nothing about their error.
_FEW = 16

#: The alternation is believed if it is of this share of the dither to this multiple.
_LEAST, _MOST = 1 / 4, 7 / 4


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
    ``m P`` if m is even, where P is the local period (:func:`_local_period`), J the dither, and m = 1
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
    steps, broken = _count_steps(times_us, dither_us, np.flatnonzero(starts[1:]) + 1)
    chain, count = _count(steps, broken)
    contradicted = _contradicted(times_us, dither_us, steps, chain, count)
    if len(contradicted):
        broken = np.union1d(broken, contradicted)
        steps[broken - 1] = 1
        chain, count = _count(steps, broken)
    again = steps == 0
    again[broken - 1] = False
    once = np.insert(np.flatnonzero(~again) + 1, 0, 0)
    first_of_chain = np.searchsorted(once, np.insert(broken, 0, 0))
    if len(once) == n:
        return States(_states_of_triggers(times_us, dither_us, count, first_of_chain, significance), chain, count)
    state = _states_of_triggers(times_us[once], dither_us[once], count[once], first_of_chain, significance)
    return States(np.repeat(state, np.diff(np.append(once, n))), chain, count)


def _count(steps: Int64Array, broken: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return the chain and the count of each trigger, shapes (n,); arguments as :func:`_count_steps` returns them."""
    n = len(steps) + 1
    count = np.zeros(n, np.int64)
    np.cumsum(steps, out=count[1:])
    first_of_chain = np.insert(broken, 0, 0)
    lengths = np.diff(np.append(first_of_chain, n))
    count -= np.repeat(count[first_of_chain], lengths)
    return np.repeat(np.arange(len(lengths)), lengths), count


def _contradicted(
    times_us: FloatArray, dither_us: IntArray, steps: Int64Array, chain: Int64Array, count: Int64Array
) -> Int64Array:
    """Return triggers after gaps that were counted wrong, shape (c,), as the alternation turns round there.

    A trigger that pauses for a time looks like dropped frames, but leaves the FLC as it was.  So stretches without
    a dropped frame are compared with the last one before in their chain: each by the mean of its gaps' differences
    from their neighbours', if that is of the size of the dither.

    Parameters
    ----------
    times_us, dither_us, chain, count : ndarray, shape (n,)
        As in :func:`read_states`, :class:`States`.
    steps : ndarray of int64, shape (n - 1,)
        Triggers that each gap spans.
    """
    nothing = np.empty(0, np.int64)
    joint = np.flatnonzero((steps != 1) & (chain[1:] == chain[:-1])) + 1
    if not len(joint):
        return nothing
    first = np.concatenate([joint, [0], np.flatnonzero(np.diff(chain)) + 1])
    first.sort(kind="stable")
    length = np.diff(np.append(first, len(times_us)))
    first, length = first[length > 2], length[length > 2]
    deviation = np.zeros_like(times_us)  # two more than there are: an edge may lie behind the last
    deviation[:-2] = times_us[1:-1] - (times_us[:-2] + times_us[2:]) / 2
    deviation[:-2] *= 1.0 - 2.0 * (count[1:-1] & 1)
    edges = np.stack([first, first + length - 2], axis=1).ravel()
    sums = np.add.reduceat(deviation, edges)[::2]
    amplitude_us, known_us = sums / (length - 2), dither_us[first]
    clear = (np.abs(amplitude_us) > known_us / 2) & (np.abs(amplitude_us) < _MOST * known_us)
    first, sign = first[clear], np.sign(amplitude_us[clear])
    turned = np.flatnonzero((sign[1:] != sign[:-1]) & (chain[first[1:]] == chain[first[:-1]]))
    if not len(turned):
        return nothing
    # All that may be it: the joints behind the stretch before, up to the stretch that turned.
    low = np.searchsorted(joint, first[turned], side="right")
    high = np.searchsorted(joint, first[turned + 1], side="right")
    return np.unique(np.concatenate([joint[i:j] for i, j in zip(low, high, strict=True)]))


def _count_steps(times_us: FloatArray, dither_us: IntArray, starts: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return how many triggers each gap spans, shape (n - 1,), and after which gaps triggers start anew.

    None, if both its frames are of one trigger.

    Parameters
    ----------
    times_us, dither_us : ndarray, shape (n,)
        As in :func:`read_states`.
    starts : ndarray of int64, shape (b,)
        Triggers before which nothing is to be concluded from.

    Returns
    -------
    steps : ndarray of int64, shape (n - 1,)
        1 where it is not certain.
    broken : ndarray of int64, shape (c,)
        Triggers after gaps that are not counted; the `starts` are among them.
    """
    gaps = np.diff(times_us)
    windows = cut_windows(np.insert(starts, 0, 0), len(times_us), _PERIOD_WINDOW)
    dither = dither_us[windows.first].astype(np.float64)
    period, slack = _local_period(times_us, gaps, dither, windows)
    dither /= period
    wide = 0.5 - _UNCLEAR / 2 + dither / 2
    ratio, wide = gaps / np.repeat(period, windows.size)[1:], np.repeat(wide, windows.size)[1:]
    # Only a gap that is not of one period within these bounds, of which most are, needs the rule itself.
    other = np.flatnonzero(~(np.abs(ratio - 1) <= wide))
    ratio, of_window = ratio[other], np.searchsorted(windows.first, other + 1, side="right") - 1
    even, odd = 2 * np.rint(ratio / 2), 2 * np.floor(ratio / 2) + 1
    off_even, off_odd = np.abs(ratio - even), np.abs(np.abs(ratio - odd) - dither[of_window])
    spanned, off = np.where(off_odd < off_even, odd, even), np.minimum(off_even, off_odd)
    certain = (spanned <= _LONGEST_GAP) & (np.abs(off_odd - off_even) >= _UNCLEAR)
    certain &= off <= np.minimum(slack[of_window] * (1 + spanned / 4), _MOST_OFF)
    steps = np.ones(len(gaps), np.int64)
    steps[other[certain]] = spanned[certain].astype(np.int64)
    broken = np.union1d(starts, other[~certain] + 1)
    steps[broken - 1] = 1
    return steps, broken


def _local_period(
    times_us: FloatArray, gaps: FloatArray, dither_us: FloatArray, windows: Windows
) -> tuple[FloatArray, FloatArray]:
    """Return the period in each window, microseconds, and by how many periods a gap may be off, shapes (w,).

    Half of a low quantile of the time between a trigger and the next but one, in which the dither cancels;
    where drops leave few of these, the shortest gap and the dither; inf in a block of one trigger.  How far a gap
    may be off comes from a yet lower quantile, which drops do not change either.

    Parameters
    ----------
    times_us, gaps : ndarray of float64, shapes (n,), (n - 1,)
        Triggers and the gaps after them, microseconds.
    dither_us : ndarray of float64, shape (w,)
        J, microseconds.
    windows : Windows
        Of triggers.
    """
    n = len(times_us)
    here, is_member = sample_windows(windows, _SAMPLE)
    last_of_block = np.append(np.flatnonzero(np.diff(windows.block)), len(windows.block) - 1)
    block_ends = (windows.first + windows.size)[last_of_block][windows.block][:, None]
    single, double = gaps[np.minimum(here, n - 2)], times_us[np.minimum(here + 2, n - 1)] - times_us[here]
    single[~is_member | (here + 1 >= block_ends)] = np.inf
    double[~is_member | (here + 2 >= block_ends)] = np.inf
    single.sort(axis=1)
    double.sort(axis=1)
    n_single, n_double = (np.count_nonzero(table < np.inf, axis=1) for table in (single, double))
    shortest_us = row_quantile(single, n_single, _SHORTEST) + dither_us
    period_us, lower_us = (row_quantile(double, n_double, fraction) / 2 for fraction in (_UNDROPPED, _SHORTEST))
    enough = (n_double >= _FEW) & (lower_us > 0)
    slack = np.full(len(period_us), _MOST_SLACK)
    slack_us = np.maximum(_SLACK * (period_us[enough] - lower_us[enough]), _LEAST_SLACK_US)
    slack[enough] = np.minimum(slack_us / period_us[enough], _MOST_SLACK)
    period_us = np.minimum(period_us, shortest_us)
    return np.where(period_us > 0, period_us, np.inf), slack


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
    as_dithered = (size_us > _LEAST * known_us) & (size_us < _MOST * known_us)
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
    error = np.where(n < _FEW, np.nan, np.sqrt(8 / 3 * rest / freedom * dd / determinant))
    return amplitude, np.sqrt(rest / freedom) / (1 + 1 / freedom), error


def _wild(deviation: FloatArray, windows: Windows) -> Int64Array:
    """Return which deviations are much larger than others of their window; few of a window tell nothing."""
    members, is_member = sample_windows(windows, _FEW)
    sizes = np.where(is_member, np.abs(deviation[members]), np.inf)
    sizes.sort(axis=1)
    bound = np.where(windows.size < _FEW, np.inf, _WILD * row_quantile(sizes, windows.size.clip(max=_FEW), _NOT_WILD))
    return np.flatnonzero(np.abs(deviation) > np.repeat(bound, windows.size))


def _around(sums: FloatArray, block: Int64Array) -> FloatArray:
    """Return the sums of each window and of those beside it in the same block, shape (w,)."""
    total = sums.copy()
    same = block[1:] == block[:-1]
    total[1:] += np.where(same, sums[:-1], 0.0)
    total[:-1] += np.where(same, sums[1:], 0.0)
    return total
