"""``ledger rebuild``."""

import typer

from ledger.cli.common import AsJson, Jobs, app, open_store, read_config, watched
from ledger.cli.output import show_json, show_result


@app.command(epilog="Example: ledger rebuild")
def rebuild(*, jobs: Jobs = None, as_json: AsJson = False) -> None:
    """Make the database anew from what is on disk. For when it is lost, and there is no backup.

    The database of config.yaml must be empty or not there, and is there at the end as a whole. Headers, timing files,
    lineage, checksums and manifests tell states and frame IDs; copies are read again at the destination.
    """
    from ledger.db import backup
    from ledger.rescue import rebuild as rebuilding

    config = read_config(needs_nights=True)
    if not as_json and (found := backup.found(config)):
        typer.echo(
            f"ledger: {found[-1].path} is a backup, and has the history too: `ledger backup --restore`", err=True
        )
    with watched(config) as (reporter, stop):
        made = rebuilding.rebuild(config, reporter=reporter, jobs=jobs, stop=stop)
    with open_store(config, changes=True):
        pass  # backed up at the end
    if as_json:
        nights = [night.as_json() for night in made.nights]
        show_json({"nights": nights, "frame_ids": made.frame_ids, "lowest_id": made.lowest_id, "lost": rebuilding.LOST})
    else:
        for night in made.nights:
            show_result(night)
        typer.echo(f"{made.frame_ids} frame IDs")
        for text in rebuilding.LOST:
            typer.echo(f"  lost         {text}")
        typer.echo("`ledger audit --deep` reads everything again, and compares it")
        if made.lowest_id is not None:
            typer.echo(
                "no frame ID is given until you have excluded again what was, looked up the last one that the archive"
                f" has, and said where to go on: `{rebuilding.next_command(config, made)}`"
            )
    if not made.succeeded:
        raise typer.Exit(1)
