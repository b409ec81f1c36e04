"""``ledger manifest``."""

from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.common import AsJson, app, open_machine
from ledger.cli.nights import DatesOption, nights_named
from ledger.cli.output import facts_of_mail, show_json, show_listing, show_mail
from ledger.errors import UsageError

if TYPE_CHECKING:
    from ledger.delivery.manifest import Sent


@app.command(epilog="Example: ledger manifest --date 20260102 --date 20260103 --send")
def manifest(
    date: DatesOption = None,
    *,
    send: Annotated[bool, typer.Option("--send", help="Mail it, as `mail` of the configuration says.")] = False,
    again: Annotated[bool, typer.Option("--again", help="With --send: mail what was mailed before, too.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="List what there is, although some is missing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the manifest of one or more nights, in the order of frame IDs; --send mails it, once.

    It is refused while a product of these nights is not listed in its night's own manifest. Of a night that was mailed
    and has got more products since, --send mails these. Without --date, --send takes all finished nights that were not
    mailed.
    """
    from ledger.delivery import manifest
    from ledger.delivery.outstanding import send_outstanding

    if again and not send:
        raise UsageError("--again is for --send: expected both, or no --again")
    if not date and not send:
        raise UsageError("--date is missing: expected the UT date of a night, or a range, once or more often")
    if not date and (again or partial):
        raise UsageError("--date is missing: expected the nights that --again and --partial are for")
    with open_machine() as machine:
        nights = nights_named(machine.config, None, date, machine.reporter.say, machine.store) if date else []
        if not send:
            listing, path = manifest.write(machine, nights, is_partial=partial)
        elif date:
            sent: Sent | None = manifest.send(machine, nights, is_partial=partial, is_again=again)
        else:
            sent = send_outstanding(machine)
    if not send:
        if as_json:
            show_json({**listing.as_json(), "file": str(path), "message_id": None})
        else:
            show_listing(listing)
            typer.echo(f"  {path}")
    elif as_json:
        show_json(sent and facts_of_mail(sent))
    elif sent is None:
        typer.echo("nothing to mail: `ledger status` says when each finished night was mailed, or written as a mail")
    else:
        show_mail(sent)
