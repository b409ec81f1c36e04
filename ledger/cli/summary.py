"""``ledger summary``: a night in words and two tables."""

import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import typer

from ledger.cli.common import (
    AsJson,
    Date,
    Folder,
    app,
    open_store,
    read_config,
    show_json,
    show_table,
    which_of_both,
)
from ledger.disk.outside import grouped
from ledger.query.counts import (
    DUBIOUS_LIMIT,
    HST,
    LOST,
    QUARANTINED,
    UNPAIRED_LIMIT,
    Minute,
    Target,
    classes_of,
    sum_of,
    when,
)

if TYPE_CHECKING:
    from ledger.query.summary import Summary, Unexpected

#: Files in quarantine, salvaged files and targets that are listed for people; JSON has all.
LISTED, LISTED_TARGETS = 12, 20

#: Characters of a line that the tables keep to, if the terminal has not fewer.
WIDTH = 120

#: The shortest that the name of a target is cut to for that.
_TARGET_WIDTH = 10

#: Heading of the column of marks.
LOOK_AT = "look at"

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]

_PAIRED = {"paired_A": "A", "paired_B": "B", "paired_D": "D", "paired_none": "no FLC"}
_OF_CAMERAS = ("unpaired", "solo", "not_paired")
_TEXTS = {"HST", "UT", "target", "exposure", LOOK_AT}


@app.command(epilog="Example: ledger summary --date 20260102")
def summary(folder: Folder = None, date: Date = None, *, as_json: AsJson = False) -> None:
    """Show a night's frames per minute and per target, and what is unexpected.

    A product (about 10 s of data) counts in the minute in which it begins. Exit 1 if a frame is not accounted for.
    """
    from ledger.query import summary as summaries

    config = read_config()
    with open_store(config) as store:
        night = summaries.find(store, config, date=date, folder=folder)
        if date is not None and (which := which_of_both(config, night)):
            typer.echo(which, err=True)
        found = summaries.summarise(store, config, night)
    if as_json:
        show_json(found.as_json())
    else:
        _show(found, config.instrument.cards.dither_us)
    raise typer.Exit(0 if found.balance.holds else 1)


def _show(found: "Summary", dither: str) -> None:
    for line in before_tables(found):
        typer.echo(line)
    if found.minutes:
        _show_table(minute_table(found))
        typer.echo()
        _show_table(target_table(found))
        if len(found.targets) > LISTED_TARGETS:
            typer.echo(f"and {_count(len(found.targets) - LISTED_TARGETS, 'more target')}: see --json")
    for line in after_tables(found, dither):
        typer.echo(line)


def _show_table(table: Table) -> None:
    columns, rows = table
    if sys.stdout.isatty():
        columns, rows = narrow(table, min(WIDTH, shutil.get_terminal_size().columns))
    show_table(columns, rows, right=set(columns) - _TEXTS)


# the tables


def minute_table(found: "Summary") -> Table:
    """Return columns and rows: a row for each minute, a column for each class that the night has."""
    present = {name for minute in found.minutes for name, n in minute.frames.items() if n}
    kinds = [name for name in classes_of(found.cameras) if name in present]
    is_marked = any(minute.marks() for minute in found.minutes)
    columns = ("HST", "UT", "target", "exposure", *map(_heading, kinds), *([LOOK_AT] * is_marked))
    rows = [
        (
            _clock(minute.at_us, HST),
            _clock(minute.at_us, date=found.date),
            _some(minute.names) or "?",
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
    kinds = [(name, f"paired {word}" if word != "no FLC" else _heading(name)) for name, word in _PAIRED.items()]
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
        "exposure": lambda text: _some(text.split(", "), 1),
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


# what is said before and after them


def before_tables(found: "Summary") -> list[str]:
    """Return what to say first: which night, and whether anything is to be seen at all."""
    named = f"night {found.date} ({found.pipeline})"
    if found.excluded_reason is not None:
        named += f", excluded: {found.excluded_reason}"
    lines = [named]
    if found.unregistered:
        noun = "more raw file" if found.balance.raw_files else "raw file"
        lines.append(
            f"{_count(found.unregistered, noun)} on disk, not registered and not counted here: run"
            f" `ledger scan --date {found.date}`"
        )
    elif not found.balance.raw_files:
        lines.append("no raw files, on disk or in the ledger")
    if found.outside:
        lines.append(
            f"{_count(len(found.outside), 'file')} may hold frames, not used and not counted here:"
            f" {grouped(found.outside)}; see `ledger outside list --date {found.date}`"
        )
    return lines


def after_tables(found: "Summary", dither: str) -> list[str]:
    """Return what the marks mean, the files in quarantine or not whole, where all frames are, and the verdict."""
    if not found.balance.raw_files:
        return []
    return ["", *_legend(found, dither), *_files(found), "", *_equation(found), verdict(found)]


def _legend(found: "Summary", dither: str) -> list[str]:
    lines = ["Frames are those of both cameras, counted in the minute in which their product or raw file begins."]
    marks = {kind for tally in (*found.minutes, *found.targets) for kind in tally.marks()}
    meanings = {
        "D": (
            f"over {DUBIOUS_LIMIT:.0%} of the frames taken while the FLC was switching have a dubious state, of no use"
            f" as A or B: look for dropped frames, and whether the dither ({dither}) was on"
        ),
        "unpaired": (
            f"over {UNPAIRED_LIMIT:.0%} of the triggered frames lack the other camera's, although both ran: it started"
            " late, drops frames, or its files are in quarantine; if it goes on, look at that camera's logger"
        ),
        QUARANTINED: (
            "files in quarantine, for the reasons below, in the minute of their frames or of their last change; they"
            f" block nothing; put right, `ledger advance --date {found.date}` takes them up"
        ),
        LOST: (
            "frames of raw files that were cut off, listed below, in the minute of the last frame that was saved; whole"
            " files may still be on the acquisition machine"
        ),
    }
    lines += [f"  {kind}: {meaning}" for kind, meaning in meanings.items() if kind in marks]
    if any(sum_of(minute.frames, "not_paired") for minute in found.minutes):
        lines.append(
            "  not paired: synced before it was on record whether a camera was on its own (solo) or lacks the other's"
            " frames (unpaired), so neither is marked; to know,"
            f" `ledger rollback --date {found.date}` and `ledger advance --date {found.date}`"
        )
    if any(target.dubious for target in found.targets):
        lines.append("  all D: frames of dubious state, whether paired, unpaired or solo")
    if any(minute.at_us is None or not minute.names for minute in found.minutes) or found.targets[-1].name is None:
        lines.append("  ?: unknown; a file in quarantine may tell no time and no target")
    return lines


def _files(found: "Summary") -> list[str]:
    """Return the files in quarantine, those that lost frames, and those of which something is unexpected."""
    lines = []
    if found.quarantine:
        lines += ["", f"quarantine: {_count(len(found.quarantine), 'file')}"]
        lines += _listed([f"{file.name}: {file.reason}" for file in found.quarantine], "see the view `quarantine`, or")
    if found.salvaged:
        lines += ["", f"salvaged: {_count(len(found.salvaged), 'raw file')}"]
        lines += _listed(
            [f"{file.name}: {file.lost} of {_count(file.frames, 'frame')} lost" for file in found.salvaged]
        )
    if found.unexpected:
        lines += ["", "unexpected:"]
        lines += _listed([f"{_unexpected(told)}: {_some(told.files, 3)}" for told in found.unexpected])
    return lines


def _listed(texts: Sequence[str], where: str = "see") -> list[str]:
    lines = [f"  {text}" for text in texts[:LISTED]]
    return lines + [f"  and {len(texts) - LISTED} more: {where} --json"] * (len(texts) > LISTED)


def _equation(found: "Summary") -> list[str]:
    balance, width = found.balance, len(str(max(found.balance.frames, found.balance.accounted)))
    unknown = f", {balance.unknown_files} of them of unknown length" if balance.unknown_files else ""
    terms = [
        (sum(balance.in_products.values()), "in products"),
        (balance.quarantined, f"quarantined: {_count(balance.quarantined_files, 'raw file')}{unknown}"),
        (balance.lost, f"lost: {_count(balance.lost_files, 'salvaged raw file')}"),
        (balance.not_synced, f"not yet synced: {_count(balance.not_synced_files, 'raw file')}"),
    ]
    total, *others = [f"{sign} {n:>{width}} {what}" for sign, (n, what) in zip("=+++", terms, strict=True)]
    indent = " " * (width + 5)
    lines = [f"  {_count(balance.frames, 'frame', width)} in {_count(balance.raw_files, 'raw file')}", total]
    lines += [f"{indent}{line}" for line in _classes(found)]
    lines += others
    if balance.holds:
        left_out = f", except those of {_count(balance.unknown_files, 'file')} in quarantine of unknown length"
        return [*lines, f"The sum holds: every frame is accounted for{left_out if balance.unknown_files else ''}."]
    difference = balance.frames - balance.accounted
    where = f"; astray: {_some(balance.astray, 5)}" if balance.astray else ""
    is_or_are = "is" if difference == 1 else "are"
    how = (
        f"{_count(difference, 'frame')} {is_or_are} nowhere"
        if difference >= 0
        else f"{_count(-difference, 'frame')} too many"
    )
    return [*lines, f"THE SUM DOES NOT HOLD: {how}{where}; run `ledger audit`, which says what to do"]


def _classes(found: "Summary") -> list[str]:
    """Return the frames in products by class, and how many of each are dubious."""
    balance = found.balance
    paired = [f"{word} {balance.in_products[kind]}" for kind, word in _PAIRED.items() if balance.in_products.get(kind)]
    lines = [f"paired: {', '.join(paired)}"] if paired else []
    for name in classes_of(found.cameras):
        if name not in _PAIRED and (n := balance.in_products.get(name)):
            dubious = balance.dubious.get(name)
            lines.append(f"{_heading(name)}: {n}" + (f", of these D {dubious}" if dubious else ""))
    if balance.dubious:
        lines.append(f"D in all: {sum(balance.dubious.values())}")
    return lines


def verdict(found: "Summary") -> str:
    """Return in one line whether the night is as expected."""
    known = [target for target in found.targets if target.name is not None]
    marked = [target for target in known if target.marks()]
    looks = []
    if not found.balance.holds:
        looks.append("the sum does not hold")
    if found.outside:
        looks.append(f"{_count(len(found.outside), 'file')} outside may hold frames")
    if marked:
        told = [f"{target.name} ({', '.join(target.marks().values())})" for target in marked]
        needs = "needs" if len(marked) == 1 else "need"
        looks.append(f"{len(marked)} of {_count(len(known), 'target')} {needs} a look: {_some(told, 5)}")
    if minutes := _other_minutes(found, marked):
        needs = "needs" if len(minutes) == 1 else "need"
        other = " of other targets" if marked else ""
        clocks = _some([_clock(minute.at_us) for minute in minutes], 5)
        looks.append(f"{_count(len(minutes), 'minute')}{other} {needs} a look: {clocks} UT")
    looks += [
        f"files of unknown target: {', '.join(t.marks().values())}" for t in found.targets[len(known) :] if t.marks()
    ]
    looks += map(_unexpected, found.unexpected[:LISTED])
    if not found.is_judged:
        return "; ".join([_not_yet(found), *looks])
    if any(sum_of(target.frames, "not_paired") for target in found.targets):
        looks.append("not judged whether a camera lacks frames: see `not paired`")
    return "; ".join(looks) if looks else f"Nothing unexpected in {_count(len(known), 'target')}."


def _other_minutes(found: "Summary", marked: Sequence[Target]) -> list[Minute]:
    """Return the minutes with marks that no target has as a whole: few among its many."""
    names = {target.name for target in marked}
    return [
        minute
        for minute in found.minutes
        if minute.marks()
        and not minute.targets & names
        and not (None in minute.targets and set(minute.marks()) == {QUARANTINED})  # told as files of unknown target
    ]


def _not_yet(found: "Summary") -> str:
    balance = found.balance
    waiting = []
    if balance.not_synced_files:
        waiting.append(f"{_count(balance.not_synced, 'frame')} {'is' if balance.not_synced == 1 else 'are'} not synced")
    if found.unregistered:
        is_or_are = "is" if found.unregistered == 1 else "are"
        waiting.append(f"{_count(found.unregistered, 'raw file')} {is_or_are} not registered")
    return f"not yet judged: {', '.join(waiting)}; next: ledger advance --date {found.date}"


# words


def _heading(name: str) -> str:
    word = _PAIRED.get(name)
    if word is None:
        return name.replace("_", " ")
    return f"paired, {word}" if " " in word else f"paired {word}"


def _unexpected(told: "Unexpected") -> str:
    return f"{_count(len(told.files), 'raw file')} {told.what}"


def _on_two_lines(heading: str) -> str:
    if heading in _TEXTS:
        return heading
    first, _, last = heading.partition(", ") if ", " in heading else heading.rpartition(" ")
    return f"{first}\n{last}" if first else heading


def _of_kind(target: Target, kind: str) -> int:
    return sum_of(target.frames, kind) if kind in _OF_CAMERAS else target.frames[kind]


def _count(n: int, noun: str, width: int = 0) -> str:
    return f"{n:>{width}} {noun}{'' if n == 1 else 's'}"


def _percent(part: int, whole: int) -> str:
    """Return a fraction that is 0 % or 100 % only if it is."""
    if not part:
        return ""
    if part == whole:
        return "100%"
    return f"{min(max(part / whole, 0.001), 0.999):.1%}"


def _some(words: Sequence[str], n: int = 2) -> str:
    """Return some words of a list, and how many more there are."""
    return ", ".join(words[:n]) + (f" +{len(words) - n}" if len(words) > n else "")


def _exposures(times_us: set[int]) -> str:
    words = [f"{t / 1e6:g} s" if t >= 1_000_000 else f"{t / 1e3:g} ms" for t in sorted(times_us)]
    return _some(words, 2 if len(words) == 2 else 1)


def _clock(time_us: int | None, zone: timedelta = timedelta(), date: str = "") -> str:
    """Return the time of day; with the day, where that is not `date`."""
    if time_us is None:
        return "?"
    then = when(time_us, zone)
    return f"{then:%H:%M}" if date in ("", f"{then:%Y%m%d}") else f"{then:%Y-%m-%d %H:%M}"
