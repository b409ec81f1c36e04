"""Meaning: what the cards that rules read say, in whatever known form; what cannot be understood is refused."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from stages.base import BadInput
from stages.fits.cards import repeated
from stages.instrument import Cards, Forms, Instrument

_ADVICE = "have the writer of the header correct it, or leave the file in quarantine"


def understood(cards: Mapping[str, Any], instrument: Instrument, cube: Path) -> dict[str, Any]:
    """Return cards with the values that rules know: T and F, numbers in their units, texts in capitals.

    A card without a value is as one that is missing: a text is empty then. A text that is not known is kept, and
    told of by :func:`stages.check.witnesses.unexpected`.

    Parameters
    ----------
    cards : mapping
        Values as in the header, by keyword.
    instrument : Instrument
        Which cards rules read, and the forms that are known.
    cube : Path
        Whose they are.

    Returns
    -------
    dict
        By keyword; cards that no rule reads as they are.

    Raises
    ------
    BadInput
        If a value is of another type, of no known form, or not one that the unit allows.
    """
    names, forms = instrument.cards, instrument.forms
    found = dict(cards)
    for keyword in _truths(names):
        if not is_missing(cards, keyword):
            found[keyword] = _truth(cube, keyword, cards[keyword], forms)
    for keyword, canonical in _texts(names, forms).items():
        if keyword in cards and cards[keyword] is None:
            found[keyword] = ""
        elif not is_missing(cards, keyword):
            text = _text(cube, keyword, cards[keyword])
            found[keyword] = canonical.get(text, text)
    if names.dither_us is not None and not is_missing(cards, names.dither_us):
        dither = _number(cube, names.dither_us, cards[names.dither_us], "the dither in microseconds")
        if 0 < abs(dither) < 1:
            raise BadInput(f"{cube}: {names.dither_us} is {dither!r}, expected microseconds, 0 or from 1 on; {_ADVICE}")
    if not is_missing(cards, names.rows):
        rows = _number(cube, names.rows, cards[names.rows], "the number of rows read out")
        if rows < 1 or rows != int(rows):
            raise BadInput(f"{cube}: {names.rows} is {rows!r}, expected a whole number of rows, from 1 on; {_ADVICE}")
    return found


def refuse_two_values(header: bytes, keywords: tuple[str, ...], cube: Path) -> None:
    """Raise BadInput if the header has a card twice, with two values: which of them is meant cannot be told."""
    for keyword, found in repeated(header, keywords, cube).items():
        others = [value for value in found if _differs(value, found[0])]
        if others:
            told = f"{len(found)} times, as {found[0]!r} and as {others[0]!r}"
            raise BadInput(f"{cube}: {keyword} is there {told}, expected one value; {_ADVICE}")


def is_missing(cards: Mapping[str, Any], keyword: str) -> bool:
    """Whether there is no card, or one without a value."""
    value = cards.get(keyword)
    return value is None or (isinstance(value, str) and not value.strip())


def missing_cards(cards: Mapping[str, Any], names: Cards) -> tuple[str, ...]:
    """Return the keywords that rules read and the cards lack; without them a rule takes what is not said for no."""
    read = (*_truths(names), names.flc_stage, names.dither_us, names.mode, names.rows)
    return tuple(keyword for keyword in dict.fromkeys(read) if keyword is not None and is_missing(cards, keyword))


def unknown_forms(cards: Mapping[str, Any], names: Cards, forms: Forms) -> dict[str, Any]:
    """Return the cards, by keyword, whose values are of no known form: texts, or truths of rows of earlier versions."""
    found = {keyword: cards.get(keyword) for keyword in _truths(names) if not isinstance(cards.get(keyword), bool)}
    for keyword, canonical in _texts(names, forms).items():
        if form_of(cards.get(keyword)) not in canonical:
            found[keyword] = cards.get(keyword)
    return {keyword: value for keyword, value in found.items() if not is_missing(cards, keyword)}


def form_of(value: object) -> str:
    """Return a value as forms are compared: T or F, a whole number without its point, a text in capitals."""
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip().upper()


def _truths(names: Cards) -> tuple[str, ...]:
    return tuple(keyword for keyword in (names.external_trigger, names.flc_enabled) if keyword is not None)


@lru_cache
def _texts(names: Cards, forms: Forms) -> dict[str, dict[str, str]]:
    """Return, by keyword, the forms that are known and the one that rules compare with."""
    known = {
        names.flc_stage: dict.fromkeys(map(form_of, forms.flc_in), "IN")
        | dict.fromkeys(map(form_of, forms.flc_out), "OUT"),
        names.flc_state: dict.fromkeys(map(form_of, forms.flc_free), "NA")
        | {form_of(f): form_of(f) for f in forms.flc_fixed},
        names.mode: {form_of(form): form_of(form) for form in forms.modes},
    }
    return {keyword: forms_of_it for keyword, forms_of_it in known.items() if keyword is not None}


def _truth(cube: Path, keyword: str, value: object, forms: Forms) -> bool:
    if isinstance(value, bool):
        return value
    form = form_of(value)
    for meaning, known in ((True, forms.means_true), (False, forms.means_false)):
        if form in map(form_of, known):
            return meaning
    raise BadInput(
        f"{cube}: {keyword} is {value!r}, expected T, F or {', '.join((*forms.means_true, *forms.means_false))}"
        f" (instrument.forms.means_true, means_false: name it there if it is known what it means); or {_ADVICE}"
    )


def _text(cube: Path, keyword: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadInput(f"{cube}: {keyword} is {value!r}, expected a text in quotes; {_ADVICE}")
    return form_of(value)


def _number(cube: Path, keyword: str, value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(f"{cube}: {keyword} is {value!r}, expected a number, {what}; {_ADVICE}")
    return value


def _differs(one: object, other: object) -> bool:
    """Whether two values are not the same; T is not 1."""
    return one != other or isinstance(one, bool) != isinstance(other, bool)
