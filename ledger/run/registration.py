"""Registration: raw files become rows, inspected once, and in quarantine with a reason if they cannot be used."""

import hashlib
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Row

from ledger.config.model import Config
from ledger.db.models import File
from ledger.db.store import chunks
from ledger.disk.outside import Found
from ledger.disk.raws import (
    SET_THE_CLOCK,
    RawOnDisk,
    Stats,
    advice_on_changed_raw,
    compare_with_disk,
    is_young,
    of_the_future,
    soonest_future_ns,
    streams_ns,
)
from ledger.errors import Interrupted
from ledger.night import decisions, record
from ledger.night.progress import unpaired
from ledger.night.record import STATS
from ledger.report import Stop
from ledger.run.steps import Steps
from ledger.run.twins import Inspected, Twins, is_salvaged
from stages import base
from stages.raw import RawFacts, inspect_all

#: In reasons that name keys of the configuration: another value may let the file be used.
OF_INSTRUMENT = "(instrument."

#: Files registered in one transaction, for which the database is asked at once.
BATCH = 500
#: Files inspected in one call, so that sending it costs little; calls in hand, so that workers go on meanwhile.
CALL, IN_HAND = 50, 20


def register(
    steps: Steps, *, final: bool = False, is_all: bool = True, is_new: bool = True, anew: bool = False
) -> str | None:
    """Inspect raw files that are new, or have changed since they were registered and are in no product yet.

    A file that changed under a product, is gone, or cannot be read now is a failure of this run; the others go on.

    Parameters
    ----------
    steps : Steps
        The hold on the night.
    final : bool
        Whether nobody writes to the night any more, so that a young file may be salvaged.
    is_all : bool
        Whether no other files of the night have to be checked again.
    is_new : bool
        Whether no products were made of the files, which the ledger has forgotten; see :func:`stages.raw.inspect`.
    anew : bool
        Whether a night that was numbered is paired as a whole.

    Returns
    -------
    str or None
        Why the night cannot be paired now: a raw file that is in no product yet is gone or cannot be read.
    """
    first_state = steps.journal.pipeline.states[0]
    # before the folders are read: what comes later is seen by the next run
    seen_ns = streams_ns(steps.folder, steps.config.instrument)
    store = steps.journal.store
    rows: dict[tuple[str, str], Row[Any]] = {}
    unstructured = record.unstructured(store, steps.journal.night, anew=anew)
    settled: dict[str, dict[str, Stats]] = defaultdict(dict)  # nothing to do about these unless they changed
    for seen in record.seen(store, steps.journal.night):
        rows[seen.folder, seen.name] = seen
        if seen.state != first_state and seen.pruned_us is None:
            settled[seen.folder][seen.name] = seen[STATS]
    for cube in steps.removed:
        rows.pop((cube.parent.name, cube.name), None)
    raws, unchanged = compare_with_disk(steps.folder, steps.config.instrument, settled)
    _note_future_times(steps, raws)
    for key in unchanged:
        del rows[key]
    found = decide(raws, rows, steps.config, first_state, unstructured)
    for row, raw in found.changed:
        reason = f"changed underneath: {raw.differences(row)}; {advice_on_changed_raw(steps.folder.path, row, raw)}"
        steps.result.failed.append((_name(row), reason))
    returned = [row for _, row in found.kept if row.pruned_us is not None]
    steps.journal.returned([(row.id, row.identity, _name(row)) for row in returned])
    for row in found.gone:
        reason = f"gone: expected {row.n_frames} frames in {steps.folder.path / row.folder}; put the file back"
        steps.result.failed.append((_name(row), reason))
    missing = [_name(row) for row in found.missing]
    known = record.raw_files(store, [row.id for _, row in found.due if row is not None])
    todo = [(raw, None if row is None else known[row.id]) for raw, row in found.due]
    missing += register_files(steps, todo, final=final, is_new=is_new)
    if wait := unpaired(missing):
        return wait.reason
    if is_all:
        steps.journal.looked_at(seen_ns)
    return None


def register_files(
    steps: Steps, todo: Sequence[tuple[RawOnDisk, File | None]], *, final: bool, is_new: bool
) -> list[str]:
    """Inspect raw files, and register them under their streams and names; return which could not be read.

    Parameters
    ----------
    steps : Steps
        The hold on the night.
    todo : sequence of (RawOnDisk, File or None)
        Files, each with its row if it has one.
    final, is_new
        As for :func:`register`.
    """
    unreadable: list[str] = []
    steps.reporter.phase(steps.journal.pipeline.states[0], len(todo))
    files = whole_first(inspected(steps.executor, steps.config, todo, steps.stop, is_new=is_new))
    while batch := list(islice(files, BATCH)):
        _stop_if_asked(steps.stop)
        unreadable += _register(steps, batch, final=final)
    return unreadable


def report_outside(steps: Steps) -> Found:
    """Return the files outside of a night, and add those of which nobody has decided to the remarks."""
    with steps.journal.store.read() as session:
        found = decisions.look(session, steps.config, steps.folder)
    for file in found.undecided:
        steps.result.remarks[f"files that may hold frames, not used: {file.folder} ({file.words})"] += 1
    return found


def _note_future_times(steps: Steps, raws: Iterable[RawOnDisk]) -> None:
    soonest_ns = soonest_future_ns(steps.config, steps.journal.store.clock())
    newest_ns = {f"{raw.stream.name}/{raw.name}": max(raw.mtime_ns, raw.timing_mtime_ns or 0) for raw in raws}
    if ahead := {name: time_ns for name, time_ns in newest_ns.items() if time_ns > soonest_ns}:
        steps.result.notes.append(f"{of_the_future(ahead)}; {SET_THE_CLOCK}")


@dataclass(frozen=True, slots=True)
class Decided:
    """What becomes of the raw files of a night. Rows are those of `File`, or what :func:`record.seen` returns of them.

    Attributes
    ----------
    due : list of (RawOnDisk, row or None)
        To be inspected: new, changed, or perhaps to be used otherwise than before.
    kept : list of (RawOnDisk, row)
        As they are on record.
    changed : list of (row, RawOnDisk)
        Other than on record although products were made of them.
    gone : list of rows
        Not on disk, and not removed by `ledger prune`.
    missing : list of rows
        Those of `gone` that are in no product yet.
    """

    due: list[tuple[RawOnDisk, Any]]
    kept: list[tuple[RawOnDisk, Any]]
    changed: list[tuple[Any, RawOnDisk]]
    gone: list[Any]
    missing: list[Any]


def decide(
    raws: Iterable[RawOnDisk],
    rows: Mapping[tuple[str, str], Any],
    config: Config,
    first_state: str,
    unstructured: frozenset[int],
    *,
    is_taken_back: bool = False,
) -> Decided:
    """Decide what becomes of the raw files of a night. Pure.

    Parameters
    ----------
    raws : iterable of RawOnDisk
        What is on disk.
    rows : mapping
        What is on record, by stream and name.
    config : Config
        Says whether cut-off files are salvaged.
    first_state : str
        State of raw files that are in no product.
    unstructured : frozenset of int
        See :func:`ledger.night.record.unstructured`.
    is_taken_back : bool
        Whether all products of the night are taken back first.
    """
    found = Decided([], [], [], [], [])
    left = dict(rows)
    for raw in raws:
        row = left.pop((raw.stream.name, raw.name), None)
        is_unused = row is not None and (is_taken_back or row.state == first_state)
        if row is None or (is_unused and is_due(raw, row, config, unstructured)):
            found.due.append((raw, row))
        elif raw.is_as_registered(row):
            found.kept.append((raw, row))
        else:
            found.changed.append((row, raw))
    found.gone.extend(row for row in left.values() if not row.quarantine_reason and row.pruned_us is None)
    found.missing.extend(row for row in found.gone if is_taken_back or row.state == first_state)
    return found


def is_due(raw: RawOnDisk, row: File | Row[Any], config: Config, unstructured: frozenset[int]) -> bool:
    """Whether a raw file without products is inspected again.

    It is if it changed, if it is one of the `unstructured`, if its reason for quarantine names a key of `instrument`,
    or if `salvage` was switched since: a file in quarantine may be of use now, a salvaged one no longer is.
    """
    if not raw.is_as_registered(row) or row.id in unstructured or OF_INSTRUMENT in (row.quarantine_reason or ""):
        return True
    if config.salvage:
        return row.quarantine_reason is not None
    return row.quarantine_reason is None and is_salvaged(row)


def _name(row: Any) -> str:
    return f"{row.folder}/{row.name}"


def waits(facts: RawFacts, config: Config, now_us: int, *, final: bool) -> str | None:
    """Return why a file that could be salvaged is not salvaged yet, or None."""
    if facts.salvaged and not final and is_young(config, now_us, facts.mtime_ns, facts.timing_mtime_ns):
        return (
            f"{facts.salvaged}; it may still be written: its first {facts.used_frames} frames are used by the first run"
            f" after it was left alone for {config.settle_minutes:g} minutes, or with --final"
        )
    return None


def whole_first(files: Iterable[Inspected]) -> Iterator[Inspected]:
    """Yield the files, cut-off ones last: of a file and its torn copy the file is used, whatever their names."""
    cut_off = []
    for file in files:
        if isinstance(file.found, RawFacts) and file.found.salvaged:
            cut_off.append(file)
        else:
            yield file
    yield from cut_off


def inspected(
    executor: Executor,
    config: Config,
    todo: Sequence[tuple[RawOnDisk, File | None]],
    stop: Stop,
    *,
    is_new: bool = True,
) -> Iterator[Inspected]:
    """Yield raw files with their rows and what workers found in them.

    Raises
    ------
    Interrupted
        Between two files, if a signal asked to stop.
    """
    in_hand: deque[tuple[Sequence[tuple[RawOnDisk, File | None]], Future[list[Any]]]] = deque()
    for call in chunks(todo, CALL):
        _stop_if_asked(stop)
        files = [(raw.cube, raw.stream) for raw, _ in call if not raw.fault]
        future = executor.submit(
            inspect_all, files, instrument=config.instrument, salvage=config.salvage, is_new=is_new
        )
        in_hand.append((call, future))
        if len(in_hand) == IN_HAND:
            yield from _of_call(*in_hand.popleft())
    for finished in in_hand:
        _stop_if_asked(stop)
        yield from _of_call(*finished)


def _of_call(call: Sequence[tuple[RawOnDisk, File | None]], future: Future[list[Any]]) -> Iterator[Inspected]:
    found = iter(future.result())
    for raw, row in call:
        yield Inspected(raw, row, base.BadInput(raw.fault) if raw.fault else next(found))


def _stop_if_asked(stop: Stop) -> None:
    if stop.signal_number is not None:
        raise Interrupted(stop.signal_number)


def fault_of(file: Inspected, config: Config, now_us: int, twins: Twins, *, final: bool) -> str | None:
    """Return why a raw file is put in quarantine, or None.

    Raises
    ------
    Retry
        If it, or a file that it may be a duplicate of, could not be read.
    """
    if isinstance(file.found, base.Retry):
        raise file.found
    if isinstance(file.found, base.BadInput):
        return str(file.found)
    return (
        waits(file.found, config, now_us, final=final)
        or twins.why_duplicate(file.raw.cube, file.found)
        or file.found.contradiction  # last: a copy in another night's folder is called a copy
    )


def _register(steps: Steps, files: Sequence[Inspected], *, final: bool) -> list[str]:
    """Register files in one transaction; return which could not be read."""
    rows: list[dict[str, Any]] = []
    details: dict[str, dict[str, Any]] = {}
    unreadable: list[str] = []
    twins = Twins(steps.journal.store, steps.journal.pipeline, files, steps.removed)
    for file in files:
        raw, facts = file.raw, file.found
        name = f"{raw.stream.name}/{raw.name}"
        steps.reporter.advance()
        try:
            reason = fault_of(file, steps.config, steps.journal.store.clock(), twins, final=final)
        except base.Retry as exc:
            steps.result.failed.append((name, str(exc)))
            unreadable.append(name)
            continue
        columns = _columns(raw, facts if reason is None else reason)
        if file.row is not None and all(getattr(file.row, column) == value for column, value in columns.items()):
            continue  # in quarantine, and nothing new about it
        known = {"camera": raw.stream.camera} if file.row is None else {"id": file.row.id}
        rows.append({"folder": raw.stream.name, "name": raw.name, **known, **columns})
        if not isinstance(facts, RawFacts) or reason is not None:
            steps.result.quarantined.append((name, str(reason)))
            details[columns["identity"]] = {"reason": reason}
            continue
        twins.add(raw.cube, facts)
        steps.result.registered += 1
        if facts.salvaged:
            what = f"its first {facts.used_frames} of {facts.n_frames} frames are used, {facts.lost_frames} are lost"
            steps.result.salvaged.append((name, f"{what}: {facts.salvaged}"))
            details[facts.identity] = {"salvaged": what, "lost_frames": facts.lost_frames, "reason": facts.salvaged}
    if rows:
        steps.journal.register(rows, details)
    return unreadable


def _columns(raw: RawOnDisk, found: Any) -> dict[str, Any]:
    """Return the columns of a raw row: facts, or the reason for quarantine."""
    stat = ("size_bytes", "mtime_ns", "timing_size_bytes", "timing_mtime_ns")
    if not isinstance(found, RawFacts):
        return {name: getattr(raw, name) for name in stat} | _quarantined(raw, found)
    frames = ("n_frames", "lost_frames", "first_us", "last_us", "exposure_us")
    kept = ("identity", *frames, "header_sha256", "timing_sha256", "cards")
    return {name: getattr(found, name) for name in (*kept, *stat)} | {"quarantine_reason": None}


def _quarantined(raw: RawOnDisk, reason: str) -> dict[str, Any]:
    text = f"quarantined\n{raw.stream.name}/{raw.name}\n{raw.folder.parent.name}\n"
    identity = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return {"identity": identity, "quarantine_reason": reason, "n_frames": 0, "lost_frames": 0}
