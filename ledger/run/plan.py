"""What a command would do: the same steps, counted and not taken. Nothing is written."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ledger.db.models import File, Night
from ledger.disk.nights import NightFolder
from ledger.disk.outside import Found, grouped
from ledger.disk.raws import RawOnDisk, raws_on_disk
from ledger.errors import NotReady, StateError
from ledger.ids.numbering import refuse_numbering
from ledger.night import decisions, record, space
from ledger.night.pipeline import Pipeline
from ledger.night.products import WorkItem, pair_parts, parts_of, to_raw
from ledger.run import engine
from ledger.run.advance import check_advance, held_up, need, own_segments, target_of, unproven
from ledger.run.context import Context
from ledger.run.pairing import refuse_products
from ledger.run.registration import Twins, fault_of, inspected, is_due, whole_first
from ledger.run.rollback import check_rollback
from ledger.run.steps import translated
from ledger.text import alike, counted
from stages.base import Job, Outcome, Product, Raw
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
        Of their frames, uncompressed.
    seconds : float or None
        Estimate from what the step took lately; None without history.
    """

    verb: str
    state: str
    files: int
    size_bytes: int
    seconds: float | None


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
        New raw files that would be put aside, and why.
    space_bytes : int
        Needed in the night's folder, at most.
    destination_bytes : int
        Needed at the destination, about.
    outside : str
        Files that may hold frames and would not be used, in words.
    stopped : str or None
        Why it would end before its goal.
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
) -> Plan:
    """Return what `Machine.advance` would do now, pairing included. Reads raw files, writes nothing.

    Raises
    ------
    BadInput, NotReady
        What `Machine.advance` would refuse.
    """
    pipeline = context.pipelines[folder.pipeline]
    target = target_of(context, folder, to)
    check_advance(context, folder, target)
    if anew:
        refuse_products(context, folder)
    night = record.find_night(context.store, folder.pipeline, folder.date)
    is_here = context.config.site(folder.pipeline).has_nights
    raws, new, quarantined = _raws(context, pipeline, folder, night, final=final, anew=anew) if is_here else ([], 0, ())
    items = record.products(context.store, night) if night is not None else []
    is_numbered = night is not None and night.numbered_us is not None and not anew
    unsynced = [(raw, row) for raw, row in raws if row is None or row.state == pipeline.states[0]]
    fresh = sum(raw.size_bytes for raw, row in raws if row is None)
    steps = [PlanStep("register", pipeline.states[0], new, fresh, None)] if is_here else []
    if unsynced and pipeline.position(target) >= pipeline.position(pipeline.born):
        if items and not is_numbered:  # all of it is paired anew
            steps += _steps_back(context, pipeline, items, pipeline.states[0])
            unsynced, items = raws, []
        known = [row.supplement for _, row in raws if row is not None and row.supplement is not None]
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
        pair = _step(context, pipeline.step(pipeline.born).forward, pipeline.born, made)
        steps.append(replace(pair, files=len(unsynced)))
    inside = [w for w in items if w.quarantine_reason is None]
    outside = _outside(context, folder) if is_here else None
    stopped = _refusal(context, pipeline, folder, items, target, final=final, late_reason=late_reason)
    room = need(context, pipeline, items, pipeline.born if stopped else target)
    stopped = stopped or space.shortfall(context.config, folder, room)
    reached = pipeline.position(pipeline.born if stopped else target)
    mine = [step for segment in own_segments(context, pipeline, target) for step in segment]
    closed = context.config.transfer.why_closed(context.store.clock())
    for step in mine:
        is_sent = any(pipeline.position(w.state) < pipeline.position(step.state) for w in inside) and step.needs_copy
        if stopped is None and (
            stopped := held_up(context, pipeline, step, folder, items) or (closed if is_sent else None)
        ):
            reached = pipeline.position(step.before)
    for step in (step for step in mine if pipeline.position(step.state) <= reached):
        waiting = (w for w in inside if is_here or not pipeline.position(w.state) < pipeline.position(mine[0].before))
        moving = [w.product for w in waiting if pipeline.position(w.state) < pipeline.position(step.state)]
        steps.append(_step(context, step.forward, step.state, moving))
    if (
        stopped is None and pipeline.sending and reached >= pipeline.position(pipeline.sending.state)
    ):  # others are copied again
        stopped = unproven(folder.date, [w for w in items if w.fault and w.state != pipeline.sending.state])
    if (
        stopped is None
        and outside
        and outside.blocks
        and pipeline.includes(pipeline.numbering, target)
        and not is_numbered
    ):
        stopped = outside.refusal(folder.date)
    return Plan(
        folder.pipeline,
        folder.date,
        tuple(step for step in steps if step.files),
        quarantined,
        space_bytes=room.night_bytes,
        destination_bytes=room.destination_bytes,
        outside=grouped(outside.undecided) if outside else "",
        stopped=stopped,
    )


def _outside(context: Context, folder: NightFolder) -> Found:
    with context.store.read() as session:
        return decisions.look(session, context.config, folder)


def _refusal(
    context: Context,
    pipeline: Pipeline,
    folder: NightFolder,
    items: Sequence[WorkItem],
    target: str,
    *,
    final: bool,
    late_reason: str | None,
) -> str | None:
    """Return why the night would stop before it is written, or None."""
    if (
        not context.config.site(pipeline.name).has_nights
        or pipeline.numbering is None
        or pipeline.position(target) <= pipeline.position(pipeline.born)
        or not items
    ):
        return None
    row = record.find_night(context.store, folder.pipeline, folder.date)
    night = row or Night(pipeline=folder.pipeline, date=folder.date, root=str(folder.root), created_us=0)
    try:
        refuse_numbering(
            context.store,
            context.config,
            pipeline,
            folder,
            night,
            items,
            final=final,
            late_reason=late_reason,
            remembers=False,
        )
    except (NotReady, StateError) as exc:
        return str(exc)
    return None


def plan_rollback(context: Context, folder: NightFolder, to: str, *, withdraws: bool = False) -> Plan:
    """Return what `Machine.rollback` would do now.

    Raises
    ------
    BadInput, NotReady, Irreversible
        What `Machine.rollback` would refuse.
    """
    pipeline = context.pipelines[folder.pipeline]
    target = check_rollback(context, folder, to, withdraws=withdraws)
    night = record.find_night(context.store, folder.pipeline, folder.date)
    items = record.products(context.store, night) if night is not None else []
    steps = _steps_back(context, pipeline, items, target)
    return Plan(folder.pipeline, folder.date, tuple(step for step in steps if step.files))


def _steps_back(context: Context, pipeline: Pipeline, items: Sequence[WorkItem], target: str) -> list[PlanStep]:
    steps = []
    for step in reversed(pipeline.steps[pipeline.position(target) :]):
        moving = [w.product for w in items if pipeline.position(w.state) >= pipeline.position(step.state)]
        steps.append(_step(context, step.reverse, step.before, moving))
    return steps


def _step(context: Context, verb: str, state: str, products: Sequence[Product]) -> PlanStep:
    size = space.size_of(products)
    rate = record.seconds_per_byte(context.store, verb)
    seconds = None if rate is None else rate * size / engine.workers_of(context.config, context.jobs)
    return PlanStep(verb, state, len(products), size, seconds)


def _raws(
    context: Context, pipeline: Pipeline, folder: NightFolder, night: Night | None, *, final: bool, anew: bool
) -> tuple[list[tuple[Raw, File | None]], int, tuple[tuple[str, str], ...]]:
    """Return usable raw files with their rows (None: new), how many are new, and what would be put aside."""
    rows = {(r.folder, r.name): r for r in record.raws(context.store, night)} if night is not None else {}
    waiting = record.unstructured(context.store, night, anew=anew) if night is not None else frozenset()
    unchecked = waiting if pipeline.numbering is not None else frozenset()  # and taken back
    found: list[tuple[Raw, File | None]] = []
    todo = []
    for raw in raws_on_disk(folder, context.config.instrument):
        row = rows.get((raw.stream.name, raw.name))
        is_same = row is not None and raw.is_as_registered(row)
        is_made = row is not None and row.state != pipeline.states[0] and row.id not in unchecked
        if (
            row is not None
            and night is not None
            and is_same
            and (is_made or not is_due(raw, row, context.config, waiting))
        ):
            if not row.quarantine_reason:
                found.append((to_raw(night, row), row))
        else:
            todo.append((raw, row))
    quarantined = []
    fresh = 0
    with engine.executor(context.config, context.jobs) as executor:
        files = list(whole_first(inspected(executor, context.config, todo, context.stop)))
    twins = Twins(context.store, pipeline, files)
    for file in files:
        raw, row, facts = file.raw, file.row, file.found
        with translated():
            reason = fault_of(file, context.config, context.store.clock(), twins, final=final)
        if reason is None and isinstance(facts, RawFacts):
            fresh += 1
            twins.add(raw.cube, facts)
            found.append((_as_raw(raw, facts), None))
        elif row is None or not raw.is_as_registered(row) or reason != row.quarantine_reason:
            quarantined.append((f"{raw.stream.name}/{raw.name}", str(reason)))
    found.sort(key=lambda item: (item[0].cube.parent.name, item[0].cube.name))  # as the rows come to be paired
    return found, fresh + len(quarantined), tuple(quarantined)


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
        lines.append(
            f"  {step.verb:<14} -> {step.state:<14} {counted(step.files, 'file'):>13},"
            f" {megabytes(step.size_bytes)}{estimate}"
        )
    lines += [f"  quarantine     {name}: {reason}" for name, reason in alike(plan.quarantined)]
    if plan.outside:
        lines.append(f"  outside        may hold frames, not used: {plan.outside}")
    if plan.space_bytes or plan.destination_bytes:
        lines.append(
            f"  space needed: at most {megabytes(plan.space_bytes)} in the night's folder,"
            f" about {megabytes(plan.destination_bytes)} at the destination"
        )
    if not plan.steps:
        lines.append("  nothing to do")
    if plan.stopped:
        lines.append(f"  stops there    {plan.stopped}")
    return lines


def megabytes(size_bytes: int) -> str:
    """Return a size for people."""
    return f"{size_bytes / 1e6:,.1f} MB"
