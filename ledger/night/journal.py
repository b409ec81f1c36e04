"""A run's hold on one night, and all that it may write: no state changes without its entry.

Every method is one transaction that first checks the lease: a run that was suspended and comes back
cannot write over its successor.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, delete, exists, func, insert, literal, or_, select, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from ledger.config.blocks import Failures
from ledger.db.models import Copy, Entry, File, FrameId, Lineage, Manifest, ManifestLine, Night, Run
from ledger.db.store import Store, chunks, insert_many, update_many
from ledger.disk.outside import Found
from ledger.night.lease import Lease
from ledger.night.pipeline import Pipeline
from ledger.night.products import WorkItem, product_columns
from stages.base import Evidence, Fact, Product
from stages.base import Manifest as ManifestOutcome

#: Exit status on record for runs that ended without saying so.
DIED = -1

#: What columns of a new row say that nothing else is known of.
_BLANK = {
    name: column.get_default(call_default_factory=True)
    for name, column in File.model_fields.items()
    if name != "id" and not column.is_required()
}


@dataclass(frozen=True, slots=True)
class Pending:
    """A step that was begun and did not end."""

    identity: str
    name: str
    edge: str


@dataclass(frozen=True, slots=True)
class Move:
    """One change of one product's state, with what the stage found out.

    Attributes
    ----------
    item : WorkItem
        Updated in place once the change is committed.
    verb : str
        The edge.
    facts : mapping
        New values of ``files``, ``sha256``, ``size_bytes``.
    evidence : Evidence or None
        Proof at the destination.
    is_withdrawn : bool
        Whether the copy at the destination is gone.
    seconds : float or None
        That the stage took.
    size_bytes : int or None
        That it worked on.
    remarks : mapping
        For the entry.
    """

    item: WorkItem
    verb: str
    facts: Mapping[str, Fact] = field(default_factory=dict)
    evidence: Evidence | None = None
    is_withdrawn: bool = False
    seconds: float | None = None
    size_bytes: int | None = None
    remarks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """A step of one product that did not succeed.

    Attributes
    ----------
    item : WorkItem
        Updated in place once the failure is committed.
    error : str
        What happened, for people.
    is_final : bool
        Whether trying again cannot help.
    counts : bool
        Whether it leads to quarantine in the end: what lies outside of the night's folder is not the file's fault.
    """

    item: WorkItem
    error: str
    is_final: bool = False
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Removal:
    """Files of a raw file or a product that are removed on purpose.

    Attributes
    ----------
    row_id : int
        Whose.
    identity, name : str
        Its identity, and the name of its cube.
    sha256 : mapping
        Name to SHA-256, hex, of each file, as they were just before.
    size_bytes : int
        Of all of them.
    """

    row_id: int
    identity: str
    name: str
    sha256: Mapping[str, str]
    size_bytes: int


class Journal:
    """One run's hold on one night.

    Parameters
    ----------
    store : Store
        The door.
    pipeline : Pipeline
        The night's pipeline.
    night : Night
        Its row.
    lease : Lease
        The hold itself.
    prefix : str
        Of the instrument's frame IDs.
    """

    def __init__(self, store: Store, pipeline: Pipeline, night: Night, lease: Lease, prefix: str) -> None:
        self.prefix = prefix
        self.store = store
        self.pipeline = pipeline
        self.night = night
        self.lease = lease
        self._known: set[tuple[str, str]] = set()  # events of steps that are known to have been on this night

    def entry(self, session: Session, entries: Sequence[Mapping[str, Any]]) -> None:
        """Append entries; each needs at least ``name`` and ``event``."""
        blank: dict[str, Any] = dict.fromkeys(chain.from_iterable(entries))
        insert_many(session, Entry, [{**blank, **self._signature(), "detail": {}, **entry} for entry in entries])

    def entry_of_ids(
        self, session: Session, event: str, condition: ColumnElement[bool], detail: ColumnElement[Any]
    ) -> None:
        """Append an entry for each of the frame IDs that fulfil a condition, in order.

        Parameters
        ----------
        session : Session
            The transaction.
        event : str
            What became of them.
        condition : ColumnElement
            On columns of `FrameId`.
        detail : ColumnElement
            Of the entries.
        """
        ids = select(*(literal(value) for value in self._signature().values()), literal(event), detail)
        ids = ids.add_columns(col(FrameId.identity), col(FrameId.frame_id))
        columns = [*self._signature(), "event", "detail", "identity", "name"]
        session.execute(insert(Entry).from_select(columns, ids.where(condition).order_by(col(FrameId.number))))

    def _signature(self) -> dict[str, Any]:
        """Return what every entry of this hold says."""
        return {"at_us": self.store.clock(), "run_id": self.lease.run_id, "night_id": self.night.id}

    def _entry_of(self, item: WorkItem, verb: str, event: str) -> dict[str, Any]:
        return {
            "identity": item.product.identity,
            "name": item.product.frame_id or item.product.name,
            "event": event,
            "edge": verb,
            "source": item.state,
        }

    def register(self, rows: Sequence[Mapping[str, Any]], details: Mapping[str, Mapping[str, Any]]) -> None:
        """Insert or update raw rows, each with an entry and what it is to say, by identity.

        Parameters
        ----------
        rows : sequence of mappings
            Columns of `File`; with ``id`` if the row is there already.
        details : mapping
            By identity.
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
            update_many(session, File, [row for row in rows if "id" in row])

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
        """Insert products with their lineage; the raw files they are made of have come to their end.

        All in one transaction: every frame of the night has its product, or none has. `parts` are the raw files
        by the supplement that they are, which is recorded.
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
                session.execute(insert(File), [{**common_columns, **product_columns(p)} for p in products])
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
        """Delete product rows; the raw files they were made of are raw again."""
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

    # steps

    def started(self, items: Sequence[WorkItem], verb: str) -> None:
        """Record that a step begins, before anything on disk is touched."""
        with self.store.write(self.lease.check) as session:
            self.entry(session, [self._entry_of(item, verb, "started") for item in items])

    def commit(
        self,
        moves: Sequence[Move],
        manifest: ManifestOutcome | None = None,
        *,
        withdrawn_manifests: Sequence[str] = (),
    ) -> None:
        """Commit moves at once: evidence, new state, facts, manifest, and an entry ``done`` for each."""
        if not moves:
            return
        at_us = self.store.clock()
        states = [self.pipeline.move("product", m.item.state, m.verb) for m in moves]
        with self.store.write(self.lease.check) as session:
            proofs = [
                {**asdict(m.evidence), "night_id": self.night.id, "proven_us": at_us, "withdrawn_us": None}
                for m in moves
                if m.evidence is not None
            ]
            if proofs:
                session.execute(insert(Copy), proofs)
            if manifest is not None:
                self._add_manifest(session, manifest, at_us)
            self.entry(
                session,
                [
                    {
                        **self._entry_of(m.item, m.verb, "done"),
                        "destination": state,
                        "seconds": m.seconds,
                        "size_bytes": m.size_bytes,
                        "detail": dict(m.remarks),
                    }
                    for m, state in zip(moves, states, strict=True)
                ],
            )
            update_many(
                session,
                File,
                [
                    {"id": m.item.row_id, "state": state, "error": None, "attempts": 0, "next_retry_us": None}
                    | dict(m.facts)
                    for m, state in zip(moves, states, strict=True)
                ],
            )
            for chunk in chunks([m.item.product.identity for m in moves if m.is_withdrawn]):
                session.execute(
                    update(Copy)
                    .where(col(Copy.identity).in_(chunk), col(Copy.night_id) == self.night.id)
                    .where(col(Copy.withdrawn_us).is_(None))
                    .values(withdrawn_us=at_us)
                )
            if withdrawn_manifests:
                session.execute(
                    update(Manifest)
                    .where(col(Manifest.night_id) == self.night.id, col(Manifest.withdrawn_us).is_(None))
                    .where(col(Manifest.name).in_(withdrawn_manifests))
                    .values(withdrawn_us=at_us)
                )
        self._known.update((move.verb, event) for move in moves for event in ("started", "done"))
        for move, state in zip(moves, states, strict=True):
            move.item.state, move.item.error, move.item.attempts, move.item.next_retry_us = state, None, 0, None
            if move.evidence is not None or move.is_withdrawn:
                move.item.fault = None
            facts = {k: tuple(v) if isinstance(v, list) else v for k, v in move.facts.items()}
            move.item.product = replace(move.item.product, **facts)  # type: ignore[arg-type]

    def _add_manifest(self, session: Session, manifest: ManifestOutcome, at_us: int) -> None:
        row = Manifest(night_id=int(self.night.id or 0), name=manifest.name, sha256=manifest.sha256, made_us=at_us)
        session.add(row)
        session.flush()
        lines = [
            {
                "manifest_id": row.id,
                "position": position,
                "frame_id": line.frame_id,
                "identity": line.identity,
                "path": line.path,
                "size_bytes": line.size_bytes,
            }
            for position, line in enumerate(manifest.lines)
        ]
        if lines:
            session.execute(insert(ManifestLine), lines)

    def verified(
        self,
        items: Sequence[WorkItem],
        proofs: Sequence[Evidence],
        faults: Mapping[str, str],
        detail: Mapping[str, Any],
        *,
        how: str = "proven",
    ) -> None:
        """Record what copies were found to be like; their products stay in their states.

        A fault refutes every proof of the copy and stays until there is a new one: no step goes forward on it, and
        nothing else ends it.

        Parameters
        ----------
        items : sequence of WorkItem
            Products whose copies were looked at; updated in place.
        proofs : sequence of Evidence
            Fresh ones.
        faults : mapping of str to str
            What is wrong with the copies of other products, by identity.
        detail : mapping
            Of the night, for the entry.
        how : str
            Event of products whose copies had a fault, and are proven now.
        """
        at_us = self.store.clock()
        by_identity = {item.product.identity: item for item in items}
        proven = {proof.identity for proof in proofs}
        mended = [(item, how, item.fault) for key, item in by_identity.items() if item.fault and key in proven]
        bad = [
            (by_identity[key], "unproven", fault) for key, fault in faults.items() if by_identity[key].fault != fault
        ]
        with self.store.write(self.lease.check) as session:
            common = {"night_id": self.night.id, "proven_us": at_us, "withdrawn_us": None}
            insert_many(session, Copy, [{**asdict(proof), **common} for proof in proofs])
            for chunk in chunks(list(proven)):
                session.execute(
                    update(File)
                    .where(col(File.night_id) == self.night.id, col(File.identity).in_(chunk))
                    .where(col(File.next_retry_us).is_(None))  # of a way back; a step that is tried again keeps its own
                    .values(error=None)
                )
            for item, _, fault in bad:
                session.execute(
                    update(Copy)
                    .where(col(Copy.night_id) == self.night.id, col(Copy.identity) == item.product.identity)
                    .where(col(Copy.withdrawn_us).is_(None), col(Copy.refuted_us).is_(None))
                    .values(refuted_us=at_us, fault=fault)
                )
            entries = [
                {
                    "identity": item.product.identity,
                    "name": item.product.frame_id or item.product.name,
                    "event": event,
                    "detail": {"error": fault},
                }
                for item, event, fault in (*bad, *mended)
            ]
            night = {"name": self.night.date, "event": "verified", "detail": {"proven": len(proofs), **detail}}
            self.entry(session, [*entries, night])
        for item, _, _ in mended:
            item.fault = None
        for item, _, fault in bad:
            item.fault = fault

    def recalled(self, items: Sequence[WorkItem], failures: Mapping[str, str]) -> None:
        """Record that files of products were brought back from the destination, or why not, by identity."""
        here = [item.row_id for item in items if item.product.identity not in failures]
        with self.store.write(self.lease.check) as session:
            for chunk in chunks(here):
                session.execute(update(File).where(col(File.id).in_(chunk)).values(pruned_us=None))
            self.entry(
                session,
                [
                    {
                        "identity": item.product.identity,
                        "name": item.product.frame_id or item.product.name,
                        "event": "unrecalled" if item.product.identity in failures else "recalled",
                        "detail": {"error": reason} if (reason := failures.get(item.product.identity)) else {},
                    }
                    for item in items
                ],
            )

    def pruned(self, removal: Removal) -> None:
        """Record that files go, before they do."""
        with self.store.write(self.lease.check) as session:
            values = {"pruned_us": self.store.clock()}
            session.execute(update(File).where(col(File.id) == removal.row_id).values(**values))
            entry = {"identity": removal.identity, "name": removal.name, "event": "pruned"}
            detail = {"sha256": dict(removal.sha256)}
            self.entry(session, [{**entry, "size_bytes": removal.size_bytes, "detail": detail}])

    def returned(self, files: Sequence[tuple[int, str, str]]) -> None:
        """Record that what had been removed is here again: row, identity and name of each raw file or product."""
        if not files:
            return
        with self.store.write(self.lease.check) as session:
            for chunk in chunks([row_id for row_id, _, _ in files]):
                session.execute(update(File).where(col(File.id).in_(chunk)).values(pruned_us=None))
            self.entry(session, [{"identity": i, "name": name, "event": "returned"} for _, i, name in files])

    def found(self, names: Mapping[int, Sequence[str]]) -> None:
        """Record which files products were found to have, by row, in a state that has none."""
        with self.store.write(self.lease.check) as session:
            update_many(session, File, [{"id": row_id, "files": list(files)} for row_id, files in names.items()])

    def failed(self, failures: Sequence[Failure], verb: str, policy: Failures | None = None) -> None:
        """Record failures; the products stay in their states.

        Parameters
        ----------
        failures : sequence of Failure
            What happened.
        verb : str
            The edge.
        policy : Failures, optional
            Says when each is tried again, and when it is put in quarantine; None for a way back, which is tried
            whenever it is asked for.
        """
        now_us = self.store.clock()
        changes = [(failure, _after(failure, policy, now_us)) for failure in failures]
        with self.store.write(self.lease.check) as session:
            for failure, values in changes:
                session.execute(update(File).where(col(File.id) == failure.item.row_id).values(**values))
            self.entry(
                session,
                [
                    {**self._entry_of(failure.item, verb, event), "detail": {"error": failure.error}}
                    for failure, values in changes
                    for event in ("failed", "quarantined")
                    if event == "failed" or "quarantine_reason" in values
                ],
            )
        for failure, values in changes:
            for name, value in values.items():
                setattr(failure.item, name, value)

    # what dead runs left

    def pending(self) -> list[Pending]:
        """Return the steps of this night that were begun and did not end.

        A step of one product is open if a run that did not end in order began it. A step of many products
        acts outside of the night's folder, so it stays open until it is done, or undone, even if it failed.
        """
        lasting = [step for step in self.pipeline.steps[1:] if step.scope != "file"]
        verbs = [step.forward for step in lasting]
        disordered = self._disordered()
        begun, end = aliased(Entry), aliased(Entry)
        ended = exists().where(
            col(end.night_id) == col(begun.night_id),
            col(end.identity) == col(begun.identity),
            col(end.id) > col(begun.id),
            or_(
                col(end.event).in_(("done", "settled")),
                and_(
                    col(end.event) == "failed",
                    col(begun.edge).not_in(verbs),
                    col(begun.run_id).not_in(disordered),
                ),
            ),
        )
        # A product that is beyond them has an entry `done` that is newer.
        before = {s for step in lasting for s in self.pipeline.states[: self.pipeline.position(step.state)]}
        behind = select(col(File.identity)).where(
            col(File.night_id) == self.night.id, col(File.kind) == "product", col(File.state).in_(before)
        )
        is_lasting = and_(col(begun.edge).in_(verbs), col(begun.identity).in_(behind))
        query = select(begun).where(
            col(begun.night_id) == self.night.id,
            col(begun.event) == "started",
            or_(col(begun.run_id).in_(disordered), is_lasting) if disordered else is_lasting,
            ~ended,
        )
        with self.store.read() as session:
            if not disordered and session.execute(behind.limit(1)).first() is None:
                return []  # a finished night, which has up to 10^6 entries
            entries = session.execute(query.order_by(col(begun.id))).scalars()
            found = {(str(e.identity), str(e.edge)): Pending(str(e.identity), e.name, str(e.edge)) for e in entries}
        return list(found.values())

    def suspects(self) -> set[str]:
        """Return the identities of products that a run worked on which did not end in order."""
        return self._of_disordered(col(Entry.identity))

    def unsettled_edges(self) -> set[str]:
        """Return the names of steps that a run was at which did not end in order."""
        return self._of_disordered(col(Entry.edge))

    def _of_disordered(self, column: Any) -> set[str]:
        """Return what a column says in entries of this night by runs that did not end in order."""
        disordered = self._disordered()
        if not disordered:
            return set()
        query = select(column).where(
            col(Entry.night_id) == self.night.id, col(Entry.run_id).in_(disordered), column.is_not(None)
        )
        with self.store.read() as session:
            return {str(value) for value in session.execute(query.distinct()).scalars()}

    def _disordered(self) -> list[int]:
        """Return the runs that did not end in order, this one aside; few, and mostly none."""
        query = select(col(Run.id)).where(col(Run.ended_us).is_(None), col(Run.id) != self.lease.run_id)
        with self.store.read() as session:
            return [int(run_id) for run_id in session.execute(query).scalars()]

    def is_in_order(self) -> bool:
        """Whether every step that this run began has ended."""
        begun, end = aliased(Entry), aliased(Entry)
        ended = exists().where(
            col(end.run_id) == self.lease.run_id,
            col(end.identity) == col(begun.identity),
            col(end.id) > col(begun.id),
            col(end.event).in_(("done", "failed", "left", "settled")),
        )
        query = select(col(begun.id)).where(
            col(begun.run_id) == self.lease.run_id, col(begun.event) == "started", ~ended
        )
        with self.store.read() as session:
            return session.execute(query.limit(1)).first() is None

    def is_first(self, verb: str, event: Literal["started", "done"] = "done") -> bool:
        """Whether the step `verb` was never done on this night, or not even started."""
        if (verb, event) in self._known:
            return False
        query = select(col(Entry.id)).where(
            col(Entry.night_id) == self.night.id,
            col(Entry.edge) == verb,
            col(Entry.event).in_((event, "done")),
        )
        with self.store.read() as session:
            if session.execute(query.limit(1)).first() is None:
                return True
        self._known.add((verb, event))
        return False

    def not_begun(self, items: Sequence[WorkItem], verb: str) -> None:
        """Record that steps which were announced were not begun after all."""
        with self.store.write(self.lease.check) as session:
            self.entry(session, [self._entry_of(item, verb, "settled") for item in items])

    def left(self, items: Sequence[WorkItem], verb: str) -> None:
        """Record that steps were broken off because somebody asked to stop: open yet, and no failure."""
        if items:
            with self.store.write(self.lease.check) as session:
                self.entry(session, [self._entry_of(item, verb, "left") for item in items])

    def settled(self, pending: Sequence[Pending]) -> None:
        """Record that what runs left is in order again, and that those runs are over."""
        with self.store.write(self.lease.check) as session:
            self.entry(
                session,
                [{"identity": p.identity, "name": p.name, "event": "settled", "edge": p.edge} for p in pending],
            )
            of_night = select(col(Entry.run_id)).where(col(Entry.night_id) == self.night.id).distinct()
            session.execute(
                update(Run)
                .where(col(Run.ended_us).is_(None), col(Run.id) != self.lease.run_id, col(Run.id).in_(of_night))
                .values(ended_us=self.store.clock(), exit_status=func.coalesce(col(Run.exit_status), DIED))
            )


def _after(failure: Failure, policy: Failures | None, now_us: int) -> dict[str, Any]:
    """Return what a failure changes in the row, and in the work in hand."""
    if policy is None:
        return {"error": failure.error}
    attempts = failure.item.attempts + 1
    values: dict[str, Any] = {"error": failure.error, "attempts": attempts}
    if failure.is_final or (failure.counts and attempts >= policy.attempts):
        return values | {"quarantine_reason": failure.error, "next_retry_us": None}
    return values | {"next_retry_us": now_us + policy.wait_us(attempts)}
