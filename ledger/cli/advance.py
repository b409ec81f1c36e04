"""``ledger advance``."""

from typing import Annotated

import typer

from ledger.cli.common import AsJson, Date, DryRun, Folder, Jobs, app, open_machine, say_if_in_both
from ledger.cli.output import show_json, show_result
from ledger.errors import UsageError


@app.command(epilog="Example: ledger advance --date 20260102 --dry-run")
def advance(
    folder: Folder = None,
    date: Date = None,
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
    as_json: AsJson = False,
) -> None:
    """Take a night forward: raw files to products, to the archive, to the manifest.

    Killed or interrupted at any point, the same command goes on from there.
    """
    from ledger.disk.nights import find_night

    if late != (reason is not None):
        raise UsageError("--late and --reason go together: expected both or neither")
    if reason is not None and not reason.strip():
        raise UsageError("--reason is empty: expected why IDs may be out of order; it is kept for ever")
    with open_machine(jobs, changes=not dry_run) as machine:
        night = find_night(machine.config, date=date, folder=folder)
        say_if_in_both(machine, night, date)
        if dry_run:
            from ledger.run import plan

            planned = plan.plan_advance(machine, night, to, final=final, late_reason=reason, anew=anew)
            show_json(planned.as_json()) if as_json else typer.echo("\n".join(plan.in_words(planned)))
            return
        result = machine.advance(night, to=to, final=final, late_reason=reason, anew=anew)
    show_result(result, as_json=as_json)
    raise typer.Exit(0 if result.succeeded else 1)
