"""An instrument without an FLC, or with one that is always in the beam: cards that are None are read nowhere."""

import dataclasses

from stages import synced
from stages.fits.header import own_keywords
from stages.fits.meaning import missing_cards, understood, unknown_forms
from stages.instrument import Cards
from stages.synced import Parameters
from tests.stages.nights import CARDS, INSTRUMENT

NONE = Cards(flc_enabled=None, flc_stage=None, flc_state=None, dither_us=None)


def states(night, cards):
    job = night.job()
    job = dataclasses.replace(job, instrument=dataclasses.replace(job.instrument, cards=cards))
    return {product.flc for product in synced.forward(job=job, params=Parameters()).products}


def test_without_an_flc_no_frame_has_a_state(night, rng):
    night.block(rng, 600)
    assert states(night, Cards()) == {"A", "B"}
    assert states(night, NONE) == {None}


def test_without_a_stage_it_is_in_the_beam(night, rng):
    night.block(rng, 600, U_FLCST="OUT")
    assert states(night, Cards()) == {None}
    assert states(night, Cards(flc_stage=None)) == {"A", "B"}


def test_cards_that_are_not_there_are_not_missed(tmp_path):
    instrument = dataclasses.replace(INSTRUMENT, cards=NONE)
    odd = {**CARDS, "U_FLCEN": "perhaps", "U_FLCST": 1, "U_TRIGJT": "wide"}
    assert understood(odd, instrument, tmp_path / "cube.fits") == odd
    bare = {keyword: value for keyword, value in CARDS.items() if not keyword.startswith(("U_FLC", "U_TRIGJT"))}
    assert missing_cards(bare, NONE) == ()
    assert unknown_forms(odd, NONE, instrument.forms) == {}
    assert None not in own_keywords(instrument)
    assert None not in instrument.keywords_kept()
