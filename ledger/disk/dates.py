"""UT dates as people name them: one, several, or a range."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from ledger.errors import UsageError

_DATE = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})")

#: Between the first and the last date of a range; both belong to it.
RANGE = ".."


def parse_date(text: str) -> str:
    """Return a date as ``YYYYMMDD``; ``2026-01-02`` is understood too.

    Raises
    ------
    UsageError
        If it is no date, or a path where a date is due.
    """
    if is_date(text):
        return text.replace("-", "")
    hint = f"; a folder is given without --date: {text!r}" if "/" in text else ""
    raise UsageError(f"date {text!r}: not a date; expected YYYYMMDD or YYYY-MM-DD, such as 20260102{hint}")


def is_date(text: str) -> bool:
    """Whether `text` is a day of the calendar, as ``YYYYMMDD`` or ``YYYY-MM-DD``."""
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    try:
        datetime.strptime("".join(match.groups()), "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def is_range(text: str) -> bool:
    """Whether `text` begins as a range of dates does; ``..`` alone is a folder."""
    return is_date(text.partition(RANGE)[0]) and RANGE in text


class Dates:
    """The dates that somebody named.

    Parameters
    ----------
    words : iterable of str
        Dates, and ranges of dates (``20260101..20260105``).

    Raises
    ------
    UsageError
        If one is neither, or a range ends before it begins.
    """

    def __init__(self, words: Iterable[str] = ()) -> None:
        self.spans = tuple(_span(word) for word in words)

    def __bool__(self) -> bool:
        return bool(self.spans)

    def __contains__(self, date: str) -> bool:
        return any(first <= date <= last for first, last in self.spans)

    def __str__(self) -> str:
        return ", ".join(first if first == last else f"{first}{RANGE}{last}" for first, last in self.spans)

    @property
    def single(self) -> list[str]:
        """Return the dates that are named by themselves."""
        return [first for first, last in self.spans if first == last]

    @property
    def ranges(self) -> "Dates":
        """Return the ranges alone."""
        found = Dates()
        found.spans = tuple((first, last) for first, last in self.spans if first < last)
        return found


def _span(word: str) -> tuple[str, str]:
    first, dots, last = word.partition(RANGE)
    span = parse_date(first), parse_date(last if dots else first)
    if span[0] > span[1]:
        raise UsageError(f"range {word!r} ends before it begins: expected the earlier date first")
    return span
