"""Trains: every frame of the raw files, once, in order of time."""

import dataclasses

import pytest

from stages import synced
from stages.base import BadInput
from stages.synced import Parameters
from stages.timing import format_timing, read_timing


def test_rows_and_frames_must_agree(night, rng):
    night.block(rng, 100)
    night.raws[0] = dataclasses.replace(night.raws[0], n_frames=99)
    with pytest.raises(BadInput, match=r"vcam1_0000\.txt: it has 100 rows.*99 frames"):
        synced.forward(job=night.job(), params=Parameters())


def test_raw_files_that_overlap_in_time_lose_nothing(night, rng):
    night.block(rng, 200, cube=100)
    t = read_timing(night.raws[0].timing).acquired_us
    night.add(1, t[50:90] + 700, cube=40)
    night.run()


def test_old_timing_files_are_remarked(night, rng):
    night.block(rng, 100)
    timing = read_timing(night.raws[0].timing)
    night.raws[0].timing.write_bytes(format_timing(dataclasses.replace(timing, has_acquisition=False)))
    assert night.run().remarks["raw files without acquisition times"] == 1
