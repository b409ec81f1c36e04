"""The manifest of one or more nights, for people: what is in it, what is missing, and that it is mailed once."""

import hashlib
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlmodel import col

from ledger import durable, mail
from ledger.clock import show_us
from ledger.errors import BadInput, NotReady
from ledger.machine import Machine, unproven
from ledger.mailed import mailed
from ledger.models import Entry, Mail, MailLine, Manifest, ManifestLine, Night
from ledger.report import counted
from ledger.scan import NightFolder
from ledger.steps import Steps, translated
from ledger.store import Store, insert_many
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
        """Return what is to be told of it as plain values."""
        return {
            "dates": list(self.dates),
            "name": self.name,
            "count": len(self.lines),
            "bytes": self.size_bytes,
            "missing": self.missing,
        }


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
        listing = _listing(machine, nights, is_partial=is_partial)
    folder = machine.config.mail.folder
    path = folder / listing.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        durable.write_file(path, listing.content, folder / f"{TEMPORARY_PREFIX}{listing.name}")
    except OSError as exc:
        raise NotReady(f"{path}: cannot be written ({exc.strerror}); set mail.folder") from exc
    return listing, path


def send(machine: Machine, folders: Sequence[NightFolder], *, is_partial: bool = False, is_again: bool = False) -> Sent:
    """Mail the manifest of nights: the lines that were not mailed before, or with `is_again` all of them.

    The mail is on record before it is handed over, so it is not sent twice even if this process dies meanwhile.

    Raises
    ------
    BadInput
        If all of it was mailed before, or the configuration lacks what the mail needs.
    NotReady
        If a product is not listed yet and `is_partial` is false, or the mail was not sent; then it may be tried again.
    """
    config, store = machine.config, machine.store
    with _holding(machine, folders) as nights:
        listing = _listing(machine, nights, is_partial=is_partial)
        if not is_again:
            listing = _not_mailed(machine, nights, listing)
        content = listing.content
        message = mail.compose(config, _values(machine, listing, nights), listing.name, content)
        if listing.missing and "{missing" not in config.mail.text + config.mail.subject:
            raise BadInput(
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
        lease = nights[0].book.lease
        with store.write(lease.check) as session:
            session.add(row)
            session.flush()
            mail_id = int(row.id or 0)
            insert_many(session, MailLine, _lines_of_mail(mail_id, listing.lines))
        try:
            file = mail.send(config, message, listing.name)
        except mail.NotSent as exc:
            with store.write() as session:
                session.execute(update(Mail).where(col(Mail.id) == mail_id).values(error=str(exc)))
            raise
        with store.write() as session:  # sent is sent, whoever holds the nights by now
            at_us = store.clock()
            session.execute(update(Mail).where(col(Mail.id) == mail_id).values(sent_us=at_us))
            for steps in nights:
                detail = {"message_id": row.message_id, "recipients": row.recipients, "name": listing.name}
                session.add(
                    Entry(
                        at_us=at_us,
                        run_id=steps.book.lease.run_id,
                        night_id=steps.book.night.id,
                        name=steps.folder.date,
                        event="mailed",
                        detail=detail,
                    )
                )
    return Sent(listing, row.message_id, config.mail.recipients, file)


@contextmanager
def _holding(machine: Machine, folders: Iterable[NightFolder]) -> Iterator[list[Steps]]:
    """Hold nights, so that nothing of them is taken back meanwhile."""
    with ExitStack() as stack:
        yield [stack.enter_context(machine.holding(folder, "manifest", {}))[0] for folder in folders]


def _listing(machine: Machine, nights: Sequence[Steps], *, is_partial: bool) -> Listing:
    """Return the manifest of nights.

    Raises
    ------
    NotReady
        If something is missing and `is_partial` is false, or there is nothing to list.
    """
    found: list[Line] = []
    missing: list[str] = []
    for steps in nights:
        lines, lacking = _of_night(machine, steps, is_partial=is_partial)
        found += lines
        if lacking:
            missing.append(f"{lacking} of {steps.folder.date}")
    if missing and not is_partial:
        bad = (unproven(s.folder.date, machine.store.faults(s.book.night)) for s in nights)
        ways_on = "; ".join(told for told in bad if told) or "advance these nights first"
        raise NotReady(f"cannot be listed: {', '.join(missing)}; {ways_on}, or list what there is with --partial")
    if not found:
        raise NotReady("nothing to list: no product of these nights is at the destination; advance them first")
    dates = tuple(sorted(steps.folder.date for steps in nights))
    name = manifest_name(
        machine.config.instrument.manifest, date=dates[0] if len(dates) == 1 else f"{dates[0]}-{dates[-1]}", serial=0
    )
    if missing:
        name = Path(name).with_stem(f"{Path(name).stem}_partial").name
    in_order = tuple(sorted(found, key=lambda line: line.frame_id))
    return Listing(dates, name, in_order, f"not in it: {', '.join(missing)}" if missing else "")


def _of_night(machine: Machine, steps: Steps, *, is_partial: bool) -> tuple[list[Line], str]:
    """Return the lines of a night, and what is missing."""
    flow, store = steps.book.flow, machine.store
    step = next((s for s in flow.steps[1:] if hasattr(steps.stages[s.state].stage, "manifest_lines")), None)
    if step is None:
        raise BadInput(f"night {steps.folder.date}: {flow.name} has no state that lists products; expected one")
    sending = min(flow.position(s.state) for s in flow.steps if s.needs_copy)
    every = [work for work in store.works(steps.book.night) if not work.is_discarded]
    works = [work for work in every if not work.fault]  # what is not as it was sent is not there to be given out
    known = _recorded(store, steps.book.night)
    lines = [known[work.product.identity] for work in works if work.product.identity in known]
    unlisted = [work for work in works if work.product.identity not in known]
    if is_partial:
        ready = [work for work in unlisted if flow.position(work.state) >= sending]
        if ready:
            with translated():
                loaded = steps.stages[step.state]
                lines += loaded.stage.manifest_lines(  # type: ignore[attr-defined]
                    job=steps.job(ready), params=loaded.params
                )
        unlisted = [work for work in unlisted if flow.position(work.state) < sending]
    raws = [row for row in store.raws(steps.book.night) if row.state == flow.states[0] and not row.quarantine_reason]
    lacking = [counted(len(unlisted), "product")] if unlisted else []
    lacking += [counted(len(raws), "raw file")] if raws else []
    if bad := [work.product.frame_id or work.product.name for work in every if work.fault]:
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


def _not_mailed(machine: Machine, nights: Sequence[Steps], listing: Listing) -> Listing:
    """Return what of a listing was not mailed yet.

    Raises
    ------
    BadInput
        If all of it was.
    """
    known = {line.frame_id: found for steps in nights for found, line in mailed(machine.store, steps.book.night)}
    new = tuple(line for line in listing.lines if line.frame_id not in known)
    before = {known[line.frame_id].id: known[line.frame_id] for line in listing.lines if line.frame_id in known}
    if not before:
        return listing
    if not new:
        last = max(before.values(), key=lambda found: found.begun_us)
        when = "was sent" if last.sent_us is not None else "was begun, and nobody knows whether it was sent,"
        raise BadInput(
            f"the manifest of {', '.join(listing.dates)} {when} on {show_us(last.begun_us)} UT to"
            f" {', '.join(last.recipients) or 'nobody'} ({last.message_id}); --again sends it again"
        )
    path = Path(listing.name)
    return Listing(listing.dates, path.with_stem(f"{path.stem}_supplement{len(before)}").name, new, listing.missing)


def _values(machine: Machine, listing: Listing, nights: Sequence[Steps]) -> Mapping[str, object]:
    """Return the fields of the templates."""
    config = machine.config
    host = config.host_name(nights[0].folder.pipeline)
    return {
        "instrument": config.instrument.name,
        "date": listing.dates[0],
        "dates": ", ".join(listing.dates),
        "host": config.mail.host or (host or socket.gethostname()),
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
