"""``ledger exclude`` and ``ledger include``."""

from typing import Annotated

import typer

from ledger.cli.common import app, open_store, read_config

DateArgument = Annotated[str, typer.Argument(metavar="DATE", help="UT date of the night.")]


@app.command(epilog="Example: ledger exclude 20251231 --reason 'dome tests, not for the archive'")
def exclude(date: DateArgument, reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")]) -> None:
    """Take a night out of the chronology: later nights no longer wait for it."""
    typer.echo(f"night {_set(date, reason)} is excluded: {reason}")


@app.command(epilog="Example: ledger include 20251231")
def include(date: DateArgument) -> None:
    """Take a night back into the chronology."""
    typer.echo(f"night {_set(date, None)} is included")


def _set(date: str, reason: str | None) -> str:
    """Exclude or include a night of the archive, on disk or only in the ledger; return its date."""
    from ledger.scan import find_night, parse_date

    config = read_config()
    parsed = parse_date(date)
    with open_store(config) as store:
        known = store.find_night("archive", parsed)
        root = config.archive.root if known else find_night(config, date=parsed).root
        store.exclude("archive", root, parsed, reason)
    return parsed
