"""Quarantine: files in it or waiting to be tried again, and decisions about them."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlmodel import Session, col

from ledger.db.models import Entry, File, Night
from ledger.db.store import Store
from ledger.disk.dates import Dates
from ledger.errors import UsageError
from ledger.night.lease import refuse_held
from ledger.query.history import Subject, find


@dataclass(frozen=True, slots=True)
class Held:
    """A file that does not go on.

    Attributes
    ----------
    pipeline, date, kind, folder, name, state : str
        The file.
    reason : str
        Why it is in quarantine, or its last error if it only waits.
    attempts : int
        Failures since its last success.
    next_retry_us : int or None
        When ``catch-up`` tries it again; None: never by itself.
    is_discarded : bool
        Whether nothing waits for it.
    """

    pipeline: str
    date: str
    kind: str
    folder: str
    name: str
    state: str
    reason: str
    attempts: int
    next_retry_us: int | None
    is_discarded: bool

    @property
    def stands(self) -> str:
        """Return its standing in a word."""
        if self.is_discarded:
            return "discarded"
        return "waits" if self.next_retry_us is not None else "quarantined"


def held(store: Store, dates: Dates | None = None) -> list[Held]:
    """Return the files in quarantine or waiting to be tried again, of all nights or some, in order of time."""
    columns = (
        *(col(getattr(Night, name)) for name in ("pipeline", "date")),
        *(col(getattr(File, name)) for name in ("kind", "folder", "name", "state")),
        func.coalesce(col(File.quarantine_reason), col(File.error), ""),
        *(col(getattr(File, name)) for name in ("attempts", "next_retry_us", "is_discarded")),
    )
    query = (
        select(*columns)
        .join_from(File, Night, col(Night.id) == col(File.night_id))
        .where(or_(col(File.quarantine_reason).is_not(None), col(File.next_retry_us).is_not(None)))
        .order_by(col(Night.date), col(Night.pipeline), col(File.kind).desc(), col(File.folder), col(File.name))
    )
    with store.read() as session:
        found = [Held(*row) for row in session.execute(query)]
    return [file for file in found if not dates or file.date in dates]


def release(store: Store, name: str) -> Subject:
    """Let a file go on: a product is tried by the next run, a raw file is looked into again.

    Raises
    ------
    UsageError
        If there is no such file, or it is neither in quarantine nor waiting.
    Busy
        If a run works on its night.
    """
    subject, row = _subject(store, name)
    if row.quarantine_reason is None and row.next_retry_us is None:
        raise UsageError(f"{name!r} is {row.state}, and not in quarantine: there is nothing to release")
    values: dict[str, Any]
    if row.kind == "raw":  # the next scan inspects it again, and decides
        values = {"mtime_ns": None}
    else:
        values = {"quarantine_reason": None, "is_discarded": False, "attempts": 0, "next_retry_us": None}
    with store.recorded("quarantine release", {"file": name}) as (session, run_id):
        _change(session, store, run_id, subject, row, values, event="released", detail={})
    return subject


def discard(store: Store, name: str, reason: str) -> Subject:
    """Give a product up: it stays in quarantine, its raw files stay, and nothing waits for it.

    Raises
    ------
    UsageError
        If there is no such product, it has not failed, or the reason is empty.
    Busy
        If a run works on its night.
    """
    if not reason.strip():
        raise UsageError("--reason is empty: expected why it is given up; it is kept for ever")
    subject, row = _subject(store, name)
    if row.kind == "raw":
        raise UsageError(f"{name!r} is a raw file: in quarantine it holds nothing up; leave it there")
    if row.quarantine_reason is None and row.error is None:
        raise UsageError(
            f"{name!r} is {row.state} and has not failed: expected a product that did; see `ledger explain`"
        )
    values = {"quarantine_reason": reason, "is_discarded": True, "next_retry_us": None}
    with store.recorded("quarantine discard", {"file": name, "reason": reason}) as (session, run_id):
        _change(session, store, run_id, subject, row, values, event="discarded", detail={"reason": reason})
    return subject


def _subject(store: Store, name: str) -> tuple[Subject, File]:
    subject = find(store, name)
    if subject.row is None:
        raise UsageError(f"{name!r} was rolled back: it is not in quarantine")
    return subject, subject.row


def _change(
    session: Session,
    store: Store,
    run_id: int,
    subject: Subject,
    row: File,
    values: dict[str, Any],
    *,
    event: str,
    detail: dict[str, Any],
) -> None:
    refuse_held(session, subject.night, store.common_us(session))
    session.execute(update(File).where(col(File.id) == row.id).values(**values))
    session.add(
        Entry(
            at_us=store.clock(),
            run_id=run_id,
            night_id=subject.night.id,
            identity=row.identity,
            name=subject.frame_id or row.name,
            event=event,
            detail=detail,
        )
    )
