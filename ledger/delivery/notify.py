"""Alerts: each new problem once a command, and the same not again for some hours."""

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import select
from sqlmodel import col

from ledger import log
from ledger.config.model import Config
from ledger.db.models import Entry
from ledger.db.store import Store
from ledger.delivery import mail
from ledger.errors import LedgerError, NotReady
from ledger.report import Result
from ledger.text import alike, counted, printable

#: Seconds that a command has.
TIMEOUT_S = 60

#: Lines of one alert; what is beyond is counted.
MOST_LINES = 50


class Trouble(NamedTuple):
    """One thing that went wrong."""

    kind: str  # of notify.kinds
    where: str  # a night, or a receipt
    name: str  # of the file or product; empty if it is of none
    text: str

    @property
    def key(self) -> str:
        """Return what makes it the same as another one; numbers in the text may have changed."""
        return printable(f"{self.kind} {', '.join(filter(None, (self.where, self.name)))}")


def troubles(results: Sequence[Result]) -> Iterator[Trouble]:
    """Yield what went wrong in some runs."""
    for result in results:
        night = f"night {result.date} ({result.pipeline})"
        kind = "mismatch" if result.command == "verify" else "failed"
        for name, error in result.failed:
            yield Trouble(kind, night, name, error)
        for name, reason in result.quarantined:
            yield Trouble("quarantined", night, name, reason)
        if result.stopped and (result.is_short or result.is_hindered):
            yield Trouble("space" if result.is_short else "failed", night, "", result.stopped)


def contradictions(receipt: str, differing: Sequence[tuple[str, str]]) -> Iterator[Trouble]:
    """Yield what a receipt has otherwise than it is on record: frame IDs, and what."""
    for frame_id, what in differing:
        yield Trouble("mismatch", f"receipt {receipt}", frame_id, what)


def notify(store: Store, config: Config, found: Iterable[Trouble]) -> int:
    """Send one alert of the problems that were not in an alert lately; return how many.

    Raises
    ------
    NotReady
        If it could not be sent.
    """
    by_key = {t.key: t for t in found if t.kind in config.notify.kinds}
    known = alerted_lately(store, config.notify.hours) if by_key else set()
    new = [trouble for key, trouble in by_key.items() if key not in known]
    if not new:
        return 0
    subject = f"{config.instrument.name}: ledger has {counted(len(new), 'problem')}"
    _send(config, subject, "".join(f"{line}\n" for line in _lines(new)))
    with store.recorded("notify", {}) as (session, run_id):
        detail = {"keys": [trouble.key for trouble in new]}
        session.add(Entry(at_us=store.clock(), run_id=run_id, name="alert", event="notified", detail=detail))
    return len(new)


def _lines(found: Sequence[Trouble]) -> list[str]:
    """Return lines for people: one for all products with the same problem."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for trouble in found:
        groups.setdefault((trouble.kind, trouble.where), []).append((trouble.name, trouble.text))
    lines = [
        printable(f"{kind}: {', '.join(filter(None, (where, name)))}: {text}")
        for (kind, where), alerts in groups.items()
        for name, text in alike(alerts)
    ]
    more = len(lines) - MOST_LINES
    return lines if more <= 0 else [*lines[:MOST_LINES], f"and {more} more: `ledger status`, `ledger quarantine list`"]


def alerted_lately(store: Store, hours: float) -> set[str]:
    """Return the keys of troubles that were in an alert within some hours."""
    now_us, apart_us = store.clock(), int(hours * 3600e6)
    lately = (col(Entry.at_us) > now_us - apart_us, col(Entry.at_us) < now_us + apart_us)  # a clock may go back
    query = select(col(Entry.detail)).where(col(Entry.event) == "notified", *lately)
    with store.read() as session:
        return {key for detail in session.execute(query).scalars() for key in detail.get("keys", ())}


def _send(config: Config, subject: str, text: str) -> None:
    """Send it in each way that is configured.

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
        else:
            log.write(f"alert {subject!r} is given to {config.notify.command[0]}", event="alert")
    if config.notify.recipients:
        try:
            mail.send_text(config, config.notify.recipients, subject, text)
        except LedgerError as exc:
            complaints.append(str(exc))
    if complaints:
        raise NotReady(f"alert not sent: {'; '.join(complaints)}; see notify in the configuration")


def _run(command: Sequence[str], text: str) -> None:
    try:
        status, stderr = mail.piped(command, text.encode(), TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise NotReady(f"{command[0]}: {exc}") from exc
    if status:
        said = stderr.decode(errors="backslashreplace").strip()
        raise NotReady(f"{command[0]} ended with {status} ({printable(said) or 'nothing was said'})")
