"""Exposures: what is paired, what is unpaired, and which files are solo."""

import dataclasses

import numpy as np
import pytest

from stages import synced
from stages.base import BadInput
from stages.synced import Parameters
from tests.stages.nights import START_US, names


def test_solo_files_are_one_product_each(night, rng):
    t = START_US + np.arange(250) * 2000
    night.add(1, t, cube=100, EXTTRIG=False, U_FLCEN=False)
    night.add(2, t + 37, cube=100, EXTTRIG=False, U_FLCEN=False)
    outcome = night.run()
    assert [p.n_frames for p in outcome.products] == [100, 100, 100, 100, 50, 50]
    assert names(outcome)[:2] == ["vcam1_06:00:00.000000", "vcam2_06:00:00.000037"]
    assert not any(p.synchronised or p.flc for p in outcome.products)
    assert outcome.remarks == {"solo frames cam1": 250, "solo frames cam2": 250}


def test_a_triggered_file_is_solo_where_the_other_camera_has_nothing(night, rng):
    night.block(rng, 600, cube=100, cameras=(1,))
    night.block(rng, 300, start_us=START_US + 60_000_000, cube=100)
    outcome = night.run()
    alone = [p for p in outcome.products if not p.synchronised]
    assert len(alone) == 6 * 2
    assert {p.flc for p in alone} == {"A", "B"}
    assert outcome.remarks == {"paired frames": 600, "solo frames cam1": 600}


def test_a_triggered_file_is_solo_after_the_other_camera_stopped(night, rng):
    night.block(rng, 300, cube=100)
    night.block(rng, 200, start_us=START_US + 700_000, cube=100, cameras=(1,))
    assert night.run().remarks == {"paired frames": 600, "solo frames cam1": 200}


def test_a_triggered_file_without_pairs_is_not_solo_while_the_other_camera_ran(night):
    t = START_US + np.arange(300) * 2000
    night.add(1, t, cube=100, U_FLCEN=False)
    night.add(2, np.delete(t, slice(100, 200)), cube=100, U_FLCEN=False)
    assert night.run().remarks == {"paired frames": 400, "unpaired frames cam1": 100}


def test_a_triggered_file_is_solo_during_a_dead_time_of_the_other_camera(night):
    t = START_US + np.arange(100) * 2000
    night.add(1, t + 3_000_000, U_FLCEN=False)
    night.add(2, np.concatenate([t, t + 6_000_000]), U_FLCEN=False)
    assert night.run().remarks == {"solo frames cam1": 100, "unpaired frames cam2": 200}
    assert night.run(Parameters(dead_time_s=10.0)).remarks == {"unpaired frames cam1": 100, "unpaired frames cam2": 200}


def test_cubes_of_one_short_exposure_are_paired(night):
    night.add(1, [START_US], EXPTIME=0.00001, U_FLCEN=False)
    night.add(2, [START_US + 300], EXPTIME=0.00001, U_FLCEN=False)
    assert night.run().remarks == {"paired frames": 2}


def test_a_file_with_a_pair_is_not_solo(night):
    t = START_US + np.arange(100) * 2000
    night.add(1, t, EXPTIME=0.00001, U_FLCEN=False)
    night.add(2, t[-1:] + 300, EXPTIME=0.00001, U_FLCEN=False)
    assert night.run().remarks == {"paired frames": 2, "unpaired frames cam1": 99}


def test_the_tolerance_is_that_of_rows_and_mode(night):
    rng = np.random.default_rng(3)
    for mode, rows in (("FAST", 536), ("SLOW", 536), ("FAST", 100)):
        night.raws, night.truth = [], {}
        base_us = START_US + np.arange(200) * 50_000
        late = np.where(rng.permutation(200) < 20, 700, 0)
        night.add(1, base_us, U_FLCEN=False, U_DETMOD=mode, **{"PRD-RNG2": rows})
        night.add(2, base_us + late, U_FLCEN=False, **{"PRD-RNG2": 536, "U_DETMOD": "SLOW"})
        paired = night.run(Parameters(group_s=100.0)).remarks["paired frames"]
        assert paired == (400 if mode == "SLOW" else 360)


def without(raw, *keywords):
    return dataclasses.replace(raw, cards={k: v for k, v in raw.cards.items() if k not in keywords})


@pytest.mark.parametrize("rows", [None, True, "NA"])
def test_rows_of_the_frames_stand_for_rows_read_that_a_header_does_not_tell(night, rows):
    base_us = START_US + np.arange(200) * 50_000
    late = np.where(np.arange(200) % 10 == 0, 300, 0)
    night.add(1, base_us, U_FLCEN=False, **{"PRD-RNG2": rows, "NAXIS2": 536})
    night.add(2, base_us + late, U_FLCEN=False)
    for n_rows, paired in ((536, 400), (100, 360)):
        night.raws = [dataclasses.replace(raw, cards={**raw.cards, "NAXIS2": n_rows}) for raw in night.raws]
        assert night.run(Parameters(group_s=100.0)).remarks["paired frames"] == paired
    night.raws[0] = without(night.raws[0], "PRD-RNG2")
    assert night.run(Parameters(group_s=100.0)).remarks["paired frames"] == 360


def test_a_raw_file_that_tells_no_rows_at_all_is_named(night, rng):
    night.block(rng, 100)
    night.raws[0] = without(night.raws[0], "PRD-RNG2", "NAXIS2")
    with pytest.raises(BadInput, match=r"vcam1_0000\.fits: .*PRD-RNG2 and NAXIS2"):
        synced.forward(job=night.job(), params=Parameters())


def test_products_say_whether_their_camera_was_on_its_own(night, rng):
    night.block(rng, 300, drop=0.1, cube=100)
    night.block(rng, 200, start_us=START_US + 60_000_000, cube=100, cameras=(1,))
    outcome = night.run()
    frames = dict.fromkeys(("paired", "unpaired", "solo"), 0)
    for product in outcome.products:
        frames["paired" if product.synchronised else "solo" if product.solo else "unpaired"] += product.n_frames
        assert not (product.synchronised and product.solo)
    told = outcome.remarks
    assert frames["paired"] == told["paired frames"]
    assert frames["solo"] == told["solo frames cam1"] > 0
    assert frames["unpaired"] == told["unpaired frames cam1"] + told["unpaired frames cam2"] > 0
