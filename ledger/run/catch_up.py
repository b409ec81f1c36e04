"""Every unfinished night under the roots, oldest first: what cron runs."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update
from sqlmodel import col

from ledger.db.models import Run
from ledger.db.store import CATCH_UP, Store, is_catch_up
from ledger.disk.nights import NightFolder
from ledger.disk.raws import is_being_written
from ledger.errors import Busy, Interrupted, LedgerError, NotReady
from ledger.night import record
from ledger.night.given_out import was_withdrawn
from ledger.night.lease import DIED, is_dead
from ledger.query.status import unfinished
from ledger.report import Result
from ledger.run.machine import Machine

_OF_THE_FUTURE = (
    "night {} is of the future: it is {} by the clock of this machine; expected a night of today or before; set the"
    " clock, or correct the folder's name"
)

_AGAIN = (
    "it was mailed and withdrawn, and is taken forward again, to be mailed anew; if that is not wanted, `ledger exclude"
    " {} --reason TEXT`, and roll it back"
)


def catch_up(machine: Machine) -> Iterator[tuple[NightFolder, Result | LedgerError]]:
    """Advance every unfinished night as far as it goes.

    A night whose UT date has not ended, or that is still being written, is skipped; so is one that another run holds.
    A night later than tomorrow is an error: it would be skipped for years. An error of one night does not keep the
    others from being tried.

    Yields
    ------
    night, Result or LedgerError
        Nights at which something was done or went wrong; nothing at all when there is nothing to do.
    """
    config, store = machine.config, machine.store
    for night in unfinished(config, machine.pipelines):
        if night.date > _date(machine, days=1):
            yield night, _refused(machine, night, NotReady(_OF_THE_FUTURE.format(night.date, _date(machine))))
            continue
        if night.date >= _date(machine) or is_being_written(night, config, store.clock()):
            continue
        machine.reporter.of_night(night.date)
        try:
            result = machine.advance(night, is_patient=True)
        except Busy:
            continue
        except Interrupted:
            raise
        except LedgerError as exc:
            yield night, _refused(machine, night, exc)
            continue
        row = record.find_night(store, night.pipeline, night.date)
        if result.changed and row is not None and was_withdrawn(store, row):
            result.notes.append(_AGAIN.format(night.date))
        if result.changed or not result.is_in_order:
            yield night, result


def begin(store: Store) -> int:
    """Record that a catch-up begins, and that those before it were killed which have no end; return its number."""
    with store.write() as session:
        unended = session.execute(select(Run).where(is_catch_up(), col(Run.ended_us).is_(None))).scalars()
        dead = [run.id for run in unended if is_dead(run)]
        closed = {"ended_us": store.clock(), "exit_status": DIED}
        session.execute(update(Run).where(col(Run.id).in_(dead)).values(**closed))
    return store.begin_run(CATCH_UP, {})


def _refused(machine: Machine, night: NightFolder, exc: LedgerError) -> LedgerError:
    """Record a night that could not be advanced, for alerts."""
    refused = Result(night.pipeline, night.date, command="catch-up", stopped=str(exc), is_hindered=True)
    machine.results.append(refused)
    return exc


def _date(machine: Machine, *, days: int = 0) -> str:
    """Return today's UT date, or that of so many days later."""
    return (datetime.fromtimestamp(machine.store.clock() / 1e6, tz=UTC) + timedelta(days=days)).strftime("%Y%m%d")
