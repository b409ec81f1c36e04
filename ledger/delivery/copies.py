"""A night's copies at the destination: proven again, copied again, and brought back where files are missing here."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ledger.disk import durable
from ledger.disk.access import translate_read_errors, writing
from ledger.disk.nights import NightFolder
from ledger.errors import Interrupted, LedgerError, UsageError
from ledger.night import record
from ledger.night.pipeline import Step
from ledger.night.products import WorkItem
from ledger.night.site import refuse_scattered
from ledger.report import Result, by_file
from ledger.run.copies import ask, reverify, sender_of
from ledger.run.machine import Machine
from ledger.run.night_files import make_folder
from ledger.run.steps import Steps
from stages.transport import proof


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
        """Whether everything that was sent is proven, and something was; files that nobody sent are only listed."""
        return self.proven > 0 and not self.bad

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return asdict(self) | {"bad": by_file(self.bad)}


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
        before = ask(steps, step, sender.verify_night, sent).damaged if repairs else {}  # repaired products mend it
        for batch in steps.portions("verify", sent):
            checked = reverify(steps, step, batch, {}, repairs=repairs)
            names = {item.product.identity: item.product.frame_id or item.product.name for item in batch}
            found.proven += len(checked.proven)
            found.repaired += [names[identity] for identity in names if identity in checked.repaired]
            found.bad += [(names[identity], reason) for identity, reason in checked.failures.items()]
            steps.reporter.advance(len(checked.proven))
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
        return asdict(self) | {"failed": by_file(self.failed)}


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
    with steps.translated():
        outcome = sender_of(steps, step).recall(job=steps.job(items), params=steps.stages[step.state].params)
    steps.journal.lease.confirm()
    with writing(steps.product_folder, "free or mount the disk"):
        durable.put_in_place(outcome, steps.config.permissions.group)
    items = [item for item in items if item.product.identity not in outcome.left]
    steps.journal.recalled(items, outcome.failures)
    if failed := [item for item in items if item.product.identity in outcome.failures]:
        checked = reverify(steps, step, failed, {"recall": len(failed)})
        outcome = replace(outcome, failures={**outcome.failures, **checked.failures})
    for item in items:
        name = item.product.frame_id or item.product.name
        if reason := outcome.failures.get(item.product.identity):
            found.failed.append((name, reason))
        else:
            found.brought.append(name)
    if outcome.left:
        steps.obey()


@contextmanager
def holding_sent(
    machine: Machine, folder: NightFolder, command: str, arguments: Mapping[str, Any], *, follows: bool = False
) -> Iterator[tuple[Steps, Result, Step, Sequence[WorkItem]]]:
    """Hold a night, as `Machine.holding` does, and look up what of it was sent.

    Parameters
    ----------
    machine, folder, command, arguments
        See `Machine.holding`.
    follows : bool
        Whether its copies are looked for at today's destination, wherever they were.

    Yields
    ------
    Steps, Result
        See `Machine.holding`.
    Step
        That sends products.
    sequence of WorkItem
        Those that were sent; some.

    Raises
    ------
    UsageError
        If no product of the night has been sent, or its copies are elsewhere than the configuration says.
    Busy
        If another run holds it.
    """
    pipeline = machine.pipelines[folder.pipeline]
    step = next((s for s in pipeline.steps[1:] if s.needs_copy and machine.stages[s.state].sender), None)
    if step is None or record.find_night(machine.store, folder.pipeline, folder.date) is None:
        raise UsageError(f"night {folder.date} ({folder.pipeline}): nothing of it was sent; see `ledger status`")
    with machine.holding(folder, command, arguments) as (steps, result):
        if follows:
            steps.site = machine.config.site(folder.pipeline)
        else:
            refuse_scattered(machine.store, steps.journal.night, steps.site)
        items = record.products(machine.store, steps.journal.night)
        sent = [item for item in items if pipeline.position(item.state) >= pipeline.position(step.state)]
        if not sent:
            raise UsageError(f"night {folder.date} ({folder.pipeline}): no product was sent; see `ledger status`")
        yield steps, result, step, sent
