"""Rows of timing files, decoded into columns of integers: at once where all have one width, else word by word."""

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.base import BadInput
from stages.fits import native

Int64Array = npt.NDArray[np.int64]

#: Columns with their number of decimals: the unit of the integers is the last decimal.  With an acquisition
#: time as in milk's ``logshmim.c``: ``%10ld  %10lu  %15.9lf   %20.9lf  %17.6lf   %10ld   %10ld``.
COLUMNS = {
    "cube_index": 0,
    "main_index": 0,
    "since_start_ns": 9,
    "logged_ns": 9,
    "acquired_us": 6,
    "cnt0": 0,
    "cnt1": 0,
}

OLD_COLUMNS = {name: decimals for name, decimals in COLUMNS.items() if name != "acquired_us"}

#: More digits never fit 64 bits; of this many, those that do not fit come out negative.
_MOST_DIGITS = 19

#: Rows that are wider are decoded word by word: the logger's have 113 characters.
_MOST_WIDTH = 1000

#: Characters decoded at once: the bytes of a 64-bit word.
_WORD = 8

#: Rows decoded at once, by numpy and in C: they stay in the processor's cache.
_CHUNK_ROWS, _BLOCK_ROWS = 1024, 64

#: Makes rows that differ in their digits only the same.
_DIGITS_ALIKE = bytes.maketrans(b"0123456789", b"0000000000")

#: How ``_timing.c`` describes a run of digits.
_RUN = np.dtype([("start", "i8"), ("column", "i8"), ("scale", "i8"), ("shift", "u8"), ("mask", "u8")])

_P, _N = ctypes.c_void_p, ctypes.c_int

_compiled = native.load({"ledger_timing_rows": ctypes.c_int}, (_P, ctypes.c_longlong, _N, _N, _P, _P, _P, _P, _N, _P))

ADVICE = "restore the file from the acquisition machine, or leave its cube in quarantine"


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things are in a row of fixed width.

    The masks have one row for each row that is decoded at once, as numpy is slow along short axes.

    Attributes
    ----------
    runs : list of (str, int, bool)
        Runs of at most 8 digits, those of a column in order: the column, 10 to the number of digits, and
        whether it is the column's first.
    starts : list of int
        First byte of an 8-byte word that has a run in it.
    shift, mask : ndarray of uint64, shape (runs, 1)
        Bits that such a word is shifted by to end with its run, and the digits' own bits in it then.
    filler : ndarray of uint8, shape (rows, width)
        What is there where no digit is: blanks, decimal points, the newline.
    digit, known : ndarray of bool, shape (rows, width)
        Where a digit must be; where that is known, because the other bytes are not part of a number.
    within : ndarray of bool, shape (rows, width)
        Where the next byte belongs to the same number, so that a digit must be followed by a digit.
    of_a_block : tuple of ndarray
        The same as ``_timing.c`` takes it: what is there where no digit is (of which there is none where a digit must
        be), where no digit may be, `within`, each of shape (block, width), and the runs.
    """

    runs: list[tuple[str, int, bool]]
    starts: list[int]
    shift: npt.NDArray[np.uint64]
    mask: npt.NDArray[np.uint64]
    filler: npt.NDArray[np.uint8]
    digit: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]
    within: npt.NDArray[np.bool_]
    of_a_block: tuple[npt.NDArray[Any], ...]


def decode_fixed_width(content: bytes, start: int) -> dict[str, Int64Array] | None:
    """Return the columns of the rows from byte `start` on, or None if they do not share one layout.

    The layout is that of the first and the last row: counters grow, so no number in between is longer.
    Numbers are aligned right and not negative.
    """
    width = content.find(b"\n", start) + 1 - start
    layout = _layout(content[start : start + width].translate(_DIGITS_ALIKE), content[-width:].translate(_DIGITS_ALIKE))
    if layout is None or (len(content) - start) % width:
        return None
    rows = np.frombuffer(content, np.uint8, offset=start).reshape(-1, width)
    decode = _decode_by_numpy if _compiled is None else _decode_compiled
    return decode(rows, layout)


def _decode_compiled(rows: npt.NDArray[np.uint8], layout: _Layout) -> dict[str, Int64Array] | None:
    """Return the columns of `rows`, shape (n, width), or None if they are not as `layout` says; in C."""
    names = list(dict.fromkeys(name for name, _, _ in layout.runs))
    columns = np.empty((len(names), len(rows)), np.int64)
    of_a_block = (array.ctypes.data for array in layout.of_a_block)
    arguments = (len(layout.runs), columns.ctypes.data)
    status = _compiled.ledger_timing_rows(  # type: ignore[union-attr]
        rows.ctypes.data, len(rows), rows.shape[1], _BLOCK_ROWS, *of_a_block, *arguments
    )
    return None if status else dict(zip(names, columns, strict=True))


def _decode_by_numpy(rows: npt.NDArray[np.uint8], layout: _Layout) -> dict[str, Int64Array] | None:
    """Do the same with numpy."""
    columns = {name: np.empty(len(rows), np.int64) for name, _, _ in layout.runs}
    for first in range(0, len(rows), _CHUNK_ROWS):
        chunk = rows[first : first + _CHUNK_ROWS]
        if not _is_laid_out(chunk, layout):
            return None
        for (name, scale, is_first), digits in zip(layout.runs, _join_digits(chunk, layout), strict=True):
            column = columns[name][first : first + _CHUNK_ROWS]
            if is_first:
                column[:] = digits
            else:
                column *= scale
                column += digits
    return None if any((numbers < 0).any() for numbers in columns.values()) else columns


@lru_cache(maxsize=32)
def _layout(first: bytes, last: bytes) -> _Layout | None:
    """Return the layout of rows such as `first` and `last`, or None if these are not the logger's.

    Digits are told from other characters, but not from each other.
    """
    words, last_words = first.split(), last.split()
    columns = {len(c): c for c in (COLUMNS, OLD_COLUMNS)}.get(len(words))
    if columns is None or len(words) != len(last_words) or not _WORD <= len(first) <= _MOST_WIDTH:
        return None
    runs: list[tuple[str, int, int]] = []  # the column, first byte, end
    filler = np.full(len(first), ord(" "), np.uint8)
    filler[-1] = ord("\n")
    known = np.ones(len(first), np.bool_)
    digit, within = np.zeros((2, len(first)), np.bool_)
    end = 0
    for word, last_word, (name, decimals) in zip(words, last_words, columns.items(), strict=True):
        end = first.index(word, end) + len(word)
        left = end - max(len(word), len(last_word))
        point = end - decimals - 1 if decimals else end
        if end - left > _MOST_DIGITS + bool(decimals) or point <= left:
            return None
        if decimals:
            filler[point] = ord(".")
        digit[[point - 1, *range(point + 1, end)]] = True
        known[left : point - 1] = False
        within[left : point - 1] = True
        runs += [(name, *run) for run in _runs(left, point) + _runs(point + 1, end)]
    starts = [min(left, len(first) - _WORD) for _, left, _ in runs]
    shift = [[8 * (start + _WORD - right)] for start, (_, _, right) in zip(starts, runs, strict=True)]
    padding = [8 * (_WORD - right + left) for _, left, right in runs]
    mask = [[0x0F0F0F0F0F0F0F0F >> bits << bits] for bits in padding]
    scales = [10 ** (right - left) for _, left, right in runs]
    names = list(columns)
    numbers = (starts, [names.index(name) for name, _, _ in runs], scales, np.ravel(shift), np.ravel(mask))
    native_runs = np.array(list(zip(*numbers, strict=True)), _RUN)
    without_digits = np.where(known & digit, np.uint8(ord("0")), filler)
    shape = (_CHUNK_ROWS, 1)
    return _Layout(
        runs=[
            (name, scale, place == 0 or runs[place - 1][0] != name)
            for place, ((name, _, _), scale) in enumerate(zip(runs, scales, strict=True))
        ],
        starts=starts,
        shift=np.array(shift, np.uint64),
        mask=np.array(mask, np.uint64),
        of_a_block=(
            *(np.tile(of_a_row, (_BLOCK_ROWS, 1)) for of_a_row in (without_digits, known & ~digit, within)),
            native_runs,
        ),
        filler=np.tile(filler, shape),
        digit=np.tile(digit, shape),
        known=np.tile(known, shape),
        within=np.tile(within, shape),
    )


def _runs(left: int, right: int) -> list[tuple[int, int]]:
    """Cut the bytes from `left` to `right` into runs of at most 8."""
    return [(start, min(start + _WORD, right)) for start in range(left, right, _WORD)]


def _is_laid_out(rows: npt.NDArray[np.uint8], layout: _Layout) -> bool:
    """Return whether `rows`, shape (n, width), hold nothing but blanks and digits where `layout` has them."""
    n = len(rows)
    is_digit = rows - np.uint8(ord("0")) < 10
    if not (is_digit | (rows == layout.filler[:n])).all():
        return False
    if ((is_digit ^ layout.digit[:n]) & layout.known[:n]).any():
        return False
    flat = is_digit.ravel()
    return not ((flat[:-1] > flat[1:]) & layout.within[:n].ravel()[:-1]).any()


def _join_digits(rows: npt.NDArray[np.uint8], layout: _Layout) -> Int64Array:
    """Return the numbers that the layout's runs of digits spell, shape (runs, n).

    Eight characters are one 64-bit word, the first of them its lowest byte.  Neighbours are joined three
    times, to numbers of 2, 4 and 8 digits: ``low + 2^k high`` times ``10^d 2^k + 1`` has
    ``10^d low + high`` from bit k on.  A blank counts as 0, as its low four bits are.
    """
    words = np.empty((len(layout.runs), len(rows)), "<u8")
    for word, start in zip(words, layout.starts, strict=True):
        word[:] = np.ndarray(len(rows), "<u8", rows, start, rows.strides[:1])
    words <<= layout.shift
    words &= layout.mask
    for n_bytes in (2, 4, 8):
        pairs = words.view(f"<u{n_bytes}")
        half = pairs.dtype.type(4 * n_bytes)
        pairs *= pairs.dtype.type((10 ** (n_bytes // 2) << 4 * n_bytes) + 1)
        pairs >>= half
    return words.view("<i8")


def decode_words(body: bytes, path: Path) -> dict[str, Int64Array]:
    """Return the columns of rows of any width, or raise BadInput for the first bad one."""
    lines = body.splitlines()
    columns = COLUMNS if not lines or len(lines[0].split()) != len(OLD_COLUMNS) else OLD_COLUMNS
    table = np.empty((len(lines), len(columns)), np.int64)
    for row, line in enumerate(lines):
        words = line.split()
        if len(words) != len(columns):
            raise BadInput(
                f"{path}: row {row + 1} has {len(words)} columns, the first has {len(columns)} "
                f"(7 are expected, 6 in old files): {line[:120]!r}; {ADVICE}"
            )
        for place, (word, (name, decimals)) in enumerate(zip(words, columns.items(), strict=True)):
            number = _integer(word, decimals)
            if number is None:
                raise BadInput(
                    f"{path}: row {row + 1} has {word[:40]!r} as {name}, expected a number with "
                    f"{decimals} decimals that fits 64 bits; {ADVICE}"
                )
            table[row, place] = number
    return {name: np.ascontiguousarray(table[:, place]) for place, name in enumerate(columns)}


def _integer(word: bytes, decimals: int) -> int | None:
    """Return the number in units of its last decimal, or None if `word` is not such a number."""
    sign = -1 if word.startswith(b"-") else 1
    whole, _, fraction = word.removeprefix(b"-").partition(b".")
    if not whole.isdigit() or len(fraction) != decimals or (decimals and not fraction.isdigit()):
        return None
    digits = (whole + fraction).lstrip(b"0")
    if len(digits) > _MOST_DIGITS:
        return None
    number = sign * int(digits or b"0")
    return number if -(2**63) <= number < 2**63 else None
