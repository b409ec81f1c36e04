"""A ledger made anew from what is on disk, for when the database and its backups are lost.

Raw files are registered; ``lineage.tsv`` says which products were made of them; a product's state and frame ID are what
its own files prove (`stages.check.recognition`), and its copy at the destination is read again. All is written to a
database of its own, which takes its place at the end as a whole.
"""

import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import URL

from ledger.clock import Clock, now_us
from ledger.config.model import Config
from ledger.db.models import Entry
from ledger.db.store import Store
from ledger.disk.nights import NightFolder, nights_on_disk
from ledger.disk.raws import has_raws
from ledger.errors import UsageError
from ledger.ids.reservation import refuse_unmounted
from ledger.ids.sequence import frame_id_of, sequence_state
from ledger.night import record
from ledger.night.pipeline import pipelines
from ledger.report import Reporter, Result, Stop
from ledger.rescue._files import dates_at, names_at, names_in, numbered, read_night, site_on_disk
from ledger.rescue._ids import restore_ids
from ledger.rescue._states import PACKED, restore_states
from ledger.rescue.restore import note_beyond, replacing
from ledger.run.machine import Machine
from ledger.text import counted

#: What no file tells.
LOST = (
    "the history: when and by which run anything was done, and earlier failures",
    "frame IDs that no file has: of products that were rolled back, or not identified yet; they get new ones",
    "which nights were excluded, and why: exclude them again before anything is numbered (`ledger exclude`)",
    "which products were discarded: of a numbered night, those without a number are in quarantine now",
    "which frame IDs were withdrawn, and why others are late",
    "which manifests were mailed (`ledger manifest --send` would mail them again), and what the archive confirmed",
    "where `ledger ids start --from` began, and what is left of blocks that were handed out",
)

#: Nights that a message names.
N_TOLD = 3


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was made anew.

    Attributes
    ----------
    nights : list of Result
        Of each night; ``stopped`` says why its products are not in the ledger.
    frame_ids : int
        How many products have theirs.
    lowest_id : str or None
        The lowest that may be given next, for all that is on disk and in backups; None if there is none.
    """

    nights: list[Result]
    frame_ids: int
    lowest_id: str | None

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
    UsageError
        If the database has rows, a root or destination is missing, products of nights that are here are at the
        destination only, or two files carry the same frame ID; then there is no database, as before.
    NotReady
        If something cannot be read, or the database not be written.
    Interrupted
        If it was asked to stop.
    """
    _refuse_unmounted(config)
    with replacing(config) as path:
        store = Store(URL.create("sqlite", database=str(path)), clock)
        try:
            store.init(pipelines(config).values())
            machine = Machine(config, store, reporter=reporter, jobs=jobs, stop=stop)
            folders = list(_folders(machine))
            _refuse_missing(config, folders)
            gone = list(_gone(machine, folders))
            nights = [read_night(machine, folder) for folder in folders]
            unread = [night.folder for night in nights if night.scanned.stopped and _is_numbered(machine, night.folder)]
            n_ids = restore_ids(machine, nights, [folder.date for folder in (*unread, *gone)])
            results = [restore_states(machine, night) for night in nights]
            results += [_hold(machine, folder) for folder in gone]
            with store.recorded("rebuild", {}) as (session, run_id):
                entry = Entry(run_id=run_id, name="ledger", event="rebuilt", at_us=0, detail={"nights": len(nights)})
                note_beyond(session, store, config, entry)
                counter = sequence_state(session, config).counter
        finally:
            store.close()
    lowest_id = frame_id_of(config.instrument.prefix, counter) if counter <= config.ids.last else None
    return Rebuilt(sorted(results, key=lambda night: night.date), n_ids, lowest_id)


def next_command(config: Config, made: Rebuilt) -> str:
    """Return the command that lets numbering go on."""
    if config.ids.authority == "blocks":
        return "ledger ids reserve --from-file FILE"
    number = str(made.lowest_id).removeprefix(config.instrument.prefix).lstrip("0")
    return f"ledger ids start {config.instrument.prefix} {number}"


def _refuse_unmounted(config: Config) -> None:
    """Refuse to judge what is on disk where it cannot be seen."""
    refuse_unmounted(config)
    for name, pipeline in config.pipelines.items():
        has_root = pipeline.root.is_dir()
        if not has_root and (sent := dates_at(config, name)):
            raise UsageError(
                f"{name}.root {str(pipeline.root)!r}: no such folder, and {counted(len(sent), 'night')} of it at"
                f" {str(config.site(name).destination)!r}; expected it to be there (is the disk mounted?)"
            )
        for site in config.sites(name):
            if has_root and site.has_copies and not site.destination.is_dir():
                raise UsageError(
                    f"{name}.destination {str(site.destination)!r}: no such folder; copies there could not be seen;"
                    " expected it to be there (is the disk mounted?)"
                )


def _folders(machine: Machine) -> Iterator[NightFolder]:
    """Yield the nights on disk that have raw files or products, oldest first."""
    instrument = machine.config.instrument
    for name, pipeline in machine.config.pipelines.items():
        for folder in nights_on_disk(machine.config, name) if pipeline.root.is_dir() else ():
            if has_raws(folder, instrument) or names_in(folder.path / instrument.product_folder):
                yield folder


def _refuse_missing(config: Config, folders: Sequence[NightFolder]) -> None:
    """Refuse nights of which products are at a destination only.

    Numbered ones would get new IDs; of others the raw files may be gone, and nothing else proves what became of them.
    """
    products = config.instrument.product_folder
    told: list[str] = []
    dates: dict[tuple[str, str], list[str]] = defaultdict(list)  # by command, and root
    for folder in folders:
        missing = names_at(config, folder) - names_in(folder.path / products)
        names = sorted(name for name in missing if name.endswith(PACKED) or numbered(config, [name]))
        if names:
            site = site_on_disk(config, folder)
            copies = "cp -Rp" if site.has_copies else "rsync -a"
            place = site.destination if site.has_copies else site.place
            dates[f"{copies} {shlex.quote(str(place))}", shlex.quote(str(folder.root))].append(folder.date)
            told.append(f"{str(folder.path)!r} ({counted(len(names), 'file')}; {names[0]} is one)")
    if told:
        more = f" and {len(told) - N_TOLD} more" if len(told) > N_TOLD else ""
        command = "; ".join(
            f"for night in {' '.join(nights)}; do {copies}/$night/{shlex.quote(products)} {root}/$night/; done"
            for (copies, root), nights in dates.items()
        )
        raise UsageError(
            f"products of {counted(len(told), 'night')} are at the destination only: {', '.join(told[:N_TOLD])}{more};"
            " expected in the nights' folders too, as they prove states and frame IDs; copy them back, and rebuild:"
            f" `{command}`"
        )


def _gone(machine: Machine, folders: Sequence[NightFolder]) -> Iterator[NightFolder]:
    """Yield the nights that have numbered products at the destination, and nothing here."""
    here = {(folder.pipeline, folder.date) for folder in folders}
    for name, pipeline in machine.pipelines.items():
        for date in sorted(dates_at(machine.config, name)) if pipeline.numbering is not None else ():
            folder = NightFolder(name, machine.config.pipelines[name].root, date)
            if (name, date) not in here and numbered(machine.config, names_at(machine.config, folder)):
                yield folder


def _is_numbered(machine: Machine, folder: NightFolder) -> bool:
    """Whether files of a night that is left alone have frame IDs."""
    if machine.pipelines[folder.pipeline].numbering is None:
        return False
    names = names_in(folder.path / machine.config.instrument.product_folder) | names_at(machine.config, folder)
    return bool(numbered(machine.config, names))


def _hold(machine: Machine, folder: NightFolder) -> Result:
    """Exclude a night that is at the destination only: its frames would get other frame IDs if they came back."""
    there = site_on_disk(machine.config, folder).destination / folder.date
    reason = f"its products are at {str(there)!r} only, and not in this ledger since `ledger rebuild`"
    record.exclude(machine.store, folder.pipeline, folder.root, folder.date, reason)
    result = Result(folder.pipeline, folder.date)
    result.stopped = (
        f"excluded, as its products are at {str(there)!r} only: its frames keep their IDs there, and get no others; to"
        f" have it in the ledger, bring raw files and products back to {str(folder.path)!r}, and rebuild"
    )
    return result
