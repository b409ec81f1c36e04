"""Frame IDs: which product gets which number, in order of time, whatever happens.

See docs/design.md, Frame IDs.

An ID belongs to a product's identity, not to its row: rolled back and made again, the same product has
the same ID. What is to be done to a night is decided by `decide`, which only reads, and done by
`allocate` in one transaction that first locks the counter and only then looks at anything.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Row, and_, case, literal, or_, select, update
from sqlmodel import Session, col

from ledger.config.model import Config
from ledger.db.models import File, FrameId, Night
from ledger.db.models import State as StateRow
from ledger.db.store import insert_many
from ledger.errors import NotReady
from ledger.ids.numbers import Numbers
from ledger.ids.sequence import SequenceState, frame_id_of, give_back, is_manifested, lock, sequence_state, take
from ledger.night.journal import Journal
from ledger.night.products import WorkItem, order_key
from ledger.text import counted
from stages.product import Product

#: The key that IDs are ordered by.
Key = tuple[int, int, str]

#: What is asked of an ID: a night has up to 100 000, and as objects of the model they take ten times as long.
_ID = (
    col(FrameId.frame_id),
    col(FrameId.number),
    col(FrameId.identity),
    col(FrameId.start_us),
    col(FrameId.camera),
    col(FrameId.flc),
    col(FrameId.late),
)


@dataclass(frozen=True, slots=True)
class Decision:
    """What has to be done to give a night its frame IDs.

    Attributes
    ----------
    fresh : tuple of Product
        That get an ID, in order.
    late : frozenset of str
        Identities of those that are older than an ID that is taken already.
    kept : int
        How many products have theirs.
    withdrawn : tuple of Row
        Live IDs to be withdrawn (``frame_id``, ``number``, ``identity``): their products exist no more, or the night
        is numbered anew.
    is_first : bool
        Whether the night has never been numbered.
    """

    fresh: tuple[Product, ...]
    late: frozenset[str]
    kept: int
    withdrawn: tuple[Row[Any], ...]
    is_first: bool

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.fresh or self.withdrawn or self.is_first)

    def check(self, now: SequenceState, date: str, numbers: Numbers, late_reason: str | None) -> None:
        """Refuse what is not to be done.

        Parameters
        ----------
        now : SequenceState
            Where the sequence stands.
        date : str
            Of the night.
        numbers : Numbers
            Found on disk.
        late_reason : str or None
            Why IDs may be assigned out of order.

        Raises
        ------
        NotReady
            If IDs would be out of order without a reason for it, a number to be given is in use, or too few were
            handed out.
        StateError
            If the numbers have run out.
        """
        if not self.fresh:
            return
        n = len(self.late)
        if n and not late_reason:
            pairs = "; if it lacks pairs, roll it back and pair it as a whole first (--anew)" if self.kept else ""
            raise NotReady(
                f"night {date}: {counted(n, 'product')} {'is' if n == 1 else 'are'} older than frame IDs that are taken"
                f" already; expected all IDs in order of time; `ledger advance --date {date} --late --reason TEXT`"
                f" assigns them out of order, marked so for ever{pairs}"
            )
        now.refuse_taken(numbers)
        now.refuse_empty(len(self.fresh))


@dataclass(frozen=True, slots=True)
class Allocation:
    """What one allocation did: how many IDs were assigned (of them late), kept, withdrawn (of them manifested)."""

    assigned: int
    late: int
    kept: int
    withdrawn: int
    manifested: int


def decide(session: Session, prefix: str, night: Night, items: Sequence[WorkItem]) -> Decision:
    """Return what has to be done to give the night its IDs; nothing is written.

    Parameters
    ----------
    session : Session
        With the counter locked, if it is going to be done.
    prefix : str
        Of the IDs.
    night : Night
        Its row.
    items : sequence of WorkItem
        All products of the night.
    """
    usable = {item.product.identity: item.product for item in items if item.quarantine_reason is None}
    starts_us = {item.product.identity: item.product.start_us for item in items}
    query = select(*_ID).where(col(FrameId.night_id) == night.id, col(FrameId.status) == "live")
    live = session.execute(query.order_by(col(FrameId.number))).all() if items else []
    # frames that got partners since are of another time, so it is another product that they make
    keep = [row for row in live if starts_us.get(row.identity) == row.start_us]
    kept = {row.identity for row in keep}
    fresh = sorted((p for p in usable.values() if p.identity not in kept), key=order_key)
    others = _newest_of_others(session, prefix, night) if fresh else None
    late = _late(fresh, [others, *(_key_of(row) for row in keep if not row.late)])
    if keep and late and _may_renumber(session, prefix, night, keep):
        keep, kept, fresh = [], set(), sorted(usable.values(), key=order_key)
        late = _late(fresh, [others])
    numbered_us = session.execute(select(col(Night.numbered_us)).where(col(Night.id) == night.id)).scalar()
    return Decision(
        fresh=tuple(fresh),
        late=late,
        kept=len(keep),
        withdrawn=tuple(row for row in live if row.identity not in kept),
        is_first=numbered_us is None and bool(usable),  # a night without products may still get some
    )


def _key(product: Product) -> Key:
    return (product.start_us, product.camera, product.flc or "")


def _key_of(row: Row[Any]) -> Key:
    return (row.start_us, row.camera, row.flc or "")


def _newest_of_others(session: Session, prefix: str, night: Night) -> Key | None:
    """Return the key of the newest live ID that is in order, of other nights."""
    query = (
        select(*_ID)
        .where(col(FrameId.prefix) == prefix, col(FrameId.status) == "live", col(FrameId.late).is_(False))
        .where(col(FrameId.night_id).is_distinct_from(night.id))
        .order_by(col(FrameId.number).desc())
    )
    newest = session.execute(query.limit(1)).one_or_none()
    return _key_of(newest) if newest else None


def _late(fresh: Iterable[Product], taken: Iterable[Key | None]) -> frozenset[str]:
    """Return which products are older than a key that is taken."""
    newest = max((key for key in taken if key is not None), default=None)
    return frozenset(product.identity for product in fresh if newest is not None and _key(product) < newest)


def _may_renumber(session: Session, prefix: str, night: Night, keep: Sequence[Row[Any]]) -> bool:
    """Whether the night's own IDs are the tail of the sequence, unused and never manifested."""
    first, last = keep[0].number, keep[-1].number
    of_prefix, own = col(FrameId.prefix) == prefix, col(FrameId.night_id) == night.id
    above = select(col(FrameId.number)).where(
        of_prefix, ~own, col(FrameId.number) > first, or_(col(FrameId.status) == "live", is_manifested())
    )
    manifested = select(col(FrameId.number)).where(of_prefix, col(FrameId.number).between(first, last), is_manifested())
    in_use = (
        select(col(File.id))
        .join(StateRow, (col(StateRow.pipeline) == col(File.pipeline)) & (col(StateRow.name) == col(File.state)))
        .where(col(File.night_id) == night.id, col(File.kind) == "product", col(StateRow.needs_frame_id))
    )
    return all(session.execute(query.limit(1)).first() is None for query in (above, manifested, in_use))


def allocate(
    journal: Journal,
    config: Config,
    items: Sequence[WorkItem],
    check_gate: Callable[[Session], object],
    *,
    numbers: Numbers,
    late_reason: str | None = None,
) -> Allocation:
    """Give every product of the night its ID, in one transaction.

    Parameters
    ----------
    journal : Journal
        The hold on the night.
    config : Config
        Names prefix and authority.
    items : sequence of WorkItem
        All products of the night.
    check_gate : callable
        The gate; called with the session once the counter is locked, if any ID is to be given.
    numbers : Numbers
        Found on disk before.
    late_reason : str, optional
        Assign out of order what cannot be in order, and mark those IDs late for ever.

    Raises
    ------
    NotReady
        If the gate is closed, IDs would be out of order without a reason for it, a number to be given is in
        use, or too few were handed out.
    StateError
        If the numbers have run out.
    """
    with journal.store.write(journal.lease.check) as session:
        now = lock(session, config, journal.store.clock())
        decision = decide(session, journal.prefix, journal.night, items)
        if decision.fresh or decision.is_first:
            check_gate(session)
        manifested = _withdraw(session, journal, decision.withdrawn)
        reclaimed = give_back(session, now, numbers)
        journal.entry(session, [_entry_of(row, "reclaimed") for row in reclaimed])
        now = sequence_state(session, config)
        decision.check(now, journal.night.date, numbers, late_reason)
        _assign(session, journal, take(session, now, len(decision.fresh)), decision, late_reason)
        if decision.is_first:
            session.execute(
                update(Night)
                .where(col(Night.id) == journal.night.id, col(Night.numbered_us).is_(None))
                .values(numbered_us=journal.store.clock())
            )
    return Allocation(
        assigned=len(decision.fresh),
        late=len(decision.late),
        kept=decision.kept,
        withdrawn=len(decision.withdrawn),
        manifested=manifested,
    )


def _entry_of(row: FrameId | Row[Any], event: str) -> dict[str, str]:
    return {"identity": row.identity, "name": row.frame_id, "event": event}


def _withdraw(session: Session, journal: Journal, rows: Sequence[Row[Any]]) -> int:
    """Withdraw IDs; return how many of them were ever on a manifest."""
    if not rows:
        return 0
    session.execute(update(FrameId), [{"frame_id": row.frame_id, "status": "withdrawn"} for row in rows])
    journal.entry(session, [_entry_of(row, "withdrawn") for row in rows])
    first, last = rows[0].number, rows[-1].number
    listed = select(col(FrameId.number)).where(
        col(FrameId.prefix) == journal.prefix, col(FrameId.number).between(first, last), is_manifested()
    )
    return len({row.number for row in rows} & set(session.execute(listed).scalars()))


def _assign(
    session: Session, journal: Journal, numbers: Sequence[int], decision: Decision, late_reason: str | None
) -> None:
    if not numbers:
        return
    rows = [
        {
            "frame_id": frame_id_of(journal.prefix, number),
            "prefix": journal.prefix,
            "number": number,
            "identity": product.identity,
            "night_id": journal.night.id,
            "start_us": product.start_us,
            "camera": product.camera,
            "flc": product.flc,
            "status": "live",
            "late": product.identity in decision.late,
            "late_reason": late_reason if product.identity in decision.late else None,
        }
        for number, product in zip(numbers, decision.fresh, strict=True)
    ]
    insert_many(session, FrameId, rows)
    given = and_(col(FrameId.prefix) == journal.prefix, col(FrameId.number).between(numbers[0], numbers[-1]))
    detail = case((col(FrameId.late), literal({"late": late_reason}, JSON)), else_=literal({}, JSON))
    journal.entry_of_ids(session, "assigned", given, detail)
