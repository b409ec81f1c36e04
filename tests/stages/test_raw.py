"""Raw files: what is registered of them, and each fault that puts one in quarantine."""

import os
import pickle
import shutil
from dataclasses import fields, replace

import numpy as np
import pytest

from stages.base import BadInput, Instrument, Retry, Stream
from stages.raw import inspect, same_bytes
from stages.timing import format_timing, select
from tests.stages.samples import (
    CARDS,
    PERIOD_US,
    START_US,
    make_header,
    make_pixels,
    make_raw,
    make_timing,
    pad,
    write_cube,
)

STREAM = Stream("vcam1", 1)
INSTRUMENT = Instrument("VAMPIRES", (STREAM,), rule_keywords=("OBJECT", "RET-ANG1"))


def look(cube, stream=STREAM):
    return inspect(cube, cube.with_suffix(".txt"), stream=stream, instrument=INSTRUMENT)


@pytest.fixture
def cube(tmp_path):
    return make_raw(tmp_path / "20260102").cube


def test_what_is_registered(cube):
    facts = look(cube)
    status, timing_status = cube.stat(), cube.with_suffix(".txt").stat()
    assert (facts.n_frames, facts.first_us, facts.last_us) == (10, START_US, START_US + 9 * PERIOD_US)
    assert (facts.size_bytes, facts.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert (facts.timing_size_bytes, facts.timing_mtime_ns) == (timing_status.st_size, timing_status.st_mtime_ns)
    assert facts.exposure_us == 2000
    assert facts.has_acquisition
    assert facts.cards == {
        "EXPTIME": 0.002,
        "EXTTRIG": True,
        "U_FLC": "NA",
        "OBJECT": "O'Neil / 1",
        "NAXIS1": 7,
        "NAXIS2": 5,
    }
    assert pickle.loads(pickle.dumps(facts)) == facts  # noqa: S301


def test_looking_changes_nothing(cube):
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in cube.parent.iterdir()}
    look(cube)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in cube.parent.iterdir()} == before


def test_identity_is_of_content_not_of_place_or_time(cube, tmp_path):
    facts = look(cube)
    moved = tmp_path / "elsewhere" / cube.parent.parent.name / cube.parent.name / cube.name
    shutil.copytree(cube.parent, moved.parent)
    os.utime(moved, ns=(1, 1))
    assert look(moved).identity == facts.identity
    assert {f.name for f in fields(facts) if getattr(facts, f.name) != getattr(look(moved), f.name)} == {"mtime_ns"}


def change_name(cube):
    renamed = cube.with_name("other.fits")
    cube.with_suffix(".txt").rename(renamed.with_suffix(".txt"))
    return cube.rename(renamed)


def change_header(cube):
    write_cube(cube, make_pixels((10, 5, 7)), *CARDS[:2], "OBJECT  = 'other'", *CARDS[3:])
    return cube


def change_timing(cube):
    cube.with_suffix(".txt").write_bytes(format_timing(make_timing(10, START_US + 1)))
    return cube


@pytest.mark.parametrize("change", [change_name, change_header, change_timing])
def test_identity_changes_with_what_it_is_made_of(cube, change):
    before = look(cube).identity
    assert look(change(cube)).identity != before


def test_identity_changes_with_the_stream(cube):
    assert look(cube).identity != look(cube, Stream("vcam2", 2)).identity


def test_old_files_have_logging_times(cube):
    cube.with_suffix(".txt").write_bytes(format_timing(make_timing(10, has_acquisition=False)))
    facts = look(cube)
    assert not facts.has_acquisition
    assert facts.first_us == START_US + 320


def without(keyword):
    return tuple(card for card in CARDS if not card.startswith(keyword))


def with_exposure(field):
    return (*without("EXPTIME"), f"EXPTIME = {field}")


def rows(indices):
    return format_timing(select(make_timing(10), np.array(indices, np.int64)))


def cube_of(*cards, shape=(10, 5, 7), **facts):
    return make_header(*(cards or CARDS), shape=shape, **facts) + pad(make_pixels((10, 5, 7)).tobytes())


FAULTS = {
    "no txt": (None, ".txt", "does not exist"),
    "fewer rows": (rows(range(9)), ".txt", "9 rows, expected 10"),
    "no rows": (rows([]), ".txt", "0 rows, expected 10"),
    "unreadable rows": (b"# \nabc\n", ".txt", "row"),
    "times that go backwards": (rows([0, 1, 2, 4, 3, 5, 6, 7, 8, 9]), ".txt", "go backwards 1 times, first at row 5"),
    "not FITS": (b"nothing", ".fits", "not a FITS file"),
    "truncated": (cube_of()[:-2880], ".fits", "truncated"),
    "two axes": (cube_of(naxis=2), ".fits", "NAXIS is 2"),
    "float": (cube_of(bitpix=-32), ".fits", "BITPIX is -32"),
    "64 bits": (cube_of(bitpix=64), ".fits", "BITPIX is 64"),
    "several HDUs": (cube_of() + pad(b"XTENSION= 'IMAGE   '", b" "), ".fits", "several HDUs"),
    "zero frames": (make_header(*CARDS, shape=(0, 5, 7)), ".fits", "zero frames"),
    "no EXPTIME": (cube_of(*without("EXPTIME")), ".fits", "EXPTIME has no value"),
    "empty EXPTIME": (cube_of(*with_exposure("/ [s]")), ".fits", "EXPTIME has no value"),
    "EXPTIME that is text": (cube_of(*with_exposure("'0.002'")), ".fits", "EXPTIME has '0.002'"),
    "EXPTIME that is logical": (cube_of(*with_exposure("T")), ".fits", "EXPTIME has True"),
    "negative EXPTIME": (cube_of(*with_exposure("-1.0")), ".fits", "EXPTIME has -1.0"),
    "infinite EXPTIME": (cube_of(*with_exposure("1E999")), ".fits", "EXPTIME is inf"),
    "a card that is none": (cube_of(*without("OBJECT"), "OBJECT  = 'no end"), ".fits", "OBJECT  = 'no end"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_told(cube, fault):
    content, suffix, message = FAULTS[fault]
    path = cube.with_suffix(suffix)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        look(cube)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_equal_times_are_no_fault(cube):
    timing = make_timing(10)
    timing.acquired_us[5] = timing.acquired_us[4]
    cube.with_suffix(".txt").write_bytes(format_timing(timing))
    assert look(cube).n_frames == 10


def test_an_error_of_the_system_is_no_fault(cube, tmp_path):
    cube.unlink()
    with pytest.raises(Retry, match=str(cube)):
        look(cube)
    cube.mkdir()
    with pytest.raises(Retry, match=str(cube)):
        look(cube)


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 3_000_000])
def test_same_bytes(tmp_path, size):
    content = np.random.default_rng(size).bytes(size)
    paths = [tmp_path / name for name in "abc"]
    for path, tail in zip(paths, (b"x", b"x", b"y"), strict=True):
        path.write_bytes(content + tail)
    assert same_bytes(paths[0], paths[1])
    assert not same_bytes(paths[0], paths[2])
    paths[1].write_bytes(content)
    assert not same_bytes(paths[0], paths[1])
    assert not same_bytes(paths[1], paths[0])
    with pytest.raises(Retry, match="missing"):
        same_bytes(paths[0], tmp_path / "missing")


def test_facts_cannot_be_changed(cube):
    with pytest.raises(AttributeError):
        look(cube).n_frames = 1
    assert replace(look(cube), n_frames=1).n_frames == 1
