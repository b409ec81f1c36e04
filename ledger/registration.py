"""Raw files become rows: inspected once, put aside with a reason if they cannot be used."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from ledger.errors import Interrupted
from ledger.models import File
from ledger.scan import RawOnDisk, raws_on_disk, streams_ns
from ledger.steps import Steps
from ledger.store import Store
from stages import base
from stages.raw import RawFacts, inspect, same_bytes

#: Files registered in one transaction.
BATCH = 200


def register(steps: Steps) -> str | None:
    """Inspect what is new on disk, or has changed since it was registered and is not in a product yet.

    A file that changed, is gone, or cannot be read now is a failure of this run; the others go on.

    Returns
    -------
    str or None
        Why the night cannot be paired now: a raw file whose frames have no product yet is not to be had.
    """
    first_state = steps.book.flow.states[0]
    seen_ns = streams_ns(steps.folder, steps.config.instrument)  # before looking: what comes later is seen later
    rows = {(row.folder, row.name): row for row in steps.book.store.raws(steps.book.night)}
    todo = []
    for raw in raws_on_disk(steps.folder, steps.config.instrument):
        row = rows.pop((raw.stream.name, raw.cube.name), None)
        if row is None or (row.state == first_state and not raw.is_as_registered(row)):
            todo.append((raw, row))
        elif not raw.is_as_registered(row):
            reason = (
                f"changed underneath: found {raw.size_bytes} bytes, expected {row.size_bytes} bytes, and the mtime and"
                " txt that it was registered with; raw files are read-only: put it back"
            )
            steps.result.failed.append((f"{row.folder}/{row.name}", reason))
    gone = [row for row in rows.values() if not row.quarantine_reason]
    for row in gone:
        reason = f"gone: expected {row.n_frames} frames in {steps.folder.path / row.folder}; put the file back"
        steps.result.failed.append((f"{row.folder}/{row.name}", reason))
    missing = sum(row.state == first_state for row in gone)
    steps.reporter.phase(first_state, len(todo))
    for start in range(0, len(todo), BATCH):
        if steps.stop.signal_number is not None:
            raise Interrupted(steps.stop.signal_number)
        missing += _register(steps, todo[start : start + BATCH])
    if missing:
        return f"{missing} raw files cannot be had, and pairing takes the whole night: see what failed"
    steps.book.looked_at(seen_ns)
    return None


def _register(steps: Steps, todo: Sequence[tuple[RawOnDisk, File | None]]) -> int:
    """Register files in one transaction; return how many could not be read."""
    futures: list[Future[RawFacts] | None] = [
        None
        if raw.fault
        else steps.executor.submit(
            inspect,
            raw.cube,
            raw.cube.with_suffix(".txt"),
            stream=raw.stream,
            instrument=steps.config.instrument,
        )
        for raw, _ in todo
    ]
    rows: list[File] = []
    unreadable = 0
    for (raw, old), future in zip(todo, futures, strict=True):
        row = old or File(
            night_id=int(steps.book.night.id or 0),
            pipeline=steps.book.flow.name,
            kind="raw",
            state=steps.book.flow.states[0],
            identity="",
            folder=raw.stream.name,
            name=raw.cube.name,
            camera=raw.stream.camera,
        )
        name = f"{row.folder}/{row.name}"
        steps.reporter.advance()
        try:
            columns = _columns(raw, future, steps, rows)
        except base.Retry as exc:
            steps.result.failed.append((name, str(exc)))
            unreadable += 1
            continue
        for column, value in columns.items():
            setattr(row, column, value)
        rows.append(row)
        if row.quarantine_reason:
            steps.result.quarantined.append((name, row.quarantine_reason))
        else:
            steps.result.registered += 1
    if rows:
        steps.book.register(rows)
    return unreadable


def _columns(raw: RawOnDisk, future: Future[RawFacts] | None, steps: Steps, before: Sequence[File]) -> dict[str, Any]:
    """Return the columns of a raw row: facts, or the reason for quarantine."""
    columns: dict[str, Any] = {
        "size_bytes": raw.size_bytes,
        "mtime_ns": raw.mtime_ns,
        "timing_size_bytes": raw.timing_size_bytes,
        "timing_mtime_ns": raw.timing_mtime_ns,
        "quarantine_reason": raw.fault,
    }
    if future is None:
        return columns | _quarantined(raw, str(raw.fault))
    try:
        facts = future.result()
    except base.BadInput as exc:
        return columns | _quarantined(raw, str(exc))
    twin = twin_of(steps.book.store, steps.book.flow.name, raw.cube, facts, _as_twins(steps, before))
    if twin is not None:
        return columns | _quarantined(raw, f"duplicate: the same bytes as {twin}, which is registered")
    kept = ("identity", "n_frames", "first_us", "last_us", "exposure_us", "header_sha256", "timing_sha256", "cards")
    stat = ("size_bytes", "mtime_ns", "timing_size_bytes", "timing_mtime_ns")
    return columns | {name: getattr(facts, name) for name in (*kept, *stat)}


def _quarantined(raw: RawOnDisk, reason: str) -> dict[str, Any]:
    text = f"quarantined\n{raw.stream.name}/{raw.cube.name}\n{raw.cube.parent.parent.name}\n"
    identity = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return {"identity": identity, "quarantine_reason": reason}


#: Size, hash of the header, hash of the timing: what is compared before bytes are.
Likeness = tuple[int | None, str | None, str | None]


def likeness(facts: RawFacts | File) -> Likeness:
    """Return what two files must have in common to be worth a comparison of their bytes."""
    return (facts.size_bytes, facts.header_sha256, facts.timing_sha256)


def _as_twins(steps: Steps, rows: Sequence[File]) -> list[tuple[Path, Likeness]]:
    return [(steps.folder.path / row.folder / row.name, likeness(row)) for row in rows if not row.quarantine_reason]


def twin_of(
    store: Store, pipeline: str, cube: Path, facts: RawFacts, unregistered: Sequence[tuple[Path, Likeness]]
) -> Path | None:
    """Return a raw file of the same bytes: a registered one, or one of `unregistered`; None if there is none."""
    size_bytes, header_sha256, timing_sha256 = facts.size_bytes, facts.header_sha256, facts.timing_sha256
    candidates = [
        Path(night.root) / night.date / row.folder / row.name
        for night, row in store.twins(pipeline, size_bytes, header_sha256, timing_sha256)
    ]
    candidates += [path for path, like in unregistered if like == likeness(facts)]
    return next((p for p in candidates if p != cube and p.is_file() and same_bytes(p, cube)), None)
