"""Groups: stretches of exposures that become sibling products.

See docs/design.md, Groups and products.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.pairing.exposures import SOLO, Exposures
from stages.pairing.trains import Train, numbers_alike
from stages.product import Raw

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: Frames that differ in one of these cannot be in one cube: groups are cut by them, whatever is configured.
STRUCTURE = ("NAXIS1", "NAXIS2", "BITPIX", "BZERO", "BSCALE", "BLANK")

_DAY_US = 86_400_000_000


def comparable(raw: Raw, keyword: str, printed: Mapping[str, str]) -> Any:
    """Return a card's value such that values that say the same are equal.

    Parameters
    ----------
    raw : Raw
        Whose card.
    keyword : str
        The card's.
    printed : mapping of str to str
        By keyword, the printf format that a number is compared as.

    Returns
    -------
    str, int, float, bool or None
        Strings without blanks around them; None if there is no card.
    """
    value = raw.cards.get(keyword)
    if isinstance(value, str):
        return value.strip()
    if keyword in printed and isinstance(value, int | float):
        return float(printed[keyword] % value)
    return value


def find_segments(
    exposures: Exposures,
    trains: Sequence[Train],
    *,
    cut_either: Sequence[str],
    cut_own: Sequence[str],
    printed: Mapping[str, str],
    dead_time_us: float,
) -> Int64Array:
    """Return keys that are equal for two exposures if nothing between them cuts groups.

    They count, for each camera, changes of the cards that cut groups of both cameras, :data:`STRUCTURE` among
    them, then whatever cuts its own (its own cards and dead times) if it has a frame there; and UT days.  Files of
    logging times are kept apart from those with acquisition times.  Solo files are not cut.

    Parameters
    ----------
    exposures : Exposures
        All of the night.
    trains : sequence of Train
        Of both cameras.
    cut_either, cut_own : sequence of str
        Cards whose changes cut in either camera, or in the frame's own.
    printed : mapping of str to str
        See :func:`comparable`.
    dead_time_us : float
        A longer time without exposure cuts, microseconds.

    Returns
    -------
    ndarray of int64, shape (n,)
        For each exposure; to be compared among exposures of one kind only.
    """
    keys = exposures.time_us // _DAY_US
    # All that is added only ever grows from exposure to exposure, so the sum is equal only if each part is.
    # A night with raw files that were registered without structure is paired as it was when they were.
    knows_structure = all("BITPIX" in raw.cards for train in trains for raw in train.raws)
    either = (*cut_either, *(STRUCTURE if knows_structure else ()))
    keys += exposures.count_changes(trains, lambda raw: tuple(comparable(raw, name, printed) for name in either))
    if knows_structure and any(train.without_acquisition for train in trains):
        logged = frozenset().union(*(train.without_acquisition for train in trains))
        keys += exposures.count_changes(trains, lambda raw: raw.identity in logged)
    for camera, train in enumerate(trains):
        own = numbers_alike(tuple(comparable(raw, name, printed) for name in cut_own) for raw in train.raws)
        late = train.after_dead_time(dead_time_us)
        if len(late) or (own != own[:1]).any():
            after_dead_time = np.zeros(len(train.time_us), np.int64)
            after_dead_time[late] = 1
            here = np.flatnonzero(exposures.places[camera] >= 0)
            counts = np.cumsum(after_dead_time) + train.count_changes(own)
            keys[here] += counts[exposures.places[camera, here]]
    keys[exposures.kind >= SOLO] = 0
    return keys


def cut_groups(exposures: Exposures, segments: Int64Array, ends_cycle: BoolArray, *, longest_us: int) -> Int64Array:
    """Cut exposures into groups: where their kind or segment changes, and between cycles where it gets too long.

    Parameters
    ----------
    exposures : Exposures
        All of the night.
    segments : ndarray of int64, shape (n,)
        See :func:`find_segments`.
    ends_cycle : ndarray of bool, shape (n,)
        Which are the second of a cycle, so that no group starts with them.
    longest_us : int
        A group ends once it spans this much, microseconds; solo files are not cut.

    Returns
    -------
    ndarray of int64, shape (n,)
        A number for the group of each exposure, in no particular order.
    """
    order = np.argsort(exposures.kind, kind="stable")
    kind, time_us, ends = exposures.kind[order], exposures.time_us[order], ends_cycle[order]
    starts = np.diff(kind, prepend=-1) != 0
    segments = segments[order]
    starts[1:] |= segments[1:] != segments[:-1]
    bounds = np.flatnonzero(np.append(starts, True))
    for first, end in pairwise(bounds):
        if kind[first] >= SOLO:
            break
        cut = first
        while time_us[end - 1] - time_us[cut] >= longest_us:
            cut += np.searchsorted(time_us[cut:end], time_us[cut] + longest_us)
            cut += ends[cut]
            if cut == end:
                break
            starts[cut] = True
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(starts)
    return group
