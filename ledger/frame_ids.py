"""Frame IDs: one sequence, globally chronological, whatever happens (DESIGN section 8).

An ID belongs to a product's identity, not to its row: rolled back and made again, the same product
has the same ID. Everything here happens in one transaction that first locks the counter's row and
only then looks at anything else, so two runs cannot pass the gate together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select, update
from sqlmodel import Session, col

from ledger.book import Book
from ledger.config import Config
from ledger.errors import NotReady, StateError
from ledger.flow import Flow
from ledger.models import Entry, File, FrameId, FrameSequence, ManifestLine, Night
from ledger.models import State as StateRow
from ledger.report import counted
from ledger.rows import Work, order_key
from ledger.scan import NightFolder, has_raws, nights_on_disk, reading
from ledger.store import insert_if_new
from stages.base import Product

DIGITS = 8
LAST_NUMBER = 10**DIGITS - 1

#: The key that IDs are ordered by.
Key = tuple[int, int, str]


def frame_id_of(prefix: str, number: int) -> str:
    """Return the frame ID of a number."""
    return f"{prefix}{number:0{DIGITS}d}"


@dataclass(frozen=True, slots=True)
class Allocation:
    """What one allocation did: how many IDs were assigned anew, kept, withdrawn."""

    assigned: int
    kept: int
    withdrawn: int


def check_gate(session: Session, config: Config, flow: Flow, night: NightFolder) -> None:
    """Refuse while an earlier night of the root still lacks its IDs, in the ledger or only on disk.

    Raises
    ------
    NotReady
        Naming the first such night and the command to run.
    """
    rows = {row.date: row for row in session.execute(select(Night).where(col(Night.pipeline) == flow.name)).scalars()}
    on_disk = {folder.date: folder for folder in nights_on_disk(config, flow.name)}
    first = config.pipelines[flow.name].first_night or ""
    for date in sorted(rows.keys() | on_disk.keys()):
        if not first <= date < night.date:
            continue
        reason = _lacks_ids(session, config, flow, rows.get(date), on_disk.get(date))
        if reason:
            raise NotReady(
                f"night {night.date} cannot be numbered yet: the earlier night {date} {reason}, and frame IDs are"
                f" chronological; run `ledger advance --date {date}` first, or `ledger exclude {date} --reason …`"
            )


def refuse_excluded(session: Session, night: NightFolder) -> None:
    """Refuse to number a night that was taken out of the chronology.

    Raises
    ------
    NotReady
        With the reason on record.
    """
    row = session.execute(
        select(Night).where(col(Night.pipeline) == night.pipeline, col(Night.date) == night.date)
    ).scalar_one_or_none()
    if row is not None and row.excluded_reason:
        raise NotReady(
            f"night {night.date} is excluded ({row.excluded_reason}) and gets no frame IDs; expected it in the"
            f" chronology; `ledger include {night.date}` takes it back"
        )


def _lacks_ids(
    session: Session, config: Config, flow: Flow, row: Night | None, folder: NightFolder | None
) -> str | None:
    """Return why a night still lacks IDs, or None if it does not."""
    if row is not None and row.excluded_reason:
        return None
    if row is None:
        if folder is None or not has_raws(folder, config.instrument) or is_foreign(session, config, flow, folder):
            return None
        return "was never scanned"
    if row.numbered_us is None:
        waiting = _count(session, row, "raw", in_flow=True) or _count(session, row, "product", in_flow=False)
        unseen = folder is not None and not _count(session, row, "raw", in_flow=False)
        if waiting or (unseen and folder is not None and has_raws(folder, config.instrument)):
            return None if folder is not None and is_foreign(session, config, flow, folder) else "has no frame IDs yet"
        return None
    unsynced = session.execute(
        select(func.count()).where(
            col(File.night_id) == row.id,
            col(File.kind) == "raw",
            col(File.state) == flow.states[0],
            col(File.quarantine_reason).is_(None),
        )
    ).scalar()
    if unsynced:  # rolled back, or with new raw files: what comes of them is not known yet
        return "has raw files that are not synced"
    live = select(col(FrameId.identity)).where(col(FrameId.status) == "live")
    lacking = session.execute(
        select(func.count()).where(
            col(File.night_id) == row.id,
            col(File.kind) == "product",
            col(File.quarantine_reason).is_(None),
            col(File.identity).not_in(live),
        )
    ).scalar()
    return "has new products without frame IDs" if lacking else None


def _count(session: Session, night: Night, kind: str, *, in_flow: bool) -> int:
    query = select(func.count()).where(col(File.night_id) == night.id, col(File.kind) == kind)
    if in_flow:
        query = query.where(col(File.quarantine_reason).is_(None))
    return int(session.execute(query).scalar() or 0)


def is_foreign(session: Session, config: Config, flow: Flow, folder: NightFolder) -> bool:
    """Whether the night has products that this ledger did not make."""
    products = folder.path / config.instrument.product_folder
    with reading(products):
        if not products.is_dir() or not any(products.iterdir()):
            return False
    paired = flow.step(flow.born).forward  # precedes everything that the ledger writes
    made = session.execute(
        select(col(Entry.id))
        .join(Night, col(Night.id) == col(Entry.night_id))
        .where(col(Night.pipeline) == folder.pipeline, col(Night.date) == folder.date, col(Entry.edge) == paired)
        .limit(1)
    ).first()
    return made is None


def needs_allocation(works: Sequence[Work], numbered_us: int | None) -> bool:
    """Whether the night has never been numbered, or has products without an ID."""
    return numbered_us is None or any(w.product.frame_id is None for w in works if w.quarantine_reason is None)


def allocate(
    book: Book, works: Sequence[Work], look: Callable[[Session], None], *, late_reason: str | None = None
) -> Allocation:
    """Give every product of the night its ID, in one transaction.

    Parameters
    ----------
    book : Book
        The hold on the night.
    works : sequence of Work
        All products of the night.
    look : callable
        The gate; called with the session once the counter is locked.
    late_reason : str, optional
        Assign out of order, and mark the IDs late for ever.

    Raises
    ------
    NotReady
        If the gate is closed.
    StateError
        If IDs would be out of order without a reason for it, or the numbers have run out.
    """
    with book.store.write(book.lease.check) as session:
        counter = _lock(session, book.prefix)
        look(session)
        wanted = {work.product.identity: work.product for work in works if work.quarantine_reason is None}
        known = {work.product.identity for work in works}
        live = _live(session, book)
        keep = [row for row in live if row.identity in known]
        _withdraw(session, book, [row for row in live if row.identity not in known])
        kept = {row.identity for row in keep}
        fresh = sorted((p for p in wanted.values() if p.identity not in kept), key=order_key)
        if keep and _is_disordered(session, book.prefix, fresh) and _may_renumber(session, book, keep):
            _withdraw(session, book, keep)
            keep, fresh = [], sorted(wanted.values(), key=order_key)
        counter = _reclaim_tail(session, book, counter)
        late = _is_disordered(session, book.prefix, fresh)
        if late and not late_reason:
            raise StateError(
                f"night {book.night.date}: {counted(len(fresh), 'product')} {'is' if len(fresh) == 1 else 'are'} older"
                " than frame IDs that are taken already;"
                " expected all IDs in order of time; `--late --reason TEXT` assigns them out of order, for ever"
            )
        _assign(session, book, counter, fresh, late_reason if late else None)
        if wanted:  # a night without products may still get some
            session.execute(
                update(Night)
                .where(col(Night.id) == book.night.id, col(Night.numbered_us).is_(None))
                .values(numbered_us=book.store.clock())
            )
    return Allocation(assigned=len(fresh), kept=len(keep), withdrawn=len(live) - len(keep))


def _lock(session: Session, prefix: str) -> int:
    """Lock the counter's row, made if it is new; return the next number."""
    query = select(FrameSequence).where(col(FrameSequence.prefix) == prefix).with_for_update()
    row = session.execute(query).scalar_one_or_none()
    if row is None:
        insert_if_new(session, FrameSequence, {"prefix": prefix, "next_number": 1})
        row = session.execute(query).scalar_one()
    return int(row.next_number)


def _live(session: Session, book: Book) -> Sequence[FrameId]:
    query = select(FrameId).where(col(FrameId.night_id) == book.night.id, col(FrameId.status) == "live")
    return session.execute(query.order_by(col(FrameId.number))).scalars().all()


def _key(product: Product) -> Key:
    return (product.start_us, product.camera, product.flc or "")


def _is_disordered(session: Session, prefix: str, fresh: Sequence[Product]) -> bool:
    """Whether the first of the fresh products is older than the newest live ID that is in order."""
    if not fresh:
        return False
    query = (
        select(FrameId)
        .where(col(FrameId.prefix) == prefix, col(FrameId.status) == "live", col(FrameId.late).is_(False))
        .order_by(col(FrameId.start_us).desc(), col(FrameId.camera).desc(), func.coalesce(FrameId.flc, "").desc())
        .limit(1)
    )
    newest = session.execute(query).scalar_one_or_none()
    return newest is not None and _key(fresh[0]) < (newest.start_us, newest.camera, newest.flc or "")


def _may_renumber(session: Session, book: Book, keep: Sequence[FrameId]) -> bool:
    """Whether the night's own IDs are the tail of the sequence, unused and never manifested."""
    if not keep:
        return False
    above = session.execute(
        select(func.count()).where(
            col(FrameId.prefix) == book.prefix,
            col(FrameId.night_id) != book.night.id,
            col(FrameId.number) > min(row.number for row in keep),
        )
    ).scalar()
    in_use = session.execute(
        select(func.count())
        .select_from(File)
        .join(
            StateRow,
            (col(StateRow.pipeline) == col(File.pipeline)) & (col(StateRow.name) == col(File.state)),
        )
        .where(col(File.night_id) == book.night.id, col(File.kind) == "product", col(StateRow.needs_frame_id))
    ).scalar()
    return not above and not in_use and not _were_manifested(session, keep)


def _were_manifested(session: Session, rows: Sequence[FrameId]) -> bool:
    wanted = {row.frame_id for row in rows}
    low, high = min(wanted), max(wanted)
    listed = session.execute(
        select(col(ManifestLine.frame_id)).where(col(ManifestLine.frame_id).between(low, high))
    ).scalars()
    return any(frame_id in wanted for frame_id in listed)


def _withdraw(session: Session, book: Book, rows: Sequence[FrameId]) -> None:
    for row in rows:
        row.status = "withdrawn"
    session.flush()
    book.entry(session, [{"identity": row.identity, "name": row.frame_id, "event": "withdrawn"} for row in rows])


def _reclaim_tail(session: Session, book: Book, counter: int) -> int:
    """Give back withdrawn numbers at the end of the sequence that were never manifested."""
    query = select(FrameId).where(col(FrameId.prefix) == book.prefix).order_by(col(FrameId.number).desc())
    reclaimed = []
    for row in session.execute(query).scalars():
        if row.status == "live" or row.number != counter - 1 or _were_manifested(session, [row]):
            break
        reclaimed.append(row)
        counter -= 1
    if reclaimed:
        book.entry(
            session, [{"identity": row.identity, "name": row.frame_id, "event": "reclaimed"} for row in reclaimed]
        )
        session.execute(delete(FrameId).where(col(FrameId.prefix) == book.prefix, col(FrameId.number) >= counter))
        _set_counter(session, book.prefix, counter)
    return counter


def _set_counter(session: Session, prefix: str, number: int) -> None:
    session.execute(update(FrameSequence).where(col(FrameSequence.prefix) == prefix).values(next_number=number))


def _assign(session: Session, book: Book, counter: int, fresh: Sequence[Product], late_reason: str | None) -> None:
    if not fresh:
        return
    if counter + len(fresh) - 1 > LAST_NUMBER:
        raise StateError(
            f"prefix {book.prefix}: {len(fresh)} frame IDs wanted from number {counter} on, and the last is"
            f" {LAST_NUMBER}; a new prefix is needed (instrument.prefix)"
        )
    _set_counter(session, book.prefix, counter + len(fresh))
    rows = [
        {
            "frame_id": frame_id_of(book.prefix, number),
            "prefix": book.prefix,
            "number": number,
            "identity": product.identity,
            "night_id": book.night.id,
            "start_us": product.start_us,
            "camera": product.camera,
            "flc": product.flc,
            "status": "live",
            "late": late_reason is not None,
        }
        for number, product in enumerate(fresh, start=counter)
    ]
    session.execute(insert(FrameId), rows)
    detail = {"late": late_reason} if late_reason else {}
    book.entry(
        session,
        [{"identity": r["identity"], "name": r["frame_id"], "event": "assigned", "detail": detail} for r in rows],
    )
