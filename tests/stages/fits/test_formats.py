"""Formats: the dictionary is checked, values are printed as it says and no more is changed."""

import math

import pytest

from stages.base import BadInput
from stages.fits.cards import split_cards
from stages.fits.formats import fix_cards, read_dictionary
from stages.fits.header import HeaderRules
from tests.stages.sample_headers import HEADERS, TRICKY, astropy_values
from tests.stages.samples import make_header

KEEP_DIGITS = HeaderRules().keep_digits


def dictionary(tmp_path, **formats):
    path = tmp_path / "dictionary.tsv"
    lines = "".join(f"{keyword}\t{form}\tNA\n" for keyword, form in formats.items())
    path.write_text(f"keyword\tformat\tunit\n{lines}")
    return str(path)


def fix_card(card, name):
    """The card, as text, and the remarks, under a dictionary."""
    cards, remarks = fix_cards(split_cards(make_header(card)), name, KEEP_DIGITS)
    return cards[6].decode().rstrip(), remarks


def test_shipped_dictionary():
    formats = read_dictionary("vampires")
    assert len(formats) == 392
    assert formats["EXPTIME"] == "%20.8f"
    assert formats["U_SYNC"] == "BOOLEAN"
    with pytest.raises(TypeError):
        formats["EXPTIME"] = "%d"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "EXPTIME",
        "EXPTIME\t",
        "EXPTIME\t20.8f",
        "EXPTIME\t%20.8x",
        "EXPTIME\t%s %s",
        "exptime\t%d",
        "TOO-LONG-A\t%d",
        "OBJECT\t%d",
    ],
)
def test_a_malformed_dictionary_is_refused(tmp_path, line):
    path = tmp_path / "wrong.tsv"
    path.write_text(f"keyword\tformat\nOBJECT\t%-30s\n{line}\n")
    with pytest.raises(BadInput, match="line 3"):
        read_dictionary(str(path))


def test_a_dictionary_without_its_columns_is_refused(tmp_path):
    path = tmp_path / "wrong.tsv"
    path.write_text("OBJECT\t%-30s\n")
    with pytest.raises(BadInput, match="line 1"):
        read_dictionary(str(path))


def test_an_unknown_dictionary_is_refused():
    with pytest.raises(BadInput, match="'vampires'"):
        read_dictionary("vampire")


FIXED = {
    "real": ("%20.3f", "1.23456", "KEY     =                1.235 / comment", None),
    "narrow real": ("%7.3f", "1.5", "KEY     =                1.500 / comment", None),
    "real of an integer": ("%16.3f", "5", "KEY     =                5.000 / comment", None),
    "FORTRAN's exponent": ("%20.3f", "1.5D2", "KEY     =              150.000 / comment", None),
    "left-aligned number": ("%-9.1f", "2", "KEY     =                  2.0 / comment", None),
    "exponent": ("%20.3e", "12345.6", "KEY     =            1.235E+04 / comment", None),
    "wide number": ("%20.8f", "1E15", "KEY     = 1000000000000000.00000000 / comment", None),
    "negative zero": ("%9.2f", "-0.001", "KEY     =                -0.00 / comment", "non-zero printed as zero"),
    "zero": ("%9.2f", "0.0", "KEY     =                 0.00 / comment", None),
    "integer": ("%16d", "42", "KEY     =                   42 / comment", None),
    "integer with a point": ("%16d", "42.", "KEY     =                   42 / comment", None),
    "string": ("%-12s", "'abc'", "KEY     = 'abc         '       / comment", None),
    "short string": ("%-1s", "'abc'", "KEY     = 'abc     '           / comment", None),
    "string with a quote": ("%-12s", "'it''s / it'", "KEY     = 'it''s / it   '      / comment", None),
    "empty string": ("%-12s", "''", "KEY     = '            '       / comment", None),
    "string that just fits": ("%-4.4s", "'abcd   '", "KEY     = 'abcd    '           / comment", None),
    "long string": ("%-12s", f"'{'x' * 40}'", f"KEY     = '{'x' * 40}' / comment", None),
    "logical": ("BOOLEAN", "T", "KEY     =                    T / comment", None),
    "string that goes on": ("%-12s", "'abc &'", None, None),
    "no value": ("%20.3f", "", None, None),
    "string for a number": ("%20.3f", "'1.5'", None, "does not fit %20.3f"),
    "number for a string": ("%-12s", "1.5", None, "does not fit %-12s"),
    "logical for a number": ("%16d", "T", None, "does not fit %16d"),
    "number for a logical": ("BOOLEAN", "1", None, "does not fit BOOLEAN"),
    "broken number": ("%16d", "1.5", None, "does not fit %16d"),
    "string that would be cut": ("%-4.4s", "'abcde'", None, "does not fit %-4.4s"),
    "string that would move": ("%12s", "'abc'", None, "does not fit %12s"),
    "number beyond the card": ("%20.3f", "1E99", None, "does not fit %20.3f"),
    "number beyond reals": ("%20.3f", "1E999", None, "does not fit %20.3f"),
    "complex": ("%20.3f", "(1.0, 2.0)", None, "does not fit %20.3f"),
}


@pytest.mark.parametrize("case", FIXED)
def test_values_are_printed_in_their_format(tmp_path, case):
    form, field, expected, remark = FIXED[case]
    card = f"KEY     = {field}/ comment"
    fixed, remarks = fix_card(card, dictionary(tmp_path, KEY=form))
    assert fixed == (card if expected is None else expected)
    assert remarks == ({} if remark is None else {f"{remark}: KEY": 1})


@pytest.mark.parametrize(
    ("keyword", "field", "expected", "remark"),
    [
        ("CD1_2", "-2.2401E-09", "-2.2401E-09", "digits kept"),
        ("CD1_2B", "1.23456E-06", "1.23456E-06", "digits kept"),
        ("CDELT1", "4.5E-06", "0.00000450", None),
        ("PC1_1", "0.9999999999", "1.00000000", None),
        ("OTHER", "-2.2401E-09", "-0.00000000", "non-zero printed as zero"),
        ("BZERO", "32768", "32768.00000000", None),
        ("BSCALE", "0.000000001", "0.000000001", "digits kept"),
        ("BSCALE", "1.0000000001", "1.0000000001", "digits kept"),
    ],
)
def test_digits_are_kept_where_the_value_would_change(tmp_path, *, keyword, field, expected, remark):
    name = dictionary(tmp_path, **{keyword: "%20.8f"})
    fixed, remarks = fix_card(f"{keyword:8}= {field:>20} / comment", name)
    assert fixed == f"{keyword:8}= {expected:>20} / comment"
    assert remarks == ({} if remark is None else {f"{remark}: {keyword}": 1})


def test_structure_and_commentary_have_no_format(tmp_path):
    names = ("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "COMMENT", "HISTORY", "CONTINUE", "LONG")
    name = dictionary(tmp_path, **dict.fromkeys((*names, "HIERARCH"), "%-40s"))
    cards = split_cards(make_header(*TRICKY))
    assert fix_cards(cards, name, KEEP_DIGITS) == (cards, {})


def test_a_comment_gives_way_to_the_value(tmp_path):
    card = f"KEY     = 'abc'                / {'comment ' * 6}"[:80]
    fixed, remarks = fix_card(card, dictionary(tmp_path, KEY="%-50s"))
    assert fixed == f"KEY     = '{'abc':50}' / comment comment"[:80]
    assert remarks == {}


@pytest.mark.parametrize("block", HEADERS)
def test_values_change_no_more_than_their_formats_ask(block):
    formats = read_dictionary("vampires")
    cards, remarks = fix_cards(split_cards(block), "vampires", KEEP_DIGITS)
    before, after = astropy_values(block), astropy_values(b"".join(cards))
    assert before.keys() == after.keys()
    for keyword, old in before.items():
        new, form = after[keyword], formats.get(keyword, "")
        if not isinstance(old, float) or f"digits kept: {keyword}" in remarks or not form.endswith("f"):
            assert new == old
        else:
            assert abs(new - old) <= 0.5000001 * 10.0 ** -int(form[:-1].partition(".")[2])
        assert (old == 0) == (new == 0) or f"non-zero printed as zero: {keyword}" in remarks
        assert not math.isnan(new) if isinstance(new, float) else True


def test_remarks_count_each_card_whether_or_not_it_was_seen_before():
    cards = split_cards(make_header("CD1_2   = 1E-12", "CD1_2   = 1E-13"))
    for _ in range(2):
        assert fix_cards(cards, "vampires", KEEP_DIGITS)[1] == {"digits kept: CD1_2": 2}
