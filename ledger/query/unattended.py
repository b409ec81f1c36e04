"""When `catch-up` ran last and how it ended, and all of it in one line for monitors. Reads only."""

import json
import socket
from dataclasses import dataclass
from typing import Literal

from ledger.clock import show_us
from ledger.config.model import Config
from ledger.db.processes import is_gone
from ledger.night.pipeline import Pipeline
from ledger.query import _questions as ask
from ledger.query.standing import standing_still
from ledger.text import counted

#: How a catch-up ended that did not end with a problem: in order, and because another process had the database.
IN_ORDER, BUSY = 0, 75

#: As it is on record for one that was killed.
_DIED = -1


@dataclass(frozen=True, slots=True)
class LastCatchUp:
    """The newest catch-up on record.

    Attributes
    ----------
    began_us, ended_us : int or None
        When (UNIX, microseconds); with no end it still runs, or was killed.
    exit_status : int or None
        How it ended.
    host : str
        Where it ran.
    at_work_us : int or None
        When any catch-up began anything, itself or a night.
    """

    began_us: int | None = None
    ended_us: int | None = None
    exit_status: int | None = None
    host: str = ""
    at_work_us: int | None = None

    @property
    def has_problem(self) -> bool:
        """Whether it ended otherwise than in order."""
        return self.exit_status not in (None, IN_ORDER, BUSY)

    @property
    def words(self) -> str:
        """Return it in words."""
        if self.began_us is None:
            return "catch-up has not run yet"
        if self.ended_us is None:
            return f"catch-up began last at {show_us(self.began_us)} UT on {self.host}: it runs, or was killed"
        how = {IN_ORDER: "ended in order", _DIED: "was killed"}.get(self.exit_status or IN_ORDER)
        how = how or f"ended with {self.exit_status}"
        return f"catch-up ran last at {show_us(self.began_us)} UT on {self.host}, and {how}"


def last_catch_up(config: Config) -> LastCatchUp:
    """Return the newest catch-up on record.

    Raises
    ------
    UsageError
        If there is no ledger.
    """
    reader = ask.open_ledger(config)
    try:
        row, at_work_us = ask.last_catch_up(reader), ask.catch_up_at_work_us(reader)
    finally:
        reader.close()
    return LastCatchUp(at_work_us=at_work_us) if row is None else LastCatchUp(*row, at_work_us)


def run_in_words(
    number: int, command: str, date: str | None, outcome: str, started_us: int, host: str, begun_by: str | None
) -> str:
    """Return which run it is, how it stands, and since when, where and by whom, in words."""
    night = f", night {date}" if date else ""
    by = f" by {begun_by}" if begun_by else ""
    return f"run {number} ({command}{night}): {outcome}; began {show_us(started_us)} UT on {host}{by}"


def at_work(config: Config) -> list[str]:
    """Return the runs that work now, in words, the newest first.

    Raises
    ------
    UsageError
        If there is no ledger.
    """
    reader = ask.open_ledger(config)
    try:
        rows = ask.unended(reader)
    finally:
        reader.close()
    found = []
    for number, command, arguments, host, boot, pid, started_us, begun_by in rows:
        if is_gone(host, boot, pid):
            continue
        date = (json.loads(arguments) if isinstance(arguments, str) else arguments).get("date")
        stands = "works" if host == socket.gethostname() else "works, or was killed"
        words = run_in_words(number, command, date, stands, started_us, host, begun_by)
        found.append(f"{words}; `ledger watch {number}`")
    return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a monitor is told.

    Attributes
    ----------
    exit_status : {0, 1, 2}
        In order; somebody is needed; stale.
    text : str
        In a line.
    """

    exit_status: Literal[0, 1, 2]
    text: str


def check(config: Config, pipelines: dict[str, Pipeline], now_us: int) -> Verdict:
    """Return whether all is in order, for monitors.

    Raises
    ------
    LedgerError
        If something cannot be read.
    """
    last = last_catch_up(config)
    found = standing_still(config, pipelines, now_us)
    needed = ""
    if found:
        first, more = found[0], len(found) - 1
        needed = f"{first.why}: {', '.join(filter(None, (first.where, first.folder)))}: {first.text}: {first.remedy}"
        needed += f"; and {counted(more, 'more problem')}: `ledger doctor`" if more else ""
    elif last.has_problem:
        needed = f"failed: {last.words}: the log says why"
    stale_us = config.notify.stalled_hours * 3600e6
    if last.at_work_us is None or now_us - last.at_work_us > stale_us:
        return Verdict(2, f"stale: {last.words}" + (f"; {needed}" if needed else ""))
    return Verdict(1, needed) if needed else Verdict(0, f"in order: {last.words}")
