"""``ledger receipt``."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.common import AsJson, alert, app, open_store, read_config
from ledger.cli.output import show_json
from ledger.text import counted, printable


@app.command(epilog="Example: ledger receipt confirmed_20260102.csv")
def receipt(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What the archive confirms: frame IDs, sizes, SHA-256.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Compare what the archive says that it has with what was sent; what agrees is confirmed, on record.

    Its last word on a product counts, until the product is withdrawn. Lines of frame ID (or file name), size in bytes
    and, if the archive says, SHA-256, separated by | , ; or tabs. Exit 1 if a frame is unknown, withdrawn, differs, or
    was mailed and is not confirmed.
    """
    from ledger.delivery.notify import contradictions
    from ledger.delivery.receipt import receive

    config = read_config()
    with open_store(config, changes=True) as store:
        found = receive(store, config, file)
        alert(store, config, contradictions(file.name, found.differing), partial(typer.echo, err=True))
    if as_json:
        show_json(found.as_json())
    else:
        typer.echo(f"confirmed: {counted(len(found.confirmed), 'product')}")
        for frame_id in found.unknown:
            typer.echo(f"  unknown      {frame_id}: no product was sent under this frame ID")
        for frame_id in found.withdrawn:
            typer.echo(f"  withdrawn    {frame_id}: it was sent, withdrawn, and not sent again; tell the archive")
        for frame_id, what in found.differing:
            typer.echo(printable(f"  DIFFERING    {frame_id}: {what}"))
        for frame_id in found.missing:
            typer.echo(f"  missing      {frame_id}: mailed, and not confirmed")
        if found.uncompared:
            typer.echo(printable(f"  not compared {found.uncompared}"))
    raise typer.Exit(0 if found.succeeded else 1)
