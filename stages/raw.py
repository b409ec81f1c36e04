"""raw: what the ledger registers of a raw cube, and the faults that put one in quarantine (DESIGN section 5)."""

import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.base import BadInput, Instrument, Stream
from stages.cards import values
from stages.cubes import CubeLayout, read_cube_layout
from stages.files import retry_on_os_error
from stages.timing import Timing, read_timing

#: Frame size, which groups are cut by (DESIGN section 5).
_FRAME_SIZE = ("NAXIS1", "NAXIS2")

_MICROSECONDS = 1_000_000
_COMPARED_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RawFacts:
    """What is registered of one raw file.

    Attributes
    ----------
    identity : str
        SHA-256 (hex) of stream, name, size, header and timing; the same wherever the night lies.
    n_frames : int
        Frames of the cube, and rows of the txt.
    size_bytes, mtime_ns : int
        Of the cube.
    timing_size_bytes, timing_mtime_ns : int
        Of the txt.
    first_us, last_us : int
        First and last frame time, UNIX, microseconds.
    exposure_us : int
        Exposure time, microseconds.
    cards : dict
        Values (str, int, float, bool or None) of the keywords that the instrument keeps and the header
        has, and of NAXIS1 and NAXIS2.
    header_sha256, timing_sha256 : str
        Of the header blocks and of the txt, hex.
    has_acquisition : bool
        False for old files, whose frame times are logging times (DESIGN section 3).
    """

    identity: str
    n_frames: int
    size_bytes: int
    mtime_ns: int
    timing_size_bytes: int
    timing_mtime_ns: int
    first_us: int
    last_us: int
    exposure_us: int
    cards: dict[str, Any]
    header_sha256: str
    timing_sha256: str
    has_acquisition: bool


def inspect(cube: Path, timing: Path, *, stream: Stream, instrument: Instrument) -> RawFacts:
    """Check one raw file and return what is to be registered of it; nothing is written.

    Parameters
    ----------
    cube, timing : Path
        The FITS file and the txt beside it.
    stream : Stream
        Whose folder it lies in.
    instrument : Instrument
        Names the keywords to keep.

    Returns
    -------
    RawFacts
        Of a file without faults.

    Raises
    ------
    BadInput
        With the reason for quarantine.
    Retry
        If a file could not be read; that says nothing about its content.
    """
    with retry_on_os_error(cube):
        status = cube.stat()
    rows = read_timing(timing)
    layout = read_cube_layout(cube)
    _check_rows(timing, rows, layout)
    with retry_on_os_error(timing):
        timing_status = timing.stat()
        timing_sha256 = hashlib.sha256(timing.read_bytes()).hexdigest()
    header_sha256 = hashlib.sha256(layout.header).hexdigest()
    date = cube.parent.parent.name
    name_and_hashes = (f"{date}/{stream.name}/{cube.name}", str(status.st_size), header_sha256, timing_sha256)
    cards = _cards(cube, layout.header, (*instrument.keywords_kept(), *_FRAME_SIZE))
    return RawFacts(
        identity=hashlib.sha256("\n".join(name_and_hashes).encode()).hexdigest(),
        n_frames=rows.n,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        timing_size_bytes=timing_status.st_size,
        timing_mtime_ns=timing_status.st_mtime_ns,
        first_us=int(rows.acquired_us[0]),
        last_us=int(rows.acquired_us[-1]),
        exposure_us=_exposure_us(cube, instrument.cards.exposure_s, cards),
        cards=cards,
        header_sha256=header_sha256,
        timing_sha256=timing_sha256,
        has_acquisition=rows.has_acquisition,
    )


def _check_rows(timing: Path, rows: Timing, layout: CubeLayout) -> None:
    """Raise BadInput unless there is one row for each frame, in order of time."""
    if rows.n != layout.shape[0]:
        raise BadInput(
            f"{timing}: {rows.n} rows, expected {layout.shape[0]}, one for each frame of {layout.path.name}; "
            "restore the pair from the acquisition machine, or leave it in quarantine"
        )
    backwards = np.flatnonzero(np.diff(rows.acquired_us) < 0)
    if backwards.size:
        row = int(backwards[0]) + 1
        raise BadInput(
            f"{timing}: times go backwards {backwards.size} times, first at row {row + 1}: "
            f"{rows.acquired_us[row]} us after {rows.acquired_us[row - 1]} us; expected times that never decrease"
        )


def _cards(cube: Path, header: bytes, keywords: tuple[str, ...]) -> dict[str, Any]:
    """Return the values of `keywords`, which must be such that JSON has them."""
    try:
        cards = values(header, keywords)
    except BadInput as exc:
        raise BadInput(f"{cube}: {exc}") from exc
    for keyword, value in cards.items():
        if isinstance(value, complex) or (isinstance(value, float) and not math.isfinite(value)):
            raise BadInput(f"{cube}: {keyword} is {value!r}, expected a finite real number, a string or T or F")
    return cards


def _exposure_us(cube: Path, keyword: str, cards: dict[str, Any]) -> int:
    exposure_s = cards.get(keyword)
    if isinstance(exposure_s, bool) or not isinstance(exposure_s, int | float) or exposure_s < 0:
        found = "no value" if exposure_s is None else repr(exposure_s)
        raise BadInput(f"{cube}: {keyword} has {found}, expected the exposure time in seconds, at least 0")
    return round(exposure_s * _MICROSECONDS)


def same_bytes(a: Path, b: Path) -> bool:
    """Return whether two files have the same content, as a duplicate has; their names do not count.

    Parameters
    ----------
    a, b : Path
        Files of any size; they are read in pieces.

    Returns
    -------
    bool
        False at the first difference.

    Raises
    ------
    Retry
        If one could not be read.
    """
    with retry_on_os_error(a), retry_on_os_error(b), a.open("rb") as first, b.open("rb") as second:
        if os.fstat(first.fileno()).st_size != os.fstat(second.fileno()).st_size:
            return False
        while piece := first.read(_COMPARED_BYTES):
            if piece != second.read(_COMPARED_BYTES):
                return False
    return True
