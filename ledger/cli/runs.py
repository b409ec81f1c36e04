"""``ledger runs`` and ``ledger stop``."""

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.common import AsCsv, AsJson, Wide, app, begin_log, open_store, read_config
from ledger.cli.output import refuse_several, show_csv, show_json, show_table
from ledger.clock import show_us
from ledger.errors import UsageError
from ledger.text import duration

if TYPE_CHECKING:
    from ledger.query.runs import RunFacts

#: Columns of the table.
_COLUMNS = ("run", "command", "night", "by", "host", "began (UT)", "took", "outcome")


@app.command(epilog="Example: ledger runs -n 50")
def runs(
    most: Annotated[int, typer.Option("-n", min=1, metavar="N", help="How many, the newest first.")] = 20,
    *,
    every: Annotated[bool, typer.Option("--all", help="All, also catch-ups that found nothing to do.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    wide: Wide = False,
) -> None:
    """List runs of commands that change something: who, what, since when, and how it ended."""
    from ledger.query import runs as asking

    refuse_several(json=as_json, csv=as_csv)
    config = read_config()
    with open_store(config) as store:
        found = asking.runs(store, most=None if every else most, with_idle=every)
        now_us = store.clock()
    if as_json:
        show_json([run.as_json() for run in found])
        return
    if as_csv:
        names = [name.name for name in fields(asking.RunFacts)]
        show_csv(names, [[getattr(run, name) for name in names] for run in found])
        return
    rows = [_row(run, config.main, now_us) for run in found]
    show_table(_COLUMNS, rows, right={"run", "took"}, spare=("host", "by"), wide=wide)


def _row(run: "RunFacts", main: str, now_us: int) -> tuple[object, ...]:
    night = "" if run.date is None else run.date if run.pipeline == main else f"{run.date} ({run.pipeline})"
    end_us = run.ended_us or (None if run.is_over else now_us)
    took = None if end_us is None else duration((end_us - run.started_us) / 1e6)
    return (run.number, run.command, night, run.begun_by, run.host, show_us(run.started_us), took, run.outcome)


@app.command(epilog="Example: ledger stop 12")
def stop(
    run: Annotated[int, typer.Argument(metavar="RUN", help="Its number, as `ledger runs` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Ask a run to stop, on whichever host it is. It finishes the files in hand and ends in order.

    It hears of it within some seconds. The same command goes on from there later.
    """
    from ledger.query import runs as asking

    config = read_config()
    begin_log(config)
    with open_store(config) as store:
        found = asking.that_goes_on(store, asking.run_of(store, run))
        if found.is_over:
            raise UsageError(f"run {run} (`ledger {found.command}`) is over: {found.outcome}; see `ledger runs`")
        store.ask_to_stop(found.number)
    if as_json:
        show_json({"run": found.number, "host": found.host, "command": found.command})
        return
    number, what = found.number, f"`ledger {found.command}` on {found.host}"
    typer.echo(f"run {number} ({what}) is asked to stop; `ledger watch {number}` shows it")
