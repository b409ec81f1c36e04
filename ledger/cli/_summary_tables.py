"""The tables of ``ledger summary``: by minute and by target."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ledger.cli._summary_words import LISTED_TARGETS, PAIRED, class_heading, clock, some_of
from ledger.query.counts import HST, Target, classes_of, iso, sum_of

if TYPE_CHECKING:
    from ledger.query.summary import Summary

#: Heading of the column of marks.
LOOK_AT = "look at"

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]

_OF_CAMERAS = ("unpaired", "solo", "not_paired")

#: What is told of a minute beside its times, its targets and its classes.
_FACTS = (
    *("exposures_us", "quarantined_files", "marks"),
    *("dubious_fraction", "solo_dubious_fraction", "unpaired_fraction"),
)

#: Columns that are flush left.
TEXTS = {"HST", "UT", "target", "exposure", LOOK_AT}

#: Columns that a narrow terminal does without, the first one first: what is marked, or told after the tables, too.
SPARE = (
    *("quarantined", "lost", "UT", "exposure", "not synced", "all D"),
    *(f"{kind}{camera}" for kind in ("not paired", "solo", "unpaired") for camera in ("", " 1", " 2")),
)


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


def facts(found: Sequence["Summary"]) -> tuple[list[str], list[list[Any]]]:
    """Return names and a row for each minute of some nights: what JSON has, with a column for each class of frames."""
    classes = classes_of({camera for night in found for camera in night.cameras})
    rows = []
    for night in found:
        for minute in night.minutes:
            told = minute.as_json(classes)
            times = (iso(minute.at_us), iso(minute.at_us, HST))
            counts = [*told["frames"].values(), *told["dubious"].values()]
            rows.append([night.pipeline, night.date, *times, minute.names, *(told[name] for name in _FACTS), *counts])
    of_classes = [f"{what}_{name}" for what in ("frames", "dubious") for name in classes]
    return ["pipeline", "date", "ut", "hst", "targets", *_FACTS, *of_classes], rows


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
