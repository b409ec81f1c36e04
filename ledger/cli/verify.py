"""``ledger verify``."""

from typing import Annotated

import typer

from ledger.cli.common import AsJson, Date, Folder, app, open_machine, say_if_in_both
from ledger.cli.output import show_json
from ledger.text import counted, printable


@app.command(epilog="Example: ledger verify --date 20260102 --repair")
def verify(
    folder: Folder = None,
    date: Date = None,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Copy again what is not right there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read a night's copies at the destination again, and prove them. Exit 1 if one is not right.

    Damaged and missing files are listed, and copied again with --repair. Files that the ledger did not send are listed,
    and never touched.
    """
    from ledger.delivery.copies import verify as verify_night
    from ledger.disk.nights import find_night

    with open_machine() as machine:
        night = find_night(machine.config, date=date, folder=folder)
        say_if_in_both(machine, night, date)
        found = verify_night(machine, night, repairs=repair)
    if as_json:
        show_json(found.as_json())
    else:
        proven = counted(found.proven, "product")
        typer.echo(f"night {found.date} ({found.pipeline}): {proven} proven at the destination")
        for name in found.repaired:
            typer.echo(printable(f"  copied again {name}"))
        for name, reason in found.bad:
            typer.echo(printable(f"  BAD          {name}: {reason}"))
        for name in found.extra:
            typer.echo(printable(f"  EXTRA        {name}: not sent by this ledger; find out whose it is"))
        if found.bad and not repair:
            typer.echo(f"`ledger verify --date {found.date} --repair` copies again what is bad")
    raise typer.Exit(0 if found.succeeded else 1)
