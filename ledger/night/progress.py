"""Whether a night goes on, or waits, and for what: decided once for a run, its dry run, and `ledger explain`.

Nothing is read here: facts are given, as values or as functions that are called when their turn comes.
"""

from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Literal

from ledger.clock import show_us
from ledger.config.blocks import Failures
from ledger.config.site import Site
from ledger.disk.outside import Found
from ledger.errors import NotReady, Unreachable
from ledger.night.pipeline import Pipeline, Step
from ledger.night.products import WorkItem
from ledger.text import counted

#: What a night waits for: raw files, products that are behind, proofs of copies, decisions about quarantine, its turn
#: to be numbered, room on disk, the time of day, decisions about files outside.
Cause = Literal["raw files", "products", "copies", "quarantine", "numbers", "room", "window", "outside"]


@dataclass(frozen=True, slots=True)
class Go:
    """Nothing keeps products from a segment."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a night does not go on.

    Attributes
    ----------
    cause : str
        What it waits for.
    reason : str
        In words, with what to do.
    is_hindered : bool
        Whether a disk or host that is needed is not there, or cannot be read.
    """

    cause: Cause
    reason: str
    is_hindered: bool = False


@dataclass(frozen=True, slots=True)
class Outlook:
    """What decides, besides its products, whether a night goes on.

    Attributes
    ----------
    date : str
        The night.
    pipeline : Pipeline
        Its pipeline.
    site : Site
        What of the pipeline is this host's part.
    failures : Failures
        Whether barriers wait for products in quarantine, and when failures are tried again.
    now_us : int
        What time it is.
    check_numbering : callable
        Raises NotReady if the night could not be numbered now.
    shortfall : callable
        Returns what is missing on which disk for products, or None.
    closed : str or None
        Why products may not be sent now; None also for a run, which looks at the clock before each batch.
    is_patient : bool
        Whether products that failed are left alone until they are due.
    """

    date: str
    pipeline: Pipeline
    site: Site
    failures: Failures
    now_us: int
    check_numbering: Callable[[], None]
    shortfall: Callable[[Sequence[WorkItem]], str | None]
    closed: str | None = None
    is_patient: bool = False


def last_state(pipeline: Pipeline, site: Site) -> str:
    """Return the last state of a pipeline that is this host's part."""
    if pipeline.sending is None or site.reaches(pipeline.last):
        return pipeline.last
    return pipeline.sending.before


def segments_ahead(pipeline: Pipeline, site: Site, target: str, states: Iterable[str]) -> list[tuple[Step, ...]]:
    """Return the segments on the way to `target` that are this host's part, and that products in `states` have ahead.

    The first segment counts as ahead until all products are at `target`: what keeps a night from its numbers is found
    before anything is written.
    """
    slowest = min(map(pipeline.position, states), default=0)
    found = []
    for segment in pipeline.segments(target):
        end = target if segment[0] is pipeline.steps[1] else segment[-1].state
        if site.reaches(segment[0].state) and slowest < pipeline.position(end):
            found.append(segment)
    return found


def next_segment(outlook: Outlook, segment: Sequence[Step], items: Sequence[WorkItem]) -> Go | Wait:
    """Decide whether products may take a segment.

    Parameters
    ----------
    outlook : Outlook
        What else decides.
    segment : sequence of Step
        The segment.
    items : sequence of WorkItem
        All products of the night.

    Returns
    -------
    Go or Wait
        The first reason to wait, in the order of what costs least to find out.
    """
    first, pipeline = segment[0], outlook.pipeline
    inside = [w for w in items if w.quarantine_reason is None]
    if first.is_barrier and (wait := _at_barrier(outlook, first, inside, items)):
        return wait
    cause: Cause = "numbers"
    try:
        if first is pipeline.steps[1] and pipeline.numbering is not None:
            outlook.check_numbering()
        cause = "room"
        if short := outlook.shortfall(items):
            return Wait(cause, short)
    except NotReady as exc:
        return Wait(cause, str(exc), is_hindered=isinstance(exc, Unreachable))
    if outlook.closed and first.needs_copy and first.scope != "file" and _moving(pipeline, segment, items):
        return Wait("window", outlook.closed)
    return Go()


def _at_barrier(outlook: Outlook, step: Step, inside: Sequence[WorkItem], items: Sequence[WorkItem]) -> Wait | None:
    """Return why a step that takes the whole night cannot, or None."""
    position, date = outlook.pipeline.position, outlook.date
    if behind := [w for w in inside if position(w.state) < position(step.before)]:
        return Wait("products", _behind(outlook, step, behind))
    if bad := [w for w in inside if w.fault and w.state == step.before]:
        return Wait("copies", unproven(outlook.site.named(date), bad))
    if outlook.failures.barrier == "skip":
        return None
    held = [w for w in items if w.quarantine_reason and not w.is_discarded and position(w.state) < position(step.state)]
    if not held:
        return None
    return Wait(
        "quarantine",
        f"{counted(len(held), 'product')} in quarantine before {step.state}, which takes the whole night:"
        f" `ledger quarantine list --date {date}` names them; release or discard them (or set"
        " failures.barrier: skip)",
    )


def _behind(outlook: Outlook, step: Step, behind: Sequence[WorkItem]) -> str:
    """Return what is to be done about products that have not come to a barrier yet."""
    pipeline, named = outlook.pipeline, outlook.site.named(outlook.date)
    if not outlook.site.has_nights and pipeline.sending is not None:
        before = pipeline.sending.before
        if n := sum(pipeline.position(item.state) < pipeline.position(before) for item in behind):
            return (
                f"{counted(n, 'product')} still to be {before} on {outlook.site.other}: `ledger advance {named}`"
                " there, and then here again"
            )
    then = _next_try(outlook, behind) if outlook.is_patient else None
    return (
        f"{counted(len(behind), 'product')} still to be {step.before}, and {step.state} takes the whole night:"
        f" {then or 'see what failed, and run the same command again'}"
    )


def _next_try(outlook: Outlook, items: Sequence[WorkItem]) -> str | None:
    """Return when products that failed are tried again; None if one of them need not wait."""
    waiting = [w for w in items if not outlook.failures.is_due(w.next_retry_us, outlook.now_us)]
    if len(waiting) < len(items):
        return None
    named = outlook.site.named(outlook.date)
    first_us = min(w.next_retry_us for w in waiting if w.next_retry_us is not None)
    return (
        f"tried again from {show_us(first_us)} UT on, or at once by `ledger advance {named}`; `ledger"
        f" quarantine list --date {outlook.date}` says why"
    )


def _moving(pipeline: Pipeline, segment: Sequence[Step], items: Sequence[WorkItem]) -> list[WorkItem]:
    """Return the products that take a segment."""
    begin, end = pipeline.position(segment[0].before), pipeline.position(segment[-1].state)
    going = (w for w in items if w.quarantine_reason is None and not w.fault)
    return [w for w in going if begin <= pipeline.position(w.state) < end]


@dataclass(frozen=True, slots=True)
class Prospect:
    """How far a night would go, and why it would stop there.

    Attributes
    ----------
    taken : tuple of (Step, tuple of WorkItem)
        Steps in order, and the products that would take each.
    wait : Wait or None
        Why it would stop; None if it would reach its target.
    """

    taken: tuple[tuple[Step, tuple[WorkItem, ...]], ...]
    wait: Wait | None


def foresee(
    outlook: Outlook,
    target: str,
    items: Sequence[WorkItem],
    *,
    repairs: bool,
    succeeds: Callable[[WorkItem], bool] = lambda _: True,
) -> Prospect:
    """Return how far a night would go on the way to `target`.

    Parameters
    ----------
    outlook : Outlook
        What else decides.
    target : str
        The state to reach.
    items : sequence of WorkItem
        All products of the night, as they are now.
    repairs : bool
        Whether copies that are not right, and are not listed yet, can be copied again.
    succeeds : callable
        Whether a product is taken to succeed in its steps, or stays where it is.
    """
    pipeline, sending = outlook.pipeline, outlook.pipeline.sending
    now = list(items)
    if sending is not None and pipeline.includes(sending, target) and repairs:
        bad = {w.product.identity for w in now if w.fault and w.state == sending.state}
        if bad and outlook.closed:
            return Prospect((), Wait("window", outlook.closed))
        now = [replace(w, fault=None) if w.product.identity in bad and succeeds(w) else w for w in now]
    taken: list[tuple[Step, tuple[WorkItem, ...]]] = []
    for segment in segments_ahead(pipeline, outlook.site, target, {w.state for w in now}) if now else ():
        decision = next_segment(outlook, segment, now)
        if isinstance(decision, Wait):
            return Prospect(tuple(taken), decision)
        moving = {w.product.identity: w for w in _moving(pipeline, segment, now) if succeeds(w)}
        for step in segment:
            behind = [w for w in moving.values() if pipeline.position(w.state) < pipeline.position(step.state)]
            taken.append((step, tuple(behind)))
        now = [replace(w, state=segment[-1].state) if w.product.identity in moving else w for w in now]
    return Prospect(tuple(taken), None)


def at_the_end(
    pipeline: Pipeline, site: Site, date: str, target: str, *, outside: Found | None, is_numbered: bool, faults: Sized
) -> Wait | None:
    """Return what keeps a night from its target although all segments were taken, or None.

    Parameters
    ----------
    pipeline, site, date
        The night.
    target : str
        The state to reach.
    outside : Found or None
        Files that may hold frames and are no raw files; None on a host without nights.
    is_numbered : bool
        Whether the night was ever numbered.
    faults : sized
        Products whose copies were not right when last read.
    """
    if outside is not None and outside.blocks and pipeline.includes(pipeline.numbering, target) and not is_numbered:
        return Wait("outside", outside.refusal(date))
    if faults and pipeline.includes(pipeline.sending, target):
        return Wait("copies", unproven(site.named(date), faults))
    return None


def unpaired(missing: Sequence[str]) -> Wait | None:
    """Return why a night cannot be paired: `missing` raw files, by stream and name, are in no product yet, and gone."""
    if not missing:
        return None
    return Wait(
        "raw files",
        f"{counted(len(missing), 'raw file')} cannot be had ({missing[0]} is one), and pairing takes the whole night:"
        " see what failed",
    )


def unproven(named: str, products: Sized) -> str:
    """Return what to do about products whose copies were not right when last read; `named` names their night."""
    return (
        f"the copies of {counted(len(products), 'product')} were not right when last read at the destination:"
        f" `ledger verify {named} --repair` proves them again, or copies them"
    )
