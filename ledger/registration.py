"""Raw files become rows: inspected once, put aside with a reason if they cannot be used."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Row

from ledger.config import Config
from ledger.errors import Interrupted
from ledger.models import File
from ledger.report import counted
from ledger.scan import RawOnDisk, Stats, compare_with_disk, is_young, streams_ns, ways_on
from ledger.steps import Steps
from ledger.store import STATS, Store
from stages import base
from stages.cards import padded
from stages.raw import RawFacts, inspect, same_bytes

#: Files registered in one transaction, and inspected at once.
BATCH = 200


@dataclass(frozen=True, slots=True)
class Inspected:
    """A raw file that was looked into.

    Attributes
    ----------
    raw : RawOnDisk
        The file.
    row : File or None
        Its row, if it has one.
    found : RawFacts, BadInput or Retry
        What is to be registered of it, or why that cannot be.
    """

    raw: RawOnDisk
    row: File | None
    found: RawFacts | base.BadInput | base.Retry


def register(steps: Steps, *, final: bool = False) -> str | None:
    """Inspect what is new on disk, or has changed since it was registered and is not in a product yet.

    A file that changed, is gone, or cannot be read now is a failure of this run; the others go on.

    Parameters
    ----------
    steps : Steps
        The hold on the night.
    final : bool
        Whether nobody writes to the night any more, so that a young file may be salvaged.

    Returns
    -------
    str or None
        Why the night cannot be paired now: a raw file whose frames have no product yet is not to be had.
    """
    first_state = steps.book.flow.states[0]
    seen_ns = streams_ns(steps.folder, steps.config.instrument)  # before looking: what comes later is seen later
    store = steps.book.store
    rows: dict[tuple[str, str], Row[Any]] = {}
    unstructured = store.unstructured(steps.book.night, first_state)
    settled: dict[str, dict[str, Stats]] = defaultdict(dict)  # unless they changed, nothing is to be done about these
    for seen in store.seen(steps.book.night):
        rows[seen.folder, seen.name] = seen
        if seen.state != first_state and seen.pruned_us is None:
            settled[seen.folder][seen.name] = seen[STATS]
    raws, unchanged = compare_with_disk(steps.folder, steps.config.instrument, settled)
    for key in unchanged:
        del rows[key]
    due = []
    returned = []
    for raw in raws:
        row = rows.pop((raw.stream.name, raw.name), None)
        if row is None or (row.state == first_state and is_due(raw, row, steps.config, unstructured)):
            due.append((raw, row.id if row else None))
        elif raw.is_as_registered(row):
            returned += [row] if row.pruned_us is not None else []
        else:
            reason = f"changed underneath: {raw.differences(row)}; {ways_on(steps.folder.path, row, raw)}"
            steps.result.failed.append((f"{row.folder}/{row.name}", reason))
    steps.book.returned([(row.id, row.identity, f"{row.folder}/{row.name}") for row in returned])
    gone = [row for row in rows.values() if not row.quarantine_reason and row.pruned_us is None]
    for row in gone:
        reason = f"gone: expected {row.n_frames} frames in {steps.folder.path / row.folder}; put the file back"
        steps.result.failed.append((f"{row.folder}/{row.name}", reason))
    missing = sum(row.state == first_state for row in gone)
    known = store.raw_files([row_id for _, row_id in due if row_id is not None])
    todo = [(raw, None if row_id is None else known[row_id]) for raw, row_id in due]
    steps.reporter.phase(first_state, len(todo))
    files = whole_first(_inspected(steps, todo))
    while batch := list(islice(files, BATCH)):
        _stop_if_asked(steps)
        missing += _register(steps, batch, final=final)
    if missing:
        return f"{counted(missing, 'raw file')} cannot be had, and pairing takes the whole night: see what failed"
    steps.book.looked_at(seen_ns)
    return None


def is_due(raw: RawOnDisk, row: File | Row[Any], config: Config, unstructured: frozenset[int]) -> bool:
    """Whether a raw file of which nothing was made yet is to be inspected again.

    That is if it changed, if it is one of the `unstructured`, or if `salvage` was switched since: what is in
    quarantine may be of use now, and what was salvaged is not any more.
    """
    if not raw.is_as_registered(row) or row.id in unstructured:
        return True
    if config.salvage:
        return row.quarantine_reason is not None
    return row.quarantine_reason is None and is_salvaged(row)


def waits(facts: RawFacts, config: Config, now_us: int, *, final: bool) -> str | None:
    """Return why a file that could be salvaged is not to be yet, or None."""
    if facts.salvaged and not final and is_young(config, now_us, facts.mtime_ns, facts.timing_mtime_ns):
        return (
            f"{facts.salvaged}; it may still be written: its first {facts.used_frames} frames are used by the first run"
            f" after it was left alone for {config.settle_minutes:g} minutes, or with --final"
        )
    return None


def whole_first(files: Iterable[Inspected]) -> Iterator[Inspected]:
    """Yield the files, those that were cut off after all others of the night.

    So of a file and its torn copy the file is used, whatever their names are.
    """
    cut_off = []
    for file in files:
        if isinstance(file.found, RawFacts) and file.found.salvaged:
            cut_off.append(file)
        else:
            yield file
    yield from cut_off


def _inspected(steps: Steps, todo: Sequence[tuple[RawOnDisk, File | None]]) -> Iterator[Inspected]:
    """Yield the files with what was found in them, looked into by many workers."""
    for start in range(0, len(todo), BATCH):
        _stop_if_asked(steps)
        batch = todo[start : start + BATCH]
        futures = [
            None
            if raw.fault
            else steps.executor.submit(
                inspect,
                raw.cube,
                raw.cube.with_suffix(".txt"),
                stream=raw.stream,
                instrument=steps.config.instrument,
                salvage=steps.config.salvage,
            )
            for raw, _ in batch
        ]
        for (raw, row), future in zip(batch, futures, strict=True):
            try:
                yield Inspected(raw, row, future.result() if future else base.BadInput(str(raw.fault)))
            except (base.BadInput, base.Retry) as exc:
                yield Inspected(raw, row, exc)


def _stop_if_asked(steps: Steps) -> None:
    if steps.stop.signal_number is not None:
        raise Interrupted(steps.stop.signal_number)


def _register(steps: Steps, files: Sequence[Inspected], *, final: bool) -> int:
    """Register files in one transaction; return how many could not be read."""
    rows: list[File] = []
    details: dict[str, dict[str, Any]] = {}
    unreadable = 0
    for file in files:
        raw, facts = file.raw, file.found
        row = file.row or File(
            night_id=int(steps.book.night.id or 0),
            pipeline=steps.book.flow.name,
            kind="raw",
            state=steps.book.flow.states[0],
            identity="",
            folder=raw.stream.name,
            name=raw.name,
            camera=raw.stream.camera,
        )
        name = f"{row.folder}/{row.name}"
        steps.reporter.advance()
        try:
            columns = _columns(file, steps, rows, final=final)
        except base.Retry as exc:
            steps.result.failed.append((name, str(exc)))
            unreadable += 1
            continue
        if all(getattr(row, column) == value for column, value in columns.items()):
            continue  # in quarantine, and nothing new about it
        for column, value in columns.items():
            setattr(row, column, value)
        rows.append(row)
        if row.quarantine_reason:
            steps.result.quarantined.append((name, row.quarantine_reason))
            details[row.identity] = {"reason": row.quarantine_reason}
            continue
        steps.result.registered += 1
        if isinstance(facts, RawFacts) and facts.salvaged:
            what = f"its first {facts.used_frames} of {facts.n_frames} frames are used, {facts.lost_frames} are lost"
            steps.result.salvaged.append((name, f"{what}: {facts.salvaged}"))
            details[row.identity] = {"salvaged": what, "lost_frames": facts.lost_frames, "reason": facts.salvaged}
    if rows:
        steps.book.register(rows, details)
    return unreadable


def _columns(file: Inspected, steps: Steps, before: Sequence[File], *, final: bool) -> dict[str, Any]:
    """Return the columns of a raw row: facts, or the reason for quarantine."""
    raw, facts = file.raw, file.found
    columns: dict[str, Any] = {
        "size_bytes": raw.size_bytes,
        "mtime_ns": raw.mtime_ns,
        "timing_size_bytes": raw.timing_size_bytes,
        "timing_mtime_ns": raw.timing_mtime_ns,
        "quarantine_reason": raw.fault,
    }
    if isinstance(facts, base.Retry):
        raise facts
    if isinstance(facts, base.BadInput):
        return columns | _quarantined(raw, str(facts))
    if reason := waits(facts, steps.config, steps.book.store.clock(), final=final):
        return columns | _quarantined(raw, reason)
    unregistered = [(steps.folder.path / row.folder / row.name, row) for row in before if not row.quarantine_reason]
    if reason := twin_of(steps.book.store, steps.book.flow.name, raw.cube, facts, unregistered):
        return columns | _quarantined(raw, reason)
    frames = ("n_frames", "lost_frames", "first_us", "last_us", "exposure_us")
    kept = ("identity", *frames, "header_sha256", "timing_sha256", "cards")
    stat = ("size_bytes", "mtime_ns", "timing_size_bytes", "timing_mtime_ns")
    return columns | {name: getattr(facts, name) for name in (*kept, *stat)}


def _quarantined(raw: RawOnDisk, reason: str) -> dict[str, Any]:
    text = f"quarantined\n{raw.stream.name}/{raw.name}\n{raw.folder.parent.name}\n"
    identity = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return {"identity": identity, "quarantine_reason": reason, "n_frames": 0, "lost_frames": 0}


def is_salvaged(facts: RawFacts | File | Row[Any]) -> bool:
    """Whether the end of a file is missing, be it padding alone: a whole one ends with a whole block."""
    size_bytes = int(facts.size_bytes or 0)
    return facts.lost_frames > 0 or size_bytes != padded(size_bytes)


def _is_alike(facts: RawFacts, other: RawFacts | File) -> bool:
    """Whether it is worth comparing their bytes."""
    return (facts.size_bytes, facts.timing_sha256) == (other.size_bytes, other.timing_sha256)


def twin_of(
    store: Store, pipeline: str, cube: Path, facts: RawFacts, unregistered: Sequence[tuple[Path, RawFacts | File]]
) -> str | None:
    """Return why a file is a duplicate of a registered one, or of one of `unregistered`; None if it is not.

    It is one if its bytes are the same. So is a copy that was cut off, by header and first time: its
    frames would be used twice.
    """
    candidates: list[tuple[Path, RawFacts | File]] = [
        (Path(night.root) / night.date / row.folder / row.name, row)
        for night, row in store.twins(pipeline, facts.header_sha256)
    ]
    candidates += [(path, other) for path, other in unregistered if other.header_sha256 == facts.header_sha256]
    for path, other in candidates:
        if path == cube or not path.is_file():
            continue
        if _is_alike(facts, other) and same_bytes(path, cube):
            return f"duplicate: the same bytes as {path}, which is registered"
        if facts.first_us == other.first_us and (is_salvaged(facts) or is_salvaged(other)):
            return (
                f"duplicate: the same frames as {path}, which is registered, and one of the two was cut off; keep one"
            )
    return None
