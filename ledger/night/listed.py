"""What the manifests of a night list, and where those files are now: night or copies may have been moved since."""

from pathlib import Path

from sqlalchemy import select
from sqlmodel import col

from ledger.config.blocks import read_place
from ledger.db.models import Entry, Manifest, ManifestLine, Night
from ledger.db.store import Store
from ledger.night.site import copies_at


def listed(store: Store, night: Night) -> list[tuple[ManifestLine, str]]:
    """Return the lines of the manifests that stand, in their order, each with the path that its file has today.

    Whatever lay in a folder that `ledger relocate` left lies where the night, or its copies, are on record now.
    """
    query = select(ManifestLine).join(Manifest, col(Manifest.id) == col(ManifestLine.manifest_id))
    of_night = query.where(col(Manifest.night_id) == night.id, col(Manifest.withdrawn_us).is_(None))
    moves = select(col(Entry.detail)).where(col(Entry.night_id) == night.id, col(Entry.event) == "relocated")
    with store.read() as session:
        lines = session.execute(of_night.order_by(col(Manifest.id), col(ManifestLine.position))).scalars().all()
        left = session.execute(moves).scalars().all()
    there = copies_at(store, night.pipeline, night.date) if left else None
    places = {}
    for move in left:
        now = Path(night.root) if "copies" not in move else there and there[1]
        if now is not None:  # a night without copies has no lines that name them
            places[f"{read_place(Path(move['from']))[2] / night.date}/"] = f"{now / night.date}/"
    return [(line, _today(line.path, places)) for line in lines]


def _today(path: str, places: dict[str, str]) -> str:
    """Return a path with the folder that it begins with as it is now."""
    return next((now + path.removeprefix(before) for before, now in places.items() if path.startswith(before)), path)
