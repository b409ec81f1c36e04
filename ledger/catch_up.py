"""Every unfinished night under the roots, oldest first: what cron runs."""

from collections.abc import Iterator
from datetime import UTC, datetime

from ledger.errors import Busy, Interrupted, LedgerError
from ledger.machine import Machine
from ledger.report import Result
from ledger.scan import NightFolder, is_being_written
from ledger.status import unfinished


def catch_up(machine: Machine) -> Iterator[tuple[NightFolder, Result | LedgerError]]:
    """Advance every unfinished night as far as it goes.

    A night whose UT date has not ended, or that is still being written, is left alone. A night that
    another run holds is left to it. An error of one night does not keep the others from being tried.

    Yields
    ------
    night, Result or LedgerError
        Nights at which something was done or went wrong; nothing at all when there is nothing to do.
    """
    config, store = machine.config, machine.store
    for night in unfinished(config, machine.flows):
        if night.date >= _today(machine) or is_being_written(night, config, store.clock()):
            continue
        try:
            result = machine.advance(night, is_patient=True)
        except Busy:
            continue
        except Interrupted:
            raise
        except LedgerError as exc:
            refused = Result(night.pipeline, night.date, command="catch-up", stopped=str(exc), is_hindered=True)
            machine.results.append(refused)
            yield night, exc
            continue
        if result.changed or not result.is_in_order:
            yield night, result


def _today(machine: Machine) -> str:
    return datetime.fromtimestamp(machine.store.clock() / 1e6, tz=UTC).strftime("%Y%m%d")
