"""A night taken forward: registered, paired, and through its segments as far as it goes."""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.db import backup
from ledger.disk.access import is_folder
from ledger.disk.nights import NightFolder
from ledger.errors import NotNow, NotReady, Unreachable, UsageError
from ledger.ids import gate
from ledger.ids.numbering import number_night, refuse_numbering
from ledger.night import record, space
from ledger.night.pipeline import Pipeline, Step
from ledger.night.products import WorkItem
from ledger.night.progress import Outlook, Wait, at_the_end, last_state, next_segment, segments_ahead
from ledger.night.site import refuse_scattered, site_of
from ledger.run import batches, copies, hold, night_files, pairing, registration, workers
from ledger.run.context import Context
from ledger.run.steps import Steps


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
    UsageError
        If there is no such state, or to take products there is another host's part.
    """
    pipeline, site = context.pipelines[folder.pipeline], context.config.site(folder.pipeline)
    sending = pipeline.sending
    target = last_state(pipeline, site) if to is None else pipeline.resolve(to)
    if sending is None or site.reaches(target):
        return target
    if not site.has_nights:
        raise UsageError(
            f"{target} is reached on {site.other} (transfer.source): this host fetches what is"
            f" {sending.before}; expected {sending.state} or later"
        )
    raise UsageError(
        f"{target} is reached on {site.other}, which fetches products from here"
        f" (transfer.direction: pull); expected {sending.before} or earlier"
    )


def check_advance(context: Context, folder: NightFolder, target: str) -> None:
    """Refuse what cannot go well, before anything is changed.

    Raises
    ------
    UsageError
        If the destination is missing.
    NotReady
        If the night is before the first one, its products are not the ledger's, or the database is an older one.
    """
    config, store, pipeline = context.config, context.store, context.pipelines[folder.pipeline]
    if outdated := backup.why_outdated(store, config):
        raise NotReady(outdated)
    site = config.site(folder.pipeline)
    if not site.has_nights and record.find_night(store, folder.pipeline, folder.date) is None:
        raise UsageError(
            f"night {folder.date} ({folder.pipeline}) is not in the ledger; expected one that was advanced on"
            f" {site.other} (transfer.source); one of another pipeline is named by its folder"
        )
    with store.read() as session:
        if not site.has_nights:
            gate.refuse_excluded(session, folder)
        gate.refuse_before_first(session, config, pipeline, folder)
    _check_destination(context, folder, pipeline, target)
    with store.read() as session:
        if gate.is_foreign(session, config, folder):
            product_folder = folder.path / config.instrument.product_folder
            raise NotReady(
                f"night {folder.date} is foreign: {str(product_folder)!r} holds files that this ledger did not"
                " make; expected no such folder; such nights are reported and never touched"
            )


def _check_destination(context: Context, folder: NightFolder, pipeline: Pipeline, target: str) -> None:
    sending, today = pipeline.sending, context.config.site(folder.pipeline)
    site = site_of(context.store, context.config, folder.pipeline, folder.date)
    if sending is None or not pipeline.includes(sending, target) or not site.has_copies or is_folder(site.destination):
        return
    if site != today:
        raise UsageError(
            f"destination {str(site.destination)!r}, where copies of night {folder.date} are: no such folder; expected"
            f" it to exist (is the disk mounted?); if they were moved to {str(today.place)!r}: `ledger relocate"
            f" --copies {site.named(folder.date)}`"
        )
    own = context.config.pipelines[folder.pipeline].destination
    key = "transfer.destination" if own is None else f"{folder.pipeline}.destination"
    raise UsageError(
        f"destination {str(site.destination)!r}: no such folder; expected it to exist (is the disk mounted?);"
        f" mount it, correct {key}, or stop before with --to {sending.before}; make it only if it never was there"
    )


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
    UsageError, NotReady
        Before anything is changed.
    Interrupted
        Between two files.
    """
    pipeline, result = steps.journal.pipeline, steps.result
    store, night = steps.journal.store, steps.journal.night
    refuse_scattered(store, night, steps.site)
    hold.settle_night(steps, rolls_back=False)
    outside = None
    if steps.site.has_nights:
        outside = registration.report_outside(steps)
        pairing.take_back_unchecked(steps)
        if result.stopped is None:
            is_all = not outside.blocks
            result.stopped = registration.register(steps, final=goal.final, is_all=is_all, anew=goal.anew)
        if result.stopped is None and pipeline.position(goal.target) >= pipeline.position(pipeline.born):
            pairing.pair_night(steps, anew=goal.anew)
    if result.stopped is None:
        result.stopped = _mend_copies(steps, goal.target)
    states = record.states(store, night)
    for segment in segments_ahead(pipeline, steps.site, goal.target, states):
        if result.stopped is None:
            result.stopped = _advance_segment(steps, segment, goal)
    if result.stopped is None:
        is_numbered, faults = record.is_numbered(store, night), record.copy_faults(store, night)
        date, target = steps.folder.date, goal.target
        wait = at_the_end(pipeline, steps.site, date, target, outside=outside, is_numbered=is_numbered, faults=faults)
        result.stopped = wait.reason if wait else None


def _mend_copies(steps: Steps, target: str) -> str | None:
    """Prove copies that were not right and are not listed yet, or copy them again; return why not, or None."""
    pipeline, sending = steps.journal.pipeline, steps.journal.pipeline.sending
    store, night = steps.journal.store, steps.journal.night
    if sending is None or not pipeline.includes(sending, target) or not record.copy_faults(store, night):
        return None
    if steps.stages[sending.state].sender is None:
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
    pipeline, store, result = steps.journal.pipeline, steps.journal.store, steps.result
    items = record.products(store, steps.journal.night)
    if not items:
        return None
    decision = next_segment(_outlook(steps, goal, items), segment, items)
    if isinstance(decision, Wait):
        result.is_hindered = decision.is_hindered
        result.is_short = decision.cause == "room" and not decision.is_hindered
        return decision.reason
    try:
        if segment[0] is pipeline.numbering:
            remarks = number_night(
                steps.journal, steps.config, steps.folder, items, final=goal.final, late_reason=goal.late_reason
            )
            result.remarks.update(remarks)
            items = record.products(store, steps.journal.night)
        _move(steps, segment, items, store.clock() if goal.is_patient else None)
    except NotReady as exc:
        result.is_waiting = isinstance(exc, NotNow)
        result.is_hindered = isinstance(exc, Unreachable)
        return str(exc)
    return None


def _outlook(steps: Steps, goal: Goal, items: Sequence[WorkItem]) -> Outlook:
    config, folder, pipeline = steps.config, steps.folder, steps.journal.pipeline
    store, night = steps.journal.store, steps.journal.night

    def check_numbering() -> None:
        final, late_reason = goal.final, goal.late_reason
        refuse_numbering(store, config, pipeline, folder, night, items, final=final, late_reason=late_reason)

    def shortfall(items: Sequence[WorkItem]) -> str | None:
        need = space.needed_here(store, steps.site, pipeline, items, goal.target)
        return space.shortfall(config, steps.site, folder, need)

    return Outlook(
        folder.date,
        pipeline,
        steps.site,
        config.failures,
        store.clock(),
        check_numbering,
        shortfall,
        is_patient=goal.is_patient,
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
