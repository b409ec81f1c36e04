"""What is on record of a night: its raw files, products, copies and manifests. Only the night's own row is written."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Row, Select, column, func, select, table, text, update
from sqlalchemy.orm import aliased
from sqlmodel import col

from ledger.db.models import Copy, Entry, File, FrameId, Lineage, Manifest, Night
from ledger.db.store import Store, chunks, insert_if_new
from ledger.errors import StateError
from ledger.night.products import PRODUCT_COLUMNS, RAW_COLUMNS, WorkItem, to_items

#: Columns of `File` that a raw file on disk is compared with, and where among them is what the disk says too.
SEEN_COLUMNS = (
    "size_bytes",
    "mtime_ns",
    "timing_size_bytes",
    "timing_mtime_ns",
    "id",
    "identity",
    "folder",
    "name",
    "state",
    "n_frames",
    "lost_frames",
    "quarantine_reason",
    "pruned_us",
)

STATS = slice(4)

#: Columns of `File` that tell whether a raw file is a duplicate.
TWIN_COLUMNS = ("folder", "name", "state", "header_sha256", "timing_sha256", "first_us", "size_bytes", "lost_frames")

#: Raw files in use by what is sought, as a table. The terms of the index are written as they are there.
_IN_USE = "file.kind = 'raw' AND file.quarantine_reason IS NULL"

_SOUGHT = {
    "sqlite": (
        "json_each(:keys) AS sought CROSS JOIN file"
        " ON file.header_sha256 = json_extract(sought.value, '$[0]')"
        f" AND file.first_us = json_extract(sought.value, '$[1]') AND {_IN_USE}"
    ),
    "postgresql": (
        "json_array_elements(CAST(:keys AS json)) AS sought CROSS JOIN LATERAL (SELECT * FROM file WHERE"  # noqa: S608  constants
        f" file.header_sha256 = sought ->> 0 AND file.first_us = CAST(sought ->> 1 AS bigint) AND {_IN_USE} OFFSET 0)"
        " AS file"
    ),
}


def ensure_night(store: Store, pipeline: str, root: Path, date: str) -> Night:
    """Return the row of a night, made if it is new.

    Raises
    ------
    StateError
        If the ledger knows this night under another root.
    """
    with store.write() as session:
        new = {"pipeline": pipeline, "root": str(root), "date": date, "created_us": store.clock()}
        insert_if_new(session, Night, new)
        found: Night = session.execute(of_night(pipeline, date)).scalar_one()
    if found.root != str(root):
        raise StateError(
            f"night {date} of {pipeline} is registered under {found.root!r}, and this is {str(root)!r}:"
            f" expected one place; set {pipeline}.root back, or, if the nights have moved, run `ledger relocate`"
        )
    return found


def find_night(store: Store, pipeline: str, date: str) -> Night | None:
    """Return the row of a night, or None."""
    with store.read() as session:
        return session.execute(of_night(pipeline, date)).scalar_one_or_none()


def dates(store: Store) -> Mapping[str, Sequence[str]]:
    """Return the dates of the nights that are on record, by pipeline, oldest first."""
    found: dict[str, list[str]] = defaultdict(list)
    with store.read() as session:
        for pipeline, date in session.execute(select(col(Night.pipeline), col(Night.date)).order_by(col(Night.date))):
            found[pipeline].append(date)
    return found


def is_numbered(store: Store, night: Night) -> bool:
    """Whether a night has ever been numbered, by what is on record now."""
    current = find_night(store, night.pipeline, night.date)
    return current is not None and current.numbered_us is not None


def exclude(store: Store, pipeline: str, root: Path, date: str, reason: str | None) -> int:
    """Take a night out of the chronology, or (without a reason) back in; return how many frame IDs it has."""
    night = ensure_night(store, pipeline, root, date)
    event, arguments = ("included", {}) if reason is None else ("excluded", {"reason": reason})
    with store.recorded(event.removesuffix("d"), {"date": date, **arguments}) as (session, run_id):
        session.execute(update(Night).where(col(Night.id) == night.id).values(excluded_reason=reason))
        session.add(
            Entry(
                at_us=store.clock(),
                run_id=run_id,
                night_id=night.id,
                name=date,
                event=event,
                detail=dict(arguments),
            )
        )
        live = select(func.count()).where(col(FrameId.night_id) == night.id, col(FrameId.status) == "live")
        return int(session.execute(live).scalar() or 0)


def raws(store: Store, night: Night) -> list[File]:
    """Return the raw rows of a night, by folder and name."""
    query = (
        select(File)
        .where(col(File.night_id) == night.id, col(File.kind) == "raw")
        .order_by(col(File.folder), col(File.name))
    )
    with store.read() as session:
        return list(session.execute(query).scalars())


def raw_headers(store: Store, night: Night) -> tuple[str, ...]:
    """Return the names of the archives of raw headers that were proven at the destination, oldest first."""
    query = select(col(Entry.name)).where(col(Entry.night_id) == night.id, col(Entry.event) == "headers_sent")
    with store.read() as session:
        return tuple(dict.fromkeys(session.execute(query.order_by(col(Entry.id))).scalars()))


def seen(store: Store, night: Night) -> list[Row[Any]]:
    """Return what is on record of a night's raw files that a look at the disk is compared with.

    Not whole rows: a night has up to 10^5, and every run looks at all of them.
    """
    query = select(*(getattr(File, name) for name in SEEN_COLUMNS)).where(
        col(File.night_id) == night.id, col(File.kind) == "raw"
    )
    with store.read() as session:
        found = session.connection().execute(query.order_by(col(File.folder), col(File.name)))
        return list(found.all())


def raw_files(store: Store, ids: Sequence[int]) -> dict[int, File]:
    """Return rows of raw files, by their numbers."""
    with store.read() as session:
        queries = [select(File).where(col(File.id).in_(chunk)) for chunk in chunks(ids)]
        return {int(row.id or 0): row for query in queries for row in session.execute(query).scalars()}


def unstructured(store: Store, night: Night, *, anew: bool = False) -> frozenset[int]:
    """Return the row numbers of a night's raw files in use whose structure was not registered.

    There are none once the night was numbered, unless it is paired `anew`: its groups stay as they were cut.
    """
    if night.numbered_us is not None and not anew:
        return frozenset()
    query = select(col(File.id)).where(
        col(File.night_id) == night.id,
        col(File.kind) == "raw",
        col(File.quarantine_reason).is_(None),
        col(File.pruned_us).is_(None),
        col(File.cards)["BITPIX"].as_string().is_(None),
    )
    with store.read() as session:
        return frozenset(session.execute(query).scalars())


def twins(store: Store, pipeline: str, keys: Sequence[tuple[str, int]]) -> list[Row[Any]]:
    """Return the raw files in use that have one of some pairs of header and first time, in order of registration.

    Each pair is looked up in the index, in one statement for all of them: without statistics, as a new ledger has
    none, both databases would read all raw files instead if they were free to choose.

    Parameters
    ----------
    pipeline : str
        Of any of its nights.
    keys : sequence of (str, int)
        SHA-256 of the header, hex, and first time, UNIX, microseconds.

    Returns
    -------
    list of rows
        :data:`TWIN_COLUMNS`, with ``root`` and ``date`` of the night.
    """
    columns = ", ".join(f"file.{name}" for name in TWIN_COLUMNS)
    query = text(
        f"SELECT night.root, night.date, {columns} FROM {_SOUGHT[store.engine.dialect.name]}"  # noqa: S608
        " JOIN night ON night.id = file.night_id WHERE file.pipeline = :pipeline ORDER BY file.id"
    )
    with store.read() as session:
        return [
            row
            for chunk in chunks(keys)
            for row in session.connection().execute(query, {"keys": json.dumps(chunk), "pipeline": pipeline})
        ]


def products(store: Store, night: Night) -> list[WorkItem]:
    """Return the products of a night, in ID order."""
    of_night = col(File.night_id) == night.id
    products, raws = (
        select(*(getattr(File, name) for name in names)).where(of_night, col(File.kind) == kind)
        for kind, names in (("product", PRODUCT_COLUMNS), ("raw", RAW_COLUMNS))
    )
    lineage = select(col(Lineage.product_id), col(Lineage.raw_id), col(Lineage.runs))
    lineage = lineage.join(File, col(File.id) == col(Lineage.product_id)).where(of_night)
    ids = select(col(FrameId.identity), col(FrameId.frame_id)).where(
        col(FrameId.night_id) == night.id, col(FrameId.status) == "live"
    )
    faults = copy_faults(store, night)
    with store.read() as session:
        return to_items(
            night,
            session.execute(products),
            session.execute(raws),
            session.execute(lineage.order_by(col(Lineage.product_id), col(Lineage.position))),
            {row.identity: row.frame_id for row in session.execute(ids)},
            faults,
        )


def states(store: Store, night: Night) -> Counter[str]:
    """Return how many products of a night are in each state."""
    query = select(col(File.state), func.count()).where(col(File.night_id) == night.id, col(File.kind) == "product")
    with store.read() as session:
        return Counter({state: int(n) for state, n in session.execute(query.group_by(col(File.state)))})


def unsynced(store: Store, night: Night, first_state: str) -> int:
    """Return how many raw files of a night have no product yet, and are not in quarantine."""
    query = select(func.count()).where(
        col(File.night_id) == night.id,
        col(File.kind) == "raw",
        col(File.state) == first_state,
        col(File.quarantine_reason).is_(None),
    )
    with store.read() as session:
        return int(session.execute(query).scalar_one())


def manifests(store: Store, night: Night) -> list[Manifest]:
    """Return the manifests of a night that stand."""
    return [manifest for manifest in all_manifests(store, night) if manifest.withdrawn_us is None]


def all_manifests(store: Store, night: Night) -> list[Manifest]:
    """Return the manifests of a night, withdrawn ones too, in the order in which they were made."""
    with store.read() as session:
        query = select(Manifest).where(col(Manifest.night_id) == night.id).order_by(col(Manifest.id))
        return list(session.execute(query).scalars())


def copied(store: Store, night: Night) -> frozenset[str]:
    """Return the identities of products of a night that were ever at a destination."""
    with store.read() as session:
        query = select(col(Copy.identity)).where(col(Copy.night_id) == night.id)
        return frozenset(session.execute(query).scalars())


def copies(store: Store, night: Night) -> list[Copy]:
    """Return every proof of the night's products at a destination, withdrawn ones too."""
    with store.read() as session:
        return list(session.execute(select(Copy).where(col(Copy.night_id) == night.id)).scalars())


def copy_faults(store: Store, night: Night) -> dict[str, str]:
    """Return what was found wrong with copies of a night's products when they were last read, by identity."""
    view = table("refuted", column("copy_id"), column("night_id"), column("identity"), column("fault"))
    with store.read() as session:
        query = select(view.c.identity, view.c.fault).where(view.c.night_id == night.id)
        return {row.identity: str(row.fault) for row in session.execute(query.order_by(view.c.copy_id))}


def seconds_per_byte(store: Store, verb: str) -> float | None:
    """Return how long a step took lately, in worker seconds a byte; None without history."""
    recent = (
        select(col(Entry.seconds), col(Entry.size_bytes))
        .where(col(Entry.event) == "done", col(Entry.edge) == verb, col(Entry.seconds).is_not(None))
        .order_by(col(Entry.id).desc())
        .limit(1000)
        .subquery()
    )
    with store.read() as session:
        seconds, size = session.execute(select(func.sum(recent.c.seconds), func.sum(recent.c.size_bytes))).one()
    return float(seconds) / float(size) if seconds and size else None


def compression_ratio(store: Store) -> float | None:
    """Return how many bytes the products compressed lately have for each byte of their frames; None without any."""
    recent = (
        select(col(File.id), col(File.size_bytes))
        .where(col(File.kind) == "product", col(File.sha256).is_not(None))
        .order_by(col(File.id).desc())
        .limit(200)
        .subquery()
    )
    raw = aliased(File)
    plain = func.sum(1.0 * col(raw.size_bytes) * col(Lineage.n_frames) / col(raw.n_frames))
    query = (
        select(plain)
        .join_from(recent, Lineage, col(Lineage.product_id) == recent.c.id)
        .join(raw, col(raw.id) == col(Lineage.raw_id))
    )
    with store.read() as session:
        packed_bytes = session.execute(select(func.sum(recent.c.size_bytes))).scalar()
        plain_bytes = session.execute(query).scalar()
    return float(packed_bytes) / float(plain_bytes) if packed_bytes and plain_bytes else None


def of_night(pipeline: str, date: str) -> Select[Night]:
    """Return the query of a night's row."""
    return select(Night).where(col(Night.pipeline) == pipeline, col(Night.date) == date)
