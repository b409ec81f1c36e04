"""``ledger sql``."""

from typing import Annotated

import typer

from ledger.cli.common import AsJson, app, open_store, read_config, show_json, show_table
from ledger.errors import BadInput


@app.command(epilog='Example: ledger sql "SELECT date, state, files FROM night_status"')
def sql(
    statement: Annotated[str, typer.Argument(metavar="STATEMENT", help="One SELECT; see docs/tables.md.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Run a query on a connection that cannot write."""
    from sqlalchemy.exc import DBAPIError

    from ledger.database import read_only

    config = read_config()
    with open_store(config) as store:
        engine = read_only(store.url)
        try:
            with engine.connect() as connection:
                result = connection.exec_driver_sql(statement)
                columns = list(result.keys()) if result.returns_rows else []
                rows = result.fetchall() if result.returns_rows else []
        except DBAPIError as exc:
            reason = str(exc.orig).strip().splitlines()[0]
            raise BadInput(f"sql: {reason}; expected one statement that only reads") from exc
        finally:
            engine.dispose()
    if as_json:
        show_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        show_table(columns, [tuple(row) for row in rows])
