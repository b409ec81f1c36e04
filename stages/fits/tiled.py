"""Cubes compressed tile by tile: written from plain cubes and proven, and read back."""

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from stages.base import BadInput, Retry
from stages.files import AHEAD_BYTES, begin_writing, read_from_disk, retry_on_os_error
from stages.fits import rice
from stages.fits.cards import BLOCK, CARD, padded, split_cards, values
from stages.fits.cubes import CubeLayout
from stages.fits.structure import why_lost

SUFFIX = ".fz"


#: Reads of this size keep memory flat; a whole number of blocks.
_CHUNK = 256 * BLOCK


#: Offsets of narrow descriptors are signed 32-bit integers (FITS 4.0 sec. 7.3.5).
LARGEST_NARROW_HEAP = 2**31 - 1


#: Bytes of what CHECKSUM and DATASUM are sums of (FITS 4.0 appendix J.1).
_WORD = 4


#: Sums of words that equal minus zero are multiples of it (FITS 4.0 appendix J.1).
_ALL_ONES = 0xFFFFFFFF


_FIRST = ("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3")


_SIZES = ("NAXIS1", "NAXIS2", "NAXIS3", "BITPIX")


_END = b"END".ljust(CARD)


END_MOVES = "blank cards before END: funpack -C puts END elsewhere, all else is identical"


BRING_BACK = "bring it back from the destination, or make it again"


def check_comes_back(cube: CubeLayout) -> None:
    """Check that nothing in a plain cube is lost in compression.

    Parameters
    ----------
    cube : CubeLayout
        Of the plain file.

    Raises
    ------
    BadInput
        If it has cards, text after END, or bytes after the last frame, that funpack would not give back.
    """
    cards = split_cards(cube.header)
    if (order := tuple(card[:8].decode().rstrip() for card in cards[: len(_FIRST)])) != _FIRST:
        raise BadInput(f"{cube.path}: first cards are {order}, expected {_FIRST} (FITS 4.0 sec. 4.4.1.1)")
    for number, card in enumerate(cards, start=1):
        if reason := why_lost(card):
            raise BadInput(
                f"{cube.path}: card {number} is {card.rstrip()!r}, which funpack would not give back: {reason}; "
                f"expected cards that survive compression: have the writer of the header correct it"
            )
    if rice.header_of(cards) != cube.header:
        raise BadInput(f"{cube.path}: text after the END card (FITS 4.0 sec. 4.4.1); make the cube again")
    with cube.path.open("rb") as file:
        file.seek(cube.data_offset + _data_bytes(cube))
        if any(file.read()):
            raise BadInput(
                f"{cube.path}: bytes other than zero fill the last block (FITS 4.0 sec. 3.3.2), which funpack "
                f"would not give back; make the cube again"
            )


@dataclass(frozen=True, slots=True)
class Written:
    """A ``.fz`` as it was before it was written: what the disk has to give back.

    Attributes
    ----------
    head : bytes
        Headers and descriptors.
    crc : int
        CRC-32 of the streams of all tiles, which follow, and of the fill of the last block.
    size_bytes : int
        Of all of it.
    """

    head: bytes
    crc: int
    size_bytes: int


def compress(
    source: BinaryIO,
    target: BinaryIO,
    cube: CubeLayout,
    *,
    tile: Literal["frame", "row"],
    stamp: str,
    wide: bool,
    prove: bool = True,
) -> Written:
    """Write the ``.fz`` of a cube: heap, then the headers, which have their sums, and descriptors.

    Parameters
    ----------
    source : binary file
        At the first frame.
    target : binary file
        Empty.
    cube : CubeLayout
        What `source` holds.
    tile : {"frame", "row"}
        See :class:`Parameters`.
    stamp : str
        UT in the comments of the checksum cards.
    wide : bool
        Whether the table has descriptors of 64 bits.
    prove : bool
        See :class:`Parameters`.

    Returns
    -------
    Written
        What has to be found where it was written.

    Raises
    ------
    BadInput
        If `source` ends early.
    Retry
        If a tile does not decode to what it was made of.
    """
    frames, rows, columns = cube.shape
    tile_shape = (rows if tile == "frame" else 1, columns)
    n_tiles = frames * rows // tile_shape[0]
    descriptor = rice.descriptor(wide=wide)

    def headers(lengths: list[int], datasum: int) -> bytes:
        cards = rice.table_cards(
            split_cards(cube.header),
            tile_shape=tile_shape,
            itemsize=cube.bitpix // 8,
            lengths=lengths,
            wide=wide,
        )
        primary = rice.sealed(rice.primary_cards(), datasum=0, stamp=stamp)
        return primary + rice.sealed(cards, datasum=datasum, stamp=stamp)

    heap_start = len(headers([0] * n_tiles, 0)) + 2 * n_tiles * descriptor.itemsize
    target.seek(heap_start)
    lengths: list[int] = []
    crc = heap_sum = 0
    rest = b""  # fewer bytes than a word, of the stream before: sums are of words
    begun = at = heap_start
    for stream in _streams(_tiles(source, cube, tile_shape), cube, prove=prove):
        lengths.append(target.write(stream))
        crc = zlib.crc32(stream, crc)
        words = rest + stream
        whole = len(words) - len(words) % _WORD
        heap_sum += rice.ones_complement_sum([memoryview(words)[:whole]])
        rest = words[whole:]
        at += len(stream)
        if at - begun >= AHEAD_BYTES:
            target.flush()
            begin_writing(target.fileno(), begun, at - begun)
            begun = at
    heap_sum += int.from_bytes(rest.ljust(_WORD, b"\0"), "big")
    fill = bytes(-at % BLOCK)
    target.write(fill)

    ends = np.cumsum(lengths)
    descriptors = np.stack((lengths, ends - lengths), axis=1).astype(descriptor).tobytes()
    datasum = rice.ones_complement_sum([descriptors, heap_sum.to_bytes(2 * _WORD, "big")])
    head = headers(lengths, datasum) + descriptors
    target.seek(0)
    target.write(head)
    return Written(head, zlib.crc32(fill, crc), at + len(fill))


def _streams(tiles: Iterable[npt.NDArray[Any]], cube: CubeLayout, *, prove: bool) -> Iterator[bytes]:
    """Yield the stream of each tile, decoded and compared while the tile is at hand.

    Raises
    ------
    Retry
        If it does not decode to the tile.
    """
    for number, pixels in enumerate(tiles):
        stream = rice.encode(pixels)
        if prove and not rice.is_stream_of(stream, pixels):
            raise Retry(f"{cube.path}: tile {number} decodes to other pixels than it was made of; try again")
        yield stream


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
    _read_header(source, path)
    table = _read_header(source, path)
    cube = _layout(rice.header_of(rice.plain_cards(split_cards(table))), path)
    yield cube.header
    stored = rice.PIXELS[cube.bitpix]
    pixels = np.empty((_rows_per_tile(table, cube, path), cube.shape[2]), dtype=stored.newbyteorder("="))
    n_tiles = _data_bytes(cube) // pixels.nbytes
    for number, length in enumerate(_read_lengths(source, path, table, n_tiles)):
        try:
            rice.decode(source.read(length), pixels)
        except ValueError as exc:
            raise BadInput(f"{path}: tile {number} of the table is {exc}; {BRING_BACK}") from exc
        yield pixels.astype(stored).tobytes()
    yield bytes(cube.size_bytes - cube.data_offset - _data_bytes(cube))


def _tiles(source: BinaryIO, cube: CubeLayout, tile_shape: tuple[int, int]) -> Iterator[npt.NDArray[Any]]:
    """Yield the tiles of a cube in order, as stored.

    Raises
    ------
    BadInput
        If `source` ends early.
    """
    stored = rice.PIXELS[cube.bitpix]
    for number in range(cube.shape[0]):
        frame = source.read(cube.frame_bytes)
        if len(frame) != cube.frame_bytes:
            raise BadInput(f"{cube.path}: ends within frame {number}: truncated since; make the cube again")
        yield from np.frombuffer(frame, dtype=stored).reshape(-1, *tile_shape)


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
        if _END in cards:
            if any(card.strip() for card in cards[cards.index(_END) + 1 :]):
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
    return replace(cube, size_bytes=padded(cube.data_offset + _data_bytes(cube)))


def _data_bytes(cube: CubeLayout) -> int:
    """Return the size of the array, bytes, without fill."""
    return cube.shape[0] * cube.frame_bytes


def end_moves(cube: CubeLayout) -> bool:
    """Return whether funpack would put END somewhere else, among the blank cards around it.

    It takes blank cards before END for unused space, and puts END after the last other card, but within
    the last block (cfitsio's ffwend).  :func:`reverse` puts it where it was.
    """
    cards = split_cards(cube.header)
    return not cards[-1].strip() and len(cards) % (BLOCK // CARD) != 0


def largest_heap(cube: CubeLayout) -> int:
    """Return an upper limit of the heap, bytes: at most 5 bits more for 32 pixels, and 8 bytes more a row."""
    frames, rows, _ = cube.shape
    return _data_bytes(cube) + _data_bytes(cube) // 32 + 8 * frames * rows


def read_back(path: Path, written: Written) -> str:
    """Return the SHA-256 (hex) of a ``.fz`` that was just synced, read whole from the disk, and compared on the way.

    Raises
    ------
    Retry
        If the disk gives back anything else than was written.
    """
    with path.open("rb", buffering=0) as file:
        read_from_disk(file.fileno())
        head = file.read(len(written.head))
        digest = hashlib.sha256(head)
        crc, size_bytes = 0, len(head)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            crc = zlib.crc32(chunk, crc)
            size_bytes += len(chunk)
    if (head, crc, size_bytes) != (written.head, written.crc, written.size_bytes):
        raise Retry(f"{path}: reads back other bytes than were written; check the disk, and try again")
    return digest.hexdigest()


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
    while chunk := file.read(_CHUNK):
        if len(chunk) % BLOCK:
            raise BadInput(f"{path}: truncated: ends within a block of {BLOCK} bytes; {BRING_BACK}")
        digest.update(chunk)
        total += rice.ones_complement_sum([chunk])
    if total % _ALL_ONES:
        raise BadInput(f"{path}: contradicts its own CHECKSUM cards: damaged; {BRING_BACK}")
    file.seek(0)
    return digest.hexdigest()


def sync(file: BinaryIO) -> None:
    """Put what was written to a file on its disk."""
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open an input file; what the system refuses during the block is worth another attempt.

    Raises
    ------
    Retry
        If the file is missing, and in place of any ``OSError`` of the block.
    """
    if not path.is_file():
        raise Retry(f"{path}: missing, expected the product's file; {BRING_BACK}")
    with retry_on_os_error(path), path.open("rb") as file:
        yield file


@contextmanager
def discarded_on_error(temporary: Path) -> Iterator[Path]:
    """Give the path of a temporary, and remove it if the block fails."""
    try:
        yield temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
