"""``ledger scan``."""

import typer

from ledger.cli.common import AsJson, Date, Folder, app, open_machine, say_if_in_both
from ledger.cli.output import show_result


@app.command(epilog="Example: ledger scan --date 20260102")
def scan(folder: Folder = None, date: Date = None, *, as_json: AsJson = False) -> None:
    """Register a night's raw files; put aside, with the reason, those that cannot be used."""
    from ledger.disk.nights import find_night

    with open_machine(needs_nights=True) as machine:
        night = find_night(machine.config, date=date, folder=folder)
        say_if_in_both(machine, night, date)
        result = machine.scan(night)
    show_result(result, as_json=as_json)
    raise typer.Exit(0 if result.succeeded else 1)
