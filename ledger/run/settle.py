"""Settling: every run begins by putting in order what dead runs left.

What a dead run left is known from its entries ``started`` without an end, and from the rows: the product folder must
hold exactly the files that they name. Only files that the ledger itself makes are touched: its temporaries, and files
of names that a product of this night can have.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ledger.disk import durable
from ledger.disk.access import translate_read_errors
from ledger.errors import LedgerError, NotReady, UsageError
from ledger.night import record
from ledger.night.journal import Pending
from ledger.night.pipeline import Direction, Step
from ledger.night.products import WorkItem
from ledger.run import batches
from ledger.run.steps import Steps
from stages import base
from stages.fits.raw_headers import STAND_INS
from stages.transport.remote_folder import INCOMING, RECALLED


class Remedy(StrEnum):
    """What is done about a step that began and did not end."""

    HEADER = "its header and names are written again as its row says"
    REPEAT = "an advance repeats it, a rollback undoes it"
    UNDO = "what it did outside of the night's folder is undone"
    FINISH = "it is finished"
    REMOVE = "what it left is removed"


@dataclass(frozen=True, slots=True)
class OpenStep:
    """A step that products began and did not end, and what the next run does about it."""

    step: Step
    direction: Direction
    pending: Sequence[Pending]
    items: Sequence[WorkItem]
    remedy: Remedy


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What dead runs left of a night: steps, and files that no row names."""

    steps: Sequence[OpenStep]
    files: Sequence[Path]


def find_leftovers(steps: Steps, items: Sequence[WorkItem]) -> Leftovers:
    """Return what the next advance of this night will settle; nothing is changed."""
    open_steps = _open_steps(steps, items, steps.journal.pending(), rolls_back=False)
    rewritten = [w for found in open_steps if found.remedy is Remedy.HEADER for w in found.items]
    kept = {name for item in rewritten for name in steps.names_of(item.product)}
    files = [path for path in _strays(steps, items, steps.journal.suspects()) if path.name not in kept]
    return Leftovers(open_steps, files)


def settle(steps: Steps, *, rolls_back: bool) -> None:
    """Finish or undo what dead runs of this night left.

    Parameters
    ----------
    steps : Steps
        Of the night, held.
    rolls_back : bool
        Whether the run rolls back: then what a dead run may have done outside of the night's folder (copies,
        manifests) is undone; otherwise the run repeats it.
    """
    pending, suspects = steps.journal.pending(), steps.journal.suspects()
    items = (
        record.products(steps.journal.store, steps.journal.night) if pending or suspects else []
    )  # else no product is concerned
    repeated: list[Pending] = []
    torn: list[tuple[str, list[WorkItem]]] = []
    for found in _open_steps(steps, items, pending, rolls_back=rolls_back):
        if found.remedy is Remedy.HEADER:
            unrestored = _restore_headers(steps, found, rolls_back=rolls_back)
            torn += [(found.step.verb(found.direction), unrestored)] if unrestored else []
        elif found.remedy is Remedy.REPEAT:
            repeated += found.pending  # open until it is done, or a rollback undoes it
        elif found.remedy in (Remedy.UNDO, Remedy.FINISH):
            _settle_together(steps, found.step, found.direction, found.items)
    torn_identities = {item.product.identity for _, unrestored in torn for item in unrestored}
    strays = _strays(steps, items, suspects - torn_identities)  # either name of theirs may be the right one yet
    if strays:
        steps.journal.lease.confirm()
        with _removing(steps):
            steps.remove(strays)
    for verb, unrestored in torn:
        steps.journal.started(unrestored, verb)  # open in this run, as those before it are closed now
    pending = [p for p in pending if p not in repeated and p.identity not in torn_identities]
    if pending or suspects:
        steps.journal.settled(pending)
        steps.result.settled += [f"{p.name}: {p.edge} had begun and not ended" for p in pending]
    steps.result.settled += [f"{path.name}: left behind, removed" for path in strays]
    steps.is_torn |= bool(torn)


def _open_steps(
    steps: Steps, items: Sequence[WorkItem], pending: Sequence[Pending], *, rolls_back: bool
) -> list[OpenStep]:
    by_identity = {item.product.identity: item for item in items}
    directions: tuple[Direction, ...] = ("forward", "reverse")
    found = []
    for step in steps.journal.pipeline.steps:
        for direction in directions:
            group = [p for p in pending if p.edge == step.verb(direction)]
            concerned = [by_identity[p.identity] for p in group if p.identity in by_identity]
            if concerned:
                remedy = _remedy(steps, step, direction, rolls_back=rolls_back)
                found.append(OpenStep(step, direction, group, concerned, remedy))
    return found


def _remedy(steps: Steps, step: Step, direction: Direction, *, rolls_back: bool) -> Remedy:
    if steps.stages[step.state].is_header_only:
        return Remedy.HEADER
    if step.scope == "file":
        return Remedy.REMOVE
    if direction == "reverse":
        return Remedy.FINISH
    return Remedy.UNDO if rolls_back else Remedy.REPEAT


def _restore_headers(steps: Steps, found: OpenStep, *, rolls_back: bool) -> list[WorkItem]:
    """Write headers and names as the rows say again: a kill may have torn them.

    Returns
    -------
    list of WorkItem
        Products of which this is not possible, and which hold up no other: files that are gone fail in the next
        step too, and a rollback takes back or drops what it can. Their steps stay open.

    Raises
    ------
    NotReady
        If a header that may be torn would reach the next state.
    """
    back: Direction = "reverse" if found.direction == "forward" else "forward"
    unrestored = []
    for item in found.items:
        if item.state != found.step.source(found.direction) or not item.product.files:
            continue
        try:
            outcome = steps.call(found.step, back, steps.job([item]))
            durable.put_in_place(outcome, steps.config.permissions.group)
        except (OSError, base.BadInput, LedgerError) as exc:
            name = item.product.frame_id or item.product.name
            problem = f"{name}: its header may be torn and cannot be written again ({exc})"
            if not (rolls_back or isinstance(exc, FileNotFoundError)):
                raise NotReady(f"{problem}; correct that, or roll the night back") from exc
            steps.result.remarks[problem] += 1
            unrestored.append(item)
    return unrestored


def _settle_together(steps: Steps, step: Step, direction: Direction, items: Sequence[WorkItem]) -> None:
    """Undo what a forward step did outside of the night's folder; finish a reverse one."""
    if direction == "reverse":
        batches.run_step(steps, step, "reverse", [w for w in items if w.state == step.state])
        if steps.is_torn:  # it stays open
            name, reason = steps.result.failed[-1]
            raise NotReady(f"{name}: {reason}")
        return
    begun = [w for w in items if w.state == step.before]
    if begun:
        outcome = steps.call(step, "reverse", steps.job(begun, one_more=True))
        if outcome.failures:
            name, reason = next(iter(outcome.failures.items()))
            raise UsageError(f"{name}: {reason}")
        if outcome.unfinished:
            raise NotReady(next(iter(outcome.unfinished.values())))
        with _removing(steps):
            steps.remove(outcome.superseded)


@contextmanager
def _removing(steps: Steps) -> Iterator[None]:
    """Translate errors of the system while files that a dead run left are removed."""
    try:
        yield
    except OSError as exc:
        raise NotReady(
            f"{exc.filename or steps.folder.path}: left by a run that died, and cannot be removed"
            f" ({exc.strerror or exc}); expected a folder that may be written; run the same command again"
        ) from exc


def _strays(steps: Steps, items: Sequence[WorkItem], suspects: set[str]) -> list[Path]:
    """Return temporaries, and files that a run which did not end in order left under a product's names.

    A file that a product of such a run could have, and by its row does not have, was about to be superseded or had
    just been made. Files of other products are not touched: they may be somebody's own.
    """
    expected = {name for item in items for name in item.product.files}
    products = [item.product for item in items if item.product.identity in suspects]
    unexpected = {name for product in products for name in steps.names_of(product)} - expected
    strays = _withdrawn_manifests(steps)
    for folder, names in ((steps.product_folder, unexpected), (steps.folder.path, set[str]())):
        with translate_read_errors(folder):
            found = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208  names alone: there are up to 10^5
        for path in sorted(folder / n for n in found if n.startswith(base.TEMPORARY_PREFIX) or n in names):
            is_link = path.is_symlink()  # its target is not ours, and must not be written through
            is_ours = path.name in {RECALLED, STAND_INS} or path.name.startswith(INCOMING)  # of folders
            if is_link or not path.is_dir() or is_ours:
                strays.append(path)
    return strays


def _withdrawn_manifests(steps: Steps) -> list[Path]:
    """Return manifests on disk that were withdrawn, and still have the bytes that the ledger wrote."""
    manifests = record.all_manifests(steps.journal.store, steps.journal.night)
    valid = {manifest.name for manifest in manifests if manifest.withdrawn_us is None}
    found: dict[Path, bool] = {}
    for manifest in manifests:
        path = steps.folder.path / manifest.name
        with translate_read_errors(path):
            if manifest.name not in valid and path.is_file():
                found[path] = found.get(path, False) or hashlib.sha256(path.read_bytes()).hexdigest() == manifest.sha256
    return [path for path, is_ours in found.items() if is_ours]
