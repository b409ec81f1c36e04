"""Cubes: what a raw FITS file holds, checked, and the copying of frames from cubes into a new one.

Frames are copied as the bytes that lie in the files, big-endian and unscaled; nothing is decoded.
"""

import errno
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.base import BadInput
from stages.files import AHEAD_BYTES, begin_writing, opened, retry_on_os_error
from stages.fits.cards import BLOCK, follows_end, padded, read_header, values
from stages.product import Run

#: What Rice compression gives back bit by bit (docs/design.md, A raw night).
_INTEGER_BITPIX = (8, 16, 32)

_AXES = ("NAXIS1", "NAXIS2", "NAXIS3")

#: Of an axis; a database holds no more in a column.
_MOST_LENGTH = 2**31 - 1

#: Larger calls are erratic, smaller ones cost more of them: 256 to 512 KiB are best.
_BUFFER_BYTES = 512 * 1024

#: File systems that cannot reserve space say so with one of these; writing then finds out by itself.
_CANNOT_RESERVE = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class CubeLayout:
    """Where the frames of a cube lie in its file.

    Attributes
    ----------
    path : Path
        The file.
    header : bytes
        Its header, whole 2880-byte blocks.
    shape : tuple of int
        ``(n, ny, nx)``: frames that the header declares, rows, columns.
    bitpix : int
        8, 16 or 32.
    size_bytes : int
        Of the file.
    """

    path: Path
    header: bytes
    shape: tuple[int, int, int]
    bitpix: int
    size_bytes: int

    @property
    def frame_bytes(self) -> int:
        """Return the size of one frame, bytes."""
        return self.shape[1] * self.shape[2] * self.bitpix // 8

    @property
    def data_bytes(self) -> int:
        """Return the size of all declared frames, bytes, without fill."""
        return self.shape[0] * self.frame_bytes

    @property
    def data_offset(self) -> int:
        """Return where the first frame starts in the file, bytes."""
        return len(self.header)

    @property
    def n_whole(self) -> int:
        """Return how many of the declared frames are whole in the file."""
        return min(self.shape[0], max(0, self.size_bytes - self.data_offset) // self.frame_bytes)

    @property
    def shortness(self) -> str | None:
        """Return what is missing of a file that ends before its data, or before their padding; None if nothing."""
        if self.size_bytes >= (expected := self.expected_bytes):
            return None
        found = f"{self.path}: {self.size_bytes} bytes, expected {expected} for {self.shape[0]} frames"
        return f"{found}: truncated, {self.n_whole} of them {'is' if self.n_whole == 1 else 'are'} whole"

    @property
    def expected_bytes(self) -> int:
        """Return the size of a file that is whole: header and declared frames, padded."""
        return padded(self.data_offset + self.data_bytes)


def read_cube_layout(path: Path, *, may_be_short: bool = False, is_new: bool = False) -> CubeLayout:
    """Read the layout of a cube, and check that the file is one cube and nothing else.

    Parameters
    ----------
    path : Path
        A FITS file.
    may_be_short : bool
        Whether it may end before its last frame does, or before that is padded: ``n_whole`` tells how many
        frames there are then, ``shortness`` what is missing.
    is_new : bool
        Whether nothing was made of the file yet: then it must be sure where its frames lie.

    Returns
    -------
    CubeLayout
        With at least one frame declared.

    Raises
    ------
    BadInput
        If it is not one primary HDU with three axes of integers of at most 32 bits, its size is not
        that of header and data, each padded to whole 2880-byte blocks (FITS 4.0 sec. 3.1, 3.3), or the bytes of a
        new file could be frames that lie elsewhere than the header puts them.
    Retry
        If the file could not be read.
    """
    header = read_header(path, is_new=is_new)
    cards = values(header, ("SIMPLE", "BITPIX", "NAXIS", *_AXES), path)
    bitpix = cards.get("BITPIX")
    if cards.get("NAXIS") == 0:
        raise BadInput(_of_extension(path, len(header)))
    if cards.get("SIMPLE") is not True:
        raise BadInput(f"{path}: SIMPLE is {cards.get('SIMPLE')!r}, expected T: it does not claim to be standard FITS")
    if cards.get("NAXIS") != len(_AXES):
        raise BadInput(f"{path}: NAXIS is {cards.get('NAXIS')!r}, expected 3: columns, rows, frames")
    if type(bitpix) is not int or bitpix not in _INTEGER_BITPIX:
        raise BadInput(f"{path}: BITPIX is {bitpix!r}, expected 8, 16 or 32: compression would not be lossless")
    nx, ny, n = (_axis(path, keyword, cards.get(keyword)) for keyword in _AXES)
    with retry_on_os_error(path):
        size_bytes = path.stat().st_size
    layout = CubeLayout(path, header, (n, ny, nx), bitpix, size_bytes)
    _check_size(layout, may_be_short=may_be_short)
    if is_new:
        _check_place(layout)
    return layout


def read_packed_header(path: Path) -> bytes:
    """Read the header of the table that holds a compressed cube; the cube's own cards are in it (FITS 4.0 sec. 10.1).

    Parameters
    ----------
    path : Path
        A ``.fits.fz``: an empty primary HDU, then the table.

    Returns
    -------
    bytes
        A whole number of 2880-byte blocks, the last of which has END.

    Raises
    ------
    BadInput
        If it is not such a file, or its size is not that of headers, table and heap (FITS 4.0 sec. 7.3.3).
    Retry
        If the file could not be read.
    """
    at = len(read_header(path))
    header = read_header(path, at=at)
    cards = values(header, ("ZIMAGE", "NAXIS1", "NAXIS2", "PCOUNT"), path)
    sizes = [size for keyword, size in cards.items() if keyword != "ZIMAGE" and type(size) is int and size >= 0]
    if cards.get("ZIMAGE") is not True or len(sizes) != 3:
        raise BadInput(f"{path}: its first extension has {cards}, expected ZIMAGE = T and the size of a table")
    row_bytes, n_rows, heap_bytes = sizes
    expected = padded(at + len(header) + row_bytes * n_rows + heap_bytes)
    with retry_on_os_error(path):
        found = path.stat().st_size
    if found != expected:
        what = "truncated" if found < expected else "something follows it"
        raise BadInput(f"{path}: {found} bytes, expected {expected} for headers, table and heap: {what}")
    return header


def _axis(path: Path, keyword: str, length: object) -> int:
    if type(length) is not int or not 1 <= length <= _MOST_LENGTH:
        zero = " (zero frames)" if keyword == _AXES[-1] and length == 0 else ""
        raise BadInput(f"{path}: {keyword} is {length!r}{zero}, expected a whole number from 1 to {_MOST_LENGTH}")
    return length


def _check_size(layout: CubeLayout, *, may_be_short: bool) -> None:
    shortness, expected = layout.shortness, layout.expected_bytes
    if layout.size_bytes == expected or (shortness and may_be_short):
        return
    if shortness:
        raise BadInput(shortness)
    found = f"{layout.path}: {layout.size_bytes} bytes, expected {expected} for {layout.shape[0]} frames"
    with retry_on_os_error(layout.path), layout.path.open("rb") as file:
        file.seek(expected)
        if file.read(8) == b"XTENSION":
            raise BadInput(f"{found}: there are several HDUs, expected the primary one only")
    raise BadInput(f"{found}: {layout.size_bytes - expected} trailing bytes that are no HDU")


def _check_place(layout: CubeLayout) -> None:
    """Raise BadInput unless the bytes around the frames say that they lie where the header puts them.

    The fill after the last one is zero (FITS 4.0 sec. 3.3.2), as it is not where data begin too early or too late.
    What is left of a header that is longer than it should be, in a file that was cut off by as much, is no pixels.
    A header that ends in NUL may have no fill at all: then as many of the last bytes would be fill of the data.
    """
    after = follows_end(layout.header)
    data_end = layout.data_offset + layout.data_bytes
    with opened(layout.path) as file, retry_on_os_error(layout.path):
        file.seek(layout.data_offset)
        first = file.read(min(BLOCK, data_end - layout.data_offset))
        file.seek(min(data_end - len(after), layout.size_bytes))
        last = file.read()
    if last[len(after) :].strip(b"\0"):
        found = "bytes other than zero fill its last block (FITS 4.0 sec. 3.3.2)"
    elif first and not first.strip(b" "):
        found = f"the first {len(first)} bytes of its data are blanks, as the fill of a header is"
    elif after.startswith(b"\0") and (layout.shortness or not last.strip(b"\0")):
        found = f"the header ends in NUL from byte {layout.data_offset - len(after)} on, and may have no fill"
    else:
        return
    raise BadInput(
        f"{layout.path}: {found}; expected {layout.shape[0]} frames from byte {layout.data_offset} on, but they may "
        "lie elsewhere: compare with the file of the acquisition machine, and have its writer corrected"
    )


def _of_extension(path: Path, at: int) -> str:
    """Return what a file is whose primary HDU has no data, and what to do about it."""
    found = f"{path}: NAXIS is 0, expected 3: columns, rows, frames"
    try:
        header = read_header(path, at=at)
        cards = values(header, ("XTENSION", "ZIMAGE", "ZCMPTYPE", "ZNAXIS3", "ZSIMPLE"), path)
    except BadInput as exc:
        return f"{found}; there are no data, and no extension that can be read ({exc})"
    if cards.get("ZIMAGE") is True:
        kind = f"ZIMAGE = T, {cards.get('ZCMPTYPE')}, {cards.get('ZNAXIS3')} frames"
        what = f"tile-compressed image in its first extension ({kind})"
    else:
        what = f"file of several HDUs, the first extension of which is {cards.get('XTENSION')}"
    if cards.get("ZIMAGE") is not True or cards.get("ZSIMPLE") is not True:  # unpacked it would be an extension too
        return f"{found}; it is a {what}: write the cube into the primary HDU, under the same name"
    packed, plain = shlex.quote(path.name), shlex.quote(f"{path.name}.plain")
    return (
        f"{found}; it is a {what}: unpack it in place, under the same name: "
        f"funpack -O {plain} {packed} && mv {plain} {packed}"
    )


def copy_frames(target: Path, header: bytes, parts: Sequence[tuple[CubeLayout, tuple[Run, ...]]]) -> None:
    """Write a new cube, fsynced, from a header and frames of other cubes; memory stays flat.

    Parameters
    ----------
    target : Path
        Written anew.  What is left of it after an error is no cube.
    header : bytes
        Whole 2880-byte blocks.
    parts : sequence of (CubeLayout, tuple of Run)
        Cubes and the frames to take of each, in the order that they get in the new cube.

    Raises
    ------
    BadInput
        If a run reaches beyond its cube, frames are not all of one size, or a cube ends before its frames.
    Retry
        If a file could not be read or written; the disk may be full.
    """
    if len(header) % BLOCK:
        raise BadInput(f"header for {target} has {len(header)} bytes, expected whole blocks of {BLOCK}")
    for layout, runs in parts:
        _check_runs(layout, runs)
    if len(sizes := {layout.frame_bytes for layout, _ in parts}) != 1:
        raise BadInput(f"frames for {target} have {sorted(sizes)} bytes, expected one size")
    data_bytes = sum(n * layout.frame_bytes for layout, runs in parts for _, _, n in runs)
    size = padded(len(header) + data_bytes)
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    with retry_on_os_error(target), target.open("wb", buffering=0) as file:
        _reserve(file.fileno(), size)
        _write(file.fileno(), memoryview(header), 0)
        at = len(header)
        for layout, runs in parts:
            at = _copy_part(file.fileno(), at, layout, runs, buffer)
        _write(file.fileno(), memoryview(bytes(size - at)), at)
        os.fsync(file.fileno())


def _check_runs(layout: CubeLayout, runs: tuple[Run, ...]) -> None:
    for first, step, n in runs:
        last = first + step * (n - 1)
        if n < 1 or step < 1 or first < 0 or last >= layout.shape[0]:
            raise BadInput(
                f"{layout.path}: has frames 0 to {layout.shape[0] - 1}, lineage names {(first, step, n)} "
                "(first, step, number); pair the night again"
            )


def _copy_part(target: int, at: int, layout: CubeLayout, runs: tuple[Run, ...], buffer: memoryview) -> int:
    """Copy the frames that `runs` name to byte `at` of the open file `target`; return where they end."""
    with retry_on_os_error(layout.path):
        source = layout.path.open("rb", buffering=0)
    begun = at
    with source:
        for start, length in _extents(layout, runs):
            for done in range(0, length, len(buffer)):
                piece = buffer[: length - done]
                _read(source.fileno(), piece, start + done, layout.path)
                _write(target, piece, at + done)
            at += length
            if at - begun >= AHEAD_BYTES:
                begin_writing(target, begun, at - begun)
                begun = at
    return at


def _extents(layout: CubeLayout, runs: tuple[Run, ...]) -> Iterator[tuple[int, int]]:
    """Yield start and length in bytes of stretches of the file: a frame, or a run of neighbours, each."""
    size = layout.frame_bytes
    for first, step, n in runs:
        if step == 1:
            yield layout.data_offset + first * size, n * size
        else:
            for frame in range(first, first + step * n, step):
                yield layout.data_offset + frame * size, size


def _reserve(target: int, size: int) -> None:
    """Reserve the file's space where that is possible, so that a full disk shows before any work."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    try:
        os.posix_fallocate(target, 0, size)
    except OSError as exc:
        if exc.errno not in _CANNOT_RESERVE:
            raise


def _read(source: int, piece: memoryview, start: int, path: Path) -> None:
    """Fill `piece` from byte `start` on; the system may give less than it is asked for."""
    got = 0
    while got < len(piece):
        with retry_on_os_error(path):
            more = os.preadv(source, [piece[got:]], start + got)
        if not more:
            raise BadInput(f"{path}: ends at byte {start + got}, expected {len(piece) - got} more: truncated since")
        got += more


def _write(target: int, piece: memoryview, start: int) -> None:
    """Write all of `piece` from byte `start` on; the system may take less than it is given."""
    done = 0
    while done < len(piece):
        done += os.pwrite(target, piece[done:], start + done)
