"""Cards: headers are read whole, values as astropy reads them."""

import warnings

import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.base import BadInput, Retry
from stages.fits.cards import read_header, split_cards, values
from tests.stages.sample_headers import HEADERS, astropy_header, astropy_values
from tests.stages.samples import make_header


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


@pytest.mark.parametrize("card", ["END     = 5", "END X", "END/", "END(1)"])
def test_a_card_that_readers_take_for_end_is_refused(tmp_path, card):
    path = tmp_path / "cube.fits"
    path.write_bytes(make_header("ENDED   = 1", "END-TIME= 1", "UT-END  = 1", card))
    with pytest.raises(BadInput, match=r"card 10 is b'END.*and card 11 is END; expected one"):
        read_header(path, is_new=True)


@pytest.mark.parametrize("byte", [b"\x00", b"\t", b"\x7f", b"\xe9"])
def test_bytes_that_fits_does_not_allow_are_refused(tmp_path, byte):
    path = tmp_path / "cube.fits"
    path.write_bytes(make_header("OBSERVER= 'B?'").replace(b"?", byte))
    with pytest.raises(BadInput, match="card 7 has the byte"):
        read_header(path)


def test_what_cannot_be_read_may_be_tried_again(tmp_path):
    with pytest.raises(Retry, match=str(tmp_path)):
        read_header(tmp_path / "gone.fits")
    with pytest.raises(BadInput, match=f"{tmp_path}: not a file"):
        read_header(tmp_path)


def test_bytes_that_are_no_text_are_told():
    header = make_header("WRONG   = 1").replace(b"WRONG   = 1", b"WRONG   = \xff")
    with pytest.raises(BadInput, match=r"\\xff"):
        values(header, ["WRONG"])
