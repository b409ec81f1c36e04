"""``ledger explain``."""

from dataclasses import asdict
from typing import Annotated

import typer

from ledger.cli.common import AsJson, app, open_store, read_config
from ledger.cli.output import show_json
from ledger.text import printable


@app.command(epilog="Example: ledger explain vcam1/vcam1_06:00:00.123456789.fits")
def explain(
    name: Annotated[str, typer.Argument(metavar="FILE|FRAMEID", help="A raw file, a product, or a frame ID.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Say which state a file is in, why it is there, its last error, and the next command."""
    from ledger.night.pipeline import pipelines
    from ledger.query import explanation, history

    config = read_config()
    with open_store(config) as store:
        found = explanation.explain(store, config, pipelines(config), history.find(store, name))
    if as_json:
        show_json(asdict(found))
        return
    typer.echo(f"{found.name}: {found.state}")
    typer.echo(printable(f"  because     {found.because}"))
    if found.last_error:
        typer.echo(printable(f"  last error  {found.last_error}"))
    for key, value in found.facts.items():
        typer.echo(f"  {key:<11} {value}")
    typer.echo(printable(f"  next        {found.next_command or 'nothing to do'}"))
