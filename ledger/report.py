"""What a run says while it works, and what it found when it ends."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ledger.text import counted


@dataclass(slots=True)
class Phase:
    """A phase of a run: what is to be done, and how much of it was.

    Attributes
    ----------
    name : str
        The states that files are to reach, or a verb.
    total : int
        How many files.
    size_bytes : int or None
        Of all of them, if bytes are what takes the time.
    night : str
        Of which it is, of several.
    done : int
        Files that succeeded.
    """

    name: str
    total: int
    size_bytes: int | None = None
    night: str = ""
    done: int = 0

    @property
    def title(self) -> str:
        """Return what begins, and of which night."""
        return f"{self.night} to {self.name}".strip()

    @property
    def beginning(self) -> str:
        """Return the opening line."""
        size = "" if self.size_bytes is None else f", {self.size_bytes / 1e6:,.1f} MB"
        return f"{self.title}: {counted(self.total, 'file')}{size}"

    @property
    def end(self) -> str:
        """Return the closing line."""
        return f"{self.night} {self.name}: {self.done} of {counted(self.total, 'file')}".lstrip()


class Reporter(Protocol):
    """Where progress is reported: a terminal, a log, or nowhere."""

    def of_night(self, night: str) -> None:
        """Name the night that is next, of several."""

    def phase(self, name: str, total: int, *, size_bytes: int | None = None) -> None:
        """End the phase before, and begin one of `total` items, or of `size_bytes` if bytes are what takes the time."""

    def advance(self, n: int = 1) -> None:
        """Count `n` items of the phase as done: those that succeeded."""

    def carry(self, size_bytes: int) -> None:
        """Count bytes of a phase of bytes as done."""

    def end(self) -> None:
        """End the phase, if there is one, and say what came of it."""

    def say(self, text: str) -> None:
        """Say one thing."""


class Silent:
    """Reports nowhere."""

    def of_night(self, night: str) -> None:
        """Do nothing."""

    def phase(self, name: str, total: int, *, size_bytes: int | None = None) -> None:
        """Do nothing."""

    def advance(self, n: int = 1) -> None:
        """Do nothing."""

    def carry(self, size_bytes: int) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""


@dataclass(slots=True)
class Stop:
    """Set by a signal handler; looked at between files."""

    signal_number: int | None = None

    def is_asked(self) -> bool:
        """Whether a signal asked to stop."""
        return self.signal_number is not None


@dataclass(slots=True)
class Result:
    """What one run did to one night.

    Attributes
    ----------
    pipeline, date : str
        The night.
    moved : Counter
        How many files passed each edge, by its verb.
    registered : int
        Raw files that are new in the ledger.
    quarantined : list
        Raw files that were put aside in this run: name and reason.
    salvaged : list
        Raw files registered in this run of which the end is missing: name, and what is used and lost.
    failed : list
        Files that did not succeed: name and error.
    settled : list
        What was put in order after runs that died.
    remarks : Counter
        Things worth telling, summed over the night.
    notes : list
        What somebody has to do now.
    stopped : str or None
        Why the run ended before its goal.
    command : str
        That the run was of.
    is_short : bool
        Whether it ended because there is too little room.
    is_hindered : bool
        Whether it ended because something is not as it should be: a host is not there, a folder cannot be read.
    is_waiting : bool
        Whether that is only because it is not the time of day.
    states : Counter
        Products in each state at the end.
    """

    pipeline: str
    date: str
    moved: Counter[str] = field(default_factory=Counter)
    registered: int = 0
    quarantined: list[tuple[str, str]] = field(default_factory=list)
    salvaged: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    stopped: str | None = None
    command: str = ""
    is_short: bool = False
    is_hindered: bool = False
    is_waiting: bool = False
    states: Counter[str] = field(default_factory=Counter)

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return bool(self.moved or self.registered or self.quarantined or self.settled)

    @property
    def succeeded(self) -> bool:
        """Whether the goal was reached without a failure; what is quarantined does not count as one."""
        return not self.failed and self.stopped is None

    @property
    def is_in_order(self) -> bool:
        """Whether it succeeded, or only waits for its time of day."""
        return self.succeeded or (self.is_waiting and not self.failed)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "pipeline": self.pipeline,
            "date": self.date,
            "registered": self.registered,
            "moved": dict(self.moved),
            "quarantined": by_file(self.quarantined),
            "salvaged": by_file(self.salvaged, "what"),
            "failed": by_file(self.failed, "error"),
            "settled": self.settled,
            "remarks": dict(sorted(self.remarks.items())),
            "notes": self.notes,
            "stopped": self.stopped,
            "states": dict(self.states),
        }


@dataclass(frozen=True, slots=True)
class Relocated:
    """A night that is on record elsewhere than where the configuration has such nights, or their copies.

    Attributes
    ----------
    pipeline, date : str
        The night.
    before, now : str
        The root, or the destination, on record until now, and that of the configuration.
    faults : list of str
        Why the record was not changed.
    notes : list of str
        What somebody has to do now that it was.
    """

    pipeline: str
    date: str
    before: str
    now: str
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return {
            "pipeline": self.pipeline,
            "date": self.date,
            "from": self.before,
            "to": self.now,
            "faults": self.faults,
            "notes": self.notes,
        }


def by_file(found: Iterable[tuple[str, str]], what: str = "reason") -> list[dict[str, str]]:
    """Return names of files and what was found of each as what JSON can hold; `what` is called so."""
    return [{"file": name, what: text} for name, text in found]
