"""Pictures as SVG: shapes that take their colours from the page's style, so that one picture is for light and dark."""

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from ledger.query.counts import HST, when
from ledger.text import printable

#: Steps of a time axis, minutes.
_STEPS_MIN = (1, 2, 5, 10, 20, 30, 60, 120, 180, 240, 360, 720)

#: Width of a letter at most, of a size of 11.
TEXT_WIDTH = 6.4


class Canvas:
    """A picture that is drawn.

    Parameters
    ----------
    width, height : int
        In its own units, of which text has 12 a line.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []

    def rect(self, x: float, y: float, width: float, height: float, kind: str, *, title: str = "") -> None:
        """Draw a rectangle of a class of the style."""
        shape = f'<rect class="{kind}" x="{x:.4g}" y="{y:.4g}" width="{width:.4g}" height="{height:.4g}"'
        self._parts.append(f"{shape}><title>{_safe(title)}</title></rect>" if title else f"{shape}/>")

    def rects(self, shapes: Iterable[tuple[float, float, float, float]], kind: str) -> None:
        """Draw many rectangles (x, y, width, height) of one class as one shape."""
        if path := "".join(f"M{x:.4g} {y:.4g}h{w:.4g}v{h:.4g}h{-w:.4g}z" for x, y, w, h in shapes):
            self._parts.append(f'<path class="{kind}" d="{path}"/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "axis") -> None:
        """Draw a line."""
        self._parts.append(f'<line class="{kind}" x1="{x1:.4g}" y1="{y1:.4g}" x2="{x2:.4g}" y2="{y2:.4g}"/>')

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """Write one line."""
        place = f'x="{x:.4g}" y="{y:.4g}" text-anchor="{anchor}"'
        self._parts.append(f'<text class="{kind}" {place}>{_safe(words)}</text>')

    def svg(self, kind: str, label: str) -> str:
        """Return the picture, for a width of page (class ``wide`` or ``narrow``), with what it shows in words."""
        head = f'<svg class="{kind}" viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{_safe(label)}">'
        return f"{head}{''.join(self._parts)}</svg>"


#: Width of half a time of day, and what there is at least right of a picture, in its units.
_HALF_A_TIME, _MARGIN = 18, 12


class TimeAxis:
    """Times across a picture.

    Parameters
    ----------
    first_us, last_us : int
        The times at its ends, UNIX, microseconds.
    left, right : float
        Where they are.
    """

    def __init__(self, first_us: int, last_us: int, left: float, right: float) -> None:
        self.first_us, self.last_us = first_us, max(last_us, first_us + 1)
        self.left, self.right = left, right

    def at(self, time_us: float) -> float:
        """Return the place of a time."""
        part = (time_us - self.first_us) / (self.last_us - self.first_us)
        return self.left + min(max(part, 0.0), 1.0) * (self.right - self.left)

    def ticks(self) -> Iterator[int]:
        """Yield round times, as many as there is room for."""
        span_min = (self.last_us - self.first_us) / 60e6
        most = max(2, int((self.right - self.left) / 64))
        whole_days_min = 1440 * math.ceil(span_min / most / 1440)
        step_us = next((s for s in _STEPS_MIN if span_min / s <= most), whole_days_min) * 60_000_000
        time_us = -(-self.first_us // step_us) * step_us
        while time_us <= self.last_us:
            yield time_us
            time_us += step_us

    def draw(self, canvas: Canvas, top: float, bottom: float) -> None:
        """Draw lines at round times, and write UT and, below, HST."""
        canvas.line(self.left, bottom, self.right, bottom)
        for time_us in self.ticks():
            x = self.at(time_us)
            canvas.line(x, top, x, bottom, "grid")
            is_last = x > self.right - _HALF_A_TIME  # it must not stand out of a narrow picture
            at, anchor = (self.right + _MARGIN, "end") if is_last else (x, "middle")
            canvas.text(at, bottom + 16, f"{when(time_us):%H:%M}", anchor=anchor)
            canvas.text(at, bottom + 31, f"{when(time_us, HST):%H:%M}", "faint", anchor)
        canvas.text(self.left - 22, bottom + 16, "UT", anchor="end")
        canvas.text(self.left - 22, bottom + 31, "HST", "faint", "end")


class Scale:
    """Values up a picture: linear, with round ticks that include both ends of what is shown.

    Parameters
    ----------
    values : sequence of float
        What is shown.
    top, bottom : float
        Where the largest and the least are.
    """

    def __init__(self, values: Sequence[float], top: float, bottom: float) -> None:
        least, most = min(values, default=0.0), max(values, default=1.0)
        if most <= least:
            least, most = least - (abs(least) * 0.01 or 0.5), most + (abs(most) * 0.01 or 0.5)
        self.step = _round_step((most - least) / 4)
        self.least = math.floor(least / self.step + 1e-9) * self.step
        self.most = math.ceil(most / self.step - 1e-9) * self.step
        self.top, self.bottom = top, bottom

    def at(self, value: float) -> float:
        """Return the place of a value; those beyond the ends are put there."""
        part = (value - self.least) / (self.most - self.least)
        return self.bottom - min(max(part, 0.0), 1.0) * (self.bottom - self.top)

    def draw(self, canvas: Canvas, left: float, right: float) -> None:
        """Draw lines at round values, and write these."""
        digits = max(0, -math.floor(math.log10(self.step)))
        for number in range(round((self.most - self.least) / self.step) + 1):
            value = self.least + number * self.step
            canvas.line(left, self.at(value), right, self.at(value), "grid")
            canvas.text(left - 8, self.at(value) + 4, short(value, digits), anchor="end")


def short(value: float, digits: int) -> str:
    """Return a number as an axis writes it."""
    if abs(value) >= 10_000:
        return f"{value / 1000:,.{0 if value % 1000 == 0 else 1}f}k"
    return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _safe(text: str) -> str:
    """Return a text as markup."""
    return escape(printable(text))


def _round_step(step: float) -> float:
    size = 10 ** math.floor(math.log10(step))
    return float(next(m * size for m in (1, 2, 5, 10) if m * size >= step * 0.999))
