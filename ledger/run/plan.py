"""The dry run: the steps that a command would take, counted and not taken. Nothing is written."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from ledger.db.models import File, Night
from ledger.disk.nights import NightFolder
from ledger.disk.outside import Found, grouped
from ledger.disk.raws import RawOnDisk, raws_on_disk
from ledger.errors import translated
from ledger.ids.numbering import foresee_numbering
from ledger.night import decisions, record, space
from ledger.night.pipeline import Direction, Pipeline, Step
from ledger.night.products import WorkItem, pair_parts, parts_of, to_raw
from ledger.night.progress import Outlook, at_the_end, foresee, unpaired
from ledger.night.site import site_of
from ledger.run import engine
from ledger.run.advance import Goal, check_advance, target_of
from ledger.run.context import Context
from ledger.run.pairing import refuse_products
from ledger.run.registration import decide, fault_of, inspected, whole_first
from ledger.run.rollback import check_rollback, why_not_withdrawn
from ledger.run.twins import Twins
from ledger.text import alike, counted
from stages.base import Job, Outcome
from stages.product import Product, Raw
from stages.raw import RawFacts


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step of a plan.

    Attributes
    ----------
    verb, state : str
        The edge, and the state that it leads to.
    files : int
        How many files pass it.
    size_bytes : int
        Of their frames, uncompressed; from the step on that sends products, of their compressed cubes.
    seconds : float or None
        Estimate from what the step took lately; None without history.
    accuracy : str
        How well the size is known: ``about``, as some are not compressed yet; ``at most``, as nothing is known of how
        well they will be; otherwise empty.
    """

    verb: str
    state: str
    files: int
    size_bytes: int
    seconds: float | None
    accuracy: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done to a night.

    Attributes
    ----------
    pipeline, date : str
        The night.
    steps : tuple of PlanStep
        In order.
    quarantined : tuple of (str, str)
        New raw files that would be put in quarantine, and why.
    space_bytes : int
        Needed in the night's folder, at most.
    destination_bytes : int
        Needed at the destination, about.
    outside : str
        Files that may hold frames and would not be used, in words.
    stopped : str or None
        Why it would stop before its goal.
    """

    pipeline: str
    date: str
    steps: tuple[PlanStep, ...]
    quarantined: tuple[tuple[str, str], ...] = ()
    space_bytes: int = 0
    destination_bytes: int = 0
    outside: str = ""
    stopped: str | None = None

    @property
    def seconds(self) -> float | None:
        """Return the estimate for all of it; None if a step has no history."""
        known = [step.seconds for step in self.steps if step.seconds is not None]
        return sum(known) if self.steps and len(known) == len(self.steps) else None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self) | {"seconds": self.seconds}


def plan_advance(
    context: Context,
    folder: NightFolder,
    to: str | None,
    *,
    final: bool = False,
    late_reason: str | None = None,
    anew: bool = False,
    ahead: Collection[str] = (),
) -> Plan:
    """Return what `Machine.advance` would do now if every step succeeds. Reads raw files, writes nothing.

    Dates in `ahead` are of nights that the same command numbers before.

    Raises
    ------
    UsageError, NotReady
        What `Machine.advance` would refuse.
    """
    pipeline = context.pipelines[folder.pipeline]
    target = target_of(context, folder, to)
    check_advance(context, folder, target)
    if anew:
        refuse_products(context, folder)
    store, site = context.store, context.config.site(folder.pipeline)
    night = record.find_night(store, folder.pipeline, folder.date)
    found = _Raws()
    if site.has_nights:
        found = _raws(context, pipeline, folder, night, final=final, anew=anew)
    items = record.products(store, night) if night is not None else []
    was_numbered = night is not None and night.numbered_us is not None
    is_numbered = was_numbered and not anew
    unsynced = [(raw, row) for raw, row in found.usable if row is None or row.state == pipeline.states[0]]
    steps = []
    if site.has_nights:
        fresh_bytes = sum(raw.size_bytes for raw, row in found.usable if row is None)
        steps.append(PlanStep("register", pipeline.states[0], found.n_new, fresh_bytes, None))
    wait = unpaired(found.missing)
    if wait is None and unsynced and pipeline.position(target) >= pipeline.position(pipeline.born):
        if items and not is_numbered:  # all of it is paired anew
            steps += _steps_back(context, pipeline, items, pipeline.states[0])
            unsynced, items = list(found.usable), []
        known = [row.supplement for _, row in found.usable if row is not None and row.supplement is not None]
        parts = parts_of(
            unsynced,
            lambda item: item[1].supplement if item[1] else None,
            last=max(known, default=None),
            has_products=bool(items),
            is_numbered=is_numbered,
        )
        made, _ = pair_parts(
            [[raw for raw, _ in part] for part in parts.values()],
            items,
            lambda part, taken: _pair(context, pipeline, folder, part, taken),
        )
        items += [WorkItem(0, pipeline.born, product) for product in made]
        pair = _step(context, pipeline.step(pipeline.born), "forward", made)
        steps.append(replace(pair, files=len(unsynced)))
    outside = _outside(context, folder) if site.has_nights else None
    goal = Goal(target, final, late_reason, anew)
    room = space.needed_here(store, site, pipeline, items, target)
    if wait is None:
        outlook = _outlook(context, folder, goal, items, room, ahead)
        sending = pipeline.sending
        repairs = sending is not None and context.stages[sending.state].sender is not None
        prospect = foresee(outlook, target, items, repairs=repairs)
        steps += [_step(context, step, "forward", [item.product for item in moving]) for step, moving in prospect.taken]
        bad = [w for w in items if w.fault and not (repairs and sending and w.state == sending.state)]
        wait = prospect.wait or at_the_end(
            pipeline, site, folder.date, target, outside=outside, is_numbered=was_numbered, faults=bad
        )
    if wait and wait.cause in ("raw files", "numbers"):
        room = space.Need()  # nothing would be written
    return Plan(
        folder.pipeline,
        folder.date,
        tuple(step for step in steps if step.files),
        found.quarantined,
        space_bytes=room.night_bytes,
        destination_bytes=room.destination_bytes,
        outside=grouped(outside.undecided) if outside else "",
        stopped=wait.reason if wait else None,
    )


def is_numbered_by(context: Context, plan: Plan) -> bool:
    """Whether a night has all of its frame IDs once a plan is carried out."""
    numbering = context.pipelines[plan.pipeline].numbering
    return numbering is not None and any(step.state == numbering.state for step in plan.steps)


def _outside(context: Context, folder: NightFolder) -> Found:
    with context.store.read() as session:
        return decisions.look(session, context.config, folder)


def _outlook(
    context: Context,
    folder: NightFolder,
    goal: Goal,
    items: Sequence[WorkItem],
    room: space.Need,
    ahead: Collection[str],
) -> Outlook:
    config, store, pipeline = context.config, context.store, context.pipelines[folder.pipeline]

    def check_numbering() -> None:
        final, late_reason = goal.final, goal.late_reason
        foresee_numbering(store, config, pipeline, folder, items, final=final, late_reason=late_reason, ahead=ahead)

    site = site_of(store, config, folder.pipeline, folder.date)
    short = cache(lambda: space.shortfall(config, site, folder, room))  # once: later steps need no more
    now_us = store.clock()
    return Outlook(
        folder.date,
        pipeline,
        site,
        config.failures,
        now_us,
        check_numbering,
        lambda _: short(),
        closed=config.transfer.why_closed(now_us),
    )


def plan_rollback(context: Context, folder: NightFolder, to: str, *, withdraws: bool = False) -> Plan:
    """Return what `Machine.rollback` would do now; of a night that was mailed, what it would do if it `withdraws`.

    Raises
    ------
    UsageError, NotReady, CannotUndo
        What else `Machine.rollback` would refuse.
    """
    pipeline = context.pipelines[folder.pipeline]
    target = check_rollback(context, folder, to, withdraws=True)
    stopped = None if withdraws else why_not_withdrawn(context, folder, target)
    night = record.find_night(context.store, folder.pipeline, folder.date)
    items = record.products(context.store, night) if night is not None else []
    steps = _steps_back(context, pipeline, items, target)
    return Plan(folder.pipeline, folder.date, tuple(step for step in steps if step.files), stopped=stopped)


def _steps_back(context: Context, pipeline: Pipeline, items: Sequence[WorkItem], target: str) -> list[PlanStep]:
    steps = []
    for step in reversed(pipeline.steps[pipeline.position(target) :]):
        moving = [w.product for w in items if pipeline.position(w.state) >= pipeline.position(step.state)]
        steps.append(_step(context, step, "reverse", moving))
    return steps


def _step(context: Context, step: Step, direction: Direction, products: Sequence[Product]) -> PlanStep:
    verb, size, accuracy = step.verb(direction), space.size_of(products), ""
    if step.needs_copy:
        size, accuracy = space.compressed_size(products, record.compression_ratio(context.store))
    rate = record.seconds_per_byte(context.store, verb)
    seconds = None if rate is None else rate * size / engine.workers_of(context.config, context.jobs)
    return PlanStep(verb, step.target(direction), len(products), size, seconds, accuracy)


@dataclass(frozen=True, slots=True)
class _Raws:
    """Raw files of a night as a run would register them.

    `usable` are with their rows (None: new, or looked into again), `missing` those that are in no product and gone.
    """

    usable: Sequence[tuple[Raw, File | None]] = ()
    n_new: int = 0
    quarantined: tuple[tuple[str, str], ...] = ()
    missing: Sequence[str] = ()


def _raws(
    context: Context, pipeline: Pipeline, folder: NightFolder, night: Night | None, *, final: bool, anew: bool
) -> _Raws:
    store, config = context.store, context.config
    rows = {(r.folder, r.name): r for r in record.raws(store, night)} if night is not None else {}
    unstructured = record.unstructured(store, night, anew=anew) if night is not None else frozenset()
    has_products = night is not None and bool(record.states(store, night))
    decided = decide(
        raws_on_disk(folder, config.instrument),
        rows,
        config,
        pipeline.states[0],
        unstructured,
        is_taken_back=has_products and bool(unstructured) and pipeline.numbering is not None,
    )
    kept = [row for _, row in decided.kept] + [row for row, _ in decided.changed]
    usable: list[tuple[Raw, File | None]] = [
        (to_raw(night, row), row) for row in kept if night is not None and not row.quarantine_reason
    ]
    quarantined = []
    fresh = 0
    with engine.executor(config, context.jobs) as executor:
        files = list(whole_first(inspected(executor, config, decided.due, context.stop)))
    twins = Twins(store, pipeline, files)
    for file in files:
        raw, row, facts = file.raw, file.row, file.found
        with translated():
            reason = fault_of(file, config, store.clock(), twins, final=final)
        if reason is None and isinstance(facts, RawFacts):
            fresh += 1
            twins.add(raw.cube, facts)
            usable.append((_as_raw(raw, facts), None))
        elif row is None or not raw.is_as_registered(row) or reason != row.quarantine_reason:
            quarantined.append((f"{raw.stream.name}/{raw.name}", str(reason)))
    usable.sort(key=lambda item: (item[0].cube.parent.name, item[0].cube.name))  # as the rows come to be paired
    missing = [f"{row.folder}/{row.name}" for row in decided.missing]
    return _Raws(usable, fresh + len(quarantined), tuple(quarantined), missing)


def _as_raw(raw: RawOnDisk, facts: RawFacts) -> Raw:
    return Raw(
        cube=raw.cube,
        timing=raw.cube.with_suffix(".txt"),
        identity=facts.identity,
        camera=raw.stream.camera,
        n_frames=facts.used_frames,
        size_bytes=facts.size_bytes,
        mtime_ns=facts.mtime_ns,
        first_us=facts.first_us,
        last_us=facts.last_us,
        exposure_us=facts.exposure_us,
        cards=facts.cards,
        lost_frames=facts.lost_frames,
        timing_size_bytes=facts.timing_size_bytes,
        timing_mtime_ns=facts.timing_mtime_ns,
    )


def _pair(
    context: Context, pipeline: Pipeline, folder: NightFolder, raws: Sequence[Raw], taken_names: frozenset[str]
) -> Outcome:
    job = Job(
        night=folder.path,
        date=folder.date,
        folder=folder.path / context.config.instrument.product_folder,
        instrument=context.config.instrument,
        raws=tuple(raws),
        taken_names=taken_names,
    )
    loaded = context.stages[pipeline.born]
    with translated():
        return loaded.stage.forward(job=job, params=loaded.params)


def in_words(plan: Plan) -> list[str]:
    """Return a plan as lines for people."""
    lines = [f"night {plan.date} ({plan.pipeline})"]
    for step in plan.steps:
        estimate = "" if step.seconds is None else f", about {step.seconds:.0f} s"
        size = f"{step.accuracy} {megabytes(step.size_bytes)}".lstrip()
        lines.append(f"  {step.verb:<14} -> {step.state:<14} {counted(step.files, 'file'):>13}, {size}{estimate}")
    lines += [f"  quarantine     {name}: {reason}" for name, reason in alike(plan.quarantined)]
    if plan.outside:
        lines.append(f"  outside        may hold frames, not used: {plan.outside}")
    if plan.space_bytes or plan.destination_bytes:
        there = "at most" if any(step.accuracy == "at most" for step in plan.steps) else "about"
        lines.append(
            f"  space needed: at most {megabytes(plan.space_bytes)} in the night's folder,"
            f" {there} {megabytes(plan.destination_bytes)} at the destination"
        )
    if not plan.steps:
        lines.append("  nothing to do")
    if plan.stopped:
        lines.append(f"  stops there    {plan.stopped}")
    return lines


def megabytes(size_bytes: int) -> str:
    """Return a size for people."""
    return f"{size_bytes / 1e6:,.1f} MB"
