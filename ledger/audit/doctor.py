"""What keeps the ledger from working, or will: places, database, backups, frame IDs, and what dead runs left.

Changes nothing: what it says will be settled is settled by the next run of the night.
"""

import platform
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import and_, exists, or_
from sqlalchemy.orm import aliased
from sqlmodel import col, func, select

from ledger.audit import laws
from ledger.audit._finding import Finding, Verdict
from ledger.audit._places import look_at_former, look_at_places, look_at_roots
from ledger.clock import show_us
from ledger.config.model import Config
from ledger.db import backup, unbacked
from ledger.db.absent import advised
from ledger.db.models import Entry, File, Night, Run
from ledger.db.store import Store
from ledger.disk.dates import Dates
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
from ledger.query.standing import standing_still
from ledger.run.hold import leftovers
from ledger.run.machine import Machine
from ledger.text import counted


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
    yield from look_at_places(config)
    store = None
    try:
        store = Store(config.database.url)
        with advised(config):
            store.open()
        machine = Machine(config, store)
        yield from _database(store, config)
        yield _backups(store, config)
        yield _frame_ids(store, config)
        yield from look_at_roots(store, config)
        yield from look_at_former(store, config)
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
    remedy = "run `ledger backup`: it makes one, or says what keeps it from being made"
    if config.backup.automatic and (why := unbacked.failure(store)):
        return Finding("backups", "problem", f"the last one failed: {why}", remedy)
    newest_entry = max((b.last_entry for b in found), default=0)
    behind = backup.last_entry(store) - newest_entry
    if not behind:
        return Finding("backups", "ok", f"{len(found)}, up to the last entry")
    newest = f"the newest, of {show_us(found[-1].made_us)} UT, lacks" if found else "there is none of"
    what = f"{newest} the last {f'{behind} entries' if behind > 1 else 'entry'}"
    if not config.backup.automatic:
        return Finding("backups", "note", f"{what}; backup.automatic is false")
    if until_us := backup.put_off_until_us(store, config):
        what = f"{what}; the last one here took long: the next command that ends after {show_us(until_us)} UT makes one"
        return Finding("backups", "note", what, "if you do not want to wait, run `ledger backup`")
    if _is_of_unended_runs(store, newest_entry):
        what = f"{what}, of a command that was killed or still works"
        return Finding("backups", "note", what, "the next run, or `ledger backup`, makes it")
    return Finding("backups", "problem", what, remedy)


def _is_of_unended_runs(store: Store, newest_entry: int) -> bool:
    """Whether all entries after one are of processes that did not come to make a backup: a run of each has no end."""
    unended = aliased(Run)
    of_process = exists().where(
        col(unended.ended_us).is_(None),
        col(unended.host) == col(Run.host),
        col(unended.boot) == col(Run.boot),
        col(unended.pid) == col(Run.pid),
    )
    has_ended = or_(col(Run.id).is_(None), and_(col(Run.ended_us).is_not(None), ~of_process))
    entries = select(col(Entry.id)).join(Run, col(Run.id) == col(Entry.run_id), isouter=True)
    others = entries.where(col(Entry.id) > newest_entry, has_ended)
    with store.read() as session:
        return session.execute(others.limit(1)).first() is None


def _frame_ids(store: Store, config: Config) -> Finding:
    try:
        numbers = numbers_on_disk(store, config, remembers=False, is_routine=True)
        with store.read() as session:
            now = sequence_state(session, config)
        now.refuse_taken(numbers)
    except LedgerError as exc:
        return Finding("frame IDs", "problem", str(exc))
    if now.next_id is None:
        return Finding("frame IDs", "problem", now.why_none, now.advice)
    return Finding("frame IDs", "ok", f"next is {now.next_id}")


# nights


def _nights(machine: Machine, dates: Dates | None) -> Iterator[Finding]:
    try:
        nights = laws.nights_of(machine.store, dates)
    except UsageError as exc:
        yield Finding("nights", "problem", str(exc))
        return
    troubled = set()
    try:
        for finding in _of_nights(machine, nights, dates):
            yield finding
            if finding.verdict == "problem":
                troubled.add(finding.subject)
        yield from _standing(machine, dates, troubled)
    except LedgerError as exc:
        yield Finding("nights", "problem", str(exc))


def _of_nights(machine: Machine, nights: Iterable[Night], dates: Dates | None) -> Iterator[Finding]:
    for night in nights:
        yield from _night(machine, night)
    yield from _outside(machine, dates)


def _standing(machine: Machine, dates: Dates | None, troubled: Collection[str]) -> Iterator[Finding]:
    """Yield what stands still; that a night needs somebody is said once."""
    config = machine.config
    for still in standing_still(config, machine.pipelines, machine.store.clock(), dates=dates):
        subject = _subject(config, night_of(config, still.pipeline, still.date)) if still.date else still.where
        is_told = still.why == "failed" or (still.why in ("stopped", "quarantined") and subject in troubled)
        if still.folder or not is_told:
            name = f"{still.folder}: " if still.folder else ""
            yield Finding(subject, "problem", f"{name}{still.text}", still.remedy)


def _outside(machine: Machine, dates: Dates | None) -> Iterator[Finding]:
    """Tell of nights, known or not, with files that may hold frames and are no raw files."""
    if not machine.config.site().has_nights:
        return
    for folder, found in gate.outside(machine.store, machine.config, machine.pipelines, dates):
        if not found.undecided:
            continue
        subject = _subject(machine.config, folder)
        what = f"{counted(len(found.undecided), 'file')} may hold frames, not used: {grouped(found.undecided)}"
        verdict: Verdict = "problem" if found.blocks else "note"
        yield Finding(subject, verdict, what, f"`ledger outside list --date {folder.date}` says what to do")


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
    named = machine.config.site(night.pipeline).named(night.date)
    command = f"`ledger advance {named}` or a rollback does it first"
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
        named = machine.config.site(night.pipeline).named(night.date)
        remedy = f"`ledger explain {lines[0].frame_id}` says how; `ledger verify {named}`, then ask them"
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
    named = machine.config.site(night.pipeline).named(night.date)
    if faults:
        yield Finding(subject, "problem", *unproven(named, faults).split(": ", 1))
    items = record.products(machine.store, night) if faults else []
    for item in (item for item in items if item.fault and item.is_pruned):
        product = item.product
        folder = Path(night.root) / night.date / machine.config.instrument.product_folder
        what = f"{product.frame_id or product.name}: its only copy is not right, and `ledger prune` removed its files"
        yield Finding(
            subject,
            "problem",
            what,
            put_back(folder, product.files, named),
        )
