"""Witnesses of times: what each of them contradicts, and what is told of raw files that are used."""

from dataclasses import replace
from pathlib import Path

import pytest

from stages.base import BadInput
from stages.check.witnesses import (
    BEGIN_OF_TIMES_US,
    END_OF_TIMES_US,
    Observed,
    check_rows,
    contradiction_of_date,
    count_timed,
    name_contradicts,
    unexpected,
)
from stages.instrument import Forms, Instrument, Stream, Times
from tests.stages.nights import CARDS
from tests.stages.samples import START_US, make_timing

TXT = Path("vcam1.txt")
INSTRUMENT = Instrument("VAMPIRES", (Stream("vcam1", 1), Stream("vcam2", 2)))
SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US


def timed(n=10, **columns):
    """Rows of which some have other times: a column's name to what it is at some rows."""
    rows = make_timing(n)
    for name, changes in columns.items():
        for row, value in changes.items():
            getattr(rows, name)[row] = value
    return rows


# rows without a time


@pytest.mark.parametrize("value", [0, 1, -1, BEGIN_OF_TIMES_US - 1, END_OF_TIMES_US])
@pytest.mark.parametrize("column", ["acquired_us", "logged_ns"])
def test_last_rows_without_a_time_are_not_counted(value, column):
    value = value * 1000 if column == "logged_ns" else value
    for n_last in (0, 1, 3):
        rows = timed(**{column: dict.fromkeys(range(10 - n_last, 10), value)})
        assert count_timed(TXT, rows) == 10 - n_last


@pytest.mark.parametrize("value", [BEGIN_OF_TIMES_US, END_OF_TIMES_US - 1])
def test_the_first_and_the_last_time_of_all_are_times(value):
    rows = timed(acquired_us={0: value}, logged_ns={0: value * 1000})
    assert count_timed(TXT, rows) == 10


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([0], "row 1 has no time, of 10: row 1"),
        ([0, 1], "2 rows have no time, of 10, the first is row 1 and the last row 2"),
        ([4], "row 5 has no time"),
        ([4, 9], "2 rows have no time, of 10, the first is row 5 and the last row 10"),
        (range(10), "10 rows have no time"),
    ],
)
def test_rows_without_a_time_before_others_are_named(places, words):
    with pytest.raises(BadInput, match=words) as caught:
        count_timed(TXT, timed(acquired_us=dict.fromkeys(places, 0)))
    assert "acquired at 0.000000 and logged at 17673336" in str(caught.value)


# rows


def test_rows_without_a_time_are_in_no_order():
    rows = timed(acquired_us={8: 0, 9: 0})
    check_rows(TXT, rows, 8, Times())
    with pytest.raises(BadInput, match=r"go backwards once, first at row 9"):
        check_rows(TXT, rows, 9, Times(clocks_s=None))


@pytest.mark.parametrize("shift_s", [37, -37, 3600, -3600, 86_400, 10.001])
@pytest.mark.parametrize("first", [0, 4, 9])
def test_clocks_that_contradict_each_other_are_told_with_the_row(shift_s, first):
    rows = make_timing(10)
    rows.logged_ns[first:] += round(shift_s * 1e9)
    with pytest.raises(BadInput) as caught:
        check_rows(TXT, rows, 10, Times())
    told = str(caught.value)
    assert f"in {10 - first} of 10 rows, first in row {first + 1}: acquired at 2026-01-02 06:00:00." in told
    assert "within 10 s (instrument.times.clocks_s)" in told
    check_rows(TXT, rows, 10, Times(clocks_s=90_000))
    check_rows(TXT, rows, 10, Times(clocks_s=None))
    check_rows(TXT, rows, first, Times())


def test_logging_may_be_late_and_files_without_acquisition_times_have_one_clock():
    rows = make_timing(10)
    rows.logged_ns[:] += 9_000_000_000
    check_rows(TXT, rows, 10, Times())
    old = replace(rows, acquired_us=rows.logged_ns // 1000 + HOUR_US, has_acquisition=False)
    check_rows(TXT, old, 10, Times())


# the folder's date

MIDNIGHT_US = START_US - START_US % (24 * HOUR_US)


@pytest.mark.parametrize(
    ("first_h", "last_h", "holds"),
    [
        (0, 24, True),
        (-3, 26.99, True),
        (23.9, 24.1, True),
        (-3.01, 1, False),
        (1, 27, False),
        (24 * 365, 24 * 365, False),
        (-24, -8, False),
        (28, 40, False),
    ],
)
def test_frames_are_of_the_date_of_their_folder(first_h, last_h, holds):
    first_us, last_us = (MIDNIGHT_US + round(h * HOUR_US) for h in (first_h, last_h))
    cube = Path("/nights/20260102/vcam1/cube.fits")
    told = contradiction_of_date(cube, first_us, last_us, Times())
    assert (told is None) == holds
    if told:
        assert all(words in told for words in (str(cube), "its folder of 20260102", "3 h", "instrument.times.date_h"))
    assert contradiction_of_date(cube, first_us, last_us, Times(date_h=None)) is None
    for other in ("20260230", "elsewhere", "2026010"):
        assert contradiction_of_date(Path(f"/nights/{other}/vcam1/cube.fits"), first_us, last_us, Times()) is None


# names


@pytest.mark.parametrize(
    ("name", "contradicts"),
    [
        ("vcam1_06:00:00.123456789", False),
        ("vcam1_20:00:00.123456789", False),  # HST
        ("vcam1_06:00:37.123456789", False),  # seconds of TAI
        ("vcam1_05:55:01", False),
        ("vcam1_05:54:59", True),
        ("vcam1_20:05:01.5", True),
        ("vcam1_08:00:00.123456789", True),
        ("vcam1_16:00:00", True),
        ("vcam1_06:00:60", False),
        ("vcam1_25:00:00", False),  # no clock
        ("vcam1_08:00:00.1_copy", False),
        ("vcam1_0000", False),
        ("08:00:00", False),
        ("", False),
    ],
)
def test_a_clock_in_a_name_is_ut_or_hst_or_contradicts(name, contradicts):
    assert name_contradicts(name, START_US, Times()) == contradicts
    assert not name_contradicts(name, START_US, Times(name_s=None))


def test_names_go_on_at_midnight():
    assert not name_contradicts("vcam1_23:59:59.9", MIDNIGHT_US + SECOND_US, Times())
    assert not name_contradicts("vcam1_00:00:00", MIDNIGHT_US - SECOND_US, Times())


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["clocks_s", "date_h", "name_s"])
def test_lengths_of_time_are_none_or_finite(key, value):
    with pytest.raises(ValueError, match=key):
        Times(**{key: value})


# what is told of files that are used


def seen(name="vcam1/vcam1_06:00:00.1.fits", camera=1, *, begin_s=0.0, end_s=10.0, without=(), **cards):
    values = {key: value for key, value in {**CARDS, **cards}.items() if key not in without}
    begin_us, end_us = (START_US + round(s * SECOND_US) for s in (begin_s, end_s))
    return Observed(name, camera, begin_us, end_us, 2000, values)


def told_of(*files, instrument=INSTRUMENT):
    return unexpected(files, instrument)


def test_nothing_is_told_of_what_is_as_expected():
    files = [seen(camera=camera, begin_s=t, end_s=t + 10) for camera in (1, 2) for t in (0, 10, 30)]
    assert told_of(*files) == {}


def test_names_and_overlaps_are_told_in_order_of_time():
    first, second, third = (
        seen(f"vcam1/{name}.fits", begin_s=begin_s, end_s=begin_s + 10)
        for name, begin_s in (("a_06:00:00", 0), ("b_09:00:00", 9), ("c_06:00:00", 18))
    )
    assert told_of(third, second, first) == {
        "whose names tell another time than their rows": [second.name],
        "that begin before the one before has ended": [second.name, third.name],
    }


def test_a_file_within_another_does_not_hide_that_the_next_overlaps_too():
    files = [seen(f"vcam1/{n}.fits", begin_s=b, end_s=e) for n, (b, e) in enumerate([(0, 100), (10, 20), (30, 40)])]
    assert told_of(*files) == {"that begin before the one before has ended": ["vcam1/1.fits", "vcam1/2.fits"]}


@pytest.mark.parametrize("keyword", ["EXTTRIG", "U_FLCEN", "U_FLCST", "U_TRIGJT", "U_DETMOD", "PRD-RNG2"])
def test_a_card_without_a_value_is_missing(keyword):
    for file in (seen(without=[keyword]), seen(**{keyword: None}), seen(**{keyword: " "})):
        assert told_of(file) == {f"without {keyword}, which a rule reads": [file.name]}


@pytest.mark.parametrize(
    ("keyword", "value"), [("U_FLCST", "MOVING"), ("U_FLC", "X"), ("U_DETMOD", "TURBO"), ("EXTTRIG", "ON")]
)
def test_forms_that_are_not_known_are_told(keyword, value):
    file = seen(**{keyword: value})
    assert told_of(file) == {f"with {keyword} = {value!r}, which is no known form (instrument.forms)": [file.name]}


def test_forms_of_the_configuration_are_known():
    instrument = replace(INSTRUMENT, forms=Forms(modes=("Turbo",), flc_in=("inside",)))
    assert told_of(seen(U_DETMOD="TURBO", U_FLCST="IN"), instrument=instrument) == {
        "with U_FLCST = 'IN', which is no known form (instrument.forms)": ["vcam1/vcam1_06:00:00.1.fits"]
    }


@pytest.mark.parametrize(("keyword", "value"), [("EXTTRIG", False), ("U_FLCEN", False), ("U_FLCST", "OUT")])
@pytest.mark.parametrize("end_s", [10, 0])
def test_cameras_that_contradict_each_other_are_told(keyword, value, end_s):
    one, other, later = (
        seen(end_s=end_s),
        seen("vcam2/b.fits", 2, end_s=end_s, **{keyword: value}),
        seen("vcam2/c.fits", 2, begin_s=10.1, end_s=20, **{keyword: value}),
    )
    assert told_of(one, other, later) == {
        f"of one camera that say otherwise of {keyword} than the other's at the same time": [one.name, other.name]
    }


def test_cameras_that_meet_for_a_moment_do_not_contradict_each_other():
    assert told_of(seen(), seen("vcam2/b.fits", 2, begin_s=9, end_s=19, EXTTRIG=False)) == {}


def test_cameras_of_which_one_has_another_clock_are_told():
    """Both clocks of its computer, and so its names, are off alike: all that contradicts them is the other camera."""
    first = [seen(f"vcam1/{k}.fits", 1, begin_s=12.0 * k, end_s=12.0 * k + 10) for k in range(3)]
    second = [seen(f"vcam2/{k}.fits", 2, begin_s=3600 + 12.0 * k, end_s=3610.0001 + 12 * k) for k in range(3)]
    (what,) = told_of(*first, *second)
    assert what.startswith("that were triggered when the other camera was not")
    assert sorted(told_of(*first, *second)[what]) == sorted(file.name for file in (*first, *second))
    assert told_of(*first) == {}
    assert told_of(*first, *(replace(file, exposure_us=file.exposure_us + 1000) for file in second)) == {}
    assert told_of(*first, *(replace(file, last_us=file.last_us + SECOND_US) for file in second)) == {}
    untriggered = [replace(file, cards={**file.cards, "EXTTRIG": False}) for file in second]
    assert told_of(*first, *untriggered) == {}


def test_a_clock_that_stands_still_is_none():
    rows = timed(acquired_us=dict.fromkeys(range(10), START_US))
    with pytest.raises(BadInput, match="the clock of acquisition stood still"):
        check_rows(TXT, rows, 10, Times())
    check_rows(TXT, rows, 10, Times(clocks_s=None))
    check_rows(TXT, rows, 1, Times())
