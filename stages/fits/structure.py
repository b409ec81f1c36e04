"""Structure: what of a raw header says where pixels lie and what they mean, and what is left of another file's.

The archive's users read products with astropy and with cfitsio, which do not agree on every header. A raw header is
good if both take it in one way, and if a product has all of its cards once it is compressed and unpacked again. Cards
that an earlier compression left behind describe a table that is not there; no product has them.
"""

import math
import re
from collections.abc import Collection, Sequence
from functools import lru_cache

from stages.base import BadInput
from stages.fits.cards import CARD, FIELD, to_float, to_text
from stages.fits.formats import read_dictionary
from stages.instrument import Instrument

Value = str | int | float | bool | None

#: What each header begins with (FITS 4.0 sec. 4.4.1.1).
_FIRST = (b"SIMPLE", b"BITPIX", b"NAXIS", b"NAXIS1", b"NAXIS2", b"NAXIS3")

#: Cards that readers apply to stored values.
_SCALING = frozenset({b"BZERO", b"BSCALE", b"BLANK"})

#: What these say of a plain cube. With another PCOUNT cfitsio begins to read elsewhere (fitscore.c, ffpinit), with
#: another GCOUNT the array has another size, and with GROUPS = T astropy looks for random groups (FITS 4.0 sec. 6.1).
_EXPECTED: dict[bytes, Value] = {b"PCOUNT": 0, b"GCOUNT": 1, b"GROUPS": False}

#: Each decides on the place, the shape, the type or the meaning of pixels, for one reader at least.
_STRUCTURAL = frozenset({*_FIRST, *_SCALING, *_EXPECTED, b"EXTEND", b"BLOCKED"})

#: Axes beyond the third, which have to be of length 1 (FITS 4.0 sec. 4.4.1.1: only those that NAXIS counts are there).
_MORE_AXES = re.compile(rb"NAXIS([4-9]|[1-9]\d\d?)")

#: A card whose keyword is what follows the first word, by ESO's convention; some readers take it for the plain one.
HIERARCH = re.compile(rb"HIERARCH +([^=]*?) *=")

#: Cards of the cube that have another name in the table (imcompress.c, imcomp_copy_img2comp).
RENAMED = {
    b"SIMPLE": b"ZSIMPLE",
    b"BITPIX": b"ZBITPIX",
    b"NAXIS": b"ZNAXIS",
    b"NAXIS1": b"ZNAXIS1",
    b"NAXIS2": b"ZNAXIS2",
    b"NAXIS3": b"ZNAXIS3",
    b"EXTEND": b"ZEXTEND",
    b"BLOCKED": b"ZBLOCKED",
    b"PCOUNT": b"ZPCOUNT",
    b"GCOUNT": b"ZGCOUNT",
    b"CHECKSUM": b"ZHECKSUM",
    b"DATASUM": b"ZDATASUM",
}
RESTORED = {table: plain for plain, table in RENAMED.items()}

#: Keywords that describe the table, so that no card of a cube can travel under them: those that funpack
#: drops (imcompress.c, imcomp_copy_comp2img), and those that a reader of tables applies to the column
#: (FITS 4.0 sec. 7.3).
OF_THE_TABLE = re.compile(
    rb"XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|THEAP|CHECKSUM|DATASUM"
    rb"|T(TYPE|FORM|UNIT|NULL|SCAL|ZERO|DISP|DIM|BCOL)\d+"
    rb"|Z(IMAGE|TABLE|TENSION|CMPTYPE|QUANTIZ|DITHER0|BLANK|SCALE|ZERO)|Z(NAXIS\d*|(TILE|NAME|VAL)\d+)"
)

#: What cfitsio calls the table.
_NAMED = b"EXTNAME = 'COMPRESSED_IMAGE'"
EXTNAME = _NAMED.ljust(CARD)

#: Further ones that astropy leaves out of the header of a compressed cube (hdu/compressed/header.py).
_UNSEEN = re.compile(rb"(TC(TYP|UNI|RPX|RVL|DLT)|TRPOS)[1-9]\d*|ZMASKCMP")

#: Keywords of cards without value, which cfitsio takes to be eight characters long (putkey.c, ffprec).
_COMMENTARY = frozenset({b"", b"COMMENT", b"HISTORY", b"CONTINUE"})

#: BZERO that makes signed bytes of unsigned ones (FITS 4.0 table 11).
_SIGNED_BYTE = -(2**7)

#: Columns of a keyword; the sign that a value follows takes two more (FITS 4.0 sec. 4.1.2).
_KEYWORD = 8

#: Cards that are remembered.
_MOST_KNOWN = 20_000


def check_header(cards: Sequence[bytes], instrument: Instrument, own: Collection[str]) -> None:
    """Check that a raw header has one reading, and that all of its cards can be in a product.

    Parameters
    ----------
    cards : sequence of bytes
        80 characters each, without END.
    instrument : Instrument
        Whose keywords are no leftovers, whatever they are.
    own : collection of str
        Keywords of the cards that products have values of their own for.

    Raises
    ------
    BadInput
        If the mandatory cards are not the first ones, a card that readers take the structure from has another value
        than it can have or than the one before it, is written in such a way that not all readers see it, or unpacking
        a compressed product would not give a card back.
    """
    found = tuple(card[:_KEYWORD].rstrip() for card in cards[: len(_FIRST)])
    if found != _FIRST:
        raise BadInput(f"its first cards are {found}, expected {_FIRST} (FITS 4.0 sec. 4.4.1.1)")
    strict = frozenset({*_STRUCTURAL, *RENAMED, *(keyword.encode("ascii") for keyword in own)})
    words = _words(instrument)
    seen: dict[bytes, Value] = {}
    good = _known(words, strict)
    for number, card in enumerate(cards, start=1):
        if card in good:
            continue
        fault = _fault(card, words, strict)
        keyword = card[:_KEYWORD].rstrip()
        if not fault and (keyword in _STRUCTURAL or keyword in RENAMED):
            value = _value(card)
            if cards[number : number + 1] and cards[number].startswith(b"CONTINUE"):
                fault = "it goes on in a CONTINUE card, expected a value of one card"
            elif keyword in _STRUCTURAL:
                first = seen.setdefault(keyword, value)
                again = f"a card before it says {first!r}: readers take one or the other"
                fault = again if first != value else _misfit(keyword, value, seen.get(b"BITPIX"))
        if fault:
            image = card.rstrip().decode("ascii")
            raise BadInput(f"card {number} is {image!r}: {fault}; have the writer of the header correct it")
        if keyword not in _STRUCTURAL and keyword not in RENAMED:
            _remember(good, card)
    if seen[b"BITPIX"] == 8 and seen.get(b"BZERO") == _SIGNED_BYTE and seen.get(b"BLANK"):
        raise BadInput(
            f"BZERO = {_SIGNED_BYTE} and BLANK = {seen[b'BLANK']}: astropy cannot read signed bytes some of which are "
            "blank; have the writer of the header leave BLANK out"
        )


def without_leftovers(cards: Sequence[bytes], instrument: Instrument) -> tuple[list[bytes], list[str]]:
    """Return the cards of a raw header that mean something in a plain cube, and the keywords of the others.

    Others are those that describe the table of a tile-compressed file or another table, an axis beyond the third of
    length 1, and the name that cfitsio gives the table (FITS 4.0 sec. 4.4.1.2, 7.3, 10.1). The instrument's own
    keywords are never among them.

    Parameters
    ----------
    cards : sequence of bytes
        80 characters each, without END.
    instrument : Instrument
        Whose header it is.

    Returns
    -------
    kept : list of bytes
        In their order.
    left_out : list of str
        Keywords, one for each card, ``CONTINUE`` cards not counted.
    """
    words = _words(instrument)
    plain = _known(words, frozenset())
    kept, left_out, goes_on = [], [], False
    for card in cards:
        if card in plain:
            kept.append(card)
            goes_on = False
        elif _is_leftover(card, words):
            left_out.append(card[:_KEYWORD].rstrip().decode("ascii"))
            goes_on = True
        elif not (goes_on and card.startswith(b"CONTINUE")):
            kept.append(card)
            goes_on = False
            if not card.startswith(b"CONTINUE"):
                _remember(plain, card)
    return kept, left_out


def why_lost(card: bytes) -> str:
    """Return why funpack would not give a card back as it is.

    Parameters
    ----------
    card : bytes
        80 bytes of a plain cube's header, printable ASCII.

    Returns
    -------
    str
        Empty if it would.  The rules are those of ``ffprec`` (cfitsio's putkey.c), which writes each card.
    """
    keyword = card[:8].rstrip()
    if is_of_the_table(card):
        return "in a compressed file it describes the table"
    if not re.fullmatch(rb"[A-Z0-9_-]*", keyword):
        return "its keyword has other characters than A-Z, 0-9, '-' and '_' (FITS 4.0 sec. 4.1.2.1)"
    name, equals, _ = card.partition(b"=")
    if equals and keyword not in _COMMENTARY and name != name.upper():
        return "funpack turns what stands before '=' into capitals"
    return ""


def is_of_the_table(card: bytes) -> bool:
    """Return whether a card of a plain cube would be one of the table's own in a compressed file, and no cube's.

    Parameters
    ----------
    card : bytes
        80 bytes.
    """
    keyword = card[:_KEYWORD].rstrip()
    if keyword in RENAMED:
        return False
    return card.startswith(_NAMED) or keyword in RESTORED or OF_THE_TABLE.fullmatch(keyword) is not None


def _misfit(keyword: bytes, value: Value, bitpix: Value) -> str:
    """Return why astropy could not apply a card to stored values of that many bits; empty if it could."""
    if keyword == b"BZERO" and bitpix == 8 and value == _SIGNED_BYTE and type(value) is not int:
        return "expected -128, a whole number, which makes signed bytes"
    least, most = (0, 2**8 - 1) if bitpix == 8 else (-(2**15), 2**15 - 1) if bitpix == 16 else (-(2**31), 2**31 - 1)
    if keyword == b"BLANK" and isinstance(value, int) and not least <= value <= most:
        return f"expected a stored value, from {least} to {most}"
    return ""


@lru_cache
def _words(instrument: Instrument) -> frozenset[bytes]:
    """Return the keywords that an instrument gives a meaning of its own."""
    keywords = (*read_dictionary(instrument.dictionary), *instrument.keywords_kept())
    return frozenset(keyword.encode("ascii") for keyword in keywords)


@lru_cache
def _known(words: frozenset[bytes], strict: frozenset[bytes]) -> set[bytes]:
    """Return the cards that were found to be good by themselves: most are the same in one file and the next."""
    return set()


def _remember(known: set[bytes], card: bytes) -> None:
    if len(known) >= _MOST_KNOWN:
        known.clear()
    known.add(card)


def _is_leftover(card: bytes, words: frozenset[bytes]) -> bool:
    return is_of_the_table(card) and card[:_KEYWORD].rstrip() not in words


def _fault(card: bytes, words: frozenset[bytes], strict: frozenset[bytes]) -> str:
    """Return what is wrong with a card by itself; empty if nothing is."""
    keyword = card[:_KEYWORD].rstrip()
    hierarch = HIERARCH.match(card)
    if hierarch and ((name := hierarch.group(1)) in strict or _is_reserved(name) or name == b"EXTNAME"):
        return f"some readers take it for {name.decode()}"
    if keyword in strict and card[_KEYWORD : _KEYWORD + 2] != b"= ":
        return "some readers see a value and some none, expected '= ' in columns 9 and 10"
    if (keyword in RENAMED or keyword == b"EXTNAME") and FIELD.fullmatch(card, _KEYWORD + 2) is None:
        return "its value is none that FITS knows, and astropy would not open the file"
    is_applied = keyword in _SCALING or keyword in _EXPECTED or _MORE_AXES.fullmatch(keyword)
    if is_applied and (wrong := _wrong_value(keyword, _value(card))):
        return wrong
    if not _is_leftover(card, words) and (reason := why_lost(card)):
        return f"funpack would not give it back: {reason}"
    return "astropy leaves it out of a compressed file: it is of a table" if _UNSEEN.fullmatch(keyword) else ""


def _is_reserved(keyword: bytes) -> bool:
    """Return whether a keyword has a meaning of its own in the table of a compressed file."""
    return keyword in RESTORED or any(names.fullmatch(keyword) is not None for names in (OF_THE_TABLE, _UNSEEN))


def _wrong_value(keyword: bytes, value: Value) -> str:
    """Return what is wrong with the value of a card that readers apply to pixels; empty if nothing is."""
    if keyword == b"BLANK":
        return "" if type(value) is int else "expected a whole number, a stored value (FITS 4.0 sec. 4.4.2.5)"
    if keyword in _SCALING:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return "expected a finite number, which makes stored values physical ones (FITS 4.0 sec. 4.4.2.5)"
        return (
            "expected another number than 0, which makes all pixels equal" if keyword == b"BSCALE" and not value else ""
        )
    expected = _EXPECTED.get(keyword, 1)
    if type(value) is type(expected) and value == expected:
        return ""
    return f"expected {'F' if expected is False else expected}: some readers find other pixels with it, or none"


def _value(card: bytes) -> Value:
    """Return the value of a card; None if it has none, and what stands there if that is none that FITS knows."""
    field = FIELD.fullmatch(card, _KEYWORD + 2)
    if field is None:
        return card[_KEYWORD + 2 :].decode("ascii")
    integer, real, logical, string, _ = field.groups()
    if integer is not None or real is not None:
        return to_float(real) if integer is None else int(integer)
    return to_text(string) if string is not None else None if logical is None else bool(logical == b"T")
