"""Pairing against trains of triggers of known truth."""

import numpy as np
import pytest

from stages.pairing import pair_frames, starts_of_stretches, window_quantiles

TOLERANCE_US = 0.868 * 536
START_US = 1_767_333_600_000_000


def train(rng, n, *, period_us=2000.0, offset_us=110.0, drop=0.0, noise_us=7.0, dither_us=80.0, start_us=START_US):
    """Times and triggers of two cameras on one train whose period walks."""
    k = np.arange(n)
    base_us = start_us + np.cumsum(period_us + rng.normal(0, 4, n)) + np.where(k % 2, -1, 1) * dither_us / 2
    offsets_us = np.zeros(n), np.broadcast_to(offset_us, n)
    cameras = []
    for offset in offsets_us:
        kept = rng.random(n) >= drop
        t = np.rint(base_us + offset + rng.normal(0, noise_us, n)).astype(np.int64)
        cameras.append((t[kept], k[kept]))
    return cameras


def pair(first, second, tolerance_us=TOLERANCE_US):
    return pair_frames(first[0], second[0], first_tolerance_us=tolerance_us, second_tolerance_us=tolerance_us)


def check(first, second, **kwargs):
    """Every trigger that both cameras have is a pair, and nothing else is."""
    pairs = pair(first, second, **kwargs).pairs
    common, in_first, in_second = np.intersect1d(first[1], second[1], return_indices=True)
    assert np.array_equal(first[1][pairs[:, 0]], second[1][pairs[:, 1]])
    assert np.array_equal(pairs, np.column_stack([in_first, in_second]))
    assert len(pairs) == len(common)


def joined(*trains):
    """Trains one after the other, with triggers numbered on."""
    cameras = []
    for camera in range(2):
        times = np.concatenate([t[camera][0] for t in trains])
        triggers = np.concatenate([t[camera][1] + 10_000_000 * i for i, t in enumerate(trains)])
        cameras.append((times, triggers))
    return cameras


@pytest.mark.parametrize("period_us", [1000.0, 2000.0, 50_000.0, 1_000_000.0])
@pytest.mark.parametrize("offset", [0.0, 0.3, -0.44])
@pytest.mark.parametrize("drop", [0.0, 0.02, 0.2])
def test_pairs_are_the_common_triggers(period_us, offset, drop):
    rng = np.random.default_rng(5)
    check(*train(rng, 5000, period_us=period_us, offset_us=offset * period_us, drop=drop))


def test_an_offset_that_drifts_is_followed():
    offset_us = np.linspace(-800, 800, 20_000)
    check(*train(np.random.default_rng(6), 20_000, offset_us=offset_us, drop=0.05))


def test_offsets_of_blocks_are_apart():
    rng = np.random.default_rng(7)
    check(
        *joined(
            train(rng, 500, offset_us=800.0, drop=0.1),
            train(rng, 100, offset_us=-8000.0, period_us=20_000.0, start_us=START_US + 5_000_000),
            train(rng, 40, offset_us=-800.0, start_us=START_US + 12_000_000),
        )
    )


def test_short_bursts_share_what_they_know():
    rng = np.random.default_rng(8)
    bursts = [train(rng, 2, offset_us=700.0, start_us=START_US + i * 3_000_000) for i in range(50)]
    first, second = joined(*bursts)
    kept = rng.random(len(second[0])) > 0.2
    check(first, (second[0][kept], second[1][kept]))


def test_a_lone_frame_pairs_by_the_tolerance_only():
    for distance_us, paired in ((110, 1), (-400, 1), (500, 0)):
        first, second = np.array([START_US]), np.array([START_US + distance_us])
        result = pair_frames(first, second, first_tolerance_us=465.0, second_tolerance_us=465.0)
        assert len(result.pairs) == paired


def test_one_camera_starts_and_stops_apart_and_pauses_alone():
    first, second = train(np.random.default_rng(9), 3000)
    kept = np.ones(3000, bool)
    kept[:37] = kept[900:1800] = kept[-5:] = False
    check(first, (second[0][kept], second[1][kept]))
    check(tuple(a[50:] for a in first), (second[0][kept], second[1][kept]))


def test_the_smaller_tolerance_counts():
    rng = np.random.default_rng(10)
    first, second = train(rng, 400)
    late = rng.permutation(400)[:40]
    second[0][late] += 300
    for wide, narrow in ((465.0, 200.0), (200.0, 465.0)):
        result = pair_frames(first[0], second[0], first_tolerance_us=wide, second_tolerance_us=np.full(400, narrow))
        assert sorted(set(range(400)) - set(result.pairs[:, 0])) == sorted(late)


@pytest.mark.parametrize("drop", [0.0, 0.1])
def test_it_is_symmetric_and_does_not_depend_on_the_date(drop):
    first, second = train(np.random.default_rng(11), 2000, offset_us=700.0, drop=drop)
    here = pair(first, second)
    assert np.array_equal(pair(second, first).pairs[:, ::-1], here.pairs)
    moved = pair((first[0] - 86_400_000_123, None), (second[0] - 86_400_000_123, None))
    assert np.array_equal(moved.pairs, here.pairs)


def test_the_clock_has_the_offset_removed():
    first, second = train(np.random.default_rng(12), 2000, offset_us=700.0, drop=0.1)
    result = pair(first, second)
    apart = result.second_us[result.pairs[:, 1]] - result.first_us[result.pairs[:, 0]]
    assert abs(np.median(apart)) < 2
    assert np.abs(apart).max() < 60
    assert abs(np.median(result.first_us - first[0]) - 350) < 5


def test_no_frames_no_pairs():
    none = (np.empty(0, np.int64), np.empty(0, np.int64))
    some = train(np.random.default_rng(13), 10)[0]
    for first, second in ((none, none), (none, some), (some, none)):
        result = pair(first, second)
        assert result.pairs.shape == (0, 2)
        assert len(result.first_us) == len(first[0])


def test_stretches_start_after_pauses():
    times_us = np.array([0, 10, 20, 30, 1000, 1010, 1020, 9000])
    assert np.flatnonzero(starts_of_stretches(times_us)).tolist() == [0, 4, 7]
    assert starts_of_stretches(times_us[:0]).tolist() == []
    assert starts_of_stretches(np.array([5, 900])).tolist() == [True, False]


def test_window_quantiles_do_not_reach_across_starts():
    values = np.array([1.0, 5.0, 3.0, 100.0, 300.0, 7.0])
    starts = np.array([True, False, False, True, False, True])
    medians, membership = window_quantiles(values, starts, 3)
    assert medians.tolist() == [3.0, 200.0, 7.0]
    assert membership.tolist() == [0, 0, 0, 1, 1, 2]
    quantiles, membership = window_quantiles(np.arange(10.0), np.eye(10, dtype=bool)[0], 4, 0.0)
    assert quantiles.tolist() == [0.0, 5.0]
    assert np.bincount(membership).tolist() == [5, 5]
