"""Products whose files here are missing or damaged are brought back from the destination, proven."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ledger.delivery._sent import holding_sent
from ledger.disk import durable
from ledger.disk.access import translate_read_errors, writing
from ledger.disk.nights import NightFolder
from ledger.night.pipeline import Step
from ledger.night.products import WorkItem
from ledger.run.copies import reverify, sender_of
from ledger.run.machine import Machine
from ledger.run.night_files import make_folder
from ledger.run.steps import Steps
from stages.transport import proof


@dataclass(slots=True)
class Recalled:
    """What was brought back of one night.

    Attributes
    ----------
    pipeline, date : str
        The night.
    whole : int
        Products whose files are here, with the bytes that are on record.
    brought : list of str
        Those whose files were brought back.
    failed : list
        Those whose files could not be: name and reason.
    """

    pipeline: str
    date: str
    whole: int = 0
    brought: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "pipeline": self.pipeline,
            "date": self.date,
            "whole": self.whole,
            "brought": self.brought,
            "failed": [{"file": name, "reason": reason} for name, reason in self.failed],
        }


def recall(machine: Machine, folder: NightFolder) -> Recalled:
    """Bring back what is missing or damaged of a night's products; what is whole is not touched.

    Parameters
    ----------
    machine : Machine
        The ledger.
    folder : NightFolder
        The night.

    Raises
    ------
    UsageError
        If no product of the night has been sent, or the destination is not there.
    NotReady
        If the destination cannot be read, or the night not be written.
    Busy, Interrupted
        Before the next batch.
    """
    found = Recalled(folder.pipeline, folder.date)
    with holding_sent(machine, folder, "recall", {}) as (steps, result, step, sent):
        make_folder(steps)
        for batch in steps.portions("recall", sent):
            n_failed = len(found.failed)
            whole = {item.product.identity: item for item in batch if _is_whole(steps, item)}
            back = [(item.row_id, item.product) for item in whole.values() if item.is_pruned]  # somebody put them there
            steps.journal.returned([(row_id, p.identity, p.frame_id or p.name) for row_id, p in back])
            _bring_back(steps, step, [item for item in batch if item.product.identity not in whole], found)
            steps.reporter.advance(len(batch) - len(found.failed) + n_failed)
        found.whole = len(sent) - len(found.brought) - len(found.failed)
        result.failed = list(found.failed)
    return found


def _is_whole(steps: Steps, item: WorkItem) -> bool:
    """Whether the files of a product are here, with the bytes that are on record."""
    product = item.product
    for name, sha256 in zip(product.files, (product.sha256, product.timing_sha256), strict=False):
        path = steps.product_folder / name
        with translate_read_errors(path):
            if not path.is_file() or path.is_symlink() or proof.digest(path).sha256 != sha256:
                return False
    return True


def _bring_back(steps: Steps, step: Step, items: Sequence[WorkItem], found: Recalled) -> None:
    if not items:
        return
    sender = sender_of(steps, step)
    with steps.translated():
        outcome = sender.recall(job=steps.job(items), params=steps.stages[step.state].params)
    steps.journal.lease.confirm()
    with writing(steps.product_folder, "free or mount the disk"):
        durable.put_in_place(outcome, steps.config.permissions.group)
    items = [item for item in items if item.product.identity not in outcome.left]
    steps.journal.recalled(items, outcome.failures)
    if failed := [item for item in items if item.product.identity in outcome.failures]:
        look = reverify(steps, step, failed, {"recall": len(failed)})
        outcome = replace(outcome, failures={**outcome.failures, **look.failures})
    for item in items:
        name = item.product.frame_id or item.product.name
        if reason := outcome.failures.get(item.product.identity):
            found.failed.append((name, reason))
        else:
            found.brought.append(name)
    if outcome.left:
        steps.obey()
