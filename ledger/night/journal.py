"""A run's hold on one night, and all that it may write: no state changes without its entry.

Every method is one transaction that first checks the lease: a run that was suspended and comes back
cannot write over its successor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sqlalchemy import insert, update
from sqlmodel import Session, col

from ledger.config.blocks import Failures
from ledger.db.models import Copy, File, Manifest, ManifestLine
from ledger.db.store import chunks, update_many
from ledger.night._births import Births
from ledger.night._findings import Findings, Removal
from ledger.night._unfinished import Pending, Unfinished
from ledger.night.products import WorkItem
from stages.base import Evidence, Fact
from stages.base import Manifest as ManifestOutcome

__all__ = ["Failure", "Journal", "Move", "Pending", "Removal"]


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
        How long the stage took.
    size_bytes : int or None
        How much it worked on.
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
        Whether it counts towards quarantine: what lies outside of the night's folder is not the file's fault.
    """

    item: WorkItem
    error: str
    is_final: bool = False
    counts: bool = True


class Journal(Births, Findings, Unfinished):
    """One run's hold on one night, and all that it may write.

    Parameters are those of :class:`ledger.night._entries.Entries`.
    """

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
        """Commit moves in one transaction: evidence, manifest, and for each its entry ``done``, new state and facts."""
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

    def failed(self, failures: Sequence[Failure], verb: str, policy: Failures | None = None) -> None:
        """Record failures; the products stay in their states.

        Parameters
        ----------
        failures : sequence of Failure
            What happened.
        verb : str
            The edge.
        policy : Failures, optional
            When each is tried again, and when it is put in quarantine; None for a way back, which is tried whenever
            it is asked for.
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

    def not_begun(self, items: Sequence[WorkItem], verb: str) -> None:
        """Record that steps which were recorded as started were not begun after all."""
        with self.store.write(self.lease.check) as session:
            self.entry(session, [self._entry_of(item, verb, "settled") for item in items])

    def left(self, items: Sequence[WorkItem], verb: str) -> None:
        """Record that steps were broken off because somebody asked to stop: they stay open, and did not fail."""
        if items:
            with self.store.write(self.lease.check) as session:
                self.entry(session, [self._entry_of(item, verb, "left") for item in items])

    def _entry_of(self, item: WorkItem, verb: str, event: str) -> dict[str, Any]:
        return {
            **self._of_item(item),
            "event": event,
            "edge": verb,
            "source": item.state,
        }


def _after(failure: Failure, policy: Failures | None, now_us: int) -> dict[str, Any]:
    """Return what a failure changes, in the row and in the item."""
    if policy is None:
        return {"error": failure.error}
    attempts = failure.item.attempts + 1
    values: dict[str, Any] = {"error": failure.error, "attempts": attempts}
    if failure.is_final or (failure.counts and attempts >= policy.attempts):
        return values | {"quarantine_reason": failure.error, "next_retry_us": None}
    return values | {"next_retry_us": now_us + policy.wait_us(attempts)}
