"""Answers for people: what a name means, and what happened to it. Reads only."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session, col

from ledger.db.models import Entry, File, FrameId, Lineage, Mail, MailLine, Night, Receipt, ReceiptLine
from ledger.db.store import Store
from ledger.errors import UsageError
from ledger.ids.sequence import LENGTH
from ledger.night import given_out
from ledger.text import named
from stages.product import frames_of


@dataclass(frozen=True, slots=True)
class Subject:
    """What a file, a path or a frame ID names.

    Attributes
    ----------
    name : str
        As asked.
    identity : str
        Of the raw file or product.
    row : File or None
        None if the product was rolled back: its entries stay.
    night : Night
        Its night.
    frame_id : str or None
        Live or withdrawn.
    is_withdrawn : bool
        Whether that ID was withdrawn.
    """

    name: str
    identity: str
    row: File | None
    night: Night
    frame_id: str | None
    is_withdrawn: bool = False


def find(store: Store, text: str) -> Subject:
    """Return what `text` names: a path, a raw file, a product, or a frame ID.

    Raises
    ------
    UsageError
        If nothing has that name, or files of several nights have.
    """
    path = Path(text)
    stem = path.name.removesuffix(".fz").removesuffix(".fits").removesuffix(".txt")
    with store.read() as session:
        by_id = _by_frame_id(session, text, stem)
        if by_id is not None:
            return by_id
        names = {path.name, stem, f"{stem}.fits"}
        query = select(File, Night).join(Night, col(Night.id) == col(File.night_id)).where(col(File.name).in_(names))
        rows = [(file, night) for file, night in session.execute(query.order_by(col(Night.date), col(Night.pipeline)))]
        if len(path.parts) > 1:
            rows = [(file, night) for file, night in rows if _is_at(path, night, file)]
        if not rows:
            return _by_entry(session, text, stem)
        if len(rows) > 1:
            where = ", ".join(f"{night.root}/{night.date}/{file.folder}/{file.name}" for file, night in rows)
            raise UsageError(f"{text!r} is the name of {len(rows)} files: name one by its path: {where}")
        file, night = rows[0]
        found = session.execute(
            select(col(FrameId.frame_id)).where(
                col(FrameId.identity) == file.identity,
                col(FrameId.night_id) == night.id,
                col(FrameId.status) == "live",
            )
        ).scalar_one_or_none()
        return Subject(text, file.identity, file, night, found)


def _is_at(path: Path, night: Night, file: File) -> bool:
    """Whether `path` may mean this file: its parents, as far as they are given, are the file's."""
    parents = (Path(night.root) / night.date / file.folder).resolve().parts
    given = path.parent.resolve().parts if path.parent.exists() else path.parent.parts
    return parents[-len(given) :] == given


def _by_entry(session: Session, text: str, stem: str) -> Subject:
    """Return a product that was rolled back: its entries stay."""
    entry = session.execute(
        select(Entry)
        .where(col(Entry.name) == stem, col(Entry.identity).is_not(None))
        .order_by(col(Entry.id).desc())
        .limit(1)
    ).scalar_one_or_none()
    if entry is None:
        raise UsageError(
            f"{text!r} is not in the ledger: expected a raw file, a product or a frame ID; see `ledger status`,"
            " or register its night with `ledger scan --date …`"
        )
    night = session.get_one(Night, entry.night_id)
    return Subject(text, str(entry.identity), None, night, None)


def _by_frame_id(session: Session, text: str, stem: str) -> Subject | None:
    is_id = col(FrameId.frame_id) == stem
    if (
        stem[3:4] == "E" and stem[4:].isdecimal() and len(stem) == LENGTH
    ):  # the exposure ID is the frame ID with another fourth letter
        is_id |= (func.substr(col(FrameId.prefix), 1, 3) == stem[:3]) & (col(FrameId.number) == int(stem[4:]))
    row = session.execute(select(FrameId).where(is_id)).scalars().first()
    if row is None:
        return None
    night = session.get_one(Night, row.night_id)
    file = session.execute(
        select(File).where(col(File.identity) == row.identity, col(File.night_id) == row.night_id)
    ).scalar_one_or_none()
    return Subject(text, row.identity, file, night, row.frame_id, is_withdrawn=row.status == "withdrawn")


@dataclass(frozen=True, slots=True)
class Relation:
    """A file that a subject is made of, or that is made of it.

    Attributes
    ----------
    name : str
        Folder and name, or frame ID.
    state : str
        Its state.
    n_frames : int
        Frames in common.
    runs : list
        ``[first, step, n]`` of the raw file's frames.
    """

    name: str
    state: str
    n_frames: int
    runs: list[tuple[int, int, int]]


#: Joins a file with its frame ID, if it has one now.
_IS_LIVE_ID = (
    (col(FrameId.identity) == col(File.identity))
    & (col(FrameId.night_id) == col(File.night_id))
    & (col(FrameId.status) == "live")
)


def entries(store: Store, subject: Subject) -> list[Entry]:
    """Return everything that happened to `subject`, in order: steps, mails, and what the archive says."""
    with store.read() as session:
        query = select(Entry).where(col(Entry.identity) == subject.identity, col(Entry.night_id) == subject.night.id)
        own = session.execute(query.order_by(col(Entry.id))).scalars().all()
        given_out = sorted((*_mails(session, subject), *_receipts(session, subject)), key=lambda entry: entry.at_us)
    return list(merge(own, given_out, key=lambda entry: entry.at_us))


def _mails(session: Session, subject: Subject) -> Iterator[Entry]:
    """Yield that a product was mailed, and that this was withdrawn, as entries that are on record for its night."""
    query = (
        select(Mail, MailLine)
        .join(MailLine, col(MailLine.mail_id) == col(Mail.id))
        .where(col(MailLine.frame_id) == subject.frame_id, col(MailLine.identity) == subject.identity)
    )
    for mail, line in session.execute(query.order_by(col(Mail.id))):
        to = named(given_out.taken_for(mail))
        what = {"name": mail.name, "to": to, "message_id": mail.message_id}
        if mail.refused:
            what["refused"] = named(mail.refused)
        if mail.error is not None:
            yield _as_entry(subject, mail.begun_us, "not mailed", {**what, "error": mail.error})
            continue
        taken = "mail_written" if mail.transport == "eml" else "mailed"
        event = taken if mail.sent_us is not None else "perhaps mailed"
        yield _as_entry(subject, mail.sent_us or mail.begun_us, event, what)
        if line.withdrawn_us is not None:
            yield _as_entry(subject, line.withdrawn_us, "unmailed", {"name": mail.name, "to": to})


def _receipts(session: Session, subject: Subject) -> Iterator[Entry]:
    """Yield what the archive said of a product, as entries that are on record for its receipts."""
    query = (
        select(Receipt, ReceiptLine)
        .join(ReceiptLine, col(ReceiptLine.receipt_id) == col(Receipt.id))
        .where(col(ReceiptLine.frame_id) == subject.frame_id, col(ReceiptLine.identity) == subject.identity)
    )
    for receipt, line in session.execute(query.order_by(col(Receipt.id))):
        if line.difference is None:
            yield _as_entry(subject, receipt.read_us, "confirmed", {"receipt": receipt.name})
        else:
            what = {"receipt": receipt.name, "difference": line.difference}
            yield _as_entry(subject, receipt.read_us, "contradicted", what)
        if line.withdrawn_us is not None:
            yield _as_entry(subject, line.withdrawn_us, "unconfirmed", {"receipt": receipt.name})


def _as_entry(subject: Subject, at_us: int, event: str, detail: dict[str, Any]) -> Entry:
    night_id, name = subject.night.id, str(subject.frame_id)
    return Entry(at_us=at_us, night_id=night_id, identity=subject.identity, name=name, event=event, detail=detail)


def lineage(store: Store, subject: Subject) -> list[Relation]:
    """Return what `subject` is made of (a product), or what is made of it (a raw file)."""
    if subject.row is None:
        return []
    is_raw = subject.row.kind == "raw"
    mine, other = (Lineage.raw_id, Lineage.product_id) if is_raw else (Lineage.product_id, Lineage.raw_id)
    with store.read() as session:
        rows = session.execute(
            select(Lineage, File, col(FrameId.frame_id))
            .join(File, col(File.id) == col(other))
            .outerjoin(FrameId, _IS_LIVE_ID)
            .where(col(mine) == subject.row.id)
            .order_by(*([col(File.first_us), col(File.camera), col(File.flc)] * is_raw), col(Lineage.position))
        ).all()
    return [
        Relation(
            name=_shown(file, frame_id),
            state=file.state,
            n_frames=line.n_frames,
            runs=[(a, b, c) for a, b, c in line.runs],
        )
        for line, file, frame_id in rows
    ]


def _shown(file: File, frame_id: str | None) -> str:
    return f"{frame_id} ({file.name})" if frame_id else f"{file.folder}/{file.name}"


@dataclass(frozen=True, slots=True)
class FramePlace:
    """Where a frame of a subject is found in the file that it came from, or went to.

    Attributes
    ----------
    frame : int
        Its index in the subject, from 0.
    file : str
        Folder and name, or frame ID, of the other file.
    index : int
        Its index there, from 0.
    """

    frame: int
    file: str
    index: int


def frames(store: Store, subject: Subject) -> list[FramePlace]:
    """Return for each frame of `subject`, in order, the raw file and index that it has (of a raw file: the product's).

    Frames that are in no product, of a raw file that is not synced or in quarantine, are left out; a product that was
    rolled back has none.
    """
    if subject.row is None:
        return []
    is_raw = subject.row.kind == "raw"
    mine, other = (Lineage.raw_id, Lineage.product_id) if is_raw else (Lineage.product_id, Lineage.raw_id)
    products = select(col(Lineage.product_id)).where(col(mine) == subject.row.id)
    query = (
        select(Lineage, File, col(FrameId.frame_id))
        .join(File, col(File.id) == col(other))
        .outerjoin(FrameId, _IS_LIVE_ID)
        .where(col(Lineage.product_id).in_(products))
        .order_by(col(Lineage.product_id), col(Lineage.position))
    )
    found: list[FramePlace] = []
    length: Counter[int] = Counter()
    with store.read() as session:
        for line, file, frame_id in session.execute(query):
            if not is_raw or line.raw_id == subject.row.id:
                name = _shown(file, frame_id)
                runs = tuple((int(first), int(step), int(n)) for first, step, n in line.runs)
                pairs = enumerate(frames_of(runs), start=length[line.product_id])
                found += [FramePlace(r, name, p) if is_raw else FramePlace(p, name, r) for p, r in pairs]
            length[line.product_id] += line.n_frames
    return sorted(found, key=lambda place: place.frame)
