"""What the journal writes while states stay: what copies were found to be like, and files that went or came back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlmodel import Session, col

from ledger.db.models import Copy, File
from ledger.db.store import chunks, insert_many, update_many
from ledger.errors import StateError
from ledger.night._entries import Entries
from ledger.night.products import WorkItem
from ledger.text import counted
from stages.base import Evidence


@dataclass(frozen=True, slots=True)
class Removal:
    """Files of a raw file or a product that are to be removed on purpose.

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


class Findings(Entries):
    """What is written while states stay."""

    def verified(
        self,
        items: Sequence[WorkItem],
        proofs: Sequence[Evidence],
        faults: Mapping[str, str],
        detail: Mapping[str, Any],
        *,
        how: str = "proven",
    ) -> None:
        """Record the result of reading copies at the destination; their products stay in their states.

        A fault refutes every proof of the copy, and only a new proof ends it. Until then no step goes forward.

        Parameters
        ----------
        items : sequence of WorkItem
            Products whose copies were read; updated in place.
        proofs : sequence of Evidence
            Fresh ones.
        faults : mapping of str to str
            What is wrong with the copies of other products, by identity.
        detail : mapping
            Of the night, for the entry.
        how : str
            The event of products whose copies had a fault and are proven now.
        """
        at_us = self.store.clock()
        by_identity = {item.product.identity: item for item in items}
        proven = {proof.identity for proof in proofs}
        mended = [(item, how, item.fault) for key, item in by_identity.items() if item.fault and key in proven]
        bad = [
            (by_identity[key], "unproven", fault) for key, fault in faults.items() if by_identity[key].fault != fault
        ]
        with self.store.write(self.lease.check) as session:
            self._prove(session, proofs, at_us)
            for item, _, fault in bad:
                session.execute(
                    update(Copy)
                    .where(col(Copy.night_id) == self.night.id, col(Copy.identity) == item.product.identity)
                    .where(col(Copy.withdrawn_us).is_(None), col(Copy.refuted_us).is_(None))
                    .values(refuted_us=at_us, fault=fault)
                )
            entries = [
                {**self._of_item(item), "event": event, "detail": {"error": fault}}
                for item, event, fault in (*bad, *mended)
            ]
            night = {"name": self.night.date, "event": "verified", "detail": {"proven": len(proofs), **detail}}
            self.entry(session, [*entries, night])
        for item, _, _ in mended:
            item.fault = None
        for item, _, fault in bad:
            item.fault = fault

    def relocated(self, items: Sequence[WorkItem], proofs: Sequence[Evidence], before: str, now: str) -> None:
        """Record that all copies of the night are elsewhere now: fresh proofs stand, those of before are withdrawn.

        Parameters
        ----------
        items : sequence of WorkItem
            All products that were sent; updated in place.
        proofs : sequence of Evidence
            A fresh one of each.
        before, now : str
            The destinations, with their hosts.

        Raises
        ------
        StateError
            If a copy of another product stands: nothing is recorded.
        """
        at_us = self.store.clock()
        standing = (col(Copy.night_id) == self.night.id, col(Copy.withdrawn_us).is_(None))
        with self.store.write(self.lease.check) as session:
            last = session.execute(select(func.max(col(Copy.id))).where(col(Copy.night_id) == self.night.id)).scalar()
            found = set(session.execute(select(col(Copy.identity)).where(*standing)).scalars())
            if unknown := found - {proof.identity for proof in proofs}:
                raise StateError(
                    f"night {self.night.date}: copies of {counted(len(unknown), 'product')} that was not sent; expected"
                    " none; see `ledger audit`"
                )
            self._prove(session, proofs, at_us)
            session.execute(update(Copy).where(*standing, col(Copy.id) <= last).values(withdrawn_us=at_us))
            detail = {"from": before, "to": now, "copies": len(proofs)}
            self.entry(session, [{"name": self.night.date, "event": "relocated", "detail": detail}])
        for item in items:
            item.fault = None

    def _prove(self, session: Session, proofs: Sequence[Evidence], at_us: int) -> None:
        """Write fresh proofs; what was wrong with the copies is over."""
        common = {"night_id": self.night.id, "proven_us": at_us, "withdrawn_us": None}
        insert_many(session, Copy, [{**asdict(proof), **common} for proof in proofs])
        for chunk in chunks([proof.identity for proof in proofs]):
            session.execute(
                update(File)
                .where(col(File.night_id) == self.night.id, col(File.identity).in_(chunk))
                .where(col(File.next_retry_us).is_(None))  # of a way back; a step that is tried again keeps its own
                .values(error=None)
            )

    def recalled(self, items: Sequence[WorkItem], failures: Mapping[str, str]) -> None:
        """Record that files of products were brought back from the destination, or (by identity) why not."""
        here = [item.row_id for item in items if item.product.identity not in failures]
        with self.store.write(self.lease.check) as session:
            for chunk in chunks(here):
                session.execute(update(File).where(col(File.id).in_(chunk)).values(pruned_us=None))
            self.entry(
                session,
                [
                    {
                        **self._of_item(item),
                        "event": "unrecalled" if item.product.identity in failures else "recalled",
                        "detail": {"error": reason} if (reason := failures.get(item.product.identity)) else {},
                    }
                    for item in items
                ],
            )

    def pruned(self, removals: Sequence[Removal]) -> None:
        """Record that files are removed, before they are."""
        for chunk in chunks(removals):
            with self.store.write(self.lease.check) as session:
                rows = col(File.id).in_([removal.row_id for removal in chunk])
                session.execute(update(File).where(rows).values(pruned_us=self.store.clock()))
                self.entry(
                    session,
                    [
                        {
                            "identity": removal.identity,
                            "name": removal.name,
                            "event": "pruned",
                            "size_bytes": removal.size_bytes,
                            "detail": {"sha256": dict(removal.sha256)},
                        }
                        for removal in chunk
                    ],
                )

    def sent_headers(self, archives: Mapping[str, Mapping[str, Any]]) -> None:
        """Record archives of raw headers that are at the destination, by name, with what is known of each."""
        if not archives:
            return
        with self.store.write(self.lease.check) as session:
            self.entry(
                session,
                [{"name": name, "event": "headers_sent", "detail": dict(known)} for name, known in archives.items()],
            )

    def returned(self, files: Sequence[tuple[int, str, str]]) -> None:
        """Record that files which had been removed are here again.

        Parameters
        ----------
        files : sequence of (int, str, str)
            Row, identity and name of each raw file or product.
        """
        if not files:
            return
        with self.store.write(self.lease.check) as session:
            for chunk in chunks([row_id for row_id, _, _ in files]):
                session.execute(update(File).where(col(File.id).in_(chunk)).values(pruned_us=None))
            self.entry(session, [{"identity": i, "name": name, "event": "returned"} for _, i, name in files])

    def record_unproven_files(self, names: Mapping[int, Sequence[str]]) -> None:
        """Record files that products have and that prove no state, by row."""
        with self.store.write(self.lease.check) as session:
            update_many(session, File, [{"id": row_id, "files": list(files)} for row_id, files in names.items()])
