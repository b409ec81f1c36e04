"""The tiled Rice format of the stage `compressed`: streams of tiles, cards of the table, checksum cards.

Everything is laid out as cfitsio's fpack does it, because the archive's users unpack with funpack: the
header of the table is the cube's own, with structural cards renamed and the table's put before them
(FITS 4.0 sec. 10.1).

:func:`encode` and :func:`decode` are the one place that knows a codec. Pixels of 16 bits go through ``_rice.c``
where that was compiled (no wrapper of cfitsio's encoder is fast enough), all else through imagecodecs, with
the same bytes.
"""

import ctypes
from collections.abc import Iterable, Sequence
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from stages.fits import native
from stages.fits.cards import CARD, padded
from stages.fits.structure import EXTNAME, OF_THE_TABLE, RENAMED, RESTORED

#: Pixels per block of a stream; cfitsio writes no other number (imcompress.c, imcomp_init_table).
BLOCK_SIZE = 32

#: Stored pixels by BITPIX that Rice takes without loss (FITS 4.0 table 37: BYTEPIX 1, 2 or 4).
PIXELS: dict[int, np.dtype[Any]] = {8: np.dtype("u1"), 16: np.dtype(">i2"), 32: np.dtype(">i4")}

_END = b"END".ljust(CARD)

#: Characters that an encoded checksum avoids (FITS 4.0 appendix J.2).
_PUNCTUATION = frozenset(b":;<=>?@[\\]^_`")

_ALL_ONES = 0xFFFFFFFF

#: More than ``_rice.c`` wants to have left before each block.
_SPARE_BYTES = 1024


_compiled = native.load(
    {"ledger_rice16": ctypes.c_longlong, "ledger_rice16_read": ctypes.c_int, "ledger_rice16_compare": ctypes.c_int},
    (ctypes.c_void_p, ctypes.c_longlong, ctypes.c_void_p, ctypes.c_longlong),
)


def encoder() -> str:
    """Return what encodes pixels of 16 bits: all make the same bytes, but not in the same time."""
    return "the ledger's own code" if _compiled else f"imagecodecs {imagecodecs.__version__}"


def encode(tile: npt.NDArray[Any]) -> bytes:
    """Return the Rice stream of a tile.

    Parameters
    ----------
    tile : ndarray of uint8, int16 or int32
        Stored values (BZERO is not applied), any byte order and shape with at least one pixel.

    Returns
    -------
    bytes
        The bytes that cfitsio makes of it (ricecomp.c).  A block that no Rice code suits is stored as it
        is, so a tile of pure noise grows by 2 % at most and is not written in any other way.
    """
    if _compiled is None or tile.dtype.kind != "i" or tile.itemsize != 2:
        native = np.ascontiguousarray(tile, dtype=tile.dtype.newbyteorder("="))
        return bytes(imagecodecs.rcomp_encode(native, nblock=BLOCK_SIZE))
    stored = np.ascontiguousarray(tile, dtype=PIXELS[16])
    stream = np.empty(stored.nbytes + stored.size // 4 + _SPARE_BYTES, np.uint8)  # 17 bits a pixel are the most
    length = _compiled.ledger_rice16(stored.ctypes.data, stored.size, stream.ctypes.data, stream.size)
    if length < 0:
        raise AssertionError(f"a stream of {stored.size} pixels is longer than any can be")
    return stream[:length].tobytes()


def decode(stream: bytes, tile: npt.NDArray[Any]) -> None:
    """Decode a Rice stream into `tile`.

    Parameters
    ----------
    stream : bytes
        As :func:`encode` returns it.
    tile : ndarray of uint8, int16 or int32, native byte order
        Overwritten; C-contiguous, as many pixels as were encoded.

    Raises
    ------
    ValueError
        If the stream ends before the tile is full.
    """
    if _compiled is not None and tile.dtype == np.int16:
        data = np.frombuffer(stream, np.uint8)
        if _compiled.ledger_rice16_read(data.ctypes.data, data.size, tile.ctypes.data, tile.size) != 0:
            raise ValueError(f"not a Rice stream of {tile.size} pixels (it ends before)")
        return
    try:
        imagecodecs.rcomp_decode(stream, shape=tile.shape, dtype=tile.dtype, nblock=BLOCK_SIZE, out=tile)
    except imagecodecs.RcompError as exc:
        raise ValueError(f"not a Rice stream of {tile.size} pixels ({exc})") from exc


def is_stream_of(stream: bytes, tile: npt.NDArray[Any]) -> bool:
    """Decode a Rice stream, all of it, and return whether it gives exactly the pixels of `tile`.

    Parameters
    ----------
    stream : bytes
        As :func:`encode` returns it.
    tile : ndarray of uint8, int16 or int32
        Any byte order and shape.
    """
    if _compiled is not None and tile.dtype == PIXELS[16] and tile.flags.c_contiguous:
        data = np.frombuffer(stream, np.uint8)
        return bool(_compiled.ledger_rice16_compare(data.ctypes.data, data.size, tile.ctypes.data, tile.size) == 0)
    native = tile.astype(tile.dtype.newbyteorder("="))
    found = np.empty_like(native, order="C")
    try:
        decode(stream, found)
    except ValueError:
        return False
    return np.array_equal(found, native)


def descriptor(*, wide: bool) -> np.dtype[Any]:
    """Return the type of both numbers, length and offset, that a table row has for its tile.

    Parameters
    ----------
    wide : bool
        Whether they have 64 bits (``Q``) or 32 (``P``); both are signed (FITS 4.0 sec. 7.3.5).

    Returns
    -------
    dtype
        Big-endian.
    """
    return np.dtype(">i8" if wide else ">i4")


def primary_cards() -> list[bytes]:
    """Return the cards of the empty primary HDU, worded as cfitsio does."""
    return [
        _card("SIMPLE", "T", "file does conform to FITS standard"),
        _card("BITPIX", 16, "number of bits per data pixel"),
        _card("NAXIS", 0, "number of data axes"),
        _card("EXTEND", "T", "FITS dataset may contain extensions"),
        b"COMMENT   FITS (Flexible Image Transport System) format is defined in 'Astronomy".ljust(CARD),
        b"COMMENT   and Astrophysics', volume 376, page 359; bibcode: 2001A&A...376..359H".ljust(CARD),
    ]


def table_cards(
    cards: Iterable[bytes], *, tile_shape: tuple[int, int], itemsize: int, lengths: Sequence[int], wide: bool
) -> list[bytes]:
    """Return the cards of the table, in the order and with the words of cfitsio, without checksum cards.

    Parameters
    ----------
    cards : iterable of bytes
        The plain cube's, without END.  Blank ones at the end are cards like others, whereas fpack takes
        them for unused space and drops them.
    tile_shape : tuple of int
        Rows and columns of a tile.
    itemsize : int
        Bytes per pixel.
    lengths : sequence of int
        Bytes of each tile's stream.
    wide : bool
        See :func:`descriptor`.

    Returns
    -------
    list of bytes
        80 bytes each.
    """
    own = list(cards)
    rows, columns = tile_shape
    form = f"1{'Q' if wide else 'P'}B({max(lengths)})"
    return [
        _card("XTENSION", "'BINTABLE'", "binary table extension"),
        _card("BITPIX", 8, "8-bit bytes"),
        _card("NAXIS", 2, "2-dimensional binary table"),
        _card("NAXIS1", 2 * descriptor(wide=wide).itemsize, "width of table in bytes"),
        _card("NAXIS2", len(lengths), "number of rows in table"),
        _card("PCOUNT", sum(lengths), "size of special data area"),
        _card("GCOUNT", 1, "one data group (required keyword)"),
        _card("TFIELDS", 1, "number of fields in each row"),
        _card("TTYPE1", "'COMPRESSED_DATA'", "label for field   1"),
        _card("TFORM1", f"'{form:<8}'", "data format of field: variable length array"),
        _card("ZIMAGE", "T", "extension contains compressed image"),
        _card("ZTILE1", columns, "size of tiles to be compressed"),
        _card("ZTILE2", rows, "size of tiles to be compressed"),
        _card("ZTILE3", 1, "size of tiles to be compressed"),
        _card("ZCMPTYPE", "'RICE_1  '", "compression algorithm"),
        _card("ZNAME1", "'BLOCKSIZE'", "compression block size"),
        _card("ZVAL1", BLOCK_SIZE, "pixels per block"),
        _card("ZNAME2", "'BYTEPIX '", "bytes per pixel (1, 2, 4, or 8)"),
        _card("ZVAL2", itemsize, "bytes per pixel (1, 2, 4, or 8)"),
        *(() if any(card[:8] == b"EXTNAME " for card in own) else (EXTNAME,)),
        *(_renamed(card, RENAMED) for card in own),
    ]


def plain_cards(cards: Iterable[bytes]) -> list[bytes]:
    """Return the cube's cards out of the table's: the inverse of :func:`table_cards`.

    Parameters
    ----------
    cards : iterable of bytes
        The table's, without END.

    Returns
    -------
    list of bytes
        Those of the plain cube, without END.
    """
    return [_renamed(card, RESTORED) for card in cards if not _is_of_the_table(card)]


def plain_keyword(card: bytes) -> bytes | None:
    """Return the keyword of the cube's card that a card of the table is; None if it describes the table."""
    return None if _is_of_the_table(card) else _renamed(card, RESTORED)[:8].rstrip()


def header_of(cards: Iterable[bytes]) -> bytes:
    """Return a header: the cards and END, filled with blanks to whole blocks (FITS 4.0 sec. 4.4.1)."""
    content = b"".join((*cards, _END))
    return content.ljust(padded(len(content)))


def sealed(cards: Iterable[bytes], *, datasum: int, stamp: str) -> bytes:
    """Return a header with CHECKSUM and DATASUM at its end (FITS 4.0 sec. 4.4.2.7, appendix J).

    Parameters
    ----------
    cards : iterable of bytes
        All others, without END.
    datasum : int
        :func:`ones_complement_sum` of the data unit.
    stamp : str
        UT that the comments say in place of the clock, such as ``2026-01-02T06:00:00``.

    Returns
    -------
    bytes
        Whole blocks, as many whatever `datasum` is.
    """
    # cfitsio leaves its placeholder, ten characters wide, where there are no data (checksum.c, ffpcks).
    value = f"'{datasum!s:<8}'" if datasum else f"'{datasum:>10}'"
    datasum_card = _card("DATASUM", value, f"data unit checksum updated {stamp}")

    def header(checksum: str) -> bytes:
        checksum_card = _card("CHECKSUM", f"'{checksum}'", f"HDU checksum updated {stamp}")
        return header_of((*cards_without, checksum_card, datasum_card))

    cards_without = tuple(cards)
    return header(_encoded(_ALL_ONES - ones_complement_sum((header("0" * 16), datasum.to_bytes(4, "big")))))


def ones_complement_sum(pieces: Iterable[bytes | memoryview]) -> int:
    """Return the 32-bit ones' complement sum of big-endian words (FITS 4.0 appendix J.1).

    Parameters
    ----------
    pieces : iterable of bytes or memoryview
        Each of a whole number of words.

    Returns
    -------
    int
        0 for zeros only; where the sum is a multiple of 2^32 - 1 otherwise, all ones ("minus zero").
    """
    total = sum(int(np.frombuffer(piece, dtype=">u4").sum(dtype=np.uint64)) for piece in pieces)
    return (total - 1) % _ALL_ONES + 1 if total else 0


def _encoded(number: int) -> str:
    """Return 32 bits as 16 letters and digits (FITS 4.0 appendix J.2)."""
    columns = []
    for byte in number.to_bytes(4, "big"):
        quarter, rest = divmod(byte, 4)
        codes = [ord("0") + quarter + rest, *3 * [ord("0") + quarter]]
        for first, second in ((0, 1), (2, 3)):
            while not _PUNCTUATION.isdisjoint((codes[first], codes[second])):
                codes[first] += 1
                codes[second] -= 1
        columns.append(codes)
    text = "".join(chr(code) for row in zip(*columns, strict=True) for code in row)
    return text[-1] + text[:-1]


def _is_of_the_table(card: bytes) -> bool:
    """Return whether a card describes the table, not the cube."""
    keyword = card[:8].rstrip()
    return keyword not in RESTORED and (card == EXTNAME or OF_THE_TABLE.fullmatch(keyword) is not None)


def _renamed(card: bytes, names: dict[bytes, bytes]) -> bytes:
    """Return the card under the name that `names` has for its keyword, if any."""
    keyword = card[:8].rstrip()
    return names.get(keyword, keyword).ljust(8) + card[8:]


def _card(keyword: str, value: str | int, comment: str) -> bytes:
    """Return a card in fixed format, strings left and others right (FITS 4.0 sec. 4.2)."""
    text = f"{value:<20}" if str(value).startswith("'") else f"{value:>20}"
    return f"{keyword:<8}= {text} / {comment}".encode("ascii").ljust(CARD)
