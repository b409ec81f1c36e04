"""The stage `synced` against nights of known truth: nothing lost, pairs and states right, products named."""

import dataclasses
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from astropy.io import fits

from stages import synced
from stages.base import BadInput, Raw, frames_of
from stages.fits.timing import read_timing
from stages.lineage import identity_of, pack_runs
from stages.synced import Parameters
from tests.others import write_night
from tests.stages.nights import START_US, Night, frames_in, names
from tests.tools import SHARED, beside

GENERATOR = SHARED / "raw_night.py"


def by_generator(root):
    subprocess.run([sys.executable, GENERATOR, root, "20260102", "mix"], check=True, capture_output=True)
    return np.load(root / "truth_20260102.npz")


#: Who writes a night of all kinds, and how many frames there are of which kind.  37 frames of camera 1 came before
#: camera 2 began; trigger 37 is a B without its A; a file without txt is not there, so that its partners, frames of
#: camera 2, are unpaired.
OF_ALL_KINDS = (
    pytest.param(
        lambda root: write_night(root, "20260102"),
        {
            **{(True, flc): 2 * (481 + 150) for flc in "AB"}, (True, "D"): 2,
            (True, None): 2 * 390,
            **{(False, flc): 18 + 75 for flc in "AB"}, (False, "D"): 1,
            (False, None): 10 + 500,
        },
        id="by the tests",
    ),
    beside(
        "the generator of raw nights",
        GENERATOR,
        by_generator,
        {
            **{(True, flc): 2 * (981 + 300) for flc in "AB"}, (True, "D"): 2,
            (True, None): 2 * 1190,
            **{(False, flc): 18 + 150 for flc in "AB"}, (False, "D"): 1,
            (False, None): 10 + 1000,
        },
    ),
)  # fmt: skip


@pytest.mark.parametrize("drop", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("cube", [1, 2, 300])
def test_pairs_and_states_are_those_of_the_truth(night, rng, drop, cube):
    night.block(rng, 1000 if cube > 2 else 200, drop=drop, cube=cube)
    outcome = night.run()
    found = Counter()
    for product in outcome.products:
        triggers = night.triggers(product.parts)
        if product.synchronised:
            assert triggers == night.triggers(product.sibling_parts)
        assert triggers == sorted(triggers)
        if product.flc in ("A", "B"):
            assert {t % 2 for t in triggers} == {"AB".index(product.flc)}
        found[product.synchronised, product.camera, product.flc] += product.n_frames
    expected = Counter()
    cameras = {1: set(), 2: set()}
    for raw in night.raws:
        cameras[raw.camera] |= {night.truth[raw.identity, i] for i in range(raw.n_frames)}
    classes = {
        (True, 1): cameras[1] & cameras[2],
        (True, 2): cameras[1] & cameras[2],
        (False, 1): cameras[1] - cameras[2],
        (False, 2): cameras[2] - cameras[1],
    }
    for (synchronised, camera), triggers in classes.items():
        for t in triggers:
            partner = t ^ 1
            expected[synchronised, camera, "AB"[t % 2] if partner in triggers else "D"] += 1
    assert found == expected


def test_blocks_between_dead_times_may_be_worked_on_one_by_one(night, rng, monkeypatch):
    """So memory is bounded by the block, not by the night."""
    for place, n in enumerate((600, 4, 1, 50, 601)):
        night.block(rng, n, start_us=START_US + place * 9_000_000, drop=0.1, cube=37, first_trigger=1000 * place)
    night.add(2, START_US + 200_000_000 + np.arange(60) * 4000, EXTTRIG=False, U_FLCEN=False)
    at_once = night.run()
    read = []
    read_train = synced.read_train
    monkeypatch.setattr(synced, "_BATCH_FRAMES", 1)
    monkeypatch.setattr(synced, "read_train", lambda raws: read.append(len(raws)) or read_train(raws))
    assert night.run() == at_once
    assert sum(read) == len(night.raws)
    assert len(read) == 2 * 6
    night.raws.reverse()
    assert night.run() == at_once


def test_a_camera_that_stopped_keeps_its_cards_until_the_block_ends(night, rng, monkeypatch):
    """What it says in the next block does not cut the frames of the other before."""
    t = START_US + np.arange(3000) * 10_000
    night.add(1, t, cube=1000, U_FLCEN=False, EXPTIME=0.009)
    night.add(2, t[:300], cube=300, U_FLCEN=False, EXPTIME=0.009)
    alone = [(p.name, p.n_frames) for p in night.run().products]
    for camera in (1, 2):
        night.add(camera, t[:300] + 36_000_000, cube=300, U_FLCEN=False, EXPTIME=0.009, OBJECT="other")
    both = night.run()
    assert [(p.name, p.n_frames) for p in both.products[: len(alone)]] == alone
    monkeypatch.setattr(synced, "_BATCH_FRAMES", 1)
    assert night.run() == both


def test_names_times_and_order(night, rng):
    night.block(rng, 100)
    outcome = night.run()
    first = outcome.products[0]
    a, b = (read_timing(raw.timing).acquired_us for raw in night.raws)
    start, end = (a[0] + b[0]) // 2, (a[-1] + b[-1]) // 2
    clock = f"06:00:{(start - START_US) / 1e6:09.6f}"
    assert names(outcome) == [f"vsync_{clock}.cam{c}.{s}" for c in (1, 2) for s in "AB"]
    assert {(p.first_us, p.last_us, p.exposure_us, p.group) for p in outcome.products} == {(start, end, 2000, 1)}
    assert first.parts[0].runs == ((0, 2, 50),)
    assert outcome.remarks == {"paired frames": 200}


def test_the_order_of_raw_files_does_not_matter(night, rng):
    night.block(rng, 1500, drop=0.1, cube=70)
    expected = night.run()
    night.raws = [night.raws[i] for i in rng.permutation(len(night.raws))]
    assert night.run() == expected


def test_swapping_the_cameras_swaps_the_products(night, rng):
    night.block(rng, 500, drop=0.1)
    expected = {(3 - p.camera, p.flc, p.synchronised): frames_in(p.parts) for p in night.run().products}
    night.raws = [dataclasses.replace(raw, camera=3 - raw.camera) for raw in night.raws]
    assert {(p.camera, p.flc, p.synchronised): frames_in(p.parts) for p in night.run().products} == expected


def test_only_one_camera(night, rng):
    night.block(rng, 300, cameras=(2,))
    outcome = night.run()
    assert [(p.camera, p.flc, p.n_frames) for p in outcome.products] == [(2, "A", 150), (2, "B", 150)]
    assert names(outcome)[0].startswith("vcam2_06:00:00.")


def test_no_raw_files_make_no_products(night):
    assert night.run().products == ()


def test_taken_names_get_a_number(night, rng):
    night.block(rng, 100)
    before = names(night.run())
    after = names(night.run(taken_names=frozenset([before[0], before[1], f"{before[1]}.2"])))
    assert after == [f"{before[0]}.2", f"{before[1]}.3", *before[2:]]


def test_a_third_camera_is_refused(night, rng):
    night.block(rng, 10, cameras=(1, 2, 3))
    with pytest.raises(BadInput, match="cameras"):
        synced.forward(job=night.job(), params=Parameters())


@pytest.mark.parametrize(
    ("indices", "runs"),
    [
        ([], ()),
        ([7], ((7, 1, 1),)),
        ([0, 1, 2, 3], ((0, 1, 4),)),
        ([1, 3, 5], ((1, 2, 3),)),
        ([0, 2, 4, 8, 10], ((0, 2, 3), (8, 2, 2))),
        ([0, 1, 5, 6, 9], ((0, 1, 2), (5, 1, 2), (9, 1, 1))),
        ([5, 3, 1], ((5, -2, 3),)),
    ],
)
def test_runs(indices, runs):
    assert pack_runs(np.array(indices, np.int64)) == runs


def test_runs_are_unpacked_to_what_was_packed(rng):
    for share in (0.02, 0.3, 0.5, 0.9):
        indices = np.flatnonzero(rng.random(3000) < share)
        assert list(frames_of(pack_runs(indices))) == indices.tolist()


def test_the_identity_is_of_lineage_camera_and_state(night, rng):
    night.block(rng, 20)
    parts = night.run().products[0].parts
    identities = {
        identity_of(parts, 1, "A"),
        identity_of(parts, 2, "A"),
        identity_of(parts, 1, "B"),
        identity_of(parts, 1, None),
        identity_of(parts * 2, 1, "A"),
        identity_of((dataclasses.replace(parts[0], runs=((0, 2, 9),)),), 1, "A"),
        identity_of((dataclasses.replace(parts[0], raw=night.raws[1]),), 1, "A"),
    }
    assert len(identities) == 7
    assert night.run().products[0].identity == identity_of(parts, 1, "A")


@pytest.mark.parametrize(("write", "expected"), OF_ALL_KINDS)
def test_a_generated_night_of_all_kinds(tmp_path, write, expected):
    truth = write(tmp_path)
    night = Night(tmp_path)
    flc = {}
    for camera in (1, 2):
        serial = 0
        frames = truth[f"cam{camera}"]
        by_file = [frames[frames[:, 4] == n] for n in range(int(frames[:, 4].max()) + 1)]
        by_start = {round(rows[0, 3] * 1e6): rows for rows in by_file}
        for cube in sorted((tmp_path / "20260102" / f"vcam{camera}").glob("*.fits")):
            header = fits.getheader(cube)
            timing = cube.with_suffix(".txt")
            if not timing.exists():
                continue
            t = read_timing(timing).acquired_us
            serial += 1
            raw = Raw(
                cube,
                timing,
                f"{camera}-{serial}",
                camera,
                len(t),
                1,
                1,
                int(t[0]),
                int(t[-1]),
                round(header["EXPTIME"] * 1e6),
                dict(header),
            )
            night.raws.append(raw)
            rows = min(by_start.items(), key=lambda item: abs(item[0] - t[0]))[1]
            for i, (_, trigger, state, _, _) in enumerate(rows):
                night.truth[raw.identity, i] = int(trigger)
                flc[raw.identity, i] = {1: "A", -1: "B", 0: None}[int(state)]
    outcome = night.run()
    found = Counter()
    for product in outcome.products:
        keys = frames_in(product.parts)
        if product.synchronised:
            assert night.triggers(product.parts) == night.triggers(product.sibling_parts)
        for key in keys:
            assert product.flc == flc[key] or product.flc == "D"
        found[product.synchronised, product.flc] += product.n_frames
    assert found == expected
