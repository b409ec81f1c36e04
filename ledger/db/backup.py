"""Backups of the database: always an SQLite file, here and at the destination, whatever the database is.

A backup is named ``ledger-<last entry>-<time>.db``, so its name says how far it goes. It is a ledger's database
that can be looked at as it is, and is put back by `restore` into SQLite or PostgreSQL.
"""

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine, and_, exists, func, or_, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlmodel import col

from ledger.config.model import Config
from ledger.db import schema
from ledger.db.connection import connect
from ledger.db.models import Edge, Entry, State
from ledger.db.store import Store
from ledger.db.tables import copy_rows
from ledger.disk import durable
from ledger.disk.access import is_folder, translate_read_errors
from ledger.errors import LedgerError, NotReady
from stages.base import TEMPORARY_PREFIX, Host, StageError
from stages.transport import proof
from stages.transport.base import Copy
from stages.transport.remote import Remote

#: At the destination; what begins with a dot is not looked into for frame numbers.
FOLDER_AT_DESTINATION = ".ledger"

_NAME = re.compile(r"ledger-(\d{12})-(\d{8}T\d{6}Z)\.db")
_TIME = "%Y%m%dT%H%M%SZ"

#: A backup takes as long as the database is large. After one that took longer than this, in microseconds,
QUICK_US = 60 * 10**6
#: the next one waits this many times as long as it took,
PATIENCE = 10
#: and at most this long, a day,
LONGEST_WAIT_US = 86_400 * 10**6
#: if nothing happened since but these events, and the pairing of raw files: nothing was written beside them.
ROUTINE = ("registered", "quarantined", "started", "failed", "left", "settled", "notified")
#: So many are kept however large they are: the newest alone may have what somebody wants to go back behind.
FEWEST = 2


@dataclass(frozen=True, slots=True, order=True)
class Backup:
    """A backup on disk.

    Attributes
    ----------
    last_entry : int
        The newest entry that is in it.
    made_us : int
        When it was made, to the second.
    path : Path
        The file.
    """

    last_entry: int
    made_us: int
    path: Path


def folders(config: Config) -> list[Path]:
    """Return where backups are here: beside the database, and at a destination that is mounted."""
    there = _folder_there(config)
    is_there = config.site(config.main).has_copies and is_folder(there.parent)
    return [config.backup.folder, *([there] if is_there else [])]


def _folder_there(config: Config) -> Path:
    return config.site(config.main).destination / FOLDER_AT_DESTINATION


def found(config: Config) -> list[Backup]:
    """Return all backups, here and at the destination, newest last."""
    return sorted(backup for folder in folders(config) for backup in _in_folder(folder))


def _in_folder(folder: Path) -> list[Backup]:
    """Return the backups in a folder, newest last."""
    with translate_read_errors(folder):
        paths = list(folder.iterdir()) if folder.is_dir() else []
    return sorted(backup for path in paths if (backup := _read_name(path)) is not None)


def _read_name(path: Path) -> Backup | None:
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    made = datetime.strptime(match[2], _TIME).replace(tzinfo=UTC)
    return Backup(int(match[1]), int(made.timestamp()) * 10**6, path)


# making


def make(store: Store, config: Config, *, sends: bool = True) -> list[Path]:
    """Make a backup, prove that it can be read, copy it to the destination, and remove the oldest.

    Parameters
    ----------
    store : Store
        The database.
    config : Config
        Where backups go, and how many are kept.
    sends : bool
        Whether a destination on another host gets it too.

    Returns
    -------
    list of Path
        Of the backup, and of its copy.

    Raises
    ------
    NotReady
        If it cannot be written, here or there.
    """
    now_us = store.clock()
    home, *others = folders(config)
    temporary = home / f"{TEMPORARY_PREFIX}backup-{now_us}.db"
    with writing_backup(home):
        home.mkdir(parents=True, exist_ok=True)
        try:
            last_entry = _write(store, temporary)
            name = f"ledger-{last_entry:012d}-{datetime.fromtimestamp(now_us // 10**6, tz=UTC).strftime(_TIME)}.db"
            durable.replace(temporary, home / name)
        finally:
            _remove_database(temporary)
    made = [home / name]
    for folder in others:
        with writing_backup(folder):
            folder.mkdir(exist_ok=True)
            proof.copy_proven(home / name, folder / name)
            durable.sync_folder(folder)
        made.append(folder / name)
    site = config.site(config.main)
    host = site.destination_host if site.sends else None  # who fetches makes its own there
    if sends and host is not None:
        with writing_backup(Path(f"{host.name}:{_folder_there(config)}")):
            _send(config, host, home, name)
        made.append(Path(f"{host.name}:{_folder_there(config)}/{name}"))
    for folder in (home, *others):
        with writing_backup(folder):
            size_bytes = (folder / name).stat().st_size
            durable.remove(backup.path for backup in _outlived(config, _in_folder(folder), size_bytes))
    with writing_backup(home):
        ended_ns = store.clock() * 1000
        os.utime(home / name, ns=(ended_ns, ended_ns))  # so `put_off_until_us` knows how long all of this took
    return made


def _send(config: Config, host: Host, home: Path, name: str) -> None:
    """Copy a backup to another host, prove it there, and remove the oldest there."""
    folder = _folder_there(config)
    with Remote(host, home, folder) as there:
        there.make_folders([folder])
        (result,) = there.put([[Copy(home / name, folder / name)]], [True])
        if isinstance(result, StageError):
            raise result
        there.sync_folder(folder)
        backups = sorted(found for each in there.names(folder) if (found := _read_name(folder / each)) is not None)
        size_bytes = (home / name).stat().st_size
        there.remove([backup.path for backup in _outlived(config, backups, size_bytes)])


def _remove_database(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def writing_backup(folder: Path) -> Iterator[None]:
    """Translate what may go wrong while a backup is written."""
    try:
        yield
    except (OSError, sqlite3.Error, DBAPIError, StageError) as exc:
        raise NotReady(
            f"no backup in {folder}: {exc}; expected a folder that may be written, and room (backup.folder,"
            " transfer.destination); `ledger backup` makes one"
        ) from exc


def _write(store: Store, path: Path) -> int:
    """Write the database as it is now to a file, synced and checked; return its last entry."""
    if store.url.get_backend_name() == "sqlite":
        source = f"{Path(str(store.url.database)).resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(source, uri=True)) as ours, closing(sqlite3.connect(path)) as copy:
            ours.backup(copy)
    else:
        with store.snapshot() as session, engine_of(path) as engine:
            schema.upgrade(engine, to=schema.revision(store.engine))
            with engine.connect() as target:
                copy_rows(session.connection(), target)
                target.commit()
    with closing(sqlite3.connect(path)) as copy:
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, whole by itself
        refuse_damaged(copy, path)
        (last_entry,) = copy.execute("SELECT coalesce(max(id), 0) FROM entry").fetchone()
    durable.sync_file(path)
    return int(last_entry)


@contextmanager
def engine_of(path: Path) -> Iterator[Engine]:
    """Yield an engine of an SQLite file, closed at the end."""
    engine = connect(URL.create("sqlite", database=str(path)))
    try:
        yield engine
    finally:
        engine.dispose()


def refuse_damaged(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse an SQLite file whose pages are not in order.

    Raises
    ------
    sqlite3.DatabaseError
        If they are not.
    """
    (verdict,) = connection.execute("PRAGMA quick_check").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(f"{path} is damaged: {verdict}")


def _outlived(config: Config, backups: Sequence[Backup], size_bytes: int) -> list[Backup]:
    """Return those of a folder's backups, newest last, that are not kept.

    Where not all that should be kept have room, given the size of the newest, the last ones of days stay before others
    of the same day.
    """
    of_day = {backup.made_us // 86_400_000_000: backup for backup in sorted(backups, key=lambda b: b.made_us)}
    days = sorted(of_day, reverse=True)[: config.backup.keep_days]
    newest = backups[: -config.backup.keep - 1 : -1]
    wanted = dict.fromkeys([*newest[:1], *(of_day[day] for day in days), *newest])
    room = max(int(config.backup.keep_gb * 10**9) // max(size_bytes, 1), FEWEST)
    kept = list(wanted)[:room]
    return [backup for backup in backups if backup not in kept]


# when


def after_work(store: Store, config: Config, *, sends: bool = True) -> str | None:
    """Make a backup if the newest does not have all entries and one is due; return what went wrong.

    The work itself is done, so nothing is raised.
    """
    if not config.backup.automatic:
        return None
    try:
        newest = max((backup.last_entry for backup in found(config)), default=-1)
        if newest < last_entry(store) and put_off_until_us(store, config) is None:
            make(store, config, sends=sends)
    except LedgerError as exc:
        return str(exc)
    return None


def put_off_until_us(store: Store, config: Config) -> int | None:
    """Return when commands will back the database up by themselves again; None if they do so now.

    So a large ledger spends at most an eleventh of its time on backups while a night is observed. As soon as products
    were written or somebody decided something, it is backed up at once.
    """
    last = max(_in_folder(config.backup.folder), key=lambda backup: backup.made_us, default=None)
    if last is None:
        return None
    with translate_read_errors(last.path):
        ended_us = last.path.stat().st_mtime_ns // 1000
    took_us = ended_us - last.made_us
    until_us = ended_us + min(PATIENCE * took_us, LONGEST_WAIT_US)
    is_early = took_us > QUICK_US and ended_us <= store.clock() < until_us  # the clock may have been wrong then
    return until_us if is_early and _is_routine_since(store, last) else None


def _is_routine_since(store: Store, last: Backup) -> bool:
    """Whether what happened since a backup would be done again, with the same results, if it were lost."""
    pairs = exists().where(
        col(Edge.name) == col(Entry.edge),
        col(Edge.direction) == "forward",
        col(State.pipeline) == col(Edge.pipeline),
        col(State.name) == col(Edge.destination),
        col(State.makes_products),
    )
    is_routine = or_(col(Entry.event).in_(ROUTINE), and_(col(Entry.event) == "done", pairs))
    query = select(col(Entry.id)).where(col(Entry.id) > last.last_entry, ~is_routine).limit(1)
    with store.read() as session:
        return session.execute(query).first() is None


def last_entry(store: Store) -> int:
    """Return how far the journal goes."""
    with store.read() as session:
        return int(session.execute(select(func.max(col(Entry.id)))).scalar() or 0)


def before_migration(store: Store, config: Config) -> Sequence[Path]:
    """Make a backup if the database is there, and behind the code.

    Raises
    ------
    NotReady
        If it cannot be written; then nothing should be migrated.
    """
    if not config.backup.automatic or not schema.is_behind(store.engine):
        return []
    return make(store, config)


# putting back


def why_outdated(store: Store, config: Config) -> str | None:
    """Return why the database seems to be an older one, put back by hand; None if no backup has more entries."""
    newest = max(found(config), default=None)
    last = last_entry(store)
    if newest is None or newest.last_entry <= last:
        return None
    return (
        f"the database {store.shown} ends with entry {last}, and {str(newest.path)!r} goes on to {newest.last_entry}:"
        " an older one was put back, or a new one begun; move it away and `ledger backup --restore` the newest, or"
        " `ledger rebuild` it from the files (or move backups of another ledger away)"
    )
