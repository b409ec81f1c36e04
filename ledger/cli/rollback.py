"""``ledger rollback``, also spelled ``ledger restore``."""

from typing import Annotated

import typer

from ledger.cli.common import AsJson, Date, DryRun, Folder, Jobs, app, can_ask, open_machine, say_if_in_both
from ledger.cli.output import show_json, show_result
from ledger.errors import UsageError


@app.command(epilog="Example: ledger rollback /data/archive/20260102 --to fixed")
@app.command(name="restore", help="The same as `rollback`.", epilog="Example: ledger restore /data/archive/20260102")
def rollback(
    folder: Folder = None,
    date: Date = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="STATE", help="State to go back to; the first by default.")
    ] = None,
    jobs: Jobs = None,
    *,
    dry_run: DryRun = False,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Although the manifest was mailed: write what is withdrawn.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a night back. To raw, its folder is as it was before the first advance."""
    from ledger.disk.nights import find_night
    from ledger.run import plan

    with open_machine(jobs, changes=not dry_run) as machine:
        night = find_night(machine.config, date=date, folder=folder)
        say_if_in_both(machine, night, date)
        if to is None:
            to = machine.pipelines[night.pipeline].states[0]
        planned = plan.plan_rollback(machine, night, to, withdraws=withdraw)
        if dry_run:
            show_json(planned.as_json()) if as_json else typer.echo("\n".join(plan.in_words(planned)))
            return
        if not yes:
            typer.echo("\n".join(plan.in_words(planned)), err=True)
            if not can_ask():
                raise UsageError("rollback was not confirmed: expected a terminal to ask on, or --yes")
            typer.confirm("Roll back?", abort=True, err=True)
        result = machine.rollback(night, to=to, withdraws=withdraw)
    show_result(result, as_json=as_json)
    raise typer.Exit(0 if result.succeeded else 1)
