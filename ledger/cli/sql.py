"""``ledger sql``."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.cli.common import AsCsv, AsJson, Wide, app, can_ask, open_store, read_config
from ledger.cli.output import refuse_several, show_csv, show_json, show_table
from ledger.errors import UsageError

#: What stands for standard input.
_STANDARD_INPUT = "-"


@app.command(epilog='Example: ledger sql "SELECT date, state, files FROM night_status"')
def sql(
    statement: Annotated[
        str | None,
        typer.Argument(metavar="STATEMENT", help="One SELECT (docs/tables.md); - or none: standard input."),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Read the statement from a file.")] = None,
    *,
    schema: Annotated[bool, typer.Option("--schema", help="List the tables and views, with their columns.")] = False,
    datasette_metadata: Annotated[
        bool, typer.Option("--datasette-metadata", help="Print what Datasette takes as its metadata, and do no more.")
    ] = False,
    vertical: Annotated[bool, typer.Option("--vertical", help="Show each value on a line of its own.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    wide: Wide = False,
) -> None:
    """Run a query on a connection that cannot write.

    On a terminal that is too narrow for the rows, each value has a line of its own.
    """
    from ledger.db.connection import query

    refuse_several(json=as_json, csv=as_csv, vertical=vertical)
    if (schema or datasette_metadata) and (statement or file):
        option = "--schema" if schema else "--datasette-metadata"
        raise UsageError(f"{option} says what there is: expected no statement beside it")
    if datasette_metadata:
        _show_metadata()
        return
    if schema:
        columns, rows = _schema(as_json=as_json)
    else:
        asked = _statement(statement, file)
        with open_store(read_config()) as store:
            columns, rows = query(store.url, asked)
    if as_json:
        show_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif as_csv:
        show_csv(columns, rows)
    else:
        show_table(columns, rows, below=("columns",) if schema else (), wide=wide, vertical=vertical)


def _show_metadata() -> None:
    from ledger.db.connection import relations
    from ledger.query.canned import datasette_metadata

    with open_store(read_config()) as store:
        show_json(datasette_metadata(Path(str(store.url.database)).stem, relations(store.url)))


def _schema(*, as_json: bool) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return a row for each view and table: its name, its kind and its columns, as text if not for JSON."""
    from ledger.db.connection import relations

    with open_store(read_config()) as store:
        found = relations(store.url)
    rows = [(name, kind, columns if as_json else ", ".join(columns)) for name, kind, columns in found]
    return ["name", "kind", "columns"], rows


def _statement(argument: str | None, file: Path | None) -> str:
    """Return the statement, from wherever it is."""
    if file is not None and argument not in (None, _STANDARD_INPUT):
        raise UsageError("a statement and --file: expected one of them")
    if file is None and argument is None and can_ask():
        raise UsageError(
            "no statement: expected one SELECT, as an argument, on standard input, or in a file (--file);"
            " `ledger sql --schema` lists what there is"
        )
    if file is None and argument is not None and argument != _STANDARD_INPUT:
        text = argument
    else:
        try:
            text = sys.stdin.read() if file is None else file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as exc:
            name = "standard input" if file is None else repr(str(file))
            raise UsageError(f"{name}: cannot be read as text ({exc}); expected one SELECT") from exc
    if not text.strip():
        raise UsageError("the statement is empty: expected one SELECT, such as `SELECT * FROM night_status`")
    return text
