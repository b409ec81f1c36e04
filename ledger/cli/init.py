"""``ledger init``."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.common import app, config_file, read_config


@app.command(epilog="Example: ledger init")
def init(
    *, new: Annotated[bool, typer.Option("--new", help="Begin anew, although a ledger was here before.")] = False
) -> None:
    """Create or migrate the database, and declare the states. Harmless to repeat.

    Where there is no configuration yet, the default is written to ./config.yaml first. No database is created where
    backups or products tell that there was one, unless --new says so.
    """
    from ledger.config.read import packaged_config
    from ledger.config.stages import load_stages
    from ledger.db import backup, schema
    from ledger.db.absent import how_to_return
    from ledger.db.store import Store
    from ledger.disk.access import is_folder
    from ledger.disk.places import refuse_inside
    from ledger.errors import UsageError
    from ledger.night.pipeline import pipelines

    packaged = packaged_config()
    if config_file() == packaged and not Path("config.yaml").exists():
        refuse_inside(Path.cwd())
        shutil.copyfile(packaged, "config.yaml")
        typer.echo("wrote config.yaml: set archive.root and transfer.destination in it")
    config = read_config()
    load_stages(config)
    store = Store(config.database.url)
    try:
        if not new and schema.revision(store.engine) is None and (left := how_to_return(config)):
            raise UsageError(f"no database at {store.shown}: {left}; `ledger init --new` begins a new one all the same")
        for path in backup.before_migration(store, config):
            typer.echo(f"backup before the migration: {path}")
        before, after = store.init(pipelines(config).values())
    finally:
        store.close()
    was = "created" if before is None else "up to date" if before == after else f"migrated from {before}"
    typer.echo(f"database {store.shown}: {was}, revision {after}")
    for name, pipeline in config.pipelines.items():
        site = config.site(name)
        if not site.has_nights:
            there = f" on {site.other}"
        else:
            there = "" if is_folder(pipeline.root) else " (does not exist yet)"
        typer.echo(f"{name}: nights under {pipeline.root}{there}, products to {site.place}")
