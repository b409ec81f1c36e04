"""Stretches of time, and how many of them meet another one."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable


class Spans:
    """Stretches of time that others are held against.

    Parameters
    ----------
    spans_us : iterable of (int, int)
        Begin and end of each, microseconds.
    """

    def __init__(self, spans_us: Iterable[tuple[int, int]]) -> None:
        spans = list(spans_us)
        self._begins_us = sorted(begin_us for begin_us, _ in spans)
        self._ends_us = sorted(end_us for _, end_us in spans)

    def count_meeting(self, begin_us: int, end_us: int) -> int:
        """Return how many have a moment in common with another stretch.

        All but those that have not begun when it ends, and those that have ended when it begins.
        """
        return bisect_right(self._begins_us, end_us) - bisect_left(self._ends_us, begin_us)
