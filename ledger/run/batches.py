"""Steps of scope batch and night: many products in one call."""

from collections.abc import Iterator, Mapping, Sequence

from ledger.disk import durable
from ledger.errors import Interrupted, LedgerError, NotReady
from ledger.night import record
from ledger.night.journal import Failure, Move
from ledger.night.pipeline import Direction, Step
from ledger.night.products import WorkItem
from ledger.run import copies, night_files, outcomes
from ledger.run.engine import timed
from ledger.run.steps import BATCH, Steps

#: Bytes of one call of a stage of scope ``batch``: few enough that a stop is prompt.
BATCH_BYTES = 2_000_000_000


def run_step(steps: Steps, step: Step, direction: Direction, items: Sequence[WorkItem]) -> None:
    """Take products through a step of scope ``batch`` or ``night``.

    Parameters
    ----------
    steps : Steps
        The night, held.
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
    is_sending = direction == "forward" and step == steps.journal.pipeline.sending
    if direction == "forward" and step.needs_copy:
        steps.keep_window()  # before it is said that anything begins
    steps.reporter.phase(step.target(direction), len(ready), size_bytes=_size_of(ready) if is_sending else None)
    placed = record.copied(steps.journal.store, steps.journal.night)
    brings_night = True  # its own files are the same for all batches
    for batch in _batches(ready, step):
        steps.obey()
        if direction == "forward" and step.needs_copy:
            steps.keep_window()
        steps.carried_bytes = 0
        _batch(steps, step, direction, batch, placed, brings_night=brings_night)
        brings_night = brings_night and not any(item.state == step.state for item in batch)
        if is_sending:  # what lay there already, less what is sent beside products, or came to nothing
            arrived = [item for item in batch if item.state == step.state]
            steps.reporter.carry(_size_of(arrived) - steps.carried_bytes)
    if any(item.state == source for item in ready):
        steps.obey()


def _batch(
    steps: Steps,
    step: Step,
    direction: Direction,
    batch: Sequence[WorkItem],
    placed: frozenset[str],
    *,
    brings_night: bool,
) -> None:
    verb, was_torn = step.verb(direction), steps.is_torn
    steps.journal.started(batch, verb)
    job = steps.job(batch, placed=placed, brings_night=brings_night, carried=steps.carry)
    try:  # in this process, not in a worker
        outcome = timed(steps.call, step=step, direction=direction, job=job)
    except LedgerError as exc:
        # The disk failed, perhaps after a part was taken back: the next run takes back the rest first.
        steps.is_torn |= direction == "reverse" and isinstance(exc, NotReady | Interrupted)
        if isinstance(exc, Interrupted):
            steps.journal.left(batch, verb)
            raise
        outcomes.fail_all(steps, batch, exc, step, direction)
        return
    # From here on something may have changed outside of the night: an error leaves the step open.
    steps.is_torn = True
    if direction == "forward" and steps.journal.is_first(verb):
        for final, temporary in outcome.value.outputs.items():
            night_files.refuse_other(steps, final, temporary.read_bytes())
    steps.journal.lease.confirm()
    try:
        durable.put_in_place(outcome.value, steps.config.permissions.group)
    except OSError as exc:
        outcomes.fail_all(steps, batch, exc, step, direction)
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
    steps.journal.commit(moves, outcome.value.manifest, withdrawn_manifests=outcome.value.withdrawn_manifests)
    steps.is_torn = was_torn
    _note_unfinished(steps, step, batch, outcome.value.unfinished)
    outcomes.remove_superseded(steps, {steps.folder.date: outcome.value.superseded})
    steps.journal.left([item for item in batch if item.product.identity in left], verb)
    failed = [item for item in batch if item.product.identity in failures]
    can_reverify = step == steps.journal.pipeline.sending and steps.stages[step.state].sender is not None
    if failed and direction == "reverse" and can_reverify:
        copies.reverify_unwithdrawn(steps, step, failed, failures)
    reasons = [Failure(item, failures[item.product.identity], counts=False) for item in failed]
    outcomes.fail(steps, reasons, step, direction)
    steps.result.moved[verb] += len(moves)
    steps.result.remarks.update(outcome.value.remarks)
    steps.reporter.advance(len(moves))


def _note_unfinished(steps: Steps, step: Step, batch: Sequence[WorkItem], unfinished: Mapping[str, str]) -> None:
    """Leave the step open for products of which something is left outside of the night: a rollback then removes it."""
    items = [item for item in batch if item.product.identity in unfinished]
    if items:
        steps.journal.started(items, step.forward)
        names = [(item.product.frame_id or item.product.name, item.product.identity) for item in items]
        steps.result.failed += [(name, unfinished[identity]) for name, identity in names]


def _size_of(items: Sequence[WorkItem]) -> int:
    return sum(item.product.size_bytes or 0 for item in items)


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
