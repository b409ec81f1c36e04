"""Headers for the tests: small ones, tricky ones, real ones; and what astropy says of them."""

from pathlib import Path

import pytest
from astropy.io import fits

from tests.stages.samples import CARDS, make_header

SHARED = Path(__file__).parents[2].parent / "shared"

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
