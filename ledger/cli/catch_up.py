"""``ledger catch-up``."""

import typer

from ledger.cli.common import AsJson, Jobs, app, open_machine
from ledger.cli.output import show_json, show_result
from ledger.errors import LedgerError


@app.command(name="catch-up", epilog="Example, in crontab: 17 * * * * ledger --config /etc/ledger/config.yaml catch-up")
def catch_up(jobs: Jobs = None, *, as_json: AsJson = False) -> None:
    """Advance every unfinished night under the roots, oldest first. Says nothing when there is nothing to do."""
    from ledger.run import catch_up as catching_up

    shown = []
    said: set[str] = set()
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
                show_result(outcome, with_remarks=False, said=said)
    if as_json:
        show_json(shown)
    raise typer.Exit(0 if succeeded else 1)
