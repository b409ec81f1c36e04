"""The folders and hosts that a ledger needs: whether they are there, may be used, and have room."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import func, select
from sqlmodel import col

from ledger.audit._finding import Finding, Verdict
from ledger.config.model import Config
from ledger.config.site import Site
from ledger.db.models import Night
from ledger.db.store import Store
from ledger.disk.access import is_folder
from ledger.disk.dates import is_date
from ledger.disk.mounts import file_system_of
from ledger.errors import LedgerError
from ledger.night import record
from ledger.night.site import copies_at, shown
from ledger.text import counted
from stages.base import BadInput, Host, StageError
from stages.transport.remote import Remote


def look_at_places(config: Config) -> Iterator[Finding]:
    """Yield what is found of roots, destinations and other hosts, the log and the folder of backups."""
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


def look_at_roots(store: Store, config: Config) -> Iterator[Finding]:
    """Yield the roots that nights are on record under, and that the configuration has no more."""
    query = select(col(Night.pipeline), col(Night.root), func.count()).group_by(col(Night.pipeline), col(Night.root))
    with store.read() as session:
        found = session.execute(query.order_by(col(Night.pipeline), col(Night.root))).all()
    for name, root, n in found:
        if name in config.pipelines and config.site(name).has_nights and Path(root) != config.site(name).root:
            yield Finding(
                f"{name}.root",
                "problem",
                f"{counted(n, 'night')} of {name} are on record under {root}, and the configuration has"
                f" {config.site(name).root}",
                "if they were moved, `ledger relocate`; otherwise set the root back",
            )


def look_at_former(store: Store, config: Config) -> Iterator[Finding]:
    """Yield the places that nights have copies at, and that no destination of the configuration is."""
    known = {(name, shown(s.destination_name, s.destination)) for name in config.pipelines for s in config.sites(name)}
    found: Counter[tuple[str, str]] = Counter()
    for name, dates in record.dates(store).items():
        places = (copies_at(store, name, date) for date in dates)
        found.update((name, shown(*place)) for place in places if place is not None)
    for (name, place), n in sorted(found.items()):
        if (name, place) not in known:
            yield Finding(
                f"copies of {name}",
                "note",
                f"copies of {counted(n, 'night')} are at {place}, which is no destination of the configuration",
                f"add it to {name}.former_destinations, so that a rebuild finds them; or move them and `ledger"
                " relocate --copies`",
            )


def _folder(config: Config, subject: str, folder: Path) -> Finding:
    """Check whether a folder is there, may be written, and has room."""
    try:
        is_there = is_folder(folder)
    except LedgerError as exc:
        return Finding(subject, "problem", str(exc))
    if not is_there:
        return Finding(
            subject,
            "problem",
            f"{folder}: no such folder",
            "mount its disk, or correct the path; make the folder only if it never was there",
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
