"""``ledger headers``."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.common import AsJson, app, open_store, read_config, watched
from ledger.cli.nights import DatesOption, nights_named
from ledger.cli.output import refuse_several
from ledger.errors import Interrupted, NotReady, UsageError
from ledger.text import counted, printable

if TYPE_CHECKING:
    from ledger.config.model import Config
    from ledger.query.headers import HeaderTable, Source


@app.command(
    epilog="Example: ledger headers --date 20260102 -k OBJECT -k 'U_*' --where \"OBJECT = 'AB Aur' AND U_SYNC\""
)
def headers(
    folder: Annotated[
        list[Path] | None, typer.Argument(metavar="[FOLDER]...", help="Nights' folders, dates, or any folders.")
    ] = None,
    date: DatesOption = None,
    keyword: Annotated[
        list[str] | None,
        typer.Option("--keyword", "-k", metavar="K", help="Keywords, with * and ?; may be repeated. All by default."),
    ] = None,
    where: Annotated[
        str | None, typer.Option("--where", metavar="SQL", help="Only rows of which this is true.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A .csv, .parquet, .ecsv or .fits file.")
    ] = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="With -o: replace a file that is there.")] = False,
    every: Annotated[bool, typer.Option("--all", help="All nights.")] = False,
    paths_only: Annotated[bool, typer.Option("--paths-only", help="Print paths alone, one a line.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the headers of nights' products, or of the FITS files of any folder, as a table, comma-separated.

    A row a product: its path, frame ID and sibling_set (products of one group share it), and the values of its header;
    of a .fz, those of the image in it. Exit 1 if a file could not be read.
    """
    from ledger.cli._header_files import refuse_to_replace, write_csv, write_file, writer_of
    from ledger.query.headers import HeaderTable

    refuse_several(json=as_json, output=output is not None, **{"paths-only": paths_only})
    config = read_config()
    if output is not None:
        writer_of(output)
        refuse_to_replace(config, output, force=force)
    keywords = [word.strip() for words in keyword or () for word in words.split(",")]
    faults: list[str] = []
    with HeaderTable(keywords, where, config.instrument.cards.frame_id) as table:
        with watched(config, logs=False) as (reporter, stop):
            sources = _sources(config, folder or [], date or [], every=every, say=reporter.say)
            reporter.phase("headers", len(sources))
            for source in sources:
                if stop.signal_number is not None:
                    raise Interrupted(stop.signal_number, "stopped in order; nothing was written")
                faults += _read(table, source)
                reporter.advance()
            reporter.end()
        table.finish()
        for text in (*faults, *_remarks(table)):
            typer.echo(printable(text), err=True)
        if output is not None:
            write_file(table, output)
        elif as_json:
            _show_json(table)
        elif paths_only:
            sys.stdout.writelines(f"{path}\n" for path, *_ in table.rows())
        else:
            write_csv(table, sys.stdout, line_end="\n" if sys.stdout.isatty() else "\r\n")
    raise typer.Exit(1 if faults else 0)


def _sources(
    config: "Config", folders: Sequence[Path], dates: Sequence[str], *, every: bool, say: Callable[[str], None]
) -> "list[Source]":
    """Return the files whose headers are rows: nights' products, oldest first, then those of other folders."""
    from ledger.disk.nights import night_of
    from ledger.night import record
    from ledger.query.headers import files_of, products_of

    others = [folder for folder in folders if folder.is_dir() and not _is_night(config, folder)]
    named = [folder for folder in folders if folder not in others]
    found: list[Source] = []
    if named or dates or every:
        with open_store(config) as store:
            if every:
                known = record.dates(store)
                nights = [night_of(config, name, date) for name in config.pipelines for date in known[name]]
            else:
                nights = nights_named(config, named, dates, say, store, needs_folders=False)
            for night in nights:
                products, n_away = products_of(store, config, night)
                found += products
                if n_away:
                    say(f"night {night.date}: {counted(n_away, 'product')} are on another host only, and left out")
    elif not others:
        raise UsageError("no night is named; expected a date, a folder, or --all")
    return [*found, *(source for folder in others for source in files_of(folder))]


def _is_night(config: "Config", folder: Path) -> bool:
    """Whether a folder is a night of the ledger's, whose products are on record."""
    from ledger.disk.dates import is_date

    place = folder.resolve()
    return is_date(place.name) and any(place.parent == p.root.resolve() for p in config.pipelines.values())


def _read(table: "HeaderTable", source: "Source") -> list[str]:
    """Add a file to a table; return what could not be read of it."""
    try:
        return [f"{source.path}: {fault}" for fault in table.add(source)]
    except (UsageError, NotReady) as exc:
        return [str(exc)]


def _remarks(table: "HeaderTable") -> list[str]:
    lacking = [f"no keyword is like {pattern!r} in any header" for pattern in table.unmatched]
    return [*lacking, *(column.remark for column in table.columns if column.remark is not None)]


def _show_json(table: "HeaderTable") -> None:
    """Print an object a row, as a list, without having all of it in memory."""
    names = [column.name for column in table.columns]
    between = "["
    for row in table.rows():
        cells = dict(zip(names, map(_finite, row), strict=True))
        sys.stdout.write(f"{between}\n{json.dumps(cells, ensure_ascii=False, allow_nan=False)}")
        between = ","
    sys.stdout.write("\n]\n" if between == "," else "[]\n")


def _finite(value: object) -> object:
    """Return a value as JSON can hold it: a number beyond all floats (``1E400``) is text."""
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)
