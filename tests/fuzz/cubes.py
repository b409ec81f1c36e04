"""Cubes with anything wrong in them: cards, structure, length, bytes."""

import numpy as np
from hypothesis import strategies as st

from tests.stages.samples import CARDS, make_header, make_pixels, pad

SHAPE = (3, 5, 7)
CARD = 80
PIXELS = pad(make_pixels(SHAPE).tobytes())
GOOD = make_header(*CARDS, shape=SHAPE) + PIXELS

#: Keywords that the ledger or a library reads, writes or stumbles over.
KEYWORDS = (
    *("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "NAXIS4", "EXTEND", "XTENSION", "GROUPS", "END"),
    *("BZERO", "BSCALE", "BLANK", "PCOUNT", "GCOUNT", "CHECKSUM", "DATASUM", "INHERIT", "LONGSTRN", "EXTNAME"),
    *("ZIMAGE", "ZBITPIX", "ZNAXIS", "ZNAXIS1", "ZTILE1", "ZCMPTYPE", "ZSIMPLE", "ZHECKSUM", "TFIELDS", "TTYPE1"),
    *("TFORM1", "THEAP", "FZALGOR", "FZTILE", "QUANTIZ1", "CONTINUE", "HIERARCH", "COMMENT", "HISTORY", ""),
    *("EXPTIME", "EXTTRIG", "U_FLCEN", "U_FLCST", "U_FLC", "U_TRIGJT", "U_DETMOD", "PRD-RNG2", "PRD-MIN1"),
    *("OBJECT", "U_SYNC", "FRAMEID", "EXP-ID", "RET-ANG1", "FILTER01", "DATA-TYP", "DATE-OBS", "UT", "UT-STR"),
    *("MJD", "MJD-STR", "HST", "CD1_2", "CRVAL1", "MJDREF", "nAXIS3", "É", "A B", "EXPTIME=", "-", "12345678"),
)

#: Value fields as they stand from column 11 on.
VALUES = (
    *("0", "1", "-1", "3", "16", "+003", "2147483647", "2147483648", "4294967297", "9223372036854775807"),
    *("9223372036854775808", "-9223372036854775809", "9" * 60, "0" * 69 + "1", "1.", ".5", "-.5E-3", "1.5D-003"),
    *("1E20", "1E308", "-1E308", "1E999", "1E-999", "NaN", "nan", "inf", "-Infinity", "0x10", "1_0", "--1", "1e", "E5"),
    *("T", "F", "TRUE", "T F", "''", "'", "'''", "''''", "'abc", "'abc'", "'NA'", "'1'", "'  '", "'a / b'", "'it''s'"),
    *("'VMPA00000001'", "'16'", "'goes on&'", "'" + "x" * 68, "(1.0, 2.0)", "(1,", "(NaN, 1)", "/", "/ only", "=", ""),
    *(
        "'2026-01-02'",
        "'24:61:61'",
        "'00:00:00'",
        "0.002",
        "2000",
        "-0.0",
        "1E-7",
        "86400.1",
        "31536000",
        "SLOW",
        "'SLOW'",
    ),
)

MEANT = st.sampled_from(VALUES)
FIELDS = (
    MEANT
    | st.integers(-(2**70), 2**70).map(str)
    | st.floats().map(repr)
    | st.text(st.characters(max_codepoint=255), max_size=70)
)
NAMES = st.sampled_from(KEYWORDS) | st.text(st.characters(max_codepoint=255), max_size=9)


class Content(bytes):
    """Bytes of a file, shown in brief."""

    __slots__ = ()

    def __repr__(self):
        """Show the cards that are not as they were, and where the content differs otherwise."""
        usual = {GOOD[at : at + CARD] for at in range(0, len(GOOD), CARD)}
        images = [bytes(self[at : at + CARD]) for at in range(0, len(self), CARD)]
        odd = [(at, image.rstrip()) for at, image in enumerate(images[:200]) if image not in usual and image.strip()]
        return f"{len(self)} bytes, new cards {odd}"[:2000]


def image_of(text):
    """Return a card's 80 bytes."""
    return text.encode("latin-1", "replace").ljust(CARD)[:CARD]


@st.composite
def cards(draw):
    """Draw one card."""
    kind = draw(st.sampled_from("vvvvvvhcrb"))
    if kind == "v":
        comment = draw(st.sampled_from(("", " / comment", "/", " / it's", " / \x00\xff\n")))
        right = draw(st.booleans())
        field = draw(FIELDS)
        return image_of(f"{draw(NAMES):<8}= {field.rjust(20) if right else field}{comment}")
    if kind == "h":
        words = draw(st.sampled_from(("ESO DET GAIN", "EXPTIME", "BITPIX", "A" * 60, "", "x.y", "É")))
        return image_of(f"HIERARCH {words}{draw(st.sampled_from((' = ', '= ', ' ', '=')))}{draw(FIELDS)}")
    if kind == "c":
        return image_of(f"CONTINUE{draw(st.sampled_from(('  ', '= ', '')))}{draw(FIELDS)}")
    if kind == "r":
        return image_of(draw(st.sampled_from(("END", "END     =", " END", "END X", "BEGIN", "SIMPLE  =", "XTENSION="))))
    return draw(st.binary(min_size=CARD, max_size=CARD))


@st.composite
def headers(draw, shape=SHAPE):
    """Draw a header, changed card by card; padded or not."""
    block = make_header(*CARDS, shape=shape)
    images = [block[at : at + CARD] for at in range(0, len(block), CARD)]
    images = images[: images.index(image_of("END")) + 1]
    for _ in range(draw(st.integers(0, 4))):
        change, at = draw(st.sampled_from("vvviidsx")), draw(st.integers(0, max(len(images) - 1, 0)))
        if change == "v" and images:
            comment = draw(st.sampled_from((b"", b" / comment")))
            field = draw(FIELDS).encode("latin-1", "replace").rjust(20)
            images[at] = (images[at][:10] + field + comment).ljust(CARD)[:CARD]
        elif change == "d" and images:
            del images[at]
        elif change == "s" and images:
            images.insert(draw(st.integers(0, len(images) - 1)), images[at])
        elif change == "x":
            images[at:at] = [draw(cards())] * draw(st.sampled_from((1, 2, 40)))
        else:
            images.insert(at, draw(cards()))
    return Content(pad(b"".join(images), draw(st.sampled_from((b" ", b" ", b" ", b"\0")))))


@st.composite
def changed(draw, content):
    """Draw `content` with bytes put over, in, out or at its end."""
    change = draw(st.sampled_from(("nothing", "nothing", "nothing", "cut", "put over", "put in", "append", "other")))
    at = draw(st.integers(0, len(content)))
    few = st.binary(min_size=1, max_size=9)
    if change == "cut":
        return content[: draw(st.sampled_from((at, at, at - at % CARD, at - at % 2880)))]
    if change == "put over":
        new = draw(few)
        return content[:at] + new + content[at + len(new) :]
    if change == "put in":
        return content[:at] + draw(few) + content[at:]
    if change == "append":
        junk = (b"\0", b"\0" * 2880, b"XTENSION= 'IMAGE   '".ljust(2880), b" " * 2881, make_header())
        return content + draw(st.sampled_from(junk))
    return draw(st.binary(max_size=200)) if change == "other" else content


@st.composite
def contents(draw, shape=SHAPE):
    """Draw all bytes of a FITS file."""
    return Content(draw(changed(draw(headers(shape)) + pad(make_pixels(shape).tobytes()))))


#: Stored values by BITPIX, and what BZERO makes of them in the field; a text stands as it is.
SCALES = {
    8: ("u1", ("", "", "-128", "-128", "0", "-128.0", "1.5")),
    16: (">i2", ("", *["32768"] * 9, "3.2768E4", "32768.", "0", "-0.0", "10.5", "1E300", "1E999", "nan", "'0'", "T")),
    32: (">i4", ("", "2147483648", "2147483648", "2147483648.0", "0", "0.1", "9007199254740992")),
}

#: Cards that a writer of cubes, an earlier compression or a table may have left, or that look like some that count.
LEFT = (
    *(
        "PCOUNT",
        "GCOUNT",
        "GROUPS",
        "NAXIS4",
        "NAXIS5",
        "NAXIS03",
        "EXTEND",
        "BLOCKED",
        "XTENSION",
        "EXTNAME",
        "EXTVER",
    ),
    *("ZSIMPLE", "ZTENSION", "ZBITPIX", "ZNAXIS", "ZNAXIS1", "ZNAXIS4", "ZIMAGE", "ZCMPTYPE", "ZTILE1", "ZTILE3"),
    *("ZNAME1", "ZVAL1", "ZNAME9", "ZQUANTIZ", "ZDITHER0", "ZPCOUNT", "ZGCOUNT", "ZEXTEND", "ZBLOCKED", "ZHECKSUM"),
    *(
        "ZDATASUM",
        "ZBLANK",
        "ZSCALE",
        "ZZERO",
        "ZMASKCMP",
        "ZTHEAP",
        "ZFORM1",
        "ZCTYP1",
        "ZTILELEN",
        "TFIELDS",
        "THEAP",
    ),
    *("TTYPE1", "TFORM1", "TUNIT1", "TNULL1", "TSCAL1", "TZERO1", "TDISP1", "TDIM1", "TBCOL1", "TCTYP1", "TCRPX1"),
    *("TDMIN1", "TLMAX1", "CHECKSUM", "DATASUM", "CHECKVER", "INHERIT", "LONGSTRN", "FZALGOR", "FZTILE", "QUANTIZ1"),
    *("BITPIX", "NAXIS", "NAXIS3", "BZERO", "BSCALE", "BLANK", "SIMPLE", "FRAMEID", "EXP-ID", "UT", "MJD", "U_FLC"),
)
LEFT_VALUES = (
    *("0", "1", "16", "3", "T", "F", "0.", "1.", "61275254.", "", "32768", "-32768", "'IMAGE   '", "'BINTABLE'"),
    *("'COMPRESSED_IMAGE'", "'COMPRESSED_DATA'", "'1PB(63)'", "'RICE_1'", "'NO_DITHER'", "'BLOCKSIZE'", "nan", "--"),
    *("'goes on&'", "'it''s'", "(1.0, 2.0)", "'VMPA'", "''", "1E400", "'a / b'"),
)

#: How a card says its keyword.
FORMS = (
    *["{0:<8}= {1:>20}"] * 12,
    *("{0:<8}= {1}", "{0:<8}= {1}", "{0:<8}= {1}", "{0:<8}={1}", "{0}= {1}", "{0} = {1}", "{0:<8}  {1}"),
    *("HIERARCH {0} = {1}", "HIERARCH {0}={1}", "HIERARCH ESO {0} = {1}", "hierarch {0} = {1}"),
)


@st.composite
def left_cards(draw):
    """Draw a card as another program might have left it, with what goes on after it."""
    name = draw(st.sampled_from(LEFT))
    name = name.lower() if draw(st.integers(0, 19)) == 0 else name
    text = draw(st.sampled_from(FORMS)).format(name, draw(st.sampled_from(LEFT_VALUES)))
    images = [image_of(text + draw(st.sampled_from(("", "", " / comment"))))]
    if draw(st.integers(0, 9)) == 0:
        images.append(
            image_of(draw(st.sampled_from(("CONTINUE  'and on'", "CONTINUE= 'x'", "", "COMMENT that", "END X"))))
        )
    return images


@st.composite
def scaled_cubes(draw, shape=SHAPE):
    """Draw the bytes of a cube of any type, whole, whose header has something of other files; most are good."""
    bitpix = draw(st.sampled_from((8, 16, 16, 32)))
    dtype, zeros = SCALES[bitpix]
    block = make_header(*CARDS, shape=shape, bitpix=bitpix)
    images = [block[at : at + CARD] for at in range(0, len(block), CARD)]
    images = images[: images.index(image_of("END"))]
    scaling = []
    if zero := draw(st.sampled_from(zeros)):
        scaling = [
            image_of(f"BZERO   = {zero:>20}"),
            image_of(f"BSCALE  = {draw(st.sampled_from(('1', '1', '1', '1.', '1.0', '0.5', '0', '')))}"),
        ]
    if draw(st.integers(0, 3)) == 0:
        scaling.append(image_of(f"BLANK   = {draw(st.sampled_from(('0', '-1', '255', '-32768', '1.', '2147483648')))}"))
    images[6:6] = scaling
    for card in draw(st.lists(left_cards(), max_size=3)):
        at = draw(st.integers(6, len(images)))
        images[at:at] = card
    images += [image_of(f"FILLER{n}") for n in range(draw(st.sampled_from((0, 0, 0, *range(10, 20)))))]
    images += [image_of("")] * draw(st.sampled_from((0, 0, 0, 1, 2, 36)))
    header = pad(b"".join([*images, image_of("END")]), draw(st.sampled_from((b" ", b" ", b" ", b"\0"))))
    limits = {"u1": (0, 255), ">i2": (-(2**15), 2**15 - 1), ">i4": (-(2**31), 2**31 - 1)}[dtype]
    pixels = np.random.default_rng(0).integers(*limits, shape, endpoint=True).astype(dtype)
    pixels[0, 0, :3] = [*limits, 0]
    return Content(header + pad(pixels.tobytes()))
