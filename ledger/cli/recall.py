"""``ledger recall``."""

import typer

from ledger.cli.common import AsJson, Date, Folder, app, open_machine, say_if_in_both
from ledger.cli.output import show_json
from ledger.text import alike, counted, printable


@app.command(epilog="Example: ledger recall --date 20260102")
def recall(folder: Folder = None, date: Date = None, *, as_json: AsJson = False) -> None:
    """Bring products of a night back from the destination, where their files here are missing or damaged.

    What comes back is proven by its SHA-256 before it takes its name; what is whole here is not touched. If somebody
    has put pruned files back, that is put on record.
    """
    from ledger.delivery.copies import recall as bring_back
    from ledger.disk.nights import find_night

    with open_machine(needs_nights=True) as machine:
        night = find_night(machine.config, date=date, folder=folder)
        say_if_in_both(machine, night, date)
        found = bring_back(machine, night)
    if as_json:
        show_json(found.as_json())
    else:
        whole = counted(found.whole, "product")
        typer.echo(f"night {found.date} ({found.pipeline}): {whole} whole, {len(found.brought)} brought back")
        for name in found.brought:
            typer.echo(printable(f"  brought back {name}"))
        for name, reason in alike(found.failed):
            typer.echo(printable(f"  FAILED       {name}: {reason}"))
    raise typer.Exit(1 if found.failed else 0)
