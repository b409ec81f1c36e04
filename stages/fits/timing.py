"""Timing files: the txt that the cameras' logger writes beside a cube, one row a frame.

See docs/design.md, A raw night.

Times are UNIX seconds written as decimal text.  They are read and written as integers, nanoseconds or
microseconds as many as the text has digits for, so no rounding happens on the way in or out.
"""

import ctypes
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.base import BadInput, Retry
from stages.files import check_unchanged, opened
from stages.fits import native
from stages.product import Raw

Int64Array = npt.NDArray[np.int64]

#: Columns with their number of decimals: the unit of the integers is the last decimal.  With an acquisition
#: time as in milk's ``logshmim.c``: ``%10ld  %10lu  %15.9lf   %20.9lf  %17.6lf   %10ld   %10ld``.
_COLUMNS = {
    "cube_index": 0,
    "main_index": 0,
    "since_start_ns": 9,
    "logged_ns": 9,
    "acquired_us": 6,
    "cnt0": 0,
    "cnt1": 0,
}
_OLD_COLUMNS = {name: decimals for name, decimals in _COLUMNS.items() if name != "acquired_us"}

_ROW = "%10d  %10d  %15s   %20s  %17s   %10d   %10d\n"
_OLD_ROW = "%10d  %10d  %15s   %20s  %10d   %10d\n"

#: More digits never fit 64 bits; of this many, those that do not fit come out negative.
_MOST_DIGITS = 19

#: Rows that are wider are decoded word by word: the logger's have 113 characters.
_MOST_WIDTH = 1000

#: More is not read into memory: 10^7 rows, of frames of 64 pixels in a cube of 1.2 GB, have 1.1 GB.
_MOST_BYTES = 4 * 1024**3

#: Characters decoded at once: the bytes of a 64-bit word.
_WORD = 8

#: Rows decoded at once, by numpy and in C: they stay in the processor's cache.
_CHUNK_ROWS, _BLOCK_ROWS = 1024, 64

#: Makes rows that differ in their digits only the same.
_DIGITS_ALIKE = bytes.maketrans(b"0123456789", b"0000000000")

#: Lines of the logger's head that name columns, and the one of the acquisition time.
_COLUMN_LINE = re.compile(rb"^(# *col)(\d+)(?= *:)", re.MULTILINE)
_ACQUISITION_LINE = re.compile(rb"# *col5 *:.*acquisition", re.IGNORECASE)

#: What ``_timing.c`` is told of a run of digits.
_RUN = np.dtype([("start", "i8"), ("column", "i8"), ("scale", "i8"), ("shift", "u8"), ("mask", "u8")])

_P, _N = ctypes.c_void_p, ctypes.c_int
_compiled = native.load({"ledger_timing_rows": ctypes.c_int}, (_P, ctypes.c_longlong, _N, _N, _P, _P, _P, _P, _N, _P))

_ADVICE = "restore the file from the acquisition machine, or leave its cube in quarantine"


@dataclass(frozen=True, slots=True)
class Timing:
    """The content of one timing file.

    Attributes
    ----------
    head : bytes
        The ``#`` lines at its start as they are, with their newlines; they name no column that is not read.
    cube_index, main_index : ndarray of int64, shape (n,)
        Columns 1 and 2: number of the frame in its cube and in its stream.
    since_start_ns : ndarray of int64, shape (n,)
        Column 3: logging time since the cube's first frame, nanoseconds.
    logged_ns : ndarray of int64, shape (n,)
        Column 4: logging time, UNIX, nanoseconds.
    acquired_us : ndarray of int64, shape (n,)
        Column 5: acquisition time, UNIX, microseconds; the end of the exposure.
    cnt0, cnt1 : ndarray of int64, shape (n,)
        The stream's counters, the last two columns.
    has_acquisition : bool
        False for old files of 6 columns, and where column 5 is 0 in every row, as milk's ``logshmim.c`` writes it of a
        stream without the keyword ``_MAQTIME``: `acquired_us` then is the logging time, rounded down.
    is_cut : bool
        Whether the file goes on with a row that is cut short, which is none of these; False for rows that were
        selected or joined, which are no file's.
    """

    head: bytes
    cube_index: Int64Array
    main_index: Int64Array
    since_start_ns: Int64Array
    logged_ns: Int64Array
    acquired_us: Int64Array
    cnt0: Int64Array
    cnt1: Int64Array
    has_acquisition: bool = True
    is_cut: bool = False

    @property
    def n(self) -> int:
        """Return the number of rows."""
        return len(self.acquired_us)


def paired_time_us(first_us: Int64Array, second_us: Int64Array) -> Int64Array:
    """Return the time of paired frames: the mean of the two cameras' times, rounded down (docs/design.md, Pairing).

    Parameters
    ----------
    first_us, second_us : ndarray of int64, shape (n,)
        Acquisition times of the same exposures in the two cameras, UNIX, microseconds.

    Returns
    -------
    ndarray of int64, shape (n,)
        Microseconds; the same whichever camera comes first.
    """
    return (first_us + second_us) // 2


def read_timing(path: Path, *, may_be_cut: bool = False, keeps_zeros: bool = False) -> Timing:
    """Read a timing file, of 7 columns or of 6 (old files, without acquisition time).

    Acquisition times that are 0 in every row are none: such a file is read as one of 6 columns.

    Rows of one width, which is nearly all there are, are decoded as a 2-d array of bytes; others word by
    word, with the same result.

    Parameters
    ----------
    path : Path
        The txt beside a cube.
    may_be_cut : bool
        Leave out a last row without an end of line or with too few columns, and say so in ``is_cut``: its
        time cannot be trusted, as digits may be missing. A bad row anywhere else is an error all the same.
    keeps_zeros : bool
        Take acquisition times that are all 0 for times.

    Returns
    -------
    Timing
        With ``n == 0`` if the file has no rows.

    Raises
    ------
    BadInput
        If there is no such file, or a row is not what the logger writes; the message names the row.
    Retry
        If the file could not be read although it is there.
    """
    content = _read(path)
    start = _length_of_head(content)
    end = _end_of_whole_rows(content, start) if may_be_cut else len(content)
    is_cut, content = end < len(content), content[:end]
    if len(content) > start and not content.endswith(b"\n"):
        raise BadInput(f"{path}: its last row has no end of line: it is cut short; {_ADVICE}")
    columns = _decode_fixed_width(content, start)
    if columns is None:
        columns = _decode_words(content[start:], path)
    head, has_acquisition = content[:start], "acquired_us" in columns
    if has_acquisition and len(columns["acquired_us"]) and not (columns["acquired_us"].any() or keeps_zeros):
        head, has_acquisition = _without_acquisition(head), False
    if not has_acquisition:
        columns["acquired_us"] = columns["logged_ns"] // 1000
    return Timing(head=head, has_acquisition=has_acquisition, is_cut=is_cut, **columns)


def read_used_rows(raw: Raw) -> Timing:
    """Read the rows of those frames of a raw file that are used.

    Parameters
    ----------
    raw : Raw
        As registered.

    Returns
    -------
    Timing
        With ``n == raw.n_frames``.

    Raises
    ------
    BadInput
        If the timing file is bad, or has not as many rows as the cube has frames; that of a salvaged cube
        may have more rows than are used, up to one for each frame that the header declares.
    Retry
        If it changed since it was registered, or could not be read.
    """
    if raw.timing_mtime_ns is not None:
        check_unchanged(raw.timing, raw.timing_size_bytes, raw.timing_mtime_ns)
    was_of_1970 = raw.last_us == 0  # registered when 0 was taken for a time: its products stay as they are
    rows = read_timing(raw.timing, may_be_cut=raw.lost_frames > 0, keeps_zeros=was_of_1970)
    if not raw.n_frames <= rows.n <= raw.n_frames + raw.lost_frames:
        raise BadInput(
            f"{raw.timing}: it has {rows.n} rows, its cube {raw.cube.name} was registered with "
            f"{raw.n_frames} frames: changed underneath; restore the raw file, or scan the night again"
        )
    return rows if rows.n == raw.n_frames else select(rows, np.arange(raw.n_frames))


def format_timing(timing: Timing) -> bytes:
    """Return the content of a timing file, byte for byte as milk's ``logshmim.c`` prints it.

    Parameters
    ----------
    timing : Timing
        With ``has_acquisition`` False, rows of 6 columns are written.

    Returns
    -------
    bytes
        The head and one line a row.
    """
    columns = _COLUMNS if timing.has_acquisition else _OLD_COLUMNS
    row = _ROW if timing.has_acquisition else _OLD_ROW
    texts = [
        _decimal_texts(values, decimals) if decimals else values.tolist()
        for values, decimals in ((getattr(timing, name), decimals) for name, decimals in columns.items())
    ]
    return timing.head + "".join([row % cells for cells in zip(*texts, strict=True)]).encode("ascii")


def select(timing: Timing, indices: npt.ArrayLike) -> Timing:
    """Return the rows at `indices`, in that order; the numbers in them are unchanged.

    Parameters
    ----------
    timing : Timing
        To take rows from.
    indices : array_like of int or bool
        As numpy indexes a 1-d array.

    Returns
    -------
    Timing
        With the same head; its ``is_cut`` is False.
    """
    columns = {name: getattr(timing, name)[np.asarray(indices)] for name in _COLUMNS}
    return Timing(head=timing.head, has_acquisition=timing.has_acquisition, is_cut=False, **columns)


def concatenate(timings: Sequence[Timing]) -> Timing:
    """Return the rows of all `timings` in a row, under the first one's head.

    Parameters
    ----------
    timings : sequence of Timing
        At least one.

    Returns
    -------
    Timing
        It has an acquisition time if all have one; otherwise its acquisition times may be mixed with
        logging times, and ``has_acquisition`` is False. Its ``is_cut`` is False.

    Raises
    ------
    ValueError
        If there are none.
    """
    if not timings:
        raise ValueError("no timings to concatenate")
    joined = {name: np.concatenate([getattr(t, name) for t in timings]) for name in _COLUMNS}
    has_acquisition = all(t.has_acquisition for t in timings)
    return Timing(head=timings[0].head, has_acquisition=has_acquisition, is_cut=False, **joined)


def _read(path: Path) -> bytes:
    try:
        with opened(path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes > _MOST_BYTES:
                raise BadInput(f"{path}: {size_bytes} bytes, expected {_MOST_BYTES} at most; {_ADVICE}")
            return file.read()
    except Retry as exc:
        if isinstance(exc.__cause__, FileNotFoundError):
            raise BadInput(f"timing file {path} does not exist; {_ADVICE}") from exc
        raise


def _length_of_head(content: bytes) -> int:
    """Return how many bytes the lines take that start with ``#`` before the first that does not."""
    start = 0
    while content.startswith(b"#", start):
        end = content.find(b"\n", start)
        start = end + 1 if end >= 0 else len(content)
    return start


def _without_acquisition(head: bytes) -> bytes:
    """Return the head without the line of the acquisition time, columns after it numbered anew."""
    lines = head.splitlines(keepends=True)
    of_acquisition = next((place for place, line in enumerate(lines) if _ACQUISITION_LINE.match(line)), None)
    if of_acquisition is None:
        return head
    after = _COLUMN_LINE.sub(
        lambda match: b"%b%d" % (match[1], int(match[2]) - 1), b"".join(lines[of_acquisition + 1 :])
    )
    return b"".join(lines[:of_acquisition]) + after


def _end_of_whole_rows(content: bytes, start: int) -> int:
    """Return where the rows from byte `start` on end, without a last one that is cut short."""
    if not content.endswith(b"\n"):
        return max(content.rfind(b"\n") + 1, start)
    first = content[start : content.find(b"\n", start) + 1]
    begin = max(content.rfind(b"\n", start, len(content) - 1) + 1, start)
    expected = max(len(first.split()), len(_OLD_COLUMNS))
    return begin if len(content[begin:].split()) < expected else len(content)


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


def _decode_fixed_width(content: bytes, start: int) -> dict[str, Int64Array] | None:
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
    columns = {len(c): c for c in (_COLUMNS, _OLD_COLUMNS)}.get(len(words))
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


def _decode_words(body: bytes, path: Path) -> dict[str, Int64Array]:
    """Return the columns of rows of any width, or raise BadInput for the first bad one."""
    lines = body.splitlines()
    columns = _COLUMNS if not lines or len(lines[0].split()) != len(_OLD_COLUMNS) else _OLD_COLUMNS
    table = np.empty((len(lines), len(columns)), np.int64)
    for row, line in enumerate(lines):
        words = line.split()
        if len(words) != len(columns):
            raise BadInput(
                f"{path}: row {row + 1} has {len(words)} columns, the first has {len(columns)} "
                f"(7 are expected, 6 in old files): {line[:120]!r}; {_ADVICE}"
            )
        for place, (word, (name, decimals)) in enumerate(zip(words, columns.items(), strict=True)):
            number = _integer(word, decimals)
            if number is None:
                raise BadInput(
                    f"{path}: row {row + 1} has {word[:40]!r} as {name}, expected a number with "
                    f"{decimals} decimals that fits 64 bits; {_ADVICE}"
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


def _decimal_texts(values: Int64Array, decimals: int) -> Iterator[str]:
    unit = 10**decimals
    for value in values.tolist():
        sign, size = ("-", -value) if value < 0 else ("", value)
        yield f"{sign}{size // unit}.{size % unit:0{decimals}d}"
