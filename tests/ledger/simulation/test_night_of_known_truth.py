"""A simulated night is what its truth says, and looks like one of the cameras."""

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from ledger.simulation._blocks import FAULTS
from ledger.simulation.night import Truth, frame_identity
from tests.ledger.simulation.truths import DATE, acquired_us, tables, timing

UNREADABLE = ("unreadable", "truncated", "two-dimensional", "float")


#: A row of a timing file of a real camera, with its widths.
REAL_ROW = "         1     7196848      0.000376463   1762424400.509796381  1762424400.509474      7196848            0"


def of_target(night: Path, truth: Truth, target: str) -> dict[int, np.ndarray]:
    """Return all frames of sound cubes of a target, by camera."""
    frames: dict[int, list[np.ndarray]] = {1: [], 2: []}
    for file, table in tables(truth):
        if file.fault is None and fits.getval(night / file.path, "OBJECT") == target:
            frames[file.camera].append(table)
    return {camera: np.concatenate(parts) for camera, parts in frames.items() if parts}


def test_a_night_is_small_and_has_every_block_and_fault(night, truth):
    assert 3000 < sum(map(len, truth.frames.values())) < 6000
    assert 30 <= len(truth.files) <= 45
    assert sorted(f.fault for f in truth.files if f.fault) == sorted(FAULTS)
    targets = {fits.getval(night / f.path, "OBJECT") for f in truth.files if f.fault is None}
    assert targets == {"HD141569A", "AB Aur", "DARK", "HD 34700"}


def test_the_folder_holds_what_the_truth_lists_and_nothing_else(root, night, truth):
    cubes = {f.path for f in truth.files}
    txts = {f.path.replace(".fits", ".txt") for f in truth.files if f.fault != "no txt"}
    found = {p.relative_to(night).as_posix() for p in night.rglob("*") if p.is_file()}
    assert found == cubes | txts
    assert len(cubes) == len(truth.files)
    assert all(re.fullmatch(r"vcam([12])/vcam\1_\d\d:\d\d:\d\d\.\d{9}\.fits", path) for path in cubes)
    assert [p.name for p in root.iterdir()] == [DATE]


def test_every_frame_of_a_cube_says_who_it_is(night, truth):
    for file, table in tables(truth):
        assert len(table) == file.n_frames
        if file.fault in (*UNREADABLE, "zero frames"):
            continue
        data = fits.getdata(night / file.path)
        identity = frame_identity(data)
        assert data.shape == (file.n_frames, 32, 32)
        assert (identity["camera"] == file.camera).all()
        assert identity["serial"].tolist() == table["serial"].tolist()
        assert identity["trigger"].tolist() == table["trigger"].tolist()


def test_identities_use_both_halves(truth):
    for frames in truth.frames.values():
        assert frames["serial"].max() > 0xFFFF
        assert frames["trigger"].min() == -1
        assert frames["trigger"].max() > 0xFFFF


def test_no_sound_frame_is_there_twice(truth):
    for camera in (1, 2):
        serials = np.concatenate([t["serial"] for f, t in tables(truth) if f.camera == camera and f.fault is None])
        assert len(np.unique(serials)) == len(serials)


def test_acquisition_times_in_the_txt_are_the_truth(night, truth):
    for file, table in tables(truth):
        if file.fault not in ("no txt", "txt rows"):
            assert acquired_us(timing(night / file.path)) == table["time_us"].tolist()


def test_timing_rows_have_the_widths_and_columns_of_real_ones(night, truth):
    row_shape = re.sub(r"\d", "0", REAL_ROW)
    for file, _ in tables(truth):
        if file.fault == "no txt":
            continue
        for i, row in enumerate(timing(night / file.path)):
            columns = row.split()
            assert len(row) == len(REAL_ROW)
            assert int(columns[0]) == i
            assert columns[1] == columns[5]
            assert float(columns[3]) - float(columns[4]) == pytest.approx(400e-6, abs=300e-6)
        if file.fault != "zero frames":
            assert [len(c) for c in columns[2:5]] == [11, 20, 17]
    assert [m.end() for m in re.finditer(r"\S+", row)] == [m.end() for m in re.finditer(r"\S+", row_shape)]


def test_the_gap_after_a_is_short_and_that_after_b_long(night, truth):
    for target, cameras in (("HD141569A", 2), ("HD 34700", 1)):
        frames = of_target(night, truth, target)
        assert len(frames) == cameras
        for table in frames.values():
            adjacent = np.diff(table["trigger"]) == 1
            gaps_us = np.diff(table["time_us"])[adjacent]
            first = table["flc"][:-1][adjacent]
            within_us = gaps_us < 2500
            assert set(first.tolist()) == {1, -1}
            assert np.median(gaps_us[within_us & (first == 1)]) == pytest.approx(1930, abs=35)
            assert np.median(gaps_us[within_us & (first == -1)]) == pytest.approx(2075, abs=35)
            assert (table["flc"][1:][adjacent][within_us] == -first[within_us]).all()


def test_paired_frames_differ_by_the_offset_and_noise(night, truth):
    frames = of_target(night, truth, "HD141569A")
    _, in_1, in_2 = np.intersect1d(frames[1]["trigger"], frames[2]["trigger"], return_indices=True)
    difference_us = frames[2]["time_us"][in_2] - frames[1]["time_us"][in_1]
    for offset_us in (110, -180):
        noise_us = difference_us[np.abs(difference_us - offset_us) < 100]
        assert len(noise_us) > 300
        assert noise_us.mean() == pytest.approx(offset_us, abs=3)
        assert noise_us.std() == pytest.approx(7 * np.sqrt(2), rel=0.2)
    assert (frames[1]["flc"][in_1] == frames[2]["flc"][in_2]).all()


def test_either_camera_loses_frames_and_they_start_apart(night, truth):
    frames = of_target(night, truth, "HD141569A")
    assert frames[1]["trigger"][0] != frames[2]["trigger"][0]
    for table in frames.values():
        in_first_acquisition = table["trigger"] < 65_600
        steps = np.diff(table["trigger"][in_first_acquisition])
        assert 5 < (steps > 1).sum() < 25
        assert steps.max() > 2


def test_free_running_cameras_know_no_trigger_and_no_flc(night, truth):
    frames = of_target(night, truth, "DARK")
    for table in frames.values():
        assert (table["trigger"] == -1).all()
        assert (table["flc"] == 0).all()
    difference_us = frames[2]["time_us"] - frames[1]["time_us"]
    assert difference_us.std() > 1.5 * 7 * np.sqrt(2)  # more than by the noise of both
    assert (of_target(night, truth, "AB Aur")[1]["flc"] == 0).all()


def test_some_names_carry_hst(night, truth):
    hours = {f.path[12:14] for f in truth.files if f.fault is None}
    assert hours == {"06", "20"}
    in_hst = [f for f in truth.files if f.path[12:14] == "20"]
    assert {fits.getval(night / f.path, "OBJECT") for f in in_hst} == {"DARK"}


def test_slow_polarimetry_turns_the_retarder_within_the_format(night, truth):
    angles = [fits.getval(night / f.path, "RET-ANG1") for f in truth.files if "06:00:26" < f.path[12:20] < "06:00:50"]
    assert {abs(round(angle, 2)) for angle in angles} == {0, 45, 22.5, 67.5}
    assert len(set(angles)) == len(angles)


def test_headers_are_those_of_the_camera(night, truth):
    header = fits.getheader(night / truth.files[0].path)
    assert 385 <= len(header) <= 410
    assert header["CD1_2"] == -2.2401e-09
    assert header["OBSERVER"] == '"[H] O\'Neil, Lozi / Vievard"'
    assert header["CROPPED"] is True
    assert header["FRAMEID"] == header["EXP-ID"] == ""
    assert header.cards["FRAMEID"].image.startswith("FRAMEID = '' / Image")
    assert len(header["COMMENT"]) == 2
    assert (header["BITPIX"], header["BZERO"]) == (16, 32768)
    assert (header["EXTTRIG"], header["U_FLCEN"], header["U_FLCST"], header["U_FLC"]) == (True, True, "IN", "NA")
    assert header["U_TRIGJT"] == 80
    assert header.cards["FRATE"].image.startswith("FRATE   =                 500. / ")
    assert header["X_CHAPKO"] == "Gold mirror"


def test_every_card_can_be_read(night, truth):
    for file, _ in tables(truth):
        if file.fault in (None, "float"):
            with fits.open(night / file.path) as hdus:
                hdus.verify("exception")
                assert all(len(card.image) == 80 for card in hdus[0].header.cards)


def test_time_cards_are_those_of_the_frames(night, truth):
    for file, table in tables(truth):
        if file.fault is not None:
            continue
        header = fits.getheader(night / file.path)
        first = datetime.fromtimestamp(table["time_us"][0] / 1e6, UTC)
        assert header["UT-STR"] == f"{first:%H:%M:%S.%f}"[:11]
        assert header["HST-STR"][:2] == f"{(first.hour - 10) % 24:02d}"
        assert header["DATE-OBS"] == "2026-01-02"
        assert header["MJD-END"] == pytest.approx(40587 + table["time_us"][-1] / 86.4e9, abs=1e-9)
        assert header["MJD-STR"] < header["MJD"] < header["MJD-END"]


def test_an_exposure_fits_between_two_frames(night, truth):
    for file, table in tables(truth):
        if file.fault is None:
            assert np.diff(table["time_us"]).min() > 1e6 * fits.getval(night / file.path, "EXPTIME")


def test_some_cubes_have_checksums_that_hold(night, truth):
    found = 0
    for file, _ in tables(truth):
        if file.fault is None and "CHECKSUM" in fits.getheader(night / file.path):
            with fits.open(night / file.path, checksum=True) as hdus:
                assert hdus[0].verify_checksum() == hdus[0].verify_datasum() == 1
            found += 1
    assert found > 0


def test_modification_times_are_those_of_the_last_frames(night, truth):
    for file, table in tables(truth):
        if file.n_frames:
            late_us = (night / file.path).stat().st_mtime_ns / 1000 - table["time_us"][-1]
            assert 200 < late_us < 1000
