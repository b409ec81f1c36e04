"""raw: what the ledger registers of a raw cube, and the faults that put one in quarantine.

See docs/design.md, A raw night.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.base import BadInput, Retry
from stages.check.witnesses import check_rows, contradiction_of_date, contradiction_of_stream, count_timed
from stages.files import mtime_ns_of, opened, retry_on_os_error
from stages.fits.cards import carried_frame_id, split_cards, values
from stages.fits.cubes import CubeLayout, read_cube_layout
from stages.fits.header import own_keywords
from stages.fits.meaning import refuse_two_values, understood
from stages.fits.structure import check_header
from stages.fits.timing import Timing, read_timing
from stages.instrument import Cards, Instrument, Stream, Times
from stages.pairing.groups import STRUCTURE

Int64Array = npt.NDArray[np.int64]

#: What stored values mean where the header does not say (FITS 4.0 sec. 4.4.2.5).
_UNSCALED = {"BZERO": 0, "BSCALE": 1}

_MICROSECONDS = 1_000_000

#: Longer than any exposure, seconds: a night is a day of UT.
_MOST_EXPOSURE_S = 86_400

#: Numbers in cards are less, as floats hold every whole number up to here.
_MOST = 2**53

#: From so many frames on, exposure times are compared with the median of how far frames are apart.
_LEAST_FRAMES = 3

_COMPARED_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RawFacts:
    """What is registered of one raw file.

    Attributes
    ----------
    identity : str
        SHA-256 (hex) of stream, name, size, header and timing, and of a salvaged file of how many frames
        are used; the same wherever the night lies.
    n_frames : int
        Frames that the header declares.
    size_bytes, mtime_ns : int
        Of the cube.
    timing_size_bytes, timing_mtime_ns : int
        Of the txt.
    first_us, last_us : int
        First and last time of the frames that are used, UNIX, microseconds.
    exposure_us : int
        Exposure time, microseconds.
    cards : dict
        Values (str, int, float, bool or None) of the keywords that the instrument keeps and the header has, those of
        rules in the form that rules know, and of :data:`stages.pairing.groups.STRUCTURE`, where BZERO and BSCALE always
        have one.
    header_sha256, timing_sha256 : str
        Of the header blocks and of the txt, hex.
    has_acquisition : bool
        False for files without acquisition times, whose frame times are logging times (docs/design.md, A raw night).
    lost_frames : int
        Of a salvaged file: the last frames, which have no pixels or no time.
    salvaged : str or None
        Of a salvaged file: what is missing, which may be padding alone.
    contradiction : str or None
        Why the file is not to be used all the same, unless it is a duplicate: its night's folder has another date.
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
    lost_frames: int = 0
    salvaged: str | None = None
    contradiction: str | None = None

    @property
    def used_frames(self) -> int:
        """Return how many frames are used, the first ones."""
        return self.n_frames - self.lost_frames


def inspect(
    cube: Path, timing: Path, *, stream: Stream, instrument: Instrument, salvage: bool = False, is_new: bool = True
) -> RawFacts:
    """Check one raw file and return what is to be registered of it; nothing is written.

    Parameters
    ----------
    cube, timing : Path
        The FITS file and the txt beside it.
    stream : Stream
        Whose folder it lies in.
    instrument : Instrument
        Names the keywords to keep.
    salvage : bool
        Whether a file of which the end is missing, and nothing else is wrong, is used up to its last whole
        frame that has a time. Otherwise the reason tells how many frames that would be.
    is_new : bool
        Whether nothing was made of the file yet. What products are made of is not judged anew: by its times, by the
        bytes around its frames, and by what its cards say.

    Returns
    -------
    RawFacts
        Of a file without faults, or a salvaged one.

    Raises
    ------
    BadInput
        With the reason for quarantine.
    Retry
        If a file could not be read; that says nothing about its content.
    """
    with retry_on_os_error(cube):
        status = cube.stat()
    rows = read_timing(timing, may_be_cut=True)
    layout = read_cube_layout(cube, may_be_short=True, is_new=is_new)
    n_frames = layout.shape[0]
    times = instrument.times if is_new else Times(None, None, None, None)
    n_timed = count_timed(timing, rows) if is_new else rows.n
    missing = _missing(timing, rows, n_timed, layout)
    n_used = _used_frames(rows, n_timed, layout, missing)
    check_rows(timing, rows, n_timed, times)
    with opened(timing) as file:
        timing_status = os.fstat(file.fileno())
        timing_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    header_sha256 = hashlib.sha256(layout.header).hexdigest()
    date = cube.parent.parent.name
    content = [f"{date}/{stream.name}/{cube.name}", str(status.st_size), header_sha256, timing_sha256]
    if missing:
        content.append(f"salvaged {n_used} of {n_frames}")
    _refuse_numbered(cube, layout.header, instrument.cards.frame_id)
    kept = instrument.keywords_kept()
    if is_new:
        _check_header(layout, instrument)
        refuse_two_values(layout.header, (*kept, instrument.cards.frame_id), cube)
    cards = _UNSCALED | _cards(cube, layout.header, (*kept, *STRUCTURE))
    try:
        cards = understood(cards, instrument, cube)
    except BadInput:
        if is_new:
            raise
    exposure_us = _exposure_us(cube, instrument.cards.exposure_s, cards)
    _check_spacing(cube, rows.acquired_us[:n_used], exposure_us, cards, instrument.cards, times)
    first_us, last_us = int(rows.acquired_us[0]), int(rows.acquired_us[n_used - 1])
    if missing and not salvage:  # last: salvage is offered only where nothing else is wrong
        frames = "frame" if n_used == 1 else f"{n_used} frames"
        raise BadInput(
            f"{missing}; restore the pair from the acquisition machine, set salvage: true to use its first {frames},"
            " or leave it in quarantine"
        )
    return RawFacts(
        identity=hashlib.sha256("\n".join(content).encode()).hexdigest(),
        n_frames=n_frames,
        size_bytes=status.st_size,
        mtime_ns=mtime_ns_of(status),
        timing_size_bytes=timing_status.st_size,
        timing_mtime_ns=mtime_ns_of(timing_status),
        first_us=first_us,
        last_us=last_us,
        exposure_us=exposure_us,
        cards=cards,
        header_sha256=header_sha256,
        timing_sha256=timing_sha256,
        has_acquisition=rows.has_acquisition,
        lost_frames=n_frames - n_used,
        salvaged=missing or None,
        contradiction=(is_new and contradiction_of_stream(cube, stream, instrument))
        or contradiction_of_date(cube, first_us, last_us, times),
    )


def inspect_all(
    files: Sequence[tuple[Path, Stream]], *, instrument: Instrument, salvage: bool = False, is_new: bool = True
) -> list[RawFacts | BadInput | Retry]:
    """Check raw files, each with the txt beside it, as :func:`inspect` does.

    Parameters
    ----------
    files : sequence of (Path, Stream)
        Cubes, each with the stream whose folder it lies in.
    instrument, salvage, is_new
        As of :func:`inspect`.

    Returns
    -------
    list
        Of each file its facts, or what :func:`inspect` raised.
    """
    found: list[RawFacts | BadInput | Retry] = []
    for cube, stream in files:
        try:
            timing = cube.with_suffix(".txt")
            facts = inspect(cube, timing, stream=stream, instrument=instrument, salvage=salvage, is_new=is_new)
            found.append(facts)
        except (BadInput, Retry) as exc:
            found.append(exc)
    return found


def _missing(timing: Path, rows: Timing, n_timed: int, layout: CubeLayout) -> str:
    """Return what the end of the file lacks; empty if there is a row for each frame, and nothing is short."""
    faults = []
    if rows.n != layout.shape[0] or rows.is_cut:
        cut = " and one that is cut short" if rows.is_cut else ""
        noun = "row" if rows.n == 1 else "rows"
        faults.append(
            f"{timing}: {rows.n} {noun}{cut}, expected {layout.shape[0]}, one for each frame of {layout.path.name}"
        )
    if n_timed < rows.n:
        which = "its last row has" if n_timed == rows.n - 1 else f"its last {rows.n - n_timed} rows have"
        faults.append(f"{timing}: {which} no time, expected UNIX times from 2000 to 2100")
    if layout.shortness:
        faults.append(layout.shortness)
    return "; ".join(faults)


def _used_frames(rows: Timing, n_timed: int, layout: CubeLayout, missing: str) -> int:
    """Return how many frames are whole and have a time; raise BadInput if salvage cannot help."""
    if rows.n + rows.is_cut > layout.shape[0]:  # no end is missing: it is not known which row is which frame's
        raise BadInput(f"{missing}; restore the pair from the acquisition machine, or leave it in quarantine")
    n_used = min(n_timed, layout.n_whole)
    if not n_used:
        raise BadInput(
            f"{missing}; no frame is whole and has a time: restore the pair from the acquisition machine, or leave it"
            " in quarantine"
        )
    return n_used


def _check_header(layout: CubeLayout, instrument: Instrument) -> None:
    """Raise BadInput unless all readers take the header in one way, and products can have its cards."""
    try:
        check_header(split_cards(layout.header), instrument, own_keywords(instrument))
    except BadInput as exc:
        raise BadInput(f"{layout.path}: {exc}") from exc


def _refuse_numbered(cube: Path, header: bytes, keyword: str) -> None:
    """Raise BadInput if the header carries a frame ID: it would be replaced by another."""
    carried = carried_frame_id(header, keyword, cube)
    if carried is not None:
        raise BadInput(
            f"{cube}: its header has {keyword} = {carried!r} already, expected none: its frames may be in the archive"
            " under that ID; find out who numbered it, and keep it out of the night"
        )


def _cards(cube: Path, header: bytes, keywords: tuple[str, ...]) -> dict[str, Any]:
    """Return the values of `keywords`, which must be such that JSON has them, and arrays."""
    cards = values(header, keywords, cube)
    for keyword, value in cards.items():
        if isinstance(value, complex) or (isinstance(value, int | float) and not abs(value) < _MOST):
            raise BadInput(f"{cube}: {keyword} is {value!r}, expected a real number below 2**53, a string or T or F")
    return cards


def _exposure_us(cube: Path, keyword: str, cards: dict[str, Any]) -> int:
    exposure_s = cards.get(keyword)
    if (
        isinstance(exposure_s, bool)
        or not isinstance(exposure_s, int | float)
        or not 0 <= exposure_s <= _MOST_EXPOSURE_S
    ):
        found = "no value" if exposure_s is None else repr(exposure_s)
        raise BadInput(
            f"{cube}: {keyword} has {found}, expected the exposure time in seconds, from 0 to {_MOST_EXPOSURE_S}"
        )
    return round(exposure_s * _MICROSECONDS)


def _check_spacing(
    cube: Path, time_us: Int64Array, exposure_us: int, cards: dict[str, Any], names: Cards, times: Times
) -> None:
    """Raise BadInput if exposures or their dither are longer than the time between frames: they are in another unit."""
    spacing_us = float(np.median(np.diff(time_us))) if len(time_us) >= _LEAST_FRAMES else 0.0
    if spacing_us <= 0 or times.exposures is None:
        return
    if exposure_us > times.exposures * spacing_us:
        raise BadInput(
            f"{cube}: {names.exposure_s} is {cards[names.exposure_s]!r}, expected seconds, and at most"
            f" {times.exposures:g} times (instrument.times.exposures) what frames are apart, which is"
            f" {spacing_us / _MICROSECONDS:.6f} s; have the writer of the header correct it, or leave"
            " the file in quarantine"
        )
    if names.dither_us is None or names.flc_enabled is None:
        return
    dither_us = cards.get(names.dither_us)
    if cards.get(names.flc_enabled) is True and isinstance(dither_us, int | float) and abs(dither_us) > spacing_us:
        raise BadInput(
            f"{cube}: {names.dither_us} is {dither_us!r}, expected microseconds, and less than frames are apart, which"
            f" is {spacing_us:.0f} us (instrument.times.exposures: null does not ask); have the writer of the header"
            " correct it, or leave the file in quarantine"
        )


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
