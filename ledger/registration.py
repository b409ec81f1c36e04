"""Raw files become rows: inspected once, put aside with a reason if they cannot be used."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from ledger.errors import Interrupted, NotReady
from ledger.models import File
from ledger.scan import RawOnDisk, raws_on_disk
from ledger.steps import Steps
from stages import base
from stages.raw import RawFacts, inspect, same_bytes

#: Files registered in one transaction.
BATCH = 200


def register(steps: Steps) -> None:
    """Inspect what is new on disk, or has changed since it was registered and is not in a product yet.

    A file that changed, or is gone, after products were made of it is a failure of this run, and the
    others go on.

    Raises
    ------
    NotReady
        If a registered file is gone before its frames have a product, or cannot be read now.
    """
    first_state = steps.book.flow.states[0]
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
    if any(row.state == first_state for row in gone):  # its frames have no product yet
        raise NotReady("; ".join(f"{name}: {error}" for name, error in steps.result.failed[:5]))
    steps.reporter.phase("raw", len(todo))
    for start in range(0, len(todo), BATCH):
        if steps.stop.signal_number is not None:
            raise Interrupted(steps.stop.signal_number)
        _register(steps, todo[start : start + BATCH])


def _register(steps: Steps, todo: Sequence[tuple[RawOnDisk, File | None]]) -> None:
    futures: list[Future[RawFacts]] = [
        steps.executor.submit(
            inspect,
            raw.cube,
            raw.cube.with_suffix(".txt"),
            stream=raw.stream,
            instrument=steps.config.instrument,
        )
        for raw, _ in todo
    ]
    rows: list[File] = []
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
        for name, value in _columns(raw, future, steps, rows).items():
            setattr(row, name, value)
        rows.append(row)
        name = f"{row.folder}/{row.name}"
        if row.quarantine_reason:
            steps.result.quarantined.append((name, row.quarantine_reason))
        else:
            steps.result.registered += 1
        steps.reporter.advance()
    steps.book.register(rows)


def _columns(raw: RawOnDisk, future: Future[RawFacts], steps: Steps, before: Sequence[File]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "size_bytes": raw.size_bytes,
        "mtime_ns": raw.mtime_ns,
        "timing_size_bytes": raw.timing_size_bytes,
        "timing_mtime_ns": raw.timing_mtime_ns,
        "quarantine_reason": None,
    }
    try:
        facts = future.result()
    except base.BadInput as exc:
        return columns | _quarantined(raw, str(exc))
    except base.Retry as exc:
        raise NotReady(str(exc)) from exc
    twin = _twin(raw, facts, steps, before)
    if twin is not None:
        return columns | _quarantined(raw, f"duplicate: the same bytes as {twin}, which is registered")
    return columns | {
        "identity": facts.identity,
        "n_frames": facts.n_frames,
        "first_us": facts.first_us,
        "last_us": facts.last_us,
        "exposure_us": facts.exposure_us,
        "header_sha256": facts.header_sha256,
        "timing_sha256": facts.timing_sha256,
        "cards": facts.cards,
        "size_bytes": facts.size_bytes,
        "mtime_ns": facts.mtime_ns,
        "timing_size_bytes": facts.timing_size_bytes,
        "timing_mtime_ns": facts.timing_mtime_ns,
    }


def _quarantined(raw: RawOnDisk, reason: str) -> dict[str, Any]:
    text = f"quarantined\n{raw.stream.name}/{raw.cube.name}\n{raw.cube.parent.parent.name}\n"
    return {
        "identity": hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest(),
        "quarantine_reason": reason,
    }


def _twin(raw: RawOnDisk, facts: RawFacts, steps: Steps, before: Sequence[File]) -> Path | None:
    """Return a registered raw file of the same bytes, or None. Sizes and hashes are compared first."""
    pipeline = steps.book.flow.name
    candidates = [
        Path(night.root) / night.date / row.folder / row.name
        for night, row in steps.book.store.twins(pipeline, facts.size_bytes, facts.header_sha256, facts.timing_sha256)
    ]
    candidates += [
        steps.folder.path / row.folder / row.name
        for row in before
        if not row.quarantine_reason
        and (row.size_bytes, row.header_sha256, row.timing_sha256)
        == (facts.size_bytes, facts.header_sha256, facts.timing_sha256)
    ]
    return next((p for p in candidates if p != raw.cube and p.is_file() and same_bytes(p, raw.cube)), None)
