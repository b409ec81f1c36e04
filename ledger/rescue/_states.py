"""States of products in a ledger that is made anew: each along its declared edges, as far as its files prove it."""

from collections.abc import Mapping, Sequence

from ledger.errors import UsageError, translated
from ledger.night import record
from ledger.night.journal import Failure, Move
from ledger.night.pipeline import Step
from ledger.night.products import WorkItem
from ledger.report import Result
from ledger.rescue._files import Found, NightFiles, names_at, names_in, site_on_disk
from ledger.rescue._stand_ins import note_archives, note_removed
from ledger.run.machine import Machine
from ledger.run.steps import Steps
from stages import base
from stages.optional import Lister, Sender

#: Why a product is put into quarantine that has no frame ID, though others of its night have theirs.
UNDECIDED = (
    "it has no frame ID, and others of its night have: it may have been discarded when the database was lost; expected"
    " a decision: `ledger quarantine release` lets it go on, `ledger quarantine discard` gives it up"
)

#: Ending of a compressed cube.
PACKED = ".fz"


def restore_states(machine: Machine, night: NightFiles) -> Result:
    """Take the products of a night along the declared edges, as far as their files prove it."""
    if not night.products:
        return night.scanned
    with machine.holding(night.folder, "rebuild", {}) as (steps, result):
        scan = night.scanned
        result.registered, result.quarantined, result.salvaged = scan.registered, scan.quarantined, scan.salvaged
        result.moved.update(scan.moved)
        result.remarks.update(scan.remarks)
        result.failed += scan.failed
        note_archives(steps, night.archives)
        items = record.products(steps.journal.store, steps.journal.night)
        proven = [item for item in items if night.found[item.product.identity].recognised]
        for step in steps.journal.pipeline.steps[1:]:
            if not _restore_state(steps, step, proven, night.found):
                break
        _put_aside(steps, items, night.found)
        note_removed(steps, night.gone, items)
    return result


def _restore_state(steps: Steps, step: Step, items: Sequence[WorkItem], found: Mapping[str, Found]) -> bool:
    """Take products into one state; return whether any went on."""
    here = [item for item in items if item.state == step.before]
    loaded = steps.stages[step.state]
    pipeline = steps.journal.pipeline
    if not here:
        return False
    if step.scope == "file":
        moves = []
        for item in here:
            recognised = found[item.product.identity].recognised
            if recognised is not None and pipeline.position(recognised.state) >= pipeline.position(step.state):
                facts = recognised.facts if recognised.state == step.state else {}
                moves.append(Move(item, step.forward, facts, remarks={"restored": 1}))
        _commit(steps, step, moves)
    elif step.needs_copy and loaded.sender is not None:
        _restore_copies(steps, step, loaded.sender, here)
    elif loaded.lister is not None:
        _restore_manifests(steps, step, loaded.lister, here)
    return any(item.state == step.state for item in here)


def _commit(steps: Steps, step: Step, moves: Sequence[Move], manifest: base.Manifest | None = None) -> None:
    steps.journal.commit(moves, manifest)
    if moves:
        steps.result.moved[step.forward] += len(moves)


def _restore_copies(steps: Steps, step: Step, sender: Sender, items: Sequence[WorkItem]) -> None:
    """Read the copies at the destination, which is the only proof of them."""
    params = steps.stages[step.state].params
    steps.site = site_on_disk(steps.config, steps.folder)
    there = names_at(steps.config, steps.folder)
    sent = [item for item in items if item.product.files[0] in there]
    for batch in steps.portions(f"rebuild {steps.folder.date}: copies", sent):
        with translated():
            outcome = sender.verify_copies(job=steps.job(batch), params=params)
        evidence = {e.identity: e for e in outcome.evidence}
        moves = [
            Move(item, step.forward, evidence=evidence[item.product.identity], remarks={"restored": 1})
            for item in batch
            if item.product.identity in evidence
        ]
        _commit(steps, step, moves)
        steps.reporter.advance(len(moves))
        for item in batch:
            if reason := outcome.failures.get(item.product.identity):
                steps.result.failed.append((item.product.frame_id or item.product.name, reason))
    if any(item.state == step.state for item in sent):
        with translated():
            check = sender.verify_night(job=steps.job(sent), params=params)
        cure = f"`ledger verify {steps.site.named(steps.folder.date)} --repair` copies it again"
        steps.result.failed += [(name, f"{reason}; {cure}") for name, reason in check.damaged.items()]


def _restore_manifests(steps: Steps, step: Step, lister: Lister, items: Sequence[WorkItem]) -> None:
    named = tuple(site.destination / steps.folder.date for site in steps.config.sites(steps.journal.pipeline.name))
    job = steps.job(items, other_destinations=named)
    try:
        with translated():
            manifests = lister.read_manifests(job=job, params=steps.stages[step.state].params)
    except UsageError as exc:
        steps.result.failed.append((steps.folder.date, f"no manifest is in the ledger: {exc}"))
        return
    by_identity = {item.product.identity: item for item in items}
    for manifest in manifests:
        listed = [by_identity[line.identity] for line in manifest.lines]
        moves = [Move(item, step.forward, remarks={"restored": 1}) for item in listed if item.state == step.before]
        _commit(steps, step, moves, manifest)


def _put_aside(steps: Steps, items: Sequence[WorkItem], found: Mapping[str, Found]) -> None:
    """Deal with products whose files prove no state.

    What is compressed may be in the archive: it is left as it is, for somebody to decide. What is not is made anew of
    the raw files by the next advance, which removes these files first.
    """
    files, pipeline = names_in(steps.product_folder), steps.journal.pipeline
    expected = {name for item in items for name in item.product.files}
    is_numbered = any(each.number is not None for each in found.values())
    kept: dict[int, list[str]] = {}
    failures, undecided = [], []
    for item in items:
        unproven = found[item.product.identity]
        names = sorted(files & steps.names_of(item.product), key=lambda name: (not name.endswith(PACKED), name))
        is_left = unproven.recognised is None and bool(names)
        if not (is_left and names[0].endswith(PACKED)):
            if unproven.number is None and is_numbered:
                undecided.append(Failure(item, UNDECIDED, is_final=True))
            elif is_left:
                steps.result.remarks["products to be made anew of raw, as their files prove no state"] += 1
            continue
        kept[item.row_id] = names
        failures.append(
            Failure(
                item,
                f"left as it is by `ledger rebuild`: {unproven.reason}; mend it and rebuild; or, to make it anew of"
                f" raw, move {' and '.join(names)} away and release it (`ledger quarantine release`)",
                is_final=True,
            )
        )
    if kept:
        steps.journal.record_unproven_files(kept)
    for step in pipeline.steps[1:]:
        held = [failure for failure in (*failures, *undecided) if failure.item.state == step.before]
        if held:
            steps.journal.failed(held, step.forward, steps.config.failures)
            steps.result.failed += [(f.item.product.frame_id or f.item.product.name, f.error) for f in held]
    expected.update(*kept.values())
    possible = {name for item in items for name in steps.names_of(item.product)}
    steps.is_torn = bool(files & possible - expected)  # the next run removes what a product's state does not have
