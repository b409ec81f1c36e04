"""Which frames of two cameras are one exposure: arrays of times in, pairs of indices out (DESIGN section 5).

The frames of both cameras are merged in order of time.  One trigger makes one frame in each camera, at most 0.45
of a period apart, so a pair lies side by side there.  What is left is to know the cameras' offset, which tells
partners from neighbours: it is estimated from the frames themselves, locally, as it may drift.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stages.windows import Windows, cut_windows, fill_from_neighbours, row_quantile, sample_windows

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: Candidates (frames next to one of the other camera) that share one estimate of the offset, at least if there are as
#: many; at slow rates, beyond this mean gap in microseconds, fewer, to follow clocks that drift apart by 5 ppm; and of
#: how many of them it is made: enough that neither noise nor a fifth of the frames being dropped disturbs it.
_WINDOW, _SLOW_WINDOW, _SLOW_US, _SAMPLE = 256, 64, 10_000.0, 32

#: The offset is below 0.45 of the period (DESIGN section 5); frames further apart than half, and some for the noise of
#: the period's own estimate, are no candidates.
_HALF = 0.5

#: Settings that change within so many frames change together.
_NEXT = 8

#: Clocks of cameras drift apart by less (DESIGN section 5 has 5 ppm).
_FASTEST = 1e-5

#: Pairs of which the offset of single frames around is the mean.
_MEAN = 4

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
    file : ndarray of int64, shape (n,)
        Number of the raw file that each is from; the other attributes are by raw file.
    exposure_us : ndarray of int64, shape (f,)
        Exposure times, microseconds; no period is shorter.
    dither_us : ndarray of int64, shape (f,)
        Half-width of the dither on the trigger, microseconds; no gap is shorter than the period by more.
    tolerance_us : ndarray of float64, shape (f,)
        How far from its partner a frame may be, microseconds.
    """

    time_us: Int64Array
    file: Int64Array
    exposure_us: Int64Array
    dither_us: Int64Array
    tolerance_us: FloatArray

    def only(self, chosen: BoolArray) -> "Seen":
        """Return some of the frames; `chosen` has shape (n,)."""
        return replace(self, time_us=self.time_us[chosen], file=self.file[chosen])

    def followed_by(self, other: "Seen") -> "Seen":
        """Return these frames and then those of the other camera."""
        return Seen(
            np.concatenate([self.time_us, other.time_us]),
            np.concatenate([self.file, other.file + len(self.exposure_us)]),
            np.concatenate([self.exposure_us, other.exposure_us]),
            np.concatenate([self.dither_us, other.dither_us]),
            np.concatenate([self.tolerance_us, other.tolerance_us]),
        )


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
    new = [np.ones(len(seen.time_us), np.bool_) for seen in (first, second)]
    for seen, of_camera in zip((first, second), new, strict=True):
        of_camera[1:] = seen.time_us[1:] != seen.time_us[:-1]
    if new[0].all() and new[1].all():
        return _pair_unrepeated(first, second, dead_time_us)
    once = _pair_unrepeated(first.only(new[0]), second.only(new[1]), dead_time_us)
    index = np.flatnonzero(np.concatenate(new))
    copies = np.diff(np.append(index, len(first.time_us) + len(second.time_us)))[once.order]
    place = np.cumsum(copies) - copies
    order = np.repeat(index[once.order], copies) + np.arange(copies.sum()) - np.repeat(place, copies)
    return Pairing(order, place[once.first_of_pair], place[once.second_of_pair], np.repeat(once.clock_us, copies))


def _pair_unrepeated(first: Seen, second: Seen, dead_time_us: float) -> Pairing:
    """Pair frames as :func:`pair_frames` does, where no two of a camera have the same time."""
    n_first, nothing = len(first.time_us), np.empty(0, np.int64)
    both = first.followed_by(second)
    if not 0 < n_first < len(both.time_us):
        return Pairing(np.arange(len(both.time_us)), nothing, nothing, both.time_us.astype(np.float64))
    order = np.argsort(both.time_us, kind="stable")
    merged_us = both.time_us[order]
    clock_us = (merged_us - merged_us[0]).astype(np.float64)
    first_of_block = _blocks(clock_us, both, order, n_first, dead_time_us)
    offset_us, reach_us = _offsets(clock_us, both, order, n_first, first_of_block)
    clock_us += np.where(order < n_first, 0.5, -0.5) * offset_us
    again = np.argsort(clock_us, kind="stable")
    order, clock_us = order[again], clock_us[again]
    is_second = order >= n_first
    apart = np.full(len(order) + 1, np.inf)
    np.subtract(clock_us[1:], clock_us[:-1], out=apart[1:-1], where=is_second[1:] != is_second[:-1])
    here = apart[1:-1]
    links = np.flatnonzero((here < apart[:-2]) & (here <= apart[2:]) & (here <= reach_us[1:]))
    tolerance_us = [both.tolerance_us[both.file[order[frame]]] for frame in (links, links + 1)]
    links = links[apart[links + 1] <= np.minimum(*tolerance_us)]
    _align_singles(clock_us, is_second, links, first_of_block)
    return Pairing(order, links, links + 1, clock_us + merged_us[0])


def _blocks(t: FloatArray, both: Seen, order: Int64Array, n_first: int, dead_time_us: float) -> Int64Array:
    """Return the places of frames after a dead time, or with new settings, shape (b,), from 0 on.

    Parameters
    ----------
    t : ndarray of float64, shape (n,)
        Times in order, microseconds.
    both : Seen
        The frames of both cameras.
    order : ndarray of int64, shape (n,)
        Their order.
    n_first : int
        How many are of the first camera.
    dead_time_us : float
        Microseconds.
    """
    late = np.flatnonzero(t[1:] - t[:-1] > dead_time_us) + 1
    begin = t[late] - both.exposure_us[both.file[order[late]]]
    blocks = np.insert(late[begin - t[late - 1] > dead_time_us], 0, 0)
    settings = np.stack([both.exposure_us, both.dither_us, both.tolerance_us], axis=1)
    _, of_file = np.unique(settings, axis=0, return_inverse=True)
    of_file = of_file.ravel()
    new = []
    for frames in (slice(n_first), slice(n_first, None)):
        time_us, file = both.time_us[frames], both.file[frames]
        changed = np.flatnonzero(of_file[file[1:]] != of_file[file[:-1]]) + 1
        idle_us = time_us[changed] - both.exposure_us[file[changed]] - time_us[changed - 1]
        # After a dead time of its camera alone, the settings did not change there, but before, with the other's.
        new.append(changed[idle_us <= dead_time_us] + (frames.start or 0))
    if not any(map(len, new)):
        return blocks
    changed = np.flatnonzero(np.isin(order, np.concatenate(new)))
    # The other camera's settings change with the next trigger or so: that is not a change of its own.
    changed = changed[np.diff(changed, prepend=-_NEXT) >= _NEXT]
    return np.union1d(blocks, changed)


def _offsets(
    t: FloatArray, both: Seen, order: Int64Array, n_first: int, first_of_block: Int64Array
) -> tuple[FloatArray, FloatArray]:
    """Return the offset of the second camera against the first, and half of the shortest gap, around each frame.

    Parameters
    ----------
    t : ndarray of float64, shape (n,)
        Times in order, microseconds.
    both : Seen
        The frames of both cameras.
    order : ndarray of int64, shape (n,)
        Their order.
    n_first : int
        How many are of the first camera.
    first_of_block : ndarray of int64, shape (b,)
        Places of the first frames of blocks.

    Returns
    -------
    offset_us, reach_us : ndarray of float64, shapes (n,)
        Microseconds.
    """
    is_second = order >= n_first
    is_candidate = is_second[1:] != is_second[:-1]
    is_candidate[first_of_block[1:] - 1] = False
    candidate = np.flatnonzero(is_candidate)
    if not len(candidate):
        return np.zeros(len(t)), np.zeros(len(t))
    bounds = np.append(first_of_block, len(t))
    gap_us = (t[bounds[1:] - 1] - t[first_of_block]) / np.diff(bounds)
    windows = _windows_of(candidate, first_of_block, np.where(gap_us > _SLOW_US, _SLOW_WINDOW, _WINDOW))
    members, is_member = sample_windows(windows, _SAMPLE)
    here, begin = candidate[members], candidate[windows.first]
    file = both.file[order[begin]]
    period_us, shortest_us = _periods(
        t,
        is_second,
        here[:, : _SAMPLE // 2],
        is_member[:, : _SAMPLE // 2],
        bounds=(bounds[windows.block], bounds[windows.block + 1]),
        dither_us=both.dither_us[file],
        least_us=np.maximum(both.exposure_us[file], 1.0),
    )
    tolerance_us = both.tolerance_us[file]
    alone = np.isinf(shortest_us)
    farthest_us = _HALF * period_us + np.where(alone, 0.0, _EQUAL * tolerance_us)
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
        _spread(values, begin, windows.block, bounds)
        for values in (offset_us - drift * centre_us, drift, _HALF * shortest_us)
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


def _windows_of(places: Int64Array, first_of_block: Int64Array, size: Int64Array) -> Windows:
    """Return windows of some frames; their numbers of blocks are those of `first_of_block`.

    Parameters
    ----------
    places : ndarray of int64, shape (m,), m > 0
        Ascending.
    first_of_block : ndarray of int64, shape (b,)
        Places of the first frames of blocks.
    size : ndarray of int64, shape (b,)
        See :func:`stages.windows.cut_windows`.
    """
    first = np.searchsorted(places, first_of_block)
    block = np.flatnonzero(np.diff(np.append(first, len(places))))
    windows = cut_windows(first[block], len(places), size[block])
    return replace(windows, block=block[windows.block])


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


def _align_singles(clock_us: FloatArray, is_second: BoolArray, links: Int64Array, first_of_block: Int64Array) -> None:
    """Remove the offset that is left between the frames of pairs from the times of frames without a partner.

    They are compared with the means of pairs, which the offset does not change, so theirs must be exact: a line
    through the means of some pairs before and behind.

    Parameters
    ----------
    clock_us : ndarray of float64, shape (n,)
        Times with an offset removed that was estimated over many frames, microseconds.  Changed in place.
    is_second : ndarray of bool, shape (n,)
        Whose frames they are.
    links : ndarray of int64, shape (p,)
        Places of frames that are a pair with the next.
    first_of_block : ndarray of int64, shape (b,)
        Places of the first frames of blocks.
    """
    is_single = np.ones(len(clock_us), np.bool_)
    is_single[links] = is_single[links + 1] = False
    single = np.flatnonzero(is_single)
    if not len(links) or not len(single):
        return
    windows = _windows_of(links, first_of_block, np.full(len(first_of_block), _MEAN))
    apart = clock_us[links + 1] - clock_us[links]
    apart *= 1.0 - 2.0 * is_second[links]
    left_us, centre_us = (np.add.reduceat(x, windows.first) / windows.size for x in (apart, clock_us[links]))
    # The two windows of the block that are nearest; what is before the first or behind the last is on their line, too.
    of_block = np.searchsorted(first_of_block, single, side="right") - 1
    first, last = (np.searchsorted(windows.block, of_block, side=side) for side in ("left", "right"))
    in_block = first < last
    single, first, last = single[in_block], first[in_block], last[in_block] - 1
    before = np.clip(np.searchsorted(centre_us, clock_us[single]) - 1, first, np.maximum(last - 1, first))
    behind = np.minimum(before + 1, last)
    span_us = np.where(behind > before, centre_us[behind] - centre_us[before], 1.0)
    place = np.clip((clock_us[single] - centre_us[before]) / span_us, -1.0, 2.0)
    left = left_us[before] + place * (left_us[behind] - left_us[before])
    clock_us[single] += np.where(is_second[single], -0.5, 0.5) * left


def _spread(values: FloatArray, begin: Int64Array, block: Int64Array, bounds: Int64Array) -> FloatArray:
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
