"""Cubes compressed tile by tile, read back: the plain file that one holds, and whether it is as it was made."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from stages.base import BadInput
from stages.files import read_from_disk
from stages.fits import rice
from stages.fits.cards import BLOCK, CARD, END, padded, split_cards, values
from stages.fits.cubes import CubeLayout
from stages.fits.tiled import CHUNK

#: Sums of words that equal minus zero are multiples of it (FITS 4.0 appendix J.1).
_ALL_ONES = 0xFFFFFFFF

#: Cards that say how large a cube is.
_SIZES = ("NAXIS1", "NAXIS2", "NAXIS3", "BITPIX")

#: What to do about a compressed file that is not as it was made.
BRING_BACK = "bring it back from the destination, or make it again"


def plain_pieces(source: BinaryIO, path: Path) -> Iterator[bytes]:
    """Yield the plain file that a ``.fz`` holds, in order, a tile at most at a time.

    Parameters
    ----------
    source : binary file
        At its start.
    path : Path
        For messages.

    Yields
    ------
    bytes
        The header, each tile, the fill.

    Raises
    ------
    BadInput
        If it does not hold a cube in Rice tiles of whole frames or rows, one after the other.
    """
    table, cube = _read_headers(source, path)
    yield cube.header
    stored = rice.PIXELS[cube.bitpix]
    pixels = np.empty((_rows_per_tile(table, cube, path), cube.shape[2]), dtype=stored.newbyteorder("="))
    n_tiles = cube.data_bytes // pixels.nbytes
    for number, length in enumerate(_read_lengths(source, path, table, n_tiles)):
        _read_tile(source, path, number, length, pixels)
        yield pixels.astype(stored).tobytes()
    yield bytes(cube.size_bytes - cube.data_offset - cube.data_bytes)


def tiled_frames(source: BinaryIO, path: Path, numbers: Sequence[int]) -> Iterator[npt.NDArray[Any]]:
    """Yield some frames of the cube that a ``.fz`` holds; no others are read.

    Parameters
    ----------
    source : binary file
        At its start.
    path : Path
        For messages.
    numbers : sequence of int
        Which, from 0.

    Yields
    ------
    ndarray of uint8, int16 or int32, shape (ny, nx)
        As stored: not scaled.

    Raises
    ------
    BadInput
        If it does not hold a cube in Rice tiles of whole frames or rows, one after the other.
    """
    table, cube = _read_headers(source, path)
    frames, rows, columns = cube.shape
    per_frame = rows // _rows_per_tile(table, cube, path)
    lengths = _read_lengths(source, path, table, frames * per_frame)
    heap, starts = source.tell(), np.cumsum([0, *lengths])
    for number in numbers:
        pixels = np.empty((rows, columns), dtype=rice.PIXELS[cube.bitpix].newbyteorder("="))
        source.seek(heap + int(starts[number * per_frame]))
        for tile, rows_of_tile in enumerate(np.split(pixels, per_frame), start=number * per_frame):
            _read_tile(source, path, tile, lengths[tile], rows_of_tile)
        yield pixels


def _read_headers(source: BinaryIO, path: Path) -> tuple[bytes, CubeLayout]:
    """Read the headers of a compressed cube: return the table's, and the layout of the plain file."""
    _read_header(source, path)
    table = _read_header(source, path)
    return table, _layout(rice.header_of(rice.plain_cards(split_cards(table))), path)


def _read_tile(source: BinaryIO, path: Path, number: int, length: int, pixels: npt.NDArray[Any]) -> None:
    """Read a tile into its pixels.

    Raises
    ------
    BadInput
        If it is none.
    """
    try:
        rice.decode(source.read(length), pixels)
    except ValueError as exc:
        raise BadInput(f"{path}: tile {number} of the table is {exc}; {BRING_BACK}") from exc


def _rows_per_tile(table: bytes, cube: CubeLayout, path: Path) -> int:
    """Return the height of the tiles of a compressed cube.

    Raises
    ------
    BadInput
        If they are neither frames nor rows, or not compressed by Rice.
    """
    found = values(table, ("ZCMPTYPE", "ZVAL1", "ZVAL2", "ZTILE1", "ZTILE2", "ZTILE3"), path)
    _, rows, columns = cube.shape
    expected = {"ZCMPTYPE": "RICE_1", "ZVAL1": rice.BLOCK_SIZE, "ZVAL2": cube.bitpix // 8, "ZTILE1": columns}
    height = found.pop("ZTILE2", None)
    if found != expected | {"ZTILE3": 1} or height not in (1, rows):
        raise BadInput(
            f"{path}: compressed with {found}, ZTILE2 {height!r}, expected Rice tiles of one frame or one row; "
            f"use funpack -C"
        )
    return int(height)


def _read_lengths(source: BinaryIO, path: Path, table: bytes, n_tiles: int) -> list[int]:
    """Read the descriptors, leaving `source` at the heap, and return the length of each tile's stream, bytes.

    Raises
    ------
    BadInput
        If there is not one for each tile, or the streams do not follow each other.
    """
    found = values(table, ("NAXIS1", "NAXIS2", "PCOUNT"), path)
    descriptor = rice.descriptor(wide=found.get("NAXIS1") == 2 * rice.descriptor(wide=True).itemsize)
    content = source.read(2 * n_tiles * descriptor.itemsize)
    if len(content) != 2 * n_tiles * descriptor.itemsize or found.get("NAXIS2") != n_tiles:
        raise BadInput(
            f"{path}: {found.get('NAXIS2')!r} table rows, {len(content)} bytes, expected {n_tiles} tiles; {BRING_BACK}"
        )
    lengths, offsets = np.frombuffer(content, dtype=descriptor).reshape(n_tiles, 2).T.astype(np.int64)
    ends = np.cumsum(lengths)
    if lengths.min() < 0 or ends[-1] != found.get("PCOUNT") or not np.array_equal(offsets, ends - lengths):
        raise BadInput(f"{path}: tiles overlap or leave gaps, expected one after the other; use funpack -C")
    return list(lengths.tolist())


def _read_header(source: BinaryIO, path: Path) -> bytes:
    """Read one header, leaving `source` at the data.

    Raises
    ------
    BadInput
        If the file ends before END, or something but blanks follows END.
    """
    header = b""
    while len(block := source.read(BLOCK)) == BLOCK:
        header += block
        cards = [block[at : at + CARD] for at in range(0, BLOCK, CARD)]
        if END in cards:
            if any(card.strip() for card in cards[cards.index(END) + 1 :]):
                raise BadInput(f"{path}: text after the END card (FITS 4.0 sec. 4.4.1); make the file again")
            return header
    raise BadInput(f"{path}: ends before an END card: truncated, or not FITS; make the file again")


def _layout(header: bytes, path: Path) -> CubeLayout:
    """Return the layout of the plain file that a header out of a ``.fz`` describes.

    Raises
    ------
    BadInput
        If it does not describe a cube of integers of 8, 16 or 32 bits.
    """
    sizes = values(header, _SIZES, path)
    are_good = [isinstance(sizes.get(keyword), int) and sizes[keyword] > 0 for keyword in _SIZES]
    if not all(are_good) or sizes["BITPIX"] not in rice.PIXELS:
        raise BadInput(
            f"{path}: holds an image of {sizes}, expected {_SIZES} with BITPIX one of {sorted(rice.PIXELS)}; "
            f"use funpack -C"
        )
    columns, rows, frames, bitpix = (sizes[keyword] for keyword in _SIZES)
    cube = CubeLayout(path, header, (frames, rows, columns), bitpix, 0)
    return replace(cube, size_bytes=padded(cube.data_offset + cube.data_bytes))


def proven_digest(file: BinaryIO, path: Path) -> str:
    """Return the SHA-256 (hex) of a ``.fz``, read whole from the disk where the system can be asked to.

    Parameters
    ----------
    file : binary file
        At its start, where it is left.
    path : Path
        For messages.

    Returns
    -------
    str
        64 digits.

    Raises
    ------
    BadInput
        If it is truncated, or its CHECKSUM cards contradict it: the words of each HDU, and so of the whole
        file, sum to minus zero (FITS 4.0 appendix J).
    """
    read_from_disk(file.fileno())
    digest = hashlib.sha256()
    total = 0
    while chunk := file.read(CHUNK):
        if len(chunk) % BLOCK:
            raise BadInput(f"{path}: truncated: ends within a block of {BLOCK} bytes; {BRING_BACK}")
        digest.update(chunk)
        total += rice.ones_complement_sum([chunk])
    if total % _ALL_ONES:
        raise BadInput(f"{path}: contradicts its own CHECKSUM cards: damaged; {BRING_BACK}")
    file.seek(0)
    return digest.hexdigest()
