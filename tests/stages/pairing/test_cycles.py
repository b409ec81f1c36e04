"""Cycles: which exposures have a state, and which are part of a whole cycle."""

import dataclasses

from stages.synced import Parameters
from tests.stages.nights import START_US, names


def test_without_enforced_pairs_only_what_is_unclear_is_dubious(night, rng):
    night.block(rng, 1000, drop=0.2)
    outcome = night.run(Parameters(enforce_pairs=False))
    assert {p.flc for p in outcome.products} == {"A", "B"}


def test_the_polarity_swaps_the_labels(night, rng):
    night.block(rng, 100)
    labels = {}
    for polarity in ("short_first", "long_first"):
        outcome = night.run(Parameters(polarity=polarity, enforce_pairs=False))
        labels[polarity] = {p.flc: night.triggers(p.parts) for p in outcome.products}
    assert labels["short_first"]["A"] == labels["long_first"]["B"] == list(range(0, 100, 2))


def test_a_cycle_across_a_cut_is_not_whole(night, rng):
    night.block(rng, 602, cube=301)
    for place in (1, 3):
        raw = night.raws[place]
        night.raws[place] = dataclasses.replace(raw, cards={**raw.cards, "OBJECT": "other"})
    dubious = [p for p in night.run().products if p.flc == "D"]
    assert sorted(t for p in dubious for t in night.triggers(p.parts)) == [300, 300, 301, 301]


def test_a_flc_that_stands_still_or_is_out_gives_no_state(night, rng):
    for place, cards in enumerate(({"U_FLCEN": False}, {"U_FLCST": "OUT"}, {"U_FLC": "A"})):
        night.block(rng, 100, start_us=START_US + place * 20_000_000, **cards)
    outcome = night.run()
    assert {p.flc for p in outcome.products} == {None}
    assert all(name.endswith((".cam1", ".cam2")) for name in names(outcome))


def test_without_alternation_everything_is_dubious(night, rng):
    night.block(rng, 2000, dither_us=0)
    assert {p.flc for p in night.run(Parameters(enforce_pairs=False)).products} == {"D"}
