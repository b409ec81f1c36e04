"""``ledger rollback``, also spelled ``ledger restore``."""

from typing import Annotated, Any

import typer

from ledger.cli.common import AsJson, DryRun, Jobs, app, can_ask, open_machine
from ledger.cli.nights import DatesOption, EachNight, Folders, nights_named, show_plan
from ledger.cli.output import show_result
from ledger.errors import UsageError


@app.command(epilog="Example: ledger rollback /data/archive/20260102 --to fixed")
@app.command(name="restore", help="The same as `rollback`.", epilog="Example: ledger restore /data/archive/20260102")
def rollback(
    folder: Folders = None,
    date: DatesOption = None,
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
    """Take nights back, newest first. To raw, a night's folder is as it was before the first advance."""
    from ledger.run import plan

    show = show_plan if dry_run else show_result
    shown = EachNight[Any](
        show, lambda found: not found.stopped if dry_run else found.succeeded, folder, date, as_json=as_json
    )
    with shown, open_machine(jobs, changes=not dry_run) as machine:
        nights = nights_named(machine.config, folder, date, machine.reporter.say, machine.store)[::-1]
        targets = {night: machine.pipelines[night.pipeline].states[0] if to is None else to for night in nights}
        plans = {}
        for night, target in targets.items():
            with shown.telling(night):
                planned = plan.plan_rollback(machine, night, target, withdraws=withdraw)
                if planned.stopped and len(nights) == 1:
                    raise UsageError(planned.stopped)
                plans[night] = planned
        if dry_run:
            shown.do(list(plans), plans.__getitem__)
        if dry_run or not plans:
            raise typer.Exit(shown.status)
        if not yes and not all(planned.stopped for planned in plans.values()):
            typer.echo("\n".join(line for planned in plans.values() for line in plan.in_words(planned)), err=True)
            if not can_ask():
                raise UsageError("rollback was not confirmed: expected a terminal to ask on, or --yes")
            typer.confirm("Roll back?", abort=True, err=True)
        shown.do(
            list(plans), lambda night: machine.rollback(night, to=targets[night], withdraws=withdraw), machine.reporter
        )
    raise typer.Exit(shown.status)
