"""Steps of a night: the one place that calls a stage, and the order in which its outcome takes effect.

For every step (docs/design.md, Journal, runs, leases, settling): the entry ``started`` is committed; the stage writes
temporaries; the lease is confirmed; headers are rewritten, files replaced, folders synced; state, facts and the entry
``done`` are committed at once; and only then is what is superseded removed.
"""

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ledger.config.model import Config
from ledger.config.stages import LoadedStage
from ledger.disk import durable
from ledger.disk.nights import NightFolder
from ledger.errors import Interrupted, LedgerError, NotNow, NotReady, StateError, UsageError, translated
from ledger.night import record
from ledger.night.journal import Failure, Journal, Move
from ledger.night.pipeline import Direction, Step
from ledger.night.products import WorkItem, put_back
from ledger.report import Reporter, Result, Stop
from ledger.run.engine import Timed, timed
from stages import base
from stages.base import Job, Outcome
from stages.optional import Sender
from stages.product import Product, Raw
from stages.transport import pull

T = TypeVar("T")

#: Products and bytes of one call of a stage of scope ``batch``: few enough that a stop is prompt.
BATCH, BATCH_BYTES = 64, 2_000_000_000
#: Steps in hand a worker: enough to keep it busy while finished ones are committed together.
IN_HAND_PER_WORKER = 32


@dataclass(frozen=True, slots=True)
class Call:
    """A stage at work on one product."""

    item: WorkItem
    step: Step


@dataclass(frozen=True, slots=True)
class Look:
    """What copies at the destination were found to be like, by the products' identities.

    Attributes
    ----------
    proven : frozenset of str
        Whose copies are right; those that were copied again among them.
    repaired : frozenset of str
        Whose copies were copied again.
    failures : mapping of str to str
        Whose copies are not right, and what was found.
    """

    proven: frozenset[str]
    repaired: frozenset[str]
    failures: Mapping[str, str]


class Steps:
    """Executes steps on the products of one night that a run holds.

    Parameters
    ----------
    journal : Journal
        The hold.
    folder : NightFolder
        The night on disk.
    config : Config
        Parameters, destination, instrument.
    stages : mapping of str to LoadedStage
        By state.
    executor : Executor
        Where stages of scope ``file`` run.
    workers : int
        How many it has.
    reporter : Reporter
        Who is told.
    stop : Stop
        Looked at between files.
    result : Result
        Filled in.
    """

    def __init__(
        self,
        journal: Journal,
        folder: NightFolder,
        config: Config,
        stages: dict[str, LoadedStage],
        *,
        executor: Executor,
        workers: int,
        reporter: Reporter,
        stop: Stop,
        result: Result,
    ) -> None:
        self.journal = journal
        self.folder = folder
        self.config = config
        self.stages = stages
        self.executor = executor
        self.in_hand = IN_HAND_PER_WORKER * workers
        self.reporter = reporter
        self.stop = stop
        self.result = result
        self.product_folder = folder.path / config.instrument.product_folder
        self.is_torn = False
        self._carried_bytes = 0

    def job(self, items: Sequence[WorkItem] = (), *, one_more: bool = False, **more: object) -> Job:
        """Return the job for `items`; `one_more` if there may be a manifest that is not on record."""
        manifests = self.manifests() if items else ()
        return Job(
            night=self.folder.path,
            date=self.folder.date,
            folder=self.product_folder,
            instrument=self.config.instrument,
            products=tuple(item.product for item in items),
            destination=self.config.destination(self.folder.pipeline) / self.folder.date,
            host=self.config.host(self.folder.pipeline),
            source=self._source(),
            manifests=manifests,
            serial=len(manifests) + one_more,
            is_stopped=self.stop.is_asked,
            **more,  # type: ignore[arg-type]
        )

    def _source(self) -> base.Source | None:
        source = self.config.source_of(self.folder.root / self.folder.date, self.folder.pipeline)
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

    def _carry(self, size_bytes: int) -> None:
        self._carried_bytes += size_bytes
        self.reporter.carry(size_bytes)

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
            return self._function(step, direction)(job=job, params=self.stages[step.state].params)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Translate the errors of a stage; one that may pass is none if somebody asks to stop: signals break calls."""
        try:
            with translated():
                yield
        except NotReady:
            self.obey()
            raise

    def obey(self) -> None:
        """Raise Interrupted if somebody asks to stop."""
        if self.stop.signal_number is not None:
            raise Interrupted(self.stop.signal_number)

    def _function(self, step: Step, direction: Direction) -> base.StageFunction:
        stage = self.stages[step.state].stage
        return stage.forward if direction == "forward" else stage.reverse

    def portions(self, phase: str, items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
        """Yield items in portions of a phase of the run; who takes them tells how many succeeded.

        Raises
        ------
        Interrupted
            Before the next portion, if somebody asks to stop.
        """
        self.reporter.phase(phase, len(items))
        for start in range(0, len(items), size):
            self.obey()
            yield items[start : start + size]

    # one product at a time

    def pipeline(self, segment: Sequence[Step], direction: Direction, items: Sequence[WorkItem]) -> None:
        """Take products through the steps of `segment`, each as soon as it is ready for the next."""
        next_step = {step.source(direction): step for step in segment}
        queue = deque(w for w in items if w.state in next_step and (direction == "reverse" or not w.quarantine_reason))
        if not queue:
            return
        todo = sum(_steps_left(item, segment, direction) for item in queue)
        self.reporter.phase(" + ".join(step.target(direction) for step in _in_order(segment, direction)), todo)
        running: dict[Future[Timed[Outcome]], Call] = {}
        while queue or running:
            if self.stop.signal_number is None:
                self._submit(queue, running, next_step, direction)
            else:
                self._cancel(running, direction)
            if not running:
                break
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            moved = self._finish([(running.pop(future), future) for future in finished], direction)
            queue.extend(item for item in moved if item.state in next_step)
        self.obey()

    def _submit(
        self,
        queue: deque[WorkItem],
        running: dict[Future[Timed[Outcome]], Call],
        next_step: dict[str, Step],
        direction: Direction,
    ) -> None:
        if len(running) > self.in_hand // 2:  # refill in one transaction, not one a product
            return
        calls: list[Call] = []
        while queue and len(running) + len(calls) < self.in_hand:
            item = queue.popleft()
            calls.append(Call(item, next_step[item.state]))
        for step in {call.step for call in calls}:
            self.journal.started([call.item for call in calls if call.step == step], step.verb(direction))
        job = self.job()
        for call in calls:
            future = self.executor.submit(
                timed,
                self._function(call.step, direction),
                job=replace(job, products=(call.item.product,)),
                params=self.stages[call.step.state].params,
            )
            running[future] = call

    def _cancel(self, running: dict[Future[Timed[Outcome]], Call], direction: Direction) -> None:
        """Take back the calls that have not begun."""
        cancelled = [running.pop(future) for future in list(running) if future.cancel()]
        for step in {call.step for call in cancelled}:
            self.journal.not_begun([call.item for call in cancelled if call.step == step], step.verb(direction))

    def _finish(self, finished: Sequence[tuple[Call, Future[Timed[Outcome]]]], direction: Direction) -> list[WorkItem]:
        """Let the outcomes of calls take effect; return the products that moved."""
        done: list[tuple[Call, Timed[Outcome]]] = []
        failures: list[tuple[Call, Exception]] = []
        for call, future in finished:
            try:
                done.append((call, future.result()))
            except BrokenExecutor:
                raise
            except Exception as exc:  # noqa: BLE001  one file's failure must not stop the others
                failures.append((call, exc))
        self.journal.lease.confirm()
        effective = []
        placed = durable.put_all_in_place([outcome.value for _, outcome in done], self.config.permissions.group)
        for (call, outcome), error in zip(done, placed, strict=True):
            if error is None:
                effective.append((call, outcome))
                continue
            failures.append((call, error))
            self.is_torn |= isinstance(error, OSError)  # it may have taken effect in part: the next run settles it
        moves = [
            Move(
                item=call.item,
                verb=call.step.verb(direction),
                facts=outcome.value.facts.get(call.item.product.identity, {}),
                seconds=outcome.seconds,
                size_bytes=sum(part.raw.size_bytes for part in call.item.product.parts),
                remarks=outcome.value.remarks,
            )
            for call, outcome in effective
        ]
        self.journal.commit(moves)
        self._remove(
            {call.item.product.frame_id or call.item.product.name: o.value.superseded for call, o in effective}
        )
        for _, outcome in effective:
            self.result.remarks.update(outcome.value.remarks)
        for step in {call.step for call, _ in failures}:
            failed = [
                Failure(call.item, _reason(exc), is_final=isinstance(exc, base.BadInput))
                for call, exc in failures
                if call.step == step
            ]
            self._fail(failed, step, direction)
        for move in moves:
            self.result.moved[move.verb] += 1
        self.reporter.advance(len(moves))
        return [move.item for move in moves]

    def _remove(self, superseded: Mapping[str, Iterable[Path]]) -> None:
        """Remove what is superseded, by product; what cannot be is told, and is a stray that the next run removes."""
        groups = [list(paths) for paths in superseded.values()]
        for name, exc in zip(superseded, self._remove_all(groups), strict=True):
            if exc is None:
                continue
            self.is_torn = True
            reason = f"{exc}; its step is done, and what it superseded could not be removed: run the same command again"
            self.result.failed.append((name, reason))

    def _remove_all(self, groups: Sequence[Sequence[Path]]) -> Sequence[Exception | None]:
        if not self.config.fetches:
            return durable.remove_all(groups)
        try:
            self.remove([path for paths in groups for path in paths])
        except (OSError, UsageError, NotReady) as exc:
            return [exc for _ in groups]
        return [None for _ in groups]

    def _fail(self, failures: Sequence[Failure], step: Step, direction: Direction) -> None:
        policy = self.config.failures if direction == "forward" else None
        self.journal.failed(failures, step.verb(direction), policy)
        for failure in failures:
            item = failure.item
            is_put_aside = policy is not None and item.quarantine_reason is not None
            told = "; it is in quarantine now: see `ledger quarantine list`" if is_put_aside else ""
            self.result.failed.append((item.product.frame_id or item.product.name, failure.error + told))

    def _fail_all(self, items: Sequence[WorkItem], exc: Exception, step: Step, direction: Direction) -> None:
        """Let a whole call of many products fail: what lies outside of the night is not one file's fault."""
        self._fail([Failure(item, _reason(exc), counts=False) for item in items], step, direction)

    # many products at once

    def together(self, step: Step, direction: Direction, items: Sequence[WorkItem]) -> None:
        """Take products through a step of scope ``batch`` or ``night``.

        Parameters
        ----------
        step : Step
            The step.
        direction : str
            Which way.
        items : sequence of WorkItem
            Products; those not in the step's source state are left out.
        """
        source = step.source(direction)
        ready = [w for w in items if w.state == source]
        if direction == "forward":
            ready = [w for w in ready if not w.quarantine_reason]
        if not ready:
            return
        is_sending = direction == "forward" and step == self.journal.pipeline.sending
        if direction == "forward" and step.needs_copy:
            self.keep_window()  # before it is said that anything begins
        self.reporter.phase(step.target(direction), len(ready), size_bytes=_size_of(ready) if is_sending else None)
        placed = record.copied(self.journal.store, self.journal.night)
        brings_night = True  # its own files are the same for all batches
        for batch in _batches(ready, step):
            self.obey()
            if direction == "forward" and step.needs_copy:
                self.keep_window()
            self._carried_bytes = 0
            self._batch(step, direction, batch, placed, brings_night=brings_night)
            brings_night = brings_night and not any(item.state == step.state for item in batch)
            if is_sending:  # what lay there already, less what is sent beside products, or came to nothing
                arrived = [item for item in batch if item.state == step.state]
                self.reporter.carry(_size_of(arrived) - self._carried_bytes)
        if any(item.state == source for item in ready):
            self.obey()

    def keep_window(self) -> None:
        """Refuse to send products at another time of day than they may be sent at.

        Raises
        ------
        NotNow
            With the time of day that is open.
        """
        if closed := self.config.transfer.why_closed(self.journal.store.clock()):
            raise NotNow(closed)

    def _batch(
        self, step: Step, direction: Direction, batch: Sequence[WorkItem], placed: frozenset[str], *, brings_night: bool
    ) -> None:
        verb, was_torn = step.verb(direction), self.is_torn
        self.journal.started(batch, verb)
        job = self.job(
            batch, placed=placed, brings_night=brings_night, carried=self._carry
        )  # called here, and not in a worker
        try:
            outcome = timed(self.call, step=step, direction=direction, job=job)
        except LedgerError as exc:
            # The disk failed, perhaps after a part was taken back: the next run takes back the rest first.
            self.is_torn |= direction == "reverse" and isinstance(exc, NotReady | Interrupted)
            if isinstance(exc, Interrupted):
                self.journal.left(batch, verb)
                raise
            self._fail_all(batch, exc, step, direction)
            return
        # From here on something may have changed outside of the night: an error leaves the step open.
        self.is_torn = True
        if direction == "forward" and self.journal.is_first(verb):
            for final, temporary in outcome.value.outputs.items():
                self._refuse_other(final, temporary.read_bytes())
        self.journal.lease.confirm()
        try:
            durable.put_in_place(outcome.value, self.config.permissions.group)
        except OSError as exc:
            self._fail_all(batch, exc, step, direction)
            return
        evidence = {e.identity: e for e in outcome.value.evidence}
        withdrawn = set(outcome.value.withdrawn)
        failures, left = outcome.value.failures, set(outcome.value.left)
        moves = [
            Move(
                item=item,
                verb=verb,
                facts=outcome.value.facts.get(item.product.identity, {}),
                evidence=evidence.get(item.product.identity),
                is_withdrawn=item.product.identity in withdrawn,
                seconds=outcome.seconds / len(batch),
                size_bytes=item.product.size_bytes,
            )
            for item in batch
            if item.product.identity not in failures.keys() | left and item.state == step.source(direction)
        ]
        self.journal.commit(moves, outcome.value.manifest, withdrawn_manifests=outcome.value.withdrawn_manifests)
        self.is_torn = was_torn
        self._note_unfinished(step, batch, outcome.value.unfinished)
        self._remove({self.folder.date: outcome.value.superseded})
        self.journal.left([item for item in batch if item.product.identity in left], verb)
        failed = [item for item in batch if item.product.identity in failures]
        can_look = step == self.journal.pipeline.sending and self.stages[step.state].sender is not None
        if failed and direction == "reverse" and can_look:
            self._look_at_left(step, failed, failures)
        reasons = [Failure(item, failures[item.product.identity], counts=False) for item in failed]
        self._fail(reasons, step, direction)
        self.result.moved[verb] += len(moves)
        self.result.remarks.update(outcome.value.remarks)
        self.reporter.advance(len(moves))

    # copies, where they lie

    def sender(self, step: Step) -> Sender:
        """Return the stage of the step that sends products.

        Raises
        ------
        StateError
            If it offers nothing to prove its copies by.
        """
        if (sender := self.stages[step.state].sender) is None:
            raise StateError(f"state {step.state!r}: its stage proves no copies; expected `verify_copies`")
        return sender

    def ask(self, step: Step, function: Callable[..., T], items: Sequence[WorkItem]) -> T:
        """Call a function of the stage that sends products, for some of them or (with none) for the night."""
        job = self.job(items, placed=frozenset(item.product.identity for item in items))
        if not items:
            job = replace(job, manifests=self.manifests())
        with self.translated():
            return function(job=job, params=self.stages[step.state].params)

    def look_at_copies(
        self, step: Step, items: Sequence[WorkItem], detail: Mapping[str, Any], *, repairs: bool = False
    ) -> Look:
        """Read copies again and put on record what they are like: fresh proofs, or what is wrong with them.

        Parameters
        ----------
        step : Step
            The one that sends products.
        items : sequence of WorkItem
            Products that were sent.
        detail : mapping
            Of the look, for the night's entry.
        repairs : bool
            Copy again what is not right.

        Raises
        ------
        UsageError, NotReady
            If the destination cannot be read: then nothing is said of any copy.
        """
        sender = self.sender(step)
        outcome = self.ask(step, sender.verify_copies, items)
        found = outcome.failures
        proven = frozenset(evidence.identity for evidence in outcome.evidence)
        self.journal.verified(items, outcome.evidence, found, {"unproven": len(found), **detail})
        if not (repairs and found):
            return Look(proven, frozenset(), self._with_ways_on(items, found))
        outcome = self.ask(step, sender.repair, [item for item in items if item.product.identity in found])
        repaired = frozenset(evidence.identity for evidence in outcome.evidence)
        self.journal.verified(items, outcome.evidence, {}, {"repaired": len(repaired)}, how="repaired")
        left = {key: outcome.failures.get(key, fault) for key, fault in found.items() if key not in repaired}
        return Look(proven | repaired, repaired, self._with_ways_on(items, left))

    def _with_ways_on(self, items: Sequence[WorkItem], failures: Mapping[str, str]) -> Mapping[str, str]:
        """Return failures of copies, with what to do where there is nothing here to copy them from."""
        pruned = {item.product.identity: item for item in items if item.is_pruned}
        return {
            key: f"{pruned[key].fault}; {put_back(self.product_folder, pruned[key].product.files, self.folder.date)}"
            if key in pruned
            else reason
            for key, reason in failures.items()
        }

    def _look_at_left(self, step: Step, items: Sequence[WorkItem], reasons: Mapping[str, str]) -> None:
        """Look at copies that could not be taken back: what is not ours any more is no copy, and no step trusts it."""
        try:
            self.look_at_copies(step, items, {"left": len(items)})
        except LedgerError:  # nobody knows: they are not trusted until they can be read
            self.journal.verified(items, (), {key: reasons[key] for key in (w.product.identity for w in items)}, {})

    def _note_unfinished(self, step: Step, batch: Sequence[WorkItem], unfinished: Mapping[str, str]) -> None:
        """Open the step again for products of which something is left outside: a rollback then removes it."""
        items = [item for item in batch if item.product.identity in unfinished]
        if items:
            self.journal.started(items, step.forward)
            names = [(item.product.frame_id or item.product.name, item.product.identity) for item in items]
            self.result.failed += [(name, unfinished[identity]) for name, identity in names]

    def names_of(self, product: Product) -> set[str]:
        """Return every name that a file of `product` can have in the product folder."""
        stems = [stem for stem in (product.name, product.frame_id) if stem]
        suffixes = [s for loaded in self.stages.values() for s in loaded.suffixes]
        return {stem + suffix for stem in stems for suffix in suffixes}

    def drop(self, items: Sequence[WorkItem]) -> None:
        """Take products that cannot be taken back by their stages to where they were born, without their files.

        Nothing is lost: all of their frames are in the raw files, which must be there as registered.

        Raises
        ------
        NotReady
            If a raw file is not.
        """
        parts = [part for item in items for part in item.product.parts]
        gone = [part.raw.cube for part in parts if not part.raw.is_there]
        if gone:
            raise NotReady(f"{gone[0]}: gone or changed; expected the raw file that the product can be made of again")
        names = {name for item in items for name in (*item.product.files, *self.names_of(item.product))}
        pipeline = self.journal.pipeline
        for step in reversed(pipeline.steps[1:]):
            here = [item for item in items if item.state == step.state]
            empty: dict[str, base.Fact] = dict.fromkeys(("sha256", "size_bytes", "timing_sha256")) | {"files": []}
            self.journal.commit([Move(item, step.reverse, facts=empty, remarks={"dropped": 1}) for item in here])
        self._remove({self.folder.date: [self.product_folder / name for name in sorted(names)]})
        self.result.remarks["products dropped, as they could not be taken back"] += len(items)

    # the night as a whole

    def make_folder(self) -> None:
        """Make the product folder.

        Raises
        ------
        NotReady
            If the night's folder may not be written, or the product folder is a link.
        """
        if self.product_folder.is_symlink():
            raise NotReady(
                f"{self.product_folder}: a link, and products would lie outside of the night; expected no such folder,"
                " or one that the ledger made; remove the link"
            )
        try:
            self.product_folder.mkdir(exist_ok=True)
            if self.config.permissions.group is not None:
                shutil.chown(self.product_folder, group=self.config.permissions.group)
        except OSError as exc:
            raise NotReady(
                f"{self.product_folder}: cannot be made ({exc.strerror}); expected a night's folder that may be written"
            ) from exc

    def remove_folder(self) -> None:
        """Remove the product folder if nothing is in it.

        Raises
        ------
        NotReady
            If the night's folder may not be written.
        """
        try:
            durable.remove_folder_if_empty(self.product_folder)
        except OSError as exc:
            raise NotReady(
                f"{self.product_folder}: empty, and cannot be removed ({exc.strerror}); expected a night's folder that"
                " may be written; run the same command again"
            ) from exc

    def pair(self, step: Step, raws: Sequence[Raw], taken_names: frozenset[str]) -> Outcome:
        """Make products of raw files; nothing is written yet."""
        return self.call(step, "forward", self.job(raws=tuple(raws), taken_names=taken_names))

    def write_night_files(self, step: Step, items: Sequence[WorkItem]) -> None:
        """Write the night's own files of a state for the products `items`; remove them if there are none."""
        writer = self.stages[step.state].night_writer
        if writer is None:
            return
        try:
            with self.translated():
                files = writer.night_files(job=self.job(items), params=self.stages[step.state].params)
        except UsageError as exc:
            raise NotReady(str(exc)) from exc
        if items and self.journal.is_first(step.forward, "started"):  # a step starts once they are written
            for name, data in files.items():
                self._refuse_other(self.folder.path / name, data)
        try:
            for name, data in files.items():
                self._write_night_file(self.folder.path / name, data if items else None)
        except OSError as exc:
            raise NotReady(
                f"{self.folder.path}: {step.state} cannot write its files of the night ({exc}); expected a folder that"
                " may be written, and room; run the same command again"
            ) from exc

    def _write_night_file(self, path: Path, data: bytes | None) -> None:
        if data is None:
            if os.path.lexists(path):  # a disk that is read-only refuses to remove even what is not there
                self.remove([path])
            return
        temporary = path.with_name(base.TEMPORARY_PREFIX + path.name)
        durable.write_file(path, data, temporary, self.config.permissions.group)

    def _refuse_other(self, path: Path, data: bytes) -> None:
        """Refuse to write over a file that somebody else put under a name of the ledger's."""
        if os.path.lexists(path) and (path.is_symlink() or not path.is_file() or path.read_bytes() != data):
            source = self._source()
            place = path if source is None else f"{source.host.name}:{source.night / path.name}"
            raise NotReady(f"{place}: found a file that this ledger did not write, expected none; move it away")


def _reason(exc: BaseException) -> str:
    """Return an error for people: the message of an expected one, the type too of any other."""
    if isinstance(exc, OSError):
        return f"{exc}; check permissions, free space and the disk, then run the same command again"
    expected = isinstance(exc, base.StageError | LedgerError)
    return str(exc) if expected else f"{type(exc).__name__}: {exc}"


def _size_of(items: Sequence[WorkItem]) -> int:
    return sum(item.product.size_bytes or 0 for item in items)


def _steps_left(item: WorkItem, segment: Sequence[Step], direction: Direction) -> int:
    sources = [step.source(direction) for step in _in_order(segment, direction)]
    return len(sources) - sources.index(item.state)


def _in_order(segment: Sequence[Step], direction: Direction) -> Sequence[Step]:
    return segment if direction == "forward" else segment[::-1]


def _batches(items: Sequence[WorkItem], step: Step) -> Iterator[Sequence[WorkItem]]:
    """Yield `items` in pieces for one call each: all of the night, or as many as make a batch."""
    if step.scope != "batch":
        yield items
        return
    batch: list[WorkItem] = []
    size_bytes = 0
    for item in items:
        size_bytes += item.product.size_bytes or 0
        if batch and (len(batch) == BATCH or size_bytes > BATCH_BYTES):
            yield batch
            batch, size_bytes = [], item.product.size_bytes or 0
        batch.append(item)
    yield batch
