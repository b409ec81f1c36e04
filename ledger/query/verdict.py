"""Whether a night is as expected, in words; and the words for classes, times and lists."""

from collections.abc import Sequence
from datetime import timedelta

from ledger.query.counts import QUARANTINED, Minute, Target, sum_of, when
from ledger.query.summary import Summary, Unexpected
from ledger.text import counted

#: Files in quarantine and salvaged files that are listed for people; JSON has all.
LISTED = 12

#: Targets that are named for people, in the table and in the verdict; JSON has all.
LISTED_TARGETS = 20

#: What paired frames are called by the state of the FLC.
PAIRED = {"paired_A": "A", "paired_B": "B", "paired_D": "D", "paired_none": "no FLC"}


def verdict(found: Summary) -> str:
    """Return in one line whether the night is as expected."""
    n_targets = sum(target.name is not None for target in found.targets)
    return "; ".join(looks(found)) or f"Nothing unexpected in {counted(n_targets, 'target')}."


def looks(found: Summary) -> list[str]:
    """Return what of a night needs a look; first, that it is not yet judged, if so."""
    known = [target for target in found.targets if target.name is not None]
    marked = [target for target in known if target.marks()]
    words = [] if found.is_judged else [_not_yet(found)]
    if not found.balance.holds:
        words.append("the sum does not hold")
    if found.outside:
        words.append(f"{counted(len(found.outside), 'file')} outside may hold frames")
    if marked:
        named = [f"{target.name} ({', '.join(target.marks().values())})" for target in marked]
        needs = "needs" if len(marked) == 1 else "need"
        more = f" and {len(named) - LISTED_TARGETS} more: see --json" if len(named) > LISTED_TARGETS else ""
        names = ", ".join(named[:LISTED_TARGETS]) + more
        words.append(f"{len(marked)} of {counted(len(known), 'target')} {needs} a look: {names}")
    if minutes := _other_minutes(found, marked):
        needs = "needs" if len(minutes) == 1 else "need"
        other = " of other targets" if marked else ""
        clocks = some_of([clock(minute.at_us) for minute in minutes], 5)
        words.append(f"{counted(len(minutes), 'minute')}{other} {needs} a look: {clocks} UT")
    words += [
        f"files of unknown target: {', '.join(t.marks().values())}" for t in found.targets[len(known) :] if t.marks()
    ]
    words += map(unexpected_words, found.unexpected[:LISTED])
    if found.is_judged and any(sum_of(target.frames, "not_paired") for target in found.targets):
        words.append("not judged whether a camera lacks frames: see `not paired`")
    return words


def _other_minutes(found: Summary, marked: Sequence[Target]) -> list[Minute]:
    """Return the minutes with marks that no target has as a whole: few among its many."""
    names = {target.name for target in marked}
    return [
        minute
        for minute in found.minutes
        if minute.marks()
        and not minute.targets & names
        and not (None in minute.targets and set(minute.marks()) == {QUARANTINED})  # listed as files of unknown target
    ]


def _not_yet(found: Summary) -> str:
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


def unexpected_words(found: Unexpected) -> str:
    """Return what is unexpected of how many raw files."""
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
