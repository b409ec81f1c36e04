"""A ledger made anew from what is on disk, for when the database and its backups are lost.

Raw files are registered; ``lineage.tsv`` says which products were made of them; a product's state and frame ID are
what its own files prove (`stages.recognition`), and its copy at the destination is read again. All is written to a
database of its own, which takes its place at the end as a whole.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.engine import URL

from ledger import backup
from ledger.clock import Clock, now_us
from ledger.config import Config
from ledger.errors import BadInput
from ledger.flow import Flow, flows
from ledger.machine import Machine
from ledger.models import Entry
from ledger.numbers import DIGITS
from ledger.rebuild_files import names_at, names_in, read_night
from ledger.rebuild_ids import restore_ids
from ledger.rebuild_states import restore_states
from ledger.report import Reporter, Result, Stop, counted
from ledger.reservation import refuse_unmounted
from ledger.scan import NightFolder, has_raws, nights_on_disk
from ledger.sequence import standing
from ledger.store import Store

#: What no file tells.
LOST = (
    "the history: when and by which run anything was done, and earlier failures",
    "frame IDs that no file has: of products that were rolled back, or not identified yet; they get new ones",
    "why nights were excluded, frame IDs are late, products were discarded or their IDs withdrawn",
    "which manifests were mailed (`ledger manifest --send` would mail them again), and what the archive confirmed",
    "where `ledger ids start --from` began, and what is left of blocks that were handed out",
)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was made anew.

    Attributes
    ----------
    nights : list of Result
        Of each night; ``stopped`` says why its products are not in the ledger.
    frame_ids : int
        How many products have theirs.
    next_id : str or None
        The frame ID that is given next; None if there is none to give.
    """

    nights: list[Result]
    frame_ids: int
    next_id: str | None

    @property
    def succeeded(self) -> bool:
        """Whether all that is on disk is in the ledger."""
        return all(night.succeeded for night in self.nights)


def rebuild(
    config: Config,
    *,
    clock: Clock = now_us,
    reporter: Reporter | None = None,
    jobs: int | None = None,
    stop: Stop | None = None,
) -> Rebuilt:
    """Make the configured database of what is on disk.

    Parameters
    ----------
    config : Config
        Names a database that is empty or not there. Its states and rules must be those of then.
    clock, reporter, jobs, stop
        As for `Machine`.

    Raises
    ------
    BadInput
        If the database has rows, a root or destination is missing, products are at the destination only, or two files
        carry the same frame ID; then there is no database, as before.
    NotReady
        If something cannot be read, or the database not be written.
    Interrupted
        If it was asked to stop.
    """
    _refuse_unmounted(config)
    with backup.replacing(config) as path:
        store = Store(URL.create("sqlite", database=str(path)), clock)
        try:
            store.init(flows(config).values())
            machine = Machine(config, store, reporter=reporter, jobs=jobs, stop=stop)
            folders = list(_folders(machine))
            for folder in folders:
                _refuse_missing(config, machine.flows[folder.pipeline], folder)
            nights = [read_night(machine, folder) for folder in folders]
            n_ids = restore_ids(machine, nights)
            results = [restore_states(machine, night) for night in nights]
            with store.recorded("rebuild", {}) as (session, run_id):
                entry = Entry(run_id=run_id, name="ledger", event="rebuilt", at_us=0, detail={"nights": len(nights)})
                backup.note_beyond(session, store, config, entry)
                next_id = standing(session, config).next_id
        finally:
            store.close()
    return Rebuilt(results, n_ids, next_id)


def _refuse_unmounted(config: Config) -> None:
    """Refuse to judge what is on disk where it cannot be seen."""
    refuse_unmounted(config)
    for name, pipeline in config.pipelines.items():
        if pipeline.root.is_dir() and config.host(name) is None and not config.destination(name).is_dir():
            raise BadInput(
                f"{name}.destination {str(config.destination(name))!r}: no such folder; copies there could not be seen;"
                " expected it to be there (is the disk mounted?)"
            )


def _folders(machine: Machine) -> Iterator[NightFolder]:
    """Yield the nights on disk that have raw files or products, oldest first."""
    instrument = machine.config.instrument
    for name, pipeline in machine.config.pipelines.items():
        for folder in nights_on_disk(machine.config, name) if pipeline.root.is_dir() else ():
            if has_raws(folder, instrument) or (folder.path / instrument.product_folder).is_dir():
                yield folder


def _refuse_missing(config: Config, flow: Flow, folder: NightFolder) -> None:
    """Refuse a night of which numbered products are at the destination only: they would get new IDs."""
    if flow.numbering is None:
        return
    here = folder.path / config.instrument.product_folder
    there = config.destination(folder.pipeline) / folder.date / config.instrument.product_folder
    numbers = re.compile(rf"{config.instrument.prefix}\d{{{DIGITS}}}\..*")
    missing = sorted(name for name in names_at(config, folder) - names_in(here) if numbers.fullmatch(name))
    if missing:
        raise BadInput(
            f"night {folder.date}: {counted(len(missing), 'file')} of {str(there)!r} ({missing[0]} is one) expected in"
            f" {str(here)!r} too, or their frames would get other frame IDs; copy the folder back (`cp -Rp`), and"
            " rebuild"
        )
