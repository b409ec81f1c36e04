"""Where the copies of a night are: once it has one, a night keeps its destination, whatever the configuration says.

A new disk serves new nights, while nights of before stay where they are; `ledger relocate --copies` follows those that
were moved.
"""

from pathlib import Path

from sqlalchemy import Row, Select, and_, func, not_, select
from sqlmodel import col

from ledger.config.model import Config
from ledger.config.site import Site
from ledger.db.models import Copy, Night
from ledger.db.store import Store
from ledger.errors import UsageError


def copies_at(store: Store, pipeline: str, date: str) -> tuple[str, Path] | None:
    """Return the host (empty: here) and the destination of a night that has copies; None if it has none."""
    with store.read() as session:
        query = _standing(pipeline, date).order_by(col(Copy.identity), col(Copy.id))  # which its index has in order
        found = session.execute(query.limit(1)).first()
    return None if found is None else _place(found)


def copies_elsewhere(store: Store, site: Site, date: str) -> tuple[str, Path] | None:
    """Return host and destination of a copy of a night that is not at the destination of a part; None if none is."""
    found = _elsewhere(store, site, date)
    return None if found is None else _place(found)


def site_of(store: Store, config: Config, pipeline: str, date: str) -> Site:
    """Return this host's part in a night: its destination is where its copies are, or else that of today.

    Where one host fetches what the other made (``transfer.direction: pull``), all nights have one destination.

    Parameters
    ----------
    store, config
        The ledger.
    pipeline, date : str
        The night.
    """
    site = config.site(pipeline)
    if site.part != "all" or (found := copies_at(store, pipeline, date)) is None:
        return site
    return config.site_at(pipeline, *found)


def refuse_scattered(store: Store, night: Night, site: Site) -> None:
    """Refuse a night of which copies lie elsewhere than at its destination.

    Raises
    ------
    UsageError
        With both places.
    """
    found = _elsewhere(store, site, night.date)
    if found is not None:
        raise UsageError(
            f"night {night.date}: a copy is at {shown(str(found.host), found.path)!r}, and its destination is"
            f" {shown(site.destination_name, site.destination)!r}; set the destination back, or move the copies and"
            f" `ledger relocate --copies {site.named(night.date)}`"
        )


def shown(host: str, path: str | Path) -> str:
    """Return a place in words: with its host, if it has one."""
    return f"{host}:{path}" if host else str(path)


def _elsewhere(store: Store, site: Site, date: str) -> Row[str, str] | None:
    """Return host and path of a standing copy that is not at the destination of a part."""
    prefix = f"{site.destination / date}/"
    is_there = and_(col(Copy.host) == site.destination_name, func.substr(col(Copy.path), 1, len(prefix)) == prefix)
    query = _standing(site.pipeline, date).where(not_(is_there)).order_by(col(Copy.id)).limit(1)
    with store.read() as session:
        return session.execute(query).first()


def _place(found: Row[str, str]) -> tuple[str, Path]:
    """Return the host and the destination of a copy, which is at ``<destination>/<date>/<product folder>/<name>``."""
    return str(found.host), Path(found.path).parents[2]


def _standing(pipeline: str, date: str) -> Select[str, str]:
    """Return the query of the places of a night's copies that were not withdrawn."""
    night_id = select(col(Night.id)).where(col(Night.pipeline) == pipeline, col(Night.date) == date).scalar_subquery()
    query = select(col(Copy.host), col(Copy.path))
    return query.where(col(Copy.night_id) == night_id, col(Copy.withdrawn_us).is_(None))
