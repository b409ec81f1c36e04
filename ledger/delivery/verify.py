"""Copies at the destination are proven again, and copied again where they are not as they should be."""

from dataclasses import dataclass, field
from typing import Any

from ledger.delivery._sent import holding_sent
from ledger.disk.nights import NightFolder
from ledger.errors import Interrupted, LedgerError
from ledger.run.copies import ask, reverify, sender_of
from ledger.run.machine import Machine


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
        """Whether everything that was sent is proven, and something was; what nobody sent is only told."""
        return self.proven > 0 and not self.bad

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
    UsageError
        If no product of the night has been sent, or the destination is not there.
    NotReady
        If the destination cannot be read: then nothing is said of any copy.
    Busy, Interrupted
        Before the next batch.
    """
    found = Verified(folder.pipeline, folder.date)
    arguments = {"repair": repairs}
    with holding_sent(machine, folder, "verify", arguments) as (steps, result, step, sent):
        sender = sender_of(steps, step)
        before = (
            ask(steps, step, sender.verify_night, sent).damaged if repairs else {}
        )  # a repair of products mends it too
        for batch in steps.portions("verify", sent):
            look = reverify(steps, step, batch, {}, repairs=repairs)
            names = {item.product.identity: item.product.frame_id or item.product.name for item in batch}
            found.proven += len(look.proven)
            found.repaired += [names[identity] for identity in names if identity in look.repaired]
            found.bad += [(names[identity], reason) for identity, reason in look.failures.items()]
            steps.reporter.advance(len(look.proven))
        steps.obey()
        check = ask(steps, step, sender.verify_night, sent)
        if repairs and check.damaged:
            try:
                ask(steps, step, sender.repair, ())
            except Interrupted:
                raise
            except LedgerError as exc:
                found.bad.append((found.date, str(exc)))
            check = ask(steps, step, sender.verify_night, sent)
        found.repaired += sorted(before.keys() - check.damaged.keys())
        found.bad += sorted(check.damaged.items())
        found.extra += check.extra
        result.failed = list(found.bad)
    return found
