"""What commands print: JSON, CSV, tables, and what a run did to a night."""

import csv
import io
import json
import logging
import os
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from ledger import log
from ledger.errors import UsageError
from ledger.report import Result
from ledger.text import alike, counted, printable

if TYPE_CHECKING:
    from ledger.delivery.manifest import Listing, Sent


def show_json(value: object) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def show_csv(columns: Sequence[str] | None, rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as comma-separated values (RFC 4180), after a line with the columns' names if they are given.

    A value is as it is; only lists and mappings are JSON. What is not known is empty.
    """
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    if columns is not None:
        lines.writerow(columns)
    for row in rows:
        lines.writerow([json.dumps(value) if isinstance(value, list | dict) else value for value in row])
    typer.echo(text.getvalue(), nl=False)


def refuse_several(**chosen: bool) -> None:
    """Refuse several options of which one is enough.

    Raises
    ------
    UsageError
        With those that were given.
    """
    given = [f"--{name}" for name, is_given in chosen.items() if is_given]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: expected one of them")


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def show_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    right: Collection[str] = (),
    lead: Sequence[str] = (),
    below: Sequence[str] = (),
    spare: Sequence[str] = (),
    wide: bool = False,
    vertical: bool = False,
) -> None:
    """Print a table: drawn on a terminal, as wide as that is; tab-separated elsewhere. No text is cut.

    Where a terminal is too narrow, headings of numbers are on two lines, then long texts get lines of their own, then
    columns are left out, and that is said; if all of this is not enough, each value has a line of its own.

    Parameters
    ----------
    columns : sequence of str
        Their headings.
    rows : sequence of sequence
        Their values.
    right : collection of str
        Columns of numbers; on a terminal they are flush right.
    lead : sequence of str
        Columns that come first on a terminal.
    below : sequence of str
        Columns whose texts may have lines of their own, below their rows.
    spare : sequence of str
        Columns that may be left out, the first one first. A command that has any has an option ``--wide``.
    wide : bool
        Whatever the terminal's width, draw each row on one line.
    vertical : bool
        Give each value a line of its own, also where there is no terminal.
    """
    texts = [["" if value is None else printable(str(value)) for value in row] for row in rows]
    if not (is_terminal() or vertical):
        typer.echo("\n".join("\t".join(row) for row in (columns, *texts)))
        return
    from ledger.cli._drawing import Drawing, one_below_the_other

    width = _width() if is_terminal() else None
    drawing = Drawing(columns, texts, width or 0, right)
    drawing.lead_with(lead)
    if not (wide or vertical):
        drawing.narrow(below, spare)
    if vertical or not (wide or drawing.fits):
        for line in one_below_the_other(columns, texts, None if wide else width):
            typer.echo(line)
        return
    for line in drawing.head():
        typer.echo(line if _is_plain() else typer.style(line, bold=True))
    for line in drawing.body():
        typer.echo(line)
    if drawing.left_out:
        show_text(f"not shown here: {', '.join(drawing.left_out)}; --wide shows all")


def show_text(text: str) -> None:
    """Print a line of text; on a terminal its lines end between words, and not within a command."""
    if not is_terminal():
        typer.echo(text)
        return
    from ledger.cli._drawing import wrapped

    for line in wrapped(text, _width()):
        typer.echo(line)


def show_below(text: str) -> None:
    """Print a line below a table on a terminal, and beside rows that a program reads."""
    if is_terminal():
        show_text(text)
    else:
        typer.echo(text, err=True)


def _width() -> int:
    return shutil.get_terminal_size().columns


def _is_plain() -> bool:
    """Whether the terminal takes no bold letters, or nobody wants them (https://no-color.org)."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def show_result(result: Result, *, with_remarks: bool = True, said: set[str] | None = None) -> None:
    """Print what a run did to a night.

    Parameters
    ----------
    result : Result
        Of the run.
    with_remarks : bool
        Whether remarks are told too; they are in the log in any case.
    said : set of str, optional
        Errors that were told of other nights, and are not told again; those of this one are added.
    """
    typer.echo(f"{_night(result)}: {_done(result)}")
    for kind, text in _lines(result, said):
        if with_remarks or kind != "remark":
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


def _lines(result: Result, said: set[str] | None = None) -> Iterator[tuple[str, str]]:
    """Yield what there is to say of a night: of which kind it is, and a text, of an error only if it was not `said`."""
    if result.registered:
        yield "registered", counted(result.registered, "raw file")
    quarantined = alike(result.quarantined)
    for name, reason in quarantined:
        yield "quarantined", f"{name}: {reason}"
    if len(quarantined) < len(result.quarantined):
        yield "quarantined", f"{len(result.quarantined)}: `ledger quarantine list --date {result.date}` names all"
    for name, what in alike(result.salvaged):
        yield "salvaged", f"{name}: {what}"
    for name, what in alike(_named(result.settled)):
        yield "settled", f"{name}: {what}"
    yield from (("remark", line) for line in _remarks(result))
    yield from (("to do", text) for text in result.notes)
    for name, error in alike(result.failed):
        yield "FAILED", f"{name}: {'as above' if said and error in said else error}"
        if said is not None:
            said.add(error)
    if result.states:
        yield "products", ", ".join(f"{n} {state}" for state, n in result.states.items())
    if result.stopped:
        yield "stopped", result.stopped


def _named(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield names and what is said of them."""
    for text in texts:
        name, _, what = text.partition(": ")
        yield name, what


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
