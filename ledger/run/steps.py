"""One run's hold on a night: what a stage is called with, and how.

For every step (docs/design.md, Journal, runs, leases, settling): the entry ``started`` is committed; the stage writes
temporaries; the lease is confirmed; headers are rewritten, files replaced, folders synced; state, facts and the entry
``done`` are committed at once; and only then is what is superseded removed. :mod:`ledger.run.workers` and
:mod:`ledger.run.batches` keep that order.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from ledger.disk import durable
from ledger.disk.nights import NightFolder
from ledger.errors import Interrupted, NotNow, NotReady, translated
from ledger.night import record
from ledger.night.journal import Journal
from ledger.night.pipeline import Direction, Step
from ledger.night.products import WorkItem
from ledger.night.site import site_of
from ledger.report import Result
from ledger.run.context import Context
from ledger.run.engine import workers_of
from stages import base
from stages.base import Job, Outcome
from stages.product import Product
from stages.transport import pull

T = TypeVar("T")

#: Products of one call of a stage of scope ``batch``: few enough that a stop is prompt.
BATCH = 64
#: Steps in hand a worker: enough to keep it busy while finished ones are committed together.
IN_HAND_PER_WORKER = 32


class Steps:
    """One night that a run holds, and what its steps are taken with.

    Parameters
    ----------
    context : Context
        Configuration, stages, reporter; its stop is looked at between files.
    journal : Journal
        The hold on record.
    folder : NightFolder
        The night on disk.
    executor : Executor
        Runs stages of scope ``file``.
    result : Result
        Filled in.
    """

    def __init__(
        self, context: Context, journal: Journal, folder: NightFolder, *, executor: Executor, result: Result
    ) -> None:
        self.context = context
        self.config = context.config
        self.site = site_of(journal.store, context.config, folder.pipeline, folder.date)
        self.stages = context.stages
        self.reporter = context.reporter
        self.stop = context.stop
        self.journal = journal
        self.folder = folder
        self.executor = executor
        self.in_hand = IN_HAND_PER_WORKER * workers_of(context.config, context.jobs)
        self.result = result
        self.product_folder = folder.path / context.config.instrument.product_folder
        self.is_torn = False  # whether something was left for the next run to settle
        self.carried_bytes = 0  # of the batch at work
        self.removed: Mapping[Path, str] = {}  # SHA-256 of raw files that something stands in for, in a rebuild

    def job(self, items: Sequence[WorkItem] = (), *, one_more: bool = False, **more: object) -> Job:
        """Return the job for `items`; `one_more` if there may be a manifest that is not on record."""
        manifests = self.manifests() if items else ()
        return Job(
            night=self.folder.path,
            date=self.folder.date,
            folder=self.product_folder,
            instrument=self.config.instrument,
            products=tuple(item.product for item in items),
            destination=self.site.destination / self.folder.date,
            host=self.site.destination_host,
            source=self.source(),
            manifests=manifests,
            raw_headers=self.raw_headers,
            serial=len(manifests) + one_more,
            is_stopped=self.stop.is_asked,
            **more,  # type: ignore[arg-type]
        )

    def source(self) -> base.Source | None:
        """Return where the night is if that is another host; None: here."""
        source = self.site.source_of(self.folder.date)
        return source and replace(source, confirm=self.journal.lease.confirm)

    def remove(self, paths: Sequence[Path]) -> None:
        """Remove files that are superseded, at the source too if the night is on another host.

        Raises
        ------
        NotReady
            If the other host cannot be reached.
        OSError
            If the disk refuses.
        """
        job = self.job()
        if job.source is not None:
            with translated():
                pull.drop(job, job.source, paths)
        durable.remove(paths)

    def carry(self, size_bytes: int) -> None:
        """Count bytes of the batch at work as sent."""
        self.carried_bytes += size_bytes
        self.reporter.carry(size_bytes)

    @cached_property
    def raw_headers(self) -> tuple[str, ...]:
        """Return the names of the night's archives of raw headers; `ledger prune` adds to them."""
        return record.raw_headers(self.journal.store, self.journal.night)

    def manifests(self) -> tuple[str, ...]:
        """Return the names of the night's manifests that stand."""
        return tuple(manifest.name for manifest in record.manifests(self.journal.store, self.journal.night))

    def call(self, step: Step, direction: Direction, job: Job) -> Outcome:
        """Call a stage here and now; translate its errors.

        Raises
        ------
        UsageError, NotReady, CannotUndo
            As the stage's own.
        """
        with self.translated():
            return self.function(step, direction)(job=job, params=self.stages[step.state].params)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Translate the errors of a stage; after a signal, one that may pass is the stop: signals break calls."""
        try:
            with translated():
                yield
        except NotReady:
            self.obey()
            raise

    def obey(self) -> None:
        """Raise Interrupted if a signal asked to stop."""
        if self.stop.signal_number is not None:
            raise Interrupted(self.stop.signal_number)

    def function(self, step: Step, direction: Direction) -> base.StageFunction:
        """Return the function of the stage that takes products through `step`."""
        stage = self.stages[step.state].stage
        return stage.forward if direction == "forward" else stage.reverse

    def portions(self, phase: str, items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
        """Begin a phase of the run and yield its items in portions; the caller reports how many succeeded.

        Raises
        ------
        Interrupted
            Before the next portion, if a signal asked to stop.
        """
        self.reporter.phase(phase, len(items))
        for start in range(0, len(items), size):
            self.obey()
            yield items[start : start + size]

    def keep_window(self) -> None:
        """Refuse to send products outside of ``transfer.window``.

        Raises
        ------
        NotNow
            With the window.
        """
        if closed := self.config.transfer.why_closed(self.journal.store.clock()):
            raise NotNow(closed)

    def names_of(self, product: Product) -> set[str]:
        """Return every name that a file of `product` can have in the product folder."""
        stems = [stem for stem in (product.name, product.frame_id) if stem]
        suffixes = [s for loaded in self.stages.values() for s in loaded.suffixes]
        return {stem + suffix for stem in stems for suffix in suffixes}
