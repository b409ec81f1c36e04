"""Timing files: the txt that the cameras' logger writes beside a cube, one row a frame.

See docs/design.md, A raw night.

Times are UNIX seconds written as decimal text.  They are read and written as integers, nanoseconds or
microseconds as many as the text has digits for, so no rounding happens on the way in or out.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages.base import BadInput, Retry
from stages.files import check_unchanged, opened
from stages.fits.timing_rows import ADVICE, COLUMNS, OLD_COLUMNS, Int64Array, decode_fixed_width, decode_words
from stages.product import Raw

_ROW = "%10d  %10d  %15s   %20s  %17s   %10d   %10d\n"
_OLD_ROW = "%10d  %10d  %15s   %20s  %10d   %10d\n"


#: More is not read into memory: 10^7 rows, of frames of 64 pixels in a cube of 1.2 GB, have 1.1 GB.
_MOST_BYTES = 4 * 1024**3


#: Lines of the logger's head that name columns, and the one of the acquisition time.
_COLUMN_LINE = re.compile(rb"^(# *col)(\d+)(?= *:)", re.MULTILINE)
_ACQUISITION_LINE = re.compile(rb"# *col5 *:.*acquisition", re.IGNORECASE)


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
        raise BadInput(f"{path}: its last row has no end of line: it is cut short; {ADVICE}")
    columns = decode_fixed_width(content, start)
    if columns is None:
        columns = decode_words(content[start:], path)
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
    columns = COLUMNS if timing.has_acquisition else OLD_COLUMNS
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
    columns = {name: getattr(timing, name)[np.asarray(indices)] for name in COLUMNS}
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
    joined = {name: np.concatenate([getattr(t, name) for t in timings]) for name in COLUMNS}
    has_acquisition = all(t.has_acquisition for t in timings)
    return Timing(head=timings[0].head, has_acquisition=has_acquisition, is_cut=False, **joined)


def _read(path: Path) -> bytes:
    try:
        with opened(path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes > _MOST_BYTES:
                raise BadInput(f"{path}: {size_bytes} bytes, expected {_MOST_BYTES} at most; {ADVICE}")
            return file.read()
    except Retry as exc:
        if isinstance(exc.__cause__, FileNotFoundError):
            raise BadInput(f"timing file {path} does not exist; {ADVICE}") from exc
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
    expected = max(len(first.split()), len(OLD_COLUMNS))
    return begin if len(content[begin:].split()) < expected else len(content)


def _decimal_texts(values: Int64Array, decimals: int) -> Iterator[str]:
    unit = 10**decimals
    for value in values.tolist():
        sign, size = ("-", -value) if value < 0 else ("", value)
        yield f"{sign}{size // unit}.{size % unit:0{decimals}d}"
