"""A backup becomes the configured database, as a whole or not at all."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import func, select, text
from sqlalchemy.engine import URL
from sqlmodel import Session, SQLModel, col

from ledger.config.model import Config
from ledger.config.urls import parse_url
from ledger.db import schema
from ledger.db.backup import engine_of, found, last_entry, refuse_damaged, writing_backup
from ledger.db.connection import connect
from ledger.db.models import Entry
from ledger.db.store import Store
from ledger.db.tables import REVISION_TABLE, copy_rows, set_counters
from ledger.disk import durable
from ledger.errors import LedgerError, NotReady, UsageError
from ledger.ids.numbers import numbers_on_disk
from ledger.ids.sequence import sequence_state
from stages.base import TEMPORARY_PREFIX

_COUNT_RUNS = text("SELECT count(*) FROM run")


#: How long a restoration waits for others to close the database, seconds.
ALONE_TIMEOUT_S = 2


def restore(config: Config, file: Path, *, is_older_meant: bool = False) -> list[str]:
    """Make the configured database of a backup.

    Parameters
    ----------
    config : Config
        Names the database, which must not be there, or be empty.
    file : Path
        The backup; it is not changed.
    is_older_meant : bool
        Whether it may be one that another backup goes beyond.

    Returns
    -------
    list of str
        What the backup does not know of.

    Raises
    ------
    UsageError
        If the file is no ledger's database, or of a newer ledger, or ends before another backup and that is not meant,
        or the database has rows.
    """
    if not file.is_file():
        raise UsageError(f"{file}: no such file; expected a backup: `ledger backup --list` names them")
    with replacing(config) as temporary, writing_backup(temporary.parent):
        _bring_up(file, temporary)
        if not is_older_meant:
            _refuse_older(config, file, temporary)
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
    UsageError
        If that database has rows, or is no ledger's.
    NotReady
        If somebody has it open, or it cannot be written.
    """
    url = parse_url(config.database.url)
    is_sqlite = url.get_backend_name() == "sqlite"
    home = Path(str(url.database)).parent if is_sqlite else config.backup.folder
    with writing_backup(home):
        home.mkdir(parents=True, exist_ok=True)
    _refuse_rows(url)
    with writing_backup(home):
        folder = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}restore-", dir=home))
    try:
        made = folder / "ledger.db"
        yield made
        with closing(sqlite3.connect(made)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")  # one file, whole by itself
        with writing_backup(home):
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
        raise UsageError(
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
    UsageError
        If it has rows, or is no ledger's.
    NotReady
        If somebody has it open.
    """
    if not path.exists() and (journals := _journals(path)):
        raise UsageError(f"{journals[0]}: the journal of a database that is gone; expected none; move it away")
    if path.exists() and not path.is_file():
        raise UsageError(f"database {str(path)!r} is no file; expected one, or none; check database.url")
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
        raise UsageError(
            f"database {str(path)!r} is damaged, or no database ({exc}): it is left alone; move it away, and run the"
            " same command again"
        ) from exc


def _refuse_tables(connection: sqlite3.Connection, path: Path) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and REVISION_TABLE not in tables:
        raise UsageError(
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
            refuse_damaged(copy, file)
    except sqlite3.DatabaseError as exc:
        raise UsageError(f"{file}: not a database, or damaged ({exc}); expected a backup: try an older one") from exc
    with engine_of(path) as engine:
        if schema.revision(engine) is None:
            raise UsageError(f"{file}: an SQLite file, and not a ledger's; expected a backup: `ledger backup --list`")
        schema.upgrade(engine)


def _refuse_older(config: Config, file: Path, copy: Path) -> None:
    """Refuse a backup that another one goes beyond: decisions, frame IDs and mails that lie between would be lost."""
    newest = max(found(config), default=None)
    with closing(sqlite3.connect(copy)) as connection:
        (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM entry").fetchone()
    if newest is not None and newest.last_entry > last:
        raise UsageError(
            f"{file}: ends with entry {last}, and {newest.path} goes on to {newest.last_entry}; restore that one, or"
            " say --older: what was done, decided and numbered since is not in it"
        )


def _load(made: Path, url: URL) -> None:
    """Put all of a ledger into the configured database in one transaction, unless somebody began one meanwhile."""
    if url.get_backend_name() == "sqlite":
        path = Path(str(url.database))
        with _alone(path) as target:
            with closing(sqlite3.connect(made)) as source:
                source.backup(target)
            refuse_damaged(target, path)
        durable.sync_folder(path.parent)
        return
    engine = connect(url)
    try:
        schema.upgrade(engine)
        with engine_of(made) as ours, ours.connect() as source, engine.connect() as target:
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
    complaints = []
    if newest > last:
        complaints.append(
            f"it ends with entry {last}, and there is a backup up to {newest}: what lies between is not in it"
        )
    try:
        numbers = numbers_on_disk(store, config, remembers=False)
        with store.read() as session:
            sequence_state(session, config).refuse_taken(numbers)
    except LedgerError as exc:
        complaints.append(str(exc))
    return complaints


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
