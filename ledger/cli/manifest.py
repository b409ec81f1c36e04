"""``ledger manifest``."""

from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.common import AsJson, app, open_machine
from ledger.cli.nights import DatesOption, Folders, nights_named
from ledger.cli.output import facts_of_mail, show_json, show_listing, show_mail
from ledger.errors import UsageError

if TYPE_CHECKING:
    from ledger.delivery.manifest import Sent
    from ledger.disk.nights import NightFolder
    from ledger.run.machine import Machine


@app.command(epilog="Example: ledger manifest --date 20260102 --date 20260103 --send")
def manifest(
    folder: Folders = None,
    date: DatesOption = None,
    *,
    send: Annotated[bool, typer.Option("--send", help="Mail it, as `mail` of the configuration says.")] = False,
    again: Annotated[bool, typer.Option("--again", help="With --send: mail what was mailed before, too.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="List what there is, although some is missing.")] = False,
    withdrawal_sent: Annotated[
        bool, typer.Option("--withdrawal-sent", help="Note that the list of what was withdrawn was sent; do no more.")
    ] = False,
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
    if withdrawal_sent and (send or partial):
        raise UsageError("--withdrawal-sent stands alone: expected no --send or --partial with it")
    is_named = bool(date or folder)
    if not is_named and (again or partial or not send):
        raise UsageError("no night is named: expected --date (a date, or a range) or a folder, once or more often")
    with open_machine() as machine:
        nights = nights_named(machine.config, folder, date, machine.reporter.say, machine.store) if is_named else []
        if withdrawal_sent:
            _note_sent(machine, nights, as_json=as_json)
            return
        if not send:
            listing, path = manifest.write(machine, nights, is_partial=partial)
        elif is_named:
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


def _note_sent(machine: "Machine", nights: "list[NightFolder]", *, as_json: bool) -> None:
    """Put on record that what was withdrawn of some nights was told."""
    from ledger.night import record
    from ledger.night.given_out import note_withdrawal_sent

    rows = []
    for night in nights:
        row = record.find_night(machine.store, night.pipeline, night.date)
        if row is None:
            raise UsageError(f"night {night.date} is not in the ledger: nothing of it was withdrawn")
        rows.append(row)
    note_withdrawal_sent(machine.store, rows)
    if as_json:
        show_json({"dates": [night.date for night in nights]})
    for night in () if as_json else nights:
        typer.echo(f"night {night.date} ({night.pipeline}): what was withdrawn is noted as sent")
