"""Timing files with anything in them: read as they say, or refused with the row that is wrong."""

import re
import resource
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.base import BadInput
from stages.check.witnesses import Observed, unexpected
from stages.fits.timing import format_timing, read_timing
from stages.instrument import Instrument, Stream
from stages.raw import inspect
from tests.fuzz.complaints import is_one_clear_line, little_memory
from tests.fuzz.cubes import Content
from tests.fuzz.profiles import fuzz
from tests.stages.samples import CARDS, make_header, make_pixels, make_timing, pad

N = 4
GOOD = format_timing(make_timing(N))
OLD = format_timing(make_timing(N, has_acquisition=False))
STREAM = Stream("vcam1", 1)
INSTRUMENT = Instrument("VAMPIRES", (STREAM,))

#: Of each column: how many decimals it has.
DECIMALS = {7: (0, 0, 9, 9, 6, 0, 0), 6: (0, 0, 9, 9, 0, 0)}
UNITS = {
    7: ("cube_index", "main_index", "since_start_ns", "logged_ns", "acquired_us", "cnt0", "cnt1"),
    6: ("cube_index", "main_index", "since_start_ns", "logged_ns", "cnt0", "cnt1"),
}

WORDS = st.sampled_from(
    (
        *(b"nan", b"NaN", b"inf", b"-inf", b"", b"-", b".", b"-.", b"+1", b"1e9", b"0x1", b"1_000", b"1,5", b"'1'"),
        *(b"-1", b"-1.000000", b"-0.000000000", b"0", b"0.000000", b"00001", b"9223372036854775807"),
        *(b"9223372036854775808", b"-9223372036854775808", b"9223372036854.775807", b"9223372036854.775808"),
        *(b"9223372036.854775807", b"9223372036.854775808", b"-9223372036.854775808", b"18446744073709551616"),
        *(b"1767333600.123456", b"1767333600.123456789", b"17673336000000.123456", b"-1767333600.123456"),
        *(b"4102444799.999999", b"4102444800.000000", b"253402300800.000000"),
        *(b"1" * 400, b"1" * 5000, b"1" * 5000 + b".0"),
        *(b"\0", b"1\0", b"\xff", "٣".encode(), "²".encode(), b"\x1b[2J", b"#", b"# 1", b"\x0b", b"\x85"),
    )
)  # fmt: skip
BETWEEN = st.sampled_from((b" ", b"  ", b"\t", b"\x0b", b"\x0c", b"\xa0", b",", b"\0", b" " * 5000, b""))
ENDS = st.sampled_from((b"\n", b"\r\n", b"\r", b"\n\n", b"", b"\0\n", b" \n", b"\x85", b"\n# late comment\n"))


@st.composite
def timings(draw):
    """Draw the bytes of a timing file."""
    lines = draw(st.sampled_from((GOOD, GOOD, OLD))).splitlines(keepends=True)
    for _ in range(draw(st.integers(0, 3))):
        change = draw(st.sampled_from("wwwwecdsihl"))
        at = draw(st.integers(0, len(lines) - 1)) if lines else 0
        line = lines[at] if lines else b""
        words = line.split()
        if change == "w" and words:
            words[draw(st.integers(0, len(words) - 1))] = draw(WORDS)
            new = draw(BETWEEN).join(words) + b"\n"
            keeps_width = draw(st.booleans())
            lines[at] = new.rjust(len(line)) if keeps_width else new
        elif change == "e" and lines:
            lines[at] = line.rstrip(b"\n") + draw(ENDS)
        elif change == "c" and words:
            n = draw(st.integers(0, 9))
            lines[at] = b"  ".join((words * 2)[:n]) + b"\n"
        elif change == "d" and lines:
            del lines[at]
        elif change == "s" and lines:
            lines.insert(draw(st.integers(0, len(lines))), line)
        elif change == "i":
            lines.insert(at, draw(st.binary(max_size=60)))
        elif change == "h":
            lines.insert(
                0, draw(st.sampled_from((b"#", b"#\n", b"\xef\xbb\xbf# BOM\n", b"\xef\xbb\xbf", b"# \xff\0\n")))
            )
        elif change == "l" and lines:
            lines[at] = b" ".join(words) + draw(st.sampled_from((b" " * 10**6, b"1" * 10**6, b"\0" * 10**6))) + b"\n"
    content = b"".join(lines)
    if draw(st.sampled_from((False, False, True))):
        at = draw(st.integers(0, len(content)))
        content = content[:at] + draw(st.binary(max_size=3)) + content[at + draw(st.integers(0, 3)) :]
    return Content(content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 5)) == 0 else content)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Return a night with a good cube, waiting for its timing."""
    night = tmp_path_factory.mktemp("timing") / "20260102"
    (night / "vcam1").mkdir(parents=True)
    pixels = make_pixels((N, 5, 7))
    (night / "vcam1/cube.fits").write_bytes(make_header(*CARDS, shape=pixels.shape) + pad(pixels.tobytes()))
    return night


def numbers_of(row):
    """Return the integers that the words of a row say, by this test's own reckoning; None if it is no row."""
    words = row.split()
    decimals = DECIMALS.get(len(words))
    if decimals is None:
        return None
    numbers = []
    for word, places in zip(words, decimals, strict=True):
        pattern = rb"-?[0-9]+" + (rb"\.[0-9]{%d}" % places if places else b"")
        if not re.fullmatch(pattern, word) or len(word) > 30:
            return None
        numbers.append(int(Decimal(word.decode()).scaleb(places)))
    return numbers if all(-(2**63) <= number < 2**63 for number in numbers) else None


@fuzz(500)
@given(timings(), st.booleans())
@example(Content(GOOD.replace(b" 0 ", b" " + b"9" * 5000 + b" ", 1)), may_be_cut := False)
@example(Content(GOOD.replace(b"\n", b" " * 10**6 + b"\n")), may_be_cut)
def test_any_file_is_read_as_it_says_or_refused(night, content, may_be_cut):
    path = night / "vcam1/cube.txt"
    path.write_bytes(content)
    try:
        with little_memory():
            rows = read_timing(path, may_be_cut=may_be_cut)
    except BadInput as exc:
        assert is_one_clear_line(str(exc), path)
        return
    assert content.startswith(rows.head)
    body = content[len(rows.head) :].splitlines()
    expected = [numbers_of(row) for row in body[: rows.n]]
    assert rows.is_cut == (len(body) > rows.n)
    names = UNITS[len(expected[0]) if expected else 7]
    for place, name in enumerate(names):
        if rows.has_acquisition or name != "acquired_us":
            assert getattr(rows, name).tolist() == [row[place] for row in expected]
        else:
            assert {row[place] for row in expected} == {0}
    if not rows.has_acquisition:
        assert (rows.acquired_us == rows.logged_ns // 1000).all()


@fuzz(300)
@given(timings(), st.booleans())
def test_any_file_is_registered_or_refused(night, content, salvage):
    cube = night / "vcam1/cube.fits"
    timing = cube.with_suffix(".txt")
    timing.write_bytes(content)
    try:
        with little_memory():
            facts = inspect(cube, timing, stream=STREAM, instrument=INSTRUMENT, salvage=salvage)
    except BadInput as exc:
        assert is_one_clear_line(str(exc), timing.parent, timing.stem)
        return
    assert 946_684_800_000_000 <= facts.first_us <= facts.last_us < 4_102_444_800_000_000
    assert 0 < facts.used_frames <= facts.n_frames == N
    read = read_timing(timing, may_be_cut=True)
    since_ns = (read.logged_ns - read.logged_ns[:1])[: facts.used_frames].tolist()
    assert since_ns == [int(t) - int(read.logged_ns[0]) for t in read.logged_ns[: facts.used_frames]]  # fits 64 bits


#: Nanoseconds that a clock may be off by, or where it may stand.
OFF_NS = st.sampled_from((0, 9, 11, 37, 3600, 36_000, 86_400, -9, -11, -37, -7200, -86_400, 86_400 * 3653)).map(
    lambda seconds: seconds * 10**9
)
STANDING_NS = st.sampled_from((0, 1_000, 946_684_799_999_999_000, 4_102_444_800_000_000_000))
CLOCKS = st.sampled_from((None, "06:00:00.1", "20:00:00.1", "06:00:37", "08:00:00.5", "12:34:56"))


@st.composite
def wrong_clocks(draw):
    """Draw rows whose clocks are off, or stand still, in some of them."""
    rows = make_timing(N)
    for column, unit in (("acquired_us", 1000), ("logged_ns", 1)):
        times = getattr(rows, column)
        for _ in range(draw(st.integers(0, 2))):
            first = draw(st.integers(0, N - 1))
            end = draw(st.integers(first + 1, N))
            if draw(st.booleans()):
                times[first:end] = draw(STANDING_NS) // unit
            else:
                times[first:end] += draw(OFF_NS) // unit
    if draw(st.booleans()):
        off_ns = draw(OFF_NS)
        rows.acquired_us[:] += off_ns // 1000
        rows.logged_ns[:] += off_ns
    return rows


@fuzz(300)
@given(wrong_clocks(), CLOCKS, st.booleans())
def test_nothing_is_registered_that_its_witnesses_contradict(night, rows, clock, salvage):
    cube = night / "vcam1/cube.fits"
    timing = cube.with_suffix(".txt")
    timing.write_bytes(format_timing(rows))
    acquired_s, logged_s = (rows.acquired_us / 1e6).tolist(), (rows.logged_ns / 1e9).tolist()
    frame_s = acquired_s if any(acquired_s) else logged_s
    timed = [min(pair) >= 946_684_800 and max(pair) < 4_102_444_800 for pair in zip(frame_s, logged_s, strict=True)]
    n_used = timed.index(False) if False in timed else N
    agree = all(abs(a - b) <= 10 for a, b in list(zip(frame_s, logged_s, strict=True))[:n_used])
    in_order = frame_s[:n_used] == sorted(frame_s[:n_used])
    is_sound = n_used and not any(timed[n_used:]) and agree and in_order and (n_used == N or salvage)
    try:
        facts = inspect(cube, timing, stream=STREAM, instrument=INSTRUMENT, salvage=salvage)
    except BadInput as exc:
        assert not is_sound
        assert is_one_clear_line(str(exc), timing.parent, timing.stem)
        return
    assert is_sound
    assert facts.used_frames == n_used
    midnight_s = 1_767_312_000
    hours = [(frame_s[row] - midnight_s) / 3600 for row in (0, n_used - 1)]
    assert (facts.contradiction is None) == (hours[0] >= -3 and hours[1] < 27)
    name = "cube" if clock is None else f"vcam1_{clock}"
    observed = Observed(f"vcam1/{name}.fits", 1, facts.first_us, facts.last_us, 2000, {})
    contradicts = "whose names tell another time than their rows" in unexpected([observed], INSTRUMENT)
    assert contradicts == (clock is not None and not any(abs(off) <= 300 for off in offsets_of(clock, frame_s[0])))


def offsets_of(clock, at_s):
    """Return how many seconds a time is from a clock's, in UT and in HST, by this test's own reckoning."""
    hours, minutes, seconds = map(float, clock.split(":"))
    named = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    for zone in (timedelta(0), timedelta(hours=10)):
        day = datetime.fromtimestamp(at_s, tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        for days in (-1, 0, 1):
            yield (day + timedelta(days=days) + named + zone).timestamp() - at_s


def test_a_file_of_absurd_size_is_not_read(night):
    timing = night / "vcam1/sparse.txt"
    with timing.open("wb") as file:
        file.truncate(1 << 42)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadInput) as refused:
        read_timing(timing)
    timing.unlink()
    assert is_one_clear_line(str(refused.value), timing)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
