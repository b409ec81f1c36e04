"""Tables as a terminal shows them: every text whole, however narrow the terminal is."""

import re
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from rich.cells import cell_len

#: Blanks between two columns.
_GAP = 2

#: The longest rule between two rows.
_RULE = 40

#: A command, within a text or all of it; it is copied as a whole, so no line ends within it.
_COMMAND = re.compile(r"`[^`]*`|^ledger .*")

#: A part of a word with a comma at its end, as JSON without blanks has them, or the last part.
_PART = re.compile(r"[^,]*,|[^,]+$")

#: A blank at which no line ends.
_FIXED = "\xa0"


@dataclass(slots=True)
class _Row:
    """A row: its cells, and texts that have lines of their own below it, by column."""

    cells: list[str]
    below: dict[str, str] = field(default_factory=dict)


class Drawing:
    """A table on its way to a terminal.

    Parameters
    ----------
    columns : sequence of str
        Their names.
    rows : sequence of sequence of str
        Their texts.
    width : int
        Characters of a line of the terminal.
    right : collection of str
        Columns of numbers: flush right, and their headings may have two lines.
    """

    def __init__(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, right: Collection[str] = ()
    ) -> None:
        self._columns = list(columns)
        self._rows = [_Row(list(row)) for row in rows]
        self._width = width
        self._right = right
        self._is_broken = False
        self.left_out: list[str] = []

    @property
    def fits(self) -> bool:
        """Whether the terminal is wide enough."""
        return self._room() >= 0

    def lead_with(self, names: Sequence[str]) -> None:
        """Let some columns come first."""
        first = [self._columns.index(name) for name in names if name in self._columns]
        places = first + [place for place in range(len(self._columns)) if place not in first]
        self._columns = [self._columns[place] for place in places]
        for row in self._rows:
            row.cells = [row.cells[place] for place in places]

    def narrow(self, below: Sequence[str], spare: Sequence[str]) -> None:
        """Make the table narrower until it fits, or no more can be done.

        Parameters
        ----------
        below : sequence of str
            Columns whose texts may have lines of their own below their rows.
        spare : sequence of str
            Columns that may be left out, the first one first.
        """
        if self.fits:
            return
        self._is_broken = True
        for name in below:
            if not self.fits and name in self._columns:
                self._move_below(name)
        for name in spare:
            if not self.fits and name in self._columns:
                self._drop(name)
                self.left_out.append(name)

    def head(self) -> list[str]:
        """Return the lines of the headings."""
        headings, widths = list(map(self._heading, self._columns)), self._widths()
        height = max(map(len, headings), default=0)
        lines = zip(*([""] * (height - len(heading)) + heading for heading in headings), strict=True)
        return [self._line(line, widths) for line in lines]

    def body(self) -> Iterator[str]:
        """Yield the lines of the rows; what rows one after the other have below them is said once, under the last."""
        widths = self._widths()
        for below, group in groupby(self._rows, key=lambda row: row.below):
            rows = list(group)
            yield from (self._line(row.cells, widths) for row in rows)
            of_these = f", of these {len(rows)}" if len(rows) > 1 else ""
            for name, text in below.items():
                yield from wrapped(f"  {name}{of_these}: {_with_whole_commands(text)}", self._width)

    def _heading(self, name: str) -> list[str]:
        """Return the lines of a heading: two end after the comma, or before the last word."""
        first, _, last = name.partition(", ") if ", " in name else name.rpartition(" ")
        return [first, last] if first and self._is_broken and name in self._right else [name]

    def _widths(self) -> list[int]:
        return [
            max(map(cell_len, [*self._heading(name), *(row.cells[place] for row in self._rows)]))
            for place, name in enumerate(self._columns)
        ]

    def _room(self) -> int:
        """Return how many characters of a line are left; below 0: missing."""
        widths = self._widths()
        return self._width - sum(widths) - _GAP * (len(widths) - 1)

    def _move_below(self, name: str) -> None:
        """Move texts of a column that have no room beside the others; if none has, there is no column."""
        place = self._columns.index(name)
        room = self._room() + self._widths()[place]
        longest = room if room >= cell_len(name) else 0
        for row in self._rows:
            if cell_len(row.cells[place]) > longest:
                row.below[name], row.cells[place] = row.cells[place], ""
        if not any(row.cells[place] for row in self._rows):
            self._drop(name)

    def _drop(self, name: str) -> None:
        place = self._columns.index(name)
        del self._columns[place]
        for row in self._rows:
            del row.cells[place]

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        texts = []
        for name, text, width in zip(self._columns, cells, widths, strict=True):
            blanks = " " * (width - cell_len(text))
            texts.append(blanks + text if name in self._right else text + blanks)
        return (" " * _GAP).join(texts).rstrip()


def wrapped(text: str, width: int | None, indent: int | None = None) -> list[str]:
    """Return a text as lines that keep to a width: they end between words, and never within a command in backquotes.

    Parameters
    ----------
    text : str
        One line.
    width : int or None
        Characters of a line; a longer word goes on after a comma, or has a longer line to itself. None: all of it is
        one line.
    indent : int, optional
        Blanks before all lines but the first; else two more than that has.
    """
    if width is None or cell_len(text) <= width:
        return [text.replace(_FIXED, " ")]
    if indent is None:
        indent = len(text) - len(text.lstrip()) + 2
    lines = textwrap.wrap(
        _with_whole_commands(text),
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
    return [part.replace(_FIXED, " ") for line in lines for part in _at_commas(line, width)]


def _at_commas(line: str, width: int) -> Iterator[str]:
    """Yield a line of one word; in several parts that end at commas, if it is too long."""
    word = line.lstrip()
    indent = line[: len(line) - len(word)]
    if cell_len(line) <= width or " " in word:
        yield line
        return
    part = indent
    for piece in _PART.findall(word):
        if part != indent and cell_len(part + piece) > width:
            yield part
            part = indent
        part += piece
    yield part


def _with_whole_commands(text: str) -> str:
    return _COMMAND.sub(lambda command: command[0].replace(" ", _FIXED), text)


def one_below_the_other(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    """Yield rows of a table as lines: a column and its value on each, and a rule between rows.

    Parameters
    ----------
    columns : sequence of str
        Their names.
    rows : sequence of sequence of str
        The values.
    width : int or None
        Characters of a line; None: each value is on one.
    """
    names = max(map(cell_len, columns), default=0) + _GAP
    for number, row in enumerate(rows):
        if number:
            yield "-" * min(width or _RULE, _RULE)
        for name, value in zip(columns, row, strict=True):
            longest = max(map(cell_len, value.split()), default=0)
            is_beside = width is None or names + longest <= width
            line = f"{name}{' ' * (names - cell_len(name))}{value}".rstrip()
            yield from wrapped(line, width, names if is_beside else 2 * _GAP)
