"""FLC states against trains of triggers of known truth."""

import numpy as np
import pytest

from stages.pairing.flc import read_states


def train(rng, n, *, period_us=2000.0, dither_us=80.0, noise_us=7.0, drop=0.0, walk_us=4.0, drift=0.0, wander_us=0.0):
    """Times and states (+1 before a short gap) of one train whose period walks, drifts, or wanders."""
    k = np.arange(n)
    periods = period_us * (1 + drift * k / n) + np.cumsum(rng.normal(0, wander_us, n)) + rng.normal(0, walk_us, n)
    state = np.where(k % 2 == 0, 1, -1)
    times_us = 1.767e15 + np.cumsum(periods) + state * dither_us / 2 + rng.normal(0, noise_us, n)
    kept = rng.random(n) >= drop
    return np.rint(times_us[kept]), state[kept], k[kept]


def read(times_us, dither_us, *, starts=None, significance=4.0):
    n = len(times_us)
    return read_states(
        times_us,
        dither_us=np.full(n, float(dither_us)),
        starts=np.zeros(n, bool) if starts is None else starts,
        significance=significance,
    )


def shares(found, truth):
    """Return how large a share is wrong, and how large one is dubious."""
    return np.mean((found != truth) & (found != 0)), np.mean(found == 0)


@pytest.mark.parametrize(("dither_us", "noise_us", "walk_us"), [(20, 2, 1), (80, 7, 4), (80, 16, 4), (500, 100, 4)])
@pytest.mark.parametrize("period_us", [2000.0, 50_000.0, 1_000_000.0])
@pytest.mark.parametrize("drop", [0.0, 0.02, 0.04])
def test_states_of_long_trains(period_us, dither_us, noise_us, walk_us, drop):
    """A merged train of two cameras, each of which drops a fifth, lacks 4 % of the triggers."""
    rng = np.random.default_rng(1)
    times_us, truth, _ = train(
        rng, 20_000, period_us=period_us, dither_us=dither_us, noise_us=noise_us, walk_us=walk_us, drop=drop
    )
    wrong, dubious = shares(read(times_us, dither_us).state, truth)
    assert wrong == 0
    assert dubious < 2e-3


def test_states_of_one_camera_that_drops_a_fifth():
    times_us, truth, _ = train(np.random.default_rng(2), 50_000, drop=0.2)
    wrong, dubious = shares(read(times_us, 80).state, truth)
    assert wrong < 1e-3
    assert dubious < 3e-3


@pytest.mark.parametrize("change", [{"drift": 0.05}, {"drift": -0.05}, {"wander_us": 4.0}])
def test_a_period_that_changes_is_followed(change):
    """The weakest dither that is used, while the period changes by as much within a few triggers."""
    times_us, truth, _ = train(
        np.random.default_rng(3), 20_000, drop=0.02, period_us=50_000.0, dither_us=20, noise_us=4, **change
    )
    wrong, dubious = shares(read(times_us, 20).state, truth)
    assert wrong == 0
    assert dubious < 2e-3


def test_the_longest_train():
    times_us, truth, _ = train(np.random.default_rng(4), 100_000, noise_us=16.0)
    assert shares(read(times_us, 80).state, truth) == (0, 0)


@pytest.mark.parametrize("n", [4, 5, 8, 25])
@pytest.mark.parametrize("first_state", [0, 1])
def test_short_blocks_are_not_swapped(n, first_state):
    """Each block alone, at the weakest dither that is used: five times the noise."""
    rng = np.random.default_rng(n)
    wrong = dubious = 0
    for _ in range(300):
        times_us, truth, _ = train(rng, n + 1, noise_us=16.0)
        found = read(times_us[first_state:][:n], 80).state
        wrong += np.sum((found != 0) & (found != truth[first_state:][:n]))
        dubious += np.sum(found == 0)
    assert wrong == 0
    assert dubious <= 0.06 * 300 * n


@pytest.mark.parametrize("n", [12, 40])
def test_short_blocks_of_a_drifting_period(n):
    """From each trigger to the next, the period grows by as much as the dither."""
    rng = np.random.default_rng(14)
    for _ in range(50):
        times_us, truth, _ = train(rng, n, period_us=50_000.0, drift=4e-4 * n, dither_us=20, noise_us=2, walk_us=0)
        assert shares(read(times_us, 20).state, truth) == (0, 0)


def test_short_blocks_one_after_the_other():
    rng = np.random.default_rng(5)
    blocks = [train(rng, 4) for _ in range(200)]
    times_us = np.concatenate([block[0] + i * 5_000_000 for i, block in enumerate(blocks)])
    truth = np.concatenate([block[1] for block in blocks])
    assert shares(read(times_us, 80).state, truth) == (0, 0)


def test_counts_include_what_was_dropped_and_chains_end_at_pauses():
    rng = np.random.default_rng(6)
    times_us, _, k = train(rng, 2000, drop=0.1)
    times_us = np.append(times_us, times_us + 60_000_000)
    found = read(times_us, 80)
    half = len(k)
    assert np.array_equal(found.count[:half], k - k[0])
    assert np.array_equal(found.count[half:], k - k[0])
    assert found.chain.tolist() == [0] * half + [1] * half


def test_nothing_is_concluded_across_a_change_of_settings():
    times_us, _, _ = train(np.random.default_rng(7), 200)
    starts = np.zeros(200, bool)
    starts[101] = True
    found = read(times_us, 80, starts=starts)
    assert found.chain[100] != found.chain[101]
    assert (found.state != 0).all()


@pytest.mark.parametrize("header_dither_us", [0, 80])
def test_without_alternation_nothing_is_labelled(header_dither_us):
    times_us, _, _ = train(np.random.default_rng(8), 50_000, dither_us=0)
    assert np.mean(read(times_us, header_dither_us).state != 0) < 1e-3


def test_a_dither_that_the_header_does_not_have_is_found():
    times_us, truth, _ = train(np.random.default_rng(9), 2000)
    assert shares(read(times_us, 0).state, truth) == (0, 0)


def test_a_few_wild_times_spoil_only_themselves():
    rng = np.random.default_rng(10)
    times_us, truth, _ = train(rng, 5000, dither_us=20, noise_us=2, walk_us=1)
    times_us[rng.permutation(np.arange(10, 4990))[:20]] += 550
    wrong, dubious = shares(read(times_us, 20).state, truth)
    assert wrong == 0
    assert dubious < 0.005


def test_the_dither_tells_a_dropped_trigger_from_a_longer_period():
    """Of four triggers the second is missing: 4000 and 2080 are 2 P and P + J; without J nothing tells."""
    times_us = 1e15 + np.array([0.0, 4000.0, 6080.0])
    assert read(times_us, 80).state.tolist() == [-1, -1, 1]
    assert read(times_us, 0).state.tolist() == [0, 0, 0]


@pytest.mark.parametrize("pause", [0.3, 0.7, 1.3, 2.7, 5.3, 9.4, 400.6])
def test_a_pause_of_the_trigger_is_not_taken_for_dropped_frames(pause):
    times_us, truth, _ = train(np.random.default_rng(16), 60, noise_us=2.0, walk_us=1.0)
    times_us[40:] += 2000.0 * pause
    assert shares(read(times_us, 80).state, truth) == (0, 0)


@pytest.mark.parametrize("tail", [3, 6, 20, 40])
@pytest.mark.parametrize("n", [12, 60])
def test_random_pauses_turn_no_label(n, tail):
    """A pause leaves the FLC as it was, whatever number of periods it is close to."""
    rng = np.random.default_rng([n, tail])
    for _ in range(100):
        times_us, truth, _ = train(rng, n)
        times_us[max(n - tail, 3) :] += 2000.0 * rng.uniform(0.5, 15.0)
        assert shares(read(times_us, 80).state, truth)[0] == 0


def test_times_that_are_all_the_same_say_nothing():
    assert read(np.full(40, 1e15), 80).state.tolist() == [0] * 40


def test_a_period_that_grows_by_three_times_the_dither_at_each_of_four_triggers():
    assert read(1e15 + np.array([0.0, 999_917.0, 2_000_243.0, 3_000_640.0]), 80).state.tolist() == [1, -1, 1, -1]


@pytest.mark.parametrize("n", [5, 12, 30])
def test_a_period_that_grows_by_twice_the_dither_from_trigger_to_trigger(n):
    k = np.arange(n)
    times_us = 1e15 + k * 50_000.0 + 40.0 * k * k + np.where(k % 2, -20, 20)
    assert read(times_us, 40).state.tolist() == np.where(k % 2, -1, 1).tolist()


def test_blocks_apart_know_nothing_of_each_other():
    """What is before or after a dead time does not change the states of a block, nor the counts of its triggers."""
    rng = np.random.default_rng(15)
    blocks = [train(rng, n, drop=0.1, period_us=p)[0] for n, p in ((4, 2000.0), (9, 50_000.0), (300, 1000.0), (3, 7e3))]
    begin_us = 0.0
    alone, joined, starts = [], [], []
    for times_us in blocks:
        alone.append(read(times_us, 80))
        joined.append(times_us + begin_us)
        starts.append(np.arange(len(times_us)) == 0)
        begin_us += times_us[-1] - times_us[0] + 4e6
    together = read(np.concatenate(joined), 80, starts=np.concatenate(starts))
    assert np.array_equal(together.state, np.concatenate([states.state for states in alone]))
    assert np.array_equal(together.count, np.concatenate([states.count for states in alone]))


def test_the_date_does_not_matter():
    times_us, _, _ = train(np.random.default_rng(11), 3000, drop=0.05)
    assert np.array_equal(read(times_us, 80).state, read(times_us - 86_400e6, 80).state)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_triggers_are_dubious(n):
    found = read(1e15 + 2000.0 * np.arange(n), 80)
    assert found.state.tolist() == [0] * n
    assert len(found.chain) == len(found.count) == n


def test_the_significance_asked_for_counts():
    times_us, _, _ = train(np.random.default_rng(12), 2000)
    assert (read(times_us, 80, significance=1e6).state == 0).all()
