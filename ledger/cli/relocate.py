"""``ledger relocate``."""

from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.common import AsJson, DryRun, Jobs, app, open_machine
from ledger.cli.nights import DatesOption, Folders, nights_named
from ledger.cli.output import show_json
from ledger.errors import UsageError
from ledger.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ledger.disk.nights import NightFolder
    from ledger.run.machine import Machine


@app.command(epilog="Example: ledger relocate --dry-run")
def relocate(
    folder: Folders = None,
    date: DatesOption = None,
    jobs: Jobs = None,
    *,
    copies: Annotated[
        bool, typer.Option("--copies", help="Follow copies to another destination; nights may be named.")
    ] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Read all files, and compare them byte by byte.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Follow nights to a root that has moved, or their copies to a destination. First move them, and configure it.

    The record of a night is changed if what is there is what is on record, by names, sizes and times. Copies are always
    read, and proven where they are now; nights of which there is nothing stay as they are. With the configuration set
    back, the same command takes it back. Exit 1 if a night is not as it was.
    """
    from ledger.delivery.moved import follow
    from ledger.rescue import relocate as relocating

    if (folder or date) and not copies:
        raise UsageError("roots are followed for all nights: expected no nights, or --copies with them")
    with open_machine(jobs, needs_nights=not copies, changes=not dry_run) as machine:
        if copies:
            found = list(follow(machine, _nights(machine, folder, date), changes=not dry_run))
        else:
            found = list(relocating.relocate(machine, changes=not dry_run, deep=deep))
    what, stays, is_ = ("its copies", "stay", "are") if copies else ("it", "stays", "is")
    if as_json:
        show_json([night.as_json() for night in found])
    for night in () if as_json else found:
        named = f"night {night.date} ({night.pipeline})"
        if night.faults:
            more = f" and {len(night.faults) - 1} more" if len(night.faults) > 1 else ""
            typer.echo(printable(f"{named}: {what} {stays} on record at {night.before}: {night.faults[0]}{more}"))
        else:
            typer.echo(printable(f"{named}: {what} {'would be' if dry_run else is_} on record at {night.now}"))
        for note in night.notes:
            typer.echo(printable(f"  {note}"))
    if not found and not as_json:
        typer.echo(f"every night is on record where {what} {is_}")
    raise typer.Exit(1 if any(night.faults for night in found) else 0)


def _nights(machine: "Machine", folders: "Sequence[Path] | None", dates: "Sequence[str] | None") -> "list[NightFolder]":
    """Return the nights that are named; without names, those that today's destination has a folder of."""
    from ledger.delivery.moved import dates_there
    from ledger.disk.nights import night_of
    from ledger.night import record

    config, store = machine.config, machine.store
    if folders or dates:
        return nights_named(config, folders, dates, machine.reporter.say, store, needs_folders=False)
    known = record.dates(store)
    there = {name: dates_there(config.site(name)) for name in config.pipelines if known[name]}
    return [night_of(config, name, date) for name in there for date in known[name] if date in there[name]]
