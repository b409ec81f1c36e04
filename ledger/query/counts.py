"""Frames of a night counted by class, for each of its minutes and targets, and what of it is unexpected."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

#: Fractions of frames from which on a minute is marked. Both measure what a sound night does not have; 1 % is the
#: instrument scientist's choice, and no product depends on it.
DUBIOUS_LIMIT = UNPAIRED_LIMIT = 0.01

#: Hawaiian standard time is UT - 10 h, all the year (docs/design.md, A raw night).
HST = timedelta(hours=-10)

MINUTE_US = 60_000_000
NOT_SYNCED, QUARANTINED, LOST = "not_synced", "quarantined", "lost"
PAIRED = ("paired_A", "paired_B", "paired_D", "paired_none")


def classes_of(cameras: Iterable[int]) -> tuple[str, ...]:
    """Return the classes that frames are counted in, in the order in which they are shown.

    Frames are `not_paired` if it is not known whether they are unpaired or solo.
    """
    by_camera = [f"{kind}_{camera}" for kind in ("unpaired", "solo", "not_paired") for camera in sorted(cameras)]
    return (*PAIRED, *by_camera, NOT_SYNCED, QUARANTINED, LOST)


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames of one file that count together.

    Attributes
    ----------
    at_us : int or None
        When they begin, UNIX, microseconds; None if that is not known.
    kind : str
        One of :func:`classes_of`.
    n_frames : int
        How many.
    flc : str or None
        State of the FLC; None if it was not switching, or it is not known yet.
    settings : tuple of (str or None, int or None)
        Each target and exposure time (microseconds) that the frames have.
    """

    at_us: int | None
    kind: str
    n_frames: int
    flc: str | None = None
    settings: tuple[tuple[str | None, int | None], ...] = ()


@dataclass(slots=True, kw_only=True)
class Tally:
    """Frames that count together, those of one minute or of one target.

    Attributes
    ----------
    exposures_us : set of int
        Exposure times, microseconds.
    frames : mapping of str to int
        By class, of both cameras.
    states : mapping of (str, str) to int
        Frames taken while the FLC was switching, by class and state of the FLC.
    quarantined_files : int
        Raw files and products in quarantine.
    """

    exposures_us: set[int] = field(default_factory=set)
    frames: Counter[str] = field(default_factory=Counter)
    states: Counter[tuple[str, str]] = field(default_factory=Counter)
    quarantined_files: int = 0

    def add(self, piece: Piece) -> None:
        """Count frames."""
        self.exposures_us |= {exposure_us for _, exposure_us in piece.settings if exposure_us is not None}
        self.frames[piece.kind] += piece.n_frames
        self.quarantined_files += piece.kind == QUARANTINED
        if piece.flc is not None:
            self.states[piece.kind, piece.flc] += piece.n_frames

    @property
    def dubious(self) -> dict[str, int]:
        """Return the frames of dubious state, by class."""
        return {kind: n for (kind, flc), n in self.states.items() if flc == "D" and n}

    @property
    def dubious_fraction(self) -> float:
        """Return how many of the paired frames taken while the FLC was switching are dubious, from 0 to 1."""
        return fraction(self.frames["paired_D"], self.frames["paired_A"] + self.frames["paired_B"])

    @property
    def solo_dubious_fraction(self) -> float:
        """Return how many of the solo frames taken while the FLC was switching are dubious, from 0 to 1."""
        solo = [(flc, n) for (kind, flc), n in self.states.items() if kind.startswith("solo_")]
        return fraction(sum(n for flc, n in solo if flc == "D"), sum(n for flc, n in solo if flc != "D"))

    @property
    def unpaired_fraction(self) -> float:
        """Return how many of the triggered frames, where both cameras ran, have no partner, from 0 to 1."""
        paired, unpaired = (sum_of(self.frames, kind) for kind in ("paired", "unpaired"))
        return fraction(unpaired, paired)

    def marks(self) -> dict[str, str]:
        """Return what is unexpected, by kind, with how much of it there is."""
        found = {}
        dubious = {"D": self.dubious_fraction, "solo D": self.solo_dubious_fraction}
        if parts := [f"{word} {part:.1%}" for word, part in dubious.items() if part > DUBIOUS_LIMIT]:
            found["D"] = ", ".join(parts)
        if self.unpaired_fraction > UNPAIRED_LIMIT:
            found["unpaired"] = f"unpaired {self.unpaired_fraction:.1%}"
        if self.quarantined_files:
            found[QUARANTINED] = f"quarantined {self.quarantined_files}"
        if self.frames[LOST]:
            found[LOST] = f"lost {self.frames[LOST]}"
        return found

    def as_json(self, classes: Iterable[str]) -> dict[str, Any]:
        """Return it as what JSON can hold: every class, whether or not there are frames of it."""
        dubious = self.dubious
        return {
            "exposures_us": sorted(self.exposures_us),
            "frames": {name: self.frames[name] for name in classes},
            "dubious": {name: dubious.get(name, 0) for name in classes},
            "quarantined_files": self.quarantined_files,
            "dubious_fraction": self.dubious_fraction,
            "solo_dubious_fraction": self.solo_dubious_fraction,
            "unpaired_fraction": self.unpaired_fraction,
            "marks": list(self.marks()),
        }


@dataclass(slots=True)
class Minute(Tally):
    """One minute of a night.

    Attributes
    ----------
    at_us : int or None
        Its begin, UNIX, microseconds; None for files of which no time is known.
    targets : set of (str or None)
        What was looked at; None stands for files that do not tell.
    """

    at_us: int | None
    targets: set[str | None] = field(default_factory=set)

    @property
    def names(self) -> list[str]:
        """Return the targets that are known, in order."""
        return sorted(target for target in self.targets if target is not None)


@dataclass(slots=True)
class Target(Tally):
    """All of a night that was taken of one target.

    Attributes
    ----------
    name : str or None
        Of the target, or of several if a product has frames of several; None for files that do not tell.
    """

    name: str | None


def minutes_of(pieces: Iterable[Piece]) -> tuple[Minute, ...]:
    """Return the minutes in which something begins, in order; what has no time comes last."""
    found: dict[int | None, Minute] = {}
    for piece in pieces:
        at_us = None if piece.at_us is None else piece.at_us - piece.at_us % MINUTE_US
        minute = found.setdefault(at_us, Minute(at_us))
        minute.add(piece)
        minute.targets |= {target for target, _ in piece.settings} or {None}
    return tuple(sorted(found.values(), key=lambda minute: _none_last(minute.at_us)))


def targets_of(pieces: Iterable[Piece]) -> tuple[Target, ...]:
    """Return the targets in the order in which they were first looked at; what tells no target comes last."""
    found: dict[str | None, Target] = {}
    for piece in sorted(pieces, key=lambda piece: _none_last(piece.at_us)):
        name = ", ".join(sorted({target for target, _ in piece.settings if target})) or None
        found.setdefault(name, Target(name)).add(piece)
    return tuple(sorted(found.values(), key=lambda target: target.name is None))


def sum_of(frames: Mapping[str, int], kind: str) -> int:
    """Return the frames of a kind, of whatever camera or state."""
    return sum(n for name, n in frames.items() if name.startswith(f"{kind}_"))


def fraction(part: int, rest: int) -> float:
    """Return what part of a whole something is, from 0 to 1; of nothing, 0."""
    return part / (part + rest) if part else 0.0


def _none_last(time_us: int | None) -> tuple[bool, int]:
    return time_us is None, time_us or 0


def when(time_us: int, zone: timedelta = timedelta()) -> datetime:
    """Return a UNIX time in microseconds as the time of a zone."""
    return datetime.fromtimestamp(time_us / 1e6, tz=UTC) + zone


def iso(time_us: int | None, zone: timedelta = timedelta()) -> str | None:
    """Return a minute as text for programs."""
    return None if time_us is None else f"{when(time_us, zone):%Y-%m-%dT%H:%M}"
