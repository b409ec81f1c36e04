"""A night taken back to an earlier state; ``raw`` leaves its folder as it was."""

import os
from collections.abc import Sequence

from ledger.db.models import Night
from ledger.disk.access import is_folder
from ledger.disk.nights import NightFolder
from ledger.errors import CannotUndo, NotReady, UsageError, translated
from ledger.night import record
from ledger.night.given_out import tell, why_mailed, withdraw
from ledger.night.journal import Move
from ledger.night.pipeline import Pipeline
from ledger.night.products import WorkItem
from ledger.night.site import refuse_scattered
from ledger.run import batches, hold, night_files, outcomes, workers
from ledger.run.context import Context
from ledger.run.steps import Steps
from ledger.text import counted
from stages.base import Fact
from stages.transport.remote import Remote


def check_rollback(context: Context, folder: NightFolder, to: str, *, withdraws: bool) -> str:
    """Refuse a rollback that is not possible, before anything is changed; return the state by its whole name.

    Parameters
    ----------
    context : Context
        The ledger.
    folder : NightFolder
        The night.
    to : str
        The state, or an alias of it.
    withdraws : bool
        Whether a mailed manifest is withdrawn.

    Raises
    ------
    UsageError
        If there is no such night or state, the rest is the other host's part, or the night's manifest was mailed and
        `withdraws` is false.
    CannotUndo, NotReady
        If files that it needs were removed by `ledger prune`.
    """
    pipeline = context.pipelines[folder.pipeline]
    target = pipeline.resolve(to)
    night = record.find_night(context.store, folder.pipeline, folder.date)
    if night is None:
        raise UsageError(f"night {folder.date} is not in the ledger: nothing to roll back; see `ledger status`")
    site, sending = context.config.site(folder.pipeline), pipeline.sending
    if not site.has_nights and sending and pipeline.position(target) < pipeline.position(sending.before):
        raise UsageError(
            f"{target} is reached on {site.other} (transfer.source), once products are"
            f" {sending.before}: `ledger rollback {site.named(folder.date)} --to {sending.before}` here first, and the"
            " rest there"
        )
    if not withdraws and (why := why_not_withdrawn(context, folder, target)):
        raise UsageError(why)
    _refuse_pruned(context, pipeline, night, target)
    return target


def why_not_withdrawn(context: Context, folder: NightFolder, target: str) -> str | None:
    """Return why a night is taken back to `target` only if its manifest is withdrawn; None if it was not mailed."""
    night = record.find_night(context.store, folder.pipeline, folder.date)
    if night is None or not _unlists(context, context.pipelines[folder.pipeline], target):
        return None
    return why_mailed(context.store, night)


def _refuse_pruned(context: Context, pipeline: Pipeline, night: Night, target: str) -> None:
    """Refuse a rollback that needs files which `ledger prune` removed."""
    sending = pipeline.sending
    if sending is None or target == pipeline.last:
        return
    named = context.config.site(night.pipeline).named(night.date)
    gone = [row for row in record.raws(context.store, night) if row.pruned_us is not None]
    if gone and pipeline.position(target) < pipeline.position(sending.before):
        raise CannotUndo(
            f"night {night.date}: {counted(len(gone), 'raw file')} ({gone[0].folder}/{gone[0].name} is one) removed"
            f" by `ledger prune`, and before {sending.before} products are made of them; expected them here: put"
            f" them back and `ledger scan {named}`, or roll back to {sending.before}"
        )
    if pruned := [item for item in record.products(context.store, night) if item.is_pruned]:
        raise NotReady(
            f"night {night.date}: files of {counted(len(pruned), 'product')} were removed by `ledger prune`;"
            f" `ledger recall {named}` brings them back first, or notes that somebody put them back"
        )


def _unlists(context: Context, pipeline: Pipeline, target: str) -> bool:
    """Whether a rollback to `target` takes products out of their manifest."""
    listing = [s for s in pipeline.steps[1:] if context.stages[s.state].lister is not None]
    return any(pipeline.position(target) < pipeline.position(step.state) for step in listing)


def roll_back_night(steps: Steps, target: str, *, withdraws: bool) -> None:
    """Take a night that is held back to `target`.

    Parameters
    ----------
    steps : Steps
        The night, held.
    target : str
        The state.
    withdraws : bool
        Whether a mailed manifest is withdrawn; what has to be told to whom is written then.

    Raises
    ------
    UsageError
        If the night's manifest was mailed and `withdraws` is false, its copies lie elsewhere, or their folder is gone.
    NotReady
        If the host of its copies cannot be reached.
    """
    store, night = steps.journal.store, steps.journal.night
    refuse_scattered(store, night, steps.site)
    if _unlists(steps.context, steps.journal.pipeline, target):
        if why := why_mailed(store, night):
            if not withdraws:
                raise UsageError(why)
            _refuse_unreachable(steps)  # nobody is to forget what cannot be taken back now
        if withdrawal := withdraw(store, steps.config, night, steps.journal.lease):
            steps.result.notes.append(tell(*withdrawal, steps.site.named(night.date)))
    hold.settle_night(steps, rolls_back=True)
    revert(steps, target)


def _refuse_unreachable(steps: Steps) -> None:
    """Refuse to begin what cannot be ended: copies, and what is listed beside them, have to be taken back."""
    site = steps.site
    if site.destination_host is not None:
        with translated(), Remote(site.destination_host, site.destination, site.destination / "any") as there:
            there.free_bytes()
    elif not is_folder(site.destination):
        raise UsageError(
            f"destination {str(site.destination)!r}: no such folder; expected the night's copies there (is the disk"
            " mounted?); nothing was withdrawn, and nothing taken back"
        )


def revert(steps: Steps, target: str) -> None:
    """Take all products back to `target`, quarantined ones too; ``steps.result`` says if that was not possible."""
    store, night, pipeline = steps.journal.store, steps.journal.night, steps.journal.pipeline
    if unproven := _unproven(steps, target):
        steps.result.stopped = (
            f"{str(steps.product_folder / unproven[0])!r} is of a product whose files are not proven, and left"
            f" alone ({counted(len(unproven), 'file')} of such products): expected none on the way to {target}; see"
            " `ledger quarantine list`, and move them away"
        )
        return
    for segment in reversed(pipeline.segments(pipeline.last)):
        undone = [s for s in segment if pipeline.position(s.state) > pipeline.position(target)]
        items = record.products(store, night)
        if not undone or not items:
            continue
        if segment[0].scope == "file":
            workers.run_segment(steps, undone, "reverse", items)
        else:
            batches.run_step(steps, segment[0], "reverse", items)
        items = record.products(store, night)
        stuck = [w for w in items if w.state in {step.state for step in undone}]
        if stuck and segment[0].scope == "file" and pipeline.position(target) <= pipeline.position(pipeline.born):
            _drop(steps, stuck)
            names = {w.product.frame_id or w.product.name for w in stuck}
            steps.result.failed = [(name, error) for name, error in steps.result.failed if name not in names]
        for step in undone:
            beyond = [w for w in items if pipeline.position(w.state) >= pipeline.position(step.state)]
            night_files.write_night_files(steps, step, beyond)
        if steps.result.failed:
            steps.result.stopped = f"{counted(len(steps.result.failed), 'product')} could not be taken back"
            return
    if pipeline.position(target) < pipeline.position(pipeline.born):
        items = record.products(store, night)
        if items:
            steps.journal.unmake_products(items)
            steps.result.moved[pipeline.step(pipeline.born).reverse] += len(items)
    if not any(item.product.files for item in record.products(store, night)):
        night_files.remove_folder(steps)


def _unproven(steps: Steps, target: str) -> list[str]:
    """Return files on disk of products that have none by their state: `ledger rebuild` leaves what it cannot prove."""
    pipeline = steps.journal.pipeline
    if pipeline.position(target) >= pipeline.position(pipeline.born):
        return []
    items = (item for item in record.products(steps.journal.store, steps.journal.night) if item.state == pipeline.born)
    names = (name for item in items for name in item.product.files)
    return [name for name in names if os.path.lexists(steps.product_folder / name)]


def _drop(steps: Steps, items: Sequence[WorkItem]) -> None:
    """Take products that their stages cannot take back to where they were born, without their files.

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
    names = {name for item in items for name in (*item.product.files, *steps.names_of(item.product))}
    for step in reversed(steps.journal.pipeline.steps[1:]):
        here = [item for item in items if item.state == step.state]
        empty: dict[str, Fact] = dict.fromkeys(("sha256", "size_bytes", "timing_sha256")) | {"files": []}
        steps.journal.commit([Move(item, step.reverse, facts=empty, remarks={"dropped": 1}) for item in here])
    outcomes.remove_superseded(steps, {steps.folder.date: [steps.product_folder / name for name in sorted(names)]})
    steps.result.remarks["products dropped, as they could not be taken back"] += len(items)
