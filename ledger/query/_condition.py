"""A condition in SQL on a table of headers: evaluated in memory, where nothing else can be reached."""

import difflib
import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

from ledger.errors import UsageError

#: Texts, names in quotes, and words.
_WORDS = re.compile(r"""'(?:[^']|'')*'|"((?:[^"]|"")*)"|([A-Za-z_]\w*)""")

#: What a condition may do: read the table. No file is reached, and no extension loaded.
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION})
_FORBIDDEN = frozenset({"load_extension"})

#: The largest integer that SQLite holds.
_MOST = 2**63 - 1


class Condition:
    """A condition.

    Parameters
    ----------
    text : str
        An expression in SQLite's SQL; a keyword with a hyphen stands in double quotes.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        matches = list(_WORDS.finditer(text))
        self._quoted = [match[1].replace('""', '"') for match in matches if match[1] is not None]
        self._names = {name.casefold() for name in (*self._quoted, *(m[2] for m in matches if m[2] is not None))}

    def names(self, column: str) -> bool:
        """Whether the condition may name a column."""
        return column.casefold() in self._names

    def numbers(self, columns: Sequence[str], known: Sequence[str], rows: Iterable[Sequence[Any]]) -> set[int]:
        """Return which rows it is true of.

        Parameters
        ----------
        columns : sequence of str
            Those that it names.
        known : sequence of str
            All that there are, for messages.
        rows : iterable of sequence
            The values of `columns`.

        Returns
        -------
        set of int
            Numbers of rows, from 0.

        Raises
        ------
        UsageError
            If it is no condition on these columns.
        """
        there = {column.casefold() for column in known}
        if strange := [name for name in self._quoted if name.casefold() not in there]:
            raise UsageError(f"--where {self._text!r}: no column {strange[0]!r}{_near(strange[0], known)}")
        with closing(sqlite3.connect(":memory:")) as table:
            quoted = "".join(', "{}"'.format(column.replace('"', '""')) for column in columns)
            marks = ", ".join("?" * (len(columns) + 1))
            try:
                table.execute(f"CREATE TABLE headers (row_number INTEGER PRIMARY KEY{quoted})")
                table.executemany(
                    f"INSERT INTO headers VALUES ({marks})",  # noqa: S608  marks of ours
                    ((number, *map(_storable, row)) for number, row in enumerate(rows)),
                )
                table.set_authorizer(_authorize)
                found = table.execute(f"SELECT row_number FROM headers WHERE (\n{self._text}\n)")  # noqa: S608
                return {number for (number,) in found}
            except (sqlite3.Error, sqlite3.Warning, ValueError) as exc:
                raise UsageError(f"--where {self._text!r}: {_in_words(str(exc), known)}") from exc


def _storable(value: Any) -> Any:
    return float(value) if isinstance(value, int) and abs(value) > _MOST else value


def _authorize(action: int, _first: str | None, second: str | None, *_more: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED and second not in _FORBIDDEN else sqlite3.SQLITE_DENY


def _in_words(message: str, known: Sequence[str]) -> str:
    name = message.removeprefix("no such column: ")
    if name != message:
        return f"no column {name!r}{_near(name, known)}; a keyword with a hyphen stands in double quotes"
    if "authorized" in message or "prohibited" in message:
        return f"{message}: a condition reads the table of headers only"
    return f"{message}; expected a condition, such as OBJECT = 'AB Aur' AND U_SYNC"


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.upper(), known, n=3)
    return f"; there is {', '.join(near)}" if near else f" in any of the headers ({len(known)} columns)"
