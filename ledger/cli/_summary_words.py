"""What ``ledger summary`` says before and after its tables, and its words for classes, numbers and times."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from ledger.disk.outside import grouped
from ledger.query.counts import (
    DUBIOUS_LIMIT,
    LOST,
    QUARANTINED,
    UNPAIRED_LIMIT,
    Minute,
    Target,
    classes_of,
    sum_of,
    when,
)
from ledger.text import counted

if TYPE_CHECKING:
    from ledger.query.summary import Summary, Unexpected

#: Files in quarantine and salvaged files that are listed for people; JSON has all.
LISTED = 12

#: Targets that are named for people, in the table and in the verdict; JSON has all.
LISTED_TARGETS = 20

#: What paired frames are called by the state of the FLC.
PAIRED = {"paired_A": "A", "paired_B": "B", "paired_D": "D", "paired_none": "no FLC"}


def before_tables(found: "Summary") -> list[str]:
    """Return what to say first: which night, and whether anything is to be seen at all."""
    named = f"night {found.date} ({found.pipeline})"
    if found.excluded_reason is not None:
        named += f", excluded: {found.excluded_reason}"
    lines = [named]
    if found.unregistered:
        noun = "more raw file" if found.balance.raw_files else "raw file"
        lines.append(
            f"{counted(found.unregistered, noun)} on disk, not registered and not counted here: run"
            f" `ledger scan {found.named}`"
        )
    elif not found.balance.raw_files:
        lines.append("no raw files, on disk or in the ledger")
    if found.outside:
        lines.append(
            f"{counted(len(found.outside), 'file')} may hold frames, not used and not counted here:"
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
            f" block nothing; put right, `ledger advance {found.named}` takes them up"
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
            f" `ledger rollback {found.named}` and `ledger advance {found.named}`"
        )
    if any(target.frames["paired_none"] for target in found.targets):
        lines.append("  no FLC: pairs that were taken while the FLC was not switching")
    if any(sum_of(target.frames, "solo") for target in found.targets):
        lines.append("  solo: frames of a camera that ran on its own then; nothing is missing")
    if any(target.dubious for target in found.targets):
        lines.append(
            "  all D: frames of dubious state, whether paired, unpaired or solo, as a part of all frames; D and solo D"
            " of what is to be looked at are parts of the paired, and of the solo, frames taken while the FLC was"
            " switching"
        )
    if any(minute.at_us is None or not minute.names for minute in found.minutes) or found.targets[-1].name is None:
        lines.append("  ?: unknown; a file in quarantine may tell no time and no target")
    return lines


def _files(found: "Summary") -> list[str]:
    """Return the files in quarantine, those that lost frames, and those of which something is unexpected."""
    lines = []
    if found.quarantine:
        lines += ["", f"quarantine: {counted(len(found.quarantine), 'file')}"]
        lines += _listed([f"{file.name}: {file.reason}" for file in found.quarantine], "see the view `quarantine`, or")
    if found.salvaged:
        lines += ["", f"salvaged: {counted(len(found.salvaged), 'raw file')}"]
        lines += _listed(
            [f"{file.name}: {file.lost} of {counted(file.frames, 'frame')} lost" for file in found.salvaged]
        )
    if found.unexpected:
        lines += ["", "unexpected:"]
        lines += _listed([f"{_unexpected(each)}: {some_of(each.files, 3)}" for each in found.unexpected])
    return lines


def _listed(texts: Sequence[str], where: str = "see") -> list[str]:
    lines = [f"  {text}" for text in texts[:LISTED]]
    return lines + [f"  and {len(texts) - LISTED} more: {where} --json"] * (len(texts) > LISTED)


def _equation(found: "Summary") -> list[str]:
    balance, width = found.balance, len(str(max(found.balance.frames, found.balance.accounted)))
    unknown = f", {balance.unknown_files} of them of unknown length" if balance.unknown_files else ""
    terms = [
        (sum(balance.in_products.values()), "in products"),
        (balance.quarantined, f"quarantined: {counted(balance.quarantined_files, 'raw file')}{unknown}"),
        (balance.lost, f"lost: {counted(balance.lost_files, 'salvaged raw file')}"),
        (balance.not_synced, f"not yet synced: {counted(balance.not_synced_files, 'raw file')}"),
    ]
    total, *others = [f"{sign} {n:>{width}} {what}" for sign, (n, what) in zip("=+++", terms, strict=True)]
    indent = " " * (width + 5)
    padding = " " * (width - len(str(balance.frames)))
    put_aside = f", {balance.quarantined_files} of them in quarantine" if balance.quarantined_files else ""
    lines = [
        f"  {padding}{counted(balance.frames, 'frame')} in {counted(balance.raw_files, 'raw file')}{put_aside}",
        total,
    ]
    lines += [f"{indent}{line}" for line in _classes(found)]
    lines += others
    if balance.holds:
        left_out = f", except those of {counted(balance.unknown_files, 'file')} in quarantine of unknown length"
        return [*lines, f"The sum holds: every frame is accounted for{left_out if balance.unknown_files else ''}."]
    difference = balance.frames - balance.accounted
    where = f"; astray: {some_of(balance.astray, 5)}" if balance.astray else ""
    is_or_are = "is" if difference == 1 else "are"
    how = (
        f"{counted(difference, 'frame')} {is_or_are} nowhere"
        if difference >= 0
        else f"{counted(-difference, 'frame')} too many"
    )
    return [*lines, f"THE SUM DOES NOT HOLD: {how}{where}; run `ledger audit`, which says what to do"]


def _classes(found: "Summary") -> list[str]:
    """Return the frames in products by class, and how many of each are dubious."""
    balance = found.balance
    paired = [f"{word} {balance.in_products[kind]}" for kind, word in PAIRED.items() if balance.in_products.get(kind)]
    lines = [f"paired: {', '.join(paired)}"] if paired else []
    for name in classes_of(found.cameras):
        if name not in PAIRED and (n := balance.in_products.get(name)):
            dubious = balance.dubious.get(name)
            lines.append(f"{class_heading(name)}: {n}" + (f", of these D {dubious}" if dubious else ""))
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
        looks.append(f"{counted(len(found.outside), 'file')} outside may hold frames")
    if marked:
        named = [f"{target.name} ({', '.join(target.marks().values())})" for target in marked]
        needs = "needs" if len(marked) == 1 else "need"
        more = f" and {len(named) - LISTED_TARGETS} more: see --json" if len(named) > LISTED_TARGETS else ""
        names = ", ".join(named[:LISTED_TARGETS]) + more
        looks.append(f"{len(marked)} of {counted(len(known), 'target')} {needs} a look: {names}")
    if minutes := _other_minutes(found, marked):
        needs = "needs" if len(minutes) == 1 else "need"
        other = " of other targets" if marked else ""
        clocks = some_of([clock(minute.at_us) for minute in minutes], 5)
        looks.append(f"{counted(len(minutes), 'minute')}{other} {needs} a look: {clocks} UT")
    looks += [
        f"files of unknown target: {', '.join(t.marks().values())}" for t in found.targets[len(known) :] if t.marks()
    ]
    looks += map(_unexpected, found.unexpected[:LISTED])
    if not found.is_judged:
        return "; ".join([_not_yet(found), *looks])
    if any(sum_of(target.frames, "not_paired") for target in found.targets):
        looks.append("not judged whether a camera lacks frames: see `not paired`")
    return "; ".join(looks) if looks else f"Nothing unexpected in {counted(len(known), 'target')}."


def _other_minutes(found: "Summary", marked: Sequence[Target]) -> list[Minute]:
    """Return the minutes with marks that no target has as a whole: few among its many."""
    names = {target.name for target in marked}
    return [
        minute
        for minute in found.minutes
        if minute.marks()
        and not minute.targets & names
        and not (None in minute.targets and set(minute.marks()) == {QUARANTINED})  # listed as files of unknown target
    ]


def _not_yet(found: "Summary") -> str:
    balance = found.balance
    waiting = []
    if balance.not_synced_files:
        waiting.append(
            f"{counted(balance.not_synced, 'frame')} {'is' if balance.not_synced == 1 else 'are'} not synced"
        )
    if found.unregistered:
        is_or_are = "is" if found.unregistered == 1 else "are"
        waiting.append(f"{counted(found.unregistered, 'raw file')} {is_or_are} not registered")
    return f"not yet judged: {', '.join(waiting)}; next: ledger advance {found.named}"


def class_heading(name: str) -> str:
    """Return what a class of frames is called."""
    word = PAIRED.get(name)
    if word is None:
        return name.replace("_", " ")
    return f"paired, {word}" if " " in word else f"paired {word}"


def _unexpected(found: "Unexpected") -> str:
    return f"{counted(len(found.files), 'raw file')} {found.what}"


def some_of(words: Sequence[str], n: int = 2) -> str:
    """Return some words of a list, and how many more there are."""
    return ", ".join(words[:n]) + (f" +{len(words) - n}" if len(words) > n else "")


def clock(time_us: int | None, zone: timedelta = timedelta(), date: str = "") -> str:
    """Return the time of day; with the day, where that is not `date`."""
    if time_us is None:
        return "?"
    then = when(time_us, zone)
    return f"{then:%H:%M}" if date in ("", f"{then:%Y%m%d}") else f"{then:%Y-%m-%d %H:%M}"
