"""Time, in one place, so that a test can set it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

#: Returns UNIX time in microseconds.
Clock = Callable[[], int]


def now_us() -> int:
    """Return UNIX time in microseconds."""
    return time.time_ns() // 1000


def show_us(time_us: int | None) -> str:
    """Return a time for people, in UT to the second; an empty string for None."""
    if time_us is None:
        return ""
    return datetime.fromtimestamp(time_us / 1e6, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def show_date(time_us: int | None) -> str:
    """Return the date of a time for people, in UT; an empty string for None."""
    return show_us(time_us)[:10]
