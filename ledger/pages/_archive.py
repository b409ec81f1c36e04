"""What was given out of a night, and what made it: frame IDs, proofs, manifests, mails, receipts, runs."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, case, cast, func, select
from sqlmodel import Session, col

from ledger.db.models import (
    Copy,
    Entry,
    FrameId,
    Mail,
    MailLine,
    Manifest,
    ManifestLine,
    Night,
    Receipt,
    ReceiptLine,
    Run,
)


@dataclass(frozen=True, slots=True)
class FrameIds:
    """Frame IDs of a night: first and last live one (empty if none is), how many are live, withdrawn, given late."""

    first: str
    last: str
    live: int
    withdrawn: int
    late: int


@dataclass(frozen=True, slots=True)
class Proofs:
    """Copies at one place: its host (empty: here), how many are right and refuted, bytes of the right, last proof."""

    host: str
    copies: int
    refuted: int
    size_bytes: int
    proven_us: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A manifest: its name and SHA-256, its lines and their bytes, when it was made, and withdrawn if it was."""

    name: str
    sha256: str
    lines: int
    size_bytes: int
    made_us: int
    withdrawn_us: int | None


@dataclass(frozen=True, slots=True)
class Mailed:
    """A mail with products of the night: to whom, how, how many products, when; what went wrong."""

    to: str
    transport: str
    lines: int
    withdrawn: int
    begun_us: int
    sent_us: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A receipt with products of the night: how many it confirms and contradicts, when it was read."""

    name: str
    confirmed: int
    contradicted: int
    read_us: int


@dataclass(frozen=True, slots=True)
class Made:
    """Runs of one version on one host that worked on the night: how many, and the time of the first and the last."""

    version: str
    host: str
    runs: int
    first_us: int
    last_us: int


@dataclass(frozen=True, slots=True)
class Archive:
    """All of that; nothing of what there is none of."""

    ids: FrameIds | None = None
    proofs: tuple[Proofs, ...] = ()
    manifests: tuple[Listed, ...] = ()
    mails: tuple[Mailed, ...] = ()
    receipts: tuple[Answer, ...] = ()
    made: tuple[Made, ...] = ()


def read_archive(session: Session, night: Night) -> Archive:
    """Return what is on record of a night, in the order in which it came about."""
    return Archive(
        ids=_ids(session, night),
        proofs=tuple(Proofs(*row) for row in _all(session, _proofs(night))),
        manifests=tuple(Listed(*row) for row in _all(session, _manifests(night))),
        mails=tuple(Mailed(", ".join(to), *row) for to, *row in _all(session, _mails(night))),
        receipts=tuple(Answer(*row) for row in _all(session, _receipts(night))),
        made=tuple(Made(*row) for row in _all(session, _made(night))),
    )


def _all(session: Session, query: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in session.execute(query)]


def _count_if(condition: Any) -> Any:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _bytes(sizes: Any) -> Any:
    """Return a sum of sizes as an integer: PostgreSQL's sum of a bigint is a decimal number."""
    return cast(func.coalesce(func.sum(sizes), 0), BigInteger)


def _ids(session: Session, night: Night) -> FrameIds | None:
    number, is_live = col(FrameId.number), col(FrameId.status) == "live"
    counts = select(
        func.min(case((is_live, number))),
        func.max(case((is_live, number))),
        _count_if(is_live),
        _count_if(~is_live),
        _count_if(is_live & col(FrameId.late)),
    ).where(col(FrameId.night_id) == night.id)
    first, last, live, withdrawn, late = session.execute(counts).one()
    if not live:
        return FrameIds("", "", 0, withdrawn, 0) if withdrawn else None
    named = select(col(FrameId.frame_id)).where(col(FrameId.night_id) == night.id, is_live)
    ends = [session.execute(named.where(number == end).limit(1)).scalar_one() for end in (first, last)]
    return FrameIds(ends[0], ends[1], live, withdrawn, late)


def _proofs(night: Night) -> Any:
    is_right = col(Copy.refuted_us).is_(None)
    return (
        select(
            col(Copy.host),
            _count_if(is_right),
            _count_if(~is_right),
            _bytes(case((is_right, col(Copy.size_bytes)))),
            func.max(col(Copy.proven_us)),
        )
        .where(col(Copy.night_id) == night.id, col(Copy.withdrawn_us).is_(None))
        .group_by(col(Copy.host))
        .order_by(col(Copy.host))
    )


def _manifests(night: Night) -> Any:
    line = col(ManifestLine.manifest_id)
    name, sha256, made_us, withdrawn_us = (
        col(column) for column in (Manifest.name, Manifest.sha256, Manifest.made_us, Manifest.withdrawn_us)
    )
    return (
        select(name, sha256, func.count(line), _bytes(col(ManifestLine.size_bytes)), made_us, withdrawn_us)
        .outerjoin(ManifestLine, line == col(Manifest.id))
        .where(col(Manifest.night_id) == night.id)
        .group_by(col(Manifest.id), name, sha256, made_us, withdrawn_us)
        .order_by(made_us)
    )


def _mails(night: Night) -> Any:
    counts = (
        select(
            col(MailLine.mail_id).label("mail_id"),
            func.count().label("lines"),
            _count_if(col(MailLine.withdrawn_us).is_not(None)).label("withdrawn"),
        )
        .join(FrameId, col(FrameId.frame_id) == col(MailLine.frame_id))
        .where(col(FrameId.night_id) == night.id)
        .group_by(col(MailLine.mail_id))
        .subquery()
    )
    columns = (Mail.recipients, Mail.transport)
    times = (Mail.begun_us, Mail.sent_us, Mail.error)
    query = select(*map(col, columns), counts.c.lines, counts.c.withdrawn, *map(col, times))
    return query.join(counts, counts.c.mail_id == col(Mail.id)).order_by(col(Mail.begun_us))


def _receipts(night: Night) -> Any:
    agrees = col(ReceiptLine.difference).is_(None)
    return (
        select(col(Receipt.name), _count_if(agrees), _count_if(~agrees), col(Receipt.read_us))
        .join(ReceiptLine, col(ReceiptLine.receipt_id) == col(Receipt.id))
        .join(FrameId, col(FrameId.frame_id) == col(ReceiptLine.frame_id))
        .where(col(FrameId.night_id) == night.id, col(ReceiptLine.withdrawn_us).is_(None))
        .group_by(col(Receipt.id), col(Receipt.name), col(Receipt.read_us))
        .order_by(col(Receipt.read_us))
    )


def _made(night: Night) -> Any:
    worked = select(col(Entry.run_id)).where(col(Entry.night_id) == night.id).distinct()
    started_us = col(Run.started_us)
    return (
        select(col(Run.version), col(Run.host), func.count(), func.min(started_us), func.max(started_us))
        .where(col(Run.id).in_(worked))
        .group_by(col(Run.version), col(Run.host))
        .order_by(func.min(started_us))
    )
