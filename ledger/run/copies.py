"""Copies at the destination, read again where they lie."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ledger.errors import LedgerError, StateError
from ledger.night.pipeline import Step
from ledger.night.products import WorkItem, put_back
from ledger.run.steps import Steps
from stages.optional import Sender

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reverified:
    """What copies at the destination were found to be, by the products' identities.

    Attributes
    ----------
    proven : frozenset of str
        Copies that are right, repaired ones included.
    repaired : frozenset of str
        Copies that were made again.
    failures : mapping of str to str
        Copies that are not right, and what was found.
    """

    proven: frozenset[str]
    repaired: frozenset[str]
    failures: Mapping[str, str]


def sender_of(steps: Steps, step: Step) -> Sender:
    """Return the stage of the step that sends products.

    Raises
    ------
    StateError
        If it offers nothing to prove its copies by.
    """
    if (sender := steps.stages[step.state].sender) is None:
        raise StateError(f"state {step.state!r}: its stage proves no copies; expected `verify_copies`")
    return sender


def ask(steps: Steps, step: Step, function: Callable[..., T], items: Sequence[WorkItem]) -> T:
    """Call a function of the stage that sends products, for `items`, or (with none) for the night itself."""
    job = steps.job(items, placed=frozenset(item.product.identity for item in items))
    if not items:
        job = replace(job, manifests=steps.manifests())
    with steps.translated():
        return function(job=job, params=steps.stages[step.state].params)


def reverify(
    steps: Steps, step: Step, items: Sequence[WorkItem], detail: Mapping[str, Any], *, repairs: bool = False
) -> Reverified:
    """Read copies again and record what is found: fresh proofs, or what is wrong.

    Parameters
    ----------
    steps : Steps
        The night, held.
    step : Step
        The one that sends products.
    items : sequence of WorkItem
        Products that were sent.
    detail : mapping
        Added to the night's entry ``verified``.
    repairs : bool
        Copy again what is not right.

    Raises
    ------
    UsageError, NotReady
        If the destination cannot be read: then nothing is recorded of any copy.
    """
    sender = sender_of(steps, step)
    outcome = ask(steps, step, sender.verify_copies, items)
    found = outcome.failures
    proven = frozenset(evidence.identity for evidence in outcome.evidence)
    steps.journal.verified(items, outcome.evidence, found, {"unproven": len(found), **detail})
    if not (repairs and found):
        return Reverified(proven, frozenset(), _with_advice(steps, items, found))
    outcome = ask(steps, step, sender.repair, [item for item in items if item.product.identity in found])
    repaired = frozenset(evidence.identity for evidence in outcome.evidence)
    steps.journal.verified(items, outcome.evidence, {}, {"repaired": len(repaired)}, how="repaired")
    left = {key: outcome.failures.get(key, fault) for key, fault in found.items() if key not in repaired}
    return Reverified(proven | repaired, repaired, _with_advice(steps, items, left))


def reverify_unwithdrawn(steps: Steps, step: Step, items: Sequence[WorkItem], reasons: Mapping[str, str]) -> None:
    """Read copies again that could not be withdrawn: one that is no longer the ledger's is refuted."""
    try:
        reverify(steps, step, items, {"left": len(items)})
    except LedgerError:  # unknown: not trusted until they can be read
        steps.journal.verified(items, (), {key: reasons[key] for key in (w.product.identity for w in items)}, {})


def _with_advice(steps: Steps, items: Sequence[WorkItem], failures: Mapping[str, str]) -> Mapping[str, str]:
    """Return failures of copies; of a pruned product, with what to do, as nothing here can be copied again."""
    pruned = {item.product.identity: item for item in items if item.is_pruned}
    named = steps.site.named(steps.folder.date)
    return {
        key: f"{pruned[key].fault}; {put_back(steps.product_folder, pruned[key].product.files, named)}"
        if key in pruned
        else reason
        for key, reason in failures.items()
    }
