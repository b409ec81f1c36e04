"""What pages tell, against what is known to be so: offsets, the FLC's gaps, marks of frames, settings."""

import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ledger.night import record
from ledger.night.pipeline import pipelines
from ledger.pages import _thumbnails
from ledger.pages._canvas import Scale, TimeAxis
from ledger.pages._settings import GAP_US, Taken, gaps, lanes
from ledger.pages._thumbnails import chosen, mark_of, png
from ledger.pages._timings import read_timings
from ledger.pages.night import Collector
from stages.fits.frames import Frames
from stages.instrument import Instrument, Stream
from tests.world import DATE, World


@pytest.fixture
def collected(world: World):
    """Return a collected night, on both databases."""
    world.simulate(scale=0.3)
    world.bring()
    return Collector(world.store(), world.config, pipelines(world.config)).collect(world.night())


def test_offsets_and_states_are_those_of_the_simulated_night(collected):
    timings = collected.timings
    assert timings.read == timings.looked_at == timings.groups > 5
    slow = [each for each in timings.offsets if each.pairs > 10]
    assert slow
    assert all(abs(each.offset_us) < 1000 and each.low_us <= 0 <= each.high_us for each in slow)
    before, after = timings.fold.middle_us["A"]
    assert before > 20 > -20 > after  # the short gap comes first
    mirrored = timings.fold.middle_us["B"]
    assert mirrored == pytest.approx((after, before), abs=10)
    cells = {state: set(found) for state, found in timings.fold.cells.items()}
    assert not cells["A"] & cells["B"]


def test_what_was_registered_and_proven_is_told(collected, world):
    n, first, last = world.query("SELECT count(*), min(frame_id), max(frame_id) FROM frame_id")[0]
    ids = collected.archive.ids
    assert (ids.live, ids.first, ids.last, ids.withdrawn, ids.late) == (n, first, last, 0, 0)
    (proof,) = collected.archive.proofs
    assert (proof.copies, proof.refuted, proof.host) == (n, 0, "")
    assert [made.runs for made in collected.archive.made] == [1]
    assert collected.lanes[0].title == "Target"
    assert {"AB Aur", "HD141569A"} <= set(collected.lanes[0].values)


def test_frames_of_every_target_and_camera_are_shown(collected):
    shown = {(each.target, each.camera) for each in collected.thumbnails}
    assert {("AB Aur", 1), ("AB Aur", 2), ("DARK", 1)} <= shown
    assert all(
        each.uri.startswith("data:image/png;base64,") and each.most > each.least for each in collected.thumbnails
    )


def test_timing_files_that_have_gone_are_told(world):
    world.simulate(scale=0.05)
    world.bring()
    for timing in (world.folder / "archive" / DATE).glob("vcam*/*.txt"):
        timing.unlink()
    with world.store().read() as session:
        found = read_timings(session, record.find_night(world.store(), "archive", DATE))
    assert found.read == 0 < found.looked_at
    assert ".txt" in found.fault


def frames(pixels: np.ndarray) -> Frames:
    return Frames(pixels.astype(np.float64), 0.0, 65535.0)


def test_an_empty_and_a_saturated_frame_are_marked():
    random = np.random.default_rng(1)
    noise = random.normal(200, 5, (4, 64, 64))
    y, x = np.indices((64, 64))
    star = 3000 * np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 50)
    assert mark_of(frames(noise)) == "empty"
    assert mark_of(frames(np.zeros((4, 64, 64)))) == "empty"
    assert mark_of(frames(noise + star)) == ""
    assert mark_of(frames(np.minimum(noise + 40 * star, 65535))) == "saturated"
    assert mark_of(frames((noise + star)[:1])) == ""


def test_a_picture_is_a_png_of_these_levels():
    levels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    content = png(levels)
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (3, 2)
    at = content.index(b"IDAT")
    (length,) = struct.unpack(">I", content[at - 4 : at])
    assert zlib.decompress(content[at + 4 : at + 4 + length]) == b"\0\0\1\2\0\3\4\5"


def test_each_change_is_shown_and_never_more_than_there_is_room_for():
    few = [SimpleNamespace(key=n // 100) for n in range(300)]
    assert {row.key for row in chosen(few, lambda row: row.key)} == {0, 1, 2}
    assert len(chosen(few, lambda row: row.key)) <= _thumbnails._MOST
    many = [SimpleNamespace(key=n) for n in range(1000)]
    found = chosen(many, lambda row: row.key)
    assert len(found) == _thumbnails._MOST
    assert (found[0].key, found[-1].key) == (0, 999)
    assert chosen([], lambda row: row) == []


def taken(at_s: float, camera: int, **settings) -> Taken:
    return Taken(0, camera, int(at_s * 1e6), int(at_s * 1e6) + 1000, 1500, settings)


def test_cameras_share_a_lane_unless_each_has_values_of_its_own():
    instrument = Instrument("X", (Stream("a", 1), Stream("b", 2)), rule_keywords=("FILTER02", "RET-ANG1"))
    files = [
        taken(0, 1, OBJECT="one", FILTER02="Halpha"),
        taken(0, 2, OBJECT="one", FILTER02="Ha-cont"),
        taken(60, 1, OBJECT="two", FILTER02="Halpha"),
        taken(61, 1, OBJECT="two", FILTER02="Halpha"),
    ]
    found = {lane.title: lane for lane in lanes(files, instrument)}
    assert list(found) == ["Target", "Filter 2, cam 1", "Filter 2, cam 2", "Exposure, ms"]
    assert [s.value for s in found["Target"].stretches] == ["one", "two"]


def test_long_times_without_a_frame_are_gaps():
    late_us = GAP_US + 10_000
    assert gaps([taken(0, 1), taken(1, 2), taken(1 + late_us / 1e6, 1)]) == [(1_001_000, 1_000_000 + late_us)]


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [-3e-7, 4e-7], [0, 123456.0], [1.0, 1.0001]])
def test_a_scale_has_round_steps_and_holds_its_values(values):
    scale = Scale(values, 0, 100)
    assert scale.least <= min(values) <= max(values) <= scale.most
    assert 2 <= round((scale.most - scale.least) / scale.step) <= 8
    assert scale.at(scale.least) == 100
    assert scale.at(scale.most) == pytest.approx(0)


@pytest.mark.parametrize("hours", [0.02, 0.3, 5, 13, 40])
def test_times_on_an_axis_are_round_and_have_room(hours):
    axis = TimeAxis(1_700_000_000_000_000, 1_700_000_000_000_000 + int(hours * 3.6e9), 50, 350)
    ticks = list(axis.ticks())
    assert len(ticks) <= 6
    assert all(tick % 60_000_000 == 0 for tick in ticks)


def test_templates_lie_beside_the_code():
    folder = Path(_thumbnails.__file__).with_name("templates")
    assert {"base.html", "night.html", "index.html", "style.css"} == {path.name for path in folder.iterdir()}
