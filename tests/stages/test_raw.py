"""Raw files: what is registered of them, and each fault that puts one in quarantine."""

import os
import pickle
import shutil
from dataclasses import fields, replace

import numpy as np
import pytest

from stages.base import BadInput, Retry
from stages.fits.timing import format_timing, select
from stages.instrument import Instrument, Stream
from stages.raw import inspect, same_bytes
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


def look(cube, stream=STREAM, *, salvage=False):
    return inspect(cube, cube.with_suffix(".txt"), stream=stream, instrument=INSTRUMENT, salvage=salvage)


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
        "BITPIX": 16,
        "BZERO": 0,
        "BSCALE": 1,
    }
    assert pickle.loads(pickle.dumps(facts)) == facts  # noqa: S301


@pytest.mark.parametrize("field", ["''", "'NA'", "'        '", ""])
def test_a_blank_frame_id_is_none(cube, field):
    cube.write_bytes(cube_of(*without("FRAMEID"), f"FRAMEID = {field}"))
    inspect(cube, cube.with_suffix(".txt"), stream=STREAM, instrument=INSTRUMENT)


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


def test_acquisition_times_of_0_are_none(cube):
    timing = make_timing(10)
    timing.acquired_us[:] = 0
    cube.with_suffix(".txt").write_bytes(format_timing(timing))
    facts = look(cube)
    assert not facts.has_acquisition
    assert (facts.first_us, facts.last_us) == (START_US + 320, START_US + 320 + 9 * PERIOD_US)


def test_a_contradiction_with_the_folders_date_is_a_fact_of_a_file_without_other_faults(tmp_path):
    assert look(make_raw(tmp_path / "20260102").cube).contradiction is None
    facts = look(make_raw(tmp_path / "20260105").cube)
    assert "its folder of 20260105" in facts.contradiction
    assert pickle.loads(pickle.dumps(facts)) == facts  # noqa: S301


def test_cards_are_kept_as_rules_know_them(cube):
    cube.write_bytes(cube_of(*without("EXTTRIG"), "EXTTRIG = '#TRUE#'", "U_DETMOD= 'Slow'", "U_FLCEN =          0"))
    cards = look(cube).cards
    assert (cards["EXTTRIG"], cards["U_DETMOD"], cards["U_FLCEN"]) == (True, "SLOW", False)


@pytest.mark.parametrize("exposure_s", ["0.004", "0.0", "2.0"])
def test_exposures_may_be_as_long_as_frames_are_apart_and_rounded(cube, exposure_s):
    cube.write_bytes(cube_of(*with_exposure(exposure_s)))
    if exposure_s == "2.0":  # of one or two frames it cannot be told how far they are apart
        cube.write_bytes(
            make_header(*with_exposure(exposure_s), shape=(2, 5, 7)) + pad(make_pixels((2, 5, 7)).tobytes())
        )
        cube.with_suffix(".txt").write_bytes(rows(range(2)))
    assert look(cube).exposure_us == float(exposure_s) * 1e6


def without(keyword):
    return tuple(card for card in CARDS if not card.startswith(keyword))


def with_exposure(field):
    return (*without("EXPTIME"), f"EXPTIME = {field}")


def rows(indices):
    return format_timing(select(make_timing(10), np.array(indices, np.int64)))


def cube_of(*cards, shape=(10, 5, 7), **facts):
    return make_header(*(cards or CARDS), shape=shape, **facts) + pad(make_pixels((10, 5, 7)).tobytes())


def rows_timed(**columns):
    """Rows of which some have other times: a column's name to what it is at some rows."""
    timing = make_timing(10)
    for name, changes in columns.items():
        for row, value in changes.items():
            getattr(timing, name)[row] = value
    return format_timing(timing)


def rows_of(start_us):
    return format_timing(make_timing(10, start_us))


FAULTS = {
    "no txt": (None, ".txt", "does not exist"),
    "fewer rows": (rows(range(9)), ".txt", "9 rows, expected 10"),
    "no rows": (rows([]), ".txt", "0 rows, expected 10"),
    "unreadable rows": (b"# \nabc\n", ".txt", "row"),
    "times that go backwards": (rows([0, 1, 2, 4, 3, 5, 6, 7, 8, 9]), ".txt", "go backwards once, first at row 5"),
    "not FITS": (b"nothing", ".fits", "not a FITS file"),
    "truncated": (cube_of()[:-2880], ".fits", "truncated"),
    "two axes": (cube_of(naxis=2), ".fits", "NAXIS is 2"),
    "float": (cube_of(bitpix=-32), ".fits", "BITPIX is -32"),
    "64 bits": (cube_of(bitpix=64), ".fits", "BITPIX is 64"),
    "several HDUs": (cube_of() + pad(b"XTENSION= 'IMAGE   '", b" "), ".fits", "several HDUs"),
    "first rows without a time": (rows_timed(acquired_us={0: 0, 1: 0}), ".txt", "2 rows have no time, of 10"),
    "a row in the middle without a time": (rows_timed(acquired_us={5: 0}), ".txt", "row 6 has no time, of 10"),
    "both clocks of 1970": (rows_of(START_US % 86_400_000_000), ".txt", "10 rows have no time"),
    "a clock of another hour": (rows_timed(logged_ns={3: START_US * 1000 + 3600 * 10**9}), ".txt", "in 1 of 10 rows"),
    "another unit of EXPTIME": (
        cube_of(*with_exposure("2.0")),
        ".fits",
        "EXPTIME is 2.0, expected seconds",
    ),
    "two values of a card": (cube_of(*CARDS, "EXTTRIG = F"), ".fits", "EXTTRIG is there 2 times"),
    "a truth of no known form": (cube_of(*without("EXTTRIG"), "EXTTRIG = 'maybe'"), ".fits", "EXTTRIG is 'maybe'"),
    "a dither that is text": (cube_of(*CARDS, "U_TRIGJT= '80'"), ".fits", "U_TRIGJT is '80', expected a number"),
    "a dither in another unit": (
        cube_of(*CARDS, "U_FLCEN = 'ON'", "U_TRIGJT= 80000"),
        ".fits",
        "less than frames are apart, which is 2000 us",
    ),
    "zero frames": (make_header(*CARDS, shape=(0, 5, 7)), ".fits", "zero frames"),
    "no EXPTIME": (cube_of(*without("EXPTIME")), ".fits", "EXPTIME has no value"),
    "empty EXPTIME": (cube_of(*with_exposure("/ [s]")), ".fits", "EXPTIME has no value"),
    "EXPTIME that is text": (cube_of(*with_exposure("'0.002'")), ".fits", "EXPTIME has '0.002'"),
    "EXPTIME that is logical": (cube_of(*with_exposure("T")), ".fits", "EXPTIME has True"),
    "negative EXPTIME": (cube_of(*with_exposure("-1.0")), ".fits", "EXPTIME has -1.0"),
    "infinite EXPTIME": (cube_of(*with_exposure("1E999")), ".fits", "EXPTIME is inf"),
    "a frame ID": (
        cube_of(*without("FRAMEID"), "FRAMEID = 'VMPA00000007'"),
        ".fits",
        "FRAMEID = 'VMPA00000007' already",
    ),
    "a frame ID that is none": (cube_of(*without("FRAMEID"), "FRAMEID = 'no end"), ".fits", "FRAMEID = 'no end"),
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


# salvage

WHOLE = cube_of()
CUT_OFF = {
    "fewer rows": (rows(range(9)), ".txt", 9),
    "one row": (rows([0]), ".txt", 1),
    "no end of line": (rows(range(10))[:-1], ".txt", 9),
    "a last row of too few columns": (rows(range(10))[:-40] + b"\n", ".txt", 9),
    "a last row that is cut": (rows(range(6)) + rows([6])[-100:-60], ".txt", 6),
    "frames cut": (WHOLE[: 2880 + 4 * 70], ".fits", 4),
    "last rows without a time": (rows_timed(acquired_us={7: 0, 8: 0, 9: 0}), ".txt", 7),
    "a last row that was logged at no time": (rows_timed(logged_ns={9: 0}), ".txt", 9),
    "within a frame": (WHOLE[: 2880 + 5 * 70 - 1], ".fits", 4),
    "within the padding": (WHOLE[:-1], ".fits", 10),
    "all of the padding": (WHOLE[: 2880 + 10 * 70], ".fits", 10),
}


@pytest.mark.parametrize("what", CUT_OFF)
def test_a_file_that_was_cut_off_is_used_as_far_as_it_goes(cube, what):
    content, suffix, n_used = CUT_OFF[what]
    whole = look(cube)
    cube.with_suffix(suffix).write_bytes(content)
    first = "frame" if n_used == 1 else f"{n_used} frames"
    with pytest.raises(BadInput, match=f"set salvage: true to use its first {first},"):
        look(cube)
    facts = look(cube, salvage=True)
    assert (facts.n_frames, facts.lost_frames, facts.used_frames) == (10, 10 - n_used, n_used)
    assert (facts.first_us, facts.last_us) == (START_US, START_US + (n_used - 1) * PERIOD_US)
    assert str(cube.with_suffix(suffix)) in facts.salvaged
    assert facts.identity != whole.identity
    assert look(cube, salvage=True) == facts
    assert cube.with_suffix(suffix).read_bytes() == content
    assert pickle.loads(pickle.dumps(facts)) == facts  # noqa: S301


def test_the_shorter_of_both_counts(cube):
    cube.write_bytes(WHOLE[: 2880 + 4 * 70])
    cube.with_suffix(".txt").write_bytes(rows(range(7)))
    assert look(cube, salvage=True).lost_frames == 6
    cube.with_suffix(".txt").write_bytes(rows(range(3)))
    facts = look(cube, salvage=True)
    assert facts.lost_frames == 7
    assert "3 rows, expected 10" in facts.salvaged
    assert "truncated, 4 of them are whole" in facts.salvaged


def test_a_whole_file_is_the_same_with_salvage(cube):
    assert look(cube, salvage=True) == look(cube)
    assert (look(cube).lost_frames, look(cube).salvaged) == (0, None)


def test_a_salvaged_file_that_goes_on_is_another(cube):
    cube.write_bytes(WHOLE[: 2880 + 4 * 70])
    first = look(cube, salvage=True).identity
    cube.write_bytes(WHOLE[: 2880 + 4 * 70 + 1])
    assert look(cube, salvage=True).identity != first


NOT_CURED = {
    **{name: fault for name, fault in FAULTS.items() if name not in ("fewer rows", "truncated")},
    "more rows": (format_timing(make_timing(11)), ".txt", "11 rows, expected 10"),
    "more rows, the last of them cut": (
        format_timing(make_timing(11))[:-1],
        ".txt",
        "10 rows and one that is cut short, expected 10",
    ),
    "a cut row in the middle": (rows(range(5))[:-40] + b"\n" + rows(range(5, 9)), ".txt", "row 5 has"),
    "a last row that is not numbers": (rows(range(9))[:-2] + b"x\n", ".txt", "row 9 has"),
    "rows backwards, and too few": (rows([0, 1, 3, 2]), ".txt", "go backwards"),
    "no frame": (WHOLE[: 2880 + 69], ".fits", "no frame is whole and has a time"),
    "no data": (WHOLE[:2880], ".fits", "no frame is whole and has a time"),
    "within the header": (WHOLE[:2000], ".fits", "truncated"),
    "only a cut row": (rows([0])[:-1], ".txt", "no frame is whole and has a time"),
    "float and truncated": (cube_of(bitpix=-32)[:-2880], ".fits", "BITPIX is -32"),
    "no EXPTIME and truncated": (cube_of(*without("EXPTIME"))[:-1], ".fits", "EXPTIME has no value"),
    "trailing bytes": (WHOLE + b"x", ".fits", "trailing bytes"),
}


@pytest.mark.parametrize("fault", NOT_CURED)
@pytest.mark.parametrize("salvage", [True, False])
def test_other_damage_is_not_salvaged(cube, fault, salvage):
    content, suffix, message = NOT_CURED[fault]
    path = cube.with_suffix(suffix)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        look(cube, salvage=salvage)
    assert message in str(caught.value)
    assert "salvage: true" not in str(caught.value)


def test_more_rows_than_frames_of_a_short_file_are_not_salvaged(cube):
    cube.write_bytes(WHOLE[: 2880 + 4 * 70])
    cube.with_suffix(".txt").write_bytes(format_timing(make_timing(11)))
    with pytest.raises(BadInput, match="11 rows, expected 10"):
        look(cube, salvage=True)


def test_one_row_and_one_frame_are_told_as_one(cube):
    cube.with_suffix(".txt").write_bytes(rows([0]))
    with pytest.raises(BadInput, match=r": 1 row, expected 10.* use its first frame, or leave"):
        look(cube)
    cube.write_bytes(WHOLE[: 2880 + 70])
    with pytest.raises(BadInput, match="1 of them is whole"):
        look(cube)


def test_old_files_are_salvaged_too(cube):
    cube.with_suffix(".txt").write_bytes(format_timing(make_timing(10, has_acquisition=False))[:-50])
    facts = look(cube, salvage=True)
    assert (facts.lost_frames, facts.has_acquisition) == (1, False)


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
    with pytest.raises(BadInput, match=f"{cube}: not a file"):
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
