"""``ledger advance``."""

from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.common import AsJson, DryRun, Jobs, app, open_machine
from ledger.cli.nights import DatesOption, EachNight, Folders, nights_named, show_plan
from ledger.cli.output import show_result
from ledger.errors import UsageError

if TYPE_CHECKING:
    from ledger.disk.nights import NightFolder


@app.command(epilog="Example: ledger advance --date 20260102 --dry-run")
def advance(
    folder: Folders = None,
    date: DatesOption = None,
    to: Annotated[str | None, typer.Option("--to", metavar="STATE", help="State to reach; else the last.")] = None,
    jobs: Jobs = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, with --late.")] = None,
    *,
    dry_run: DryRun = False,
    final: Annotated[bool, typer.Option("--final", help="Observing has ended: number the night now.")] = False,
    late: Annotated[bool, typer.Option("--late", help="Assign frame IDs out of order; needs --reason.")] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Pair a numbered night that was rolled back as a whole: IDs may change.")
    ] = False,
    background: Annotated[
        bool, typer.Option("--background", help="Go on when the terminal closes; says how to watch and stop it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take nights forward, oldest first: raw files to products, to the archive, to the manifest.

    Killed or interrupted at any point, the same command goes on from there.
    """
    if late != (reason is not None):
        raise UsageError("--late and --reason go together: expected both or neither")
    if reason is not None and not reason.strip():
        raise UsageError("--reason is empty: expected why IDs may be out of order; it is kept for ever")
    if dry_run:
        from ledger.run import plan

        planned = EachNight(show_plan, lambda _: True, folder, date, as_json=as_json)
        with planned, open_machine(jobs, changes=False) as machine:
            nights = nights_named(machine.config, folder, date, machine.reporter.say, machine.store)
            ahead: set[str] = set()

            def foresee(night: "NightFolder") -> plan.Plan:
                found = plan.plan_advance(machine, night, to, final=final, late_reason=reason, anew=anew, ahead=ahead)
                ahead.update([night.date] if plan.is_numbered_by(machine, found) else [])
                return found

            planned.do(nights, foresee)
        return
    if background:
        from ledger.cli._background import start

        raise typer.Exit(start())
    done = EachNight(show_result, lambda result: result.succeeded, folder, date, as_json=as_json)
    with done, open_machine(jobs) as machine:
        nights = nights_named(machine.config, folder, date, machine.reporter.say, machine.store)
        done.do(
            nights,
            lambda night: machine.advance(night, to=to, final=final, late_reason=reason, anew=anew),
            machine.reporter,
        )
    raise typer.Exit(done.status)
