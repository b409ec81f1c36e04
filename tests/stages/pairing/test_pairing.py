"""Pairing against trains of triggers of known truth."""

import numpy as np
import pytest

from stages.pairing.pairs import Seen, pair_frames

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


def seen(times_us, tolerance_us=TOLERANCE_US, exposure_us=0, dither_us=80):
    """As if each frame were a raw file."""
    n = len(times_us)
    tolerances_us = np.broadcast_to(tolerance_us, n).astype(float)
    return Seen(times_us, np.arange(n), np.full(n, exposure_us), np.full(n, dither_us), tolerances_us)


def pair(first, second, **kwargs):
    """Pairs as indices into both cameras' times, and the clock of each camera's frames."""
    result = pair_frames(seen(first[0], **kwargs), seen(second[0], **kwargs), dead_time_us=3e6)
    return pairs_of(result, len(first[0])), *clocks_of(result, len(first[0]))


def pairs_of(result, n_first):
    one, other = result.order[result.first_of_pair], result.order[result.second_of_pair]
    pairs = np.column_stack([np.minimum(one, other), np.maximum(one, other) - n_first])
    assert (pairs[:, 0] < n_first).all()
    assert (pairs[:, 1] >= 0).all()
    return pairs


def clocks_of(result, n_first):
    clock_us = np.empty(len(result.order))
    clock_us[result.order] = result.clock_us
    return clock_us[:n_first], clock_us[n_first:]


def check(first, second, **kwargs):
    """Every trigger that both cameras have is a pair, and nothing else is."""
    pairs = pair(first, second, **kwargs)[0]
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
    """With less than a dead time between them."""
    rng = np.random.default_rng(8)
    bursts = [train(rng, 2, offset_us=700.0, start_us=START_US + i * 2_000_000) for i in range(50)]
    first, second = joined(*bursts)
    kept = rng.random(len(second[0])) > 0.2
    check(first, (second[0][kept], second[1][kept]))


def test_a_lone_frame_pairs_within_the_tolerance_or_half_of_the_exposure():
    for distance_us, exposure_us, n_pairs in ((110, 0, 1), (-400, 0, 1), (500, 0, 0), (500, 1500, 1), (900, 1500, 0)):
        first, second = np.array([START_US]), np.array([START_US + distance_us])
        assert len(pair((first, None), (second, None), exposure_us=exposure_us)[0]) == n_pairs


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
        result = pair_frames(seen(first[0], wide), seen(second[0], np.full(400, narrow)), dead_time_us=3e6)
        assert sorted(set(range(400)) - set(pairs_of(result, 400)[:, 0])) == sorted(late)


@pytest.mark.parametrize("drop", [0.0, 0.1])
def test_it_is_symmetric_and_does_not_depend_on_the_date(drop):
    first, second = train(np.random.default_rng(11), 2000, offset_us=700.0, drop=drop)
    here = pair(first, second)[0]
    assert np.array_equal(pair(second, first)[0][:, ::-1], here)
    moved = pair((first[0] - 86_400_000_123, None), (second[0] - 86_400_000_123, None))[0]
    assert np.array_equal(moved, here)


def test_the_clock_has_the_offset_removed():
    first, second = train(np.random.default_rng(12), 2000, offset_us=700.0, drop=0.1)
    pairs, first_us, second_us = pair(first, second)
    apart = second_us[pairs[:, 1]] - first_us[pairs[:, 0]]
    assert abs(np.median(apart)) < 10
    assert np.abs(apart).max() < 60
    assert abs(np.median(first_us - first[0]) - 350) < 5


def test_the_clocks_of_single_frames_are_exact_while_the_offset_drifts():
    """At a frame a second, by 5 us a frame: more than noise within the frames of one estimate."""
    rng = np.random.default_rng(20)
    times_us = np.arange(500) * 1e6
    first, second = train(rng, 500, period_us=1e6, offset_us=3e5 + 5e-6 * times_us, noise_us=2.0)
    kept = rng.random(500) > 0.2
    pairs, first_us, second_us = pair(first, (second[0][kept], second[1][kept]))
    single = np.setdiff1d(np.arange(500), pairs[:, 0])
    clock_us = np.empty(500)
    clock_us[pairs[:, 0]] = (first_us[pairs[:, 0]] + second_us[pairs[:, 1]]) / 2
    clock_us[single] = first_us[single]
    true_us = (first[0] + second[0]) / 2
    assert np.abs(clock_us - true_us)[single].max() < 20


def test_an_offset_may_drift_by_periods_within_a_block():
    """Clocks that drift apart by 5 ppm: by 1.2 periods in the 400 s of this train."""
    times_us = np.arange(200_000) * 2000.0
    first, second = train(np.random.default_rng(16), 200_000, offset_us=110.0 + 6e-6 * times_us, drop=0.05)
    check(first, second)


def test_a_wide_dither_does_not_mislead():
    """Half of the period: then every other frame of the wrong trigger is nearer than the partner."""
    first, second = train(
        np.random.default_rng(17), 5000, period_us=1000.0, dither_us=500.0, offset_us=-440.0, drop=0.05
    )
    check(first, second, dither_us=500)


def test_another_setting_has_another_offset():
    """Half a second after the last frame, without a dead time."""
    rng = np.random.default_rng(21)
    slow = train(rng, 24, period_us=20_000.0, offset_us=-9000.0)
    fast = train(rng, 200, offset_us=800.0, start_us=int(slow[0][0][-1]) + 500_000)
    first, second = joined(slow, fast)
    n = len(slow[0][0])
    exposures_us = np.repeat([18_000, 1500], [n, len(first[0]) - n])
    sides = [
        Seen(t, np.arange(len(t)), exposures_us, np.full(len(t), 80), np.full(len(t), 465.0))
        for t, _ in (first, second)
    ]
    for order in (sides, sides[::-1]):
        assert len(pairs_of(pair_frames(*order, dead_time_us=3e6), len(first[0]))) == len(first[0])


@pytest.mark.parametrize("drop", [0.0, 0.02])
def test_noise_of_a_fifth_of_a_wide_dither_does_not_mislead(drop):
    for seed in range(10):
        first, second = train(
            np.random.default_rng(seed), 500, dither_us=500.0, noise_us=80.0, offset_us=880.0, drop=drop
        )
        pairs = pair(first, second, dither_us=500)[0]
        assert np.array_equal(first[1][pairs[:, 0]], second[1][pairs[:, 1]])


def test_frames_logged_twice_are_in_one_pair_only():
    first, second = train(np.random.default_rng(18), 500, offset_us=-600.0)
    twice = np.sort(np.concatenate([np.arange(500), [0, 17, 17, 300, 499]]))
    pairs = pair((first[0][twice], None), second)[0]
    assert np.array_equal(twice[pairs[:, 0]], np.arange(500))
    assert np.array_equal(pairs[:, 1], np.arange(500))
    assert np.array_equal(pair(second, (first[0][twice], None))[0][:, ::-1], pairs)


def test_blocks_apart_know_nothing_of_each_other():
    rng = np.random.default_rng(19)
    trains = [
        train(rng, n, period_us=period_us, offset_us=offset * period_us, drop=0.2, start_us=start_us)
        for n, period_us, offset, start_us in (
            (4, 2000.0, 0.4, START_US),
            (300, 1000.0, -0.3, START_US + 10_000_000),
            (2, 50_000.0, 0.44, START_US + 20_000_000),
            (1, 2000.0, 0.1, START_US + 30_000_000),
            (40, 2000.0, 0.0, START_US + 40_000_000),
        )
    ]
    begins = np.cumsum([[0, 0], *([len(first[0]), len(second[0])] for first, second in trains)], axis=0)
    alone = np.concatenate([pair(*t, exposure_us=700)[0] + begin for t, begin in zip(trains, begins, strict=False)])
    assert np.array_equal(pair(*joined(*trains), exposure_us=700)[0], alone)


def test_no_frames_no_pairs():
    none = (np.empty(0, np.int64), np.empty(0, np.int64))
    some = train(np.random.default_rng(13), 10)[0]
    for first, second in ((none, none), (none, some), (some, none)):
        pairs, first_us, second_us = pair(first, second)
        assert pairs.shape == (0, 2)
        assert np.array_equal(first_us, first[0])
        assert np.array_equal(second_us, second[0])
