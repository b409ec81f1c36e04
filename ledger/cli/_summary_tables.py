"""The tables of ``ledger summary``: by minute and by target."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ledger.cli._summary_words import PAIRED, class_heading, clock, some_of
from ledger.query.counts import (
    HST,
    Target,
    classes_of,
    sum_of,
)

if TYPE_CHECKING:
    from ledger.query.summary import Summary

#: Targets that are listed for people; JSON has all.
LISTED_TARGETS = 20

#: The shortest that the name of a target is cut to where a terminal is narrow.
_TARGET_WIDTH = 10

#: Heading of the column of marks.
LOOK_AT = "look at"

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]

_OF_CAMERAS = ("unpaired", "solo", "not_paired")

#: Columns that are flush left.
TEXTS = {"HST", "UT", "target", "exposure", LOOK_AT}


def minute_table(found: "Summary") -> Table:
    """Return columns and rows: a row for each minute, a column for each class that the night has."""
    present = {name for minute in found.minutes for name, n in minute.frames.items() if n}
    kinds = [name for name in classes_of(found.cameras) if name in present]
    is_marked = any(minute.marks() for minute in found.minutes)
    columns = ("HST", "UT", "target", "exposure", *map(class_heading, kinds), *([LOOK_AT] * is_marked))
    rows = [
        (
            clock(minute.at_us, HST),
            clock(minute.at_us, date=found.date),
            some_of(minute.names) or "?",
            _exposures(minute.exposures_us),
            *(str(minute.frames[name] or "") for name in kinds),
            *([", ".join(minute.marks().values())] * is_marked),
        )
        for minute in found.minutes
    ]
    return columns, rows


def target_table(found: "Summary") -> Table:
    """Return columns and rows: a row for each target, and what part of its frames is of each class, cameras together.

    Of very many targets, those without marks are left out first.
    """
    kinds = [(name, f"paired {word}" if word != "no FLC" else class_heading(name)) for name, word in PAIRED.items()]
    kinds += [(kind, kind.replace("_", " ")) for kind in (*_OF_CAMERAS, "not_synced", "quarantined", "lost")]
    kinds = [(kind, heading) for kind, heading in kinds if any(_of_kind(target, kind) for target in found.targets)]
    is_dubious = any(target.dubious for target in found.targets)
    is_marked = any(target.marks() for target in found.targets)
    marked_first = sorted(range(len(found.targets)), key=lambda place: not found.targets[place].marks())
    columns = (
        "target",
        "exposure",
        "frames",
        *(heading for _, heading in kinds),
        *(["all D"] * is_dubious),
        *([LOOK_AT] * is_marked),
    )
    rows = []
    for place in sorted(marked_first[:LISTED_TARGETS]):
        target = found.targets[place]
        n = target.frames.total()
        rows.append(
            (
                target.name or "?",
                _exposures(target.exposures_us),
                str(n or ""),
                *(_percent(_of_kind(target, kind), n) for kind, _ in kinds),
                *([_percent(sum(target.dubious.values()), n)] * is_dubious),
                *([", ".join(target.marks().values())] * is_marked),
            )
        )
    return columns, rows


def narrow(table: Table, width: int) -> Table:
    """Return a table for a terminal: headings on two lines, and what is long made shorter until the rows fit."""
    columns, rows = table
    columns = tuple(_on_two_lines(heading) for heading in columns)
    shorter: dict[str, Callable[[str], str]] = {
        LOOK_AT: _on_lines,
        "exposure": lambda text: some_of(text.split(", "), 1),
        "target": _on_lines,
    }
    for heading, shorten in shorter.items():
        if _width(columns, rows) > width and heading in columns:
            rows = _changed(rows, columns.index(heading), shorten)
    excess = _width(columns, rows) - width
    if excess > 0:
        place = columns.index("target")
        longest = max(len(line) for row in rows for line in row[place].split("\n"))
        rows = _changed(rows, place, partial(_cut, width=max(_TARGET_WIDTH, longest - excess)))
    return columns, rows


def _changed(rows: Sequence[tuple[str, ...]], place: int, change: Callable[[str], str]) -> list[tuple[str, ...]]:
    return [(*row[:place], change(row[place]), *row[place + 1 :]) for row in rows]


def _width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return how wide a table is drawn: its columns, and two blanks between them."""
    widths = [
        max(len(line) for text in column for line in text.split("\n")) for column in zip(columns, *rows, strict=True)
    ]
    return sum(widths) + 2 * (len(widths) - 1)


def _on_lines(text: str) -> str:
    return text.replace(", ", ",\n")


def _cut(text: str, *, width: int) -> str:
    return "\n".join(line if len(line) <= width else f"{line[: width - 1]}…" for line in text.split("\n"))


def _on_two_lines(heading: str) -> str:
    if heading in TEXTS:
        return heading
    first, _, last = heading.partition(", ") if ", " in heading else heading.rpartition(" ")
    return f"{first}\n{last}" if first else heading


def _of_kind(target: Target, kind: str) -> int:
    return sum_of(target.frames, kind) if kind in _OF_CAMERAS else target.frames[kind]


def _percent(part: int, whole: int) -> str:
    """Return a fraction that is 0 % or 100 % only if it is."""
    if not part:
        return ""
    if part == whole:
        return "100%"
    return f"{min(max(part / whole, 0.001), 0.999):.1%}"


def _exposures(times_us: set[int]) -> str:
    words = [f"{t / 1e6:g} s" if t >= 1_000_000 else f"{t / 1e3:g} ms" for t in sorted(times_us)]
    return some_of(words, 2 if len(words) == 2 else 1)
