"""``ledger relocate``."""

from typing import Annotated

import typer

from ledger.cli.common import AsJson, DryRun, Jobs, app, open_machine
from ledger.cli.output import show_json
from ledger.text import printable


@app.command(epilog="Example: ledger relocate --dry-run")
def relocate(
    jobs: Jobs = None,
    *,
    deep: Annotated[bool, typer.Option("--deep", help="Read all files, and compare them byte by byte.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Follow nights to a root that has moved. First move them, then set the root in the configuration.

    The record of a night is changed if what is there is what is on record, by names, sizes and times. With the root
    set back, the same command takes it back. Exit 1 if a night is not as it was.
    """
    from ledger.rescue import relocate as relocating

    with open_machine(jobs, needs_nights=True, changes=not dry_run) as machine:
        found = list(relocating.relocate(machine, changes=not dry_run, deep=deep))
    if as_json:
        show_json([night.as_json() for night in found])
    for night in () if as_json else found:
        named = f"night {night.date} ({night.pipeline})"
        if night.faults:
            more = f" and {len(night.faults) - 1} more" if len(night.faults) > 1 else ""
            typer.echo(printable(f"{named}: stays registered under {night.before}: {night.faults[0]}{more}"))
        else:
            typer.echo(printable(f"{named}: {'would be' if dry_run else 'is'} registered under {night.root}"))
    if not found and not as_json:
        typer.echo("every night is registered where it is")
    raise typer.Exit(1 if any(night.faults for night in found) else 0)
