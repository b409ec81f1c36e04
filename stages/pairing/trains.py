"""Trains: all frames of one camera in order of time, and what the headers of their raw files say.

See docs/design.md, Pairing.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stages.fits.timing import read_used_rows
from stages.pairing.windows import after_dead_time
from stages.product import Raw

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Train:
    """All frames of one camera in order of time.

    Attributes
    ----------
    raws : tuple of Raw
        Its raw files, in order of time.
    time_us, raw, frame : ndarray of int64, shape (n,)
        Acquisition time, UNIX, microseconds; place of the raw file in `raws`; index in its cube.
    without_acquisition : frozenset of str
        Raw files whose times are those of logging, by identity.
    """

    raws: tuple[Raw, ...]
    time_us: Int64Array
    raw: Int64Array
    frame: Int64Array
    without_acquisition: frozenset[str] = frozenset()

    def count_changes(self, of_raws: Int64Array, *, but_after_us: float | None = None) -> Int64Array:
        """Return how often a number of the raw files has changed until each frame, shape (n,).

        Parameters
        ----------
        of_raws : ndarray of int64, shape (files,)
            The numbers.
        but_after_us : float, optional
            Changes after such a dead time do not count, microseconds.
        """
        number = of_raws[self.raw]
        changed = np.diff(number, prepend=number[:1]) != 0
        if but_after_us is not None:
            changed[self.after_dead_time(but_after_us)] = False
        return np.cumsum(changed, dtype=np.int64)

    def only(self, chosen: Int64Array) -> "Train":
        """Return the train of some of the frames, with the same raw files; `chosen` are their places."""
        return replace(self, time_us=self.time_us[chosen], raw=self.raw[chosen], frame=self.frame[chosen])

    def after_dead_time(self, dead_time_us: float) -> Int64Array:
        """Return the places of frames whose exposure began longer than `dead_time_us` after the frame before."""
        return after_dead_time(
            self.time_us,
            dead_time_us,
            lambda late: np.array([self.raws[place].exposure_us for place in self.raw[late]], np.int64),
        )


def read_train(raws: Sequence[Raw]) -> Train:
    """Read the times of one camera's raw files; files that overlap in time are merged.

    Parameters
    ----------
    raws : sequence of Raw
        In any order.

    Returns
    -------
    Train
        Of all their frames that are used.

    Raises
    ------
    BadInput
        If a timing file is bad or has not as many rows as its cube has frames.
    Retry
        If one could not be read.
    """
    in_order = tuple(sorted(raws, key=lambda raw: (raw.first_us, raw.cube.name, raw.identity)))
    times = [np.empty(0, np.int64)]
    without_acquisition = set()
    for raw in in_order:
        timing = read_used_rows(raw)
        times.append(timing.acquired_us)
        if not timing.has_acquisition:
            without_acquisition.add(raw.identity)
    time_us = np.concatenate(times)
    order = np.argsort(time_us, kind="stable")
    counts = [len(t) for t in times[1:]]
    place = np.repeat(np.arange(len(counts)), counts)
    start = np.repeat(np.cumsum(counts, dtype=np.int64) - counts, counts)
    frame = np.arange(len(time_us)) - start
    return Train(in_order, time_us[order], place[order], frame[order], frozenset(without_acquisition))


def numbers_alike(values: Iterable[Hashable]) -> Int64Array:
    """Return numbers, as many as there are values, that are equal for two values if these are."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def is_true(raw: Raw, keyword: str | None) -> bool:
    """Return whether a raw file's card says T."""
    return keyword is not None and raw.cards.get(keyword) is True


def text_of(raw: Raw, keyword: str | None) -> str:
    """Return what a raw file's card says, as text without blanks around it; "" if there is none."""
    return "" if keyword is None else str(raw.cards.get(keyword, "")).strip()


def size_of(raw: Raw, keyword: str | None) -> int:
    """Return the size of the number that a raw file's card says, rounded; 0 if there is none."""
    value = None if keyword is None else raw.cards.get(keyword)
    return abs(round(value)) if isinstance(value, int | float) else 0
