"""``ledger sql``."""

from typing import Annotated

import typer

from ledger.cli.common import AsJson, app, open_store, read_config
from ledger.cli.output import show_json, show_table


@app.command(epilog='Example: ledger sql "SELECT date, state, files FROM night_status"')
def sql(
    statement: Annotated[str, typer.Argument(metavar="STATEMENT", help="One SELECT; see docs/tables.md.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Run a query on a connection that cannot write."""
    from ledger.db.connection import query

    config = read_config()
    with open_store(config) as store:
        columns, rows = query(store.url, statement)
    if as_json:
        show_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        show_table(columns, rows)
