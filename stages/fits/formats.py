"""Formats: the dictionary of an instrument's keywords, and values printed as it says.

See docs/design.md, Dictionary.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from stages.base import BadInput
from stages.fits.cards import FIELD, MOST_WIDTH, make_card, quote, to_float, to_text

#: A format of a dictionary: ``BOOLEAN``, or a printf conversion.
_FORMAT = re.compile(r"BOOLEAN|%[-+ 0]*\d*(?:\.\d+)?[dfeEgGs]")

#: Whatever a dictionary says of them: they describe the array, in a format of their own that is mandatory
#: (FITS 4.0 sec. 4.4.1), or have no value (sec. 4.4.2.4).
_UNTOUCHED = re.compile(rb"(SIMPLE|BITPIX|NAXIS\d*|EXTEND|BLANK|PCOUNT|GCOUNT|GROUPS|COMMENT|HISTORY) *")

#: They scale the data: not one bit of their values may change.  They would be left as they are too, but that cubes of
#: 16 and 32 bits are in archives with their values printed, which say the same to every reader; bytes that signed ones
#: are made of do not (astropy takes them for floats, and cannot subtract).
_SCALING = frozenset({"BZERO", "BSCALE"})
_SCALING_KEYS = frozenset({b"BZERO   ", b"BSCALE  "})
_OF_BYTES = re.compile(rb"BITPIX  = *\+?0*8 *(/|$)")
_SIGNED = re.compile(rb"BZERO   = *-0*128 *(/|$)")

#: Cards that are remembered.
_MOST_KNOWN = 20_000

#: By how much of itself a format may change the value of a keyword under ``keep_digits`` (docs/design.md, Dictionary).
_KEEP_DIGITS_CHANGE = 1e-4


@lru_cache
def read_dictionary(name: str) -> Mapping[str, str]:
    """Read a keyword dictionary; the result is cached.

    Parameters
    ----------
    name : str
        Of one shipped in ``stages/fits/dictionary``, or the path of a file.  It has tab-separated columns
        ``keyword``, ``format`` (of printf, or ``BOOLEAN``) and any others, and a line that names them.

    Returns
    -------
    mapping of str to str
        Keyword to format, in order; read-only.

    Raises
    ------
    BadInput
        If there is no such file, or a line has no keyword or no format, or the same keyword as another.
    """
    shipped = Path(__file__).parent / "dictionary" / f"{name}.tsv"
    path = Path(name) if os.sep in name or name.endswith(".tsv") else shipped
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise BadInput(
            f"dictionary {name!r}: {path} could not be read ({exc}); give the path of a file of ASCII text, "
            f"or one of {sorted(p.stem for p in shipped.parent.glob('*.tsv'))}"
        ) from exc
    if not lines or lines[0].split("\t")[:2] != ["keyword", "format"]:
        raise BadInput(f"{path}: line 1 is {''.join(lines[:1])!r}, expected columns 'keyword' and 'format' (tabs)")
    formats: dict[str, str] = {}
    for number, line in enumerate(lines[1:], start=2):
        keyword, form = (*line.split("\t"), "")[:2]
        if not re.fullmatch(r"[A-Z0-9_-]{1,8}", keyword) or keyword in formats or not _FORMAT.fullmatch(form):
            raise BadInput(
                f"{path}: line {number} is {line!r}, expected a keyword of 1 to 8 of A-Z 0-9 _ - that no "
                "line before it has, a tab, and a format such as %20.8f, %16d, %-16s or BOOLEAN"
            )
        formats[keyword] = form
    return MappingProxyType(formats)


def fix_cards(
    cards: Sequence[bytes], dictionary: str, keep_digits: tuple[str, ...]
) -> tuple[list[bytes], Counter[str]]:
    """Return the cards with their values as the dictionary's formats print them (docs/design.md, Dictionary).

    Parameters
    ----------
    cards : sequence of bytes
        80 characters each.
    dictionary : str
        See :func:`read_dictionary`.
    keep_digits : tuple of str
        Patterns of keywords that keep their own digits where their format would change them by more than
        1e-4 of themselves.

    Returns
    -------
    cards : list of bytes
        As many, in the same order, with the same keywords and comments.
    remarks : Counter of str
        What the formats could not do, with the keyword, and on how many cards.

    Raises
    ------
    BadInput
        If the dictionary is bad.
    """
    known = _known(dictionary, keep_digits)
    is_signed = any(map(_OF_BYTES.match, cards[:2])) and any(map(_SIGNED.match, cards))
    as_they_are = _SCALING_KEYS if is_signed else frozenset()
    if len(known) > _MOST_KNOWN:
        known.clear()
    fixed = []
    remarks: Counter[str] = Counter()
    for card in cards:
        if card[:8] in as_they_are:
            fixed.append(card)
            continue
        found = known.get(card)
        if found is None:
            found = known[card] = _fix_card(card, _formats(dictionary, keep_digits))
        fixed.append(found[0])
        if found[1]:
            remarks[found[1]] += 1
    return fixed, remarks


@lru_cache
def _known(dictionary: str, keep_digits: tuple[str, ...]) -> dict[bytes, tuple[bytes, str]]:
    """Return the cards that were fixed before, and what they became: most are the same in one file and the next."""
    return {}


@lru_cache
def _formats(dictionary: str, keep_digits: tuple[str, ...]) -> Mapping[bytes, tuple[str, float]]:
    """Return format and greatest relative change of value by the first eight bytes of a card."""
    formats = {}
    for keyword, form in read_dictionary(dictionary).items():
        key = keyword.encode("ascii").ljust(8)
        most_change = math.inf
        if keyword in _SCALING:
            most_change = 0.0
        elif any(fnmatchcase(keyword, pattern) for pattern in keep_digits):
            most_change = _KEEP_DIGITS_CHANGE
        if not _UNTOUCHED.fullmatch(key):
            formats[key] = (form, most_change)
    return formats


def _fix_card(card: bytes, formats: Mapping[bytes, tuple[str, float]]) -> tuple[bytes, str]:
    """Return the card with its value as its format prints it, and a remark or ""."""
    if card[:8] not in formats or card[8:10] != b"= ":
        return card, ""
    form, most_change = formats[card[:8]]
    keyword = card[:8].rstrip().decode("ascii")
    field = FIELD.fullmatch(card, 10)
    if field is None:
        return card, f"does not fit {form}: {keyword}"
    integer, real, logical, string, comment = field.groups()
    printed: bytes | None = None
    remark = ""
    if string is not None:
        if string.rstrip(b" ").endswith(b"&"):  # goes on in CONTINUE cards (FITS 4.0 sec. 4.2.1.2)
            return card, ""
        printed = _print_string(to_text(string), form)
    elif logical is not None:
        printed = logical if form == "BOOLEAN" else None
    elif integer is not None or real is not None:
        value = to_float(real) if integer is None else int(integer)
        printed, remark = _print_number(value, integer or real, form, most_change)
    else:
        return card, ""
    if printed is None or len(printed) > MOST_WIDTH:
        return card, f"does not fit {form}: {keyword}"
    return make_card(card[:8], printed, comment), remark and f"{remark}: {keyword}"


def _print_string(text: str, form: str) -> bytes | None:
    """Return the value field of a string, or None if `form` is not for strings or would cut it."""
    if not form.endswith("s"):
        return None
    printed = form % text
    return quote(printed) if printed.rstrip(" ") == text else None


def _print_number(value: float, digits: bytes, form: str, most_change: float) -> tuple[bytes | None, str]:
    """Return the value field of a number and a remark, or None if `form` cannot print it."""
    is_for_numbers = form != "BOOLEAN" and not form.endswith("s")
    if not is_for_numbers or not math.isfinite(value) or (form.endswith("d") and value != int(value)):
        return None, ""
    text = form % value
    printed = float(text)
    if abs(printed - value) > most_change * abs(value):
        return digits, "digits kept"
    remark = "non-zero printed as zero" if printed == 0 != value else ""
    return text.strip().upper().encode("ascii"), remark
