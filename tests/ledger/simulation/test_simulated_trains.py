from dataclasses import replace

import numpy as np
import pytest

from ledger.simulation._trains import Sight, Walk, flc_states, frames_seen, trigger_times

PERIOD_US = 2000.0

#: A strict clock, and a camera that sees every trigger exactly.
CLOCK = Walk(ready_us=0.0, period_us=0.0, drift=0.0)
EXACT = Sight(noise_us=0.0)


@pytest.fixture
def rng():
    return np.random.default_rng(20260102)


def gaps_us(rng, n: int = 1000, walk: Walk = CLOCK, dither_us: float = 0.0) -> np.ndarray:
    flc = flc_states(n, rng) if dither_us else np.zeros(n, np.int8)
    return np.diff(trigger_times(flc, period_us=PERIOD_US, dither_us=dither_us, walk=walk, rng=rng))


def train_us(n: int = 1000) -> np.ndarray:
    return np.arange(n) * PERIOD_US


def test_flc_states_alternate_whichever_is_first(rng):
    firsts = set()
    for _ in range(20):
        states = flc_states(7, rng)
        assert states.dtype == np.int8
        assert (states[1:] == -states[:-1]).all()
        firsts.add(int(states[0]))
    assert firsts == {1, -1}


@pytest.mark.parametrize("dither_us", [20, 500])
def test_gaps_alternate_by_the_dither_and_are_short_after_a(rng, dither_us):
    flc = flc_states(100, rng)
    times_us = trigger_times(flc, period_us=PERIOD_US, dither_us=dither_us, walk=CLOCK, rng=rng)
    assert times_us[0] == 0
    assert np.diff(times_us) == pytest.approx(PERIOD_US - dither_us * flc[:-1].astype(float))


def test_a_trigger_waits_for_the_slower_camera(rng):
    gaps = gaps_us(rng, 20_000, replace(CLOCK, ready_us=6.0))
    assert gaps.min() >= PERIOD_US
    # the larger of two half-normal deviates has a mean of 2 / sqrt(pi) standard deviations
    assert gaps.mean() - PERIOD_US == pytest.approx(6 * 2 / np.sqrt(np.pi), rel=0.03)


def test_the_period_drifts_from_the_first_to_the_last_trigger(rng):
    gaps = gaps_us(rng, 1001, replace(CLOCK, drift=0.01))
    assert gaps[[0, -1]] == pytest.approx(PERIOD_US * np.array([0.995, 1.005]), rel=1e-4)
    assert np.diff(gaps) == pytest.approx(PERIOD_US * 0.01 / 1000)


def test_the_variance_of_the_period_grows_with_every_trigger(rng):
    walks = np.array([gaps_us(rng, 402, replace(CLOCK, period_us=0.5)) for _ in range(2000)]) - PERIOD_US
    assert walks[:, [0, 99, 399]].std(axis=0) == pytest.approx(0.5 * np.sqrt([1, 100, 400]), rel=0.06)
    assert np.abs(walks.mean(axis=0)).max() < 1.5


def test_the_period_steps_and_stays(rng):
    gaps = gaps_us(rng, 101, replace(CLOCK, steps=((0.25, 1.1), (0.5, 0.5))))
    assert gaps[:25] == pytest.approx(PERIOD_US)
    assert gaps[25:50] == pytest.approx(PERIOD_US * 1.1)
    assert gaps[50:] == pytest.approx(PERIOD_US * 0.55)


def test_triggers_pause_once(rng):
    gaps = gaps_us(rng, 101, replace(CLOCK, pauses=((0.25, 1.5), (0.5, 2.0))))
    assert gaps[[25, 50]] == pytest.approx(PERIOD_US + np.array([1.5e6, 2e6]))
    assert np.delete(gaps, [25, 50]) == pytest.approx(PERIOD_US)


def test_an_exact_camera_has_a_frame_of_every_trigger(rng):
    trigger, time_us = frames_seen(train_us(), EXACT, rng)
    assert (trigger.dtype, time_us.dtype) == (np.int64, np.int64)
    assert trigger.tolist() == list(range(1000))
    assert time_us.tolist() == train_us().tolist()


def test_offset_clock_and_noise(rng):
    sight = replace(EXACT, offset_us=-900.0, clock_ppm=5.0)
    _, time_us = frames_seen(train_us(500_001), sight, rng)
    late_us = time_us - train_us(500_001)
    assert late_us[[0, 250_000, 500_000]].tolist() == [-900, 1600, 4100]
    _, time_us = frames_seen(train_us(20_000), replace(EXACT, noise_us=10.0), rng)
    assert (time_us - train_us(20_000)).std() == pytest.approx(10, rel=0.03)


def test_frames_drop_by_themselves(rng):
    trigger, _ = frames_seen(train_us(50_000), replace(EXACT, drop=0.2), rng)
    assert len(trigger) == pytest.approx(40_000, rel=0.02)
    run_lengths = np.diff(trigger)[np.diff(trigger) > 1] - 1
    assert run_lengths.mean() == pytest.approx(1 / 0.8, rel=0.03)


@pytest.mark.parametrize("burst_frames", [1.0, 2.0, 15.0])
def test_bursts_lose_frames_in_a_row(rng, burst_frames):
    sight = replace(EXACT, burst=0.001, burst_frames=burst_frames)
    trigger, _ = frames_seen(train_us(500_000), sight, rng)
    run_lengths = np.diff(trigger)[np.diff(trigger) > 1] - 1
    assert len(run_lengths) == pytest.approx(500, rel=0.2)
    assert run_lengths.mean() == pytest.approx(burst_frames, rel=0.15)


def test_a_camera_starts_late_and_stops_early(rng):
    trigger, _ = frames_seen(train_us(100), replace(EXACT, skipped=30, stopped=20), rng)
    assert trigger.tolist() == list(range(30, 80))
    for sight in (replace(EXACT, skipped=70, stopped=70), replace(EXACT, skipped=101), replace(EXACT, stopped=101)):
        trigger, time_us = frames_seen(train_us(100), sight, rng)
        assert len(trigger) == len(time_us) == 0


def test_repeated_frames_have_identical_times(rng):
    trigger, time_us = frames_seen(train_us(20_000), Sight(repeated=0.05), rng)
    again = np.diff(trigger) == 0
    assert again.sum() == pytest.approx(1000, rel=0.15)
    assert (np.diff(time_us)[again] == 0).all()
    assert np.bincount(trigger).max() == 2


def test_times_never_descend_however_large_the_noise(rng):
    trigger, time_us = frames_seen(train_us(), Sight(noise_us=3000.0, drop=0.1, repeated=0.1), rng)
    assert (np.diff(trigger) >= 0).all()
    assert (np.diff(time_us) >= 0).all()
    assert np.diff(time_us).min() == 0


@pytest.mark.parametrize("n", [0, 1, 2])
def test_trains_of_hardly_any_trigger(rng, n):
    walk = Walk(steps=((0.5, 1.1),), pauses=((0.0, 1.5),))
    flc = flc_states(n, rng)
    times_us = trigger_times(flc, period_us=PERIOD_US, dither_us=80, walk=walk, rng=rng)
    assert len(flc) == len(times_us) == n
    assert times_us[:1].tolist() == [0.0][:n]
    if n == 2:
        assert times_us[1] == pytest.approx(1_502_000, abs=150)
    trigger, time_us = frames_seen(times_us, EXACT, rng)
    assert trigger.tolist() == list(range(n))
    assert time_us == pytest.approx(times_us, abs=0.5)
    trigger, _ = frames_seen(times_us, Sight(burst=1.0, skipped=5, stopped=5, repeated=1.0), rng)
    assert len(trigger) == 0


def test_the_same_seed_gives_the_same_train():
    made = []
    for _ in range(2):
        rng = np.random.default_rng(7)
        flc = flc_states(300, rng)
        times_us = trigger_times(flc, period_us=PERIOD_US, dither_us=80, walk=Walk(), rng=rng)
        made.append(
            [times_us.tolist(), *map(np.ndarray.tolist, frames_seen(times_us, Sight(drop=0.1, burst=0.1), rng))]
        )
    assert made[0] == made[1]
