"""Steps of scope file: each product as soon as it is ready, in any worker."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, replace

from ledger.disk import durable
from ledger.night.journal import Failure, Move
from ledger.night.pipeline import Direction, Step
from ledger.night.products import WorkItem
from ledger.run import outcomes
from ledger.run.engine import Timed, timed
from ledger.run.steps import Steps
from stages import base
from stages.base import Outcome


@dataclass(frozen=True, slots=True)
class Call:
    """A stage at work on one product."""

    item: WorkItem
    step: Step


def run_segment(steps: Steps, segment: Sequence[Step], direction: Direction, items: Sequence[WorkItem]) -> None:
    """Take products through the steps of `segment`, each as soon as it is ready for the next."""
    next_step = {step.source(direction): step for step in segment}
    queue = deque(w for w in items if w.state in next_step and (direction == "reverse" or not w.quarantine_reason))
    if not queue:
        return
    todo = sum(_steps_left(item, segment, direction) for item in queue)
    steps.reporter.phase(" + ".join(step.target(direction) for step in _in_order(segment, direction)), todo)
    running: dict[Future[Timed[Outcome]], Call] = {}
    while queue or running:
        if steps.stop.signal_number is None:
            _submit(steps, queue, running, next_step, direction)
        else:
            _cancel(steps, running, direction)
        if not running:
            break
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        moved = _finish(steps, [(running.pop(future), future) for future in finished], direction)
        queue.extend(item for item in moved if item.state in next_step)
    steps.obey()


def _submit(
    steps: Steps,
    queue: deque[WorkItem],
    running: dict[Future[Timed[Outcome]], Call],
    next_step: dict[str, Step],
    direction: Direction,
) -> None:
    if len(running) > steps.in_hand // 2:  # refill in one transaction, not one a product
        return
    calls: list[Call] = []
    while queue and len(running) + len(calls) < steps.in_hand:
        item = queue.popleft()
        calls.append(Call(item, next_step[item.state]))
    for step in {call.step for call in calls}:
        steps.journal.started([call.item for call in calls if call.step == step], step.verb(direction))
    job = steps.job()
    for call in calls:
        future = steps.executor.submit(
            timed,
            steps.function(call.step, direction),
            job=replace(job, products=(call.item.product,)),
            params=steps.stages[call.step.state].params,
        )
        running[future] = call


def _cancel(steps: Steps, running: dict[Future[Timed[Outcome]], Call], direction: Direction) -> None:
    """Take back the calls that have not begun."""
    cancelled = [running.pop(future) for future in list(running) if future.cancel()]
    for step in {call.step for call in cancelled}:
        steps.journal.not_begun([call.item for call in cancelled if call.step == step], step.verb(direction))


def _finish(
    steps: Steps, finished: Sequence[tuple[Call, Future[Timed[Outcome]]]], direction: Direction
) -> list[WorkItem]:
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
    steps.journal.lease.confirm()
    effective = []
    placed = durable.put_all_in_place([outcome.value for _, outcome in done], steps.config.permissions.group)
    for (call, outcome), error in zip(done, placed, strict=True):
        if error is None:
            effective.append((call, outcome))
            continue
        failures.append((call, error))
        steps.is_torn |= isinstance(error, OSError)  # it may have taken effect in part: the next run settles it
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
    steps.journal.commit(moves)
    outcomes.remove_superseded(
        steps, {call.item.product.frame_id or call.item.product.name: o.value.superseded for call, o in effective}
    )
    for _, outcome in effective:
        steps.result.remarks.update(outcome.value.remarks)
    for step in {call.step for call, _ in failures}:
        failed = [
            Failure(call.item, outcomes.reason_of(exc), is_final=isinstance(exc, base.BadInput))
            for call, exc in failures
            if call.step == step
        ]
        outcomes.fail(steps, failed, step, direction)
    for move in moves:
        steps.result.moved[move.verb] += 1
    steps.reporter.advance(len(moves))
    return [move.item for move in moves]


def _steps_left(item: WorkItem, segment: Sequence[Step], direction: Direction) -> int:
    sources = [step.source(direction) for step in _in_order(segment, direction)]
    return len(sources) - sources.index(item.state)


def _in_order(segment: Sequence[Step], direction: Direction) -> Sequence[Step]:
    return segment if direction == "forward" else segment[::-1]
