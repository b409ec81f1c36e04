"""Timing files: exact, fast, and clear about what is wrong with a row."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from stages.base import BadInput
from stages.fits import timing_rows
from stages.fits.timing import Timing, concatenate, format_timing, paired_time_us, read_timing, select
from tests.others import write_streams
from tests.tools import SHARED, beside, missing

TELEMETRY = SHARED / "telemetry"
HEAD = b"# Telemetry stream timing data \n# col1 : datacube frame index\n# \n"


@pytest.fixture(autouse=True, params=["compiled", "by numpy"])
def decoder(request, monkeypatch):
    """Each way to decode rows gives the same, or refuses the same."""
    if request.param == "by numpy":
        monkeypatch.setattr(timing_rows, "_compiled", None)
    elif timing_rows._compiled is None:
        missing("stages/fits/_native.so (a C compiler)")


def make_timing(n, *, start_ns=1_767_333_600_123_456_789, main_index=999_998, seed=0):
    rng = np.random.default_rng(seed)
    logged_ns = start_ns + np.cumsum(rng.integers(1, 4_000_000, n))
    since_start_ns = logged_ns - logged_ns[0] if n else np.zeros(0, np.int64)
    index = np.arange(n, dtype=np.int64)
    return Timing(
        head=HEAD,
        cube_index=index,
        main_index=index + main_index,
        since_start_ns=since_start_ns,
        logged_ns=logged_ns,
        acquired_us=logged_ns // 1000 - 320,
        cnt0=index + main_index,
        cnt1=index * 0,
    )


def equal(one, other):
    return one.head == other.head and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in timing_rows.COLUMNS
    )


def printed(timing_):
    """The rows as C's printf has them, through decimal numbers."""
    rows = [
        f"{timing_.cube_index[i]:10d}  {timing_.main_index[i]:10d}  "
        f"{Decimal(int(timing_.since_start_ns[i])).scaleb(-9):15.9f}   "
        f"{Decimal(int(timing_.logged_ns[i])).scaleb(-9):20.9f}  "
        f"{Decimal(int(timing_.acquired_us[i])).scaleb(-6):17.6f}   "
        f"{timing_.cnt0[i]:10d}   {timing_.cnt1[i]:10d}\n"
        for i in range(timing_.n)
    ]
    return timing_.head + "".join(rows).encode()


@pytest.mark.parametrize("n", [0, 1, 2, 1000, 1024, 1025, 5000])
def test_what_is_written_is_read(tmp_path, n):
    made = make_timing(n)
    path = tmp_path / "cube.txt"
    path.write_bytes(format_timing(made))
    assert path.read_bytes() == printed(made)
    read = read_timing(path)
    assert equal(read, made)
    assert read.n == n
    assert read.has_acquisition


def test_the_fast_path_takes_rows_of_one_width_and_agrees_with_the_slow_one(tmp_path):
    content = format_timing(make_timing(3000))
    fast = timing_rows.decode_fixed_width(content, len(HEAD))
    slow = timing_rows.decode_words(content[len(HEAD) :], tmp_path)
    assert fast is not None
    assert fast.keys() == slow.keys()
    assert all(np.array_equal(fast[name], slow[name]) for name in slow)


def test_rows_of_varying_width_are_read_by_the_slow_path(tmp_path):
    made = make_timing(20, main_index=9_999_999_990)
    content = format_timing(made)
    assert timing_rows.decode_fixed_width(content, len(HEAD)) is None
    path = tmp_path / "cube.txt"
    path.write_bytes(content)
    assert equal(read_timing(path), made)


def test_wide_counters_of_one_width_are_fast(tmp_path):
    content = format_timing(make_timing(20, main_index=9_868_462_595))
    assert timing_rows.decode_fixed_width(content, len(HEAD)) is not None


def test_negative_times_are_kept(tmp_path):
    made = make_timing(5)
    made.since_start_ns[2] = -1_500_000_001
    path = tmp_path / "cube.txt"
    path.write_bytes(format_timing(made))
    assert b" -1.500000001 " in path.read_bytes()
    assert equal(read_timing(path), made)


def test_old_files_have_the_logging_time_for_acquisition(tmp_path):
    path = tmp_path / "cube.txt"
    rows = b"".join(
        b"%10d  %10d  %15s   %20s  %10d   %10d\n" % (i, 70 + i, b"%d.000000000" % i, b"1500000000.123456789", 70 + i, 0)
        for i in range(12)
    )
    path.write_bytes(HEAD + rows)
    read = read_timing(path)
    assert not read.has_acquisition
    assert read.acquired_us.tolist() == [1_500_000_000_123_456] * 12
    assert read.since_start_ns[11] == 11_000_000_000
    assert format_timing(read) == HEAD + rows


LINES = b"".join(
    b"# col%d : %b\n" % (n, name)
    for n, name in enumerate(
        (b"index", b"main", b"since", b"time (logging)", b"time (acquisition)", b"cnt0", b"cnt1"), 1
    )
)


@pytest.mark.parametrize("n", [1, 2, 2000])
def test_acquisition_times_of_0_are_read_as_none(tmp_path, n):
    path = tmp_path / "cube.txt"
    made = make_timing(n)
    zeros = replace(made, head=LINES, acquired_us=made.acquired_us * 0)
    path.write_bytes(format_timing(zeros))
    read = read_timing(path)
    assert not read.has_acquisition
    assert read.acquired_us.tolist() == (made.logged_ns // 1000).tolist()
    assert [line.split(b" : ")[1] for line in read.head.splitlines()] == [
        *(b"index", b"main", b"since", b"time (logging)", b"cnt0", b"cnt1"),
    ]
    assert [line.split(b" ")[1] for line in read.head.splitlines()] == [b"col%d" % n for n in range(1, 7)]
    assert len(format_timing(read).splitlines()[-1].split()) == 6
    assert equal(read_timing(path, keeps_zeros=True), zeros)


def test_one_acquisition_time_that_is_not_0_is_one(tmp_path):
    path = tmp_path / "cube.txt"
    made = make_timing(10)
    made.acquired_us[:9] = 0
    path.write_bytes(format_timing(made))
    assert equal(read_timing(path), made)


def damaged(content, old, new):
    assert content.count(old) >= 1
    return content.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"         1  ", b"         x  ", ["row 2", "'x'", "cube_index"]),
        (b"         1  ", b"            ", ["row 2", "6 columns"]),
        (b"         1  ", b"       1 1  ", ["row 2", "8 columns"]),
        (b"1767333600.", b"1767333600,", ["row 1", "logged_ns"]),
        (b"1767333600.", b"17673336005", ["row 1", "logged_ns"]),
        (b"1767333600.", b"9999999999.", ["row 1", "logged_ns", "64 bits"]),
        (b"1767333600.", b"1767 33600.", ["row 1", "8 columns"]),
    ],
)
def test_garbled_rows_are_named(tmp_path, old, new, words):
    path = tmp_path / "cube.txt"
    path.write_bytes(damaged(format_timing(make_timing(4)), old, new))
    with pytest.raises(BadInput) as info:
        read_timing(path)
    for word in [str(path), *words]:
        assert word in str(info.value)


def test_a_blank_line_and_a_row_that_is_cut_short_are_refused(tmp_path):
    path = tmp_path / "cube.txt"
    content = format_timing(make_timing(4))
    path.write_bytes(content + b"\n")
    with pytest.raises(BadInput, match="row 5 has 0 columns"):
        read_timing(path)
    path.write_bytes(content[:-5])
    with pytest.raises(BadInput, match="cut short"):
        read_timing(path)


def test_a_missing_file_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        read_timing(tmp_path / "none.txt")


def test_one_byte_changed_anywhere_never_changes_a_number_unnoticed(tmp_path):
    """A byte that is no digit, put anywhere in a row, gives an error or the value that the text has."""
    made = make_timing(3)
    content = format_timing(made)
    row = content.index(b"\n", len(HEAD)) + 1
    path = tmp_path / "cube.txt"
    for place in range(row, content.index(b"\n", row) + 1):
        for byte in b" .-x/:\n":
            changed = content[:place] + bytes([byte]) + content[place + 1 :]
            fast = timing_rows.decode_fixed_width(changed, len(HEAD))
            if fast is not None:
                slow = timing_rows.decode_words(changed[len(HEAD) :], path)
                assert all(np.array_equal(fast[name], slow[name]) for name in slow), (place, byte)


def test_rows_are_selected_and_joined():
    made = make_timing(10)
    assert select(made, np.arange(0, 10, 2)).cube_index.tolist() == [0, 2, 4, 6, 8]
    joined = concatenate([select(made, [3, 4]), select(made, [0])])
    assert joined.cube_index.tolist() == [3, 4, 0]
    assert joined.head == HEAD
    with pytest.raises(ValueError, match="no timings"):
        concatenate([])


def test_only_a_timing_as_read_from_a_file_is_cut(tmp_path):
    path = tmp_path / "cube.txt"
    path.write_bytes(format_timing(make_timing(4))[:-5])
    read = read_timing(path, may_be_cut=True)
    assert (read.n, read.is_cut) == (3, True)
    assert not select(read, [0, 1]).is_cut
    assert not concatenate([make_timing(4), read]).is_cut


def test_the_time_of_a_pair_is_the_mean_rounded_down():
    first, second = np.array([10, 11, 1_767_333_600_000_001]), np.array([12, 12, 1_767_333_600_000_002])
    assert paired_time_us(first, second).tolist() == [11, 11, 1_767_333_600_000_001]
    assert np.array_equal(paired_time_us(first, second), paired_time_us(second, first))


@pytest.mark.parametrize("folder", [pytest.param(None, id="look-alikes"), beside("real telemetry", TELEMETRY)])
def test_files_of_other_instruments_round_trip(tmp_path, folder):
    if folder is None:
        write_streams(folder := tmp_path)
    paths = sorted(folder.rglob("*.txt"))
    assert paths
    for path in paths:
        read = read_timing(path)
        assert format_timing(read) == path.read_bytes()
    assert [read_timing(p).n for p in paths if p.name.startswith("apapane")] == [5000] * 4
    apapane = read_timing(next(p for p in paths if p.name.startswith("apapane")))
    assert abs(np.median(np.diff(apapane.acquired_us)) - 400) < 5
