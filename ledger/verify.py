"""Copies at the destination are proven again, and copied again where they are not as they should be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ledger.book import Failure
from ledger.errors import BadInput, Interrupted, LedgerError
from ledger.flow import Step
from ledger.machine import Machine
from ledger.rows import Work
from ledger.scan import NightFolder
from ledger.steps import Steps, translated
from stages.base import Evidence

#: Products whose copies are read between two looks at whether to stop.
BATCH = 64


@dataclass(slots=True)
class Verified:
    """What the copies of one night are like.

    Attributes
    ----------
    pipeline, date : str
        The night.
    proven : int
        Products whose copies were read again, and are right; those that were copied again among them.
    bad : list
        Products, and files of the night, that are not right there: name and reason.
    extra : list
        What is there and was not sent, by path from the night's folder; nobody touches it.
    repaired : list
        Names of what was copied again, and is right now.
    """

    pipeline: str
    date: str
    proven: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Whether everything is proven, and something was."""
        return self.proven > 0 and not self.bad and not self.extra

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "pipeline": self.pipeline,
            "date": self.date,
            "proven": self.proven,
            "bad": [{"file": name, "reason": reason} for name, reason in self.bad],
            "extra": self.extra,
            "repaired": self.repaired,
        }


def verify(machine: Machine, folder: NightFolder, *, repairs: bool = False) -> Verified:
    """Read the copies of a night at its destination again; each that is right is a fresh proof in the ledger.

    Parameters
    ----------
    machine : Machine
        The ledger.
    folder : NightFolder
        The night.
    repairs : bool
        Copy what is not right again, with force.

    Raises
    ------
    BadInput
        If no product of the night has been sent, or the destination is not there.
    NotReady
        If the destination cannot be read: then nothing is said of any copy.
    Busy, Interrupted
        Before the next batch.
    """
    flow = machine.flows[folder.pipeline]
    sending = [step for step in flow.steps[1:] if step.needs_copy]
    step = next((step for step in sending if hasattr(machine.stages[step.state].stage, "verify_night")), None)
    if step is None or machine.store.find_night(folder.pipeline, folder.date) is None:
        raise BadInput(f"night {folder.date} ({folder.pipeline}): nothing of it was sent; see `ledger status`")
    found = Verified(folder.pipeline, folder.date)
    with machine.holding(folder, "verify", {"repair": repairs}) as (steps, result):
        machine.check_copies(steps)
        works = machine.store.works(steps.book.night)
        sent = [work for work in works if flow.position(work.state) >= flow.position(step.state)]
        if not sent:
            raise BadInput(f"night {folder.date} ({folder.pipeline}): no product was sent; see `ledger status`")
        steps.reporter.phase("verify", len(sent))
        for batch in _batches(sent, steps):
            _verify(steps, step, batch, found, repairs=repairs)
            steps.reporter.advance(len(batch))
        _verify_night(steps, step, sent, found, repairs=repairs)
        result.failed = list(found.bad)
    return found


def _batches(works: Sequence[Work], steps: Steps) -> Iterator[Sequence[Work]]:
    for start in range(0, len(works), BATCH):
        if steps.stop.signal_number is not None:
            raise Interrupted(steps.stop.signal_number)
        yield works[start : start + BATCH]


def _verify(steps: Steps, step: Step, batch: Sequence[Work], found: Verified, *, repairs: bool) -> None:
    """Prove the copies of some products."""
    outcome = _call(steps, step, "verify_copies", batch)
    proofs, failures = list(outcome.evidence), dict(outcome.failures)
    repaired: list[str] = []
    if repairs and failures:
        wrong = [work for work in batch if work.product.identity in failures]
        outcome = _call(steps, step, "repair", wrong)
        proofs += outcome.evidence
        repaired = [evidence.identity for evidence in outcome.evidence]
        failures = {identity: outcome.failures[identity] for identity in failures if identity in outcome.failures}
    _record(steps, batch, proofs, failures, len(repaired))
    names = {work.product.identity: work.product.frame_id or work.product.name for work in batch}
    found.proven += len(proofs)
    found.repaired += [names[identity] for identity in repaired]
    found.bad += [(names[identity], reason) for identity, reason in failures.items()]


def _verify_night(steps: Steps, step: Step, sent: Sequence[Work], found: Verified, *, repairs: bool) -> None:
    """Prove what the night has beside its products."""
    check = _call(steps, step, "verify_night", sent)
    damaged = check.damaged
    if repairs and damaged:
        try:
            _call(steps, step, "repair", ())
        except LedgerError as exc:
            found.bad.append((found.date, str(exc)))
        check = _call(steps, step, "verify_night", sent)
        found.repaired += sorted(damaged.keys() - check.damaged.keys())
    found.bad += sorted(check.damaged.items())
    found.extra += check.extra


def _call(steps: Steps, step: Step, name: str, works: Sequence[Work]) -> Any:
    loaded = steps.stages[step.state]
    job = steps.job(works, placed=frozenset(work.product.identity for work in works))
    if not works:
        job = replace(job, manifests=steps.manifests())
    with translated():
        return getattr(loaded.stage, name)(job=job, params=loaded.params)


def _record(
    steps: Steps, batch: Sequence[Work], proofs: Sequence[Evidence], failures: dict[str, str], n_repaired: int
) -> None:
    by_identity = {work.product.identity: work for work in batch}
    failed = [Failure(by_identity[identity], reason) for identity, reason in failures.items()]
    steps.book.verified(proofs, failed, {"unproven": len(failed), "repaired": n_repaired})
