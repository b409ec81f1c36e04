"""The gate: which night may take frame IDs now.

See docs/design.md, Frame IDs.

Called inside the transaction that gives them, once the counter is locked: so two runs on two nights cannot pass it
together.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, case, exists, select
from sqlmodel import Session, col

from ledger.clock import show_us
from ledger.config.model import Config
from ledger.db.models import File, FrameId, Night
from ledger.db.store import Store
from ledger.db.views import PAIRED_NIGHT
from ledger.disk.access import is_folder
from ledger.disk.dates import Dates, parse_date
from ledger.disk.nights import (
    NightFolder,
    before_first,
    every_night,
    find_nights,
    has_products,
    night_of,
    nights_on_disk,
)
from ledger.disk.outside import Found
from ledger.disk.raws import has_raws, is_being_written, raws_on_disk, streams_ns
from ledger.errors import NotReady, UsageError
from ledger.ids.sequence import first_date, newest_night
from ledger.night import decisions, record
from ledger.night.pipeline import Pipeline
from ledger.night.record import of_night


def from_date(session: Session, config: Config, pipeline: Pipeline) -> str | None:
    """Return the first night of a pipeline that gets numbers; None if it gives none, or from any night on."""
    return None if pipeline.numbering is None else first_date(session, config.instrument.prefix)


def refuse_before_first(session: Session, config: Config, pipeline: Pipeline, night: NightFolder) -> None:
    """Refuse a night before the first one.

    Raises
    ------
    NotReady
        With what says so.
    """
    row = _row(session, night)
    numbered_us = row.numbered_us if row else None
    first = before_first(config, pipeline.name, night.date, numbered_us, from_date(session, config, pipeline))
    if first is not None:
        raise NotReady(
            f"night {night.date} is before the first night, {first}: such nights are left alone; expected a later one,"
            " or an earlier first night"
        )


def _row(session: Session, night: NightFolder) -> Night | None:
    return session.execute(of_night(night.pipeline, night.date)).scalar_one_or_none()


def refuse_excluded(session: Session, night: NightFolder) -> None:
    """Refuse to go on with a night that was taken out of the chronology.

    Raises
    ------
    NotReady
        With the reason on record.
    """
    row = _row(session, night)
    if row is not None and row.excluded_reason:
        raise NotReady(
            f"night {night.date} is excluded ({row.excluded_reason}) and gets no frame IDs; expected it in the"
            f" chronology; `ledger include {night.date}` takes it back"
        )


def check_gate(
    session: Session,
    config: Config,
    pipeline: Pipeline,
    night: NightFolder,
    *,
    now_us: int,
    final: bool = False,
    looks_outside: bool = True,
    ahead: Collection[str] = (),
) -> Found | None:
    """Refuse to number a night that is not next in time.

    Parameters
    ----------
    session : Session
        With the counter locked, if IDs are to be given.
    config, pipeline
        The ledger.
    night : NightFolder
        The night.
    now_us : int
        What time it is.
    final : bool
        Whether nobody writes to the night any more.
    looks_outside : bool
        Whether folders are walked for files that may hold frames and are no raw files.
    ahead : collection of str
        Dates of nights that are numbered before, as far as this is asked beforehand.

    Returns
    -------
    Found or None
        What of the night is no raw file and does not keep it from its numbers; None if it was not looked for.

    Raises
    ------
    NotReady
        If it is before the first night, excluded, still being written, holds files of which somebody has to decide, or
        an earlier night lacks its IDs, with the command to run.
    """
    refuse_before_first(session, config, pipeline, night)
    refuse_excluded(session, night)
    if not final and is_being_written(night, config, now_us):
        raise NotReady(
            f"night {night.date} may still be written: its newest raw file is younger than {config.settle_minutes:g}"
            f" minutes at {show_us(now_us)} UT; run again later, or with --final if observing has ended"
        )
    found = decisions.look(session, config, night) if looks_outside else None
    if found is not None and found.blocks:
        raise NotReady(found.refusal(night.date))
    # upstream first: what a run takes from disk to the ledger meanwhile is seen here or there
    lacking = _lacking_on_disk(session, config, pipeline, night, ahead, looks_outside=looks_outside)
    lacking |= _lacking_in_ledger(session, config, pipeline, night, ahead)
    if not lacking:
        return found
    date = min(lacking)
    newest = newest_night(session, config.instrument.prefix)
    is_late = newest is not None and date < newest
    named = config.site(pipeline.name).named(date)
    why = "; later nights have theirs, so it is late" if is_late else ""
    late = " --late --reason TEXT" if is_late else ""
    raise NotReady(
        f"night {night.date} cannot be numbered yet: the earlier night {date} {lacking[date]}{why}, and frame IDs are"
        f" chronological; run `ledger advance {named}{late}` first, or `ledger exclude {date} --reason TEXT`"
    )


def _lacking_on_disk(
    session: Session,
    config: Config,
    pipeline: Pipeline,
    night: NightFolder,
    ahead: Collection[str],
    *,
    looks_outside: bool,
) -> dict[str, str]:
    """Return the first earlier night with files that are in no product yet, and what they are; empty if none has."""
    rows = {
        row.date: row for row in session.execute(select(Night).where(col(Night.pipeline) == pipeline.name)).scalars()
    }
    numbers_from = from_date(session, config, pipeline)
    for folder in nights_on_disk(config, pipeline.name):
        row = rows.get(folder.date)
        numbered_us = row.numbered_us if row else None
        if folder.date >= night.date or before_first(config, pipeline.name, folder.date, numbered_us, numbers_from):
            continue
        if folder.date in ahead or (row is not None and row.excluded_reason):
            continue
        is_seen = row is not None and row.streams_ns == streams_ns(folder, config.instrument)
        if is_seen and numbered_us is not None:
            continue  # nothing came since it was scanned
        registered = _registered(session, row)
        if is_seen:
            unseen = False
        elif not registered:
            unseen = has_raws(folder, config.instrument)
        else:
            on_disk = raws_on_disk(folder, config.instrument)
            unseen = any((raw.stream.name, raw.name) not in registered for raw in on_disk)
        why = None
        if unseen:
            why = "has raw files that were never scanned" if registered else "was never scanned"
        elif looks_outside and numbered_us is None and decisions.look(session, config, folder).blocks:
            why = f"has files that may hold frames and are no raw files (`ledger outside list --date {folder.date}`)"
        if why and not is_foreign(session, config, folder):
            return {folder.date: why}
    return {}


def _lacking_in_ledger(
    session: Session, config: Config, pipeline: Pipeline, night: NightFolder, ahead: Collection[str]
) -> dict[str, str]:
    """Return the first earlier night of which registered files lack frame IDs, and what is missing; empty if none is.

    One statement, so that PostgreSQL too answers as of one moment.
    """
    unnumbered = [step.state for step in pipeline.steps if not step.needs_frame_id]
    raw, product, usable = col(File.kind) == "raw", col(File.kind) == "product", col(File.quarantine_reason).is_(None)
    live = exists().where(
        col(FrameId.identity) == col(File.identity),
        col(FrameId.night_id) == col(File.night_id),
        col(FrameId.status) == "live",
    )

    def has(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
        return exists().where(col(File.night_id) == col(Night.id), *conditions)

    never = col(Night.numbered_us).is_(None)
    # numbered, and rolled back or with new raw files: what comes of them is not known yet
    unsynced = has(raw, usable, col(File.state) == pipeline.states[0])
    lacks = case(
        (never & (has(raw, usable) | has(product)), "has no frame IDs yet"),
        (~never & unsynced, "has raw files that are not synced"),
        (~never & has(product, usable, col(File.state).in_(unnumbered), ~live), "has new products without frame IDs"),
    )
    query = select(Night, lacks).where(
        col(Night.pipeline) == pipeline.name,
        col(Night.date) < night.date,
        col(Night.excluded_reason).is_(None),
        col(Night.date).not_in(ahead),
        lacks.is_not(None),
    )
    numbers_from = from_date(session, config, pipeline)
    for row, reason in session.execute(query.order_by(col(Night.date))):
        folder = NightFolder(pipeline.name, night.root, row.date)
        is_before_first = before_first(config, pipeline.name, row.date, row.numbered_us, numbers_from)
        if not is_before_first and not is_foreign(session, config, folder):
            return {row.date: reason}
    return {}


def _registered(session: Session, row: Night | None) -> set[tuple[str, str]]:
    if row is None:
        return set()
    query = select(col(File.folder), col(File.name)).where(col(File.night_id) == row.id, col(File.kind) == "raw")
    return {(folder, name) for folder, name in session.execute(query)}


def is_foreign(session: Session, config: Config, folder: NightFolder) -> bool:
    """Whether the night has products that this ledger did not make."""
    if not has_products(folder, config.instrument):
        return False
    paired = PAIRED_NIGHT.c
    query = select(paired.night_id).where(paired.pipeline == folder.pipeline, paired.date == folder.date)
    return session.execute(query).first() is None


@dataclass(frozen=True, slots=True)
class Excluded:
    """A night that was taken out of the chronology, or back in.

    Attributes
    ----------
    date : str
        The night.
    frame_ids : int
        Live ones that it has.
    is_late : bool
        Whether it has none, and a later night has some: its own are going to be late.
    """

    date: str
    frame_ids: int
    is_late: bool


def exclude(store: Store, config: Config, date: str, reason: str | None) -> Excluded:
    """Take a night, on disk or only in the ledger, out of the chronology, or (without a reason) back in.

    Raises
    ------
    UsageError
        If there is no such night, the reason is empty, or there is nothing to take back.
    """
    date = parse_date(date)
    if reason is not None and not reason.strip():
        raise UsageError("--reason is empty: expected why the night is out; it is kept for ever")
    pipeline = config.numbering or config.main
    known = record.find_night(store, pipeline, date)
    if reason is None and (known is None or known.excluded_reason is None):
        raise UsageError(f"night {date} is not excluded: there is nothing to take back; see `ledger status`")
    folder = night_of(config, pipeline, date)
    if known is None and config.site(pipeline).has_nights and not is_folder(folder.path):
        raise UsageError(
            f"no night {date} under {str(folder.root)!r}: expected a folder of this date; see `ledger status`"
        )
    n_ids = record.exclude(store, pipeline, folder.root, date, reason)
    with store.read() as session:
        newest = newest_night(session, config.instrument.prefix)
    return Excluded(date, n_ids, is_late=not n_ids and newest is not None and date < newest)


def outside(
    store: Store, config: Config, pipelines: Mapping[str, Pipeline], dates: Dates | None = None
) -> Iterator[tuple[NightFolder, Found]]:
    """Yield the nights on disk, all or those of some dates, in which files may hold frames and are no raw files.

    Nights that are left alone (before the first one, excluded, foreign) are left out.

    Raises
    ------
    UsageError
        If there is no night of one of these dates.
    """
    folders = find_nights(config, dates) if dates else every_night(config)
    with store.read() as session:
        for folder in sorted(folders, key=lambda folder: (folder.date, folder.pipeline)):
            if is_left_alone(session, config, pipelines[folder.pipeline], folder):
                continue
            found = decisions.look(session, config, folder)
            if found.undecided or found.left_out:
                yield folder, found


def is_left_alone(session: Session, config: Config, pipeline: Pipeline, folder: NightFolder) -> bool:
    """Whether a night is before the first one, excluded or foreign."""
    row = _row(session, folder)
    numbered_us = row.numbered_us if row else None
    return (
        before_first(config, pipeline.name, folder.date, numbered_us, from_date(session, config, pipeline)) is not None
        or bool(row and row.excluded_reason)
        or is_foreign(session, config, folder)
    )
