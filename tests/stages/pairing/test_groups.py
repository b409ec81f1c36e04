"""Groups: cut where the configuration says, and nowhere else."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from stages import synced
from stages.synced import Parameters
from tests.stages.nights import START_US


def test_nothing_cuts_a_solo_file(night):
    t = START_US + np.arange(10) * 5_000_000
    night.add(1, t, EXTTRIG=False, U_FLCEN=False)
    assert [p.n_frames for p in night.run().products] == [10]


@pytest.mark.parametrize(("keyword", "groups"), [("FILTER01", 2), ("FILTER02", 1)])
def test_unpaired_frames_are_cut_by_the_other_camera_too(night, rng, keyword, groups):
    night.block(rng, 600, drop=0.2, U_FLCEN=False)
    for place, raw in enumerate(night.raws):
        if raw.camera == 2 and raw.first_us > START_US + 500_000:
            night.raws[place] = dataclasses.replace(raw, cards={**raw.cards, keyword: "other"})
    alone = [p for p in night.run().products if not p.synchronised]
    assert Counter(p.camera for p in alone) == {1: groups, 2: 2}


def test_unpaired_frames_are_grouped_not_by_file(night, rng):
    night.block(rng, 2000, drop=0.1, cube=10)
    outcome = night.run()
    alone = [p for p in outcome.products if not p.synchronised]
    assert len(alone) == len({(p.camera, p.flc) for p in alone})
    assert {name.split("_")[0] for name in (p.name for p in alone)} == {"vcam1", "vcam2"}


STRUCTURE = {"BITPIX": 16, "BZERO": 0, "BSCALE": 1}


@pytest.mark.parametrize(
    ("keyword", "value", "groups"),
    [
        ("BITPIX", 32, 2),
        ("BZERO", 32768, 2),
        ("BSCALE", 0.5, 2),
        ("BLANK", 0, 2),
        ("NAXIS2", 12, 2),
        ("BZERO", -0.0, 1),
    ],
)
@pytest.mark.parametrize("changed", [(1,), (2,), (1, 2)])
def test_frames_that_cannot_be_in_one_cube_are_in_two_groups(night, rng, keyword, value, groups, changed):
    """Whatever is configured; and in both cameras alike, so that siblings have the same frames."""
    night.block(rng, 600, **STRUCTURE)
    for place, raw in enumerate(night.raws):
        if raw.camera in changed and raw.first_us > START_US + 500_000:
            night.raws[place] = dataclasses.replace(raw, cards={**raw.cards, keyword: value})
    outcome = night.run(Parameters(cut_either=(), cut_own=()))
    assert [p.n_frames for p in outcome.products] == [300 // groups] * 4 * groups
    assert all(p.synchronised for p in outcome.products)


def test_a_night_that_was_registered_without_structure_is_paired_as_it_was(night, rng):
    """Also if a file of it was registered again since."""
    night.block(rng, 600)
    before = night.run()
    assert [p.n_frames for p in before.products] == [300] * 4
    night.raws[-1] = dataclasses.replace(night.raws[-1], cards={**night.raws[-1].cards, **STRUCTURE})
    assert [p.identity for p in night.run().products] == [p.identity for p in before.products]


@pytest.mark.parametrize(
    ("keyword", "value", "groups"),
    [
        ("RET-ANG1", 45.0, 2),
        ("RET-ANG1", 0.004, 1),
        ("RET-ANG1", -0.001, 1),
        ("FILTER01", "750-50", 2),
        ("FILTER01", "Open   ", 1),
        ("OBJECT", "other", 2),
        ("FILTER02", "750-50", 2),
        ("AIRMASS", 1.2, 1),
    ],
)
@pytest.mark.parametrize("changed", [(1,), (2,), (1, 2)])
def test_groups_are_cut_where_cards_change(night, rng, keyword, value, groups, changed):
    night.block(rng, 600)
    for raw in [raw for raw in night.raws if raw.camera in changed]:
        if raw.first_us > START_US + 500_000:
            place = night.raws.index(raw)
            night.raws[place] = dataclasses.replace(raw, cards={**raw.cards, keyword: value})
    outcome = night.run()
    assert [p.n_frames for p in outcome.products] == [300 // groups * 2 // 2] * 4 * groups if groups == 2 else [300] * 4
    assert {p.group for p in outcome.products} == set(range(1, groups + 1))
    differs = keyword == "RET-ANG1" and groups == 2 and len(changed) == 1
    assert outcome.remarks.get("groups whose cameras disagree on RET-ANG1", 0) == differs


def test_groups_are_cut_at_dead_times_and_not_at_shorter_pauses(night, rng):
    night.block(rng, 100)
    night.block(rng, 100, start_us=START_US + 200_000 + 2_900_000, first_trigger=100)
    night.block(rng, 100, start_us=START_US + 400_000 + 2_900_000 + 3_100_000, first_trigger=200)
    outcome = night.run()
    assert [p.n_frames for p in outcome.products] == [100] * 4 + [50] * 4


def test_long_exposures_are_not_dead_time(night):
    t = START_US + np.arange(8) * 4_000_000
    for camera in (1, 2):
        night.add(camera, t, EXPTIME=3.9, U_FLCEN=False)
    outcome = night.run(Parameters(group_s=100.0))
    assert [p.n_frames for p in outcome.products] == [8, 8]


def test_groups_are_cut_at_midnight(night, rng):
    midnight = START_US + 18 * 3600 * 1_000_000
    night.block(rng, 100, start_us=midnight - 100_000)
    outcome = night.run()
    assert {p.group for p in outcome.products} == {1, 2}
    assert {(p.first_us // 86_400_000_000) == (p.last_us // 86_400_000_000) for p in outcome.products} == {True}


def test_groups_are_cut_after_ten_seconds_between_cycles(night, rng):
    night.block(rng, 6001, period_us=4001.0, first_trigger=1)
    outcome = night.run()
    groups = sorted({p.group for p in outcome.products})
    assert len(groups) == 3
    spans = {p.group: (p.last_us - p.first_us) / 1e6 for p in outcome.products}
    assert all(abs(spans[g] - 10) < 0.02 for g in groups[:2])
    for product in outcome.products:
        if product.synchronised and product.flc in "AB":
            partner = next(
                p
                for p in outcome.products
                if p.group == product.group and p.camera == product.camera and p.flc not in (product.flc, "D")
            )
            assert [t ^ 1 for t in night.triggers(product.parts)] == night.triggers(partner.parts)
    assert sum(p.n_frames for p in outcome.products if p.flc == "D") == 2


def with_change(night, rng, keyword):
    """Write a night in which a card changes in the middle, in both cameras."""
    night.block(rng, 600, U_FLCEN=False)
    for place, raw in enumerate(night.raws):
        if raw.first_us > START_US + 500_000:
            night.raws[place] = dataclasses.replace(raw, cards={**raw.cards, keyword: "other"})


def groups_of(night, **keywords):
    job = night.job()
    job = dataclasses.replace(job, instrument=dataclasses.replace(job.instrument, **keywords))
    return len({product.group for product in synced.forward(job=job, params=Parameters()).products})


@pytest.mark.parametrize(
    ("keyword", "rule", "kept", "groups"),
    [
        ("GAIN", (), (), 1),
        ("GAIN", ("GAIN",), (), 2),
        ("GAIN", (), ("GAIN",), 1),
        ("OBJECT", (), ("OBJECT",), 1),
        ("FILTER02", ("FILTER02",), (), 2),
        ("FILTER02", (), ("FILTER02",), 1),
        ("U_DETMOD", (), ("U_DETMOD",), 2),
    ],
)
def test_the_keywords_of_rules_cut_and_those_that_are_kept_do_not(night, rng, keyword, rule, kept, groups):
    with_change(night, rng, keyword)
    assert groups_of(night, rule_keywords=rule, kept_keywords=kept) == groups
