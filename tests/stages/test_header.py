"""Header blocks: values as astropy reads them, headers of products, the dictionary."""

import math
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from astropy.io import fits
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import header
from stages.base import BadInput, Instrument, Part, Retry, Stream
from stages.header import HeaderRules, build_header, read_dictionary, read_header, split_cards, values
from tests.stages.samples import CARDS, INSTRUMENT, START_US, make_header, make_product, make_raw

SHARED = Path(__file__).parents[2].parent / "shared"
LEVELS = ("consolidated", "fixed", "identified")
RULES = HeaderRules()
OWN = {"NAXIS3", "U_SYNC", "U_FLC", "FRAMEID", "EXP-ID", "DATE-OBS"} | {
    f"{word}{end}" for word in ("UT", "HST", "MJD") for end in ("", "-STR", "-END")
}

TRICKY = (
    "INTEGER =                  +42 / an integer",
    "ZEROS   =                  007",
    "REAL    =                  -1. / no digits after the point",
    "POINT   =                   .5",
    "DOUBLE  =            1.5D-003 / FORTRAN's exponent",
    "FREE    = 3.25/ in free format, no blank before the slash",
    "LOGICAL =                    F",
    "EMPTY   = ''",
    "BLANKS  = '        '           / blanks only",
    "LEADING = '  two blanks first' /",
    "QUOTE   = 'O''Neil'            / a quote",
    "QUOTES  = ''''                 / nothing but a quote",
    "SLASH   = 'a / b'              / a slash in the string",
    "BOTH    = 'it''s / a ''b'' '   / it's all '' in / it",
    "AMPER   = 'this & that &'      / goes on nowhere",
    "LONG    = 'a string that goes on and on and on until it does not fit into one &'",
    "CONTINUE  'card any more, and so it has to &'",
    "CONTINUE  'go on'  / with a comment",
    "HIERARCH ESO DET CHIP GAIN = 3.5 / of a long name",
    "UNDEFIND=                      / of no value",
    "NOTHING =",
    "COMPLEX = (1.0, -2.0)          / complex",
    "COMMENT = 'this is no value'",
    "HISTORY   UT      = '00:00:00'",
    "",
    "        text without keyword",
    "DOUBLET =                    1 / the first of two",
    "DOUBLET =                    2 / the second of two",
    "LAST    =                    1",
)


def telemetry():
    """Real headers, as text with newlines, made blocks; some are those of compressed files."""
    for path in sorted(SHARED.glob("telemetry/*/*/*.header")):
        lines = path.read_text(encoding="ascii").splitlines()
        cards = [line.ljust(80) for line in lines if line.strip() and not line.startswith(("CHECKSUM", "DATASUM"))]
        block = "".join((*cards, "END".ljust(80))).replace("ZSIMPLE =", "SIMPLE  =").encode()
        yield pytest.param(block.ljust(-(-len(block) // 2880) * 2880), id=path.name[:17])


HEADERS = [
    pytest.param(make_header(*CARDS), id="small"),
    pytest.param(make_header(*CARDS, *TRICKY), id="tricky"),
    *telemetry(),
]


@pytest.fixture
def product(tmp_path):
    raw = make_raw(tmp_path)
    return make_product(Part(raw, ((0, 2, 5),)), frame_id="VMPA00000123")


def astropy_header(block):
    return fits.Header.fromstring(block)


def astropy_values(block):
    """By keyword, what astropy says; None where it says undefined."""
    found = {}
    for card in astropy_header(block).cards:
        if card.keyword not in {"COMMENT", "HISTORY", ""}:
            value = None if isinstance(card.value, fits.card.Undefined) else card.value
            found.setdefault(card.keyword, value)
    return found


def dictionary(tmp_path, **formats):
    path = tmp_path / "dictionary.tsv"
    lines = "".join(f"{keyword}\t{form}\tNA\n" for keyword, form in formats.items())
    path.write_text(f"keyword\tformat\tunit\n{lines}")
    return replace(INSTRUMENT, dictionary=str(path))


# Reading


@pytest.mark.parametrize("block", HEADERS)
def test_values_are_those_that_astropy_reads(block):
    expected = astropy_values(block)
    found = values(block, list(expected))
    assert found == expected
    assert [type(v) for v in found.values()] == [type(v) for v in expected.values()]


@settings(deadline=None, derandomize=True)
@given(
    value=st.one_of(
        st.booleans(),
        st.integers(-(10**19), 10**19),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=150),
    ),
    comment=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
)
def test_values_of_cards_that_astropy_writes(value, comment):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)  # comments may be cut
        image = str(fits.Card("KEYWORD", value, comment))
    cards = [image[at : at + 80] for at in range(0, len(image), 80)]
    block = make_header(*cards)
    found = values(block, ["KEYWORD"])["KEYWORD"]
    if isinstance(value, str) and len(cards) == 1:  # astropy takes '' and a quote in the comment for one string
        assert found == value.rstrip(" ")
    else:
        assert found == astropy_header(block)["KEYWORD"]


def test_keywords_that_are_not_there_are_left_out():
    block = make_header("UTC       no value indicator", "HISTORY = 1", "LAST    =                    1")
    assert values(block, ["ABSENT", "UTC", "LAST"]) == {"LAST": 1}


@pytest.mark.parametrize("field", ["abc", "1 2", "'no end", "TRUE"])
def test_a_value_that_is_none_is_refused(field):
    with pytest.raises(BadInput, match="WRONG"):
        values(make_header(f"WRONG   = {field}"), ["WRONG"])


@pytest.mark.parametrize("n_cards", [0, 28, 30, 600, 3000])
def test_a_header_is_read_to_the_block_of_its_end(tmp_path, n_cards):
    block = make_header(*["COMMENT END", ""] * (n_cards // 2))
    path = tmp_path / "cube.fits"
    path.write_bytes(block + b"END".ljust(80) * 100)
    assert read_header(path) == block
    assert len(split_cards(block)) == 6 + n_cards


@pytest.mark.parametrize("byte", [b"\x00", b"\t", b"\x7f", b"\xe9"])
def test_bytes_that_fits_does_not_allow_are_refused(tmp_path, byte):
    path = tmp_path / "cube.fits"
    path.write_bytes(make_header("OBSERVER= 'B?'").replace(b"?", byte))
    with pytest.raises(BadInput, match="card 7 has the byte"):
        read_header(path)


def test_what_cannot_be_read_may_be_tried_again(tmp_path):
    with pytest.raises(Retry, match=str(tmp_path)):
        read_header(tmp_path)


# The dictionary


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


# Headers of products


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("block", HEADERS)
def test_all_cards_stay_in_order_with_their_comments(block, product, level):
    before = split_cards(block)
    after = split_cards(build_header(block, product, INSTRUMENT, level, RULES)[0])
    assert [card[:8] for card in after[: len(before)]] == [card[:8] for card in before]
    added = [card[:8].decode().strip() for card in after[len(before) :]]
    assert set(added) == OWN - {card[:8].decode().strip() for card in before}
    for old, new in zip(astropy_header(block).cards, astropy_header(b"".join(after)).cards, strict=False):
        assert old.comment.startswith(new.comment)
        assert old.comment == new.comment or len(new.image.rstrip()) >= 78


@pytest.mark.parametrize("block", HEADERS)
def test_consolidated_keeps_every_other_card_byte_for_byte(block, product):
    after = split_cards(build_header(block, product, INSTRUMENT, "consolidated", RULES)[0])
    for old, new in zip(split_cards(block), after, strict=False):
        assert old == new or old[:8].decode().strip() in OWN


def test_own_cards(product):
    found = astropy_header(build_header(make_header(*CARDS), product, INSTRUMENT, "consolidated", RULES)[0])
    assert found["NAXIS3"] == 5
    assert found["DATE-OBS"] == "2026-01-02"
    assert [found[f"UT{s}"] for s in ("-STR", "", "-END")] == [
        "06:00:00.123456",
        "06:00:00.132456",
        "06:00:00.141456",
    ]
    assert [found[f"HST{s}"] for s in ("-STR", "", "-END")] == [
        "20:00:00.123456",
        "20:00:00.132456",
        "20:00:00.141456",
    ]
    assert found["U_FLC"] == "A"
    assert found["U_SYNC"] is False
    assert found["FRAMEID"] == found["EXP-ID"] == ""
    assert found.comments["UT"] == "HH:MM:SS.SS typical UTC at exposure"
    assert found["DATE"] == "2026-01-02T06:00:01"


@pytest.mark.parametrize("first_us", [START_US, 1_767_398_399_999_999, 1_767_312_000_000_000, 1])
def test_mjd_is_exact_to_a_microsecond(product, first_us):
    product = replace(product, first_us=first_us, last_us=first_us + 3)
    found = astropy_header(build_header(make_header(), product, INSTRUMENT, "consolidated", RULES)[0])
    for suffix, time_us in (("-STR", first_us), ("", first_us + 1), ("-END", first_us + 3)):
        time = Time(time_us // 10**6, time_us % 10**6 / 10**6, format="unix", scale="utc")
        assert abs(found[f"MJD{suffix}"] - time.mjd) * 86400e6 <= 1
        assert time.datetime.strftime("%H:%M:%S.%f") == found[f"UT{suffix}"]


def test_time_cards_from_the_start_of_exposures(product):
    rules = HeaderRules(time_cards_from_exposure_start=True)
    found = astropy_header(build_header(make_header(), product, INSTRUMENT, "fixed", rules)[0])
    assert found["UT-STR"] == "06:00:00.121456"
    assert found["UT-END"] == "06:00:00.139456"


def test_siblings_have_the_same_time_cards(product):
    sibling = replace(product, camera=2, flc="B", parts=(Part(product.parts[0].raw, ((1, 2, 4),)),))
    one, two = (
        astropy_header(build_header(make_header(*CARDS), p, INSTRUMENT, "fixed", RULES)[0]) for p in (product, sibling)
    )
    assert {k for k in OWN if one[k] != two[k]} == {"NAXIS3", "U_FLC"}


def test_flc_state_is_untouched_where_it_was_not_switching(product):
    block = make_header(*CARDS)
    after = build_header(block, replace(product, flc=None), INSTRUMENT, "consolidated", RULES)[0]
    assert [c for c in split_cards(after) if c.startswith(b"U_FLC ")] == [CARDS[6].ljust(80).encode()]
    bare = build_header(make_header(), replace(product, flc=None), INSTRUMENT, "consolidated", RULES)[0]
    assert "U_FLC" not in astropy_header(bare)


def test_blank_cards_before_the_end_are_left_out(product):
    """Funpack does not give them back as they were; blank cards between others stay."""
    plain = build_header(make_header(*CARDS, "", "LAST    = 1"), product, INSTRUMENT, "consolidated", RULES)[0]
    padded = build_header(
        make_header(*CARDS, "", "LAST    = 1", *[""] * 40), product, INSTRUMENT, "consolidated", RULES
    )[0]
    assert padded == plain
    assert b"".ljust(80) in split_cards(plain)


def test_checksums_of_the_raw_file_are_dropped(product):
    block = make_header("CHECKSUM= 'abcdefghijklmnop'   / HDU checksum", "DATASUM = '123'", "AFTER   = 1")
    after = build_header(block, product, INSTRUMENT, "consolidated", RULES)[0]
    assert not {"CHECKSUM", "DATASUM"} & set(astropy_header(after))
    assert astropy_header(after)["AFTER"] == 1


def test_a_long_string_that_is_replaced_goes_whole(product):
    block = make_header("UT      = 'as long as &'", "CONTINUE  'this'", "OBJECT  = 'other &'", "CONTINUE  'one'")
    found = astropy_header(build_header(block, product, INSTRUMENT, "consolidated", RULES)[0])
    assert found["UT"] == "06:00:00.132456"
    assert found["OBJECT"] == "other one"


def test_ids(product):
    block = build_header(make_header(*CARDS), product, INSTRUMENT, "identified", RULES)[0]
    cards = [c.decode().rstrip() for c in split_cards(block) if c[:8] in {b"FRAMEID ", b"EXP-ID  "}]
    assert cards == [
        "FRAMEID = 'VMPA00000123'       / Image sequential number",
        "EXP-ID  = 'VMPE00000123'       / ID of the exposure this data was taken",
    ]


def test_identified_differs_from_fixed_in_the_ids_only(product):
    fixed, identified = (
        split_cards(build_header(make_header(*CARDS), product, INSTRUMENT, level, RULES)[0])
        for level in ("fixed", "identified")
    )
    assert {a[:8] for a, b in zip(fixed, identified, strict=True) if a != b} == {b"FRAMEID ", b"EXP-ID  "}


@pytest.mark.parametrize("frame_id", [None, "", "VMPA0000001", "VMPA00000001X"])
def test_without_a_frame_id_there_is_no_identified_header(product, frame_id):
    with pytest.raises(BadInput, match="frame ID"):
        build_header(make_header(), replace(product, frame_id=frame_id), INSTRUMENT, "identified", RULES)


@pytest.mark.parametrize("level", LEVELS)
def test_a_raw_header_with_another_frame_id_is_refused(product, level):
    block = make_header("FRAMEID = 'VMPA00000007'")
    with pytest.raises(BadInput, match="VMPA00000007"):
        build_header(block, product, INSTRUMENT, level, RULES)
    build_header(block, replace(product, frame_id="VMPA00000007"), INSTRUMENT, level, RULES)


@pytest.mark.parametrize("n_cards", range(9, 50))
def test_all_levels_take_the_same_number_of_blocks(product, n_cards):
    block = make_header(*[f"X_T{i:04d} = {i / 7:20.9f} / [deg] filler" for i in range(n_cards)])
    sizes = {len(build_header(block, product, INSTRUMENT, level, RULES)[0]) for level in LEVELS}
    assert sizes == {-(-(6 + n_cards + len(OWN) - 1 + 1) // 36) * 2880}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("block", HEADERS)
def test_headers_are_idempotent(block, product, level):
    once = build_header(block, product, INSTRUMENT, level, RULES)[0]
    assert build_header(once, product, INSTRUMENT, level, RULES)[0] == once


# Formats

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
def test_values_are_printed_in_their_format(tmp_path, product, case):
    form, field, expected, remark = FIXED[case]
    card = f"KEY     = {field}/ comment"
    block, remarks = build_header(make_header(card), product, dictionary(tmp_path, KEY=form), "fixed", RULES)
    assert split_cards(block)[6].decode().rstrip() == (card if expected is None else expected)
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
def test_digits_are_kept_where_the_value_would_change(tmp_path, product, *, keyword, field, expected, remark):
    instrument = dictionary(tmp_path, **{keyword: "%20.8f"})
    card = f"{keyword:8}= {field:>20} / comment"
    block, remarks = build_header(make_header(card), product, instrument, "fixed", RULES)
    assert split_cards(block)[6].decode().rstrip() == f"{keyword:8}= {expected:>20} / comment"
    assert remarks == ({} if remark is None else {f"{remark}: {keyword}": 1})


def test_keywords_that_keep_their_digits_are_a_parameter(tmp_path, product):
    instrument = dictionary(tmp_path, CD1_2="%20.8f", GAIN="%20.3f")
    block = make_header("CD1_2   = -2.2401E-09", "GAIN    = 0.00012")
    remarks = build_header(block, product, instrument, "fixed", HeaderRules(keep_digits=("G*N",)))[1]
    assert remarks == {"non-zero printed as zero: CD1_2": 1, "digits kept: GAIN": 1}


def test_structure_and_commentary_have_no_format(tmp_path, product):
    names = ("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "COMMENT", "HISTORY", "CONTINUE", "HIERARCH", "LONG")
    instrument = dictionary(tmp_path, **dict.fromkeys(names, "%-40s"))
    block = make_header(*TRICKY)
    after, remarks = build_header(block, product, instrument, "fixed", RULES)
    assert remarks == {}
    for old, new in zip(split_cards(block), split_cards(after), strict=False):
        assert old == new or old.startswith(b"NAXIS3")


def test_a_comment_gives_way_to_the_value(tmp_path, product):
    card = f"KEY     = 'abc'                / {'comment ' * 6}"[:80]
    block, remarks = build_header(make_header(card), product, dictionary(tmp_path, KEY="%-50s"), "fixed", RULES)
    assert split_cards(block)[6].decode() == f"KEY     = '{'abc':50}' / comment comment"[:80].ljust(80)
    assert remarks == {}


@pytest.mark.parametrize("block", HEADERS)
def test_values_change_no_more_than_their_formats_ask(block, product):
    formats = read_dictionary("vampires")
    before = astropy_values(block)
    after_block, remarks = build_header(block, product, INSTRUMENT, "fixed", RULES)
    after = astropy_values(after_block)
    for keyword in before.keys() - OWN:
        old, new, form = before[keyword], after[keyword], formats.get(keyword, "")
        if not isinstance(old, float) or f"digits kept: {keyword}" in remarks or not form.endswith("f"):
            assert new == old
        else:
            assert abs(new - old) <= 0.5000001 * 10.0 ** -int(form[:-1].partition(".")[2])
        assert (old == 0) == (new == 0) or f"non-zero printed as zero: {keyword}" in remarks
        assert not math.isnan(new) if isinstance(new, float) else True


def test_remarks_count_each_card_once():
    remarks = Counter()
    cards = split_cards(make_header("CD1_2   = 1E-12", "CD1_2   = 1E-13"))
    for _ in range(2):
        header._fix_cards(cards, header._formats("vampires", RULES.keep_digits), remarks)
    assert remarks == {"digits kept: CD1_2": 4}


def test_another_instrument_names_its_own_cards(product):
    cards = replace(INSTRUMENT.cards, flc_state="X_IFLCAB", synchronised="X_SYNC", frame_id="F-ID", exposure_id="E-ID")
    instrument = Instrument("IRCAMS", (Stream("apapane", 1),), cards=cards)
    block = build_header(make_header("X_IFLCAB= 'NA'"), product, instrument, "identified", RULES)[0]
    found = astropy_header(block)
    assert (found["X_IFLCAB"], found["X_SYNC"], found["F-ID"], found["E-ID"]) == (
        "A",
        False,
        "VMPA00000123",
        "VMPE00000123",
    )
