"""Header blocks as bytes: reading them, values of their cards, and the header of a product.

A header is cut into its 80-byte cards and only the value fields of cards that change are written anew; all
other bytes stay (DESIGN section 6).  Values are read as astropy reads them: cards that a regular
expression understands exactly are read by it, the others (``CONTINUE``, ``HIERARCH``, complex numbers) by
astropy's ``Card``.
"""

import math
import os
import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from astropy.io.fits.card import Card, Undefined
from astropy.io.fits.verify import VerifyError

from stages.base import BadInput, Instrument, Job, Product, Raw, Retry

#: Bytes of a card and of a header or data block (FITS 4.0 sec. 3.1, 3.3.1).
CARD = 80
BLOCK = 2880

#: How much of its header a product shows: one level for each of the states that write headers.
Level = Literal["consolidated", "fixed", "identified"]

#: Headers of nights have 12 to 40 blocks; a file without END is not read to its end.
_MOST_BLOCKS = 2000
_READ_BLOCKS = 16

_END = b"END".ljust(CARD)
_PRINTABLE = bytes(range(0x20, 0x7F))

#: The value field of a card, from column 11 on (FITS 4.0 sec. 4.1.2.3, 4.2): integer, real, logical or
#: string, or none of them, then the comment.  A quote within a string is doubled.  Nothing backtracks.
_FIELD = re.compile(
    rb" *+(?:([+-]?+\d++)(?![.EDed])|([+-]?+(?:\d++(?:\.\d*+)?+|\.\d++)(?:[EDed][+-]?+\d++)?+)|([TF])"
    rb"|'((?:[^']++|'')*+)')?+ *+(?:/(.*+))?+",
    re.DOTALL,
)

#: A format of a dictionary: ``BOOLEAN``, or a printf conversion.
_FORMAT = re.compile(r"BOOLEAN|%[-+ 0]*\d*(?:\.\d+)?[dfeEgGs]")

#: Columns of the value of a fixed-format card, 11 to 30, of a value at most, 11 to 80, and of a string
#: at least, without its quotes (FITS 4.0 sec. 4.2).
_FIXED_WIDTH = 20
_MOST_WIDTH = 70
_STRING_WIDTH = 8

#: Whatever a dictionary says of them: they describe the array, in a format of their own that is mandatory
#: (FITS 4.0 sec. 4.4.1), or have no value (sec. 4.4.2.4).
_UNTOUCHED = re.compile(rb"(SIMPLE|BITPIX|NAXIS\d*|EXTEND|COMMENT|HISTORY) *")

#: They scale the data: not one bit of their values may change.
_SCALING = frozenset({"BZERO", "BSCALE"})

#: No longer true of a product (DESIGN section 6).
_DROPPED = frozenset({b"CHECKSUM", b"DATASUM "})

#: By how much of itself a format may change the value of a keyword under ``keep_digits`` (DESIGN section 7).
_KEEP_DIGITS_CHANGE = 1e-4

#: Where a frame ID becomes an exposure ID (DESIGN section 8).
_EXPOSURE_LETTER = 3
_FRAME_ID_LENGTH = 12

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HAWAII = timedelta(hours=-10)
_DAY_US = 86_400_000_000
_MJD_OF_EPOCH = 40587
_MJD_UNIT = 10**12

#: For cards that the raw header lacks, worded as Subaru's headers word them.
_COMMENTS = {
    "DATE-OBS": "UT date of Observation (yyyy-mm-dd)",
    "UT-STR": "HH:MM:SS.SS UTC at exposure start",
    "UT-END": "HH:MM:SS.SS UTC at exposure end",
    "UT": "HH:MM:SS.SS typical UTC at exposure",
    "HST-STR": "HH:MM:SS.SS typical HST at exposure start",
    "HST-END": "HH:MM:SS.SS typical HST at exposure end",
    "HST": "HH:MM:SS.SS typical HST at exposure",
    "MJD-STR": "Modified Julian Day at exposure start",
    "MJD-END": "Modified Julian Day at exposure end",
    "MJD": "Modified Julian Day at exposure",
    "NAXIS3": "length of data axis 3",
}


@dataclass(frozen=True, slots=True)
class HeaderRules:
    """Parameters of the three stages that write headers; a night has one set for all of them.

    Attributes
    ----------
    time_cards_from_exposure_start : bool
        Subtract the exposure time from the time cards; frame times mark the ends of exposures.
    keep_digits : tuple of str
        Patterns of keywords that keep their own digits where their format would change them by more
        than 1e-4 of themselves (DESIGN section 7).
    """

    time_cards_from_exposure_start: bool = False
    keep_digits: tuple[str, ...] = ("CD?_?*", "PC?_?*", "CDELT*")


# Reading ------------------------------------------------------------------------------------------------


@contextmanager
def retry_on_os_error(path: Path) -> Iterator[None]:
    """Translate an ``OSError`` of the block into ``Retry``: it says nothing about the file's content.

    Parameters
    ----------
    path : Path
        Named in the message if the error names no file.

    Raises
    ------
    Retry
        In place of any ``OSError``.
    """
    try:
        yield
    except OSError as exc:
        raise Retry(
            f"{exc.filename or path}: the system refused to read or write it ({exc.strerror or exc}); "
            "check permissions, free space and the disk, then run again"
        ) from exc


def read_header(path: Path) -> bytes:
    """Read the primary header of a FITS file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    bytes
        A whole number of 2880-byte blocks, the last of which has END.

    Raises
    ------
    BadInput
        If it does not start with SIMPLE, has no END, is cut short, or has characters that FITS does not
        allow (FITS 4.0 sec. 3.3.1, 4.1.2).
    Retry
        If the file could not be read.
    """
    with retry_on_os_error(path), path.open("rb", buffering=0) as file:
        content = b""
        while (end := _place(content, _END)) < 0:
            more = file.read(_READ_BLOCKS * BLOCK)
            if not content and not more.startswith(b"SIMPLE  ="):
                raise BadInput(f"{path}: not a FITS file: it starts with {more[:9]!r}, expected b'SIMPLE  ='")
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
    return content[:length]


def check_unchanged(raw: Raw) -> None:
    """Raise unless a raw cube has the size and modification time that it was registered with.

    Parameters
    ----------
    raw : Raw
        As registered.

    Raises
    ------
    BadInput
        If it changed underneath.
    Retry
        If the system does not tell, or it is not there.
    """
    with retry_on_os_error(raw.cube):
        now = raw.cube.stat()
    if (now.st_size, now.st_mtime_ns) != (raw.size_bytes, raw.mtime_ns):
        raise BadInput(
            f"{raw.cube}: changed underneath: {now.st_size} bytes, modified at {now.st_mtime_ns} ns, "
            f"registered with {raw.size_bytes} bytes, {raw.mtime_ns} ns; "
            "restore the raw file, or forget it and scan again"
        )


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
    return list(_unpack("80s", header))


def values(header: bytes, keywords: Sequence[str]) -> dict[str, Any]:
    """Return the values of the named keywords that a header has.

    Parameters
    ----------
    header : bytes
        As :func:`read_header` returns it.
    keywords : sequence of str
        For ``HIERARCH`` cards, the name that follows that word.

    Returns
    -------
    dict
        By keyword, the first card's value as astropy gives it; None where the card has no value.

    Raises
    ------
    BadInput
        If a card's value is none that FITS knows (FITS 4.0 sec. 4.2).
    """
    keys = _unpack("10s70x", header)
    number = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
    has_hierarch = _place(header, b"HIERARCH ") >= 0
    found = {}
    for keyword in keywords:
        name = keyword.encode("ascii")
        at = number.get(name.ljust(8) + b"= ", -1) * CARD
        if at < 0 and has_hierarch:
            at = max(_place(header, b"HIERARCH %b=" % name), _place(header, b"HIERARCH %b =" % name))
        if at >= 0:
            found[keyword] = _value(header, at)
    return found


def _unpack(layout: str, header: bytes) -> tuple[bytes, ...]:
    """Return what `layout` takes from each card before END; ``struct`` does it faster than slices."""
    end = _place(header, _END)
    return struct.unpack(layout * (end // CARD), header[:end])


def _place(header: bytes, start: bytes) -> int:
    """Return where the first card that begins with `start` is, or -1."""
    at = header.find(start)
    while at >= 0 and at % CARD:
        at = header.find(start, at + 1)
    return at


def padded(length: int) -> int:
    """Return `length` in bytes, rounded up to whole 2880-byte blocks (FITS 4.0 sec. 3.1)."""
    return -(-length // BLOCK) * BLOCK


def _value(header: bytes, at: int) -> Any:
    """Return the value of the card at byte `at`."""
    after = at + CARD
    field = _FIELD.fullmatch(header, at + 10, after) if header[at + 8 : at + 10] == b"= " else None
    if field is None or header.startswith(b"CONTINUE", after):
        while header.startswith(b"CONTINUE", after):
            after += CARD
        return _astropy_value(header[at:after])
    integer, real, logical, string, _ = field.groups()
    if integer is not None:
        return int(integer)
    if real is not None:
        return _float(real)
    if logical is not None:
        return logical == b"T"
    return None if string is None else _text(string)


def _astropy_value(image: bytes) -> Any:
    try:
        value = Card.fromstring(image).value
    except (VerifyError, ValueError) as exc:
        raise BadInput(f"card {image.rstrip().decode()!r} has no value that FITS knows: {exc}") from exc
    return None if isinstance(value, Undefined) else value


def _float(number: bytes) -> float:
    return float(number.replace(b"D", b"E").replace(b"d", b"e"))


def _text(quoted: bytes) -> str:
    """Return what a string's characters between its quotes say; trailing blanks say nothing."""
    return quoted.replace(b"''", b"'").rstrip(b" ").decode("ascii")


# Dictionary ---------------------------------------------------------------------------------------------


@lru_cache
def read_dictionary(name: str) -> Mapping[str, str]:
    """Read a keyword dictionary; the result is cached.

    Parameters
    ----------
    name : str
        Of one shipped in ``stages/dictionary``, or the path of a file.  It has tab-separated columns
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


# Writing ------------------------------------------------------------------------------------------------


def product_header(job: Job, level: Level, rules: HeaderRules) -> tuple[bytes, dict[str, int]]:
    """Return the header of a job's one product, made from its first raw file's.

    Parameters
    ----------
    job : Job
        With one product.
    level : {"consolidated", "fixed", "identified"}
        How much of it is done.
    rules : HeaderRules
        The night's.

    Returns
    -------
    header : bytes
        See :func:`build_header`.
    remarks : dict of str to int
        See :func:`build_header`.

    Raises
    ------
    BadInput
        If the raw file changed or is unreadable, or the header cannot be made.
    Retry
        If the raw file could not be read.
    """
    raw = job.product.parts[0].raw
    check_unchanged(raw)
    raw_header = read_header(raw.cube)
    try:
        return build_header(raw_header, job.product, job.instrument, level, rules)
    except BadInput as exc:
        raise BadInput(f"{raw.cube}: {exc}") from exc


def build_header(
    raw_header: bytes, product: Product, instrument: Instrument, level: Level, rules: HeaderRules
) -> tuple[bytes, dict[str, int]]:
    """Return the header of a product: a pure function of its arguments (DESIGN section 6).

    All levels have the same cards in the same order, so they take the same number of blocks.

    Parameters
    ----------
    raw_header : bytes
        Of the product's first raw file, as :func:`read_header` returns it.
    product : Product
        Whose header it is.
    instrument : Instrument
        Names the cards and the dictionary.
    level : {"consolidated", "fixed", "identified"}
        ``consolidated`` has the product's own axes, times and states, and blank IDs; ``fixed`` obeys the
        dictionary; ``identified`` has the IDs too.
    rules : HeaderRules
        The night's.

    Returns
    -------
    header : bytes
        A whole number of 2880-byte blocks.
    remarks : dict of str to int
        What the dictionary's formats could not do, one each (DESIGN section 7); empty at level
        ``consolidated``.

    Raises
    ------
    BadInput
        If the raw header carries a frame ID already, or the product has none at level ``identified``.
    """
    name = instrument.cards.frame_id
    at = _place(raw_header, name.encode("ascii").ljust(8) + b"= ")
    carried = _value(raw_header, at) if at >= 0 else None
    if carried and carried != product.frame_id:
        raise BadInput(
            f"raw header has {name} = {carried!r} already, expected it blank; it would be lost: "
            "find out who numbered this file, and keep it out of the night or blank the card"
        )
    frame_id = _frame_id(product) if level == "identified" else " " * _FRAME_ID_LENGTH
    cards = _replace_values(
        _without_last_blanks(split_cards(raw_header)), _own_values(product, instrument, frame_id, rules)
    )
    remarks: Counter[str] = Counter()
    if level != "consolidated":
        cards = _fix_cards(cards, _formats(instrument.dictionary, tuple(rules.keep_digits)), remarks)
    block = b"".join((*cards, _END))
    if len(block) != (len(cards) + 1) * CARD:
        raise ValueError(f"{len(cards)} cards take {len(block) - CARD} bytes, expected {CARD} each")
    return block.ljust(padded(len(block))), dict(remarks)


def _without_last_blanks(cards: list[bytes]) -> list[bytes]:
    """Leave out blank cards just before END: they say nothing, and funpack does not give them back as they were."""
    last = next((i for i in range(len(cards), 0, -1) if cards[i - 1].strip()), 0)
    return cards[:last]


def _frame_id(product: Product) -> str:
    frame_id = product.frame_id
    if frame_id is None or not re.fullmatch(r"[A-Z]{4}\d{8}", frame_id):
        raise BadInput(
            f"product {product.name} has the frame ID {frame_id!r}, expected four letters and eight digits; "
            "assign IDs to its night first"
        )
    return frame_id


def _own_values(
    product: Product, instrument: Instrument, frame_id: str, rules: HeaderRules
) -> dict[str, tuple[bytes, str]]:
    """Return value field and standard comment of each card that is the product's own, by keyword."""
    cards = instrument.cards
    blank = not frame_id.strip()
    exposure_id = frame_id if blank else f"{frame_id[:_EXPOSURE_LETTER]}E{frame_id[_EXPOSURE_LETTER + 1 :]}"
    fields = {"NAXIS3": str(product.n_frames).encode(), **_time_fields(product, rules)}
    own = {keyword: (field, _COMMENTS[keyword]) for keyword, field in fields.items()}
    own[cards.synchronised] = (
        b"T" if product.synchronised else b"F",
        "Whether it has a synchronized sibling",
    )
    if product.flc is not None:
        own[cards.flc_state] = (_quoted(product.flc), "FLC polarization state (A/B/D)")
    own[cards.frame_id] = (_quoted(frame_id), "Image sequential number")
    own[cards.exposure_id] = (_quoted(exposure_id), "ID of the exposure this data was taken")
    return own


def _time_fields(product: Product, rules: HeaderRules) -> dict[str, bytes]:
    """Return the value fields of the time cards, the same for all siblings of a group."""
    before_us = product.exposure_us if rules.time_cards_from_exposure_start else 0
    first_us, last_us = product.first_us - before_us, product.last_us - before_us
    fields = {"DATE-OBS": _quoted(f"{_utc(first_us):%Y-%m-%d}")}
    for suffix, time_us in (("-STR", first_us), ("-END", last_us), ("", (first_us + last_us) // 2)):
        fields[f"UT{suffix}"] = _quoted(f"{_utc(time_us):%H:%M:%S.%f}")
        fields[f"HST{suffix}"] = _quoted(f"{_utc(time_us) + _HAWAII:%H:%M:%S.%f}")
        fields[f"MJD{suffix}"] = _mjd(time_us)
    return fields


def _utc(time_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_us)


def _mjd(time_us: int) -> bytes:
    """Return the Modified Julian Date with 12 decimals, 0.09 us; integers, because a float rounds twice."""
    scaled = (time_us * _MJD_UNIT + _DAY_US // 2) // _DAY_US
    return b"%d.%012d" % (scaled // _MJD_UNIT + _MJD_OF_EPOCH, scaled % _MJD_UNIT)


def _quoted(text: str) -> bytes:
    """Return the value field of a string (FITS 4.0 sec. 4.2.1)."""
    return b"'%s'" % text.replace("'", "''").ljust(_STRING_WIDTH).encode("ascii")


def _card(key: bytes, field: bytes, comment: bytes | None) -> bytes:
    """Return a fixed-format card: numbers end in column 30, strings start in column 11 (FITS 4.0 sec. 4.2).

    `comment` is what follows the slash, its leading blank included, or None; its end is lost if it does
    not fit.
    """
    field = field.ljust(_FIXED_WIDTH) if field.startswith(b"'") else field.rjust(_FIXED_WIDTH)
    end = b"" if comment is None else b" /" + comment
    return b"%b= %b%b" % (key, field, end[: _MOST_WIDTH - len(field)].ljust(_MOST_WIDTH - len(field)))


def _replace_values(cards: Sequence[bytes], own: Mapping[str, tuple[bytes, str]]) -> list[bytes]:
    """Return the cards with the product's own values, and those that were missing at the end."""
    missing = {keyword.encode("ascii").ljust(8): new for keyword, new in own.items()}
    by_key = dict(missing)
    result = []
    replaced = False
    for card in cards:
        key = card[:8]
        if key in by_key and card[8:10] == b"= ":
            field, comment = by_key[key]
            old = _FIELD.fullmatch(card, 10)
            result.append(_card(key, field, old.group(5) if old else b" " + comment.encode("ascii")))
            missing.pop(key, None)
            replaced = True
        elif key not in _DROPPED and not (replaced and key == b"CONTINUE"):
            result.append(card)
            replaced = False
    return result + [_card(key, field, b" " + text.encode("ascii")) for key, (field, text) in missing.items()]


def _fix_cards(
    cards: Sequence[bytes], formats: Mapping[bytes, tuple[str, float]], remarks: Counter[str]
) -> list[bytes]:
    """Return the cards with their values as the dictionary's formats print them (DESIGN section 7)."""
    fixed = []
    for card in cards:
        form = formats.get(card[:8])
        if form is None or card[8:10] != b"= ":
            fixed.append(card)
            continue
        new, remark = _fix_card(card, *form)
        fixed.append(new)
        if remark:
            remarks[remark] += 1
    return fixed


@lru_cache(maxsize=8192)
def _fix_card(card: bytes, form: str, most_change: float) -> tuple[bytes, str]:
    """Return the card with its value as `form` prints it, and a remark or "".

    Cached, because most cards are the same in one file and the next.
    """
    keyword = card[:8].rstrip().decode("ascii")
    field = _FIELD.fullmatch(card, 10)
    if field is None:
        return card, f"does not fit {form}: {keyword}"
    integer, real, logical, string, comment = field.groups()
    printed: bytes | None = None
    remark = ""
    if string is not None:
        if string.rstrip(b" ").endswith(b"&"):  # goes on in CONTINUE cards (FITS 4.0 sec. 4.2.1.2)
            return card, ""
        printed = _print_string(_text(string), form)
    elif logical is not None:
        printed = logical if form == "BOOLEAN" else None
    elif integer is not None or real is not None:
        value = _float(real) if integer is None else int(integer)
        printed, remark = _print_number(value, integer or real, form, most_change)
    else:
        return card, ""
    if printed is None or len(printed) > _MOST_WIDTH:
        return card, f"does not fit {form}: {keyword}"
    return _card(card[:8], printed, comment), remark and f"{remark}: {keyword}"


def _print_string(text: str, form: str) -> bytes | None:
    """Return the value field of a string, or None if `form` is not for strings or would cut it."""
    if not form.endswith("s"):
        return None
    printed = form % text
    return _quoted(printed) if printed.rstrip(" ") == text else None


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
