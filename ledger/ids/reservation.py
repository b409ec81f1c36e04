"""What people say about the sequence: where it goes on, and which numbers an outside authority has handed out."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, select, update
from sqlmodel import Session, col

from ledger.config.blocks import LAST_NUMBER
from ledger.config.model import Config
from ledger.db.models import Entry, FrameBlock, FrameSequence
from ledger.db.store import Store, insert_if_new
from ledger.errors import Fault, Unconfirmed, UsageError
from ledger.ids.numbers import DIGITS, Numbers, Run, joined, numbers_on_disk
from ledger.ids.sequence import SequenceState, frame_id_of, free_runs, lock, sequence_state, set_counter
from ledger.night.pipeline import pipelines

#: Who skips more numbers than this has to say so: a busy night takes as many, a mistyped digit skips more.
FAR = 100_000


def start(
    store: Store, config: Config, prefix: str, number: int, *, from_date: str | None = None, is_sure: bool = False
) -> tuple[SequenceState, int]:
    """Name the next number, and the first night that gets numbers.

    Parameters
    ----------
    store, config
        The ledger.
    prefix : str
        Must be the configured one.
    number : int
        Above every number in the ledger, under the roots, at the destinations and in manifests. With an outside
        authority it is the next number of the blocks at or above it, and what they have below is given up.
    from_date : str, optional
        ``YYYYMMDD``; nights before it that have no numbers yet are outside, as before ``first_night``.
    is_sure : bool
        Whether a number far above all that are known is meant.

    Returns
    -------
    SequenceState
        After the change.
    int
        How many numbers of blocks that were handed out are given up by it.

    Raises
    ------
    UsageError
        If any of this does not hold.
    Unconfirmed
        If more than `FAR` numbers would be skipped, and nobody `is_sure`. A sequence that has not begun then waits for
        a number that is accepted, as it does after one that is too high: whoever names one does not mean the first.
    """
    if prefix != config.instrument.prefix:
        raise UsageError(
            f"unknown prefix {prefix!r}: expected {config.instrument.prefix!r}, the instrument's (instrument.prefix)"
        )
    if not 1 <= number <= config.ids.last:
        held = _held(store, prefix, number) if number > config.ids.last else ""
        raise UsageError(f"number {number}: expected one from 1 to {config.ids.last}{_limit(config)}{held}")
    refuse_unmounted(config)
    numbers = numbers_on_disk(store, config)
    try:
        with store.recorded("ids start", {"prefix": prefix, "number": number, "from": from_date}) as (session, run_id):
            before = lock(session, config, store.clock())
            if number < before.counter:
                raise UsageError(
                    f"{frame_id_of(prefix, number)} is below {frame_id_of(prefix, before.counter)}, where the sequence"
                    " is already: expected that or more; it only skips ahead"
                )
            blocks = _blocks_from(number, before)
            if found := numbers.within(blocks):
                raise UsageError(
                    f"frame ID {frame_id_of(prefix, found[0])} is in use in {str(found[1])!r}: expected a number above"
                    f" every one on disk, at the destination and in manifests, so {found[0] + 1} or more"
                )
            if not is_sure:
                _refuse_far(number, before, numbers)
            if from_date is not None:
                values = {"from_date": from_date}
                session.execute(update(FrameSequence).where(col(FrameSequence.prefix) == prefix).values(**values))
            handed_out = free_runs(session, prefix, "blocks", before.counter)
            _close(session, before)
            _open(session, store, before, blocks)
            set_counter(session, prefix, number)
            after = sequence_state(session, config)
            kept = after.remaining if after.authority == "blocks" else 0
            given_up = sum(last - first + 1 for first, last in handed_out) - kept
            detail = {"next": number, "before": before.counter, "from": from_date, "given_up": given_up}
            _entry(session, store, run_id, frame_id_of(prefix, number), detail)
            return after, given_up
    except Unconfirmed as exc:
        raise Unconfirmed(f"{exc}{_held(store, prefix, number)}") from exc


def _held(store: Store, prefix: str, number: int) -> str:
    """Keep a sequence that has not begun from beginning by itself; return, in words, that this is so."""
    with store.read() as session:
        has_begun = session.execute(select(col(FrameBlock.id)).where(col(FrameBlock.prefix) == prefix).limit(1)).first()
        is_held = session.get(FrameSequence, prefix) is not None
    if has_begun:
        return ""
    if not is_held:
        with store.recorded("ids start", {"prefix": prefix, "refused": number}) as (session, run_id):
            insert_if_new(session, FrameSequence, {"prefix": prefix, "next_number": 1})  # and no block to give from
            _entry(session, store, run_id, frame_id_of(prefix, 1), {"held": True, "refused": number})
    return "; until one is named that is accepted, no number is given"


def _limit(config: Config) -> str:
    """Return the key that sets the last number; empty if only its digits do."""
    return "" if config.ids.last == LAST_NUMBER else " (ids.last_number)"


def _refuse_far(number: int, before: SequenceState, numbers: Numbers) -> None:
    """Refuse to skip more numbers than anybody skips by intent."""
    known = before.counter - 1
    if found := numbers.within([(1, number)]):
        known = max(known, found[0])
    lost = [(known + 1, number - 1)]
    if before.authority == "blocks":
        lost = [(max(first, known + 1), min(last, number - 1)) for first, last in before.free]
    skipped = sum(max(0, last - first + 1) for first, last in lost)
    if skipped > FAR:
        highest = f"{frame_id_of(before.prefix, known)}, the highest that is known" if known else "none at all so far"
        raise Unconfirmed(
            f"{frame_id_of(before.prefix, number)} is far above {highest}: {skipped:,} numbers are skipped, and can"
            " never be given; expected the next number, or --yes if this one is meant"
        )


def refuse_unmounted(config: Config) -> None:
    """Refuse to judge what numbers are in use where they cannot be seen."""
    for name, pipeline in pipelines(config).items():
        places = [(f"{name}.root", config.pipelines[name].root)]
        today, *former = config.sites(name)
        places += [(f"{name}.destination", today.destination)] if today.has_copies else []
        places += [(f"{name}.former_destinations", site.destination) for site in former if site.has_copies]
        for key, place in places if pipeline.numbering is not None else ():
            if not place.is_dir():
                raise UsageError(
                    f"{key} {str(place)!r}: no such folder; numbers in use there could not be seen; expected it to be"
                    " there (is the disk mounted?)"
                )


def _blocks_from(number: int, before: SequenceState) -> list[Run]:
    """Return what the sequence may yield from `number` on."""
    if before.authority == "own":
        return [(number, LAST_NUMBER)]
    blocks = [(max(first, number), last) for first, last in before.free if last >= number]
    if not blocks:
        raise UsageError(
            f"no block that was handed out has {frame_id_of(before.prefix, number)} or more: expected a number of one"
            " that is not used up; `ledger ids reserve --from-file FILE` imports more"
        )
    return blocks


def _close(session: Session, before: SequenceState, authority: str | None = None) -> None:
    """Cut blocks (of one authority, or all) short at the counter: what they have not given yet they never will."""
    mine = [col(FrameBlock.prefix) == before.prefix]
    if authority is not None:
        mine.append(col(FrameBlock.authority) == authority)
    session.execute(delete(FrameBlock).where(*mine, col(FrameBlock.first_number) >= before.counter))
    session.execute(
        update(FrameBlock)
        .where(*mine, col(FrameBlock.last_number) >= before.counter)
        .values(last_number=before.counter - 1)
    )


def _open(session: Session, store: Store, before: SequenceState, blocks: Sequence[Run]) -> None:
    session.add_all(
        FrameBlock(
            prefix=before.prefix,
            first_number=first,
            last_number=last,
            authority=before.authority,
            created_us=store.clock(),
        )
        for first, last in blocks
    )
    session.flush()


def _entry(session: Session, store: Store, run_id: int, name: str, detail: Mapping[str, Any]) -> None:
    session.add(Entry(at_us=store.clock(), run_id=run_id, name=name, event="reserved", detail=dict(detail)))


def reserve(store: Store, config: Config, text: str, *, source: str) -> tuple[list[Run], SequenceState]:
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
    SequenceState
        After the change.

    Raises
    ------
    UsageError
        With every fault of the file; nothing is imported.
    """
    prefix = config.instrument.prefix
    if config.ids.authority != "blocks":
        raise UsageError(
            "ids.authority is own: the ledger makes its numbers itself; to use an outside authority's, set"
            " ids.authority: blocks"
        )
    refuse_unmounted(config)
    lines, faults = _parse(prefix, text)
    numbers = numbers_on_disk(store, config)
    with store.recorded("ids reserve", {"from_file": source}) as (session, run_id):
        before = lock(session, config, store.clock())
        _close(session, before, "own")
        query = select(FrameBlock).where(col(FrameBlock.prefix) == prefix)
        known = [(block.first_number, block.last_number) for block in session.execute(query).scalars()]
        faults |= _faults(lines, before, numbers, known)
        if faults or not lines:
            lines_of_faults = [str(Fault(f"line {n}", faults[n])) for n in sorted(faults)] or ["no frame ID in it"]
            raise UsageError("\n  ".join([f"{source}: nothing was imported", *lines_of_faults]))
        blocks = joined(lines.values())
        _open(session, store, before, blocks)
        for first, last in blocks:
            detail = {"first": first, "last": last, "source": source}
            _entry(session, store, run_id, frame_id_of(prefix, first), detail)
        return blocks, sequence_state(session, config)


def _parse(prefix: str, text: str) -> tuple[dict[int, Run], dict[int, str]]:
    """Return the numbers of each line, and what is wrong with others, by line number from 1."""
    lines, faults = {}, {}
    for line_number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        try:
            if words:
                lines[line_number] = _parse_run(prefix, words)
        except ValueError as exc:
            faults[line_number] = str(exc)
    return lines, faults


def _parse_run(prefix: str, words: Sequence[str]) -> Run:
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


def _faults(lines: Mapping[int, Run], before: SequenceState, numbers: Numbers, known: Iterable[Run]) -> dict[int, str]:
    """Return what is wrong with the numbers of lines, by line number."""
    found = {}
    known = joined(known)
    begins = [first for first, _ in known]
    are_in_use = numbers.within(joined(lines.values())) is not None
    highest = 0  # of the lines before, in order of numbers
    for (first, last), n in sorted((run, n) for n, run in lines.items()):
        shown = f"{frame_id_of(before.prefix, first)} to {frame_id_of(before.prefix, last)}"
        n_before = bisect_right(begins, last)  # blocks that begin at its end, or below
        if last > before.last_number:
            found[n] = f"{shown}: above the last number that is allowed, {before.last_number} (ids.last_number)"
        elif first < before.counter:
            found[n] = f"{shown}: the sequence has passed {frame_id_of(before.prefix, before.counter - 1)} already"
        elif n_before and known[n_before - 1][1] >= first:
            found[n] = f"{shown}: overlaps with a block that was imported before"
        elif first <= highest:
            found[n] = f"{shown}: overlaps with another line"
        elif are_in_use and (taken := numbers.within([(first, last)])):
            found[n] = f"{frame_id_of(before.prefix, taken[0])} is in use in {str(taken[1])!r}"
        highest = max(highest, last)
    return found
