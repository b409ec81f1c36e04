"""``ledger status``."""

from dataclasses import asdict
from typing import Annotated

import typer

from ledger.cli.common import AsJson, app, read_config
from ledger.cli.nights import DatesOption, parse_dates
from ledger.cli.output import show_json, show_table
from ledger.errors import UsageError
from ledger.text import printable

#: Exit status of a check that finds what is stale or broken.
BROKEN = 2


@app.command(epilog="Example: ledger status --date 20260102")
def status(
    date: DatesOption = None,
    *,
    check: Annotated[
        bool,
        typer.Option("--check", help="One line for monitors. Exit 0: in order; 1: needs a person; 2: stale or broken."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show where every night stands, and what to do next."""
    from ledger.night.pipeline import pipelines
    from ledger.query.status import nights
    from ledger.query.unattended import last_catch_up

    if check:
        if date or as_json:
            raise UsageError("--check is of the whole ledger, in one line: expected neither --date nor --json")
        raise typer.Exit(_check())
    config = read_config()
    found = nights(config, pipelines(config), dates=parse_dates(date))
    if as_json:
        show_json([asdict(night) for night in found])
        return
    if not found:
        typer.echo(
            "no nights" + (f" of {', '.join(date)}" if date else "") + f" under {config.pipelines[config.main].root}"
        )
        typer.echo(last_catch_up(config).words)
        return
    is_outside = any(n.outside for n in found)
    columns = (
        "night",
        "pipeline",
        "stands",
        "raw files",
        "frames",
        "lost",
        "products",
        "IDs",
        "confirmed",
        "quarantined",
        "failed",
        *(["outside"] if is_outside else []),
        "next",
    )
    show_table(
        columns,
        [
            (
                n.date,
                n.pipeline,
                n.stands,
                n.raws,
                n.frames,
                n.lost,
                " ".join(f"{count} {state}" for state, count in n.states.items()),
                n.frame_ids,
                n.confirmed,
                n.quarantined,
                n.failed,
                *([n.outside] if is_outside else []),
                n.next_command,
            )
            for n in found
        ],
    )
    typer.echo(last_catch_up(config).words)


def _check() -> int:
    """Print a line for monitors, whatever happens; return the exit status."""
    from ledger.clock import now_us
    from ledger.night.pipeline import pipelines
    from ledger.query import unattended

    try:
        config = read_config()
        verdict = unattended.check(config, pipelines(config), now_us())
    except Exception as exc:  # noqa: BLE001  the edge: a monitor knows no other status
        typer.echo(
            f"broken: {'; '.join(printable(line.strip()) for line in str(exc).splitlines()) or type(exc).__name__}"
        )
        return BROKEN
    typer.echo(printable(verdict.text))
    return verdict.exit_status
