"""Backups after work that failed: on record until one succeeds."""

from contextlib import suppress

from sqlmodel import col, select

from ledger.config.model import Config
from ledger.db import backup
from ledger.db.models import Run
from ledger.db.store import Store
from ledger.errors import LedgerError

#: What a backup that failed is on record as, and the first that succeeds after it.
BACKUP = "backup"


def after_work(store: Store, config: Config, *, sends: bool = True) -> str | None:
    """Make a backup if one is due, or the last one failed; return what went wrong, as the work itself is done."""
    try:
        before = failure(store)
        if before is None or not (config.backup.automatic and sends):
            complaint = backup.after_work(store, config, sends=sends)
            if complaint is not None:
                _record(store, complaint)
            return complaint
        make(store, config)
    except LedgerError as exc:
        return str(exc)
    return None


def make(store: Store, config: Config) -> list[str]:
    """Make a backup, and put on record if that fails, or if it is the first that succeeds again; return where it is.

    Raises
    ------
    NotReady
        If it cannot be written, here or there.
    """
    before = failure(store)
    try:
        made = backup.make(store, config)
    except LedgerError as exc:
        _record(store, str(exc))
        raise
    if before is not None:
        _record(store, None)
    return [str(path) for path in made]


def failure(store: Store) -> str | None:
    """Return why the last backup failed; None if it did not."""
    query = select(col(Run.arguments)).where(col(Run.command) == BACKUP).order_by(col(Run.id).desc()).limit(1)
    with store.read() as session:
        arguments = session.execute(query).scalar() or {}
    return arguments.get("error")


def _record(store: Store, complaint: str | None) -> None:
    with suppress(LedgerError):  # where the database takes nothing, the complaint is all there is
        run_id = store.begin_run(BACKUP, {"error": complaint} if complaint else {})
        store.end_run(run_id, 1 if complaint else 0, in_order=True)
