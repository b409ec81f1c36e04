"""Cubes compressed tile by tile: written from plain cubes, and proven.

What reads them back is :mod:`stages.fits.untiled`.
"""

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from stages.base import BadInput, Retry
from stages.files import AHEAD_BYTES, begin_writing, read_from_disk
from stages.fits import rice
from stages.fits.cards import BLOCK, CARD, split_cards
from stages.fits.cubes import CubeLayout
from stages.fits.structure import why_lost

#: Ending of a compressed cube, beyond that of the plain one.
SUFFIX = ".fz"

#: Reads of this size keep memory flat; a whole number of blocks.
CHUNK = 256 * BLOCK

#: Offsets of narrow descriptors are signed 32-bit integers (FITS 4.0 sec. 7.3.5).
LARGEST_NARROW_HEAP = 2**31 - 1

#: Bytes of what CHECKSUM and DATASUM are sums of (FITS 4.0 appendix J.1).
_WORD = 4

#: Cards that a primary header begins with (FITS 4.0 sec. 4.4.1.1).
_FIRST = ("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3")

#: Remark on a cube of which funpack changes the header.
END_MOVES = "blank cards before END: funpack -C puts END elsewhere, all else is identical"


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
        file.seek(cube.data_offset + cube.data_bytes)
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
        See :class:`stages.compressed.Parameters`.
    stamp : str
        UT in the comments of the checksum cards.
    wide : bool
        Whether the table has descriptors of 64 bits.
    prove : bool
        See :class:`stages.compressed.Parameters`.

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


def end_moves(cube: CubeLayout) -> bool:
    """Return whether funpack would put END somewhere else, among the blank cards around it.

    It takes blank cards before END for unused space, and puts END after the last other card, but within
    the last block (cfitsio's ffwend).  :func:`stages.fits.untiled.plain_pieces` puts it where it was.
    """
    cards = split_cards(cube.header)
    return not cards[-1].strip() and len(cards) % (BLOCK // CARD) != 0


def largest_heap(cube: CubeLayout) -> int:
    """Return an upper limit of the heap, bytes: at most 5 bits more for 32 pixels, and 8 bytes more a row."""
    frames, rows, _ = cube.shape
    return cube.data_bytes + cube.data_bytes // 32 + 8 * frames * rows


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
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            crc = zlib.crc32(chunk, crc)
            size_bytes += len(chunk)
    if (head, crc, size_bytes) != (written.head, written.crc, written.size_bytes):
        raise Retry(f"{path}: reads back other bytes than were written; check the disk, and try again")
    return digest.hexdigest()
