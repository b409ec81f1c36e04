"""Headers of products: what is their own, what stays, and how much of it each level shows."""

from dataclasses import replace

import pytest
from astropy.time import Time

from stages.base import BadInput
from stages.fits.cards import split_cards, values
from stages.fits.header import START_CARDS, HeaderRules, build_header, exposure_id_of, first_exposure_us
from stages.fits.structure import without_leftovers
from stages.instrument import Instrument, Stream
from stages.product import Part
from tests.stages.sample_headers import HEADERS, astropy_header
from tests.stages.samples import CARDS, INSTRUMENT, START_US, make_header, make_product, make_raw

LEVELS = ("consolidated", "fixed", "identified")
RULES = HeaderRules()
OWN = {"NAXIS3", "U_SYNC", "U_FLC", "FRAMEID", "EXP-ID", "DATE-OBS"} | {
    f"{word}{end}" for word in ("UT", "HST", "MJD") for end in ("", "-STR", "-END")
}


@pytest.fixture
def product(tmp_path):
    raw = make_raw(tmp_path)
    return make_product(Part(raw, ((0, 2, 5),)), frame_id="VMPA00000123")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("block", HEADERS)
def test_all_cards_stay_in_order_with_their_comments(block, product, level):
    before, _ = without_leftovers(split_cards(block), INSTRUMENT)
    after = split_cards(build_header(block, product, INSTRUMENT, level, RULES)[0])
    assert [card[:8] for card in after[: len(before)]] == [card[:8] for card in before]
    added = [card[:8].decode().strip() for card in after[len(before) :]]
    assert set(added) == OWN - {card[:8].decode().strip() for card in before}
    for old, new in zip(astropy_header(b"".join(before)).cards, astropy_header(b"".join(after)).cards, strict=False):
        assert old.comment.startswith(new.comment)
        assert old.comment == new.comment or len(new.image.rstrip()) >= 78


@pytest.mark.parametrize("block", HEADERS)
def test_consolidated_keeps_every_other_card_byte_for_byte(block, product):
    after = split_cards(build_header(block, product, INSTRUMENT, "consolidated", RULES)[0])
    before, _ = without_leftovers(split_cards(block), INSTRUMENT)
    for old, new in zip(before, after, strict=False):
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


@pytest.mark.parametrize("level", LEVELS)
def test_own_cards_are_right_in_all_of_their_copies(product, level):
    twice = (
        "FRAMEID = 'one     '",
        "UT      = 'x&'",
        "CONTINUE  'goes on'",
        "NAXIS3  = 3",
        "U_FLC   = 'B'",
        "EXP-ID  =",
    )
    header, _ = build_header(make_header(*CARDS, *twice, *twice), product, INSTRUMENT, level, RULES)
    found = {}
    for card in split_cards(header):
        found.setdefault(card[:8].decode().strip(), []).append(
            values(card + b"END".ljust(2880), [card[:8].decode().strip()])
        )
    frame_id, exposure_id = ("VMPA00000123", "VMPE00000123") if level == "identified" else ("", "")
    expected = {"FRAMEID": frame_id, "EXP-ID": exposure_id, "NAXIS3": 5, "U_FLC": "A", "UT": "06:00:00.132456"}
    assert {keyword: found[keyword] for keyword in expected} == {
        keyword: [{keyword: value}] * 3 for keyword, value in expected.items()
    }
    assert "CONTINUE" not in found


@pytest.mark.parametrize(
    ("bitpix", "zero", "printed"),
    [
        (8, "-128", "-128"),
        (16, "32768", "32768.00000000"),
        (32, "2147483648", "2147483648.00000000"),
        (16, "0.1", "0.10000000"),
    ],
)
def test_signed_bytes_keep_the_digits_of_their_zero(product, bitpix, zero, printed):
    block = make_header(f"BZERO   = {zero:>20} / zero", *CARDS, bitpix=bitpix)
    card = split_cards(build_header(block, product, INSTRUMENT, "fixed", RULES)[0])[6]
    assert card.rstrip() == f"BZERO   = {printed:>20} / zero".encode()


def test_structure_is_printed_by_no_dictionary(tmp_path, product):
    path = tmp_path / "dictionary.tsv"
    keywords = ("BLANK", "PCOUNT", "GCOUNT", "EXTEND", "BITPIX", "NAXIS1")
    path.write_text("keyword\tformat\n" + "".join(f"{keyword}\t%20.8f\n" for keyword in keywords))
    cards = ("BLANK   = 5", "PCOUNT  = 0", "GCOUNT  = 1", "EXTEND  = T")
    made, remarks = build_header(
        make_header(*cards, *CARDS), product, replace(INSTRUMENT, dictionary=str(path)), "fixed", RULES
    )
    assert [card.rstrip().decode() for card in split_cards(made)[6:10]] == list(cards)
    assert remarks == {}


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


def test_keywords_that_keep_their_digits_are_a_parameter(tmp_path, product):
    path = tmp_path / "dictionary.tsv"
    path.write_text("keyword\tformat\nCD1_2\t%20.8f\nGAIN\t%20.3f\n")
    instrument = replace(INSTRUMENT, dictionary=str(path))
    block = make_header("CD1_2   = -2.2401E-09", "GAIN    = 0.00012")
    remarks = build_header(block, product, instrument, "fixed", HeaderRules(keep_digits=("G*N",)))[1]
    assert remarks == {"non-zero printed as zero: CD1_2": 1, "digits kept: GAIN": 1}


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


@pytest.mark.parametrize("from_exposure_start", [False, True])
@pytest.mark.parametrize("exposure_us", [0, 1, 1_234, 86_400_000_000])
def test_a_header_tells_when_its_first_exposure_began(product, from_exposure_start, exposure_us):
    product = replace(product, exposure_us=exposure_us)
    rules = HeaderRules(time_cards_from_exposure_start=from_exposure_start)
    header, _ = build_header(make_header(*CARDS), product, INSTRUMENT, "fixed", rules)
    cards = {**values(header, START_CARDS), "EXPTIME": exposure_us / 1e6}
    assert first_exposure_us(cards, "EXPTIME", from_exposure_start=from_exposure_start) == product.start_us


@pytest.mark.parametrize(
    "wrong",
    [{"DATE-OBS": None}, {"UT-STR": "25:00:00.0"}, {"UT-STR": 6.0}, {"EXPTIME": "long"}, {"EXPTIME": float("nan")}],
)
def test_a_header_that_does_not_tell_its_time_is_refused(wrong):
    cards = {"DATE-OBS": "2026-01-02", "UT-STR": "06:00:00.123456", "EXPTIME": 0.5}
    assert first_exposure_us(cards, "EXPTIME", from_exposure_start=False) == START_US - 500_000
    with pytest.raises(BadInput, match="time cards are"):
        first_exposure_us(cards | wrong, "EXPTIME", from_exposure_start=False)


def test_an_exposure_id_is_the_frame_id_with_another_letter():
    assert exposure_id_of("VMPA00000123") == "VMPE00000123"
