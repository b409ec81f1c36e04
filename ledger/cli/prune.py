"""``ledger prune``."""

from typing import Annotated

import typer

from ledger.cli.common import AsJson, app, open_machine
from ledger.cli.nights import DatesOption, Folders, nights_named
from ledger.cli.output import show_json
from ledger.text import alike, counted, printable


@app.command(epilog="Example: ledger prune --yes")
def prune(
    folder: Folders = None,
    date: DatesOption = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Remove the files; without it they are only counted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make room: remove files here that are proven at the destination, and old raw files whose frames all are.

    Which may go is set under `prune` in config.yaml; raw files only if `prune.raw_days` is a number. Each is proven
    again before it goes. Products come back with `ledger recall`; raw files do not: what no product has of them, their
    headers and timing files, is sent to the destination first.
    """
    from ledger.delivery.prune import prune as make_room

    with open_machine(needs_nights=True, changes=yes) as machine:
        only = None
        if folder or date:
            only = nights_named(machine.config, folder, date, machine.reporter.say, machine.store, needs_folders=False)
        nights = list(make_room(machine, only=only, removes=yes))
    if as_json:
        show_json([night.as_json() for night in nights])
    else:
        done = "removed" if yes else "could be removed"
        for night in nights:
            if not (night.products or night.raws or night.kept or night.failed):
                continue
            what = f"{counted(night.products, 'product')} and {counted(night.raws, 'raw file')}"
            typer.echo(f"night {night.date} ({night.pipeline}): {what} {done}, {night.size_bytes / 1e9:.3f} GB")
            if night.headers:
                where = ", ".join(night.archives) or "raw_headers_*.tar.xz"
                tense = "are at the destination" if yes else "are sent to the destination first"
                typer.echo(
                    f"  headers      of {counted(night.headers, 'raw file')}, with timing files, {tense}: {where}"
                )
            for reason, n in sorted(night.kept.items()):
                typer.echo(printable(f"  kept         {n} {reason}"))
            for name, reason in alike(night.failed):
                typer.echo(printable(f"  FAILED       {name}: {reason}"))
        if not yes and any(night.products or night.raws for night in nights):
            typer.echo("nothing was removed; --yes does it")
    raise typer.Exit(1 if any(night.failed for night in nights) else 0)
