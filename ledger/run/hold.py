"""A run's hold on one night: its lease, journal and workers, what dead runs left, and how the run ended."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ledger.db.models import Night
from ledger.disk.nights import NightFolder
from ledger.errors import LedgerError, NotReady
from ledger.night import record
from ledger.night.journal import Journal
from ledger.night.lease import Lease
from ledger.report import Result
from ledger.run import engine
from ledger.run.context import Context
from ledger.run.mirror import mirrored
from ledger.run.settle import Leftovers, find_leftovers, settle
from ledger.run.steps import Steps

#: Run of who only looks, and holds nothing.
NOBODY = 0


@contextmanager
def hold_night(
    context: Context, folder: NightFolder, command: str, arguments: Mapping[str, Any]
) -> Iterator[tuple[Steps, Result]]:
    """Hold a night for one run of a command, and record how the run ended.

    Parameters
    ----------
    context : Context
        The ledger.
    folder : NightFolder
        The night.
    command : str
        The command, for the table `run`.
    arguments : mapping
        Its arguments, for the table `run`.

    Yields
    ------
    Steps
        The night, held.
    Result
        To be filled in; the products' states are counted at the end.

    Raises
    ------
    Busy
        If another run holds it.
    """
    store, pipeline = context.store, context.pipelines[folder.pipeline]
    result = Result(folder.pipeline, folder.date, command=command)
    context.results.append(result)
    night = record.ensure_night(store, folder.pipeline, folder.root, folder.date)
    run_id = store.begin_run(command, {"date": folder.date, "pipeline": folder.pipeline, **arguments})
    status, in_order = 3, True  # a bug, unless it turns out otherwise
    journal = steps = None
    try:
        with Lease(store, night, run_id) as lease, engine.executor(context.config, context.jobs) as pool:
            journal = Journal(store, pipeline, night, lease, context.config.instrument.prefix)
            in_order = False
            steps = Steps(context, journal, folder, executor=pool, result=result)
            if not steps.site.has_nights:
                _refuse_unsettled(steps)
            with mirrored(steps):
                yield steps, result
            states = record.states(store, night)
            result.states = Counter({state: states[state] for state in pipeline.states if states[state]})
        status, in_order = (0 if result.succeeded else 1), not steps.is_torn
    except LedgerError as exc:
        status = exc.exit_status
        result.stopped = result.stopped or str(exc)
        in_order = (journal is None or journal.is_in_order()) and not (steps and steps.is_torn)
        raise
    finally:
        context.reporter.end()
        store.end_run(run_id, status, in_order=in_order)


def _refuse_unsettled(steps: Steps) -> None:
    """Refuse a night in which a run on the other host left something open: only that host can settle it."""
    night, left = steps.journal.night, steps.journal.unsettled_edges()
    others = [s for s in steps.journal.pipeline.steps if not s.needs_copy and {s.forward, s.reverse} & left]
    if others:
        raise NotReady(
            f"night {night.date}: a run died on the way to or from {others[0].state}; expected it to be put in order"
            f" first: `ledger advance {steps.site.named(night.date)}` on {steps.site.other}"
        )


def settle_night(steps: Steps, *, rolls_back: bool) -> None:
    """Settle what dead runs left; if the host that fetches has to do it, say so.

    Parameters
    ----------
    steps : Steps
        The night, held.
    rolls_back : bool
        See :func:`ledger.run.settle.settle`.

    Raises
    ------
    NotReady
        If something cannot be settled now.
    """
    try:
        settle(steps, rolls_back=rolls_back)
    except NotReady as exc:
        left = steps.journal.unsettled_edges()
        others = [s for s in steps.journal.pipeline.steps if s.needs_copy and {s.forward, s.reverse} & left]
        if steps.site.sends or not others:
            raise
        named, host = steps.site.named(steps.folder.date), steps.site.other
        raise NotReady(
            f"{exc}; a run died on the way to or from {others[0].state}, and {host} puts that in order without a"
            f" connection from here: `ledger advance {named}` there, or `ledger rollback {named} --to"
            f" {others[0].before}`"
        ) from exc


def leftovers(context: Context, folder: NightFolder, night: Night) -> Leftovers:
    """Return what dead runs left of a night, and what the next run does about it; nothing is changed."""
    lease = Lease(context.store, night, run_id=NOBODY)
    journal = Journal(context.store, context.pipelines[folder.pipeline], night, lease, context.config.instrument.prefix)
    result = Result(folder.pipeline, folder.date)
    steps = Steps(context, journal, folder, executor=engine.Inline(), result=result)
    return find_leftovers(steps, record.products(context.store, night))
