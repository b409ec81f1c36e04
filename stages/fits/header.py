"""The header of a product: a pure function of its first raw file's header and the product.

See docs/design.md, Headers and cubes.

Only the value fields of cards that change are written anew; all other bytes stay.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stages.base import BadInput, Job, Level
from stages.files import check_unchanged, retry_on_os_error
from stages.fits.cards import (
    CARD,
    END,
    FIELD,
    carried_frame_id,
    follows_end,
    make_card,
    padded,
    quote,
    read_header,
    split_cards,
    values,
)
from stages.fits.formats import fix_cards
from stages.fits.structure import without_leftovers
from stages.instrument import Instrument
from stages.product import Product

#: No longer true of a product (docs/design.md, Headers and cubes).
_DROPPED = frozenset({b"CHECKSUM", b"DATASUM "})

#: Where a frame ID becomes an exposure ID (docs/design.md, Frame IDs).
_EXPOSURE_LETTER = 3
_FRAME_ID_LENGTH = 12

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HAWAII = timedelta(hours=-10)
_DAY_US = 86_400_000_000
_MJD_OF_EPOCH = 40587
_MJD_UNIT = 10**12

#: Date and time of day of a product's first frame time, UT.
START_CARDS = ("DATE-OBS", "UT-STR")

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
        than 1e-4 of themselves (docs/design.md, Dictionary).
    """

    time_cards_from_exposure_start: bool = False
    keep_digits: tuple[str, ...] = ("CD?_?*", "PC?_?*", "CDELT*")


def exposure_id_of(frame_id: str) -> str:
    """Return the exposure ID of a frame ID (docs/design.md, Frame IDs)."""
    return f"{frame_id[:_EXPOSURE_LETTER]}E{frame_id[_EXPOSURE_LETTER + 1 :]}"


def first_exposure_us(cards: Mapping[str, Any], exposure_s: str, *, from_exposure_start: bool) -> int:
    """Return when the first exposure of a product's group began, as its header tells.

    Parameters
    ----------
    cards : mapping
        Values of :data:`START_CARDS` and of the exposure time's card.
    exposure_s : str
        Keyword of the exposure time, seconds.
    from_exposure_start : bool
        Whether the time cards tell the begin of exposures already (:class:`HeaderRules`), not their end.

    Returns
    -------
    int
        UNIX time, microseconds: the precision of the time cards.

    Raises
    ------
    BadInput
        If the cards do not tell.
    """
    found: dict[str, Any] = {keyword: cards.get(keyword) for keyword in (*START_CARDS, exposure_s)}
    date, time, exposure = found.values()
    try:
        first = datetime.fromisoformat(f"{date}T{time}+00:00") - _EPOCH
        before = timedelta(seconds=0 if from_exposure_start else exposure)
    except (TypeError, ValueError, OverflowError) as exc:
        raise BadInput(f"time cards are {found}, expected a date, a time of day and seconds") from exc
    return (first - before) // timedelta(microseconds=1)


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
        If the raw file is unreadable, or the header cannot be made.
    Retry
        If the raw file changed or could not be read.
    """
    raw = job.product.parts[0].raw
    check_unchanged(raw.cube, raw.size_bytes, raw.mtime_ns)
    raw_header = read_header(raw.cube)
    try:
        return build_header(raw_header, job.product, job.instrument, level, rules)
    except BadInput as exc:
        raise BadInput(f"{raw.cube}: {exc}") from exc


def build_header(
    raw_header: bytes, product: Product, instrument: Instrument, level: Level, rules: HeaderRules
) -> tuple[bytes, dict[str, int]]:
    """Return the header of a product: a pure function of its arguments (docs/design.md, Headers and cubes).

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
        What is left out of the raw header, and what the dictionary's formats could not do (docs/design.md, Dictionary),
        one each; empty at level ``consolidated``.

    Raises
    ------
    BadInput
        If the raw header carries a frame ID already, or the product has none at level ``identified``.
    """
    name = instrument.cards.frame_id
    carried = carried_frame_id(raw_header, name)
    if carried not in (None, product.frame_id):
        raise BadInput(
            f"raw header has {name} = {carried!r} already, expected none; it would be lost: "
            "find out who numbered this file, and keep it out of the night"
        )
    frame_id = _frame_id(product) if level == "identified" else " " * _FRAME_ID_LENGTH
    cards, left_out = without_leftovers(split_cards(raw_header), instrument)
    cards = _replace_values(_without_last_blanks(cards), _own_values(product, instrument, frame_id, rules))
    remarks: Counter[str] = Counter()
    if level != "consolidated":
        cards, remarks = fix_cards(cards, instrument.dictionary, tuple(rules.keep_digits))
        remarks.update(f"left out, as it is of another file's table: {keyword}" for keyword in left_out)
        remarks.update({"raw headers that end in NUL, expected blanks": 1} if follows_end(raw_header).strip() else {})
    block = b"".join((*cards, END))
    if len(block) != (len(cards) + 1) * CARD:
        raise ValueError(f"{len(cards)} cards take {len(block) - CARD} bytes, expected {CARD} each")
    return block.ljust(padded(len(block))), dict(remarks)


def check_room(header: bytes, candidates: Sequence[Path]) -> None:
    """Check that a header can be written over that of a product's cube: its frames must follow where they are.

    Parameters
    ----------
    header : bytes
        As :func:`build_header` returns it.
    candidates : sequence of Path
        Where the cube may be.

    Raises
    ------
    BadInput
        If the size of the file there is not that of this header and its frames.
    """
    cards = values(header, ("BITPIX", "NAXIS1", "NAXIS2", "NAXIS3"))
    expected = padded(len(header) + math.prod(cards.values()) // 8)
    for cube in filter(Path.is_file, candidates):
        with retry_on_os_error(cube):
            found = cube.stat().st_size
        if found != expected:
            raise BadInput(
                f"{cube}: {found} bytes, expected {expected} with the header that it is to have: it was cut off, or "
                "made with another header; roll the product back to synced and make it again"
            )


def own_keywords(instrument: Instrument) -> frozenset[str]:
    """Return the keywords of the cards that a product can have a value of its own for."""
    cards = instrument.cards
    own = (cards.synchronised, cards.flc_state, cards.frame_id, cards.exposure_id)
    return frozenset({*_COMMENTS, *(keyword for keyword in own if keyword is not None)})


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
    exposure_id = frame_id if blank else exposure_id_of(frame_id)
    fields = {"NAXIS3": str(product.n_frames).encode(), **_time_fields(product, rules)}
    own = {keyword: (field, _COMMENTS[keyword]) for keyword, field in fields.items()}
    own[cards.synchronised] = (
        b"T" if product.synchronised else b"F",
        "Whether it has a synchronized sibling",
    )
    if product.flc is not None and cards.flc_state is not None:
        own[cards.flc_state] = (quote(product.flc), "FLC polarization state (A/B/D)")
    own[cards.frame_id] = (quote(frame_id), "Image sequential number")
    own[cards.exposure_id] = (quote(exposure_id), "ID of the exposure this data was taken")
    return own


def _time_fields(product: Product, rules: HeaderRules) -> dict[str, bytes]:
    """Return the value fields of the time cards, the same for all siblings of a group."""
    before_us = product.exposure_us if rules.time_cards_from_exposure_start else 0
    first_us, last_us = product.first_us - before_us, product.last_us - before_us
    fields = {"DATE-OBS": quote(f"{_utc(first_us):%Y-%m-%d}")}
    for suffix, time_us in (("-STR", first_us), ("-END", last_us), ("", (first_us + last_us) // 2)):
        fields[f"UT{suffix}"] = quote(f"{_utc(time_us):%H:%M:%S.%f}")
        fields[f"HST{suffix}"] = quote(f"{_utc(time_us) + _HAWAII:%H:%M:%S.%f}")
        fields[f"MJD{suffix}"] = _mjd(time_us)
    return fields


def _utc(time_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_us)


def _mjd(time_us: int) -> bytes:
    """Return the Modified Julian Date with 12 decimals, 0.09 us; integers, because a float rounds twice."""
    scaled = (time_us * _MJD_UNIT + _DAY_US // 2) // _DAY_US
    return b"%d.%012d" % (scaled // _MJD_UNIT + _MJD_OF_EPOCH, scaled % _MJD_UNIT)


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
            old = FIELD.fullmatch(card, 10)
            result.append(make_card(key, field, old.group(5) if old else b" " + comment.encode("ascii")))
            missing.pop(key, None)
            replaced = True
        elif key not in _DROPPED and not (replaced and key == b"CONTINUE"):
            result.append(card)
            replaced = False
    return result + [make_card(key, field, b" " + text.encode("ascii")) for key, (field, text) in missing.items()]
