"""The machine: takes a night forward to a state, or back to one, and settles what dead runs left."""

import os
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Sized
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlmodel import Session

from ledger.clock import show_us
from ledger.config.model import Config
from ledger.config.stages import load_stages
from ledger.db import backup
from ledger.db.models import Night
from ledger.db.store import Store
from ledger.disk.access import is_folder
from ledger.disk.nights import NightFolder
from ledger.disk.outside import Found
from ledger.errors import CannotUndo, LedgerError, NotNow, NotReady, Unreachable, UsageError
from ledger.ids import allocate, gate
from ledger.ids.numbers import numbers_on_disk
from ledger.ids.sequence import sequence_state
from ledger.night import decisions, record
from ledger.night.given_out import refuse_mailed, tell, withdraw
from ledger.night.journal import Journal
from ledger.night.lease import Lease
from ledger.night.pipeline import Pipeline, Step, pipelines
from ledger.night.products import WorkItem, count_apart, pair_parts, parts_of, to_raw
from ledger.report import Reporter, Result, Silent, Stop
from ledger.run import engine, registration, space
from ledger.run.mirror import mirrored
from ledger.run.settle import Leftovers, find_leftovers, settle
from ledger.run.steps import Steps
from ledger.text import counted

#: Number of no run: who only looks, holds nothing.
NOBODY = 0


class Machine:
    """Moves nights.

    Parameters
    ----------
    config : Config
        All of it.
    store : Store
        An initialised database.
    reporter : Reporter, optional
        Who is told of progress.
    jobs : int, optional
        Workers, instead of the configuration's.
    stop : Stop, optional
        Set by a signal handler.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        *,
        reporter: Reporter | None = None,
        jobs: int | None = None,
        stop: Stop | None = None,
    ) -> None:
        self.config = config
        self.store = store
        self.reporter = reporter or Silent()
        self.jobs = jobs
        self.stop = stop or Stop()
        self.pipelines = pipelines(config)
        self.stages = load_stages(config)
        self.results: list[Result] = []  # of all runs, for who is to be told of trouble
        store.open()
        store.check_declared(self.pipelines.values())

    # commands

    def scan(self, folder: NightFolder) -> Result:
        """Register the night's raw files; put aside those that cannot be used.

        Raises
        ------
        NotReady
            If the night is before the first one.
        """
        with self.store.read() as session:
            gate.refuse_before_first(session, self.config, self.pipelines[folder.pipeline], folder)
        with self.holding(folder, "scan", {}) as (steps, result):
            registration.register(steps, is_all=not self._look_outside(steps).blocks)
        return result

    def advance(
        self,
        folder: NightFolder,
        *,
        to: str | None = None,
        final: bool = False,
        late_reason: str | None = None,
        anew: bool = False,
        is_patient: bool = False,
    ) -> Result:
        """Take a night forward.

        Parameters
        ----------
        folder : NightFolder
            The night.
        to : str, optional
            The state to reach; the pipeline's last by default.
        final : bool
            Number the night although it may still be written.
        late_reason : str, optional
            Assign frame IDs out of order, and why.
        anew : bool
            Pair all raw files of a night that was numbered before, and not by themselves those that came since.
        is_patient : bool
            Leave products that failed alone until their time has come.

        Returns
        -------
        Result
            What was done, what failed, and why it stopped if it did.

        Raises
        ------
        UsageError, Busy, Interrupted
            Before anything is changed, or (interrupted) between two files.
        """
        pipeline = self.pipelines[folder.pipeline]
        target = self.target(folder, to)
        self.check_advance(folder, target)
        if anew:
            self.refuse_products(folder)
        arguments = {"to": target, "final": final, "late_reason": late_reason, "anew": anew}
        with self.holding(folder, "catch-up" if is_patient else "advance", arguments) as (steps, result):
            self.check_copies(steps)
            self._settle(steps, rolls_back=False)
            outside = None
            if not self.config.fetches:
                outside = self._look_outside(steps)
                self._take_back_unchecked(steps)
                if result.stopped is None:
                    is_all = not outside.blocks
                    result.stopped = registration.register(steps, final=final, is_all=is_all, anew=anew)
                if result.stopped is None and pipeline.position(target) >= pipeline.position(pipeline.born):
                    self._pair(steps, anew=anew)
            if result.stopped is None:
                result.stopped = self._mend_copies(steps, target)
            slowest = min(map(pipeline.position, record.states(self.store, steps.journal.night)), default=0)
            for segment in self.segments(pipeline, target):
                goal = (
                    target if segment[0] is pipeline.steps[1] else segment[-1].state
                )  # the first looks for all of them
                if result.stopped is None and slowest < pipeline.position(goal):
                    result.stopped = self._advance_segment(
                        steps, segment, target, final=final, late_reason=late_reason, is_patient=is_patient
                    )
            waits = outside is not None and outside.blocks and gives_numbers(pipeline, target)
            if result.stopped is None and outside and waits and self._numbered_us(steps.journal) is None:
                result.stopped = outside.refusal(folder.date)
            if result.stopped is None and self._sends(pipeline, target):
                result.stopped = unproven(folder.date, record.copy_faults(self.store, steps.journal.night))
        return result

    def target(self, folder: NightFolder, to: str | None) -> str:
        """Return the state that an advance is to reach: `to` by its whole name, or the last that is this host's.

        Raises
        ------
        UsageError
            If there is no such state, or to take products there is another host's part.
        """
        pipeline, sending = self.pipelines[folder.pipeline], self.pipelines[folder.pipeline].sending
        target = pipeline.resolve(to) if to else pipeline.last
        if sending is None or not (self.config.fetches or self.config.is_fetched_from):
            return target
        is_sent = pipeline.position(target) >= pipeline.position(sending.state)
        if self.config.fetches and not is_sent:
            raise UsageError(
                f"{target} is reached on {self.config.transfer.source} (transfer.source): this host fetches what is"
                f" {sending.before}; expected {sending.state} or later"
            )
        if self.config.is_fetched_from and is_sent:
            if to:
                raise UsageError(
                    f"{target} is reached on {self.config.host_name(folder.pipeline)}, which fetches products from here"
                    f" (transfer.direction: pull); expected {sending.before} or earlier"
                )
            return sending.before
        return target

    def segments(self, pipeline: Pipeline, target: str) -> list[tuple[Step, ...]]:
        """Return the steps up to `target` that are this host's part."""
        segments = pipeline.segments(target)
        return [s for s in segments if s[0].needs_copy] if self.config.fetches else segments

    def rollback(self, folder: NightFolder, *, to: str = "raw", withdraws: bool = False) -> Result:
        """Take a night back to an earlier state; ``raw`` leaves its folder as it was.

        Parameters
        ----------
        folder : NightFolder
            The night.
        to : str
            The state.
        withdraws : bool
            Take it back although its manifest was mailed, and write what has to be told to whom.

        Raises
        ------
        UsageError, Busy, Interrupted
            Before anything is changed, or (interrupted) between two files.
        """
        target = self.check_rollback(folder, to, withdraws=withdraws)
        with self.holding(folder, "rollback", {"to": target}) as (steps, result):
            self.check_copies(steps)
            if self._unlists(folder, target):
                if not withdraws:
                    refuse_mailed(self.store, steps.journal.night)
                if told := withdraw(self.store, self.config, steps.journal.night, steps.journal.lease):
                    result.notes.append(tell(*told))
            self._settle(steps, rolls_back=True)
            self._revert(steps, target)
        return result

    def check_rollback(self, folder: NightFolder, to: str, *, withdraws: bool) -> str:
        """Refuse a way back that cannot be gone, before anything is changed; return the state by its whole name.

        Raises
        ------
        UsageError
            If there is no such night or state, or the night's manifest was mailed and `withdraws` is false.
        CannotUndo, NotReady
            If files that it takes were removed by `ledger prune`.
        """
        target = self.pipelines[folder.pipeline].resolve(to)
        night = record.find_night(self.store, folder.pipeline, folder.date)
        if night is None:
            raise UsageError(f"night {folder.date} is not in the ledger: nothing to roll back; see `ledger status`")
        self._refuse_before_sending(folder, target)
        if not withdraws and self._unlists(folder, target):
            refuse_mailed(self.store, night)
        self._refuse_pruned(folder, night, target)
        return target

    def _refuse_before_sending(self, folder: NightFolder, target: str) -> None:
        """Refuse a way back that goes on where the nights are, if that is another host.

        Raises
        ------
        UsageError
            With what to do here, and there.
        """
        pipeline, sending = self.pipelines[folder.pipeline], self.pipelines[folder.pipeline].sending
        if self.config.fetches and sending and pipeline.position(target) < pipeline.position(sending.before):
            raise UsageError(
                f"{target} is reached on {self.config.transfer.source} (transfer.source), once products are"
                f" {sending.before}: `ledger rollback --date {folder.date} --to {sending.before}` here first, and the"
                " rest there"
            )

    def _refuse_pruned(self, folder: NightFolder, night: Night, target: str) -> None:
        """Refuse a way back that would need files which were removed on purpose."""
        pipeline = self.pipelines[folder.pipeline]
        sending = pipeline.sending
        if sending is None or target == pipeline.last:
            return
        gone = [row for row in record.raws(self.store, night) if row.pruned_us is not None]
        if gone and pipeline.position(target) < pipeline.position(sending.before):
            raise CannotUndo(
                f"night {night.date}: {counted(len(gone), 'raw file')} ({gone[0].folder}/{gone[0].name} is one) removed"
                f" by `ledger prune`, and before {sending.before} products are made of them; expected them here: put"
                f" them back and `ledger scan --date {night.date}`, or roll back to {sending.before}"
            )
        if pruned := [item for item in record.products(self.store, night) if item.is_pruned]:
            raise NotReady(
                f"night {night.date}: files of {counted(len(pruned), 'product')} were removed by `ledger prune`;"
                f" `ledger recall --date {night.date}` brings them back first, or notes that somebody put them back"
            )

    def _unlists(self, folder: NightFolder, target: str) -> bool:
        """Whether a way back to `target` takes products out of their manifest."""
        pipeline = self.pipelines[folder.pipeline]
        listing = [s for s in pipeline.steps[1:] if hasattr(self.stages[s.state].stage, "manifest_lines")]
        return any(pipeline.position(target) < pipeline.position(step.state) for step in listing)

    # a run's hold

    @contextmanager
    def holding(
        self, folder: NightFolder, command: str, arguments: Mapping[str, Any]
    ) -> Iterator[tuple[Steps, Result]]:
        """Hold a night for one run of a command, which is on record with how it ended.

        Yields
        ------
        Steps
            What may be done to the night.
        Result
            To be filled in; the products' states are counted at the end.

        Raises
        ------
        Busy
            If another run holds it.
        """
        pipeline = self.pipelines[folder.pipeline]
        result = Result(folder.pipeline, folder.date, command=command)
        self.results.append(result)
        night = record.ensure_night(self.store, folder.pipeline, folder.root, folder.date)
        run_id = self.store.begin_run(command, {"date": folder.date, "pipeline": folder.pipeline, **arguments})
        status, in_order = 3, True  # a bug, unless it turns out otherwise
        journal = steps = None
        try:
            with Lease(self.store, night, run_id) as lease, engine.executor(self.config, self.jobs) as pool:
                journal = Journal(self.store, pipeline, night, lease, self.config.instrument.prefix)
                in_order = False
                steps = self._steps(journal, folder, pool, result)
                if self.config.fetches:
                    self._refuse_unsettled(journal)
                with mirrored(steps):
                    yield steps, result
                states = record.states(self.store, night)
                result.states = Counter({state: states[state] for state in pipeline.states if states[state]})
            status, in_order = (0 if result.succeeded else 1), not steps.is_torn
        except LedgerError as exc:
            status = exc.exit_status
            in_order = (journal is None or journal.is_in_order()) and not (steps and steps.is_torn)
            raise
        finally:
            self.reporter.end()
            self.store.end_run(run_id, status, in_order=in_order)

    def _refuse_unsettled(self, journal: Journal) -> None:
        """Refuse a night of which a run on the other host left something: only there it can be put in order."""
        left = journal.unsettled_edges()
        others = [s for s in journal.pipeline.steps if not s.needs_copy and {s.forward, s.reverse} & left]
        if others:
            raise NotReady(
                f"night {journal.night.date}: a run died on the way to or from {others[0].state}; expected it to"
                " be put in"
                f" order first: `ledger advance --date {journal.night.date}` on {self.config.transfer.source}"
            )

    def _settle(self, steps: Steps, *, rolls_back: bool) -> None:
        """Put in order what dead runs left; say where that can be done if it is of the host that fetches."""
        try:
            settle(steps, rolls_back=rolls_back)
        except NotReady as exc:
            left = steps.journal.unsettled_edges()
            others = [s for s in steps.journal.pipeline.steps if s.needs_copy and {s.forward, s.reverse} & left]
            if not (self.config.is_fetched_from and others):
                raise
            date, host = steps.folder.date, self.config.host_name(steps.folder.pipeline)
            raise NotReady(
                f"{exc}; a run died on the way to or from {others[0].state}, and {host} puts that in order without a"
                f" connection from here: `ledger advance --date {date}` there, or `ledger rollback --date {date} --to"
                f" {steps.journal.pipeline.step(others[0].state).before}`"
            ) from exc

    def _steps(self, journal: Journal, folder: NightFolder, pool: Executor, result: Result) -> Steps:
        return Steps(
            journal,
            folder,
            self.config,
            self.stages,
            executor=pool,
            workers=engine.workers_of(self.config, self.jobs),
            reporter=self.reporter,
            stop=self.stop,
            result=result,
        )

    def leftovers(self, folder: NightFolder, night: Night) -> Leftovers:
        """Return what dead runs left of a night, and what the next one does about it; nothing is changed."""
        pipeline = self.pipelines[folder.pipeline]
        journal = Journal(
            self.store, pipeline, night, Lease(self.store, night, run_id=NOBODY), self.config.instrument.prefix
        )
        steps = self._steps(journal, folder, engine.Inline(), Result(folder.pipeline, folder.date))
        return find_leftovers(steps, record.products(self.store, night))

    def check_advance(self, folder: NightFolder, target: str) -> None:
        """Refuse what cannot go well, before anything is changed.

        Raises
        ------
        UsageError
            If the destination is missing.
        NotReady
            If the night is before the first one, its products are not the ledger's, or the database is an older one.
        """
        if outdated := backup.why_outdated(self.store, self.config):
            raise NotReady(outdated)
        pipeline = self.pipelines[folder.pipeline]
        if self.config.fetches and record.find_night(self.store, folder.pipeline, folder.date) is None:
            raise UsageError(
                f"night {folder.date} ({folder.pipeline}) is not in the ledger; expected one that was advanced on"
                f" {self.config.transfer.source} (transfer.source); one of another pipeline is named by its folder"
            )
        with self.store.read() as session:
            if self.config.fetches:
                gate.refuse_excluded(session, folder)
            gate.refuse_before_first(session, self.config, pipeline, folder)
        self._check_destination(folder, pipeline, target)
        self._refuse_foreign(folder)

    def _check_destination(self, folder: NightFolder, pipeline: Pipeline, target: str) -> None:
        sending, destination = pipeline.sending, self.config.destination(folder.pipeline)
        if sending is None or pipeline.position(sending.state) > pipeline.position(target):
            return
        if self.config.host(folder.pipeline) is None and not is_folder(destination):
            own = self.config.pipelines[folder.pipeline].destination
            key = "transfer.destination" if own is None else f"{folder.pipeline}.destination"
            raise UsageError(
                f"destination {str(destination)!r}: no such folder; expected it to exist (is the disk mounted?); create"
                f" it, set {key}, or stop before with --to {sending.before}"
            )

    def check_copies(self, steps: Steps) -> None:
        """Refuse if the night's copies lie elsewhere than the configuration says now.

        Raises
        ------
        UsageError
            With both places.
        """
        expected = self.config.destination(steps.folder.pipeline) / steps.folder.date
        name = self.config.host_name(steps.folder.pipeline)
        if elsewhere := record.copy_elsewhere(self.store, steps.journal.night, name, expected):
            raise UsageError(
                f"night {steps.folder.date}: its copies are at {_at(*elsewhere)!r}, and"
                f" transfer.destination says {_at(name, expected)!r}; set the destination back, or roll the night"
                " back there first"
            )

    def _refuse_foreign(self, folder: NightFolder) -> None:
        with self.store.read() as session:
            if gate.is_foreign(session, self.config, folder):
                product_folder = folder.path / self.config.instrument.product_folder
                raise NotReady(
                    f"night {folder.date} is foreign: {str(product_folder)!r} holds files that this ledger did not"
                    " make; expected no such folder; such nights are reported and never touched"
                )

    # forward

    def _look_outside(self, steps: Steps) -> Found:
        """Return which files may hold frames and are no raw files, and tell of those of which nobody has decided."""
        with self.store.read() as session:
            found = decisions.look(session, self.config, steps.folder)
        for file in found.undecided:
            steps.result.remarks[f"files that may hold frames, not used: {file.folder} ({file.words})"] += 1
        return found

    def _take_back_unchecked(self, steps: Steps) -> None:
        """Take products back whose night is to be numbered, and of whose raw files less was looked at than is now."""
        pipeline = steps.journal.pipeline
        if pipeline.numbering is None or not record.unstructured(self.store, steps.journal.night):
            return
        if record.states(self.store, steps.journal.night):
            self._revert(steps, pipeline.states[0])

    def refuse_products(self, folder: NightFolder) -> None:
        """Refuse to pair a night anew that has products.

        Raises
        ------
        UsageError
            With how to take it back.
        """
        night = record.find_night(self.store, folder.pipeline, folder.date)
        if night is not None and record.states(self.store, night):
            raise UsageError(
                f"night {folder.date} has products, and --anew pairs raw files; expected a night that was taken back:"
                f" `ledger rollback {shlex.quote(str(folder.path))}` first"
            )

    def _pair(self, steps: Steps, *, anew: bool) -> None:
        """Give every frame of the raw files that are not synced yet its product."""
        journal, pipeline = steps.journal, steps.journal.pipeline
        if not record.unsynced(self.store, journal.night, pipeline.states[0]):
            return
        raws = [row for row in record.raws(self.store, journal.night) if not row.quarantine_reason]
        new = [row for row in raws if row.state == pipeline.states[0]]
        items = record.products(self.store, journal.night)
        if items and not self._is_known_outside(journal, items):  # products that nobody knows are made anew
            self._revert(steps, pipeline.states[0])
            if steps.result.stopped:
                return
            new, items = raws, []
        is_numbered = self._numbered_us(journal) is not None and not anew
        step = pipeline.step(pipeline.born)
        self.reporter.phase(step.state, len(new))
        current = {
            row.identity: row for row in record.raws(self.store, journal.night)
        }  # as they are after what was reverted
        parts = parts_of(
            [current[row.identity] for row in new],
            lambda row: row.supplement,
            last=max((row.supplement for row in current.values() if row.supplement is not None), default=None),
            has_products=bool(items),
            is_numbered=is_numbered,
        )
        if is_numbered and (apart := count_apart(new, raws)):
            folder = shlex.quote(str(steps.folder.path))
            steps.result.notes.append(
                f"{counted(apart, 'raw file')} came after the night was numbered, and frames of the other camera at"
                " their times were numbered without them: they are not paired with these; `ledger rollback"
                f" {folder} --yes`, then `ledger advance {folder} --anew` pairs the whole night: products that change"
                " get new frame IDs, and theirs are withdrawn; it says if that takes --late --reason TEXT"
            )
        made, remarks = pair_parts(
            [[to_raw(journal.night, row) for row in part] for part in parts.values()],
            items,
            lambda part, taken: steps.pair(step, part, taken),
        )
        journal.make_products(self.config.instrument.product_folder, made, parts, remarks)
        steps.result.moved[step.forward] += len(new)
        steps.result.remarks.update(remarks)
        self.reporter.advance(len(new))

    def _sends(self, pipeline: Pipeline, target: str) -> bool:
        """Whether products are sent on the way to `target`."""
        return pipeline.sending is not None and pipeline.position(target) >= pipeline.position(pipeline.sending.state)

    def _mend_copies(self, steps: Steps, target: str) -> str | None:
        """Prove copies that were not right and are not listed yet, or copy them again; return why not, or None."""
        pipeline, sending = steps.journal.pipeline, steps.journal.pipeline.sending
        if (
            sending is None
            or not self._sends(pipeline, target)
            or not record.copy_faults(self.store, steps.journal.night)
        ):
            return None
        if not hasattr(self.stages[sending.state].stage, "repair"):
            return None
        items = [w for w in record.products(self.store, steps.journal.night) if w.fault and w.state == sending.state]
        try:
            for batch in steps.portions(f"{sending.state}: copies that were not right", items):
                steps.keep_window()
                look = steps.look_at_copies(sending, batch, {}, repairs=True)
                steps.result.remarks["copies that were not right, and are proven now"] += len(look.proven)
                names = {w.product.identity: w.product.frame_id or w.product.name for w in batch}
                steps.result.failed += [(names[identity], reason) for identity, reason in look.failures.items()]
                steps.reporter.advance(len(look.proven))
            steps.obey()
        except NotReady as exc:
            steps.result.is_waiting = isinstance(exc, NotNow)
            return str(exc)
        return None

    def _is_known_outside(self, journal: Journal, items: Sequence[WorkItem]) -> bool:
        """Whether products of the night have frame IDs, or (in a pipeline without) copies: then they stay."""
        if journal.pipeline.numbering is None:
            sent = {step.state for step in journal.pipeline.steps if step.needs_copy}
            return any(item.state in sent for item in items)
        return self._numbered_us(journal) is not None

    def _advance_segment(
        self,
        steps: Steps,
        segment: Sequence[Step],
        target: str,
        *,
        final: bool,
        late_reason: str | None,
        is_patient: bool,
    ) -> str | None:
        """Take products through one segment on the way to `target`; return why that is not possible yet, or None."""
        first, pipeline = segment[0], steps.journal.pipeline
        items = record.products(self.store, steps.journal.night)
        if not items:
            return None
        inside = [w for w in items if w.quarantine_reason is None]
        behind = [w for w in inside if pipeline.position(w.state) < pipeline.position(first.before)]
        if behind and first.is_barrier:
            if unmade := self._unmade(pipeline, behind):
                return unmade + f": `ledger advance --date {steps.folder.date}` there, and then here again"
            left = f"{counted(len(behind), 'product')} still to be {first.before}"
            next_ = self._next_try(steps.folder, behind) if is_patient else None
            next_ = next_ or "see what failed, and run the same command again"
            return f"{left}, and {first.state} takes the whole night: {next_}"
        bad = {w.product.frame_id or w.product.name for w in inside if w.fault and w.state == first.before}
        if bad and first.is_barrier:
            return unproven(steps.folder.date, bad)
        if held := self.held_up(pipeline, first, steps.folder, items):
            return held
        try:
            if first is pipeline.steps[1] and pipeline.numbering is not None:
                self.look(steps.folder, steps.journal.night, items, final=final, late_reason=late_reason)
            if short := space.shortfall(self.config, steps.folder, self.need(pipeline, items, target)):
                steps.result.is_short = True
                return short
            if first is pipeline.numbering:
                self._number(steps, items, final=final, late_reason=late_reason)
                items = record.products(self.store, steps.journal.night)
            now_us = self.store.clock() if is_patient else None
            self._move(steps, segment, items, now_us)
        except NotReady as exc:
            steps.result.is_waiting = isinstance(exc, NotNow)
            steps.result.is_hindered = isinstance(exc, Unreachable)
            return str(exc)
        return None

    def _unmade(self, pipeline: Pipeline, items: Sequence[WorkItem]) -> str | None:
        """Return what of products is still to be done on the host that this one fetches from, or None."""
        if not (self.config.fetches and pipeline.sending):
            return None
        before = pipeline.sending.before
        n = sum(pipeline.position(item.state) < pipeline.position(before) for item in items)
        return f"{counted(n, 'product')} still to be {before} on {self.config.transfer.source}" if n else None

    def _next_try(self, folder: NightFolder, items: Sequence[WorkItem]) -> str | None:
        """Return when products that failed are tried again; None if one of them need not wait."""
        now_us, failures = self.store.clock(), self.config.failures
        times_us = [w.next_retry_us for w in items if not failures.is_due(w.next_retry_us, now_us)]
        if len(times_us) < len(items):
            return None
        first_us = min(time_us for time_us in times_us if time_us is not None)
        return (
            f"tried again from {show_us(first_us)} UT on, or at once by `ledger advance --date {folder.date}`; `ledger"
            f" quarantine list --date {folder.date}` says why"
        )

    def need(self, pipeline: Pipeline, items: Sequence[WorkItem], target: str) -> space.Need:
        """Return how much room products need to reach `target` by what this host does."""
        if self.config.fetches and pipeline.sending:
            first = pipeline.position(pipeline.sending.before)
            items = [item for item in items if pipeline.position(item.state) >= first]
        return space.needed(pipeline, items, target, record.compression_ratio(self.store))

    def held_up(self, pipeline: Pipeline, step: Step, folder: NightFolder, items: Sequence[WorkItem]) -> str | None:
        """Return why products in quarantine keep the whole night from a step, or None."""
        if not step.is_barrier or self.config.failures.barrier == "skip":
            return None
        held = [
            item
            for item in items
            if item.quarantine_reason
            and not item.is_discarded
            and pipeline.position(item.state) < pipeline.position(step.state)
        ]
        if not held:
            return None
        return (
            f"{counted(len(held), 'product')} in quarantine before {step.state}, which takes the whole night:"
            f" `ledger quarantine list --date {folder.date}` names them; release or discard them (or set"
            " failures.barrier: skip)"
        )

    def _move(self, steps: Steps, segment: Sequence[Step], items: Sequence[WorkItem], now_us: int | None) -> None:
        """Write the night's own files of a segment, then take products through it; all of them, or those due now."""
        first, pipeline = segment[0], steps.journal.pipeline
        ready = [w for w in items if pipeline.position(first.before) <= pipeline.position(w.state)]
        moving = [w for w in ready if not w.fault and pipeline.position(w.state) < pipeline.position(segment[-1].state)]
        moving = [w for w in moving if now_us is None or self.config.failures.is_due(w.next_retry_us, now_us)]
        if not moving:
            return
        steps.make_folder()
        for step in segment:
            steps.write_night_files(step, ready)
        if first.scope == "file":
            steps.pipeline(segment, "forward", moving)
        else:
            steps.together(first, "forward", moving)

    def look(
        self,
        folder: NightFolder,
        night: Night,
        items: Sequence[WorkItem],
        *,
        final: bool,
        late_reason: str | None,
        remembers: bool = True,
    ) -> None:
        """Refuse to spend disk on a night that could not be numbered.

        Parameters
        ----------
        folder, night
            On disk, and its row.
        items : sequence of WorkItem
            All products of the night.
        final : bool
            Whether nobody writes to the night any more.
        late_reason : str or None
            Why frame IDs may be assigned out of order.
        remembers : bool
            Whether what is found on disk may be kept in the database.

        Raises
        ------
        NotReady, StateError
            With the reason, and the command to run.
        """
        with self.store.read() as session:
            gate.refuse_excluded(session, folder)
            decision = allocate.decide(session, self.config.instrument.prefix, night, items)
            if decision.fresh or decision.is_first:
                self._check_gate(session, folder, final=final)
        if decision.fresh:
            numbers = numbers_on_disk(self.store, self.config, remembers=remembers, is_routine=True)
            with self.store.read() as session:
                decision.check(sequence_state(session, self.config), night.date, numbers, late_reason)

    def _check_gate(
        self, session: Session, folder: NightFolder, *, final: bool, looks_outside: bool = True
    ) -> Found | None:
        now_us, pipeline = self.store.clock(), self.pipelines[folder.pipeline]
        return gate.check_gate(
            session, self.config, pipeline, folder, now_us=now_us, final=final, looks_outside=looks_outside
        )

    def _number(self, steps: Steps, items: Sequence[WorkItem], *, final: bool, late_reason: str | None) -> None:
        with self.store.read() as session:
            if not allocate.decide(session, self.config.instrument.prefix, steps.journal.night, items).is_needed:
                return
        with self.store.read() as session:  # folders are walked before the counter is locked
            outside = self._check_gate(session, steps.folder, final=final)
        done = allocate.allocate(
            steps.journal,
            self.config,
            items,
            lambda session: self._check_gate(session, steps.folder, final=final, looks_outside=False),
            numbers=numbers_on_disk(self.store, self.config, is_routine=True),
            late_reason=late_reason,
        )
        remarks = {
            "assigned": done.assigned,
            "assigned late": done.late,
            "withdrawn": done.withdrawn,
            "withdrawn that were on a manifest": done.manifested,
        }
        steps.result.remarks.update({f"frame IDs {what}": n for what, n in remarks.items() if n})
        if outside is not None:
            steps.journal.left_out(outside)

    def _numbered_us(self, journal: Journal) -> int | None:
        night = record.find_night(self.store, journal.night.pipeline, journal.night.date)
        return night.numbered_us if night else None

    # back

    def _revert(self, steps: Steps, target: str) -> None:
        """Take all products back to `target`, quarantined ones too."""
        pipeline = steps.journal.pipeline
        if unproven := _unproven(steps, target):
            steps.result.stopped = (
                f"{str(steps.product_folder / unproven[0])!r} is of a product whose files are not proven, and left"
                f" alone ({counted(len(unproven), 'file')} of such products): expected none on the way to {target}; see"
                " `ledger quarantine list`, and move them away"
            )
            return
        for segment in reversed(pipeline.segments(pipeline.last)):
            undone = [s for s in segment if pipeline.position(s.state) > pipeline.position(target)]
            items = record.products(self.store, steps.journal.night)
            if not undone or not items:
                continue
            if segment[0].scope == "file":
                steps.pipeline(undone, "reverse", items)
            else:
                steps.together(segment[0], "reverse", items)
            items = record.products(self.store, steps.journal.night)
            stuck = [w for w in items if w.state in {step.state for step in undone}]
            if stuck and segment[0].scope == "file" and pipeline.position(target) <= pipeline.position(pipeline.born):
                steps.drop(stuck)
                names = {w.product.frame_id or w.product.name for w in stuck}
                steps.result.failed = [(name, error) for name, error in steps.result.failed if name not in names]
            for step in undone:
                steps.write_night_files(
                    step, [w for w in items if pipeline.position(w.state) >= pipeline.position(step.state)]
                )
            if steps.result.failed:
                steps.result.stopped = f"{counted(len(steps.result.failed), 'product')} could not be taken back"
                return
        if pipeline.position(target) < pipeline.position(pipeline.born):
            items = record.products(self.store, steps.journal.night)
            if items:
                steps.journal.unmake_products(items)
                steps.result.moved[pipeline.step(pipeline.born).reverse] += len(items)
        if not any(item.product.files for item in record.products(self.store, steps.journal.night)):
            steps.remove_folder()


def gives_numbers(pipeline: Pipeline, target: str) -> bool:
    """Whether products get their frame IDs on the way to `target`."""
    return pipeline.numbering is not None and pipeline.position(target) >= pipeline.position(pipeline.numbering.state)


def _unproven(steps: Steps, target: str) -> list[str]:
    """Return the files of products that have none by their state: `ledger rebuild` leaves what it cannot prove."""
    pipeline = steps.journal.pipeline
    if pipeline.position(target) >= pipeline.position(pipeline.born):
        return []
    items = (item for item in record.products(steps.journal.store, steps.journal.night) if item.state == pipeline.born)
    names = (name for item in items for name in item.product.files)
    return [name for name in names if os.path.lexists(steps.product_folder / name)]


def unproven(date: str, products: Sized) -> str | None:
    """Return what to do about products of a night whose copies were not right when last read; None if there is none."""
    if not products:
        return None
    return (
        f"the copies of {counted(len(products), 'product')} were not right when last read at the destination:"
        f" `ledger verify --date {date} --repair` proves them again, or copies them"
    )


def _at(host: str, path: str | Path) -> str:
    return f"{host}:{path}" if host else str(path)
