"""The stage `synced` against nights of known truth: nothing lost, pairs and states right, groups cut as told."""

import dataclasses
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from stages import synced
from stages.base import BadInput, Instrument, Job, Raw, Stream, frames_of
from stages.synced import Parameters, identity_of, pack_runs
from stages.timing import Timing, format_timing, read_timing

GENERATOR = Path(__file__).parents[2].parent / "shared" / "raw_night.py"
START_US = 1_767_333_600_000_000  # 2026-01-02 06:00:00 UT
HEAD = b"# col1 : datacube frame index\n"
CARDS = {
    "EXPTIME": 0.002,
    "EXTTRIG": True,
    "U_FLCEN": True,
    "U_FLCST": "IN",
    "U_FLC": "NA",
    "U_TRIGJT": 80,
    "U_DETMOD": "FAST",
    "PRD-RNG2": 536,
    "NAXIS1": 32,
    "NAXIS2": 24,
    "RET-ANG1": 0.0,
    "FILTER01": "Open",
    "FILTER02": "Open",
    "OBJECT": "HD141569A",
}
INSTRUMENT = Instrument("VAMPIRES", (Stream("vcam1", 1), Stream("vcam2", 2)))


class Night:
    """Writes timing files as a camera's logger does, and remembers which trigger each frame is of."""

    def __init__(self, folder):
        self.folder = folder
        self.raws = []
        self.truth = {}

    def add(self, camera, times_us, triggers=None, cube=300, **cards):
        values = {
            **CARDS,
            **{name.replace("_", "-", 1) if name == "RET_ANG1" else name: v for name, v in cards.items()},
        }
        for start in range(0, len(times_us), cube):
            t = np.asarray(times_us[start : start + cube], np.int64)
            name = f"vcam{camera}_{len(self.raws):04d}"
            index = np.arange(len(t), dtype=np.int64)
            path = self.folder / f"{name}.txt"
            path.write_bytes(
                format_timing(Timing(HEAD, index, index, (t - t[0]) * 1000, t * 1000, t, index, index * 0))
            )
            self.raws.append(
                Raw(
                    cube=path.with_suffix(".fits"),
                    timing=path,
                    identity=f"{len(self.raws):064x}",
                    camera=camera,
                    n_frames=len(t),
                    size_bytes=1,
                    mtime_ns=1,
                    first_us=int(t.min()),
                    last_us=int(t.max()),
                    exposure_us=round(values["EXPTIME"] * 1e6),
                    cards=values,
                )
            )
            if triggers is not None:
                for frame, trigger in enumerate(triggers[start : start + cube]):
                    self.truth[self.raws[-1].identity, frame] = int(trigger)

    def block(
        self,
        rng,
        n,
        *,
        start_us=START_US,
        period_us=2000.0,
        offset_us=110.0,
        drop=0.0,
        dither_us=80,
        cube=300,
        first_trigger=0,
        cameras=(1, 2),
        **cards,
    ):
        """Add a shared train of triggers whose period walks; even triggers are A."""
        triggers = np.arange(n) + first_trigger
        base_us = start_us + np.cumsum(period_us + rng.normal(0, 4, n))
        base_us += np.where(triggers % 2 == 0, 1, -1) * dither_us / 2
        for camera in cameras:
            t = np.rint(base_us + (camera - 1) * offset_us + rng.normal(0, 7, n)).astype(np.int64)
            kept = rng.random(n) >= drop
            self.add(camera, t[kept], triggers[kept], cube, **{"U_TRIGJT": dither_us, **cards})

    def job(self, **changes):
        night = self.folder
        return Job(night, "20260102", night / "vgen2", INSTRUMENT, raws=tuple(self.raws), **changes)

    def run(self, params=None, **changes):
        outcome = synced.forward(job=self.job(**changes), params=params or Parameters())
        frames = Counter(key for product in outcome.products for key in frames_in(product.parts))
        assert frames == {(raw.identity, i): 1 for raw in self.raws for i in range(raw.n_frames)}
        for product in outcome.products:
            siblings = [p for p in outcome.products if p.parts == product.sibling_parts and p.flc == product.flc]
            assert len(siblings) == product.synchronised
            if product.synchronised:
                assert siblings[0].sibling_parts == product.parts
                assert siblings[0].camera != product.camera
                assert siblings[0].group == product.group
        assert len({p.identity for p in outcome.products}) == len(outcome.products)
        assert len({p.name for p in outcome.products}) == len(outcome.products)
        return outcome

    def triggers(self, parts):
        return [self.truth[key] for key in frames_in(parts)]


def frames_in(parts):
    return [(part.raw.identity, i) for part in parts for i in frames_of(part.runs)]


@pytest.fixture
def night(tmp_path):
    return Night(tmp_path)


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def names(outcome):
    return [p.name for p in outcome.products]


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


def test_without_enforced_pairs_only_what_is_unclear_is_dubious(night, rng):
    night.block(rng, 1000, drop=0.2)
    outcome = night.run(Parameters(enforce_pairs=False))
    assert {p.flc for p in outcome.products} == {"A", "B"}


def test_the_polarity_swaps_the_labels(night, rng):
    night.block(rng, 100)
    labels = {}
    for polarity in ("short_first", "long_first"):
        outcome = night.run(Parameters(polarity=polarity, enforce_pairs=False))
        labels[polarity] = {p.flc: night.triggers(p.parts) for p in outcome.products}
    assert labels["short_first"]["A"] == labels["long_first"]["B"] == list(range(0, 100, 2))


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


def test_cubes_of_one_short_exposure_are_paired(night):
    night.add(1, [START_US], EXPTIME=0.00001, U_FLCEN=False)
    night.add(2, [START_US + 300], EXPTIME=0.00001, U_FLCEN=False)
    assert night.run().remarks == {"paired frames": 2}


def test_a_file_with_a_pair_is_not_solo(night):
    t = START_US + np.arange(100) * 2000
    night.add(1, t, EXPTIME=0.00001, U_FLCEN=False)
    night.add(2, t[-1:] + 300, EXPTIME=0.00001, U_FLCEN=False)
    assert night.run().remarks == {"paired frames": 2, "unpaired frames cam1": 99}


def test_nothing_cuts_a_solo_file(night):
    t = START_US + np.arange(10) * 5_000_000
    night.add(1, t, EXTTRIG=False, U_FLCEN=False)
    assert [p.n_frames for p in night.run().products] == [10]


def test_a_cycle_across_a_cut_is_not_whole(night, rng):
    night.block(rng, 602, cube=301)
    for place in (1, 3):
        raw = night.raws[place]
        night.raws[place] = dataclasses.replace(raw, cards={**raw.cards, "OBJECT": "other"})
    dubious = [p for p in night.run().products if p.flc == "D"]
    assert sorted(t for p in dubious for t in night.triggers(p.parts)) == [300, 300, 301, 301]


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


def test_raw_files_that_overlap_in_time_lose_nothing(night, rng):
    night.block(rng, 200, cube=100)
    t = read_timing(night.raws[0].timing).acquired_us
    night.add(1, t[50:90] + 700, cube=40)
    night.run()


def test_only_one_camera(night, rng):
    night.block(rng, 300, cameras=(2,))
    outcome = night.run()
    assert [(p.camera, p.flc, p.n_frames) for p in outcome.products] == [(2, "A", 150), (2, "B", 150)]
    assert names(outcome)[0].startswith("vcam2_06:00:00.")


def test_no_raw_files_make_no_products(night):
    assert night.run().products == ()


def test_a_flc_that_stands_still_or_is_out_gives_no_state(night, rng):
    for place, cards in enumerate(({"U_FLCEN": False}, {"U_FLCST": "OUT"}, {"U_FLC": "A"})):
        night.block(rng, 100, start_us=START_US + place * 20_000_000, **cards)
    outcome = night.run()
    assert {p.flc for p in outcome.products} == {None}
    assert all(name.endswith((".cam1", ".cam2")) for name in names(outcome))


def test_without_alternation_everything_is_dubious(night, rng):
    night.block(rng, 2000, dither_us=0)
    assert {p.flc for p in night.run(Parameters(enforce_pairs=False)).products} == {"D"}


def test_taken_names_get_a_number(night, rng):
    night.block(rng, 100)
    before = names(night.run())
    after = names(night.run(taken_names=frozenset([before[0], before[1], f"{before[1]}.2"])))
    assert after == [f"{before[0]}.2", f"{before[1]}.3", *before[2:]]


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


def test_rows_and_frames_must_agree(night, rng):
    night.block(rng, 100)
    night.raws[0] = dataclasses.replace(night.raws[0], n_frames=99)
    with pytest.raises(BadInput, match=r"vcam1_0000\.txt: it has 100 rows.*99 frames"):
        synced.forward(job=night.job(), params=Parameters())


def test_a_raw_file_without_rows_read_is_named(night, rng):
    night.block(rng, 100)
    cards = {k: v for k, v in CARDS.items() if k != "PRD-RNG2"}
    night.raws[0] = dataclasses.replace(night.raws[0], cards=cards)
    with pytest.raises(BadInput, match="PRD-RNG2"):
        synced.forward(job=night.job(), params=Parameters())


def test_a_third_camera_is_refused(night, rng):
    night.block(rng, 10, cameras=(1, 2, 3))
    with pytest.raises(BadInput, match="cameras"):
        synced.forward(job=night.job(), params=Parameters())


def test_old_timing_files_are_remarked(night, rng):
    night.block(rng, 100)
    timing = read_timing(night.raws[0].timing)
    night.raws[0].timing.write_bytes(format_timing(dataclasses.replace(timing, has_acquisition=False)))
    assert night.run().remarks["raw files without acquisition times"] == 1


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


@pytest.mark.skipif(not GENERATOR.is_file(), reason="the generator of raw nights is not beside this checkout")
def test_a_generated_night_of_all_kinds(tmp_path):
    subprocess.run([sys.executable, GENERATOR, tmp_path, "20260102", "mix"], check=True, capture_output=True)
    truth = np.load(tmp_path / "truth_20260102.npz")
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
    # 37 frames of camera 1 came before camera 2 began; trigger 37 is a B without its A; a file without txt is
    # not there, so that its partners, 300 frames of camera 2, are unpaired.
    assert found == {
        (True, "A"): 2 * (981 + 300), (True, "B"): 2 * (981 + 300), (True, "D"): 2,
        (True, None): 2 * 1190,
        (False, "A"): 18 + 150, (False, "B"): 18 + 150, (False, "D"): 1,
        (False, None): 10 + 1000,
    }  # fmt: skip
