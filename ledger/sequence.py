"""The sequence of a prefix: a counter, and the blocks of numbers that it may yield (DESIGN section 8).

Whoever changes anything here locks the counter's row first; an aborted transaction gives its numbers
back. A number comes from a block or not at all, so what lies between blocks is an explained gap.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, exists, or_, select, update
from sqlmodel import Session, col

from ledger.config import Config
from ledger.errors import BadInput, Fault, NotReady, StateError
from ledger.models import Entry, FrameBlock, FrameId, FrameSequence, ManifestLine, Night
from ledger.numbers import Numbers, Run, numbers_on_disk
from ledger.report import counted
from ledger.store import Store, insert_if_new

DIGITS = 8
LAST_NUMBER = 10**DIGITS - 1
#: Of a frame ID, in characters: four letters and the digits.
LENGTH = 4 + DIGITS


def frame_id_of(prefix: str, number: int) -> str:
    """Return the frame ID of a number."""
    return f"{prefix}{number:0{DIGITS}d}"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a sequence stands.

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
    """

    prefix: str
    authority: str
    counter: int
    free: tuple[Run, ...]
    from_date: str | None

    @property
    def left(self) -> int:
        """Return how many numbers it may still yield."""
        return sum(last - first + 1 for first, last in self.free)

    @property
    def next_id(self) -> str | None:
        """Return the frame ID that is given next; None if there is none to give."""
        return frame_id_of(self.prefix, self.free[0][0]) if self.free else None

    def refuse_taken(self, numbers: Numbers) -> None:
        """Refuse to give numbers that somebody uses already.

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
            f"run `ledger ids start {self.prefix} {number + 1}` if those files keep their numbers"
            if self.authority == "own"
            else "ask the authority which of the two the block belongs to"
        )
        raise NotReady(
            f"frame ID {frame_id_of(self.prefix, number)} is in use in {str(where)!r}, and the sequence has it still to"
            f" give (next is {self.next_id}): expected every number on disk, at the destination and in manifests to be"
            f" given already; {cure}, or move them away"
        )

    def refuse_empty(self, wanted: int) -> None:
        """Refuse to begin what the numbers do not suffice for.

        Raises
        ------
        NotReady
            If an outside authority has handed out too few.
        StateError
            If the sequence itself has come to its end.
        """
        if wanted <= self.left:
            return
        found = f"prefix {self.prefix}: {counted(wanted, 'frame ID')} wanted, and {self.left} left"
        if self.authority == "blocks":
            raise NotReady(
                f"{found} of the blocks that were handed out; import more with `ledger ids reserve --from-file FILE`"
            )
        if not self.free and self.counter <= LAST_NUMBER:  # other numbers came from blocks before
            raise NotReady(f"{found} of its own; `ledger ids start {self.prefix} NUMBER` says where to go on")
        raise StateError(f"{found}: the last is {LAST_NUMBER}; a new prefix is needed (instrument.prefix)")


def standing(session: Session, config: Config) -> Standing:
    """Return where the configured sequence stands."""
    prefix, authority = config.instrument.prefix, config.ids.authority
    row = session.get(FrameSequence, prefix, populate_existing=True)
    counter = row.next_number if row else 1
    query = select(FrameBlock).where(col(FrameBlock.prefix) == prefix, col(FrameBlock.last_number) >= counter)
    blocks = session.execute(query.order_by(col(FrameBlock.first_number))).scalars().all()
    free = tuple((max(b.first_number, counter), b.last_number) for b in blocks if b.authority == authority)
    if row is None and authority == "own":
        free = ((1, LAST_NUMBER),)  # as `lock` is going to make it
    return Standing(prefix, authority, counter, free, row.from_date if row else None)


def lock(session: Session, config: Config, now_us: int) -> Standing:
    """Lock the counter, made if it is new, until the transaction ends; return where the sequence stands."""
    prefix = config.instrument.prefix
    query = select(FrameSequence).where(col(FrameSequence.prefix) == prefix).with_for_update()
    if session.execute(query).scalar_one_or_none() is None:
        insert_if_new(session, FrameSequence, {"prefix": prefix, "next_number": 1})
        session.execute(query).scalar_one()
        if config.ids.authority == "own":
            block = {"first_number": 1, "last_number": LAST_NUMBER, "authority": "own", "created_us": now_us}
            insert_if_new(session, FrameBlock, {"prefix": prefix, **block})
    return standing(session, config)


def take(session: Session, config: Config, n: int) -> list[int]:
    """Take the next `n` numbers; the counter must be locked.

    Raises
    ------
    NotReady, StateError
        If there are not so many left.
    """
    now = standing(session, config)
    now.refuse_empty(n)
    taken: list[int] = []
    for first, last in now.free:
        taken += range(first, min(last, first + n - len(taken) - 1) + 1)
        if len(taken) == n:
            break
    if taken:
        _set_counter(session, now.prefix, taken[-1] + 1)
    return taken


def give_back(session: Session, config: Config) -> list[FrameId]:
    """Take withdrawn numbers that were never manifested back from the tail; return their rows, which are gone.

    Not beyond the begin of the block that the sequence is in: what it skipped stays skipped.
    """
    now = standing(session, config)
    manifested = exists().where(col(ManifestLine.frame_id) == col(FrameId.frame_id))
    of_prefix = col(FrameId.prefix) == now.prefix
    kept = session.execute(
        select(col(FrameId.number))
        .where(of_prefix, or_(col(FrameId.status) == "live", manifested))
        .order_by(col(FrameId.number).desc())
        .limit(1)
    ).scalar()
    begin = session.execute(
        select(col(FrameBlock.first_number)).where(
            col(FrameBlock.prefix) == now.prefix,
            col(FrameBlock.first_number) < now.counter,
            col(FrameBlock.last_number) >= now.counter - 1,
        )
    ).scalar()
    if begin is None:
        return []
    counter = max(int(kept or 0) + 1, int(begin))
    tail = (of_prefix, col(FrameId.number) >= counter)
    rows = list(session.execute(select(FrameId).where(*tail).order_by(col(FrameId.number))).scalars())
    if rows:
        session.execute(delete(FrameId).where(*tail).execution_options(synchronize_session=False))
        _set_counter(session, now.prefix, counter)
    return rows


def _set_counter(session: Session, prefix: str, number: int) -> None:
    session.execute(update(FrameSequence).where(col(FrameSequence.prefix) == prefix).values(next_number=number))


# what people say about the sequence


def start(store: Store, config: Config, prefix: str, number: int, *, from_date: str | None = None) -> Standing:
    """Name the next number, and the first night that gets numbers.

    Parameters
    ----------
    store, config
        The ledger.
    prefix : str
        Must be the configured one.
    number : int
        Above every number in the ledger, under the roots, at the destinations and in manifests.
    from_date : str, optional
        ``YYYYMMDD``; nights before it are outside, as before ``first_night``.

    Returns
    -------
    Standing
        After the change.

    Raises
    ------
    BadInput
        If any of this does not hold; nothing is changed.
    """
    _check_prefix(config, prefix)
    if config.ids.authority != "own":
        raise BadInput(
            "ids.authority is blocks: the numbers come from an outside authority; expected `ledger ids reserve"
            " --from-file FILE`"
        )
    if not 1 <= number <= LAST_NUMBER:
        raise BadInput(f"number {number}: expected one from 1 to {LAST_NUMBER}")
    numbers = numbers_on_disk(store, config)
    with store.recorded("ids start", {"prefix": prefix, "number": number, "from": from_date}) as (session, run_id):
        before = lock(session, config, store.clock())
        if number < before.counter:
            raise BadInput(
                f"{frame_id_of(prefix, number)} is below the sequence, which has given every number below"
                f" {frame_id_of(prefix, before.counter)}: expected that or more; it only skips ahead"
            )
        if found := numbers.within([(number, LAST_NUMBER)]):
            raise BadInput(
                f"frame ID {frame_id_of(prefix, found[0])} is in use in {str(found[1])!r}: expected a number above"
                f" every one on disk, at the destination and in manifests, so {found[0] + 1} or more"
            )
        if from_date is not None:
            _check_from(session, config, from_date)
        _close(session, before, ("own", "blocks"))
        _add_blocks(session, store, before, [(number, LAST_NUMBER)])
        _set_counter(session, prefix, number)
        if from_date is not None:
            values = {"from_date": from_date}
            session.execute(update(FrameSequence).where(col(FrameSequence.prefix) == prefix).values(**values))
        detail = {"next": number, "before": before.counter, "from": from_date}
        _entry(session, store, run_id, frame_id_of(prefix, number), detail)
        return standing(session, config)


def _check_prefix(config: Config, prefix: str) -> None:
    if prefix != config.instrument.prefix:
        raise BadInput(
            f"unknown prefix {prefix!r}: expected {config.instrument.prefix!r}, the instrument's (instrument.prefix)"
        )


def _check_from(session: Session, config: Config, from_date: str) -> None:
    query = (
        select(col(Night.date))
        .join(FrameId, col(FrameId.night_id) == col(Night.id))
        .where(col(FrameId.prefix) == config.instrument.prefix, col(FrameId.status) == "live")
        .where(col(Night.date) >= from_date)
    )
    if numbered := session.execute(query.order_by(col(Night.date)).limit(1)).scalar():
        raise BadInput(
            f"--from {from_date}: night {numbered} has frame IDs already; expected a date after every numbered night"
        )


def _close(session: Session, before: Standing, authorities: tuple[str, ...]) -> None:
    """Cut blocks short at the counter: what they have not given yet they never will."""
    mine = (col(FrameBlock.prefix) == before.prefix, col(FrameBlock.authority).in_(authorities))
    session.execute(delete(FrameBlock).where(*mine, col(FrameBlock.first_number) >= before.counter))
    session.execute(
        update(FrameBlock)
        .where(*mine, col(FrameBlock.last_number) >= before.counter)
        .values(last_number=before.counter - 1)
    )


def _add_blocks(session: Session, store: Store, before: Standing, runs: list[Run]) -> None:
    session.add_all(
        FrameBlock(
            prefix=before.prefix,
            first_number=first,
            last_number=last,
            authority=before.authority,
            created_us=store.clock(),
        )
        for first, last in runs
    )
    session.flush()


def _entry(session: Session, store: Store, run_id: int, name: str, detail: Mapping[str, Any]) -> None:
    session.add(Entry(at_us=store.clock(), run_id=run_id, name=name, event="reserved", detail=dict(detail)))


def reserve(store: Store, config: Config, text: str, *, source: str) -> tuple[list[Run], Standing]:
    """Import numbers that an outside authority has handed out.

    Parameters
    ----------
    store, config
        The ledger.
    text : str
        A line for each frame ID, or for the first and last of a block; ``#`` begins a comment.
    source : str
        What to call it: the file's name.

    Returns
    -------
    blocks : list of (int, int)
        First and last of what was imported, adjoining lines as one.
    Standing
        After the change.

    Raises
    ------
    BadInput
        With every fault of the file; nothing is imported.
    """
    prefix = config.instrument.prefix
    if config.ids.authority != "blocks":
        raise BadInput(
            "ids.authority is own: the ledger makes its numbers itself; to use an outside authority's, set"
            " ids.authority: blocks"
        )
    numbers = numbers_on_disk(store, config)
    with store.recorded("ids reserve", {"from_file": source}) as (session, run_id):
        before = lock(session, config, store.clock())
        _close(session, before, ("own",))
        query = select(FrameBlock).where(col(FrameBlock.prefix) == prefix)
        known = [(b.first_number, b.last_number) for b in session.execute(query).scalars()]
        faults: list[Fault] = []
        runs: list[Run] = []
        for line_number, line in enumerate(text.splitlines(), start=1):
            words = line.partition("#")[0].replace(",", " ").split()
            if not words:
                continue
            where = f"line {line_number}"
            try:
                run = _parse_run(prefix, words)
                _check_run(run, before, numbers, known + runs)
            except ValueError as exc:
                faults.append(Fault(where, str(exc)))
            else:
                runs.append(run)
        if faults or not runs:
            told = "\n  ".join(str(fault) for fault in faults) or "no frame ID in it"
            raise BadInput(f"{source}: nothing was imported\n  {told}")
        blocks = _joined(runs)
        _add_blocks(session, store, before, blocks)
        for first, last in blocks:
            detail = {"first": first, "last": last, "source": source}
            _entry(session, store, run_id, frame_id_of(prefix, first), detail)
        return blocks, standing(session, config)


def _parse_run(prefix: str, words: list[str]) -> Run:
    """Return the numbers of one ID, or of the first and last ID of a block."""
    numbers = []
    for word in words:
        digits = word.removeprefix(prefix)
        if digits == word or len(digits) != DIGITS or not (digits.isascii() and digits.isdigit()) or not int(digits):
            raise ValueError(f"{word!r}: expected a frame ID such as {frame_id_of(prefix, 1)}")
        numbers.append(int(digits))
    if len(numbers) > 2 or numbers[0] > numbers[-1]:
        raise ValueError(f"{' '.join(words)!r}: expected one frame ID, or the first and the last of a block")
    return numbers[0], numbers[-1]


def _check_run(run: Run, before: Standing, numbers: Numbers, known: list[Run]) -> None:
    first, last = run
    shown = f"{frame_id_of(before.prefix, first)} to {frame_id_of(before.prefix, last)}"
    if first < before.counter:
        raise ValueError(f"{shown}: the sequence has passed {frame_id_of(before.prefix, before.counter - 1)} already")
    if any(first <= high and last >= low for low, high in known):
        raise ValueError(f"{shown}: overlaps with a block that was imported before, or above in this file")
    if found := numbers.within([run]):
        raise ValueError(f"{shown}: {frame_id_of(before.prefix, found[0])} is in use in {str(found[1])!r}")


def _joined(runs: list[Run]) -> list[Run]:
    """Return runs in order, adjoining ones as one."""
    joined: list[Run] = []
    for first, last in sorted(runs):
        if joined and joined[-1][1] == first - 1:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined


def newest_night(session: Session, prefix: str) -> str | None:
    """Return the date of the night that holds the newest frame ID in order; None if there is none."""
    query = (
        select(col(Night.date))
        .join(FrameId, col(FrameId.night_id) == col(Night.id))
        .where(col(FrameId.prefix) == prefix, col(FrameId.status) == "live", col(FrameId.late).is_(False))
        .order_by(col(FrameId.number).desc())
        .limit(1)
    )
    return session.execute(query).scalar()
