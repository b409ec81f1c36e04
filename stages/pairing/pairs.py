"""Which frames of two cameras are one exposure: arrays of times in, pairs of indices out.

See docs/design.md, Pairing.

The frames of both cameras are merged in order of time.  One trigger makes one frame in each camera, at most 0.45
of a period apart, so a pair lies side by side there once the cameras' offset is removed.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stages.pairing.offsets import estimate_offsets
from stages.pairing.windows import after_dead_time, cut_windows_of

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: Frames further apart than this share of the shortest gap of a camera are not of one trigger.
_HALF = 0.5

#: Settings that change within so many frames change together.
_NEXT = 8

#: Pairs of which the offset of single frames around is the mean.
_MEAN = 4


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

    def settings(self, frames: Int64Array) -> tuple[Int64Array, Int64Array, FloatArray]:
        """Return exposure time, dither and tolerance of some of the frames."""
        file = self.file[frames]
        return self.exposure_us[file], self.dither_us[file], self.tolerance_us[file]

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

    The common clock has the cameras' offset removed: over windows of some hundred frames, the mode of the distances of
    neighbours that are no further apart than half of the period, that is, the middle of the shortest interval that
    holds half of them (:mod:`stages.pairing.offsets`).  Nothing is concluded across a dead time, so what is joined
    after one does not change what was there.

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
    clock_us = np.subtract(merged_us, merged_us[0], dtype=np.float64)
    first_of_block = _blocks(clock_us, both, order, n_first, dead_time_us)
    is_second = order >= n_first
    offset_us, shortest_us = estimate_offsets(
        clock_us, is_second, first_of_block, lambda places: both.settings(order[places])
    )
    offset_us *= np.where(is_second, -0.5, 0.5)
    clock_us += offset_us
    again = np.argsort(clock_us, kind="stable")
    order, clock_us = order[again], clock_us[again]
    is_second = order >= n_first
    apart = np.empty(len(order) + 1)
    apart[[0, -1]] = np.inf
    here = apart[1:-1]
    np.subtract(clock_us[1:], clock_us[:-1], out=here)
    np.putmask(here, is_second[1:] == is_second[:-1], np.inf)
    links = np.flatnonzero((here < apart[:-2]) & (here <= apart[2:]) & (here <= _HALF * shortest_us[1:]))
    tolerance_us: FloatArray | float = both.tolerance_us.min()
    if tolerance_us < both.tolerance_us.max():
        tolerance_us = np.minimum(*(both.tolerance_us[both.file[order[frame]]] for frame in (links, links + 1)))
    links = links[apart[links + 1] <= tolerance_us]
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
    late = after_dead_time(t, dead_time_us, lambda places: both.settings(order[places])[0])
    blocks = np.insert(late, 0, 0)
    settings = np.stack([both.exposure_us, both.dither_us, both.tolerance_us], axis=1)
    _, of_file = np.unique(settings, axis=0, return_inverse=True)
    of_file = of_file.ravel()
    if not of_file.any():  # all alike
        return blocks
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
    windows = cut_windows_of(links, first_of_block, np.full(len(first_of_block), _MEAN))
    apart = clock_us[links + 1] - clock_us[links]
    apart *= 1.0 - 2.0 * is_second[links]
    left_us, centre_us = (np.add.reduceat(x, windows.first) / windows.size for x in (apart, clock_us[links]))
    # The two windows of the block that are nearest; what is before the first or behind the last is on their line, too.
    of_block = np.searchsorted(first_of_block, single, side="right") - 1
    first, last = (np.searchsorted(windows.block, of_block, side=side) for side in ("left", "right"))
    in_block = first < last
    single, first, last = single[in_block], first[in_block], last[in_block] - 1
    single_us = clock_us[single]
    before = np.clip(np.searchsorted(centre_us, single_us) - 1, first, np.maximum(last - 1, first))
    behind = np.minimum(before + 1, last)
    span_us = np.where(behind > before, centre_us[behind] - centre_us[before], 1.0)
    place = np.clip((single_us - centre_us[before]) / span_us, -1.0, 2.0)
    left = left_us[before] + place * (left_us[behind] - left_us[before])
    clock_us[single] = single_us + np.where(is_second[single], -0.5, 0.5) * left
