"""What the journal writes where rows come into being and go: raw files are registered, products made and unmade."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlmodel import Session, col

from ledger.db.models import File, Lineage, Night
from ledger.db.store import chunks, insert_many, update_many
from ledger.disk.outside import Found
from ledger.night._entries import Entries
from ledger.night.products import WorkItem, product_columns
from stages.base import Product

#: Values of a new row's columns that nothing is known of yet.
_BLANK = {
    name: column.get_default(call_default_factory=True)
    for name, column in File.model_fields.items()
    if name != "id" and not column.is_required()
}


class Births(Entries):
    """What is written where rows come into being and go."""

    def register(self, rows: Sequence[Mapping[str, Any]], details: Mapping[str, Mapping[str, Any]]) -> None:
        """Insert or update the rows of raw files, each with an entry.

        Parameters
        ----------
        rows : sequence of mappings
            Columns of `File`; with ``id`` if the row is there already.
        details : mapping
            What the entries say besides, by identity.
        """
        state = self.pipeline.states[0]
        common = {"night_id": self.night.id, "pipeline": self.pipeline.name, "kind": "raw", "state": state}
        with self.store.write(self.lease.check) as session:
            self.entry(
                session,
                [
                    {
                        "identity": row["identity"],
                        "name": f"{row['folder']}/{row['name']}",
                        "event": "quarantined" if row["quarantine_reason"] else "registered",
                        "destination": state,
                        "size_bytes": row["size_bytes"],
                        "detail": dict(details.get(row["identity"], {})),
                    }
                    for row in rows
                ],
            )
            insert_many(session, File, [{**_BLANK, **common, **row} for row in rows if "id" not in row])
            for portion in _in_turn(session, [row for row in rows if "id" in row]):
                update_many(session, File, portion)

    def looked_at(self, streams_ns: int) -> None:
        """Remember how new the streams were when all that is in them was registered."""
        if streams_ns != self.night.streams_ns:
            with self.store.write(self.lease.check) as session:
                session.execute(update(Night).where(col(Night.id) == self.night.id).values(streams_ns=streams_ns))

    def left_out(self, found: Found) -> None:
        """Record which files that may hold frames a night was numbered without, and why."""
        files = [(file, reason) for file, reason in found.left_out]
        files += [(file, "outside: ignore") for file in found.undecided]
        reasons = Counter(f"{file.folder}, {file.words}: {reason}" for file, reason in files)
        if reasons:
            with self.store.write(self.lease.check) as session:
                self.entry(session, [{"name": self.night.date, "event": "left_out", "detail": dict(reasons)}])

    def make_products(
        self,
        folder: str,
        products: Sequence[Product],
        parts: Mapping[int, Sequence[File]],
        remarks: Mapping[str, int],
    ) -> None:
        """Insert products with their lineage, and move the raw files that they are made of to their last state.

        All in one transaction: every frame of the night has its product, or none has.

        Parameters
        ----------
        folder : str
            Of the products, within the night.
        products : sequence of Product
            New ones.
        parts : mapping of int to sequence of File
            The raw files, by the supplement that they are from now on.
        remarks : mapping
            For the entry.
        """
        raws = [row for part in parts.values() for row in part]
        step = self.pipeline.step(self.pipeline.born)
        common_columns = {
            "night_id": self.night.id,
            "pipeline": self.pipeline.name,
            "state": step.state,
            "folder": folder,
        }
        by_identity = {row.identity: int(row.id or 0) for row in raws}
        common = {"edge": step.forward, "destination": step.state}
        with self.store.write(self.lease.check) as session:
            self.entry(session, [{**common, "identity": p.identity, "name": p.name, "event": "done"} for p in products])
            if products:
                session.execute(insert(File), [{**_BLANK, **common_columns, **product_columns(p)} for p in products])
            rows = session.execute(
                select(col(File.identity), col(File.id)).where(
                    col(File.night_id) == self.night.id, col(File.kind) == "product"
                )
            )
            ids = {row.identity: row.id for row in rows}
            lines = [
                {
                    "product_id": ids[p.identity],
                    "position": position,
                    "raw_id": by_identity[part.raw.identity],
                    "n_frames": part.n_frames,
                    "runs": [list(run) for run in part.runs],
                }
                for p in products
                for position, part in enumerate(p.parts)
            ]
            if lines:
                session.execute(insert(Lineage), lines)
            self._move_raws(session, raws, step.forward)
            supplements = [{"id": row.id, "supplement": part} for part, rows in parts.items() for row in rows]
            update_many(session, File, supplements)
            self.entry(session, [{**common, "name": self.night.date, "event": "done", "detail": dict(remarks)}])

    def unmake_products(self, items: Sequence[WorkItem]) -> None:
        """Delete the rows of products; the raw files that they were made of are raw again."""
        step = self.pipeline.step(self.pipeline.born)
        ids = [item.row_id for item in items]
        common = {"edge": step.reverse, "source": step.state, "event": "done"}
        entries = [{**common, "identity": item.product.identity, "name": item.product.name} for item in items]
        with self.store.write(self.lease.check) as session:
            self.entry(session, entries)
            raw_ids: set[int] = set()
            for chunk in chunks(ids):
                found = session.execute(
                    select(col(Lineage.raw_id)).where(col(Lineage.product_id).in_(chunk)).distinct()
                ).scalars()
                raw_ids.update(found)
                session.execute(delete(Lineage).where(col(Lineage.product_id).in_(chunk)))
                session.execute(delete(File).where(col(File.id).in_(chunk)))
            raws = session.execute(
                select(File).where(col(File.night_id) == self.night.id, col(File.kind) == "raw")
            ).scalars()
            self._move_raws(session, [row for row in raws if row.id in raw_ids], step.reverse)
            self.entry(session, [{**common, "name": self.night.date}])

    def _move_raws(self, session: Session, raws: Sequence[File], verb: str) -> None:
        if not raws:
            return
        moved = [{"id": row.id, "state": self.pipeline.move("raw", row.state, verb)} for row in raws]
        self.entry(
            session,
            [
                {
                    "identity": row.identity,
                    "name": f"{row.folder}/{row.name}",
                    "event": "done",
                    "edge": verb,
                    "source": row.state,
                    "destination": new["state"],
                }
                for row, new in zip(raws, moved, strict=True)
            ],
        )
        update_many(session, File, moved)


def _in_turn(session: Session, rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Yield rows in portions that are updated one after the other.

    A file that was renamed over another one has the identity that a row gives up in the same batch. That row is first.
    """
    before: dict[int, str] = {}
    for chunk in chunks([int(row["id"]) for row in rows]):
        before |= dict(session.execute(select(col(File.id), col(File.identity)).where(col(File.id).in_(chunk))).all())
    pending = list(rows)
    while pending:
        held = {before[row["id"]]: row["id"] for row in pending}
        free = [row for row in pending if held.get(row["identity"], row["id"]) == row["id"]]
        yield free or pending  # files that changed places: the database refuses them
        done = {row["id"] for row in free or pending}
        pending = [row for row in pending if row["id"] not in done]
