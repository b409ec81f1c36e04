"""What the journal knows of steps that were begun and did not end, and writes once they are settled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import and_, exists, func, not_, or_, select, update
from sqlalchemy.orm import aliased
from sqlmodel import col

from ledger.db.models import Entry, File, Run
from ledger.db.store import is_catch_up
from ledger.night._entries import Entries
from ledger.night.lease import DIED


@dataclass(frozen=True, slots=True)
class Pending:
    """A step that was begun and did not end."""

    identity: str
    name: str
    edge: str


class Unfinished(Entries):
    """Steps that were begun and did not end."""

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
            # + 0 leaves only the index of identities to be used: without statistics, that of nights looks as good
            col(end.night_id) + 0 == col(begun.night_id),
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
        """Return the identities of the products on which a run worked that did not end in order."""
        return self._of_disordered(col(Entry.identity))

    def unsettled_edges(self) -> set[str]:
        """Return the names of the steps on which a run worked that did not end in order."""
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
        """Return the other runs that did not end in order: few, and mostly none."""
        query = select(col(Run.id)).where(
            col(Run.ended_us).is_(None), col(Run.id) != self.lease.run_id, not_(is_catch_up())
        )
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
        """Whether the step `verb` was never done (or, with `event`, never started) on this night."""
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

    def settled(self, pending: Sequence[Pending]) -> None:
        """Record that what dead runs left is in order again, and end those runs."""
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
