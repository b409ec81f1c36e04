"""``ledger manifest``."""

from typing import Annotated

import typer

from ledger.cli.common import AsJson, app, open_machine
from ledger.cli.nights import DatesOption, nights_named
from ledger.cli.output import show_json
from ledger.errors import UsageError
from ledger.text import counted


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
    and has got more products since, --send mails these.
    """
    from ledger.delivery import manifest

    if not date:
        raise UsageError("--date is missing: expected the UT date of a night, or a range, once or more often")
    if again and not send:
        raise UsageError("--again is for --send: expected both, or no --again")
    with open_machine() as machine:
        nights = nights_named(machine.config, None, date, machine.reporter.say)
        if send:
            sent = manifest.send(machine, nights, is_partial=partial, is_again=again)
            listing, path, message_id = sent.listing, sent.file, sent.message_id
        else:
            listing, path = manifest.write(machine, nights, is_partial=partial)
            message_id = None
    if as_json:
        show_json({**listing.as_json(), "file": path and str(path), "message_id": message_id})
        return
    typer.echo(f"{listing.name}: {counted(len(listing.lines), 'product')}, {listing.size_bytes} bytes")
    if listing.missing:
        typer.echo(f"  {listing.missing}")
    if send and path is None:
        typer.echo(f"  sent to {', '.join(sent.recipients)} ({message_id})")
    else:
        typer.echo(f"  {path}" + (" is ready to be sent" if send else ""))
