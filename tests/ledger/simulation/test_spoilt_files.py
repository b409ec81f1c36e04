"""Spoilt files of a simulated night, and what cannot be simulated."""

import filecmp

import numpy as np
import pytest
from astropy.io import fits

from ledger.simulation._blocks import BLOCKS
from ledger.simulation._cards import header_text
from ledger.simulation.night import SCENARIO, TrueFile, Truth, frame_identity, load_truth, simulate_night
from tests.ledger.simulation.truths import DATE, acquired_us, timing


def the_file(truth: Truth, fault: str) -> TrueFile:
    (file,) = (f for f in truth.files if f.fault == fault)
    return file


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
