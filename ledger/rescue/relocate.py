"""Nights that lie under another root than they are registered under: disks and folders change over the years."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlmodel import col

from ledger.audit import laws
from ledger.audit.deep import audit_deeply
from ledger.db.models import Entry, File, Night
from ledger.disk.access import is_folder
from ledger.disk.raws import stat_raw
from ledger.errors import UsageError
from ledger.night import record
from ledger.night.lease import read_hold, why_unsettled
from ledger.report import Relocated
from ledger.run.context import Context
from stages.instrument import Stream


def relocate(context: Context, *, changes: bool, deep: bool = False) -> Iterator[Relocated]:
    """Look for nights under the configured roots that are registered under others; change the record of each.

    A night's record is changed only if what is there is what is on record: the names of all files, the sizes and times
    of raw files, and the sizes of compressed products. With the root set back, the same command takes it back.

    Parameters
    ----------
    context : Context
        The ledger.
    changes : bool
        Whether the record is changed, or only looked at.
    deep : bool
        Whether all files are read, and compared with the record byte by byte.

    Yields
    ------
    Relocated
        Every such night, oldest first.

    Raises
    ------
    UsageError
        If the root of the main pipeline is not there.
    """
    store, config = context.store, context.config
    if config.site().has_nights and not is_folder(config.site().root):
        raise UsageError(
            f"{config.main}.root {str(config.site().root)!r}: no such folder; expected the nights there (is the disk"
            " mounted?); mount it, or correct the configuration"
        )
    for night in laws.nights_of(store):
        site = config.site(night.pipeline) if night.pipeline in config.pipelines else None
        if site is None or not site.has_nights or Path(night.root) == site.root:
            continue
        found = Relocated(night.pipeline, night.date, night.root, str(site.root))
        found.faults.extend(_faults(context, night, site.root, deep=deep))
        if changes and not found.faults and (fault := _change(context, night, found)):
            found.faults.append(fault)
        yield found


def _faults(context: Context, night: Night, root: Path, *, deep: bool) -> Iterator[str]:
    """Yield what of a night is not at a root as it is on record."""
    store, config = context.store, context.config
    if not is_folder(root / night.date):
        yield f"{root / night.date}: no such folder; expected the night there, or its root as it was"
        return
    with store.read() as session:
        hold = read_hold(session, night, store.common_us(session))
    if why := why_unsettled(hold, hold):
        yield f"{why}; expected a night at rest"
        return
    there = Night.model_validate(night.model_dump() | {"root": str(root)})
    for violation in laws.check_night(store, config, there):
        times = "; were its files copied without their times? `cp -p` and `rsync -a` keep them"
        yield violation.what + (times if violation.law == "raw_unchanged" else "")
    yield from _sizes(context, there)
    yield from _put_aside(context, night, there)
    if deep:
        report = audit_deeply(store, config, nights=[there], jobs=context.jobs, reporter=context.reporter)
        yield from (violation.what for violation in report.violations)
        yield from (f"{found.reason}; expected a night at rest" for found in report.explained if found.kind == "busy")


def _sizes(context: Context, night: Night) -> Iterator[str]:
    """Yield compressed products of another size than on record."""
    query = select(col(File.folder), col(File.files), col(File.size_bytes)).where(
        col(File.night_id) == night.id,
        col(File.kind) == "product",
        col(File.sha256).is_not(None),
        col(File.pruned_us).is_(None),
    )
    with context.store.read() as session:
        rows: Sequence[Any] = session.execute(query).all()
    for folder, files, size_bytes in rows:
        cube = Path(night.root, night.date, folder, files[0])
        if cube.is_file() and cube.stat().st_size != size_bytes:
            yield f"{cube}: {cube.stat().st_size} bytes, {size_bytes} on record"


def _put_aside(context: Context, night: Night, there: Night) -> Iterator[str]:
    """Yield raw files in quarantine that are not there as they were; one that was gone before need not be there."""
    before, now = (Path(row.root, row.date) for row in (night, there))
    for row in (row for row in record.raws(context.store, night) if row.quarantine_reason and row.pruned_us is None):
        cube = now / row.folder / row.name
        was_gone = is_folder(before) and not (before / row.folder / row.name).exists()
        if not cube.exists():
            if not was_gone:
                yield f"{cube}, which is in quarantine, is not there; expected it as it was"
        elif not (raw := stat_raw(cube, Stream(row.folder, row.camera))).is_as_registered(row):
            yield f"{cube}, which is in quarantine: {raw.differences(row)}"


def _change(context: Context, night: Night, found: Relocated) -> str | None:
    """Change the record of a night, unless somebody did something to it meanwhile; return what."""
    store, detail = context.store, {"from": found.before, "to": found.now}
    with store.recorded("relocate", {"date": night.date, "pipeline": night.pipeline}) as (session, run_id):
        hold = read_hold(session, night, store.common_us(session))
        is_elsewhere = session.execute(select(col(Night.root)).where(col(Night.id) == night.id)).scalar() != night.root
        if hold.run_id is not None or is_elsewhere:
            return "a run works on it, or it was relocated meanwhile; run the command again"
        session.execute(update(Night).where(col(Night.id) == night.id).values(root=detail["to"]))
        entry = Entry(at_us=context.store.clock(), run_id=run_id, night_id=night.id, name=night.date, event="relocated")
        entry.detail = dict(detail)
        session.add(entry)
    return None
