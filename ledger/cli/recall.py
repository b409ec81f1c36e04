"""``ledger recall``."""

from functools import partial
from typing import TYPE_CHECKING

import typer

from ledger.cli.common import AsJson, app, open_machine
from ledger.cli.nights import DatesOption, EachNight, Folders, nights_named
from ledger.text import alike, counted, printable

if TYPE_CHECKING:
    from ledger.delivery.copies import Recalled


@app.command(epilog="Example: ledger recall --date 20260102")
def recall(folder: Folders = None, date: DatesOption = None, *, as_json: AsJson = False) -> None:
    """Bring products of nights back from the destination, where their files here are missing or damaged.

    What comes back is proven by its SHA-256 before it takes its name; what is whole here is not touched. If somebody
    has put pruned files back, that is put on record.
    """
    from ledger.delivery.copies import recall as bring_back

    done = EachNight(_show, lambda found: not found.failed, folder, date, as_json=as_json)
    with done, open_machine(needs_nights=True) as machine:
        nights = nights_named(machine.config, folder, date, machine.reporter.say, machine.store)
        done.do(nights, partial(bring_back, machine), machine.reporter)
    raise typer.Exit(done.status)


def _show(found: "Recalled") -> None:
    whole = counted(found.whole, "product")
    typer.echo(f"night {found.date} ({found.pipeline}): {whole} whole, {len(found.brought)} brought back")
    for name in found.brought:
        typer.echo(printable(f"  brought back {name}"))
    for name, reason in alike(found.failed):
        typer.echo(printable(f"  FAILED       {name}: {reason}"))
