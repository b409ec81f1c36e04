"""Hard trains of triggers are of every kind, and as they are said to be."""

import numpy as np
import pytest

from ledger.simulation.night import simulate_night
from tests.ledger.simulation.truths import DATE, joined, offset_us

#: What waiting for the slower camera adds to a period.
READY_US = 6 * 2 / np.sqrt(np.pi)


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
