"""Alerts: each new problem once a command, and the same not again for some hours."""

import json
import logging
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select
from sqlmodel import col

from ledger import log
from ledger.config.model import Config
from ledger.db.models import Entry
from ledger.db.store import Store
from ledger.delivery import mail
from ledger.disk import durable
from ledger.errors import LedgerError, NotReady
from ledger.query.standing import Still
from ledger.report import Result
from ledger.text import alike, counted, printable
from stages.base import TEMPORARY_PREFIX

#: Seconds that a command has.
TIMEOUT_S = 60

#: Lines of one alert; what is beyond is counted.
MOST_LINES = 50


class Trouble(NamedTuple):
    """One thing that went wrong."""

    kind: str  # of `ledger.config.blocks.AlertKind`
    where: str  # a night, a root, a receipt, or a command
    name: str  # of the file, product or folder; empty if it is of none
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
        elif result.stopped and not (result.is_waiting or result.failed):  # what failed says why it stopped
            yield Trouble("stopped", night, "", result.stopped)


def standing(found: Iterable[Still]) -> Iterator[Trouble]:
    """Yield what stands still."""
    for still in found:
        yield Trouble(still.why, still.where, still.folder, f"{still.text}: {still.remedy}")


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
    by_key = _by_key(config, found)
    known = alerted_lately(store, config.notify.hours) if by_key else set()
    new = [trouble for key, trouble in by_key.items() if key not in known]
    if not new:
        return 0
    _alert(config, new)
    with store.recorded("notify", {}) as (session, run_id):
        detail = {"keys": [trouble.key for trouble in new]}
        session.add(Entry(at_us=store.clock(), run_id=run_id, name="alert", event="notified", detail=detail))
    return len(new)


def notify_without_database(config: Config, found: Iterable[Trouble], now_us: int) -> int:
    """Do as `notify` where there is no database: what was in an alert is kept in a file beside the log.

    Raises
    ------
    NotReady
        If it could not be sent.
    """
    path = config.log.with_name(f"{config.log.name}.alerts")
    kept = {key: at_us for key, at_us in _read_kept(path).items() if _is_lately(config, at_us, now_us)}
    new = [trouble for key, trouble in _by_key(config, found).items() if key not in kept]
    if not new:
        return 0
    _alert(config, new)
    content = json.dumps({**kept, **{trouble.key: now_us for trouble in new}}, indent=2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write_file(path, content.encode(), path.with_name(f"{TEMPORARY_PREFIX}{path.name}"), None)
    except OSError as exc:  # then it is told again next time
        log.write(f"{path}: cannot be written ({exc.strerror})", level=logging.ERROR, event="alert_not_kept")
    return len(new)


def _read_kept(path: Path) -> dict[str, int]:
    """Return when problems were in an alert, by their keys; nothing of a file that is not ours or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return {key: at for key, at in found.items() if isinstance(at, int)} if isinstance(found, Mapping) else {}


def _by_key(config: Config, found: Iterable[Trouble]) -> dict[str, Trouble]:
    return {trouble.key: trouble for trouble in found if trouble.kind in config.notify.kinds}


def _alert(config: Config, found: Sequence[Trouble]) -> None:
    text = "".join(f"{line}\n" for line in _lines(found))
    if complaints := [sent.error for sent in send(config, f"has {counted(len(found), 'problem')}", text) if sent.error]:
        raise NotReady(f"alert not sent: {'; '.join(complaints)}; see notify in the configuration")


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


def _apart_us(config: Config) -> int:
    return int(config.notify.hours * 3600e6)


def _is_lately(config: Config, at_us: int, now_us: int) -> bool:
    return abs(at_us - now_us) < _apart_us(config)


class Sent(NamedTuple):
    """What went out in one of the ways that are configured."""

    way: str  # command, mail or heartbeat
    to: str
    error: str | None  # why it did not go out


def send(config: Config, what: str, text: str) -> list[Sent]:
    """Send an alert in each way that is configured; return what went where.

    Parameters
    ----------
    config : Config
        Says where to.
    what : str
        Of the ledger, for the subject, which names instrument and host.
    text : str
        For people.
    """
    subject = f"{config.instrument.name}: ledger on {socket.gethostname()} {what}"
    sent = []
    if command := config.notify.command:
        error = None
        try:
            run(command, f"{subject}\n\n{text}", TIMEOUT_S)
        except NotReady as exc:
            error = str(exc)
        else:
            log.write(f"alert {subject!r} is given to {command[0]}", event="alert")
        sent.append(Sent("command", command[0], error))
    if recipients := config.notify.recipients:
        error = None
        try:
            mail.send_text(config, recipients, subject, text)
        except LedgerError as exc:
            error = str(exc)
        sent.append(Sent("mail", ", ".join(recipients), error))
    return sent


def run(command: Sequence[str], text: str, timeout_s: float) -> None:
    """Run a program that is told something on its standard input.

    Raises
    ------
    NotReady
        If it cannot be run, does not end in time, or fails.
    """
    try:
        status, stderr = mail.piped(command, text.encode(), timeout_s)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise NotReady(f"{command[0]}: {exc}") from exc
    if status:
        said = stderr.decode(errors="backslashreplace").strip()
        raise NotReady(f"{command[0]} ended with {status} ({printable(said) or 'nothing was said'})")
