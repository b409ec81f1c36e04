"""Raw headers: what is registered is read alike by everybody, and all of it comes back out of the archive."""

import dataclasses

import numpy as np
import pytest

from stages import fixed
from stages.base import BadInput
from stages.fits.cards import read_header, split_cards
from stages.fits.structure import check_header, without_leftovers
from tests.law import INSTRUMENT, check_law, make_night, products_of, register
from tests.stages.samples import CARDS, make_header, pad

SHAPE = (3, 5, 7)
LEFT = (
    *("ZSIMPLE =                    T", "ZTENSION= 'IMAGE   '", "ZBITPIX =                   16", "ZNAXIS  = 3"),
    *(
        "ZNAXIS1 =                  120",
        "ZNAXIS3 =                30000",
        "ZNAXIS4 = 7",
        "ZIMAGE  =                    T",
    ),
    *(
        "ZCMPTYPE= 'RICE_1  '",
        "ZTILE1  =                  120",
        "ZNAME1  = 'BLOCKSIZE'",
        "ZVAL1   =                   32",
    ),
    *("ZQUANTIZ= 'NO_DITHER'", "ZDITHER0=                    1", "ZHECKSUM= '4cD97aB64aB64aB6'", "ZDATASUM= '12345'"),
    *(
        "ZPCOUNT =                    0",
        "ZGCOUNT =                    1",
        "ZEXTEND =                    T",
        "ZBLOCKED= T",
    ),
    *("ZBLANK  =                    0", "ZSCALE  =                   1.", "ZZERO   =                   0."),
    *("XTENSION= 'BINTABLE'", "TFIELDS =                   1.", "TTYPE1  = 'COMPRESSED_DATA'", "TFORM1  = '1PB(63)'"),
    *("TZERO1  =                32768", "TSCAL1  =                    2", "TDIM1   = '(8,8)'", "THEAP   = 1600"),
    *(
        "NAXIS4  =                    1",
        "NAXIS03 = 3",
        "EXTNAME = 'COMPRESSED_IMAGE'",
        "EXTNAME = 'COMPRESSED_IMAGE'   / name",
    ),
)
KEPT = (
    *("PCOUNT  =                    0", "GCOUNT  =                    1", "GROUPS  =                    F"),
    *("BLOCKED =                    T", "EXTEND  =                    T", "INHERIT =                    F"),
    *("EXTNAME = 'PRIMARY '", "LONGSTRN= 'OGIP 1.0'", "FZALGOR = 'GZIP    '", "AIRMASS =                  nan"),
    *(
        "BITPIX  =                   16",
        "NAXIS3  =                    3",
        "CHECKSUM= '4cD97aB64aB64aB6'",
        "DATASUM = '5'",
    ),
    *(
        "FRAMEID = '        '",
        "OBSERVER= 'one &'",
        "HIERARCH ESO DET GAIN = 3.5",
        "COMMENT BITPIX  = 8",
        "ALTITUDE=",
        "",
    ),
)


@pytest.fixture
def night(tmp_path):
    return make_night(tmp_path, SHAPE[0])


def cube_of(*cards, bitpix=16, scaling=(), shape=SHAPE):
    limits = {8: ("u1", 0, 255), 16: (">i2", -(2**15), 2**15 - 1), 32: (">i4", -(2**31), 2**31 - 1)}
    dtype, least, most = limits[bitpix]
    pixels = np.random.default_rng(bitpix).integers(least, most, shape, endpoint=True).astype(dtype)
    pixels[0, 0, :3] = least, most, 0
    return make_header(*scaling, *CARDS, *cards, shape=shape, bitpix=bitpix) + pad(pixels.tobytes())


SCALINGS = {
    "uint8": (8, ()),
    "int8": (8, ("BZERO   =                 -128", "BSCALE  =                    1")),
    "int16": (16, ()),
    "uint16": (16, ("BZERO   =                32768", "BSCALE  =                    1")),
    "uint16 as cfitsio writes it": (16, ("BZERO   =                32768", "BSCALE  =                   1.")),
    "uint16, another number alike": (16, ("BZERO   =             3.2768E4",)),
    "int32": (32, ()),
    "uint32": (32, ("BZERO   =           2147483648", "BSCALE  =                    1")),
    "scaled": (16, ("BZERO   =                 10.5", "BSCALE  =                  0.5")),
    "twice the same": (16, ("BZERO   =                32768", "BZERO   =               32768.")),
    "uint8 with BLANK": (8, ("BLANK   =                  255",)),
    "int16 with BLANK": (16, ("BLANK   =               -32768",)),
    "uint16 with BLANK": (16, ("BZERO   =                32768", "BLANK   =                32767")),
    "int32 with BLANK": (32, ("BLANK   =          -2147483648",)),
}


@pytest.mark.parametrize("scaling", SCALINGS)
def test_pixels_mean_the_same_in_the_archive(night, scaling):
    bitpix, cards = SCALINGS[scaling]
    check_law(night, register(night, cube_of(bitpix=bitpix, scaling=cards)))


@pytest.mark.parametrize("card", KEPT)
def test_cards_come_back(night, card):
    check_law(night, register(night, cube_of(card)))


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("card", LEFT)
def test_what_an_earlier_compression_left_is_left_out(night, card, goes_on):
    cards = (card, "CONTINUE  'and on'") if goes_on else (card,)
    facts = register(night, cube_of("BEFORE  = 1", *cards, "AFTER   = 'x'"))
    check_law(night, facts)
    kept, left_out = without_leftovers(split_cards(read_header(night / "vcam1/cube.fits")), INSTRUMENT)
    assert left_out == [card[:8].rstrip()]
    assert [image[:8] for image in kept][-2:] == [b"BEFORE  ", b"AFTER   "]


def test_a_header_full_of_leftovers(night):
    check_law(night, register(night, cube_of(*LEFT, *KEPT)))


@pytest.mark.parametrize("n_cards", range(15, 22))
def test_headers_around_the_edge_of_a_block(night, n_cards):
    filler = tuple(f"FILLER{n}" for n in range(n_cards))
    check_law(night, register(night, cube_of(*filler, "ZSIMPLE = T", "", "")))


REFUSED = {
    "PCOUNT of a table": (("PCOUNT  =            61275254.",), "expected 0: some readers find other pixels"),
    "PCOUNT": (("PCOUNT  =                    5",), "expected 0"),
    "PCOUNT that is no whole number": (("PCOUNT  =                   0.",), "expected 0"),
    "GCOUNT": (("GCOUNT  =                    2",), "expected 1"),
    "GROUPS": (("GROUPS  =                    T",), "expected F"),
    "a fourth axis": (("NAXIS4  =                    2",), "expected 1"),
    "two BITPIX": (("BITPIX  =                    8",), "a card before it says 16"),
    "two NAXIS3": (("NAXIS3  =                    4",), "a card before it says 3"),
    "two BZERO": (("BZERO   =                32768", "BZERO   =                    0"), "a card before it says 32768"),
    "BZERO that is text": (("BZERO   = '32768'",), "finite number"),
    "BZERO that is logical": (("BZERO   =                    T",), "finite number"),
    "BZERO without value": (("BZERO   =",), "finite number"),
    **{
        f"BZERO {text}": ((f"BZERO   = {text}",), "finite number")
        for text in ("nan", "-nan", "inf", "NAN.0", "1E400", "--")
    },
    "BZERO without sign of a value": (("BZERO   =32768",), "expected '= ' in columns 9 and 10"),
    "BZERO as commentary": (("BZERO     32768",), "expected '= ' in columns 9 and 10"),
    "BZERO with its sign too early": (("BZERO = 32768",), "funpack would not give it back"),
    "BZERO in small letters": (("bzero   = 32768",), "funpack would not give it back"),
    "BZERO by another convention": (("HIERARCH BZERO = 32768",), "some readers take it for BZERO"),
    "a column by another convention": (("HIERARCH TTYPE1 = 'x'",), "some readers take it for TTYPE1"),
    "a name by another convention": (("HIERARCH EXTNAME = 'x'",), "some readers take it for EXTNAME"),
    "BSCALE of zero": (("BSCALE  =                    0",), "another number than 0"),
    "BLANK that is no whole number": (("BLANK   =                   1.",), "whole number"),
    "BLANK beyond what is stored": (("BLANK   =                32768",), "from -32768 to 32767"),
    "a structural card that goes on": (("BZERO   = 0", "CONTINUE  '5'"), "goes on in a CONTINUE card"),
    "a renamed card that goes on": (("BLOCKED = T", "CONTINUE  '5'"), "goes on in a CONTINUE card"),
    "an own card as commentary": (("FRAMEID   VMPA",), "expected '= ' in columns 9 and 10"),
    "an own card by another convention": (("HIERARCH FRAMEID = ''",), "some readers take it for FRAMEID"),
    "a column's coordinates": (("TCRPX1  = 5.0",), "astropy leaves it out"),
    "EXTEND that is no value": (("EXTEND  = --",), "astropy would not open the file"),
    "small letters": (("HIERARCH eso = 5",), "capitals"),
    "a keyword with a blank": (("KEY A   = 1",), "A-Z"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_readers_take_in_two_ways_is_refused(night, what):
    cards, reason = REFUSED[what]
    with pytest.raises(BadInput, match=reason) as caught:
        register(night, cube_of(*cards))
    assert str(night / "vcam1/cube.fits") in str(caught.value)


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        (("BZERO   = -128.0",), "-128, a whole number"),
        (("BZERO   = -128", "BLANK   = 5"), "signed bytes some of which"),
    ],
)
def test_signed_bytes_that_astropy_cannot_read_are_refused(night, cards, reason):
    with pytest.raises(BadInput, match=reason):
        register(night, cube_of(*cards, bitpix=8))


@pytest.mark.parametrize("order", [(0, 2, 1, 3, 4, 5), (0, 1, 2, 4, 3, 5), (0, 1, 2, 3, 4)])
def test_mandatory_cards_are_the_first_ones(order):
    cards = split_cards(make_header(*CARDS))
    with pytest.raises(BadInput, match="its first cards are"):
        check_header([*(cards[n] for n in order), *cards[6:]], INSTRUMENT, ())


def test_the_instruments_own_keywords_are_no_leftovers():
    cards = split_cards(make_header(*CARDS, "ZVAL1   = 5"))
    mine = dataclasses.replace(INSTRUMENT, rule_keywords=("ZVAL1",))
    assert without_leftovers(cards, mine) == (cards, [])
    with pytest.raises(BadInput, match=r"ZVAL1.*funpack would not give it back"):
        check_header(cards, mine, ())
    check_header(cards, INSTRUMENT, ())


def test_what_is_left_out_is_told(night):

    facts = register(night, cube_of("ZSIMPLE = T", "ZSIMPLE = T", "TTYPE1  = 'x'"))
    (job,) = products_of(night, facts)
    header_only = dataclasses.replace(job, products=(dataclasses.replace(job.product, files=("gone.fits",)),))
    remarks = fixed.forward(job=header_only, params=fixed.Parameters()).remarks
    assert {text: n for text, n in remarks.items() if "digits kept" not in text} == {
        "left out, as it is of another file's table: ZSIMPLE": 2,
        "left out, as it is of another file's table: TTYPE1": 1,
    }


def test_a_header_that_ends_in_nul_is_told(night):

    content = cube_of(shape=(3, 24, 20))
    end = content.index(b"END" + b" " * 77) + 80
    facts = register(night, content[:end] + bytes(2880 - end) + content[2880:])
    (job,) = products_of(night, facts)
    header_only = dataclasses.replace(job, products=(dataclasses.replace(job.product, files=("gone.fits",)),))
    remarks = fixed.forward(job=header_only, params=fixed.Parameters()).remarks
    assert {text: n for text, n in remarks.items() if "digits kept" not in text} == {
        "raw headers that end in NUL, expected blanks": 1
    }
    check_law(night, facts)
