"""Backups of the database: always an SQLite file, here and at the destination, whatever the database is.

A backup is named ``ledger-<last entry>-<time>.db``, so its name says how far it goes. It is a ledger's database
that can be looked at as it is, and is put back by `restore` into SQLite or PostgreSQL.
"""

import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine, func, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, SQLModel, col

from ledger.config.model import Config
from ledger.config.urls import parse_url
from ledger.db import schema
from ledger.db.connection import connect
from ledger.db.models import Entry
from ledger.db.store import Store
from ledger.db.tables import REVISION_TABLE, copy_rows, set_counters
from ledger.disk import durable
from ledger.disk.scan import is_folder, reading
from ledger.errors import BadInput, LedgerError, NotReady
from ledger.ids.numbers import numbers_on_disk
from ledger.ids.sequence import standing
from stages.base import TEMPORARY_PREFIX, Host, StageError
from stages.transport import proof
from stages.transport.base import Copy
from stages.transport.remote import Remote

#: The pipeline to whose destination they go.
MAIN = "archive"

#: At the destination; what begins with a dot is not looked into for frame numbers.
FOLDER_AT_DESTINATION = ".ledger"

_NAME = re.compile(r"ledger-(\d{12})-(\d{8}T\d{6}Z)\.db")
_TIME = "%Y%m%dT%H%M%SZ"
_COUNT_RUNS = text("SELECT count(*) FROM run")

#: How long a restoration waits for others to close the database, seconds.
ALONE_TIMEOUT_S = 2


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
    is_there = config.host(MAIN) is None and is_folder(there.parent)
    return [config.backup.folder, *([there] if is_there else [])]


def _folder_there(config: Config) -> Path:
    return config.destination(MAIN) / FOLDER_AT_DESTINATION


def found(config: Config) -> list[Backup]:
    """Return all backups, here and at the destination, newest last."""
    return sorted(backup for folder in folders(config) for backup in _in_folder(folder))


def _in_folder(folder: Path) -> list[Backup]:
    """Return the backups in a folder, newest last."""
    with reading(folder):
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
    with _told(home):
        home.mkdir(parents=True, exist_ok=True)
        try:
            last_entry = _write(store, temporary)
            name = f"ledger-{last_entry:012d}-{datetime.fromtimestamp(now_us // 10**6, tz=UTC).strftime(_TIME)}.db"
            durable.replace(temporary, home / name)
        finally:
            _remove_database(temporary)
    made = [home / name]
    for folder in others:
        with _told(folder):
            folder.mkdir(exist_ok=True)
            proof.copy_proven(home / name, folder / name)
            durable.sync_folder(folder)
        made.append(folder / name)
    if (
        sends and (host := config.host(MAIN)) is not None and not config.is_fetched_from
    ):  # who fetches makes its own there
        with _told(Path(f"{host.name}:{_folder_there(config)}")):
            _send(config, host, home, name)
        made.append(Path(f"{host.name}:{_folder_there(config)}/{name}"))
    _remove_old(config)
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
        there.remove([backup.path for backup in _outlived(config, backups)])


def _remove_database(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
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
        with store.snapshot() as session, _engine_of(path) as engine:
            schema.upgrade(engine, to=schema.revision(store.engine))
            with engine.connect() as target:
                copy_rows(session.connection(), target)
                target.commit()
    with closing(sqlite3.connect(path)) as copy:
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, whole by itself
        _check(copy, path)
        (last_entry,) = copy.execute("SELECT coalesce(max(id), 0) FROM entry").fetchone()
    durable.sync_file(path)
    return int(last_entry)


@contextmanager
def _engine_of(path: Path) -> Iterator[Engine]:
    engine = connect(URL.create("sqlite", database=str(path)))
    try:
        yield engine
    finally:
        engine.dispose()


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(f"{path} is damaged: {verdict}")


def _remove_old(config: Config) -> None:
    """Remove all but the newest backups, and the newest of each of the last days."""
    for folder in folders(config):
        with _told(folder):
            durable.remove(backup.path for backup in _outlived(config, _in_folder(folder)))


def _outlived(config: Config, backups: Sequence[Backup]) -> list[Backup]:
    """Return those of a folder's backups, newest last, that are not kept."""
    of_day = {backup.made_us // 86_400_000_000: backup for backup in sorted(backups, key=lambda b: b.made_us)}
    days = sorted(of_day)[-config.backup.keep_days :]
    kept = {*backups[-config.backup.keep :], *(of_day[day] for day in days)}
    return [backup for backup in backups if backup not in kept]


# when


def after_work(store: Store, config: Config, *, sends: bool = True) -> str | None:
    """Make a backup if the newest does not have all entries; return what went wrong, as the work itself is done."""
    if not config.backup.automatic:
        return None
    try:
        newest = max((backup.last_entry for backup in found(config)), default=-1)
        if newest < last_entry(store):
            make(store, config, sends=sends)
    except LedgerError as exc:
        return str(exc)
    return None


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


def restore(config: Config, file: Path) -> list[str]:
    """Make the configured database of a backup.

    Parameters
    ----------
    config : Config
        Names the database, which must not be there, or be empty.
    file : Path
        The backup; it is not changed.

    Returns
    -------
    list of str
        What the backup does not know of.

    Raises
    ------
    BadInput
        If the file is no ledger's database, or of a newer ledger, or the database has rows.
    """
    if not file.is_file():
        raise BadInput(f"{file}: no such file; expected a backup: `ledger backup --list` names them")
    with replacing(config) as temporary, _told(temporary.parent):
        _bring_up(file, temporary)
    store = Store(config.database.url)
    try:
        return _note(store, config, file)
    finally:
        store.close()


@contextmanager
def replacing(config: Config) -> Iterator[Path]:
    """Yield where an SQLite ledger may be written that is the configured database at the end, as a whole or not at all.

    Raises
    ------
    BadInput
        If that database has rows, or is no ledger's.
    NotReady
        If somebody has it open, or it cannot be written.
    """
    url = parse_url(config.database.url)
    is_sqlite = url.get_backend_name() == "sqlite"
    home = Path(str(url.database)).parent if is_sqlite else config.backup.folder
    with _told(home):
        home.mkdir(parents=True, exist_ok=True)
    _refuse_rows(url)
    with _told(home):
        folder = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}restore-", dir=home))
    try:
        made = folder / "ledger.db"
        yield made
        with closing(sqlite3.connect(made)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")  # one file, whole by itself
        with _told(home):
            _load(made, url)
    finally:
        shutil.rmtree(folder)


def _refuse_rows(url: URL) -> None:
    """Refuse to put a backup over a database that has anything in it."""
    if url.get_backend_name() == "sqlite":
        path = Path(str(url.database))
        if path.exists() or _journals(path):
            with _alone(path):
                pass
        return
    engine = connect(url)
    try:
        if schema.revision(engine) is not None:
            with engine.connect() as connection:
                _refuse_runs(connection.execute(_COUNT_RUNS).scalar(), url.render_as_string(hide_password=True))
    finally:
        engine.dispose()


def _refuse_runs(n_runs: int | None, shown: str) -> None:
    if n_runs:
        raise BadInput(
            f"database {shown} has {n_runs} runs on record: expected none, as it would be replaced; move it away first"
        )


def _journals(path: Path) -> list[Path]:
    """Return the files of an SQLite database beside it that would be played into one of its name."""
    journals = (path.with_name(path.name + suffix) for suffix in ("-wal", "-journal"))
    return [journal for journal in journals if journal.exists()]


@contextmanager
def _alone(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to an SQLite file without rows, made if it is not there, that nobody else may open meanwhile.

    Raises
    ------
    BadInput
        If it has rows, or is no ledger's.
    NotReady
        If somebody has it open.
    """
    if not path.exists() and (journals := _journals(path)):
        raise BadInput(f"{journals[0]}: the journal of a database that is gone; expected none; move it away")
    if path.exists() and not path.is_file():
        raise BadInput(f"database {str(path)!r} is no file; expected one, or none; check database.url")
    with closing(sqlite3.connect(path, timeout=ALONE_TIMEOUT_S, isolation_level=None)) as connection:
        _lock(connection, path)
        yield connection


def _lock(connection: sqlite3.Connection, path: Path) -> None:
    """Lock an SQLite file without rows until its connection is closed."""
    try:
        _refuse_tables(connection, path)
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = DELETE")  # plays a journal in, and needs to be alone
        connection.execute("BEGIN EXCLUSIVE")
        _refuse_tables(connection, path)
        connection.execute("COMMIT")
    except sqlite3.OperationalError as exc:
        raise NotReady(
            f"database {str(path)!r}: {exc}; expected that nobody has it open; end what uses it, and run the same"
            " command again"
        ) from exc
    except sqlite3.DatabaseError as exc:
        raise BadInput(
            f"database {str(path)!r} is damaged, or no database ({exc}): it is left alone; move it away, and run the"
            " same command again"
        ) from exc


def _refuse_tables(connection: sqlite3.Connection, path: Path) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and REVISION_TABLE not in tables:
        raise BadInput(
            f"database {str(path)!r} has tables, and is no ledger's ({min(tables)!r} is one): it is left alone;"
            " expected none; check database.url"
        )
    if "run" in tables:
        _refuse_runs(connection.execute(_COUNT_RUNS.text).fetchone()[0], str(path))


def _bring_up(file: Path, path: Path) -> None:
    """Copy a backup, check it, and migrate the copy."""
    shutil.copyfile(file, path)
    try:
        with closing(sqlite3.connect(path)) as copy:
            _check(copy, file)
    except sqlite3.DatabaseError as exc:
        raise BadInput(f"{file}: not a database, or damaged ({exc}); expected a backup: try an older one") from exc
    with _engine_of(path) as engine:
        if schema.revision(engine) is None:
            raise BadInput(f"{file}: an SQLite file, and not a ledger's; expected a backup: `ledger backup --list`")
        schema.upgrade(engine)


def _load(made: Path, url: URL) -> None:
    """Put all of a ledger into the configured database in one transaction, unless somebody began one meanwhile."""
    if url.get_backend_name() == "sqlite":
        path = Path(str(url.database))
        with _alone(path) as target:
            with closing(sqlite3.connect(made)) as source:
                source.backup(target)
            _check(target, path)
        durable.sync_folder(path.parent)
        return
    engine = connect(url)
    try:
        schema.upgrade(engine)
        with _engine_of(made) as ours, ours.connect() as source, engine.connect() as target:
            target.execute(text("LOCK TABLE run IN ACCESS EXCLUSIVE MODE"))
            _refuse_runs(target.execute(_COUNT_RUNS).scalar(), url.render_as_string(hide_password=True))
            for table in ("edge", "state"):  # declared by `ledger init`; they come with the backup
                target.execute(text(f"DELETE FROM {table}"))  # noqa: S608  names of ours
            copy_rows(source, target)
            target.commit()
    finally:
        engine.dispose()


def _note(store: Store, config: Config, file: Path) -> list[str]:
    """Put the restoration on record; return what this backup does not know."""
    store.open()
    last = last_entry(store)
    with store.recorded("backup", {"restore": str(file)}) as (session, run_id):
        newest = note_beyond(session, store, config, Entry(run_id=run_id, name=file.name, event="restored", at_us=0))
    told = []
    if newest > last:
        told.append(f"it ends with entry {last}, and there is a backup up to {newest}: what lies between is not in it")
    try:
        numbers = numbers_on_disk(store, config, remembers=False)
        with store.read() as session:
            standing(session, config).refuse_taken(numbers)
    except LedgerError as exc:
        told.append(str(exc))
    return told


def note_beyond(session: Session, store: Store, config: Config, entry: Entry) -> int:
    """Append an entry with a number beyond all that any backup knows; return the newest of those.

    So this ledger is not taken for an older one than its backups (see `why_outdated`).
    """
    newest = max((backup.last_entry for backup in found(config)), default=0)
    last = session.execute(select(func.max(col(Entry.id)))).scalar() or 0
    entry.id, entry.at_us = max(newest, int(last)) + 1, store.clock()
    session.add(entry)
    session.flush()
    set_counters(session.connection(), SQLModel.metadata)
    return newest


def next_number(config: Config, prefix: str) -> int | None:
    """Return the highest next number of all backups that can be read; None if none can."""
    known = []
    for backup in found(config):
        try:
            with closing(sqlite3.connect(f"{backup.path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
                query = "SELECT next_number FROM frame_sequence WHERE prefix = ?"
                row = connection.execute(query, (prefix,)).fetchone()
        except sqlite3.Error:
            continue  # damaged: the others say less, and are still true
        known.append(int(row[0]) if row else 1)
    return max(known, default=None)


def why_outdated(store: Store, config: Config) -> str | None:
    """Return how it shows that an older database was put back by hand: a backup has entries that it has not."""
    newest = max(found(config), default=None)
    last = last_entry(store)
    if newest is None or newest.last_entry <= last:
        return None
    return (
        f"the database {store.shown} ends with entry {last}, and {str(newest.path)!r} goes on to {newest.last_entry}:"
        " an older one was put back, or a new one begun; move it away and `ledger backup --restore` the newest, or"
        " `ledger rebuild` it from the files (or move backups of another ledger away)"
    )
