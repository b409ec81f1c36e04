"""Copies that were moved to another disk or host: proven where they are now, and on record there."""

from collections.abc import Collection, Iterable, Iterator

from ledger.config.site import Site
from ledger.delivery.copies import holding_sent
from ledger.disk.access import is_folder, translate_read_errors
from ledger.disk.nights import NightFolder
from ledger.errors import Interrupted, LedgerError, UsageError, translated
from ledger.night.given_out import mailed
from ledger.night.listed import listed
from ledger.night.site import copies_elsewhere, shown
from ledger.report import Relocated
from ledger.run.copies import ask, sender_of
from ledger.run.machine import Machine
from ledger.run.steps import Steps
from stages.base import Evidence
from stages.transport import proof, remote_folder


def dates_there(site: Site) -> set[str]:
    """Return the names of what the destination of today has, the folders of nights among them.

    Raises
    ------
    UsageError
        If there is no destination.
    NotReady
        If it cannot be looked at.
    """
    if site.destination_host is not None:
        with translated():
            return remote_folder.names_at(site.destination_host, site.destination)
    if not is_folder(site.destination):
        raise UsageError(
            f"destination {str(site.destination)!r}: no such folder; expected copies there (is the disk mounted?)"
        )
    with translate_read_errors(site.destination):
        return {path.name for path in site.destination.iterdir() if path.is_dir()}


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
    there: dict[str, set[str]] = {}
    for folder in folders:
        today = machine.config.site(folder.pipeline)
        if (before := copies_elsewhere(machine.store, today, folder.date)) is None:
            continue
        now = (today.destination_name, today.destination)
        found = Relocated(folder.pipeline, folder.date, shown(*before), shown(*now))
        try:
            if folder.pipeline not in there:
                there[folder.pipeline] = dates_there(today)
            if folder.date not in there[folder.pipeline]:
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
            known = {line.identity for _, line in mailed(machine.store, steps.journal.night)}
            if note := listed_elsewhere(steps, {item.product.identity for item in sent} - known):
                found.notes.append(note)
        result.failed = [(folder.date, fault) for fault in found.faults]


def listed_elsewhere(steps: Steps, identities: Collection[str]) -> str | None:
    """Return that products are listed where they are not any more, and what to do about it; None if none is.

    Parameters
    ----------
    steps : Steps
        The night, held.
    identities : collection of str
        Of the products.
    """
    for line, path in listed(steps.journal.store, steps.journal.night):
        if line.identity in identities and line.path != path:
            before = next(step.before for step in steps.journal.pipeline.steps if steps.stages[step.state].lister)
            night = steps.site.named(steps.folder.date)
            return (
                f"{line.frame_id} is listed at {line.path}, and lies at {path} since it was moved; `ledger rollback"
                f" {night} --to {before}` and `ledger advance {night}` list the paths of today"
            )
    return None
