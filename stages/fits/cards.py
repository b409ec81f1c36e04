"""Cards: header blocks as bytes, cut into 80-byte cards; their values read and written.

Values are read as astropy reads them: cards that a regular expression understands exactly are read by it,
the others (``CONTINUE``, ``HIERARCH``, complex numbers) by astropy's ``Card``.
"""

import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from stages.base import BadInput
from stages.files import opened
from stages.fits.packed import how_to_unpack

#: Bytes of a card and of a header or data block (FITS 4.0 sec. 3.1, 3.3.1).
CARD = 80
BLOCK = 2880

#: Columns of a keyword and of the sign that a value follows (FITS 4.0 sec. 4.1.2.2).
_WITH_VALUE = 10

#: What the last card of a header is (FITS 4.0 sec. 4.4.1.1).
END = b"END".ljust(CARD)

#: The value field of a card, from column 11 on (FITS 4.0 sec. 4.1.2.3, 4.2): integer, real, logical or
#: string, or none of them, then the comment, each of them a group.  A quote within a string is doubled.
#: Nothing backtracks.
FIELD = re.compile(
    rb" *+(?:([+-]?+\d++)(?![.EDed])|([+-]?+(?:\d++(?:\.\d*+)?+|\.\d++)(?:[EDed][+-]?+\d++)?+)|([TF])"
    rb"|'((?:[^']++|'')*+)')?+ *+(?:/(.*+))?+",
    re.DOTALL,
)

#: Columns of a value at most, 11 to 80, of that of a fixed-format card, 11 to 30, and of a string at least,
#: without its quotes (FITS 4.0 sec. 4.2).
MOST_WIDTH = 70
_FIXED_WIDTH = 20
_STRING_WIDTH = 8

#: What readers take for the end of a header though it is none by the standard (astropy's header.py; cfitsio's getkey.c
#: looks at the keyword alone).
_LIKE_END = re.compile(rb"END(?![A-Z0-9_-])")

#: Headers of nights have 12 to 40 blocks; a file without END is not read to its end.
_MOST_BLOCKS = 2000
_READ_BLOCKS = 16

#: Cards that are remembered: most are the same in many headers.
_MOST_KNOWN = 20_000

_PRINTABLE = bytes(range(0x20, 0x7F))


def read_header(path: Path, *, at: int = 0, is_new: bool = False) -> bytes:
    """Read a header of a FITS file, the primary one unless told otherwise.

    Parameters
    ----------
    path : Path
        The file.
    at : int
        Where its HDU starts, bytes: beyond 0 it is an extension.
    is_new : bool
        Whether nothing was made of the file yet: then it must be known where its header ends.

    Returns
    -------
    bytes
        A whole number of 2880-byte blocks, the last of which has END, and in a new file blanks after it, or NUL
        throughout.

    Raises
    ------
    BadInput
        If it is no file, does not start with SIMPLE (an extension: XTENSION), has no END, is cut short, or has
        characters that FITS does not allow (FITS 4.0 sec. 3.3.1, 4.1.2); a new file too, if it has another card that
        readers take for END, or anything but fill after it (sec. 4.4.1).
    Retry
        If the file could not be read.
    """
    begin, what = (b"XTENSION=", f"no extension at byte {at}") if at else (b"SIMPLE  =", "not a FITS file")
    with opened(path) as file:
        if at:
            file.seek(at)
        content = b""
        while (end := _place(content, END)) < 0:
            more = file.read(_READ_BLOCKS * BLOCK)
            if not content and not more.startswith(begin):
                raise BadInput(
                    f"{path}: {what}: it starts with {more[:9]!r}, expected {begin!r}{how_to_unpack(path, more)}"
                )
            content += more
            if not more or len(content) > _MOST_BLOCKS * BLOCK:
                raise BadInput(f"{path}: no END card in its first {len(content)} bytes: truncated or not FITS")
    length = padded(end + CARD)
    if len(content) < length:
        raise BadInput(f"{path}: truncated: {len(content)} bytes, expected a header of {length}")
    if strange := content[:end].translate(None, _PRINTABLE):
        at = content.index(strange[:1])
        raise BadInput(
            f"{path}: card {at // CARD + 1} has the byte {strange[:1]!r} "
            f"({content[at - at % CARD :][:8]!r}), expected printable ASCII only; "
            "have the writer of the header correct it"
        )
    if is_new:
        _check_end(path, content[:length], end)
    return content[:length]


def follows_end(header: bytes) -> bytes:
    """Return what follows the END card of a header, to the end of its last block: blanks, or NUL throughout.

    Parameters
    ----------
    header : bytes
        As :func:`read_header` returns it.
    """
    return header[_end(header) + CARD :]


def split_cards(header: bytes) -> list[bytes]:
    """Return the 80-byte cards of a header before END.

    Parameters
    ----------
    header : bytes
        As :func:`read_header` returns it.

    Returns
    -------
    list of bytes
        In order, ``CONTINUE``, ``COMMENT`` and blank cards as cards of their own.
    """
    end = _end(header)
    return list(struct.unpack("80s" * (end // CARD), header[:end]))  # faster than slices


def values(header: bytes, keywords: Sequence[str], path: Path | None = None) -> dict[str, Any]:
    """Return the values of the named keywords that a header has.

    Parameters
    ----------
    header : bytes
        As :func:`read_header` returns it.
    keywords : sequence of str
        For ``HIERARCH`` cards, the name that follows that word.
    path : Path, optional
        Of the file that the header is of, for the message.

    Returns
    -------
    dict
        By keyword, the first card's value as astropy gives it; None where the card has no value.

    Raises
    ------
    BadInput
        If a card's value is none that FITS knows (FITS 4.0 sec. 4.2).
    """
    starts = starts_of(header)
    goes_on, has_names = b"CONTINUE" in header, b"HIERARCH" in header
    found: dict[str, Any] = {}
    try:
        for keyword, name, at in _places(tuple(keywords), starts):
            if at is None and has_names:
                at = max(_place(header, b"HIERARCH %b%b=" % (name, gap)) for gap in (b"", b" "))  # noqa: PLW2901
            if at is not None and at >= 0:
                found[keyword] = card_value(_with_continuations(header, at) if goes_on else header[at : at + CARD])
    except BadInput as exc:
        raise BadInput(f"{path}: {exc}" if path else str(exc)) from exc
    return found


@lru_cache(maxsize=_MOST_KNOWN)
def card_value(card: bytes) -> Any:
    """Return the value of a card, as astropy gives it; None if it has none.

    Parameters
    ----------
    card : bytes
        80 characters, and those of the ``CONTINUE`` cards that follow it.

    Raises
    ------
    BadInput
        If its value is none that FITS knows (FITS 4.0 sec. 4.2).
    """
    is_plain = len(card) == CARD and card.startswith(b"= ", _WITH_VALUE - 2)
    if not is_plain or (field := FIELD.fullmatch(card, _WITH_VALUE)) is None:
        return _astropy_value(card)
    integer, real, logical, string, _ = field.groups()
    if string is not None:
        return to_text(string)
    if integer is not None:
        return int(integer)
    if real is not None:
        return to_float(real)
    return None if logical is None else logical == b"T"


def repeated(header: bytes, keywords: tuple[str, ...], path: Path | None = None) -> dict[str, list[Any]]:
    """Return all values of those keywords that a header has more than once.

    Parameters
    ----------
    header : bytes
        As :func:`read_header` returns it.
    keywords : tuple of str
        Up to 8 characters each; others are left out.
    path : Path, optional
        See :func:`values`.

    Raises
    ------
    BadInput
        See :func:`values`.
    """
    starts = starts_of(header)
    try:
        return {
            keyword: [card_value(_with_continuations(header, at)) for at in places]
            for keyword, places in _repeated_places(keywords, starts)
        }
    except BadInput as exc:
        raise BadInput(f"{path}: {exc}" if path else str(exc)) from exc


def carried_frame_id(header: bytes, keyword: str, path: Path | None = None) -> str | None:
    """Return the frame ID that a header carries; None if it has none.

    A value without a digit (blank, ``NA``) says that there is none.

    Parameters
    ----------
    header : bytes
        As :func:`read_header` returns it.
    keyword : str
        Of the card.
    path : Path, optional
        See :func:`values`.

    Raises
    ------
    BadInput
        If its value is none that FITS knows.
    """
    value = str(values(header, [keyword], path).get(keyword) or "").strip()
    return value if any(character.isdigit() for character in value) else None


def padded(length: int) -> int:
    """Return `length` in bytes, rounded up to whole 2880-byte blocks (FITS 4.0 sec. 3.1)."""
    return -(-length // BLOCK) * BLOCK


def to_float(number: bytes) -> float:
    """Return what the characters of a real number say; FORTRAN's exponent D is E (FITS 4.0 sec. 4.2.4)."""
    return float(number.replace(b"D", b"E").replace(b"d", b"e"))


def to_text(quoted: bytes) -> str:
    """Return what a string's characters between its quotes say; trailing blanks say nothing (FITS 4.0 sec. 4.2.1)."""
    return quoted.replace(b"''", b"'").rstrip(b" ").decode("ascii")


def quote(text: str) -> bytes:
    """Return the value field of a string (FITS 4.0 sec. 4.2.1).

    Parameters
    ----------
    text : str
        Printable ASCII.

    Returns
    -------
    bytes
        Of at least 8 characters between its quotes.
    """
    return b"'%s'" % text.replace("'", "''").ljust(_STRING_WIDTH).encode("ascii")


def make_card(key: bytes, field: bytes, comment: bytes | None) -> bytes:
    """Return a fixed-format card: numbers end in column 30, strings start in column 11 (FITS 4.0 sec. 4.2).

    Parameters
    ----------
    key : bytes
        The keyword, 8 characters.
    field : bytes
        The value as it is to be printed, at most 70 characters.
    comment : bytes or None
        What follows the slash, its leading blank included; its end is lost if it does not fit.

    Returns
    -------
    bytes
        80 characters.
    """
    field = field.ljust(_FIXED_WIDTH) if field.startswith(b"'") else field.rjust(_FIXED_WIDTH)
    end = b"" if comment is None else b" /" + comment
    return b"%b= %b%b" % (key, field, end[: MOST_WIDTH - len(field)].ljust(MOST_WIDTH - len(field)))


@lru_cache
def _places(keywords: tuple[str, ...], starts: bytes) -> tuple[tuple[str, bytes, int | None], ...]:
    """Return each keyword, its bytes, and where the first card of it is that has a value; None if there is none.

    Parameters
    ----------
    keywords : tuple of str
        Looked for.
    starts : bytes
        What the cards begin with: the first character of each, then the second, and so on. Headers of a night are
        laid out alike, so for most of them the places are known.
    """
    n = len(starts) // _WITH_VALUE
    places: dict[bytes, int] = {}
    for card in range(n):
        places.setdefault(starts[card::n], card * CARD)
    names = [keyword.encode("ascii") for keyword in keywords]
    return tuple(
        (keyword, name, places.get(name.ljust(8) + b"= ")) for keyword, name in zip(keywords, names, strict=True)
    )


def starts_of(header: bytes) -> bytes:
    """Return the first bytes of each card before END, to the sign of a value: all first ones, then all second ones."""
    end = _end(header)
    return b"".join([header[column:end:CARD] for column in range(_WITH_VALUE)])


@lru_cache
def _repeated_places(keywords: tuple[str, ...], starts: bytes) -> tuple[tuple[str, list[int]], ...]:
    """Return the keywords of which there are several cards with a value, and where these are; see :func:`_places`."""
    n = len(starts) // _WITH_VALUE
    places: dict[bytes, list[int]] = {}
    for card in range(n):
        places.setdefault(starts[card::n], []).append(card * CARD)
    found = ((keyword, places.get(keyword.encode("ascii").ljust(8) + b"= ", [])) for keyword in keywords)
    return tuple((keyword, at) for keyword, at in found if len(at) > 1)


def _check_end(path: Path, header: bytes, end: int) -> None:
    """Raise BadInput if a card before byte `end` is an END to some readers, or what follows there is no fill.

    NUL throughout is accepted, though only blanks are fill of a header (FITS 4.0 sec. 4.4.1): whether the data may
    begin there is for those to find out who know their size.
    """
    at = -1
    while (at := _place(header, b"END", at + 1)) < end:
        if _LIKE_END.match(header, at):
            raise BadInput(
                f"{path}: card {at // CARD + 1} is {header[at : at + CARD].rstrip()!r}, at which some readers end the "
                f"header, and card {end // CARD + 1} is END; expected one; have the writer of the header correct it"
            )
    after = header[end + CARD :]
    if after.strip(b" ") and after.strip(b"\0"):
        place = len(after) - len(after.lstrip(b" "))
        raise BadInput(
            f"{path}: after END, at byte {end + CARD + place}, follows {after[place : place + 8]!r}, expected blanks "
            f"up to byte {len(header)} (FITS 4.0 sec. 4.4.1): cards that do not count, or data that begin too early; "
            "have the writer of the file correct it"
        )


def _end(header: bytes) -> int:
    """Return where the END card of a header is."""
    return _place(header, END, len(header) - BLOCK)


def _place(header: bytes, start: bytes, after: int = 0) -> int:
    """Return where the first card from byte `after` on is that begins with `start`, or -1."""
    at = header.find(start, after)
    while at >= 0 and at % CARD:
        at = header.find(start, at + 1)
    return at


def _with_continuations(header: bytes, at: int) -> bytes:
    """Return the card at byte `at` with the ``CONTINUE`` cards that follow it."""
    after = at + CARD
    while header.startswith(b"CONTINUE", after):
        after += CARD
    return header[at:after]


def _astropy_value(image: bytes) -> Any:
    from astropy.io.fits.card import Card, Undefined  # noqa: PLC0415  few headers need what takes long to import
    from astropy.io.fits.verify import VerifyError  # noqa: PLC0415

    try:
        value = Card.fromstring(image).value
    except (VerifyError, ValueError) as exc:
        raise BadInput(
            f"card {image.rstrip().decode(errors='backslashreplace')!r} has no value that FITS knows: {exc}"
        ) from exc
    return None if isinstance(value, Undefined) else value
