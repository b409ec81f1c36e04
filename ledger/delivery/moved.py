"""Copies that were moved to another disk or host: proven where they are now, and on record there."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ledger.config.site import Site
from ledger.delivery.copies import holding_sent
from ledger.disk.access import is_folder
from ledger.disk.nights import NightFolder
from ledger.errors import Interrupted, LedgerError, UsageError, translated
from ledger.night.site import copies_at, shown
from ledger.run.copies import ask, sender_of
from ledger.run.machine import Machine
from stages.base import Evidence
from stages.transport import proof, remote_folder


@dataclass(frozen=True, slots=True)
class Relocated:
    """A night that is on record elsewhere than where the configuration has such nights, or their copies.

    Attributes
    ----------
    pipeline, date : str
        The night.
    before, now : str
        The root, or the destination, on record until now, and that of the configuration.
    faults : list of str
        Why the record was not changed.
    """

    pipeline: str
    date: str
    before: str
    now: str
    faults: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return {
            "pipeline": self.pipeline,
            "date": self.date,
            "from": self.before,
            "to": self.now,
            "faults": self.faults,
        }


def is_there(site: Site, date: str) -> bool:
    """Whether the destination of today has a folder of a night.

    Raises
    ------
    UsageError
        If there is no destination.
    NotReady
        If it cannot be looked at.
    """
    if site.destination_host is None:
        if not is_folder(site.destination):
            raise UsageError(
                f"destination {str(site.destination)!r}: no such folder; expected copies there (is the disk mounted?)"
            )
        return is_folder(site.destination / date)
    with translated():
        return date in remote_folder.names_at(site.destination_host, site.destination)


def follow(machine: Machine, folders: Iterable[NightFolder], *, changes: bool) -> Iterator[Relocated]:
    """Look for nights' copies at today's destination that are on record elsewhere; change the record of each night.

    All of its copies are read there, and have to be right: they get proofs of their own, and those of before are
    withdrawn. With the destination set back, the same call takes it back.

    Parameters
    ----------
    machine : Machine
        The ledger.
    folders : iterable of NightFolder
        The nights.
    changes : bool
        Whether the record is changed, or only looked at.

    Yields
    ------
    Relocated
        Every such night.

    Raises
    ------
    Busy, Interrupted
        Before the next night.
    """
    for folder in folders:
        today, before = machine.config.site(folder.pipeline), copies_at(machine.store, folder.pipeline, folder.date)
        now = (today.destination_name, today.destination)
        if before is None or before == now:
            continue
        found = Relocated(folder.pipeline, folder.date, shown(*before), shown(*now))
        try:
            if not is_there(today, folder.date):
                place = shown(now[0], now[1] / folder.date)
                raise UsageError(f"{place}: no such folder; expected its copies there")
            _follow(machine, folder, found, changes=changes)
        except Interrupted:
            raise
        except LedgerError as exc:
            found.faults.append(str(exc))
        yield found


def _follow(machine: Machine, folder: NightFolder, found: Relocated, *, changes: bool) -> None:
    arguments = {"from": found.before, "to": found.now}
    with holding_sent(machine, folder, "relocate", arguments, follows=True) as (steps, result, step, sent):
        sender = sender_of(steps, step)
        proofs: list[Evidence] = []
        for batch in steps.portions("relocate", sent):
            outcome = ask(steps, step, sender.verify_copies, batch)
            names = {item.product.identity: item.product.frame_id or item.product.name for item in batch}
            found.faults.extend(f"{names[key]}: {reason}" for key, reason in outcome.failures.items())
            proofs += outcome.evidence
            steps.reporter.advance(len(outcome.evidence))
        steps.obey()
        check = ask(steps, step, sender.verify_night, sent)
        found.faults.extend(f"{name}: {reason}" for name, reason in sorted(check.damaged.items()))
        # what `verify --repair` mends is where copies are on record
        found.faults[:] = [fault.removesuffix(f"; {proof.AGAIN}") for fault in found.faults]
        if changes and not found.faults:
            steps.journal.relocated(sent, proofs, found.before, found.now)
        result.failed = [(folder.date, fault) for fault in found.faults]
