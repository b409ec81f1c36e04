"""What keeps the ledger from working, or will: places, database, backups, frame IDs, and what dead runs left.

Changes nothing: what it says will be settled is settled by the next run of the night.
"""

import os
import platform
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from sqlalchemy import or_
from sqlmodel import col, func, select

from ledger.audit import laws
from ledger.clock import show_us
from ledger.config.model import Config
from ledger.config.site import Site
from ledger.db import backup
from ledger.db.models import File, Night, Run
from ledger.db.store import Store
from ledger.disk.access import is_folder
from ledger.disk.dates import Dates, is_date
from ledger.disk.mounts import file_system_of
from ledger.disk.nights import NightFolder, night_of
from ledger.disk.outside import grouped
from ledger.disk.raws import SET_THE_CLOCK, of_the_future, soonest_future_ns
from ledger.disk.uncarried import how_to_carry, stay_behind, uncarried
from ledger.errors import LedgerError, UsageError
from ledger.ids import gate
from ledger.ids.numbers import numbers_on_disk
from ledger.ids.sequence import sequence_state
from ledger.night import record
from ledger.night.given_out import contradictions, doubt, in_doubt
from ledger.night.lease import Hold, read_hold, why_unsettled
from ledger.night.products import put_back
from ledger.night.progress import unproven
from ledger.run.hold import leftovers
from ledger.run.machine import Machine
from ledger.text import counted
from stages.base import BadInput, Host, StageError
from stages.transport.remote import Remote

Verdict = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    subject : str
        What it is about: a key of the configuration, the database, a night.
    verdict : {"ok", "note", "problem"}
        A note needs nobody: it is going to be settled, or is as somebody wanted it.
    text : str
        What was found.
    remedy : str
        What to do; empty if there is nothing to do.
    """

    subject: str
    verdict: Verdict
    text: str
    remedy: str = ""


def examine(config: Config, *, dates: Dates | None = None) -> Iterator[Finding]:
    """Yield all that is found, until something keeps the rest from being looked at.

    Parameters
    ----------
    config : Config
        It is valid, or could not be read.
    dates : Dates, optional
        Only the nights of these.
    """
    yield _software()
    yield from _places(config)
    store = None
    try:
        store = Store(config.database.url)
        store.open()
        machine = Machine(config, store)
        yield from _database(store, config)
        yield _backups(store, config)
        yield _frame_ids(store, config)
        yield from _nights(machine, dates)
    except LedgerError as exc:
        yield Finding("database", "problem", str(exc))
    finally:
        if store is not None:
            store.close()


def _software() -> Finding:
    from stages.fits.rice import encoder  # noqa: PLC0415  not every command needs what takes its time to import

    codec = f"cubes are compressed by {encoder()}"
    system = f"Python {platform.python_version()} on {platform.system()}, SQLite {sqlite3.sqlite_version}"
    return Finding("software", "ok", f"ledger {version('ledger')}, {system}; {codec}")


# places


def _places(config: Config) -> Iterator[Finding]:
    for name, pipeline in config.pipelines.items():
        site = config.site(name)
        if site.nights_host is not None:
            source = _source(config, site, site.nights_host)
            if source.verdict != "note":
                yield _folder(config, f"destination of {name}", site.destination)
            yield source
        elif name == config.main or os.path.lexists(pipeline.root):
            yield _folder(config, f"{name}.root", pipeline.root)
            if site.destination_host is None:
                yield _folder(config, f"destination of {name}", site.destination)
            else:
                yield from _afar(config, site, site.destination_host)
        else:
            yield Finding(f"{name}.root", "note", f"{pipeline.root}: no such folder, so no nights")
    yield _file(config.log, "log")
    if config.backup.automatic:
        yield _file(config.backup.folder / "any", "backup.folder")


def _folder(config: Config, subject: str, folder: Path) -> Finding:
    """Check whether a folder is there, may be written, and has room."""
    try:
        is_there = is_folder(folder)
    except LedgerError as exc:
        return Finding(subject, "problem", str(exc))
    if not is_there:
        return Finding(
            subject, "problem", f"{folder}: no such folder", "is its disk mounted? create it, or correct the path"
        )
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Finding(subject, "problem", f"{folder}: may not be read and written", "correct its owner or mode")
    free_bytes = shutil.disk_usage(folder).free
    room = f"{folder}: {free_bytes / 1e9:,.1f} GB free" + (f" ({kind})" if (kind := file_system_of(folder)) else "")
    return _room(config, subject, room, free_bytes)


def _room(config: Config, subject: str, room: str, free_bytes: int) -> Finding:
    kept_mb = config.space.keep_free_mb or 0
    if free_bytes < kept_mb * 1e6:
        return Finding(subject, "problem", f"{room}, less than space.keep_free_mb ({kept_mb:g} MB)", "make room")
    return Finding(subject, "ok", room)


def _afar(config: Config, site: Site, host: Host) -> Iterator[Finding]:
    """Look whether another host can be reached, and has the folder, room, and what brings products and proves them."""
    subject, folder = f"destination of {site.pipeline}", site.destination
    # who is fetched from need not reach who fetches
    verdict: Verdict = "problem" if site.sends else "note"
    try:
        with Remote(host, folder, folder / "any") as there:
            free_bytes, unfit, tool = there.free_bytes(), there.unfit(folder), there.tool
    except StageError as exc:
        remedy = "correct transfer.destination or transfer.ssh, or the host's keys"
        yield Finding(subject, verdict, str(exc), remedy)
        return
    yield from (Finding(subject, verdict, what, remedy) for what, remedy in unfit.items())
    found = _room(config, subject, f"{host.name}:{folder}: {free_bytes / 1e9:,.1f} GB free", free_bytes)
    if found.verdict != "ok":
        yield found
    elif not unfit:
        yield Finding(subject, "ok", f"{found.text}, hashed by {tool}")


def _source(config: Config, site: Site, host: Host) -> Finding:
    """Look whether the host can be reached from which products are fetched, and has the nights."""
    subject, root = f"source of {site.pipeline}", site.root
    try:
        with Remote(host, root, root / "any", key="transfer.source") as there:
            nights = sorted(name for name in there.names(root) if len(name) == 8 and is_date(name))
            # checksums and manifests go there
            for what, remedy in there.unfit(root / nights[-1]).items() if nights else ():
                return Finding(subject, "problem", what, remedy)
            return Finding(subject, "ok", f"{host.name}:{root}: hashed by {there.tool}")
    except BadInput as exc:
        if site.pipeline != config.main:  # as here: who has no such nights needs no folder for them
            return Finding(subject, "note", f"{host.name}:{root}: no such folder, so no nights")
        return Finding(subject, "problem", str(exc), "correct its root, which is on that host")
    except StageError as exc:
        return Finding(subject, "problem", str(exc), "correct transfer.source or transfer.ssh, or the host's keys")


def _file(path: Path, subject: str) -> Finding:
    """Check whether a file could be written."""
    folder = next(folder for folder in path.parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return Finding(subject, "problem", f"{path.parent}: cannot be written", "correct owner, mode or path")
    return Finding(subject, "ok", str(path if subject == "log" else path.parent))


# the database


def _database(store: Store, config: Config) -> Iterator[Finding]:
    store.prove()
    with store.read() as session:
        counts = [session.execute(select(func.count()).select_from(table)).scalar() or 0 for table in (Night, File)]
    if outdated := backup.why_outdated(store, config):
        yield Finding("database", "problem", outdated)
    else:
        yield Finding("database", "ok", f"{store.shown}: {counted(counts[0], 'night')}, {counted(counts[1], 'file')}")


def _backups(store: Store, config: Config) -> Finding:
    try:
        found = backup.found(config)
    except LedgerError as exc:
        return Finding("backups", "problem", str(exc))
    behind = backup.last_entry(store) - max((b.last_entry for b in found), default=0)
    if not behind:
        return Finding("backups", "ok", f"{len(found)}, up to the last entry")
    newest = f"the newest, of {show_us(found[-1].made_us)} UT, lacks" if found else "there is none of"
    what = f"{newest} the last {f'{behind} entries' if behind > 1 else 'entry'}"
    if config.backup.automatic:
        return Finding("backups", "problem", what, "run `ledger backup`, which says what keeps it from being made")
    return Finding("backups", "note", f"{what}; backup.automatic is false")


def _frame_ids(store: Store, config: Config) -> Finding:
    try:
        numbers = numbers_on_disk(store, config, remembers=False, is_routine=True)
        with store.read() as session:
            now = sequence_state(session, config)
        now.refuse_taken(numbers)
    except LedgerError as exc:
        return Finding("frame IDs", "problem", str(exc))
    if now.next_id is None:
        return Finding("frame IDs", "problem", "none left to give", now.advice)
    return Finding("frame IDs", "ok", f"next is {now.next_id}")


# nights


def _nights(machine: Machine, dates: Dates | None) -> Iterator[Finding]:
    try:
        nights = laws.nights_of(machine.store, dates)
    except UsageError as exc:
        yield Finding("nights", "problem", str(exc))
        return
    for night in nights:
        yield from _night(machine, night)
    yield from _outside(machine, dates)


def _outside(machine: Machine, dates: Dates | None) -> Iterator[Finding]:
    """Tell of nights, known or not, with files that may hold frames and are no raw files."""
    if not machine.config.site().has_nights:
        return
    try:
        for folder, found in gate.outside(machine.store, machine.config, machine.pipelines, dates):
            if not found.undecided:
                continue
            subject = _subject(machine.config, folder)
            what = f"{counted(len(found.undecided), 'file')} may hold frames, not used: {grouped(found.undecided)}"
            verdict: Verdict = "problem" if found.blocks else "note"
            yield Finding(subject, verdict, what, f"`ledger outside list --date {folder.date}` says what to do")
    except LedgerError as exc:
        yield Finding("nights", "problem", str(exc))


def _night(machine: Machine, night: Night) -> Iterator[Finding]:
    subject = _subject(machine.config, night)
    before = _hold(machine.store, night)
    if before.run_id is not None:
        yield Finding(subject, "note", _holder(machine.store, before.run_id))
        return
    try:
        folder = NightFolder(night.pipeline, Path(night.root), night.date)
        if not machine.config.site(night.pipeline).has_nights:
            folder = night_of(machine.config, night.pipeline, night.date)
        left = leftovers(machine, folder, night)
        behind = [] if night.excluded_reason else uncarried(machine.config, folder)
    except (LedgerError, OSError) as exc:
        yield Finding(subject, "problem", f"cannot be looked at: {exc}")
        return
    if why := why_unsettled(before, _hold(machine.store, night)):
        yield Finding(subject, "note", f"{why}, so it was not looked at")
        return
    command = f"`ledger advance --date {night.date}` or a rollback does it first"
    for step in left.steps:
        verb = step.step.verb(step.direction)
        names = [item.product.frame_id or item.product.name for item in step.items]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield Finding(subject, "note", f"{verb} of {shown} had begun and not ended: {step.remedy}", command)
    for path in left.files:
        yield Finding(subject, "note", f"{path}: left by a run that died; it is removed", command)
    yield from _of_the_future(machine, night, subject)
    yield from _put_aside(machine, night, subject)
    yield from _mails(machine, night, subject)
    yield from _contradicted(machine, night, subject)
    if behind:
        yield Finding(subject, "note", stay_behind(behind), how_to_carry(machine.config, night.pipeline))


def _subject(config: Config, night: Night | NightFolder) -> str:
    return f"night {night.date}" + ("" if night.pipeline == config.main else f" ({night.pipeline})")


def _hold(store: Store, night: Night) -> Hold:
    with store.read() as session:
        return read_hold(session, night, store.common_us(session))


def _holder(store: Store, run_id: int) -> str:
    with store.read() as session:
        run = session.get(Run, run_id)
    if run is None:
        return f"run {run_id} works on it"
    who = f"run {run.id} (`ledger {run.command}`, process {run.pid} on {run.host})"
    return f"{who} works on it since {show_us(run.started_us)} UT"


def _of_the_future(machine: Machine, night: Night, subject: str) -> Iterator[Finding]:
    """Yield raw files whose times lie in the future: a clock was wrong."""
    soonest_ns = soonest_future_ns(machine.config, machine.store.clock())
    times_ns = (col(File.mtime_ns), col(File.timing_mtime_ns))
    query = select(col(File.folder), col(File.name), *times_ns).where(
        col(File.night_id) == night.id,
        col(File.kind) == "raw",
        or_(*(time_ns > soonest_ns for time_ns in times_ns)),
    )
    with machine.store.read() as session:
        found = session.execute(query).all()
    files = {f"{folder}/{name}": max(cube_ns or 0, txt_ns or 0) for folder, name, cube_ns, txt_ns in found}
    if files:
        yield Finding(subject, "note", of_the_future(files), SET_THE_CLOCK)


def _put_aside(machine: Machine, night: Night, subject: str) -> Iterator[Finding]:
    """Yield products in quarantine, with copies that are not right, or that failed."""
    of_night = select(func.count()).where(col(File.night_id) == night.id, col(File.kind) == "product")
    with machine.store.read() as session:
        held = session.execute(
            of_night.where(col(File.quarantine_reason).is_not(None), col(File.is_discarded).is_(False))
        ).scalar()
        failed = session.execute(of_night.where(col(File.error).is_not(None), col(File.quarantine_reason).is_(None)))
        waiting = failed.scalar()
    if held:
        remedy = f"`ledger quarantine list --date {night.date}`, then release or discard them"
        yield Finding(subject, "problem", f"{counted(held, 'product')} in quarantine", remedy)
    yield from _unproven(machine, night, subject)
    if waiting:
        what = f"{counted(waiting, 'product')} failed and will be tried again"
        yield Finding(subject, "note", what, f"`ledger quarantine list --date {night.date}` says when and why")


def _contradicted(machine: Machine, night: Night, subject: str) -> Iterator[Finding]:
    """Yield products that the archive has otherwise than on record."""
    with machine.store.read() as session:
        lines = contradictions(session, night)
    if lines:
        what = f"the archive has {counted(len(lines), 'product')} otherwise than on record, such as {lines[0].frame_id}"
        remedy = f"`ledger explain {lines[0].frame_id}` says how; `ledger verify --date {night.date}`, then ask them"
        yield Finding(subject, "problem", f"{what} ({lines[0].difference})", remedy)


def _mails(machine: Machine, night: Night, subject: str) -> Iterator[Finding]:
    """Yield mails that perhaps did not arrive."""
    with machine.store.read() as session:
        mails = in_doubt(session, night)
    for mail in mails:
        remedy = f"`ledger manifest {' '.join(f'--date {date}' for date in mail.dates)} --send --again`"
        if mail.sent_us is None:
            remedy = f"ask them; if it did not come, {remedy}; their receipt ends the doubt too"
        else:
            remedy = f"correct mail.recipients, then {remedy}"
        yield Finding(subject, "problem", doubt(mail), remedy)


def _unproven(machine: Machine, night: Night, subject: str) -> Iterator[Finding]:
    """Yield copies that were not right when last read."""
    faults = record.copy_faults(machine.store, night)
    if faults:
        yield Finding(subject, "problem", *unproven(night.date, faults).split(": ", 1))
    items = record.products(machine.store, night) if faults else []
    for item in (item for item in items if item.fault and item.is_pruned):
        product = item.product
        folder = Path(night.root) / night.date / machine.config.instrument.product_folder
        what = f"{product.frame_id or product.name}: its only copy is not right, and `ledger prune` removed its files"
        yield Finding(subject, "problem", what, put_back(folder, product.files, night.date))
