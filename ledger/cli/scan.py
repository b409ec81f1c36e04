"""``ledger scan``."""

import typer

from ledger.cli.common import AsJson, app, open_machine
from ledger.cli.nights import DatesOption, EachNight, Folders, nights_named
from ledger.cli.output import show_result


@app.command(epilog="Example: ledger scan --date 20260102")
def scan(folder: Folders = None, date: DatesOption = None, *, as_json: AsJson = False) -> None:
    """Register nights' raw files; put aside, with the reason, those that cannot be used."""
    done = EachNight(show_result, lambda result: result.succeeded, folder, date, as_json=as_json)
    with done, open_machine(needs_nights=True) as machine:
        nights = nights_named(machine.config, folder, date, machine.reporter.say, machine.store)
        done.do(nights, machine.scan, machine.reporter)
    raise typer.Exit(done.status)
