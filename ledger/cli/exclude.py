"""``ledger exclude`` and ``ledger include``."""

from typing import Annotated

import typer

from ledger.cli.common import app, open_store, read_config
from ledger.text import counted

DateArgument = Annotated[str, typer.Argument(metavar="DATE", help="UT date of the night.")]


@app.command(epilog="Example: ledger exclude 20251231 --reason 'dome tests, not for the archive'")
def exclude(date: DateArgument, reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")]) -> None:
    """Take a night out of the chronology: later nights no longer wait for it, and it goes no further."""
    from ledger.ids import gate

    config = read_config()
    with open_store(config, changes=True) as store:
        night = gate.exclude(store, config, date, reason)
    typer.echo(f"night {night.date} is excluded: {reason}")
    if night.frame_ids:
        typer.echo(f"  its {counted(night.frame_ids, 'frame ID')} and what was made with them stay as they are")


@app.command(epilog="Example: ledger include 20251231")
def include(date: DateArgument) -> None:
    """Take a night back into the chronology."""
    from ledger.ids import gate

    config = read_config()
    with open_store(config, changes=True) as store:
        night = gate.exclude(store, config, date, None)
    typer.echo(f"night {night.date} is included")
    if night.is_late:
        how = f"`ledger advance --date {night.date} --late --reason TEXT`"
        typer.echo(f"  later nights have frame IDs: {how} gives it late ones")
