"""A night taken forward: registered, paired, and through its segments as far as it goes."""

from collections.abc import Sequence, Sized
from dataclasses import dataclass

from ledger.clock import show_us
from ledger.db import backup
from ledger.disk.access import is_folder
from ledger.disk.nights import NightFolder
from ledger.errors import BadInput, NotNow, NotReady, Unreachable
from ledger.ids import gate
from ledger.ids.numbering import number_night, refuse_numbering
from ledger.night import record, space
from ledger.night.pipeline import Pipeline, Step
from ledger.night.products import WorkItem
from ledger.run import batches, copies, hold, night_files, pairing, registration, workers
from ledger.run.context import Context
from ledger.run.steps import Steps
from ledger.text import counted


@dataclass(frozen=True, slots=True)
class Goal:
    """What an advance is asked for.

    Attributes
    ----------
    target : str
        The state to reach.
    final : bool
        Number the night although it may still be written.
    late_reason : str or None
        Assign frame IDs out of order, and why.
    anew : bool
        Pair all raw files of a night that was numbered before, and not by themselves those that came since.
    is_patient : bool
        Leave products that failed alone until they are due again.
    """

    target: str
    final: bool = False
    late_reason: str | None = None
    anew: bool = False
    is_patient: bool = False


def target_of(context: Context, folder: NightFolder, to: str | None) -> str:
    """Return the state that an advance is to reach: `to` by its whole name, or the last that is this host's.

    Raises
    ------
    BadInput
        If there is no such state, or to take products there is another host's part.
    """
    pipeline, site = context.pipelines[folder.pipeline], context.config.site(folder.pipeline)
    target, sending = pipeline.resolve(to) if to else pipeline.last, pipeline.sending
    if sending is None or site.reaches(target):
        return target
    if not site.has_nights:
        raise BadInput(
            f"{target} is reached on {site.other} (transfer.source): this host fetches what is"
            f" {sending.before}; expected {sending.state} or later"
        )
    if to:
        raise BadInput(
            f"{target} is reached on {site.other}, which fetches products from here"
            f" (transfer.direction: pull); expected {sending.before} or earlier"
        )
    return sending.before


def check_advance(context: Context, folder: NightFolder, target: str) -> None:
    """Refuse what cannot go well, before anything is changed.

    Raises
    ------
    BadInput
        If the destination is missing.
    NotReady
        If the night is before the first one, its products are not the ledger's, or the database is an older one.
    """
    config, store, pipeline = context.config, context.store, context.pipelines[folder.pipeline]
    if outdated := backup.why_outdated(store, config):
        raise NotReady(outdated)
    site = config.site(folder.pipeline)
    if not site.has_nights and record.find_night(store, folder.pipeline, folder.date) is None:
        raise BadInput(
            f"night {folder.date} ({folder.pipeline}) is not in the ledger; expected one that was advanced on"
            f" {site.other} (transfer.source); one of another pipeline is named by its folder"
        )
    with store.read() as session:
        if not site.has_nights:
            gate.refuse_excluded(session, folder)
        gate.refuse_before_first(session, config, pipeline, folder)
    _check_destination(context, folder, pipeline, target)
    with store.read() as session:
        if gate.is_foreign(session, config, pipeline, folder):
            product_folder = folder.path / config.instrument.product_folder
            raise NotReady(
                f"night {folder.date} is foreign: {str(product_folder)!r} holds files that this ledger did not"
                " make; expected no such folder; such nights are reported and never touched"
            )


def _check_destination(context: Context, folder: NightFolder, pipeline: Pipeline, target: str) -> None:
    site, sending = context.config.site(folder.pipeline), pipeline.sending
    if sending is None or not pipeline.includes(sending, target) or not site.has_copies:
        return
    if not is_folder(site.destination):
        own = context.config.pipelines[folder.pipeline].destination
        key = "transfer.destination" if own is None else f"{folder.pipeline}.destination"
        raise BadInput(
            f"destination {str(site.destination)!r}: no such folder; expected it to exist (is the disk mounted?);"
            f" create it, set {key}, or stop before with --to {sending.before}"
        )


def own_segments(context: Context, pipeline: Pipeline, target: str) -> list[tuple[Step, ...]]:
    """Return the segments up to `target` that are this host's part."""
    site = context.config.site(pipeline.name)
    return [segment for segment in pipeline.segments(target) if site.reaches(segment[0].state)]


def advance_night(steps: Steps, goal: Goal) -> None:
    """Take a night that is held forward; ``steps.result`` says what was done, and why it stopped if it did.

    Parameters
    ----------
    steps : Steps
        The night, held.
    goal : Goal
        How far, and how.

    Raises
    ------
    BadInput, NotReady
        Before anything is changed.
    Interrupted
        Between two files.
    """
    pipeline, result = steps.journal.pipeline, steps.result
    store, night = steps.journal.store, steps.journal.night
    hold.refuse_moved_copies(steps)
    hold.settle_night(steps, rolls_back=False)
    outside = None
    if steps.site.has_nights:
        outside = registration.look_outside(steps)
        pairing.take_back_unchecked(steps)
        if result.stopped is None:
            is_all = not outside.blocks
            result.stopped = registration.register(steps, final=goal.final, is_all=is_all, anew=goal.anew)
        if result.stopped is None and pipeline.position(goal.target) >= pipeline.position(pipeline.born):
            pairing.pair_night(steps, anew=goal.anew)
    if result.stopped is None:
        result.stopped = _mend_copies(steps, goal.target)
    slowest = min(map(pipeline.position, record.states(store, night)), default=0)
    for segment in own_segments(steps.context, pipeline, goal.target):
        # the first looks for all of them
        end = goal.target if segment[0] is pipeline.steps[1] else segment[-1].state
        if result.stopped is None and slowest < pipeline.position(end):
            result.stopped = _advance_segment(steps, segment, goal)
    waits = outside is not None and outside.blocks and pipeline.includes(pipeline.numbering, goal.target)
    if result.stopped is None and outside and waits and not record.is_numbered(store, night):
        result.stopped = outside.refusal(steps.folder.date)
    if result.stopped is None and pipeline.includes(pipeline.sending, goal.target):
        result.stopped = unproven(steps.folder.date, record.copy_faults(store, night))


def _mend_copies(steps: Steps, target: str) -> str | None:
    """Prove copies that were not right and are not listed yet, or copy them again; return why not, or None."""
    pipeline, sending = steps.journal.pipeline, steps.journal.pipeline.sending
    store, night = steps.journal.store, steps.journal.night
    if sending is None or not pipeline.includes(sending, target) or not record.copy_faults(store, night):
        return None
    if not hasattr(steps.stages[sending.state].stage, "repair"):
        return None
    items = [w for w in record.products(store, night) if w.fault and w.state == sending.state]
    try:
        for batch in steps.portions(f"{sending.state}: copies that were not right", items):
            steps.keep_window()
            found = copies.reverify(steps, sending, batch, {}, repairs=True)
            steps.result.remarks["copies that were not right, and are proven now"] += len(found.proven)
            names = {w.product.identity: w.product.frame_id or w.product.name for w in batch}
            steps.result.failed += [(names[identity], reason) for identity, reason in found.failures.items()]
            steps.reporter.advance(len(found.proven))
        steps.obey()
    except NotReady as exc:
        steps.result.is_waiting = isinstance(exc, NotNow)
        return str(exc)
    return None


def _advance_segment(steps: Steps, segment: Sequence[Step], goal: Goal) -> str | None:
    """Take products through one segment on the way to the goal; return why that is not possible yet, or None."""
    config, store, night = steps.config, steps.journal.store, steps.journal.night
    first, pipeline = segment[0], steps.journal.pipeline
    items = record.products(store, night)
    if not items:
        return None
    inside = [w for w in items if w.quarantine_reason is None]
    behind = [w for w in inside if pipeline.position(w.state) < pipeline.position(first.before)]
    if behind and first.is_barrier:
        if unmade := _unmade(steps, behind):
            return unmade + f": `ledger advance --date {steps.folder.date}` there, and then here again"
        left = f"{counted(len(behind), 'product')} still to be {first.before}"
        next_ = _next_try(steps, behind) if goal.is_patient else None
        next_ = next_ or "see what failed, and run the same command again"
        return f"{left}, and {first.state} takes the whole night: {next_}"
    bad = {w.product.frame_id or w.product.name for w in inside if w.fault and w.state == first.before}
    if bad and first.is_barrier:
        return unproven(steps.folder.date, bad)
    if held := held_up(steps.context, pipeline, first, steps.folder, items):
        return held
    final, late_reason = goal.final, goal.late_reason
    try:
        if first is pipeline.steps[1] and pipeline.numbering is not None:
            refuse_numbering(store, config, pipeline, steps.folder, night, items, final=final, late_reason=late_reason)
        if short := space.shortfall(config, steps.folder, need(steps.context, pipeline, items, goal.target)):
            steps.result.is_short = True
            return short
        if first is pipeline.numbering:
            remarks = number_night(steps.journal, config, steps.folder, items, final=final, late_reason=late_reason)
            steps.result.remarks.update(remarks)
            items = record.products(store, night)
        _move(steps, segment, items, store.clock() if goal.is_patient else None)
    except NotReady as exc:
        steps.result.is_waiting = isinstance(exc, NotNow)
        steps.result.is_hindered = isinstance(exc, Unreachable)
        return str(exc)
    return None


def _unmade(steps: Steps, items: Sequence[WorkItem]) -> str | None:
    """Return what of products is still to be done on the host that this one fetches from, or None."""
    sending = steps.journal.pipeline.sending
    if steps.site.has_nights or sending is None:
        return None
    position = steps.journal.pipeline.position
    n = sum(position(item.state) < position(sending.before) for item in items)
    return f"{counted(n, 'product')} still to be {sending.before} on {steps.site.other}" if n else None


def _next_try(steps: Steps, items: Sequence[WorkItem]) -> str | None:
    """Return when products that failed are tried again; None if one of them need not wait."""
    now_us, failures, date = steps.journal.store.clock(), steps.config.failures, steps.folder.date
    times_us = [w.next_retry_us for w in items if not failures.is_due(w.next_retry_us, now_us)]
    if len(times_us) < len(items):
        return None
    first_us = min(time_us for time_us in times_us if time_us is not None)
    return (
        f"tried again from {show_us(first_us)} UT on, or at once by `ledger advance --date {date}`; `ledger"
        f" quarantine list --date {date}` says why"
    )


def need(context: Context, pipeline: Pipeline, items: Sequence[WorkItem], target: str) -> space.Need:
    """Return how much room products need to reach `target` by what this host does."""
    if not context.config.site(pipeline.name).has_nights and pipeline.sending:
        first = pipeline.position(pipeline.sending.before)
        items = [item for item in items if pipeline.position(item.state) >= first]
    return space.needed(pipeline, items, target, record.compression_ratio(context.store))


def held_up(
    context: Context, pipeline: Pipeline, step: Step, folder: NightFolder, items: Sequence[WorkItem]
) -> str | None:
    """Return why products in quarantine keep the whole night from a step, or None."""
    if not step.is_barrier or context.config.failures.barrier == "skip":
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


def _move(steps: Steps, segment: Sequence[Step], items: Sequence[WorkItem], now_us: int | None) -> None:
    """Write the night's own files of a segment, then take products through it; all of them, or those due now."""
    first, pipeline = segment[0], steps.journal.pipeline
    ready = [w for w in items if pipeline.position(first.before) <= pipeline.position(w.state)]
    moving = [w for w in ready if not w.fault and pipeline.position(w.state) < pipeline.position(segment[-1].state)]
    moving = [w for w in moving if now_us is None or steps.config.failures.is_due(w.next_retry_us, now_us)]
    if not moving:
        return
    night_files.make_folder(steps)
    for step in segment:
        night_files.write_night_files(steps, step, ready)
    if first.scope == "file":
        workers.run_segment(steps, segment, "forward", moving)
    else:
        batches.run_step(steps, first, "forward", moving)


def unproven(date: str, products: Sized) -> str | None:
    """Return what to do about products of a night whose copies were not right when last read; None if there is none."""
    if not products:
        return None
    return (
        f"the copies of {counted(len(products), 'product')} were not right when last read at the destination:"
        f" `ledger verify --date {date} --repair` proves them again, or copies them"
    )
