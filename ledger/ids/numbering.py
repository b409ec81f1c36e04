"""A night and its frame IDs: whether they can be given now, and giving them."""

from collections.abc import Collection, Mapping, Sequence

from sqlmodel import Session

from ledger.config.model import Config
from ledger.db.models import Night
from ledger.db.store import Store
from ledger.disk.nights import NightFolder
from ledger.disk.outside import Found
from ledger.errors import NotReady, StateError
from ledger.ids import allocate, gate
from ledger.ids.numbers import Numbers, numbers_on_disk
from ledger.ids.sequence import sequence_state
from ledger.night import record
from ledger.night.journal import Journal
from ledger.night.pipeline import Pipeline
from ledger.night.products import WorkItem


def refuse_numbering(
    store: Store,
    config: Config,
    pipeline: Pipeline,
    folder: NightFolder,
    night: Night,
    items: Sequence[WorkItem],
    *,
    final: bool,
    late_reason: str | None,
    remembers: bool = True,
    looks_afar: bool = True,
    ahead: Collection[str] = (),
) -> None:
    """Refuse to spend disk on a night that could not be numbered.

    Parameters
    ----------
    store, config, pipeline
        The ledger.
    folder, night
        The night on disk, and its row.
    items : sequence of WorkItem
        All products of the night.
    final : bool
        Whether nobody writes to the night any more.
    late_reason : str or None
        Why frame IDs may be assigned out of order.
    remembers : bool
        Whether what is found on disk may be kept in the database.
    looks_afar : bool
        Whether numbers in use are looked for at a destination on another host too; if not, and there is one, those in
        use are not compared at all.
    ahead : collection of str
        Dates of nights that are numbered before.

    Raises
    ------
    NotReady, StateError
        With the reason, and the command to run.
    """
    with store.read() as session:
        gate.refuse_excluded(session, folder)
        decision = allocate.decide(session, config.instrument.prefix, night, items)
        if decision.fresh or decision.is_first:
            gate.check_gate(session, config, pipeline, folder, now_us=store.clock(), final=final, ahead=ahead)
    if decision.fresh:
        numbers = Numbers(config.instrument.prefix, ())
        if looks_afar or all(config.site(name).has_copies for name in config.pipelines):
            numbers = numbers_on_disk(store, config, remembers=remembers, is_routine=True)
        with store.read() as session:
            decision.check(sequence_state(session, config), night.date, numbers, late_reason)


def foresee_numbering(
    store: Store,
    config: Config,
    pipeline: Pipeline,
    folder: NightFolder,
    items: Sequence[WorkItem],
    *,
    final: bool = False,
    late_reason: str | None = None,
    looks_afar: bool = True,
    ahead: Collection[str] = (),
) -> None:
    """Refuse what :func:`refuse_numbering` would refuse of a run; nothing is kept, and the night need not be on record.

    Raises
    ------
    NotReady
        With the reason, and the command to run.
    """
    row = record.find_night(store, folder.pipeline, folder.date)
    night = row or Night(pipeline=folder.pipeline, date=folder.date, root=str(folder.root), created_us=0)
    try:
        refuse_numbering(
            store,
            config,
            pipeline,
            folder,
            night,
            items,
            final=final,
            late_reason=late_reason,
            remembers=False,
            looks_afar=looks_afar,
            ahead=ahead,
        )
    except StateError as exc:
        raise NotReady(str(exc)) from exc


def number_night(
    journal: Journal,
    config: Config,
    folder: NightFolder,
    items: Sequence[WorkItem],
    *,
    final: bool,
    late_reason: str | None,
) -> Mapping[str, int]:
    """Give the products of a night their frame IDs, if any lacks one.

    Parameters
    ----------
    journal : Journal
        The hold on the night.
    config : Config
        The ledger's.
    folder, items, final, late_reason
        See :func:`refuse_numbering`.

    Returns
    -------
    mapping
        What was done, in words, and to how many IDs.

    Raises
    ------
    NotReady, StateError
        With the reason, and the command to run.
    """
    store, pipeline, now_us = journal.store, journal.pipeline, journal.store.clock

    def check_gate(session: Session, *, looks_outside: bool) -> Found | None:
        return gate.check_gate(
            session, config, pipeline, folder, now_us=now_us(), final=final, looks_outside=looks_outside
        )

    with store.read() as session:
        if not allocate.decide(session, config.instrument.prefix, journal.night, items).is_needed:
            return {}
    with store.read() as session:  # folders are walked before the counter is locked
        outside = check_gate(session, looks_outside=True)
    done = allocate.allocate(
        journal,
        config,
        items,
        lambda session: check_gate(session, looks_outside=False),
        numbers=numbers_on_disk(store, config, is_routine=True),
        late_reason=late_reason,
    )
    if outside is not None:
        journal.left_out(outside)
    remarks = {
        "assigned": done.assigned,
        "assigned late": done.late,
        "withdrawn": done.withdrawn,
        "withdrawn that were on a manifest": done.manifested,
    }
    return {f"frame IDs {what}": n for what, n in remarks.items() if n}
