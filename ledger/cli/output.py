"""What commands print: JSON, tables, and what a run did to a night."""

import json
import logging
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from ledger import log
from ledger.report import Result
from ledger.text import alike, counted, printable

if TYPE_CHECKING:
    from ledger.delivery.manifest import Listing, Sent


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
    typer.echo(f"{_night(result)}: {_done(result)}")
    for kind, text in _lines(result):
        typer.echo(printable(f"  {kind:<12} {text}"))


#: Levels of what is told of a night in the log; of all else it is information.
_LEVELS = {
    "FAILED": logging.ERROR,
    "quarantined": logging.WARNING,
    "to do": logging.WARNING,
    "stopped": logging.WARNING,
}


def log_result(result: Result) -> None:
    """Write the same to the log."""
    facts: dict[str, Any] = {"pipeline": result.pipeline, "date": result.date, "command": result.command}
    log.write(f"{_night(result)}: {result.command}: {_done(result)}", event="done", **facts)
    for kind, text in _lines(result):
        event = kind.lower().replace(" ", "_")
        level = _LEVELS.get(kind, logging.INFO)
        log.write(f"{_night(result)}: {kind.lower()}: {text}", level=level, event=event, **facts)


def _night(result: Result) -> str:
    return f"night {result.date} ({result.pipeline})"


def _done(result: Result) -> str:
    verbs = {"register": result.registered, **result.moved} if result.registered else result.moved
    idle = "no file went on" if result.changed or not result.succeeded else "nothing to do"
    return ", ".join(f"{verb} {n}" for verb, n in verbs.items()) or idle


def _lines(result: Result) -> Iterator[tuple[str, str]]:
    """Yield what there is to say of a night: of which kind it is, and a text."""
    if result.registered:
        yield "registered", counted(result.registered, "raw file")
    quarantined = alike(result.quarantined)
    for name, reason in quarantined:
        yield "quarantined", f"{name}: {reason}"
    if len(quarantined) < len(result.quarantined):
        yield "quarantined", f"{len(result.quarantined)}: `ledger quarantine list --date {result.date}` names all"
    for name, what in alike(result.salvaged):
        yield "salvaged", f"{name}: {what}"
    yield from (("settled", text) for text in result.settled)
    yield from (("remark", line) for line in _remarks(result))
    yield from (("to do", text) for text in result.notes)
    for name, error in alike(result.failed):
        yield "FAILED", f"{name}: {error}"
    if result.states:
        yield "products", ", ".join(f"{n} {state}" for state, n in result.states.items())
    if result.stopped:
        yield "stopped", result.stopped


def _remarks(result: Result) -> list[str]:
    """Return a line for each kind of remark: counts by keyword share a line."""
    kinds: dict[str, list[str]] = {}
    for text, n in sorted(result.remarks.items()):
        kind, _, keyword = text.partition(": ")
        kinds.setdefault(kind, []).append(f"{keyword} {n}" if keyword else str(n))
    return [f"{kind}: {', '.join(counts)}" for kind, counts in kinds.items()]


def facts_of_mail(sent: "Sent") -> dict[str, Any]:
    """Return the facts of a mail as plain values."""
    return {**sent.listing.as_json(), "file": sent.file and str(sent.file), "message_id": sent.message_id}


def show_mail(sent: "Sent") -> None:
    """Print what was mailed; a mail that is a file was not."""
    show_listing(sent.listing)
    if sent.file is None:
        typer.echo(f"  sent to {', '.join(sent.recipients)} ({sent.message_id})")
    else:
        to = ", ".join(sent.recipients) or "whom it is for: mail.recipients is empty"
        typer.echo(f"  written to {sent.file}, not sent: send it to {to}")


def show_listing(listing: "Listing") -> None:
    """Print what a manifest lists."""
    typer.echo(f"{listing.name}: {counted(len(listing.lines), 'product')}, {listing.size_bytes} bytes")
    if listing.missing:
        typer.echo(f"  {listing.missing}")
