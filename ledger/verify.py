"""Copies at the destination are proven again, and copied again where they are not as they should be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ledger.book import Failure
from ledger.errors import Interrupted, LedgerError
from ledger.flow import Step
from ledger.machine import Machine
from ledger.rows import Work
from ledger.scan import NightFolder
from ledger.sent import holding_sent
from ledger.steps import Steps
from stages.base import Evidence


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
    found = Verified(folder.pipeline, folder.date)
    arguments = {"repair": repairs}
    with holding_sent(machine, folder, "verify", arguments, needs="verify_night") as (steps, result, step, sent):
        for batch in steps.portions("verify", sent):
            _verify(steps, step, batch, found, repairs=repairs)
        steps.obey()
        _verify_night(steps, step, sent, found, repairs=repairs)
        result.failed = list(found.bad)
    return found


def _verify(steps: Steps, step: Step, batch: Sequence[Work], found: Verified, *, repairs: bool) -> None:
    """Prove the copies of some products."""
    outcome = call(steps, step, "verify_copies", batch)
    proofs, failures = list(outcome.evidence), dict(outcome.failures)
    repaired: list[str] = []
    if repairs and failures:
        wrong = [work for work in batch if work.product.identity in failures]
        outcome = call(steps, step, "repair", wrong)
        proofs += outcome.evidence
        repaired = [evidence.identity for evidence in outcome.evidence]
        left = {*outcome.failures, *outcome.left}
        failures = {i: outcome.failures.get(i, reason) for i, reason in failures.items() if i in left}
    record(steps, batch, proofs, failures, {"unproven": len(failures), "repaired": len(repaired)})
    names = {work.product.identity: work.product.frame_id or work.product.name for work in batch}
    found.proven += len(proofs)
    steps.reporter.advance(len(proofs))
    found.repaired += [names[identity] for identity in repaired]
    found.bad += [(names[identity], reason) for identity, reason in failures.items()]


def _verify_night(steps: Steps, step: Step, sent: Sequence[Work], found: Verified, *, repairs: bool) -> None:
    """Prove what the night has beside its products."""
    check = call(steps, step, "verify_night", sent)
    damaged = check.damaged
    if repairs and damaged:
        try:
            call(steps, step, "repair", ())
        except Interrupted:
            raise
        except LedgerError as exc:
            found.bad.append((found.date, str(exc)))
        check = call(steps, step, "verify_night", sent)
        found.repaired += sorted(damaged.keys() - check.damaged.keys())
    found.bad += sorted(check.damaged.items())
    found.extra += check.extra


def call(steps: Steps, step: Step, name: str, works: Sequence[Work]) -> Any:
    """Call a function of the stage that sends products, for some of them or (with none) for the night."""
    loaded = steps.stages[step.state]
    job = steps.job(works, placed=frozenset(work.product.identity for work in works))
    if not works:
        job = replace(job, manifests=steps.manifests())
    with steps.translated():
        return getattr(loaded.stage, name)(job=job, params=loaded.params)


def record(
    steps: Steps,
    batch: Sequence[Work],
    proofs: Sequence[Evidence],
    failures: Mapping[str, str],
    detail: Mapping[str, Any],
) -> None:
    """Record which copies of some products were proven again, and why others (by identity) were not."""
    by_identity = {work.product.identity: work for work in batch}
    failed = [Failure(by_identity[identity], reason) for identity, reason in failures.items()]
    steps.book.verified(proofs, failed, detail)
