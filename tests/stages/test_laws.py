"""Laws of pairing and polarisation: for any block of frames, or for any whose truth can be told from its times."""

import math
import random
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from ledger.simulation._trains import Sight, Walk
from stages import synced
from stages.lineage import pack_runs
from stages.product import frames_of
from stages.synced import Parameters
from tests.stages.blocks import DEAD_TIME_US, Block, errors, find, make_block, one_after_the_other, same
from tests.stages.nights import START_US, Night, frames_in

#: Triggers from which on a block of frames that drop out can be told: of fewer, with a fifth of the frames of each
#: camera gone, what is left may be as well another block's.
ENOUGH = 25

#: Over more periods than this, triggers are not counted.
FEW = 12
LONG_PAUSE = 17

SHORT = st.integers(3, ENOUGH)
LONG = st.integers(ENOUGH, 300)
ANY = st.sampled_from([0, 1, 2, 3]) | st.integers(0, 300)


def law(n):
    """Examples are the same in every run; nothing depends on the machine's speed."""
    phases = (Phase.generate, Phase.shrink)
    return settings(derandomize=True, deadline=None, database=None, max_examples=n, phases=phases)


@st.composite
def sights(draw, *, noise_us, offset_us, most_missed, drops, repeats):
    return Sight(
        offset_us=offset_us,
        clock_ppm=draw(st.floats(-2.5, 2.5)),  # so the cameras drift apart by 5 at most
        noise_us=noise_us,
        skipped=draw(st.just(0) | st.integers(0, most_missed)),
        stopped=draw(st.just(0) | st.integers(0, most_missed)),
        drop=draw(st.sampled_from([0.0, 0.02, 0.2])) if drops else 0.0,
        burst=draw(st.sampled_from([0.0, 0.02])) if drops else 0.0,
        burst_frames=draw(st.sampled_from([2.0, 5.0])),
        repeated=draw(st.sampled_from([0.0, 0.03])) if repeats else 0.0,
    )


@st.composite
def blocks(draw, n, *, drops=True, repeats=True, pauses=True, margin=5):
    """Draw what can be told: the dither is `margin` times the noise and a tenth of the period at most.

    Steps of the period that are larger come with other settings, and so another block; in blocks of a few triggers
    they cannot be told from the alternation.
    """
    number = draw(n)
    period_us = 10 ** draw(st.floats(3, 6))
    noise_us, ready_us = draw(st.floats(0, 50 / margin)), draw(st.floats(0, 30 / margin))
    least = math.ceil(max(margin * noise_us, margin * ready_us, 5))
    most_pause_s = 0.9 * DEAD_TIME_US / 1e6
    pause_s = LONG_PAUSE * period_us / 1e6
    pause = st.tuples(st.floats(0, 0.99), st.floats(pause_s, max(pause_s, most_pause_s)))
    walk = Walk(
        ready_us=ready_us,
        period_us=draw(st.sampled_from([0.0, 0.02])),
        drift=draw(st.floats(-4e-5, 4e-5)) * number,
        steps=draw(st.lists(st.tuples(st.floats(0, 0.99), st.floats(0.99, 1.01)), max_size=int(number >= FEW))),
        pauses=draw(st.lists(pause, max_size=1 if pauses and pause_s < most_pause_s else 0)),
    )
    offset = draw(st.sampled_from([-0.45, 0.0, 0.45]) | st.floats(-0.45, 0.45))
    most_missed = number // 4
    return make_block(
        draw(st.integers(0, 2**32)),
        number,
        tuple(
            draw(
                sights(
                    noise_us=noise_us,
                    offset_us=camera * offset * period_us,
                    most_missed=most_missed,
                    drops=drops,
                    repeats=repeats,
                )
            )
            for camera in range(2)
        ),
        period_us=period_us,
        dither_us=draw(st.integers(least, max(least, min(500, round(period_us / 10))))),
        walk=walk,
        cubes=tuple(draw(st.sampled_from([7, 50, 300])) for _ in range(2)),
    )


@st.composite
def any_blocks(draw):
    """Draw frames whose truth may be past telling: at any times, in any order of cameras, some at the same time."""
    gaps = [
        draw(st.lists(st.sampled_from([0, 1, 200, 920, 1000, 1080, 2000]) | st.integers(0, 9000), max_size=40))
        for _ in range(2)
    ]
    times = tuple(START_US + draw(st.integers(0, 3000)) + np.cumsum(np.array(g, np.int64)) for g in gaps)
    triggers = tuple(np.arange(len(t)) for t in times)
    flc = np.ones(40, np.int64)
    return Block(triggers, times, flc, draw(st.sampled_from([0, 700])), draw(st.sampled_from([0, 80])), (7, 300))


@st.composite
def nights(draw, n=ANY):
    """Draw blocks with dead times between them.

    A dead time is between exposures of two cameras whose clocks are apart by up to 0.45 of a period: by how much it
    is above the limit is uncertain by that.
    """
    drawn = draw(st.lists(blocks(n), min_size=1, max_size=4))
    return one_after_the_other(drawn, [DEAD_TIME_US + draw(st.integers(500_000, 10**7)) for _ in drawn])


@contextmanager
def written(blocks_of_night, order=None):
    """Give the night of the blocks as files; triggers are numbered on from block to block."""
    with tempfile.TemporaryDirectory() as folder:
        night = Night(Path(folder))
        for number, block in enumerate(blocks_of_night):
            for camera, size in enumerate(block.cubes):
                cards = {"EXPTIME": block.cards["EXPTIME"], "U_TRIGJT": block.dither_us}
                triggers = block.trigger[camera] + number * 1000
                night.add(camera + 1, block.time_us[camera], triggers, size, **cards)
        yield night


def fates(night, outcome):
    """Count frames by what became of them; into which groups they were cut is another matter."""
    return Counter(
        (p.camera, p.flc, p.synchronised, p.solo, trigger)
        for p in outcome.products
        for trigger in night.triggers(p.parts)
    )


@law(200)
@given(blocks(LONG) | blocks(SHORT, drops=False))
def test_no_pair_joins_two_triggers_no_label_is_wrong_and_every_common_trigger_is_a_pair(block):
    assume(len(block.flc) <= ENOUGH or block.shortest_stretch() >= ENOUGH)
    free, enforced = (find([block], enforce_pairs=enforce_pairs)[0] for enforce_pairs in (False, True))
    assert errors(block, free) == errors(block, enforced) == (0, 0)
    if len(block.flc) >= ENOUGH and block.shortest_stretch() >= ENOUGH:
        assert np.array_equal(block.trigger[0][free.pairs[:, 0]], np.intersect1d(*block.trigger))


@law(80)
@given(blocks(ANY) | any_blocks())
def test_pairs_are_one_to_one_and_keep_order_and_enforcing_them_only_makes_frames_dubious(block):
    free, enforced = find([block])[0], find([block], enforce_pairs=True)[0]
    assert (np.diff(free.pairs, axis=0) > 0).all()
    first, second = (t[of] for t, of in zip(block.time_us, free.pairs.T, strict=True))
    assert (np.diff(first) > 0).all()
    assert (np.diff(second) > 0).all()
    assert np.array_equal(free.pairs, enforced.pairs)
    for before, after in zip(free.state, enforced.state, strict=True):
        assert ((after == before) | (after == 0)).all()


@law(80)
@given(nights(), st.booleans(), st.tuples(st.integers(1, 350), st.integers(1, 350)))
def test_swapped_cameras_other_cubes_and_other_blocks_do_not_matter(night, enforce_pairs, cubes):
    expected = find(night, enforce_pairs=enforce_pairs)
    swapped = find([block.swapped() for block in night], enforce_pairs=enforce_pairs)
    assert same([replace(f, pairs=f.pairs[:, ::-1], state=f.state[::-1]) for f in swapped], expected)
    alone = [find([block], enforce_pairs=enforce_pairs)[0] for block in night]
    assert same(expected, alone)
    # solo files are products of their own, so that cycles there end with them; pairs and states do not
    free = expected if not enforce_pairs else find(night)
    assert same(find([replace(block, cubes=cubes) for block in night]), free)


@law(80)
@given(nights() | st.lists(any_blocks(), min_size=1, max_size=1), st.integers(-(10**14), 10**14), st.booleans())
def test_the_time_does_not_matter(night, by_us, enforce_pairs):
    moved = find([block.moved(by_us) for block in night], enforce_pairs=enforce_pairs)
    assert same(moved, find(night, enforce_pairs=enforce_pairs))


@law(80)
@given(nights(), st.data())
def test_what_is_lost_far_away_changes_nothing(night, data):
    number = data.draw(st.integers(0, len(night) - 1))
    camera = data.draw(st.integers(0, 1))
    share = data.draw(st.sampled_from([0.1, 0.5, 1.0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    lost = [np.zeros(len(t), np.bool_) for t in night[number].time_us]
    lost[camera] = rng.random(len(lost[camera])) < share
    less = [block.without(lost) if place == number else block for place, block in enumerate(night)]
    before, after = find(night), find(less)
    assert same(after[:number] + after[number + 1 :], before[:number] + before[number + 1 :])


@law(80)
@given(blocks(LONG, repeats=False, pauses=False, margin=12))
def test_with_a_strong_alternation_only_what_is_in_no_whole_cycle_is_dubious(block):
    assume(block.shortest_stretch() >= ENOUGH)
    block = replace(block, cubes=(300, 300))  # a file of its own during a pause of the other camera may be solo
    n = len(block.flc)
    free, enforced = find([block])[0], find([block], enforce_pairs=True)[0]
    seen = [np.isin(np.arange(n), trigger) for trigger in block.trigger]
    kind = np.where(seen[0] & seen[1], 3, 1 * seen[0] + 2 * seen[1])
    begins = np.append((block.flc[:-1] == 1) & (kind[:-1] == kind[1:]) & (kind[:-1] > 0), [False] * (n > 0))
    whole = begins | np.roll(begins, 1)
    for camera, trigger in enumerate(block.trigger):
        assert (free.state[camera] != 0).all()
        assert np.array_equal(enforced.state[camera] != 0, whole[trigger])


@law(50)
@given(nights(), st.booleans())
def test_every_frame_is_in_one_product_whatever_other_blocks_there_are(night, enforce_pairs):
    params = Parameters(enforce_pairs=enforce_pairs)
    with written(night) as files:
        together = fates(files, files.run(params))  # which checks that no frame is lost
    alone = Counter()
    for number, block in enumerate(night):
        nothing = block.without([np.ones(len(t), np.bool_) for t in block.time_us])
        with written([nothing] * number + [block]) as files:
            alone += fates(files, files.run(params))
    assert together == alone


@law(50)
@given(nights() | st.lists(any_blocks(), min_size=1, max_size=1))
def test_products_are_whole_cycles_in_both_cameras(night):
    with written(night) as files:
        outcome = files.run()
        times = {
            (raw.identity, frame): time
            for raw in files.raws
            for frame, time in enumerate(synced.read_train([raw]).time_us.tolist())
        }
    by_state = {(p.group, p.camera, p.synchronised, p.flc): p for p in outcome.products}
    assert len(by_state) == len(outcome.products)
    for (group, camera, synchronised, flc), product in by_state.items():
        if flc not in ("A", "B"):
            continue
        first, second = (by_state[group, camera, synchronised, letter] for letter in "AB")
        assert product.n_frames == first.n_frames == second.n_frames
        of_a, of_b = (np.array([times[key] for key in frames_in(p.parts)]) for p in (first, second))
        assert (of_a < of_b).all()
        assert (of_b[:-1] < of_a[1:]).all()


@law(50)
@given(blocks(LONG, repeats=False))
def test_each_a_is_followed_by_its_b(block):
    assume(block.shortest_stretch() >= ENOUGH)
    with written([block]) as files:
        outcome = files.run()
        triggers = {(p.group, p.camera, p.flc): files.triggers(p.parts) for p in outcome.products}
    for (group, camera, flc), of_a in triggers.items():
        if flc == "A":
            assert triggers[group, camera, "B"] == [trigger + 1 for trigger in of_a]


@law(20)
@given(nights(), st.randoms(use_true_random=False))
def test_the_order_of_raw_files_does_not_matter(night, rng: random.Random):
    with written(night) as files:
        expected = files.run()
        rng.shuffle(files.raws)
        assert files.run() == expected


@law(200)
@given(st.lists(st.integers(-50, 50) | st.integers(-(2**40), 2**40)))
def test_runs_are_unpacked_to_what_was_packed(numbers):
    indices = np.array([a for a, b in zip(numbers, [*numbers[1:], None], strict=False) if a != b], np.int64)
    runs = pack_runs(indices)
    assert list(frames_of(runs)) == indices.tolist()
    assert all(n > 0 and step != 0 for _, step, n in runs)


@law(200)
@given(st.integers(0, 1000), st.integers(-9, 9).filter(bool), st.integers(1, 50))
def test_equal_steps_are_one_run(first, step, n):
    assert pack_runs(first + step * np.arange(n)) == ((first, step if n > 1 else 1, n),)


def strict_clock(n, *, lost=((), ()), after_pause=0, pause=0.0, period_us=2000, dither_us=80, cubes=(300, 300)):
    """Triggers without noise; of those lost by each camera; a pause of so many periods comes before the last ones."""
    trigger = np.arange(n)
    flc = np.where(trigger % 2, -1, 1)
    at_us = (
        START_US + trigger * period_us + flc * dither_us // 2 + (trigger >= n - after_pause) * round(pause * period_us)
    )
    kept = [np.setdiff1d(trigger, of_camera) for of_camera in lost]
    return Block(tuple(kept), (at_us[kept[0]], at_us[kept[1]] + 100), flc, 1000, dither_us, cubes)


def test_a_setting_that_one_camera_missed_breaks_no_chain_later():
    first = strict_clock(6, dither_us=50, lost=((), range(6)))
    second = strict_clock(6, lost=((1, 4), ()))
    night = one_after_the_other([first, second], [4_000_000, 4_000_000])
    assert find(night)[1].state[1].tolist() == [1, -1, 1, -1, 1, -1]


def test_files_of_a_camera_alone_are_one_train():
    for cube in (6, 3, 2, 1):
        block = strict_clock(6, lost=((), range(6)), cubes=(cube, cube))
        assert find([block])[0].state[0].tolist() == [1, -1, 1, -1, 1, -1]


@pytest.mark.parametrize("pause", [0.3, 0.5, 0.7, 1.3, 2.7, 5.3, 9.6])
def test_across_a_pause_that_is_no_multiple_of_the_period_triggers_are_not_counted_on(pause):
    block = strict_clock(60, after_pause=6, pause=pause)
    assert errors(block, find([block])[0]) == (0, 0)
