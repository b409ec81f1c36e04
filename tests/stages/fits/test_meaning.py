"""Meaning: each form of a card that rules read, what it means, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from stages.base import BadInput
from stages.fits.meaning import refuse_two_values, understood
from stages.instrument import Forms, Instrument, Stream
from tests.stages.nights import CARDS as VALUES
from tests.stages.samples import CARDS, make_header

CUBE = Path("vcam1/cube.fits")
INSTRUMENT = Instrument("VAMPIRES", (Stream("vcam1", 1),), rule_keywords=("OBJECT", "RET-ANG1"))


def meant(instrument=INSTRUMENT, **cards):
    ((keyword, value),) = cards.items()
    keyword = keyword.replace("PRD_", "PRD-")
    found = understood({**VALUES, keyword: value}, instrument, CUBE)
    assert {**found, keyword: None} == {**VALUES, keyword: None}
    return found[keyword]


TRUE = [True, "T", "t", " T ", "TRUE", "true", "#TRUE#", "ON", "on", "Yes", "1", 1, 1.0]
FALSE = [False, "F", "FALSE", "#FALSE#", "OFF", "off", "no", "0", 0, 0.0, -0.0]


@pytest.mark.parametrize("keyword", ["EXTTRIG", "U_FLCEN"])
@pytest.mark.parametrize(("values", "meaning"), [(TRUE, True), (FALSE, False)])
def test_known_forms_of_truths(keyword, values, meaning):
    for value in values:
        assert meant(**{keyword: value}) is meaning


@pytest.mark.parametrize("keyword", ["EXTTRIG", "U_FLCEN"])
@pytest.mark.parametrize("value", ["UNKNOWN", "#", "TRUE FALSE", 2, -1, 0.5, "1.0", "ENABLED"])
def test_other_truths_are_refused_with_the_forms_that_are_known(keyword, value):
    with pytest.raises(BadInput) as caught:
        meant(**{keyword: value})
    told = str(caught.value)
    assert f"{CUBE}: {keyword} is {value!r}, expected T, F or T, TRUE, #TRUE#, ON" in told
    assert "(instrument.forms.means_true" in told


def test_forms_of_the_configuration_are_understood():
    instrument = replace(INSTRUMENT, forms=Forms(means_true=("enabled",), means_false=(), flc_in=("beam",)))
    assert meant(instrument, EXTTRIG="Enabled") is True
    assert meant(instrument, EXTTRIG=False) is False
    assert meant(instrument, U_FLCST="BEAM") == "IN"
    with pytest.raises(BadInput, match="'ON'"):
        meant(instrument, EXTTRIG="ON")


@pytest.mark.parametrize(
    ("keyword", "value", "meaning"),
    [
        ("U_FLCST", "in", "IN"),
        ("U_FLCST", " IN ", "IN"),
        ("U_FLCST", "out", "OUT"),
        ("U_FLCST", "moving", "MOVING"),
        ("U_FLC", "N/A", "NA"),
        ("U_FLC", "na", "NA"),
        ("U_FLC", "a", "A"),
        ("U_DETMOD", "Slow", "SLOW"),
        ("U_DETMOD", "Fast    ", "FAST"),
    ],
)
def test_texts_are_compared_in_capitals(keyword, value, meaning):
    assert meant(**{keyword: value}) == meaning


@pytest.mark.parametrize("keyword", ["EXTTRIG", "U_FLCEN", "U_FLCST", "U_FLC", "U_TRIGJT", "U_DETMOD", "PRD_RNG2"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_card_without_a_value_is_kept_as_it_is(keyword, value):
    is_text = keyword in ("U_FLCST", "U_FLC", "U_DETMOD")
    assert meant(**{keyword: value}) == ("" if is_text and value is None else value)


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        *(("U_TRIGJT", value, "expected a number, the dither in microseconds") for value in ("80", True, "fast")),
        *(("U_TRIGJT", value, "expected microseconds, 0 or from 1 on") for value in (0.08, 8e-5, -0.5)),
        *(("PRD_RNG2", value, "expected a number, the number of rows") for value in ("536", True)),
        *(("PRD_RNG2", value, "expected a whole number of rows") for value in (0, -1, 0.5, 536.2)),
        *(("U_FLCST", value, "expected a text in quotes") for value in (True, 1, 0.0)),
        *(("U_DETMOD", value, "expected a text in quotes") for value in (True, 1)),
        *(("U_FLC", value, "expected a text in quotes") for value in (False, 2)),
    ],
)
def test_another_type_or_unit_is_refused(keyword, value, expected):
    with pytest.raises(BadInput) as caught:
        meant(**{keyword: value})
    assert f"{keyword.replace('PRD_', 'PRD-')} is {value!r}, {expected}" in str(caught.value)


@pytest.mark.parametrize("value", [0, 80, 80.0, -80, 1])
def test_dithers_in_microseconds_are_taken(value):
    assert meant(U_TRIGJT=value) == value


# cards that are there twice


def with_card(*cards):
    return make_header(*CARDS, *cards)


KEPT = (*INSTRUMENT.keywords_kept(), "FRAMEID")


@pytest.mark.parametrize(
    ("card", "told"),
    [
        ("EXTTRIG =                    F", "EXTTRIG is there 2 times, as True and as False"),
        ("EXTTRIG =                    1", "EXTTRIG is there 2 times, as True and as 1"),
        ("EXPTIME =                  0.5", "EXPTIME is there 2 times, as 0.002 and as 0.5"),
        ("OBJECT  = 'other'", "OBJECT is there 2 times"),
        ("FRAMEID = 'VMPA00000001'", "FRAMEID is there 2 times"),
        ("EXPTIME =", "EXPTIME is there 2 times, as 0.002 and as None"),
    ],
)
def test_two_values_of_a_card_are_refused(card, told):
    with pytest.raises(BadInput, match=told):
        refuse_two_values(with_card(card), KEPT, CUBE)


@pytest.mark.parametrize(
    "cards", [(), ("EXPTIME = 2.0E-3",), ("EXTTRIG = T", "EXTTRIG = T"), ("U_FLC   = 'NA'",), ("BUNIT   = 'other'",)]
)
def test_the_same_value_twice_is_one(cards):
    refuse_two_values(with_card(*cards), KEPT, CUBE)


def test_a_long_text_that_is_there_twice_is_compared_whole():
    cards = ["OBJECT  = 'a &'", "CONTINUE  'b'", "OBJECT  = 'a &'", "CONTINUE  'c'"]
    rest = [card for card in CARDS if not card.startswith("OBJECT")]
    with pytest.raises(BadInput, match="as 'a b' and as 'a c'"):
        refuse_two_values(make_header(*rest, *cards), KEPT, CUBE)
