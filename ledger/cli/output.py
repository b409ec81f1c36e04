"""What commands print: JSON, tables, and what a run did to a night."""

import json
import sys
from collections.abc import Collection, Sequence
from typing import Any

import typer

from ledger.report import Result
from ledger.text import alike, counted, printable


def show_json(value: object) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Collection[str] = ()) -> None:
    """Print a table: drawn on a terminal, with the columns `right` flush right; tab-separated elsewhere."""
    texts = [["" if value is None else printable(str(value)) for value in row] for row in rows]
    if not sys.stdout.isatty():
        typer.echo("\n".join("\t".join(row) for row in (columns, *texts)))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    for row in texts:
        table.add_row(*(escape(text) for text in row))
    Console().print(table)


def show_result(result: Result) -> None:
    """Print what a run did to a night."""
    verbs = {"register": result.registered, **result.moved} if result.registered else result.moved
    idle = "no file went on" if result.changed or not result.succeeded else "nothing to do"
    done = ", ".join(f"{verb} {n}" for verb, n in verbs.items()) or idle
    typer.echo(f"night {result.date} ({result.pipeline}): {done}")
    if result.registered:
        typer.echo(f"  registered   {counted(result.registered, 'raw file')}")
    for name, reason in (quarantined := alike(result.quarantined)):
        typer.echo(printable(f"  quarantined  {name}: {reason}"))
    if len(quarantined) < len(result.quarantined):
        typer.echo(f"  quarantined  {len(result.quarantined)}: `ledger quarantine list --date {result.date}` names all")
    for name, what in alike(result.salvaged):
        typer.echo(printable(f"  salvaged     {name}: {what}"))
    for text in result.settled:
        typer.echo(printable(f"  settled      {text}"))
    for line in _remarks(result):
        typer.echo(printable(f"  remark       {line}"))
    for text in result.notes:
        typer.echo(printable(f"  to do        {text}"))
    for name, error in alike(result.failed):
        typer.echo(printable(f"  FAILED       {name}: {error}"))
    if result.states:
        typer.echo("  products     " + ", ".join(f"{n} {state}" for state, n in result.states.items()))
    if result.stopped:
        typer.echo(printable(f"  stopped      {result.stopped}"))


def _remarks(result: Result) -> list[str]:
    """Return a line for each kind of remark: counts by keyword share a line."""
    kinds: dict[str, list[str]] = {}
    for text, n in sorted(result.remarks.items()):
        kind, _, keyword = text.partition(": ")
        kinds.setdefault(kind, []).append(f"{keyword} {n}" if keyword else str(n))
    return [f"{kind}: {', '.join(counts)}" for kind, counts in kinds.items()]
