"""What pictures of a night show, in words with their numbers; and its tables."""

from collections import Counter
from dataclasses import dataclass

from ledger.pages._settings import Lane
from ledger.pages.night import NightPage
from ledger.pages.pictures import KINDS, frames_of_kind, missing
from ledger.query.counts import MINUTE_US, Target, when
from ledger.query.verdict import clock, some_of
from ledger.text import counted

#: Targets that are listed, and values of a setting that are told.
_TARGETS, _VALUES = 60, 8


@dataclass(frozen=True, slots=True)
class TargetRow:
    """A target: its name, when it was looked at, exposure times, frames, and what of it needs a look."""

    name: str
    times: str
    exposures: str
    frames: int
    marks: str


class Words:
    """A night in words.

    Parameters
    ----------
    night : NightPage
        It.
    """

    def __init__(self, night: NightPage) -> None:
        self._night = night
        self.frames = Counter(
            {kind: n for kind in KINDS if (n := sum(frames_of_kind(m, kind) for m in night.summary.minutes))}
        )

    @property
    def span(self) -> tuple[int, int] | None:
        """Return first and last time of the pictures, whole minutes; None if there is nothing to see."""
        times = [minute.at_us for minute in self._night.summary.minutes if minute.at_us is not None]
        if not times:
            return None
        last_us = max(times[-1] + MINUTE_US, self._night.last_us or 0)
        return min(times[0], self._night.first_us or times[0]) // MINUTE_US * MINUTE_US, last_us

    @property
    def lanes(self) -> list[Lane]:
        """Return the settings that change; the others are told in words."""
        target = self._night.lanes[0].keyword if self._night.lanes else ""
        return [lane for lane in self._night.lanes if len(lane.values) > 1 or lane.keyword == target]

    @property
    def constant(self) -> list[tuple[str, str]]:
        """Return the settings that stay: what they are called, and their value."""
        return [(lane.title, _value(lane.values[0])) for lane in self._night.lanes if lane not in self.lanes]

    @property
    def legend(self) -> list[tuple[str, str, int]]:
        """Return the classes of frames that there are: class of the style, name, frames."""
        return [(kind, KINDS[kind], n) for kind, n in self.frames.items()]

    @property
    def timeline(self) -> str:
        """Say what the timeline shows."""
        span = self.span
        if span is None:
            return "No frames."
        by_kind = ", ".join(f"{n:,} {KINDS[kind]}" for kind, n in self.frames.items())
        days = f"{when(span[0]):%H:%M} to {when(span[1]):%H:%M} UT"
        changes = "; ".join(f"{lane.title}: {_values(lane)}" for lane in self.lanes)
        return f"Frames per minute from {days}: {by_kind}. {changes}."

    @property
    def gaps(self) -> list[str]:
        """Return the longest times without a frame, in order."""
        longest = sorted(self._night.gaps, key=lambda gap: gap[0] - gap[1])[:12]
        return [f"{clock(a)} to {clock(b)} ({round((b - a) / MINUTE_US)} min)" for a, b in sorted(longest)]

    @property
    def sample(self) -> str:
        """Say of how many groups times were read."""
        timings = self._night.timings
        if not timings.groups:
            return "No products yet, so no times of pairs."
        said = f"Times of frames are of {timings.read} of {counted(timings.groups, 'group')}, at regular places"
        unread = timings.looked_at - timings.read
        return f"{said}; timing files of {unread} could not be read: {timings.fault}" if unread else f"{said}."

    @property
    def offsets(self) -> str:
        """Say what the picture of offsets shows."""
        found = self._night.timings.offsets
        middles = sorted(each.offset_us for each in found)
        widest = max(max(-each.low_us, each.high_us) for each in found)
        pairs = sum(each.pairs for each in found)
        first, second = self._night.summary.cameras[:2]
        return (
            f"Offset of camera {second} against camera {first}: {middles[0]:,.1f} to {middles[-1]:,.1f} µs, median"
            f" {middles[len(middles) // 2]:,.1f} µs; 90 % of the residuals of each group are within {widest:,.1f} µs."
            f" {pairs:,} pairs in {counted(len(found), 'group')}."
        ).replace("-", "\N{MINUS SIGN}")

    @property
    def lacks(self) -> bool:
        """Whether a camera lacks frames that the other one has."""
        return bool(self.frames["unpaired"])

    @property
    def dropped(self) -> str:
        """Say which triggers left no frame."""
        night = self._night
        if len(night.summary.cameras) != 2:
            return "Dropped triggers show only where two cameras took frames."
        first, second = night.summary.cameras
        n = Counter[str]()
        for minute in night.summary.minutes:
            n += minute.frames
        if not self.lacks:
            return "No frame lacks its partner: no camera alone has dropped a trigger."
        worst = max(night.summary.minutes, key=lambda m: max(missing(m, (first, second))))
        return (
            f"Camera {first} lacks {n[f'unpaired_{second}']:,} frames, camera {second} {n[f'unpaired_{first}']:,};"
            f" most in the minute {clock(worst.at_us)} UT ({max(missing(worst, (first, second))):.1%} of its triggers)."
        )

    @property
    def fold(self) -> str:
        """Say what the picture of the FLC's gaps shows."""
        found = self._night.timings.fold
        if found is None:
            read = self._night.timings.read
            return (
                "The FLC was not switching in the groups that were read." if read else "No times of frames were read."
            )
        parts = [
            f"{state}: {before:+,.0f} µs before, {after:+,.0f} µs after ({found.frames[state]:,} frames)"
            for state, (before, after) in found.middle_us.items()
            if state != "D"
        ]
        parts += [f"dubious: {found.frames['D']:,} frames"] if found.frames["D"] else []
        apart = ""
        if {"A", "B"} <= found.middle_us.keys():
            distance = abs(found.middle_us["A"][1] - found.middle_us["B"][1])
            apart = f" The gaps after A and after B are {distance:,.0f} µs apart."
        return f"Medians of the gaps, less the period. {'; '.join(parts)}.{apart}".replace("-", "\N{MINUS SIGN}")

    @property
    def targets(self) -> list[TargetRow]:
        """Return the targets in the order in which they were first looked at."""
        times: dict[str | None, list[int]] = {}
        for minute in self._night.summary.minutes:
            for name in minute.targets if minute.at_us is not None else ():
                times.setdefault(name, []).append(minute.at_us or 0)
        return [_target(target, times.get(target.name, [])) for target in self._night.summary.targets[:_TARGETS]]

    @property
    def more_targets(self) -> int:
        """Return how many targets are not listed."""
        return max(0, len(self._night.summary.targets) - _TARGETS)

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all products that have a proven copy."""
        return max((proof.size_bytes for proof in self._night.archive.proofs), default=0)


def _target(target: Target, times: list[int]) -> TargetRow:
    span = f"{clock(min(times))} to {clock(max(times) + MINUTE_US)}" if times else "?"
    exposures = some_of([f"{exposure_us / 1000:g} ms" for exposure_us in sorted(target.exposures_us)], 4)
    marks = ", ".join(target.marks().values())
    return TargetRow(target.name or "unknown", span, exposures, target.frames.total(), marks)


def _values(lane: Lane) -> str:
    return some_of([_value(value) for value in lane.values], _VALUES)


def _value(value: str | float) -> str:
    return f"{value:g}" if isinstance(value, float) else value
