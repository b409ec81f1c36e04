"""Trouble is told to who wants to know: once a command, and the same not again for some hours."""

import subprocess
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import select
from sqlmodel import col

from ledger import mail
from ledger.config import Config
from ledger.errors import LedgerError, NotReady
from ledger.models import Entry
from ledger.report import Result, counted, printable
from ledger.store import Store

#: Seconds that a command has.
TIMEOUT_S = 60

#: Lines of one alert; what is beyond is counted.
MOST_LINES = 50


class Trouble(NamedTuple):
    """One thing that went wrong."""

    kind: str  # failed, quarantined, space or mismatch
    subject: str  # night, and file if it is of one
    text: str

    def __str__(self) -> str:
        """Return it in one line."""
        return printable(f"{self.kind}: {self.subject}: {self.text}")

    @property
    def key(self) -> str:
        """Return what makes it the same as another one; numbers in the text may have changed."""
        return printable(f"{self.kind} {self.subject}")


def troubles(results: Sequence[Result]) -> Iterator[Trouble]:
    """Yield what went wrong in some runs."""
    for result in results:
        night = f"night {result.date} ({result.pipeline})"
        kind = "mismatch" if result.command == "verify" else "failed"
        for name, error in result.failed:
            yield Trouble(kind, f"{night}, {name}", error)
        for name, reason in result.quarantined:
            yield Trouble("quarantined", f"{night}, {name}", reason)
        if result.is_short and result.stopped:
            yield Trouble("space", night, result.stopped)


def notify(store: Store, config: Config, results: Sequence[Result]) -> int:
    """Tell of what went wrong and was not told lately; return of how many things.

    Raises
    ------
    NotReady
        If nobody could be told.
    """
    found = {t.key: t for t in troubles(results) if t.kind in config.notify.kinds}
    known = _told_lately(store, config) if found else set()
    new = [trouble for key, trouble in found.items() if key not in known]
    if not new:
        return 0
    lines = [str(trouble) for trouble in new[:MOST_LINES]]
    if len(new) > MOST_LINES:
        lines.append(f"and {len(new) - MOST_LINES} more: `ledger status`, `ledger quarantine list`")
    subject = f"{config.instrument.name}: ledger has {counted(len(new), 'problem')}"
    _tell(config, subject, "".join(f"{line}\n" for line in lines))
    with store.recorded("notify", {}) as (session, run_id):
        detail = {"keys": [trouble.key for trouble in new]}
        session.add(Entry(at_us=store.clock(), run_id=run_id, name="alert", event="notified", detail=detail))
    return len(new)


def _told_lately(store: Store, config: Config) -> set[str]:
    since_us = store.clock() - int(config.notify.hours * 3600e6)
    query = select(col(Entry.detail)).where(col(Entry.event) == "notified", col(Entry.at_us) > since_us)
    with store.read() as session:
        return {key for detail in session.execute(query).scalars() for key in detail.get("keys", ())}


def _tell(config: Config, subject: str, text: str) -> None:
    """Tell by each way that is configured.

    Raises
    ------
    NotReady
        If one failed; the others were tried.
    """
    complaints = []
    if config.notify.command:
        try:
            _run(config.notify.command, f"{subject}\n\n{text}")
        except NotReady as exc:
            complaints.append(str(exc))
    if config.notify.recipients:
        try:
            mail.send_text(config, config.notify.recipients, subject, text)
        except LedgerError as exc:
            complaints.append(str(exc))
    if complaints:
        raise NotReady(f"alert not sent: {'; '.join(complaints)}; see notify in the configuration")


def _run(command: Sequence[str], text: str) -> None:
    try:
        done = subprocess.run(list(command), input=text.encode(), capture_output=True, check=False, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise NotReady(f"{command[0]}: {exc}") from exc
    if done.returncode:
        said = done.stderr.decode(errors="backslashreplace").strip()
        raise NotReady(f"{command[0]} ended with {done.returncode} ({printable(said) or 'nothing was said'})")
