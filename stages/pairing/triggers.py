"""How many triggers lie between frames, from their times: where they can be counted, and the count of each.

See docs/design.md, FLC states and cycles.
"""

import numpy as np
import numpy.typing as npt

from stages.pairing.windows import Windows, cut_windows, row_quantile, sample_windows

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
IntArray = npt.NDArray[np.integer]

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

#: Fewer deviations than this do not tell their scatter, nor fewer gaps the period.
FEW = 16

#: An alternation of more than this multiple of the dither is none.
MOST_DITHERS = 7 / 4


def count_triggers(
    times_us: FloatArray, dither_us: IntArray, starts: Int64Array
) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
    """Return how many triggers gaps span, where that is not certain, and the count of each trigger.

    Parameters
    ----------
    times_us : ndarray of float64, shape (n,)
        Trigger times, ascending, the first of them 0, microseconds.
    dither_us : ndarray, shape (n,)
        The dither, microseconds; 0 if unknown.
    starts : ndarray of int64, shape (b,)
        Triggers across which nothing is to be concluded.

    Returns
    -------
    steps : ndarray of int64, shape (n - 1,)
        Triggers that each gap spans; none, if both its frames are of one trigger; 1 where it is not certain.
    broken : ndarray of int64, shape (c,)
        Triggers after gaps that are not counted; the `starts` are among them.
    chain, count : ndarray of int64, shape (n,)
        Number of the chain of triggers, from 0, within which triggers could be counted, and of the trigger in it.
    """
    steps, broken = _count_steps(times_us, dither_us, starts)
    chain, count = _chains(steps, broken)
    contradicted = _contradicted(times_us, dither_us, steps, chain, count)
    if len(contradicted):
        broken = np.union1d(broken, contradicted)
        steps[broken - 1] = 1
        chain, count = _chains(steps, broken)
    return steps, broken, chain, count


def _chains(steps: Int64Array, broken: Int64Array) -> tuple[Int64Array, Int64Array]:
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
        As in :func:`count_triggers`.
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
    clear = (np.abs(amplitude_us) > known_us / 2) & (np.abs(amplitude_us) < MOST_DITHERS * known_us)
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
        As in :func:`count_triggers`.
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
    enough = (n_double >= FEW) & (lower_us > 0)
    slack = np.full(len(period_us), _MOST_SLACK)
    slack_us = np.maximum(_SLACK * (period_us[enough] - lower_us[enough]), _LEAST_SLACK_US)
    slack[enough] = np.minimum(slack_us / period_us[enough], _MOST_SLACK)
    period_us = np.minimum(period_us, shortest_us)
    return np.where(period_us > 0, period_us, np.inf), slack
