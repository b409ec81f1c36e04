"""``ledger exclude`` and ``ledger include``."""

from typing import Annotated

import typer

from ledger.cli.common import app, open_store, read_config

DateArgument = Annotated[str, typer.Argument(metavar="DATE", help="UT date of the night.")]


@app.command(epilog="Example: ledger exclude 20251231 --reason 'dome tests, not for the archive'")
def exclude(date: DateArgument, reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")]) -> None:
    """Take a night out of the chronology: later nights no longer wait for it."""
    _set(date, reason)
    typer.echo(f"night {date} is excluded: {reason}")


@app.command(epilog="Example: ledger include 20251231")
def include(date: DateArgument) -> None:
    """Take a night back into the chronology."""
    _set(date, None)
    typer.echo(f"night {date} is included")


def _set(date: str, reason: str | None) -> None:
    from ledger.scan import find_night

    config = read_config()
    with open_store(config) as store:
        folder = find_night(config, date=date)
        store.exclude(folder.pipeline, folder.root, folder.date, reason)
