"""``ledger catch-up``."""

import logging
import os
from functools import partial
from typing import Any

import typer

from ledger import log
from ledger.cli.common import AsJson, Jobs, app, begin_log, chosen_config, open_machine, read_config
from ledger.cli.output import facts_of_mail, show_json, show_mail, show_result
from ledger.errors import LedgerError, UsageError
from ledger.text import printable


@app.command(name="catch-up", epilog="Example, in crontab: 17 * * * * ledger --config /etc/ledger/config.yaml catch-up")
def catch_up(jobs: Jobs = None, *, as_json: AsJson = False) -> None:
    """Advance every unfinished night under the roots, oldest first. Says nothing when there is nothing to do.

    With `mail.automatic: true` it ends with the mail of all finished nights that were not mailed.
    """
    from ledger.config.read import read_alerting
    from ledger.delivery.notify import Trouble
    from ledger.delivery.outstanding import send_unattended, unconfirmed
    from ledger.delivery.watch import Watch
    from ledger.run import catch_up as catching_up

    shown: list[dict[str, Any]] = []
    said: set[str] = set()
    try:
        config = read_config()
    except UsageError:
        if told := read_alerting(chosen_config(), os.environ):
            with Watch(told, partial(typer.echo, err=True)):
                begin_log(told)
                raise
        raise
    with Watch(config, partial(typer.echo, err=True)) as watch:
        begin_log(config)
        watch.begin()
        with open_machine(jobs, quiet=True, alerts=False) as machine, watch.working(machine):
            for night, outcome in catching_up.catch_up(machine):
                if isinstance(outcome, LedgerError):
                    watch.status = LedgerError.exit_status
                    shown.append({"pipeline": night.pipeline, "date": night.date, "stopped": str(outcome)})
                    if not as_json:
                        typer.echo(f"night {night.date} ({night.pipeline}): {outcome}", err=True)
                    continue
                if not outcome.is_in_order:
                    watch.status = LedgerError.exit_status
                shown.append(outcome.as_json())
                if not as_json:
                    show_result(outcome, with_remarks=False, said=said)
            mailed = send_unattended(machine)
            watch.troubles += unconfirmed(machine.store, config)
            if isinstance(mailed, LedgerError):
                watch.status = LedgerError.exit_status
                shown.append({"mail": None, "stopped": str(mailed)})
                watch.troubles.append(Trouble("failed", "mail of manifests", "", str(mailed)))
                log.write(f"mail of manifests: {mailed}", level=logging.ERROR, event="mail_failed")
                if not as_json:
                    typer.echo(printable(f"mail of manifests: {mailed}"), err=True)
            elif mailed is not None:
                shown.append({"mail": facts_of_mail(mailed)})
                if not as_json:
                    show_mail(mailed)
    if as_json:
        show_json(shown)
    raise typer.Exit(watch.status)
