"""The manifest of one or more nights, for people: what is in it, what is missing, and that it is mailed once."""

import hashlib
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import select, update
from sqlmodel import col

from ledger.clock import show_us
from ledger.db.models import Entry, Mail, MailLine, Manifest, ManifestLine, Night
from ledger.db.store import Store, insert_many
from ledger.delivery import mail
from ledger.delivery.moved import listed_elsewhere
from ledger.disk import durable
from ledger.disk.access import writing
from ledger.disk.nights import NightFolder
from ledger.errors import NotReady, UsageError, translated
from ledger.night import record
from ledger.night.given_out import mailed, refuse_untold, taken_for
from ledger.night.progress import unproven
from ledger.run.machine import Machine
from ledger.run.steps import Steps
from ledger.text import counted
from stages.base import TEMPORARY_PREFIX
from stages.base import ManifestLine as Line
from stages.manifested import encode, manifest_name

#: Products that are named one by one where several are missing.
MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Listing:
    """A manifest of one or more nights.

    Attributes
    ----------
    dates : tuple of str
        Of the nights, in order.
    name : str
        Of the file.
    lines : tuple of Line
        In the order of frame IDs.
    missing : str
        What is not in it, for people; empty if everything is.
    """

    dates: tuple[str, ...]
    name: str
    lines: tuple[Line, ...]
    missing: str

    @property
    def content(self) -> bytes:
        """Return the bytes of the file."""
        with translated():
            return encode(self.lines)

    @property
    def size_bytes(self) -> int:
        """Return how many bytes the products have."""
        return sum(line.size_bytes for line in self.lines)

    def as_json(self) -> dict[str, Any]:
        """Return its facts as plain values."""
        return {
            "dates": list(self.dates),
            "name": self.name,
            "count": len(self.lines),
            "bytes": self.size_bytes,
            "missing": self.missing,
        }


class AlreadyMailed(UsageError):
    """There is nothing to mail that was not mailed before."""


class _Part(NamedTuple):
    """What a manifest has of one night."""

    steps: Steps
    lines: Sequence[Line]
    lacking: str  # what is missing, for people

    @property
    def date(self) -> str:
        return self.steps.folder.date


@dataclass(frozen=True, slots=True)
class Sent:
    """A manifest that was handed to a transport: its message ID, to whom, and the file if that is what was made."""

    listing: Listing
    message_id: str
    recipients: tuple[str, ...]
    file: Path | None


def write(machine: Machine, folders: Sequence[NightFolder], *, is_partial: bool = False) -> tuple[Listing, Path]:
    """Write the manifest of nights to ``mail.folder``; return it, and the file.

    Raises
    ------
    NotReady
        If a product is not listed yet and `is_partial` is false, or the file cannot be written.
    """
    with _holding(machine, folders) as nights:
        listing = _listing(machine, _parts(machine, nights, is_partial=is_partial))
    folder = machine.config.mail.folder
    path = folder / listing.name
    with writing(path, "set mail.folder"):
        folder.mkdir(parents=True, exist_ok=True)
        durable.write_file(path, listing.content, folder / f"{TEMPORARY_PREFIX}{listing.name}")
    return listing, path


def send(machine: Machine, folders: Sequence[NightFolder], *, is_partial: bool = False, is_again: bool = False) -> Sent:
    """Mail the manifest of nights: the lines that were not mailed before, or with `is_again` all of them.

    The mail is on record before it is handed over, so it is not sent twice even if this process dies meanwhile.

    Raises
    ------
    AlreadyMailed
        If all of it was mailed before.
    UsageError
        If the configuration lacks what the mail needs, or a list of withdrawn products was not sent yet.
    NotReady
        If a product is not listed yet and `is_partial` is false, or is listed where it is not any more, or the mail
        was not sent; then it may be tried again.
        If it was not taken for all recipients, or nobody knows, it may be tried again with `is_again`.
    """
    config, store = machine.config, machine.store
    with _holding(machine, folders) as nights:
        for steps in nights:
            refuse_untold(store, steps.journal.night)
        parts = _parts(machine, nights, is_partial=is_partial)
        listing = _listing(machine, parts)
        if not is_again:
            parts, n_before = _not_mailed(machine, parts)
            listing = _listing(machine, parts, n_before)
        for part in parts:
            if why := listed_elsewhere(part.steps, {line.identity for line in part.lines}):
                raise NotReady(f"the manifest of {part.date} is not mailed: {why}")
        content = listing.content
        message = mail.compose(config, _values(machine, listing, parts), listing.name, content)
        if listing.missing and "{missing" not in config.mail.text + config.mail.subject:
            raise UsageError(
                f"the manifest is partial ({listing.missing}), and no template of the mail says so: expected"
                " {missing} in mail.subject or mail.text"
            )
        row = Mail(
            begun_us=store.clock(),
            message_id=str(message["Message-ID"]),
            transport=config.mail.transport,
            recipients=list(config.mail.recipients),
            dates=list(listing.dates),
            name=listing.name,
            sha256=hashlib.sha256(content).hexdigest(),
            is_partial=bool(listing.missing),
        )
        lease = nights[0].journal.lease
        with store.write(lease.check) as session:
            session.add(row)
            session.flush()
            mail_id = int(row.id or 0)
            insert_many(session, MailLine, _lines_of_mail(mail_id, listing.lines))
        partly, file = None, None
        try:
            file = mail.send(config, message, listing.name)
        except mail.NotSent as exc:
            with store.write() as session:
                session.execute(update(Mail).where(col(Mail.id) == mail_id).values(error=str(exc)))
            raise
        except mail.PartlySent as exc:
            partly = exc
        with store.write() as session:  # sent is sent, whoever holds the nights by now
            at_us, refused = store.clock(), list(partly.refused) if partly else []
            session.execute(update(Mail).where(col(Mail.id) == mail_id).values(sent_us=at_us, refused=refused))
            detail: dict[str, Any] = {
                "message_id": row.message_id,
                "recipients": row.recipients,
                "name": listing.name,
            }
            if file is not None:
                detail["file"] = str(file)
            if refused:
                detail["refused"] = refused
            for steps in (part.steps for part in parts):
                session.add(
                    Entry(
                        at_us=at_us,
                        run_id=steps.journal.lease.run_id,
                        night_id=steps.journal.night.id,
                        name=steps.folder.date,
                        event="mailed" if file is None else "mail_written",
                        detail=detail,
                    )
                )
    if partly is not None:
        raise partly
    return Sent(listing, row.message_id, config.mail.recipients, file)


@contextmanager
def _holding(machine: Machine, folders: Iterable[NightFolder]) -> Iterator[list[Steps]]:
    """Hold nights, so that nothing of them is taken back meanwhile."""
    with ExitStack() as stack:
        yield [stack.enter_context(machine.holding(folder, "manifest", {}))[0] for folder in folders]


def _parts(machine: Machine, nights: Sequence[Steps], *, is_partial: bool) -> list[_Part]:
    """Return what there is to list of each of some nights.

    Raises
    ------
    NotReady
        If something is missing and `is_partial` is false, or there is nothing to list.
    """
    parts = [_Part(steps, *_of_night(machine, steps, is_partial=is_partial)) for steps in nights]
    if not is_partial and (missing := _what_is_missing(parts)):
        faults = {s.folder.date: record.copy_faults(machine.store, s.journal.night) for s in nights}
        bad = [unproven(f"--date {date}", products) for date, products in faults.items() if products]
        advice = "; ".join(bad) or "advance these nights first"
        raise NotReady(f"cannot be listed: {missing}; {advice}, or list what there is with --partial")
    if not any(part.lines for part in parts):
        raise NotReady("nothing to list: no product of these nights is at the destination; advance them first")
    return parts


def _what_is_missing(parts: Sequence[_Part]) -> str:
    return ", ".join(f"{part.lacking} of {part.date}" for part in parts if part.lacking)


def _listing(machine: Machine, parts: Sequence[_Part], n_before: int = 0) -> Listing:
    """Return the manifest of some nights; `n_before` others were mailed of them before."""
    missing = _what_is_missing(parts)
    dates = tuple(sorted(part.date for part in parts))
    date = dates[0] if len(dates) == 1 else f"{dates[0]}-{dates[-1]}"
    path = Path(manifest_name(machine.config.instrument.manifest, date=date, serial=0))
    stem = path.stem + ("_partial" if missing else "") + (f"_supplement{n_before}" if n_before else "")
    in_order = tuple(sorted((line for part in parts for line in part.lines), key=lambda line: line.frame_id))
    return Listing(dates, path.with_stem(stem).name, in_order, f"not in it: {missing}" if missing else "")


def _of_night(machine: Machine, steps: Steps, *, is_partial: bool) -> tuple[list[Line], str]:
    """Return the lines of a night, and what is missing."""
    pipeline, store = steps.journal.pipeline, machine.store
    loaded = next((loaded for s in pipeline.steps[1:] if (loaded := steps.stages[s.state]).lister), None)
    if loaded is None or loaded.lister is None:
        raise UsageError(f"night {steps.folder.date}: {pipeline.name} has no state that lists products; expected one")
    sending = min(pipeline.position(s.state) for s in pipeline.steps if s.needs_copy)
    every = [item for item in record.products(store, steps.journal.night) if not item.is_discarded]
    items = [item for item in every if not item.fault]  # what is not as it was sent is not there to be given out
    known = _recorded(store, steps.journal.night)
    lines = [known[item.product.identity] for item in items if item.product.identity in known]
    unlisted = [item for item in items if item.product.identity not in known]
    if is_partial:
        ready = [item for item in unlisted if pipeline.position(item.state) >= sending]
        if ready:
            with translated():
                lines += loaded.lister.manifest_lines(job=steps.job(ready), params=loaded.params)
        unlisted = [item for item in unlisted if pipeline.position(item.state) < sending]
    raws = [
        row
        for row in record.raws(store, steps.journal.night)
        if row.state == pipeline.states[0] and not row.quarantine_reason
    ]
    lacking = [counted(len(unlisted), "product")] if unlisted else []
    lacking += [counted(len(raws), "raw file")] if raws else []
    if bad := [item.product.frame_id or item.product.name for item in every if item.fault]:
        shown = ", ".join(bad[:MOST_NAMED]) + (f" and {len(bad) - MOST_NAMED} more" if len(bad) > MOST_NAMED else "")
        lacking.append(f"{shown} (not right when last read at the destination)")
    return lines, " and ".join(lacking)


def _recorded(store: Store, night: Night) -> dict[str, Line]:
    """Return the lines of a night's manifests that stand, by identity."""
    query = (
        select(ManifestLine)
        .join(Manifest, col(Manifest.id) == col(ManifestLine.manifest_id))
        .where(col(Manifest.night_id) == night.id, col(Manifest.withdrawn_us).is_(None))
    )
    with store.read() as session:
        rows = session.execute(query).scalars()
        return {row.identity: Line(row.identity, row.frame_id, row.path, row.size_bytes) for row in rows}


def _not_mailed(machine: Machine, parts: Sequence[_Part]) -> tuple[list[_Part], int]:
    """Return what of some nights was not mailed yet, and how many mails there were of these nights.

    A night that was mailed and has nothing new is left out.

    Raises
    ------
    AlreadyMailed
        If all of it was mailed.
    """
    new: list[_Part] = []
    before: dict[str, list[Mail]] = {}  # by date
    mails: set[int | None] = set()
    for part in parts:
        known = {line.frame_id: found for found, line in mailed(machine.store, part.steps.journal.night)}
        of_night = {found.id: found for line in part.lines if (found := known.get(line.frame_id))}
        lines = [line for line in part.lines if line.frame_id not in known]
        if lines or part.lacking:
            new.append(part._replace(lines=lines))
            mails |= of_night.keys()
        if of_night:
            before[part.date] = list(of_night.values())
    if any(part.lines for part in new):
        return new, len(mails)
    last = max((found for of_night in before.values() for found in of_night), key=lambda found: found.begun_us)
    raise AlreadyMailed(
        f"the manifest of {', '.join(before)} {_how(last)} ({last.message_id}); --again {_once_more(last)}"
    )


def _how(mail: Mail) -> str:
    """Return what became of a mail."""
    when = f"on {show_us(mail.begun_us)} UT"
    to = f" to {', '.join(taken_for(mail))}" if mail.recipients else ""
    if mail.sent_us is None:
        return f"was begun {when}{to}, and nobody knows whether it was sent"
    if mail.transport == "eml":
        return f"was written {when} as a mail{to}, ready to be sent"
    return f"was sent {when}{to}" + (f", and refused for {', '.join(mail.refused)}" if mail.refused else "")


def _once_more(mail: Mail) -> str:
    return "writes it again" if mail.transport == "eml" else "sends it again"


def _values(machine: Machine, listing: Listing, parts: Sequence[_Part]) -> Mapping[str, object]:
    """Return the fields of the templates."""
    config = machine.config
    hosts = dict.fromkeys(part.steps.site.destination_name or socket.gethostname() for part in parts)
    return {
        "instrument": config.instrument.name,
        "date": listing.dates[0],
        "dates": ", ".join(listing.dates),
        "host": config.mail.host or ", ".join(hosts),
        "ip": config.mail.ip,
        "count": len(listing.lines),
        "bytes": listing.size_bytes,
        "name": listing.name,
        "missing": listing.missing,
    }


def _lines_of_mail(mail_id: int, lines: Iterable[Line]) -> list[dict[str, Any]]:
    return [
        {
            "mail_id": mail_id,
            "position": position,
            "frame_id": line.frame_id,
            "identity": line.identity,
            "path": line.path,
            "size_bytes": line.size_bytes,
            "withdrawn_us": None,
        }
        for position, line in enumerate(lines)
    ]
