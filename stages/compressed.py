"""State `compressed`: a plain cube becomes a Rice-compressed ``.fits.fz``, and back (DESIGN section 9).

The file is written directly, a frame at a time: an empty primary HDU, then a binary table with one row per
tile and the streams of the tiles as its heap (FITS 4.0 sec. 10.1).  What ``funpack -C`` could not give back
byte for byte is refused before anything is written; but for one thing: where a header has blank cards just
before END, funpack may put END elsewhere among them, which is reported.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from stages import rice
from stages.base import BadInput, Fact, Job, Outcome, Retry
from stages.header import BLOCK, CARD, retry_on_os_error, split_cards, values

SUFFIX = ".fz"

#: Reads of this size keep memory flat; a whole number of blocks.
_CHUNK = 256 * BLOCK

#: Offsets of narrow descriptors are signed 32-bit integers (FITS 4.0 sec. 7.3.5).
_LARGEST_NARROW_HEAP = 2**31 - 1

#: Sums of words that equal minus zero are multiples of it (FITS 4.0 appendix J.1).
_ALL_ONES = 0xFFFFFFFF

_END = b"END".ljust(CARD)
_END_MOVES = "blank cards before END: funpack -C puts END elsewhere, all else is identical"
_BRING_BACK = "bring it back from the destination, or make it again"


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of the state.

    Attributes
    ----------
    tile : {"frame", "row"}
        What one tile is.  Frames compress better and are read back faster; rows are fpack's default.
    prove : bool
        Whether the finished file is decoded, from the disk, and compared with the plain cube.
    """

    tile: Literal["frame", "row"] = "frame"
    prove: bool = True


@dataclass(frozen=True, slots=True)
class Cube:
    """A plain cube as its header describes it.

    Attributes
    ----------
    cards : tuple of bytes
        All before END, 80 bytes each.
    pixel : dtype
        Of the stored values, big-endian (FITS 4.0 sec. 5.2).
    shape : tuple of int
        Frames, rows, columns.
    """

    cards: tuple[bytes, ...]
    pixel: np.dtype[Any]
    shape: tuple[int, int, int]

    @property
    def data_bytes(self) -> int:
        """Return the size of the array, bytes, without fill."""
        frames, rows, columns = self.shape
        return frames * rows * columns * self.pixel.itemsize


def forward(*, job: Job, params: Parameters) -> Outcome:
    """Compress the product's cube.

    Parameters
    ----------
    job : Job
        ``job.product.files[0]`` is the plain cube: one primary HDU, ``NAXIS`` 3, ``BITPIX`` 8, 16 or 32.
    params : Parameters
        See there.

    Returns
    -------
    Outcome
        The ``.fz`` supersedes the plain cube; facts ``files``, ``sha256``, ``size_bytes``; a remark if
        funpack would put END elsewhere among blank cards.

    Raises
    ------
    BadInput
        If the cube is missing or not such a file, or has cards that funpack would not give back.
    Retry
        If the system fails to read or write, or gives back other bytes than were written.
    """
    name, *others = job.product.files
    plain, final = job.folder / name, job.folder / (name + SUFFIX)
    stamp = f"{datetime.fromtimestamp(job.product.first_us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}"
    with _opened(plain) as source, _discarded_on_error(job.temporary(final.name)) as temporary:
        cube = read_plain(source, plain)
        with temporary.open("w+b") as target:
            wide = _largest_heap(cube) > _LARGEST_NARROW_HEAP
            compress(source, target, cube, tile=params.tile, stamp=stamp, wide=wide)
            _sync(target)
        with temporary.open("rb") as written:
            sha256 = _digest(written, temporary)
            size_bytes = os.fstat(written.fileno()).st_size
            if params.prove:
                _prove(source, plain, written, temporary)
    remarks = {_END_MOVES: 1} if _end_moves(cube) else {}
    facts: dict[str, Fact] = {"files": [final.name, *others], "sha256": sha256, "size_bytes": size_bytes}
    return Outcome(
        outputs={final: temporary},
        superseded=(plain,),
        facts={job.product.identity: facts},
        remarks=remarks,
    )


def reverse(*, job: Job, params: Parameters) -> Outcome:
    """Give the plain cube back, byte for byte.

    Parameters
    ----------
    job : Job
        ``job.product.files[0]`` is a ``.fits.fz`` that :func:`forward` made.
    params : Parameters
        Not needed: the file says how it was compressed.

    Returns
    -------
    Outcome
        The plain cube supersedes the ``.fz``; facts ``files``, and ``sha256`` and ``size_bytes`` None.

    Raises
    ------
    BadInput
        If the file is missing, or not the one that was made, or not such a file.
    Retry
        If the system fails to read or write.
    """
    name, *others = job.product.files
    if not name.endswith(SUFFIX):
        raise BadInput(f"{job.folder / name}: expected a name that ends in {SUFFIX!r}; audit the night")
    packed, final = job.folder / name, job.folder / name.removesuffix(SUFFIX)
    with _opened(packed) as source, _discarded_on_error(job.temporary(final.name)) as temporary:
        sha256 = _digest(source, packed)
        if job.product.sha256 not in (None, sha256):
            raise BadInput(
                f"{packed}: SHA-256 is {sha256}, expected {job.product.sha256} as when it was made; {_BRING_BACK}"
            )
        with temporary.open("wb") as target:
            target.writelines(plain_pieces(source, packed))
            _sync(target)
    facts: dict[str, Fact] = {"files": [final.name, *others], "sha256": None, "size_bytes": None}
    return Outcome(outputs={final: temporary}, superseded=(packed,), facts={job.product.identity: facts})


def read_plain(source: BinaryIO, path: Path) -> Cube:
    """Read the header of a plain cube, leaving `source` at the first frame.

    Parameters
    ----------
    source : binary file
        At its start.
    path : Path
        For messages.

    Returns
    -------
    Cube
        One that funpack can give back.

    Raises
    ------
    BadInput
        If it is anything but one integer image of three axes, or has what funpack would not give back.
    """
    cube = _cube(_read_header(source, path), path)
    for number, card in enumerate(cube.cards, start=1):
        if reason := rice.why_lost(card):
            raise BadInput(
                f"{path}: card {number} is {card.rstrip()!r}, which funpack would not give back: {reason}; "
                f"expected cards that survive compression: have the writer of the header correct it"
            )
    data_start = source.tell()
    expected = data_start + cube.data_bytes + -cube.data_bytes % BLOCK
    found = source.seek(0, os.SEEK_END)
    if found != expected:
        problem = "truncated" if found < expected else "several HDUs, or bytes after the data"
        raise BadInput(f"{path}: {problem}: {found} bytes, expected {expected}; make the cube again")
    source.seek(data_start + cube.data_bytes)
    if any(source.read()):
        raise BadInput(
            f"{path}: bytes other than zero fill the last block (FITS 4.0 sec. 3.3.2), which funpack would "
            f"not give back; make the cube again"
        )
    source.seek(data_start)
    return cube


def compress(
    source: BinaryIO,
    target: BinaryIO,
    cube: Cube,
    *,
    tile: Literal["frame", "row"],
    stamp: str,
    wide: bool,
) -> None:
    """Write the ``.fz`` of a cube: heap, then descriptors, then the headers, which have their sums.

    Parameters
    ----------
    source : binary file
        At the first frame.
    target : binary file
        Empty, open for reading and writing.
    cube : Cube
        What `source` holds.
    tile : {"frame", "row"}
        See :class:`Parameters`.
    stamp : str
        UT in the comments of the checksum cards.
    wide : bool
        Whether the table has descriptors of 64 bits.

    Raises
    ------
    BadInput
        If `source` ends early.
    """
    frames, rows, columns = cube.shape
    tile_shape = (rows if tile == "frame" else 1, columns)
    n_tiles = frames * rows // tile_shape[0]
    descriptor = rice.descriptor(wide=wide)

    def headers(lengths: list[int], datasum: int) -> bytes:
        cards = rice.table_cards(
            cube.cards, tile_shape=tile_shape, itemsize=cube.pixel.itemsize, lengths=lengths, wide=wide
        )
        primary = rice.sealed(rice.primary_cards(), datasum=0, stamp=stamp)
        return primary + rice.sealed(cards, datasum=datasum, stamp=stamp)

    data_start = len(headers([0] * n_tiles, 0))
    target.seek(data_start + 2 * n_tiles * descriptor.itemsize)
    lengths = [target.write(rice.encode(pixels)) for pixels in _tiles(source, cube, tile_shape)]
    target.write(bytes(-target.tell() % BLOCK))

    ends = np.cumsum(lengths)
    target.seek(data_start)
    target.write(np.stack((lengths, ends - lengths), axis=1).astype(descriptor).tobytes())
    target.seek(data_start)
    datasum = rice.ones_complement_sum(iter(lambda: target.read(_CHUNK), b""))
    target.seek(0)
    target.write(headers(lengths, datasum))


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
    cube = _cube(rice.header_of(rice.plain_cards(split_cards(table))), path)
    yield rice.header_of(cube.cards)
    pixels = np.empty((_rows_per_tile(table, cube, path), cube.shape[2]), dtype=cube.pixel.newbyteorder("="))
    for number, length in enumerate(_read_lengths(source, path, table, cube.data_bytes // pixels.nbytes)):
        try:
            rice.decode(source.read(length), pixels)
        except ValueError as exc:
            raise BadInput(f"{path}: tile {number} of the table is {exc}; {_BRING_BACK}") from exc
        yield pixels.astype(cube.pixel).tobytes()
    yield bytes(-cube.data_bytes % BLOCK)


def _tiles(source: BinaryIO, cube: Cube, tile_shape: tuple[int, int]) -> Iterator[npt.NDArray[Any]]:
    """Yield the tiles of a cube in order, native byte order; each holds until the next is asked for.

    Raises
    ------
    BadInput
        If `source` ends early.
    """
    frames, rows, columns = cube.shape
    frame_bytes = rows * columns * cube.pixel.itemsize
    for number in range(frames):
        stored = source.read(frame_bytes)
        if len(stored) != frame_bytes:
            raise BadInput(f"{source.name}: ends within frame {number}, expected {frames}; make the cube again")
        frame = np.frombuffer(stored, dtype=cube.pixel).astype(cube.pixel.newbyteorder("="))
        yield from frame.reshape(-1, *tile_shape)


def _rows_per_tile(table: bytes, cube: Cube, path: Path) -> int:
    """Return the height of the tiles of a compressed cube.

    Raises
    ------
    BadInput
        If they are neither frames nor rows, or not compressed by Rice.
    """
    found = values(table, ("ZCMPTYPE", "ZVAL1", "ZVAL2", "ZTILE1", "ZTILE2", "ZTILE3"))
    _, rows, columns = cube.shape
    expected = {"ZCMPTYPE": "RICE_1", "ZVAL1": rice.BLOCK_SIZE, "ZVAL2": cube.pixel.itemsize, "ZTILE1": columns}
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
    found = values(table, ("NAXIS1", "NAXIS2", "PCOUNT"))
    descriptor = rice.descriptor(wide=found.get("NAXIS1") == 2 * rice.descriptor(wide=True).itemsize)
    content = source.read(2 * n_tiles * descriptor.itemsize)
    if len(content) != 2 * n_tiles * descriptor.itemsize or found.get("NAXIS2") != n_tiles:
        raise BadInput(
            f"{path}: {found.get('NAXIS2')!r} table rows, {len(content)} bytes, expected {n_tiles} tiles; {_BRING_BACK}"
        )
    lengths, offsets = np.frombuffer(content, dtype=descriptor).reshape(n_tiles, 2).T.astype(np.int64)
    ends = np.cumsum(lengths)
    if lengths.min() < 0 or ends[-1] != found.get("PCOUNT") or not np.array_equal(offsets, ends - lengths):
        raise BadInput(f"{path}: tiles overlap or leave gaps, expected one after the other; use funpack -C")
    return list(lengths.tolist())


def _prove(plain: BinaryIO, plain_path: Path, written: BinaryIO, path: Path) -> None:
    """Decode what was written, all of it, and compare it with the plain file.

    Raises
    ------
    Retry
        If they differ.
    """
    plain.seek(0)
    for piece in plain_pieces(written, path):
        start = plain.tell()
        if plain.read(len(piece)) != piece:
            raise Retry(f"{path}: decodes to other bytes than {plain_path} has from byte {start} on; try again")
    if plain.read(1):
        raise Retry(f"{path}: decodes to fewer bytes than {plain_path} has; try again")


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


def _cube(header: bytes, path: Path) -> Cube:
    """Return the cube that a primary header describes.

    Raises
    ------
    BadInput
        If it is anything but a cube of integers of 8, 16 or 32 bits that has pixels.
    """
    cards = split_cards(header)
    names = ["SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3"]
    order = [card[:8].rstrip().decode("ascii", "replace") for card in cards[: len(names)]]
    found = values(header, names)
    if order != names or found["SIMPLE"] is not True or found["NAXIS"] != 3:
        raise BadInput(f"{path}: starts with {order}, {found}; expected a primary HDU of three axes")
    pixel = rice.PIXELS.get(found["BITPIX"])
    if pixel is None:
        raise BadInput(
            f"{path}: BITPIX is {found['BITPIX']!r}, expected one of {sorted(rice.PIXELS)}: Rice would lose "
            f"digits of other pixels; keep the plain file"
        )
    columns, rows, frames = (found[name] for name in names[3:])
    if not all(isinstance(length, int) and length > 0 for length in (columns, rows, frames)):
        raise BadInput(
            f"{path}: axes of {columns!r} x {rows!r} x {frames!r} pixels, expected at least one each; "
            f"make the cube again"
        )
    return Cube(tuple(cards), pixel, (frames, rows, columns))


def _end_moves(cube: Cube) -> bool:
    """Return whether funpack would put END somewhere else, among the blank cards around it.

    It takes blank cards before END for unused space, and puts END after the last other card, but within
    the last block (cfitsio's ffwend).  :func:`reverse` puts it where it was.
    """
    return not cube.cards[-1].strip() and len(cube.cards) % (BLOCK // CARD) != 0


def _largest_heap(cube: Cube) -> int:
    """Return an upper limit of the heap, bytes: at most 5 bits more for 32 pixels, and 8 bytes more a row."""
    frames, rows, _ = cube.shape
    return cube.data_bytes + cube.data_bytes // 32 + 8 * frames * rows


def _digest(file: BinaryIO, path: Path) -> str:
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
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    digest = hashlib.sha256()
    total = 0
    while chunk := file.read(_CHUNK):
        if len(chunk) % BLOCK:
            raise BadInput(f"{path}: truncated: ends within a block of {BLOCK} bytes; {_BRING_BACK}")
        digest.update(chunk)
        total += rice.ones_complement_sum([chunk])
    if total % _ALL_ONES:
        raise BadInput(f"{path}: contradicts its own CHECKSUM cards: damaged; {_BRING_BACK}")
    file.seek(0)
    return digest.hexdigest()


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open an input file; what the system refuses during the block is worth another attempt.

    Raises
    ------
    BadInput
        If the file is missing.
    Retry
        In place of any other ``OSError`` of the block.
    """
    if not path.is_file():
        raise BadInput(f"{path}: missing, expected the product's file; audit the night")
    with retry_on_os_error(path), path.open("rb") as file:
        yield file


@contextmanager
def _discarded_on_error(temporary: Path) -> Iterator[Path]:
    """Give the path of a temporary, and remove it if the block fails."""
    try:
        yield temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
