"""``ledger catch-up``."""

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from ledger import log
from ledger.cli.common import AsJson, Jobs, app, begin_log, chosen_config, open_machine, open_store, read_config
from ledger.cli.output import facts_of_mail, show_json, show_mail, show_result
from ledger.errors import LedgerError, UsageError
from ledger.text import printable

if TYPE_CHECKING:
    from ledger.config.model import Config
    from ledger.disk.nights import NightFolder
    from ledger.run.machine import Machine


@app.command(name="catch-up", epilog="Example, in crontab: 17 * * * * ledger --config /etc/ledger/config.yaml catch-up")
def catch_up(jobs: Jobs = None, *, as_json: AsJson = False) -> None:
    """Advance every unfinished night under the roots, oldest first. Says nothing when there is nothing to do.

    With `mail.automatic: true` it ends with the mail of all finished nights that were not mailed, and with
    `report.folder` with the pages of the nights that it finished.
    """
    from ledger.config.read import read_alerting
    from ledger.delivery.notify import Trouble
    from ledger.delivery.outstanding import send_unattended, unconfirmed
    from ledger.delivery.watch import Watch
    from ledger.run import catch_up as catching_up

    shown: list[dict[str, Any]] = []
    said: set[str] = set()
    worked_on: list[NightFolder] = []
    try:
        config = read_config()
    except UsageError:
        if told := read_alerting(chosen_config(), os.environ):
            with Watch(told, partial(typer.echo, err=True)):
                begin_log(told)
                raise
        raise
    try:
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
                    worked_on.append(night)
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
                for complaint in _write_pages(machine, worked_on):
                    typer.echo(printable(complaint), err=True)  # the nights are done all the same
                    log.write(complaint, level=logging.ERROR, event="page_failed")
    finally:
        _write_figures(config)
    if as_json:
        show_json(shown)
    raise typer.Exit(watch.status)


def _write_pages(machine: "Machine", worked_on: "list[NightFolder]") -> list[str]:
    """Write the pages of nights that are finished now, if they are wanted; return what could not be written."""
    if not worked_on or machine.config.report.folder is None:
        return []
    from ledger.pages.publish import write_finished

    return write_finished(machine.store, machine.config, machine.pipelines, worked_on)


def _write_figures(config: "Config") -> None:
    """Write figures for monitoring, if they are wanted; what keeps them from being written is told, and no more."""
    if config.metrics.file is None:
        return
    from ledger.delivery import prometheus
    from ledger.night.pipeline import pipelines
    from ledger.query.metrics import metrics

    try:
        with open_store(config) as store:
            prometheus.write(metrics(store, config, pipelines(config)), config.metrics.file)
    except Exception as exc:  # noqa: BLE001  the nights are done all the same
        fault = f"no figures for monitoring: {exc}"
        typer.echo(printable(fault), err=True)
        log.write(fault, level=logging.ERROR, event="figures_failed")
