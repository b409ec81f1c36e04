import filecmp
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from ledger.simulation._blocks import BLOCKS, FAULTS
from ledger.simulation._cards import header_text
from ledger.simulation.night import SCENARIO, TrueFile, Truth, frame_identity, load_truth, simulate_night

DATE = "20260102"
UNREADABLE = ("unreadable", "truncated", "two-dimensional", "float")

#: A row of a timing file of a real camera, with its widths.
REAL_ROW = "         1     7196848      0.000376463   1762424400.509796381  1762424400.509474      7196848            0"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def truth(root) -> Truth:
    return simulate_night(root, DATE)


@pytest.fixture(scope="module")
def night(root, truth) -> Path:
    return root / DATE


def tables(truth: Truth) -> list[tuple[TrueFile, np.ndarray]]:
    """Return each cube with its frames."""
    return [(f, truth.frames[f.camera][truth.frames[f.camera]["file"] == i]) for i, f in enumerate(truth.files)]


def timing(cube: Path) -> list[str]:
    lines = cube.with_suffix(".txt").read_text("ascii").splitlines()
    return [line for line in lines if not line.startswith("#")]


def acquired_us(rows: list[str]) -> list[int]:
    return [int(row.split()[4].replace(".", "")) for row in rows]


def the_file(truth: Truth, fault: str) -> TrueFile:
    (file,) = (f for f in truth.files if f.fault == fault)
    return file


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


@pytest.mark.parametrize(("fault", "n_rows"), [("txt rows", 23), ("zero frames", 0), ("float", 24)])
def test_rows_of_spoilt_files(night, truth, fault, n_rows):
    assert len(timing(night / the_file(truth, fault).path)) == n_rows


def test_a_cube_without_txt(night, truth):
    assert not (night / the_file(truth, "no txt").path).with_suffix(".txt").exists()


def test_an_unreadable_cube(night, truth):
    with pytest.raises(OSError, match="SIMPLE"):
        fits.getheader(night / the_file(truth, "unreadable").path)


def test_a_truncated_cube(night, truth):
    path = night / the_file(truth, "truncated").path
    header = fits.Header.fromfile(path)
    data_bytes = path.stat().st_size - len(header.tostring())
    assert 0 < data_bytes < 2 * header["NAXIS1"] * header["NAXIS2"] * header["NAXIS3"]


@pytest.mark.parametrize(
    ("fault", "shape", "bitpix"), [("two-dimensional", (32, 32), 16), ("float", (24, 32, 32), -32)]
)
def test_cubes_of_wrong_form(night, truth, fault, shape, bitpix):
    path = night / the_file(truth, fault).path
    assert fits.getdata(path).shape == shape
    assert fits.getval(path, "BITPIX") == bitpix


def test_a_cube_of_several_hdus(night, truth):
    with fits.open(night / the_file(truth, "several HDUs").path) as hdus:
        assert len(hdus) == 2


def test_a_cube_without_exposure_time(night, truth):
    assert "EXPTIME" not in fits.getheader(night / the_file(truth, "no EXPTIME").path)


def test_times_that_go_backwards(night, truth):
    times = acquired_us(timing(night / the_file(truth, "backwards").path))
    assert (np.diff(times) < 0).sum() == 1


def test_a_cube_of_zero_frames(night, truth):
    header = fits.getheader(night / the_file(truth, "zero frames").path)
    assert (header["NAXIS"], header["NAXIS3"]) == (3, 0)


def test_a_duplicate_is_one_of_a_sound_file(night, truth):
    copy = night / the_file(truth, "duplicate").path
    same = [f for f in truth.files if f.fault is None and filecmp.cmp(night / f.path, copy, shallow=False)]
    assert len(same) == 1
    original = night / same[0].path
    assert filecmp.cmp(original.with_suffix(".txt"), copy.with_suffix(".txt"), shallow=False)


def test_the_same_arguments_give_the_same_night(tmp_path, night, truth):
    again = simulate_night(tmp_path, DATE)
    assert again.files == truth.files
    for path in (p for p in night.rglob("*") if p.is_file()):
        other = tmp_path / DATE / path.relative_to(night)
        assert other.read_bytes() == path.read_bytes()
        assert other.stat().st_mtime_ns == path.stat().st_mtime_ns


@pytest.mark.parametrize("change", [{"seed": 1}, {"date": "20260103"}])
def test_another_seed_or_date_gives_another_night(tmp_path, truth, change):
    other = simulate_night(tmp_path, **{"date": DATE, "scenario": ["onecamera"], "scale": 0.1, **change})
    base = simulate_night(tmp_path / "base", DATE, scenario=["onecamera"], scale=0.1)
    gaps = [np.diff(t.frames[1]["time_us"]).tolist() for t in (other, base)]
    assert gaps[0] != gaps[1]


def test_scenario_scale_and_shape(tmp_path):
    told: list[str] = []
    truth = simulate_night(
        tmp_path, DATE, scenario=("onecamera", "untriggered"), scale=0.5, shape=(3, 7), progress=told.append
    )
    assert told == [f.path for f in truth.files]
    assert sum(map(len, truth.frames.values())) == pytest.approx(200 + 2 * 150, abs=20)
    assert fits.getdata(tmp_path / DATE / told[0]).shape[1:] == (3, 7)
    assert {f.camera for f in truth.files if f.path[12:14] == "06"} == {1}


def test_truth_survives_its_file(tmp_path, truth):
    truth.save(tmp_path / "truth")
    loaded = load_truth(tmp_path / "truth")
    assert (loaded.date, loaded.files) == (truth.date, truth.files)
    assert any(f.fault is None for f in loaded.files)
    for camera in (1, 2):
        assert loaded.frames[camera].dtype == truth.frames[camera].dtype
        assert (loaded.frames[camera] == truth.frames[camera]).all()


def test_identities_are_read_in_any_byte_order_and_selection():
    data = np.zeros((2, 1, 5), np.uint16)
    data[0, 0] = (2, 0x1234, 0x0001, 0xFFFF, 0xFFFF)
    data[1, 0] = (1, 0xFFFF, 0x0000, 0x0001, 0x8000)
    for pixels in (data, data.astype(">u2")):
        assert frame_identity(pixels).tolist() == [(2, 0x11234, -1), (1, 0xFFFF, 0x80000001)]
        assert frame_identity(pixels[::-1]).tolist() == [(1, 0xFFFF, 0x80000001), (2, 0x11234, -1)]


@pytest.mark.parametrize(
    "data", [np.zeros((2, 8), np.uint16), np.zeros((1, 2, 8), np.int16), np.zeros((1, 8, 4), np.uint16)]
)
def test_pixels_without_identity_are_refused(data):
    with pytest.raises(ValueError, match="cannot read identities"):
        frame_identity(data)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"date": "2026-01-02"}, "no such date"),
        ({"date": "20260230"}, "no such date"),
        ({"date": "../20260"}, "no such date"),
        ({"scenario": ["pdi", "snow"]}, r"\['snow'\].*pdi, slow"),
        ({"scenario": []}, "name some of"),
        ({"seed": -1}, "seed is -1"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"shape": (32, 4)}, "cannot carry an identity"),
        ({"shape": (0, 32)}, "cannot carry an identity"),
    ],
)
def test_a_night_that_cannot_be_is_refused_and_nothing_written(tmp_path, arguments, says):
    with pytest.raises(ValueError, match=says):
        simulate_night(tmp_path / "root", **{"date": DATE, **arguments})
    assert not (tmp_path / "root").exists()


def test_a_night_is_never_overwritten(tmp_path):
    (tmp_path / DATE).mkdir()
    with pytest.raises(ValueError, match="exists already"):
        simulate_night(tmp_path, DATE)
    assert list((tmp_path / DATE).iterdir()) == []


def test_the_flc_card_is_na_or_empty(night, truth):
    cards = {fits.getval(night / f.path, "OBJECT"): fits.getval(night / f.path, "U_FLC") for f in truth.files[:28]}
    assert cards == {"HD141569A": "NA", "AB Aur": "NA", "DARK": "NA", "HD 34700": ""}


@pytest.mark.parametrize(
    ("value", "field"),
    [("O'Neil", "'O''Neil '          "), (True, " " * 19 + "T"), (-3, " " * 18 + "-3"), (1e-7, " " * 14 + "1.E-07")],
)
def test_values_are_written_as_fits_has_them(value, field):
    text = header_text({"OBJECT": value})
    assert len(text) % 80 == 0
    card = next(text[i : i + 80] for i in range(0, len(text), 80) if text.startswith("OBJECT  =", i))
    assert card == f"OBJECT  = {field} / Object".ljust(80)
    assert fits.Card.fromstring(card).value == value


def test_cards_that_no_raw_header_has_are_refused():
    with pytest.raises(ValueError, match="NO-SUCH"):
        header_text({"NO-SUCH": 1})


def test_the_scenario_names_all_blocks_but_the_hard_ones():
    assert SCENARIO == ("pdi", "slow", "untriggered", "onecamera", "bad")
    assert [name for name in BLOCKS if name not in SCENARIO] == ["trains"]


#: What waiting for the slower camera adds to a period.
READY_US = 6 * 2 / np.sqrt(np.pi)


@pytest.fixture(scope="module")
def trains(tmp_path_factory) -> dict[str, dict[int, list[tuple[np.ndarray, np.ndarray]]]]:
    """Return the hard trains: by target and camera, the times in each txt and the frames of the truth."""
    root = tmp_path_factory.mktemp("trains")
    truth = simulate_night(root, DATE, scenario=["trains"], shape=(1, 5))
    made: dict = {}
    for file, table in tables(truth):
        times_us = np.array(acquired_us(timing(root / DATE / file.path)))
        target = fits.getval(root / DATE / file.path, "OBJECT").strip()
        made.setdefault(target, {1: [], 2: []})[file.camera].append((times_us, table))
    return made


def joined(trains, target: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the times in the txt files and the frames of both cameras."""
    return [tuple(map(np.concatenate, zip(*trains[target][camera], strict=True))) for camera in (1, 2)]


def offset_us(trains, target: str) -> np.ndarray:
    """Return by how much camera 2 is late, trigger by trigger."""
    (first_us, first), (second_us, second) = joined(trains, target)
    _, in_1, in_2 = np.intersect1d(first["trigger"], second["trigger"], return_indices=True)
    return second_us[in_2] - first_us[in_1]


def test_hard_trains_are_of_every_kind_and_few_frames(trains):
    assert list(trains) == [
        "1 kHz",
        "SLOW",
        "Noisy",
        "Steps",
        "Pause",
        "Bursts",
        "Drops",
        "Offset",
        "Apart",
        "Tiny cubes",
        "One trigger",
        "Two triggers",
        "Interleaved",
        "Repeated",
        "1 Hz",
    ]
    assert 3000 < sum(len(t) for kind in trains.values() for cubes in kind.values() for t, _ in cubes) < 6000


def test_times_of_hard_trains_are_the_truth_and_never_descend(trains):
    for kind in trains:
        for times_us, table in joined(trains, kind):
            assert times_us.tolist() == table["time_us"].tolist()
            assert (np.diff(times_us) >= 0).all()
            assert (np.diff(table["serial"]) == 1).all()


@pytest.mark.parametrize(
    ("target", "period_us", "dither_us", "noise_us"),
    [("1 kHz", 1e3, 20, 2), ("SLOW", 2e4, 500, 100), ("Offset", 2e3, 50, 10), ("1 Hz", 1e6, 80, 7)],
)
def test_gaps_of_hard_trains_alternate_by_the_dither(trains, target, period_us, dither_us, noise_us):
    for times_us, table in joined(trains, target):
        gaps_us = np.diff(times_us)
        short, long = gaps_us[table["flc"][:-1] == 1], gaps_us[table["flc"][:-1] == -1]
        assert abs(len(short) - len(long)) <= 1
        error_us = 4 * np.hypot(noise_us, 6) * np.sqrt(2 / len(short)) + 1e-3 * period_us / len(short)
        assert (long.mean() - short.mean()) / 2 == pytest.approx(dither_us, abs=error_us)
        assert (long.mean() + short.mean()) / 2 == pytest.approx(period_us + READY_US, rel=2e-3)


@pytest.mark.parametrize(
    ("target", "late_us", "noise_us"),
    [("1 kHz", 110, 2), ("SLOW", 400, 100), ("Noisy", -400, 173), ("Offset", -900, 10), ("1 Hz", 110, 7)],
)
def test_cameras_of_hard_trains_are_apart_by_offset_and_noise(trains, target, late_us, noise_us):
    late = offset_us(trains, target)
    drifted_us = 5 * np.arange(len(late)) if target == "1 Hz" else 0
    assert (late - drifted_us).mean() == pytest.approx(late_us, abs=5 * noise_us / np.sqrt(len(late)) + 1)
    assert (late - drifted_us).std() == pytest.approx(np.sqrt(2) * noise_us, rel=0.35)


def test_an_offset_is_of_almost_half_a_period(trains):
    assert np.median(offset_us(trains, "Offset")) == pytest.approx(-0.45 * 2000, abs=3)


def test_the_period_steps_up_and_down(trains):
    for times_us, _ in joined(trains, "Steps"):
        periods_us = (times_us[2:] - times_us[:-2]) / 2
        parts = [np.median(periods_us[int(k * 400) : int((k + 0.1) * 400)]) for k in (0.15, 0.32, 0.57, 0.72, 0.87)]
        assert parts == pytest.approx([1990, 2195, 2205, 1760, 1765], rel=0.012)


def test_a_file_has_a_pause_in_it(trains):
    for cubes in trains["Pause"].values():
        ((times_us, _),) = cubes
        gaps_us = np.diff(times_us)
        assert (gaps_us > 3000).sum() == 1
        assert gaps_us.max() == pytest.approx(1_502_000, abs=300)


def test_frames_are_lost_in_bursts_or_by_themselves(trains):
    for _, table in joined(trains, "Bursts"):
        lost = np.diff(table["trigger"]) - 1
        assert 1 <= (lost > 0).sum() < 12
        assert lost.sum() > 4 * (lost > 0).sum()
    for _, table in joined(trains, "Drops"):
        lost = np.diff(table["trigger"]) - 1
        assert lost.sum() == pytest.approx(0.2 * 400, abs=35)
        assert np.median(lost[lost > 0]) == 1


def test_one_camera_stops_early_and_the_other_starts_midway(trains):
    (first_us, first), (second_us, second) = joined(trains, "Apart")
    assert second["trigger"][0] - first["trigger"][0] == 100
    assert second["trigger"][-1] - first["trigger"][-1] == 50
    assert second_us[0] - first_us[0] == pytest.approx(200_000, rel=0.01)
    assert second_us[-1] - first_us[-1] == pytest.approx(100_000, rel=0.01)


def test_cubes_are_of_one_frame_of_two_and_unequal(trains):
    def sizes(kind):
        return [[len(times_us) for times_us, _ in trains[kind][camera]] for camera in (1, 2)]

    assert sizes("Tiny cubes") == [[1] * 10, [2] * 5]
    assert sizes("One trigger") == [[1], [1]]
    assert sizes("Two triggers") == [[2], [2]]
    assert sizes("1 kHz") == [[130, 70], [90, 90, 20]]


def test_stretches_with_and_without_trigger_take_turns(trains):
    for cubes in trains["Interleaved"].values():
        assert [bool((table["trigger"] >= 0).all()) for _, table in cubes] == [True, False, True, False]
        assert [bool((table["flc"] != 0).all()) for _, table in cubes] == [True, False, True, False]


def test_some_times_are_there_twice(trains):
    for times_us, table in joined(trains, "Repeated"):
        again = np.diff(times_us) == 0
        assert 3 <= again.sum() <= 25
        assert (np.diff(table["trigger"])[again] == 0).all()
        assert (np.diff(table["trigger"])[~again] == 1).all()


def test_hard_trains_are_the_same_again_byte_for_byte(tmp_path):
    for name in ("one", "other"):
        simulate_night(tmp_path / name, DATE, scenario=["trains"], scale=0.2, shape=(1, 5))
    files = [sorted(p for p in (tmp_path / name).rglob("*") if p.is_file()) for name in ("one", "other")]
    assert len(files[0]) == len(files[1]) > 50
    for one, other in zip(*files, strict=True):
        assert one.relative_to(tmp_path / "one") == other.relative_to(tmp_path / "other")
        assert one.read_bytes() == other.read_bytes()
