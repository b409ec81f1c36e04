"""``ledger watch``."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.common import AsJson, app, open_store, read_config
from ledger.cli.output import show_json
from ledger.errors import UsageError
from ledger.text import counted, duration, printable

if TYPE_CHECKING:
    from ledger.config.model import Config
    from ledger.db.store import Store
    from ledger.query.runs import Progress, RunFacts

#: Seconds between two looks: on a terminal, and elsewhere.
_LOOK_S, _LINE_S = 1.0, 30.0

#: Width of a bar, characters.
_BAR = 30


@app.command(epilog="Example: ledger watch 12")
def watch(
    run: Annotated[
        int | None, typer.Argument(metavar="[RUN]", help="Its number (`ledger runs`); by default the newest at work.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Watch a run of any process, on any host: products by state, rate, time left, failures. It is left alone.

    Ends with the run; Ctrl-C ends the watching only. --json shows how far it is now. Exit 1 if the run did not end in
    order.
    """
    config = read_config()
    with open_store(config) as store:
        number = run if run is not None else _newest(store)
        if as_json:
            found, how_far = _look(store, config, number)
            show_json({**found.as_json(), "progress": how_far and how_far.as_json()})
            return
        try:
            found = _until_it_ends(store, config, number)
        except KeyboardInterrupt:
            typer.echo(f"run {number} goes on; `ledger stop {number}` ends it in order", err=True)
            raise typer.Exit(0) from None
    typer.echo(printable(found.words))
    raise typer.Exit(0 if found.exit_status == 0 else 1)


def _newest(store: "Store") -> int:
    from ledger.query.runs import at_work

    found = at_work(store)
    if not found:
        raise UsageError("no run is at work; expected the number of one (`ledger runs`)")
    of_nights = [run.number for run in found if run.date is not None]
    return of_nights[0] if of_nights else found[0].number


def _look(store: "Store", config: "Config", number: int) -> "tuple[RunFacts, Progress | None]":
    from ledger.query.runs import progress, run_of

    found = run_of(store, number)
    declared = config.pipelines.get(found.pipeline or "")
    return found, progress(store, found, declared.states) if declared and found.date else None


def _until_it_ends(store: "Store", config: "Config", number: int) -> "RunFacts":
    """Show a run until it is over; return how it ended."""
    if not sys.stdout.isatty():
        return _follow(store, config, number, lambda found, far: typer.echo(_line(found, far)), _LINE_S)
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False, transient=True) as live:

        def show(found: "RunFacts", how_far: "Progress | None") -> None:
            live.update(Text("\n".join(_lines(found, how_far)), no_wrap=True, overflow="ellipsis"), refresh=True)

        return _follow(store, config, number, show, _LOOK_S)


def _follow(
    store: "Store",
    config: "Config",
    number: int,
    show: "Callable[[RunFacts, Progress | None], None]",
    apart_s: float,
) -> "RunFacts":
    """Look again and again, until a run, and those of its process that follow it, are over; show what is new."""
    from ledger.query.runs import that_goes_on

    shown_s, shown = 0.0, None
    while True:
        found, how_far = _look(store, config, number)
        is_due = time.monotonic() - shown_s >= apart_s
        if is_due and (found, how_far) != shown and not found.is_over:
            show(found, how_far)
            shown_s, shown = time.monotonic(), (found, how_far)
        if found.is_over and (later := that_goes_on(store, found)).number == number:
            return found
        if found.is_over:
            number = later.number
        time.sleep(_LOOK_S)


def _line(run: "RunFacts", how_far: "Progress | None") -> str:
    """Return how far a run is in one line."""
    if how_far is None:
        return printable(run.words)
    states = ", ".join(f"{n} {state}" for state, n in how_far.states.items() if n)
    return f"run {run.number}: {states}{_rate(how_far)}"


def _lines(run: "RunFacts", how_far: "Progress | None") -> list[str]:
    lines = [printable(run.words)]
    if how_far is None:
        return lines
    (_, n_raw), *states = how_far.states.items()
    n = sum(count for _, count in states)
    lines.append(f"{counted(n_raw, 'raw file')}, {counted(n, 'product')}{_rate(how_far)}")
    reached = n
    for state, count in states:
        filled = round(_BAR * reached / n) if n else 0
        lines.append(f"  {state:<14} {'━' * filled}{'·' * (_BAR - filled)} {reached} of {n}")
        reached -= count
    lines += [printable(f"  FAILED {name}: {error}") for name, error in how_far.failures]
    return lines


def _rate(how_far: "Progress") -> str:
    if how_far.step is None:
        return ""
    rate = f"; {how_far.step}: {how_far.files_per_s:.1f} a second" if how_far.files_per_s else f"; {how_far.step}"
    left = "" if how_far.left_s is None else f", about {duration(how_far.left_s)} left"
    return f"{rate}, {how_far.left} to go{left}"
