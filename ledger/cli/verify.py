"""``ledger verify``."""

from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.common import AsJson, app, open_machine
from ledger.cli.nights import DatesOption, EachNight, Folders, nights_named
from ledger.text import counted, printable

if TYPE_CHECKING:
    from ledger.delivery.copies import Verified


@app.command(epilog="Example: ledger verify --date 20260102 --repair")
def verify(
    folder: Folders = None,
    date: DatesOption = None,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Copy again what is not right there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read nights' copies at the destination again, and prove them. Exit 1 if one is not right.

    Damaged and missing files are listed, and copied again with --repair. Files that the ledger did not send are listed,
    and never touched.
    """
    from ledger.delivery.copies import verify as verify_night

    def show(found: "Verified") -> None:
        proven = counted(found.proven, "product")
        typer.echo(f"night {found.date} ({found.pipeline}): {proven} proven at the destination")
        for name in found.repaired:
            typer.echo(printable(f"  copied again {name}"))
        for name, reason in found.bad:
            typer.echo(printable(f"  BAD          {name}: {reason}"))
        for name in found.extra:
            typer.echo(printable(f"  EXTRA        {name}: not sent by this ledger; find out whose it is"))
        if found.bad and not repair:
            named = machine.config.site(found.pipeline).named(found.date)
            typer.echo(f"`ledger verify {named} --repair` copies again what is bad")

    done = EachNight(show, lambda found: found.succeeded, folder, date, as_json=as_json)
    with done, open_machine() as machine:
        nights = nights_named(machine.config, folder, date, machine.reporter.say, machine.store)
        done.do(nights, lambda night: verify_night(machine, night, repairs=repair), machine.reporter)
    raise typer.Exit(done.status)
