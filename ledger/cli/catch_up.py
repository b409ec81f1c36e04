"""``ledger catch-up``."""

import logging
from typing import Any

import typer

from ledger import log
from ledger.cli.common import AsJson, Jobs, alert, app, open_machine
from ledger.cli.output import facts_of_mail, show_json, show_mail, show_result
from ledger.errors import LedgerError
from ledger.text import printable


@app.command(name="catch-up", epilog="Example, in crontab: 17 * * * * ledger --config /etc/ledger/config.yaml catch-up")
def catch_up(jobs: Jobs = None, *, as_json: AsJson = False) -> None:
    """Advance every unfinished night under the roots, oldest first. Says nothing when there is nothing to do.

    With `mail.automatic: true` it ends with the mail of all finished nights that were not mailed.
    """
    from ledger.delivery.notify import Trouble
    from ledger.delivery.outstanding import send_unattended, unconfirmed
    from ledger.run import catch_up as catching_up

    shown: list[dict[str, Any]] = []
    succeeded = True
    with open_machine(jobs, quiet=True) as machine:
        for night, outcome in catching_up.catch_up(machine):
            if isinstance(outcome, LedgerError):
                succeeded = False
                shown.append({"pipeline": night.pipeline, "date": night.date, "stopped": str(outcome)})
                if not as_json:
                    typer.echo(f"night {night.date} ({night.pipeline}): {outcome}", err=True)
                continue
            succeeded = succeeded and outcome.is_in_order
            shown.append(outcome.as_json())
            if not as_json:
                show_result(outcome)
        mailed = send_unattended(machine)
        troubles = list(unconfirmed(machine.store, machine.config))
        if isinstance(mailed, LedgerError):
            succeeded = False
            shown.append({"mail": None, "stopped": str(mailed)})
            troubles.append(Trouble("failed", "mail of manifests", "", str(mailed)))
            log.write(f"mail of manifests: {mailed}", level=logging.ERROR, event="mail_failed")
            if not as_json:
                typer.echo(printable(f"mail of manifests: {mailed}"), err=True)
        elif mailed is not None:
            shown.append({"mail": facts_of_mail(mailed)})
            if not as_json:
                show_mail(mailed)
        alert(machine.store, machine.config, troubles, machine.reporter.say)
    if as_json:
        show_json(shown)
    raise typer.Exit(0 if succeeded else 1)
