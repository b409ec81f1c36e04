"""What keeps a file from going on, for `ledger explain`: the decisions of a run, on what is known now."""

import os
from collections.abc import Sequence

from ledger.config.model import Config
from ledger.db.models import File, Night
from ledger.db.store import Store
from ledger.disk.nights import NightFolder, night_of
from ledger.errors import NotReady, UsageError
from ledger.ids.numbering import foresee_numbering
from ledger.night import record, space
from ledger.night.pipeline import Pipeline
from ledger.night.products import WorkItem
from ledger.night.progress import Outlook, Wait, at_the_end, foresee, last_state, unpaired
from ledger.night.site import site_of


def wait_of(store: Store, config: Config, pipeline: Pipeline, night: Night, row: File) -> Wait | None:
    """Return what keeps a night from taking a file on, or None; by what is known without another host."""
    site = site_of(store, config, pipeline.name, night.date)
    folder = night_of(config, pipeline.name, night.date)
    if site.has_nights and (wait := unpaired(_missing(store, pipeline, folder, night))):
        return wait
    if row.kind == "raw":
        return None
    items, target, now_us = record.products(store, night), last_state(pipeline, site), store.clock()

    def check_numbering() -> None:
        try:
            foresee_numbering(store, config, pipeline, folder, items, looks_afar=False)
        except UsageError as exc:  # a root that is not there stops a run, and is a reason here
            raise NotReady(str(exc)) from exc

    def shortfall(items: Sequence[WorkItem]) -> str | None:
        need = space.needed_here(store, site, pipeline, items, target)
        return space.shortfall(config, site, folder, need, looks_afar=False)

    outlook = Outlook(
        night.date,
        pipeline,
        site,
        config.failures,
        now_us,
        check_numbering,
        shortfall,
        closed=config.transfer.why_closed(now_us),
    )

    def succeeds(item: WorkItem) -> bool:
        return item.error is None or item.product.identity == row.identity

    prospect = foresee(outlook, target, items, repairs=False, succeeds=succeeds)
    if any(item.product.identity == row.identity for _, moving in prospect.taken for item in moving):
        return None
    faults = record.copy_faults(store, night)
    return prospect.wait or at_the_end(
        pipeline, site, night.date, target, outside=None, is_numbered=True, faults=faults
    )


def _missing(store: Store, pipeline: Pipeline, folder: NightFolder, night: Night) -> list[str]:
    """Return the raw files of a night that are in no product yet, and gone, by stream and name."""
    if not record.unsynced(store, night, pipeline.states[0]):
        return []
    waiting = (row for row in record.seen(store, night) if row.state == pipeline.states[0])
    usable = (row for row in waiting if not row.quarantine_reason and row.pruned_us is None)
    return [f"{r.folder}/{r.name}" for r in usable if not os.path.lexists(folder.path / r.folder / r.name)]
