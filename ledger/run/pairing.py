"""Raw files of a night become products: pairing, and pairing anew."""

import shlex
from collections.abc import Sequence

from ledger.disk.nights import NightFolder
from ledger.errors import UsageError
from ledger.night import record
from ledger.night.products import WorkItem, count_apart, pair_parts, parts_of, to_raw
from ledger.run.context import Context
from ledger.run.rollback import revert
from ledger.run.steps import Steps
from ledger.text import counted
from stages.base import Outcome
from stages.product import Raw


def refuse_products(context: Context, folder: NightFolder) -> None:
    """Refuse to pair a night anew that has products.

    Raises
    ------
    UsageError
        With how to take it back.
    """
    night = record.find_night(context.store, folder.pipeline, folder.date)
    if night is not None and record.states(context.store, night):
        raise UsageError(
            f"night {folder.date} has products, and --anew pairs raw files; expected a night that was taken back:"
            f" `ledger rollback {shlex.quote(str(folder.path))}` first"
        )


def take_back_unchecked(steps: Steps) -> None:
    """Take products back whose night is to be numbered, if less of its raw files was checked than is now."""
    pipeline = steps.journal.pipeline
    if pipeline.numbering is None or not record.unstructured(steps.journal.store, steps.journal.night):
        return
    if record.states(steps.journal.store, steps.journal.night):
        revert(steps, pipeline.states[0])


def pair_night(steps: Steps, *, anew: bool) -> None:
    """Give every frame of the raw files that are in no product yet its product.

    Parameters
    ----------
    steps : Steps
        The night, held.
    anew : bool
        Pair all raw files of a night that was numbered before, and not by themselves those that came since.
    """
    journal, pipeline = steps.journal, steps.journal.pipeline
    store, night = journal.store, journal.night
    if not record.unsynced(store, night, pipeline.states[0]):
        return
    raws = [row for row in record.raws(store, night) if not row.quarantine_reason]
    new = [row for row in raws if row.state == pipeline.states[0]]
    items = record.products(store, night)
    if items and not _is_known_outside(steps, items):  # products that nobody outside knows are made anew
        revert(steps, pipeline.states[0])
        if steps.result.stopped:
            return
        new, items = raws, []
    is_numbered = record.is_numbered(store, night) and not anew
    step = pipeline.step(pipeline.born)
    steps.reporter.phase(step.state, len(new))
    current = {row.identity: row for row in record.raws(store, night)}  # read again: the revert has changed them
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

    def pair(part: Sequence[Raw], taken_names: frozenset[str]) -> Outcome:
        return steps.call(step, "forward", steps.job(raws=tuple(part), taken_names=taken_names))

    made, remarks = pair_parts([[to_raw(night, row) for row in part] for part in parts.values()], items, pair)
    journal.make_products(steps.config.instrument.product_folder, made, parts, remarks)
    steps.result.moved[step.forward] += len(new)
    steps.result.remarks.update(remarks)
    steps.reporter.advance(len(new))


def _is_known_outside(steps: Steps, items: Sequence[WorkItem]) -> bool:
    """Whether products of the night have frame IDs, or (in a pipeline without) copies: then they stay."""
    pipeline = steps.journal.pipeline
    if pipeline.numbering is None:
        sent = {step.state for step in pipeline.steps if step.needs_copy}
        return any(item.state in sent for item in items)
    return record.is_numbered(steps.journal.store, steps.journal.night)
