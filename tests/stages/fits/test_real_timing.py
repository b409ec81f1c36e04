"""Timing files of a night of other instruments, and pairs of cameras made of them.

Real ones, where they are beside the checkout, and in any case look-alikes of them.  The streams are of other
instruments than VAMPIRES, at 2500 and 2000 Hz: 400 and 500 us between frames.  Their gaps scatter by 1.0 to 1.8 us
(standard deviation) with a few that are 14 to 32 us off, and none is missing.  So a second camera that is made of the
same stream shares its timing noise, and one made of another stream does not.
"""

import numpy as np
import pytest

from stages.fits.timing import format_timing, read_timing
from tests.others import write_streams
from tests.stages.blocks import Block, errors, find
from tests.tools import SHARED, beside

#: Period, microseconds, and frames in a file.
STREAMS = {"apapane": (400, 5000), "ocam2d": (500, 3000)}
TELEMETRY = SHARED / "telemetry"


@pytest.fixture(scope="module", params=[pytest.param(None, id="look-alikes"), beside("real timing files", TELEMETRY)])
def files(request, tmp_path_factory):
    """Return the timing files of each stream."""
    if request.param is None:
        return write_streams(tmp_path_factory.mktemp("streams"))
    return {name: sorted(request.param.rglob(f"{name}/*.txt")) for name in STREAMS}


def each(files):
    return [path for paths in files.values() for path in paths]


def test_each_file_is_read_exactly(files):
    assert [len(paths) for paths in files.values()] == [4, 1]
    for path in each(files):
        check_read(path)


def check_read(path):
    content = path.read_bytes()
    timing = read_timing(path)
    assert format_timing(timing) == content
    assert timing.has_acquisition
    assert not timing.is_cut
    rows = [line.split() for line in content.splitlines() if not line.startswith(b"#")]
    names = ("cube_index", "main_index", "since_start_ns", "logged_ns", "acquired_us", "cnt0", "cnt1")
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        assert getattr(timing, name).tolist() == [int(word.replace(b".", b"")) for word in column]
    table = np.loadtxt(path)  # of doubles: seconds since 1970 are exact to 0.24 us
    assert np.array_equal(np.rint(table[:, 4] * 1e6), timing.acquired_us)
    assert np.array_equal(np.rint(table[:, 2] * 1e9), timing.since_start_ns)
    assert np.array_equal(table[:, 5], timing.cnt0)


def test_each_file_is_of_its_period_and_no_time_descends(files):
    for path in each(files):
        check_period(path)


def check_period(path):
    timing = read_timing(path)
    period_us, rows = STREAMS[path.parent.name]
    gaps_us = np.diff(timing.acquired_us)
    assert timing.n == rows
    assert (gaps_us >= 0).all()
    assert abs(gaps_us.mean() - period_us) < 0.2
    assert gaps_us.std() < 2
    assert np.abs(gaps_us - period_us).max() < 40
    assert (np.diff(timing.logged_ns) >= 0).all()
    assert (np.diff(timing.cnt0) == 1).all()


def cameras_of(first_us, second_us, rng, *, offset_us, dither_us, drop):
    """Return two cameras that drop frames of a stream whose triggers are dithered."""
    n = len(first_us)
    trigger = np.arange(n)
    flc = np.where(trigger % 2, -1, 1)
    late_us = (flc * dither_us) // 2
    kept = [rng.random(n) >= drop for _ in range(2)]
    times = first_us + late_us, second_us + late_us + round(offset_us)
    shortest_us = round(np.diff(first_us).mean()) - dither_us
    return Block(
        tuple(trigger[k] for k in kept),
        tuple(t[k] for t, k in zip(times, kept, strict=True)),
        flc,
        exposure_us=round(0.75 * shortest_us),
        dither_us=dither_us,
        cubes=(1000, 700),
    )


def check(block):
    """No frame is lost (see `find`), none is mispaired, no pair missed, no label wrong; hardly one is dubious."""
    found = find([block])[0]
    assert errors(block, found) == (0, 0)
    common = np.intersect1d(*block.trigger)
    assert np.array_equal(block.trigger[0][found.pairs[:, 0]], common)
    assert all(np.mean(state == 0) < 5e-3 for state in found.state)
    whole = find([block], enforce_pairs=True)[0]
    assert errors(block, whole) == (0, 0)


@pytest.mark.parametrize("drop", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("offset", [-0.45, -0.1, 0.1, 0.3, 0.45])
@pytest.mark.parametrize("dither_us", [20, 80, 150])
@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_against_itself(files, stream, dither_us, offset, drop):
    for number, path in enumerate(files[stream]):
        time_us = read_timing(path).acquired_us
        rng = np.random.default_rng([number, dither_us, round(1000 * drop)])
        offset_us = offset * STREAMS[stream][0]
        check(cameras_of(time_us, time_us, rng, offset_us=offset_us, dither_us=dither_us, drop=drop))


@pytest.mark.parametrize("drop", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("offset", [-0.45, 0.1, 0.45])
@pytest.mark.parametrize("dither_us", [20, 150])
def test_a_stream_against_another_of_the_same_camera(files, dither_us, offset, drop):
    """Both start at once, and so drift apart by the few microseconds that their periods differ by in 2 s."""
    times = [read_timing(path).acquired_us for path in files["apapane"]]
    for number, (first_us, second_us) in enumerate(zip(times, [*times[1:], times[0]], strict=True)):
        rng = np.random.default_rng([number, dither_us, round(1000 * drop)])
        aligned_us = second_us - second_us[0] + first_us[0]
        check(cameras_of(first_us, aligned_us, rng, offset_us=offset * 400, dither_us=dither_us, drop=drop))


def test_streams_that_follow_each_other_are_one_train(files):
    """The four files of a stream have no gap between them, and make cubes of one block."""
    time_us = np.concatenate([read_timing(path).acquired_us for path in files["apapane"]])
    assert np.diff(time_us).max() < 1.5 * 400
    check(cameras_of(time_us, time_us, np.random.default_rng(5), offset_us=-170, dither_us=80, drop=0.1))
