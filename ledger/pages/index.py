"""The index of all nights that have a page in a folder, by what each page says of itself."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape, unescape
from pathlib import Path
from typing import Any

from ledger.disk.access import entries_of, translate_read_errors
from ledger.pages.night import NightPage
from ledger.pages.pictures import spark
from ledger.query.counts import MINUTE_US

#: What it is called.
INDEX = "index.html"

#: Parts of a night in its small picture.
_PARTS = 60

#: Letters of a text of a night in the index. As markup a letter has 12 bytes at most: both texts are within the begin.
_LETTERS = 200

#: Where a page says it: near its begin.
_LINE = re.compile(r'<meta name="ledger-night" content="([^"]*)">')
_HEAD_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Line:
    """A night in the index.

    Attributes
    ----------
    page : str
        Name of its page.
    pipeline, day, level : str
        As on its page.
    verdict : str
        What is wrong with it; or that nothing is.
    targets : str
        The first ones.
    frames, products : int
        How many.
    heights : tuple of int
        Frames in equal parts of the night.
    """

    page: str
    pipeline: str
    day: str
    level: str
    verdict: str
    targets: str
    frames: int
    products: int
    heights: tuple[int, ...]

    @property
    def picture(self) -> str:
        """Return its small picture."""
        return spark(self.heights, f"{self.frames:,} frames through the night")


def line_of(night: NightPage, page: str) -> Line:
    """Return what the index tells of a night."""
    names = [target.name for target in night.summary.targets if target.name is not None]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    told = [] if night.summary.excluded_reason is not None else [*(need.text for need in night.needs), *night.looks]
    return Line(
        page=page,
        pipeline=night.pipeline,
        day=night.day,
        level=night.level,
        verdict=_cut("; ".join(told) or night.verdict),
        targets=_cut(", ".join(names[:3])) + more,
        frames=night.summary.balance.frames,
        products=sum(night.status.states.values()) if night.status else 0,
        heights=_heights(night),
    )


def head(line: Line) -> str:
    """Return the line of a page by which the index knows it."""
    return f'<meta name="ledger-night" content="{escape(json.dumps(asdict(line)))}">'


def read_lines(folder: Path) -> list[Line]:
    """Return the nights that have a page in a folder, the newest first; other files are none.

    Raises
    ------
    Unreachable
        If the folder or a page cannot be read.
    """
    found = []
    with translate_read_errors(folder):
        for entry in entries_of(folder):
            if entry.name.endswith(".html") and not entry.name.startswith(".") and entry.is_file():
                with Path(entry.path).open("rb") as file:
                    line = _read(file.read(_HEAD_BYTES).decode(errors="replace"), entry.name)
                found += [line] if line is not None else []
    return sorted(found, key=lambda line: (line.day, line.pipeline), reverse=True)


def _read(text: str, page: str) -> Line | None:
    """Return what a page says of itself; None if it is no page of a night."""
    match = _LINE.search(text)
    if match is None:
        return None
    try:
        told: Any = json.loads(unescape(match[1]))
        numbers: dict[str, Any] = {name: int(told[name]) for name in ("frames", "products")}
        texts: dict[str, Any] = {name: str(told[name]) for name in ("pipeline", "day", "level", "verdict", "targets")}
        return Line(page=page, **texts, **numbers, heights=tuple(int(height) for height in told["heights"]))
    except (ValueError, TypeError, LookupError):
        return None


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"


def _heights(night: NightPage) -> tuple[int, ...]:
    minutes = [minute for minute in night.summary.minutes if minute.at_us is not None]
    times = [minute.at_us for minute in minutes if minute.at_us is not None]
    if not times:
        return ()
    span = times[-1] - times[0] + MINUTE_US
    heights = [0] * min(_PARTS, span // MINUTE_US)
    for minute, at_us in zip(minutes, times, strict=True):
        heights[(at_us - times[0]) * len(heights) // span] += minute.frames.total()
    return tuple(heights)


def levels(lines: Sequence[Line]) -> dict[str, int]:
    """Return how many nights stand how."""
    return {level: n for level in ("person", "look", "under way") if (n := sum(x.level == level for x in lines))}
