"""A run's hold on a night of which products were sent: for what is done with their copies."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ledger.disk.nights import NightFolder
from ledger.errors import UsageError
from ledger.night import record
from ledger.night.pipeline import Step
from ledger.night.products import WorkItem
from ledger.report import Result
from ledger.run.hold import refuse_moved_copies
from ledger.run.machine import Machine
from ledger.run.steps import Steps


@contextmanager
def holding_sent(
    machine: Machine, folder: NightFolder, command: str, arguments: Mapping[str, Any]
) -> Iterator[tuple[Steps, Result, Step, Sequence[WorkItem]]]:
    """Hold a night, as `Machine.holding` does, and look up what of it was sent.

    Parameters
    ----------
    machine, folder, command, arguments
        See `Machine.holding`.

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
        refuse_moved_copies(steps)
        items = record.products(machine.store, steps.journal.night)
        sent = [item for item in items if pipeline.position(item.state) >= pipeline.position(step.state)]
        if not sent:
            raise UsageError(f"night {folder.date} ({folder.pipeline}): no product was sent; see `ledger status`")
        yield steps, result, step, sent
