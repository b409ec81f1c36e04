"""Headers for the tests: small ones, tricky ones, real ones; and what astropy says of them."""

import pytest
from astropy.io import fits

from tests.others import odd_headers
from tests.stages.samples import CARDS, make_header
from tests.tools import SHARED

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
    """Headers of other instruments, as text with newlines, made blocks; some are those of compressed files.

    Look-alikes, and real ones where they are beside the checkout.
    """
    texts = {f"odd {name}": text for name, text in odd_headers().items()}
    texts |= {path.name[:17]: path.read_text("ascii") for path in sorted(SHARED.glob("telemetry/*/*/*.header"))}
    for name, text in texts.items():
        lines = text.splitlines()
        cards = [line.ljust(80) for line in lines if line.strip() and not line.startswith(("CHECKSUM", "DATASUM"))]
        block = "".join((*cards, "END".ljust(80))).replace("ZSIMPLE =", "SIMPLE  =").encode()
        yield pytest.param(block.ljust(-(-len(block) // 2880) * 2880), id=name)


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
