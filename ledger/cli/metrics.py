"""``ledger metrics``."""

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.common import AsJson, app, open_store, read_config
from ledger.cli.output import refuse_several, show_json


@app.command(epilog="Example: ledger metrics -o /var/lib/node_exporter/textfile/ledger.prom")
def metrics(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to this file, as a whole.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show figures for monitoring, as Prometheus reads them: nights, failures, copies, the last catch-up.

    The file is for node_exporter's collector of text files. With `metrics.file` in the configuration, catch-up writes
    it each time.
    """
    from ledger.delivery.prometheus import as_text, write
    from ledger.night.pipeline import pipelines
    from ledger.query import metrics as figures

    refuse_several(json=as_json, output=output is not None)
    config = read_config()
    with open_store(config) as store:
        found = list(figures.metrics(store, config, pipelines(config)))
    if as_json:
        show_json([figure for metric in found for figure in metric.as_json()])
    elif output is not None:
        write(found, output)
    else:
        typer.echo(as_text(found), nl=False)
