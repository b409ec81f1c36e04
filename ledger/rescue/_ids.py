"""Frame IDs and the sequence of a ledger that is made anew from what is on disk."""

from collections.abc import Mapping, Sequence

from sqlalchemy import select, update
from sqlmodel import Session, col

from ledger.config.model import Config
from ledger.db.models import Entry, FrameBlock, FrameId, FrameSequence, Night
from ledger.db.store import insert_many
from ledger.errors import UsageError
from ledger.ids.numbers import numbers_on_disk, runs_of
from ledger.ids.sequence import frame_id_of
from ledger.rescue._files import NightFiles
from ledger.rescue.restore import next_number
from ledger.run.machine import Machine
from stages.product import Product

#: Why an ID is late, where nobody knows any more.
LATE = "`ledger rebuild` found it out of order; the reason was lost with the database"


def restore_ids(machine: Machine, nights: Sequence[NightFiles], unread: Sequence[str]) -> int:
    """Give products their frame IDs back, and the sequence its place; return how many IDs there are.

    The sequence yields none until ``ledger ids start``: what it gave to frames that are rolled back, which nights were
    excluded and which products discarded is on no disk, so somebody has to look first.

    Parameters
    ----------
    machine : Machine
        The ledger.
    nights : sequence of NightFiles
        Nights that are in the ledger.
    unread : sequence of str
        Dates of numbered nights that are not in it: earlier nights without numbers are left alone too, as their frame
        IDs would be out of order.
    """
    config, store = machine.config, machine.store
    prefix = config.instrument.prefix
    owners: dict[int, tuple[NightFiles, Product]] = {}
    for night in nights:
        for product in night.products:
            number = night.found[product.identity].number
            if number is not None and owners.setdefault(number, (night, product))[1] is not product:
                other = owners[number][0].folder.path
                raise UsageError(
                    f"frame ID {frame_id_of(prefix, number)} is in {str(other)!r} and in {str(night.folder.path)!r}:"
                    " expected in one place; find out which is right, move the other away, and rebuild"
                )
    disk = numbers_on_disk(store, config, remembers=False).within([(1, config.ids.last)])
    counter = max(disk[0] + 1 if disk else 1, next_number(config, prefix) or 1, max(owners, default=0) + 1)
    with store.recorded("rebuild", {"frame_ids": len(owners)}) as (session, run_id):
        session.add(FrameSequence(prefix=prefix, next_number=counter, from_date=max(unread, default=None)))
        _write_ids(session, config, store.clock(), run_id, owners)
    return len(owners)


def _write_ids(
    session: Session,
    config: Config,
    at_us: int,
    run_id: int,
    owners: Mapping[int, tuple[NightFiles, Product]],
) -> None:
    prefix = config.instrument.prefix
    session.add_all(
        FrameBlock(
            prefix=prefix, first_number=first, last_number=last, authority=config.ids.authority, created_us=at_us
        )
        for first, last in runs_of(owners)  # what lies between them is gone, as if it had been skipped
    )
    session.flush()
    known = session.execute(select(col(Night.id), col(Night.pipeline), col(Night.date)))
    rows = {(row.pipeline, row.date): row.id for row in known}
    ids, entries = [], []
    newest: tuple[int, int, str] | None = None
    for number, (night, product) in sorted(owners.items()):
        key = (product.start_us, product.camera, product.flc or "")
        late = newest is not None and key < newest
        newest = newest if late else key
        night_id = rows[night.folder.pipeline, night.folder.date]
        frame_id = frame_id_of(prefix, number)
        ids.append(
            {
                "frame_id": frame_id,
                "prefix": prefix,
                "number": number,
                "identity": product.identity,
                "night_id": night_id,
                "start_us": product.start_us,
                "camera": product.camera,
                "flc": product.flc,
                "status": "live",
                "late": late,
                "late_reason": LATE if late else None,
            }
        )
        entries.append(
            {
                "at_us": at_us,
                "run_id": run_id,
                "night_id": night_id,
                "identity": product.identity,
                "name": frame_id,
                "event": "assigned",
                "detail": {"restored": 1},
            }
        )
    insert_many(session, FrameId, ids)
    insert_many(session, Entry, entries)
    numbered = update(Night).where(col(Night.id).in_({row["night_id"] for row in ids}))
    session.execute(numbered.values(numbered_us=at_us).execution_options(synchronize_session=False))
