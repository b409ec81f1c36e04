"""The sequence of a prefix: a counter, and the blocks of numbers that it may yield.

See docs/design.md, Frame IDs.

Every change locks the counter's row first; an aborted transaction gives its numbers back. Numbers come from
blocks only, so what lies between blocks is an explained gap.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlmodel import Session, col

from ledger.config.blocks import LAST_NUMBER
from ledger.config.model import Config
from ledger.db.models import FrameBlock, FrameId, FrameSequence, ManifestLine
from ledger.db.store import insert_if_new
from ledger.db.views import NUMBERING
from ledger.errors import NotReady, StateError
from ledger.ids.numbers import DIGITS, Numbers, Run
from ledger.text import counted

#: Of a frame ID, in characters: four letters and the digits.
LENGTH = 4 + DIGITS


def frame_id_of(prefix: str, number: int) -> str:
    """Return the frame ID of a number."""
    return f"{prefix}{number:0{DIGITS}d}"


@dataclass(frozen=True, slots=True)
class SequenceState:
    """The state of a sequence: its counter, and what it may still yield.

    Attributes
    ----------
    prefix, authority : str
        Whose sequence, and who hands out its numbers.
    counter : int
        Every number that was ever given and not taken back is below it.
    free : tuple of (int, int)
        First and last of the numbers that it may still yield, in order.
    from_date : str or None
        The first night that gets numbers.
    last_number : int
        The last one that the observatory allows.
    """

    prefix: str
    authority: str
    counter: int
    free: tuple[Run, ...]
    from_date: str | None
    last_number: int

    @property
    def remaining(self) -> int:
        """Return how many numbers it may still yield."""
        return sum(last - first + 1 for first, last in self.free)

    @property
    def next_id(self) -> str | None:
        """Return the frame ID that is given next; None if there is none to give."""
        return frame_id_of(self.prefix, self.free[0][0]) if self.free else None

    @property
    def is_at_end(self) -> bool:
        """Whether no number comes after those that it may still yield."""
        return self.counter > self.last_number or (self.authority == "own" and bool(self.free))

    @property
    def advice(self) -> str:
        """Return what to do for more numbers."""
        if self.is_at_end:
            limit = "" if self.last_number == LAST_NUMBER else " (ids.last_number: raise it if the observatory allows)"
            return f"the last is {self.last_number}{limit}; a new prefix is needed (instrument.prefix)"
        if self.authority == "blocks":
            return "import more with `ledger ids reserve --from-file FILE`"
        return (
            f"look up the last one that the archive has; `ledger ids start {self.prefix} {self.counter}`, or a higher"
            " number, says where to go on"
        )

    @property
    def why_none(self) -> str:
        """Return why there is no frame ID to give."""
        if self.authority == "own" and not self.is_at_end:  # as `ledger rebuild` leaves it
            return "none is given until somebody has said where the sequence goes on"
        return "none is left to give"

    def refuse_taken(self, numbers: Numbers) -> None:
        """Refuse to give numbers that are in use already.

        Raises
        ------
        NotReady
            Naming the highest such number and where it was found.
        """
        found = numbers.within(self.free)
        if found is None:
            return
        number, where = found
        cure = (
            "if this database was restored from an older copy, restore a newer one; if those files are to keep their"
            f" numbers, `ledger ids start {self.prefix} {number + 1}` goes on above them"
        )
        raise NotReady(
            f"frame ID {frame_id_of(self.prefix, number)} is in use in {str(where)!r}, and the sequence has yet to give"
            f" it (next is {self.next_id}): expected every number on disk, at the destination and in manifests to be"
            f" given already; {cure}; else move them away"
        )

    def refuse_empty(self, wanted: int) -> None:
        """Refuse to begin if there are fewer numbers than `wanted`.

        Raises
        ------
        NotReady
            If an outside authority has handed out too few.
        StateError
            If the sequence itself has come to its end.
        """
        if wanted <= self.remaining:
            return
        of = "of the blocks that were handed out" if self.authority == "blocks" else "of its own"
        found = (
            f"prefix {self.prefix}: {counted(wanted, 'frame ID')} wanted, and {self.remaining} left {of}; {self.advice}"
        )
        raise StateError(found) if self.is_at_end else NotReady(found)


def sequence_state(session: Session, config: Config) -> SequenceState:
    """Return the state of the configured sequence."""
    prefix, authority = config.instrument.prefix, config.ids.authority
    row = session.get(FrameSequence, prefix, populate_existing=True)
    counter = row.next_number if row else 1
    runs = free_runs(session, prefix, authority, counter)
    if row is None and authority == "own":
        runs = ((1, LAST_NUMBER),)  # as `lock` is going to make it
    end = config.ids.last
    free = tuple((first, min(last, end)) for first, last in runs if first <= end)
    return SequenceState(prefix, authority, counter, free, row.from_date if row else None, end)


def free_runs(session: Session, prefix: str, authority: str, counter: int) -> tuple[Run, ...]:
    """Return what the blocks of an authority have from `counter` on, first and last of each, in order."""
    query = select(FrameBlock).where(
        col(FrameBlock.prefix) == prefix,
        col(FrameBlock.authority) == authority,
        col(FrameBlock.last_number) >= counter,
    )
    blocks = session.execute(query.order_by(col(FrameBlock.first_number))).scalars()
    return tuple((max(block.first_number, counter), block.last_number) for block in blocks)


def lock(session: Session, config: Config, now_us: int) -> SequenceState:
    """Lock the counter, made if it is new, until the transaction ends; return the state of the sequence."""
    prefix = config.instrument.prefix
    query = select(FrameSequence).where(col(FrameSequence.prefix) == prefix).with_for_update()
    if session.execute(query).scalar_one_or_none() is None:
        insert_if_new(session, FrameSequence, {"prefix": prefix, "next_number": 1})
        session.execute(query).scalar_one()
        if config.ids.authority == "own":
            block = {"first_number": 1, "last_number": LAST_NUMBER, "authority": "own", "created_us": now_us}
            insert_if_new(session, FrameBlock, {"prefix": prefix, **block})
    return sequence_state(session, config)


def take(session: Session, now: SequenceState, n: int) -> list[int]:
    """Take the next `n` numbers of the sequence; the counter must be locked.

    Raises
    ------
    NotReady, StateError
        If there are not so many left.
    """
    now.refuse_empty(n)
    taken: list[int] = []
    for first, last in now.free:
        taken += range(first, min(last, first + n - len(taken) - 1) + 1)
        if len(taken) == n:
            break
    if taken:
        set_counter(session, now.prefix, taken[-1] + 1)
    return taken


def give_back(session: Session, now: SequenceState, numbers: Numbers) -> list[FrameId]:
    """Take withdrawn numbers that were never manifested back from the tail; return their rows, which are gone.

    The counter does not go back beyond the begin of the block that was opened last, as what was skipped stays skipped,
    nor to a number that is in use on disk.
    """
    of_prefix = col(FrameId.prefix) == now.prefix
    kept = session.execute(
        select(col(FrameId.number))
        .where(of_prefix, or_(col(FrameId.status) == "live", is_manifested()))
        .order_by(col(FrameId.number).desc())
        .limit(1)
    ).scalar()
    begin = session.execute(
        select(func.max(FrameBlock.first_number)).where(
            col(FrameBlock.prefix) == now.prefix,
            col(FrameBlock.authority) == now.authority,
            col(FrameBlock.first_number) <= now.counter,
        )
    ).scalar()
    if begin is None:
        return []
    found = numbers.within([(begin, now.counter - 1)])
    counter = max(int(begin), int(kept or 0) + 1, found[0] + 1 if found else 1)
    tail = (of_prefix, col(FrameId.number) >= counter)
    rows = list(session.execute(select(FrameId).where(*tail).order_by(col(FrameId.number))).scalars())
    if rows:
        session.execute(delete(FrameId).where(*tail).execution_options(synchronize_session=False))
        set_counter(session, now.prefix, counter)
    return rows


def is_manifested() -> ColumnElement[bool]:
    """Return the condition that a frame ID was ever on a manifest, even on one that was withdrawn since."""
    return exists().where(col(ManifestLine.frame_id) == col(FrameId.frame_id))


def set_counter(session: Session, prefix: str, number: int) -> None:
    """Set the number that is given next; the counter must be locked."""
    session.execute(update(FrameSequence).where(col(FrameSequence.prefix) == prefix).values(next_number=number))


def newest_night(session: Session, prefix: str) -> str | None:
    """Return the date of the night that holds the newest frame ID in order; None if there is none."""
    return session.execute(select(NUMBERING.c.newest_date).where(NUMBERING.c.prefix == prefix)).scalar()


def first_date(session: Session, prefix: str) -> str | None:
    """Return the first night that gets numbers, as ``ledger ids start --from`` named it; None if it did not."""
    return session.execute(select(NUMBERING.c.from_date).where(NUMBERING.c.prefix == prefix)).scalar()
