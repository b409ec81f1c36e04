"""Where there is no database: whether a ledger was there, and how it comes back.

Only folders are read, and none on another host.
"""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.config.model import Config
from ledger.db import backup
from ledger.disk.access import entries_of, translate_read_errors
from ledger.disk.dates import is_date
from ledger.errors import LedgerError, NoLedger
from ledger.text import counted
from stages.lineage import LINEAGE


@contextmanager
def advised(config: Config) -> Iterator[None]:
    """Let an error that there is no database say how it comes back, if there was one."""
    try:
        yield
    except NoLedger as exc:
        if found := how_to_return(config):
            raise NoLedger(exc.what, found) from exc
        raise


def how_to_return(config: Config) -> str | None:
    """Return what is left of the ledger whose database is not there, and how it comes back; None if nothing is."""
    try:
        backups = backup.found(config)
        trace = None if backups else _trace(config)
    except LedgerError as exc:
        return f"it may have been lost, and what is left of it cannot be looked for: {exc}"
    mount = "if its disk is not mounted, mount it; else"
    if backups:
        return f"{counted(len(backups), 'backup')} can bring it back; {mount} `{_restoring(backups[-1].path)}`"
    if trace is None:
        return None
    site = config.site()
    places = [str(folder) for folder in backup.folders(config)]
    if site.destination_host is not None:
        places.append(f"{site.destination_host.name}:{site.destination / backup.FOLDER_AT_DESTINATION} (look there)")
    where = " or ".join(places)
    return f"{trace} is of a ledger, and no backup is in {where}; {mount} `ledger rebuild` makes it of the files"


def _restoring(path: Path) -> str:
    """Return the command that makes the database of a backup."""
    return f"ledger backup --restore {shlex.quote(str(path))}"


def _trace(config: Config) -> Path | None:
    """Return a file that only a ledger writes, of the newest night that has one; None if there is none."""
    for name in config.pipelines:
        site = config.site(name)
        for place in (*([site.root] if site.has_nights else []), *([site.destination] if site.has_copies else [])):
            with translate_read_errors(place):
                dates = sorted((entry.name for entry in entries_of(place) if is_date(entry.name)), reverse=True)
                files = (place / date / config.instrument.product_folder / LINEAGE for date in dates)
                if found := next((file for file in files if file.is_file()), None):
                    return found
    return None
