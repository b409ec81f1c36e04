"""``ledger backup``."""

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.common import AsJson, app, open_store, read_config
from ledger.cli.output import show_json, show_table
from ledger.errors import UsageError


@app.command(epilog="Example: ledger backup --list")
def backup(
    restore: Annotated[
        Path | None, typer.Option("--restore", metavar="FILE", help="Make the database of this backup.")
    ] = None,
    *,
    older: Annotated[
        bool, typer.Option("--older", help="With --restore: this one, although a backup goes further.")
    ] = False,
    show: Annotated[bool, typer.Option("--list", help="List the backups there are, newest last.")] = False,
    as_json: AsJson = False,
) -> None:
    """Back the database up, here and at the destination. Commands that change something do it by themselves.

    A backup is an SQLite file, whatever the database is. --restore makes the database of config.yaml from it, which
    must be empty or not there: so it also takes a ledger from SQLite to PostgreSQL, or back.
    """
    from ledger.clock import show_us
    from ledger.db import backup as backups
    from ledger.db import unbacked
    from ledger.rescue.restore import restore as put_back

    if show and restore is not None:
        raise UsageError("--list and --restore: expected one of them")
    config = read_config()
    if restore is not None:
        missing = put_back(config, restore, is_older_meant=older)
        if as_json:
            show_json({"restored": str(restore), "missing": missing})
            return
        typer.echo(f"{restore} is the database now")
        for text in missing:
            typer.echo(f"  missing      {text}")
        return
    if show:
        found = backups.found(config)
        if as_json:
            show_json([{"path": str(b.path), "made_us": b.made_us, "last_entry": b.last_entry} for b in found])
            return
        rows = [(show_us(b.made_us), b.last_entry, b.path) for b in found]
        show_table(("made (UT)", "entries up to", "file"), rows, right={"entries up to"}, below=("file",))
        return
    with open_store(config) as store:
        made = unbacked.make(store, config)
    if as_json:
        show_json(made)
        return
    for path in made:
        typer.echo(path)
