"""Trains: every frame of the raw files, once, in order of time."""

import dataclasses

import numpy as np
import pytest

from stages import synced
from stages.base import BadInput
from stages.fits.timing import format_timing, read_timing
from stages.pairing.trains import read_train
from stages.synced import Parameters
from tests.stages.nights import START_US


def test_rows_and_frames_must_agree(night, rng):
    night.block(rng, 100)
    night.raws[0] = dataclasses.replace(night.raws[0], n_frames=99)
    with pytest.raises(BadInput, match=r"vcam1_0000\.txt: it has 100 rows.*99 frames"):
        synced.forward(job=night.job(), params=Parameters())


def test_of_a_salvaged_file_only_the_used_frames_count(night):
    night.add(1, START_US + np.array([10, 20, 30, 40, 50]))
    raw = dataclasses.replace(night.raws[0], n_frames=3, lost_frames=2)
    content = raw.timing.read_bytes()
    for cut in (0, 1, 30):  # five rows, or four and one that is cut
        raw.timing.write_bytes(content[: len(content) - cut])
        train = read_train([raw])
        assert (train.time_us - START_US).tolist() == [10, 20, 30]
        assert train.frame.tolist() == [0, 1, 2]
    raw.timing.write_bytes(b"".join(content.splitlines(keepends=True)[:3]))
    with pytest.raises(BadInput, match="it has 2 rows"):
        read_train([raw])


def test_raw_files_that_overlap_in_time_lose_nothing(night, rng):
    night.block(rng, 200, cube=100)
    t = read_timing(night.raws[0].timing).acquired_us
    night.add(1, t[50:90] + 700, cube=40)
    night.run()


def test_frames_of_files_that_overlap_are_merged_in_order_of_time(night):
    night.add(1, START_US + np.array([30, 50, 70]))
    night.add(1, START_US + np.array([10, 50, 60]))
    train = read_train(night.raws)
    assert (train.time_us - START_US).tolist() == [10, 30, 50, 50, 60, 70]
    assert [train.raws[place] for place in train.raw] == [night.raws[n] for n in (1, 0, 1, 0, 1, 0)]
    assert train.frame.tolist() == [0, 0, 1, 1, 2, 2]


def test_old_timing_files_are_remarked(night, rng):
    night.block(rng, 100)
    timing = read_timing(night.raws[0].timing)
    night.raws[0].timing.write_bytes(format_timing(dataclasses.replace(timing, has_acquisition=False)))
    assert night.run().remarks["raw files without acquisition times"] == 1


def test_a_file_that_was_registered_as_of_1970_stays_so(night):
    night.add(1, START_US + np.array([10, 20, 30]))
    (raw,) = night.raws
    rows = read_timing(raw.timing)
    raw.timing.write_bytes(format_timing(dataclasses.replace(rows, acquired_us=rows.acquired_us * 0)))
    assert (read_train([raw]).time_us - START_US).tolist() == [10, 20, 30]
    assert read_train([raw]).without_acquisition == {raw.identity}
    of_1970 = dataclasses.replace(raw, first_us=0, last_us=0)
    assert read_train([of_1970]).time_us.tolist() == [0, 0, 0]
    assert not read_train([of_1970]).without_acquisition


def test_logging_times_are_in_no_product_with_acquisition_times(night, rng):
    night.block(rng, 900)
    middle = next(raw for raw in night.raws[1:] if raw.camera == 1)
    rows = read_timing(middle.timing)
    late = dataclasses.replace(rows, acquired_us=rows.acquired_us * 0, logged_ns=rows.logged_ns + 320_000)
    middle.timing.write_bytes(format_timing(late))
    night.raws = [dataclasses.replace(raw, cards={**raw.cards, "BITPIX": 16}) for raw in night.raws]
    products = night.run().products
    assert len({product.group for product in products if product.synchronised}) == 3
    for product in products:
        assert len({part.raw.identity == middle.identity for part in product.parts}) == 1
