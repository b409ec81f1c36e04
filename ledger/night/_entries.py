"""A run's hold on one night, and the entries that it appends to the journal."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, insert, literal, select
from sqlmodel import Session, col

from ledger.db.models import Entry, FrameId, Night
from ledger.db.store import Store, insert_many
from ledger.night.lease import Lease
from ledger.night.pipeline import Pipeline
from ledger.night.products import WorkItem


class Entries:
    """One run's hold on one night, and the entries that it appends.

    Parameters
    ----------
    store : Store
        The database.
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
            What happened to them.
        condition : ColumnElement
            On columns of `FrameId`.
        detail : ColumnElement
            Of the entries.
        """
        ids = select(*(literal(value) for value in self._signature().values()), literal(event), detail)
        ids = ids.add_columns(col(FrameId.identity), col(FrameId.frame_id))
        columns = [*self._signature(), "event", "detail", "identity", "name"]
        session.execute(insert(Entry).from_select(columns, ids.where(condition).order_by(col(FrameId.number))))

    @staticmethod
    def _of_item(item: WorkItem) -> dict[str, Any]:
        """Return what entries of a product call it."""
        return {"identity": item.product.identity, "name": item.product.frame_id or item.product.name}

    def _signature(self) -> dict[str, Any]:
        """Return what every entry of this hold says."""
        return {"at_us": self.store.clock(), "run_id": self.lease.run_id, "night_id": self.night.id}
