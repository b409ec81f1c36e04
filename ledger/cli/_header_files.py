"""A table of headers as text, or as a file of another kind by its ending."""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from ledger.config.model import Config
from ledger.disk.places import refuse_among_data
from ledger.errors import UsageError
from ledger.query.headers import Column, HeaderTable

#: Rows in hand.
_ROWS = 5000

#: Columns that a table in FITS can have (FITS 4.0 sec. 7.3.1).
_MOST_OF_FITS = 999


def write_csv(table: HeaderTable, file: TextIO, line_end: str = "\r\n") -> None:
    """Write a table as comma-separated values (RFC 4180): logical ones are True and False, missing ones empty."""
    lines = csv.writer(file, lineterminator=line_end)
    lines.writerow([column.name for column in table.columns])
    lines.writerows(table.rows())


def write_file(table: HeaderTable, path: Path) -> None:
    """Write a table to a file, which replaces one of that name when it is whole.

    Raises
    ------
    UsageError
        If its ending is that of no known kind, what writes such files is not installed, or the table does not fit.
    """
    write = writer_of(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        write(table, temporary)
        temporary.replace(path)
    except OSError as exc:
        raise UsageError(f"{path}: cannot be written ({exc.strerror or exc})") from exc
    except OverflowError as exc:
        raise UsageError(f"{path}: an integer of more than 64 bits ({exc}); leave its keyword out with -k") from exc
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def refuse_to_replace(config: Config, path: Path, *, force: bool) -> None:
    """Refuse a file that is there, and any place where nights or their copies are: raw files look like tables.

    Raises
    ------
    UsageError
        If it is such a place, or there is a file and it is not to be replaced by `force`.
    """
    refuse_among_data(config, path)
    if path.exists() and not force:
        raise UsageError(f"{path}: is there already; expected a new name, or --force to replace it")


def writer_of(path: Path) -> Callable[[HeaderTable, Path], None]:
    """Return what writes files of a name's ending.

    Raises
    ------
    UsageError
        If there is none, or it is not installed.
    """
    write = _WRITERS.get(path.suffix)
    if write is None:
        raise UsageError(f"{path}: expected a name that ends in {', '.join(_WRITERS)}")
    if path.suffix == ".parquet":
        try:
            import pyarrow as pa  # noqa: F401
        except ImportError as exc:
            raise UsageError(f"{path}: pyarrow is not installed; expected it: pip install 'ledger[tables]'") from exc
    return write


def _csv(table: HeaderTable, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        write_csv(table, file)


def _parquet(table: HeaderTable, path: Path) -> None:
    """Write a table portion by portion."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = table.columns
    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    schema = pa.schema([(column.name, types[column.kind]) for column in columns])
    rows = table.rows()
    with parquet.ParquetWriter(path, schema) as file:
        while portion := list(islice(rows, _ROWS)):
            values = [
                pa.array(_typed(column, cells), types[column.kind])
                for column, cells in zip(columns, zip(*portion, strict=True), strict=True)
            ]
            file.write_table(pa.Table.from_arrays(values, schema=schema))


def _ecsv(table: HeaderTable, path: Path) -> None:
    _astropy_table(table).write(path, format="ascii.ecsv")


def _fits(table: HeaderTable, path: Path) -> None:
    """Write a binary table; a logical column that has gaps is text there, as readers take a gap for true."""
    if len(table.columns) > _MOST_OF_FITS:
        raise UsageError(
            f"{path}: {len(table.columns)} columns, and a FITS table has {_MOST_OF_FITS} at most; choose with -k"
        )

    made = _astropy_table(table)
    for name in made.colnames:
        cells = made[name]
        if cells.dtype.kind == "b" and cells.mask.any():
            made[name] = [
                "" if is_gap else "FT"[int(value)] for value, is_gap in zip(cells.data, cells.mask, strict=True)
            ]
    made.write(path, format="fits")


def _astropy_table(table: HeaderTable) -> Any:
    """Return a table of astropy's; it is in memory as a whole."""
    from astropy.table import MaskedColumn, Table

    columns, rows = table.columns, list(table.rows())
    made = Table()
    for number, column in enumerate(columns):
        cells = list(_typed(column, [row[number] for row in rows]))
        filled = [column.kind() if cell is None else cell for cell in cells]
        made[column.name] = MaskedColumn(filled, mask=[cell is None for cell in cells], dtype=_DTYPES[column.kind])
    return made


#: What numpy calls the types.
_DTYPES = {bool: "bool", int: "int64", float: "float64", str: "str"}


def _typed(column: Column, cells: Sequence[Any]) -> Iterator[Any]:
    """Yield values as they are of the column's type; None where there is none."""
    kind = column.kind
    for cell in cells:
        if cell is None or type(cell) is kind:
            yield cell
        elif kind is str:
            yield "FT"[cell] if isinstance(cell, bool) else str(cell)
        else:
            yield kind(cell)


#: By the ending of a name.
_WRITERS = {".csv": _csv, ".parquet": _parquet, ".ecsv": _ecsv, ".fits": _fits}
