"""Times that cannot be, and cards that say it otherwise: used as meant, in quarantine, or told; never in silence."""

import shutil
from dataclasses import replace

import pytest
from astropy.io import fits

from ledger.query import summary as summaries
from ledger.query.verdict import verdict
from ledger.run.plan import plan_advance
from stages.fits.timing import format_timing, read_timing
from tests.world import DATE

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
EARLIEST_US = 1_767_000_000_000_000


def cubes(world, stream, date=DATE):
    return sorted((world.folder / "archive" / date / stream).glob("*.fits"))


def retime(cube, *, acquired_us=lambda t: t, logged_us=lambda t: t):
    """Write a txt with other times; both functions take and return microseconds, of all rows."""
    path = cube.with_suffix(".txt")
    rows = read_timing(path)
    logged_ns = logged_us(rows.logged_ns // 1000) * 1000 + rows.logged_ns % 1000
    path.write_bytes(format_timing(replace(rows, acquired_us=acquired_us(rows.acquired_us), logged_ns=logged_ns)))


def say(cube, keyword, field, *, again=False):
    """Put another value field into a card, or a second card; without a field, the card goes."""
    content = cube.read_bytes()
    at = next(n for n in range(0, len(content), 80) if content.startswith(keyword.ljust(8).encode(), n))
    card = b"" if field is None else f"{keyword:<8}= {field}".ljust(80).encode()
    end = content.index(b"END" + b" " * 77)
    data = -(-end // 2880) * 2880 if end % 2880 else end + 2880
    cards = content[:end] + card if again else content[:at] + card + content[at + 80 : end]
    header = cards + b"END"
    cube.write_bytes(header.ljust(-(-len(header) // 2880) * 2880) + content[data:])


def summarise(world):
    return summaries.summarise(world.store(), world.config, world.night())


def reasons(world, date=DATE):
    rows = world.query(
        "SELECT f.folder, f.name, f.quarantine_reason FROM file f JOIN night n ON n.id = f.night_id"
        f" WHERE n.date = '{date}' AND f.quarantine_reason IS NOT NULL"
    )
    return {f"{folder}/{name}": reason for folder, name, reason in rows}


def counts(world):
    """Return how many frames are in products, how many of these are paired, and how many are A or B."""
    query = (
        "SELECT SUM(n_frames), SUM(CASE WHEN synchronised THEN n_frames ELSE 0 END),"
        " SUM(CASE WHEN flc IN ('A', 'B') THEN n_frames ELSE 0 END) FROM file WHERE kind = 'product'"
    )
    return world.query(query)[0]


# without acquisition times


@pytest.mark.parametrize("streams", [("vcam1", "vcam2"), ("vcam2",)])
def test_a_camera_without_acquisition_times_is_archived_by_its_logging_times(sqlite_world, streams):
    world = sqlite_world
    world.simulate(scale=0.1, scenario=("pdi",))
    world.bring(to="synced")
    n_frames, n_paired, _ = counts(world)
    assert world.rollback(to="raw").succeeded
    for stream in streams:
        for cube in cubes(world, stream):
            retime(cube, acquired_us=lambda t: t * 0)
    result = world.advance()
    assert result.succeeded
    assert result.remarks["raw files without acquisition times"] == sum(len(cubes(world, s)) for s in streams)
    assert reasons(world) == {}
    assert world.query(f"SELECT COUNT(*) FROM file WHERE first_us < {EARLIEST_US}") == [(0,)]
    products = sorted((world.destination / DATE / "vgen2").glob("*.fits.fz"))
    assert {fits.getval(path, "DATE-OBS", 1) for path in products} == {"2026-01-02"}
    assert counts(world)[0] == n_frames
    assert counts(world)[1] > 0.9 * n_paired > 0
    before = world.tree(world.destination / DATE)
    assert world.rollback(to="raw").succeeded
    assert world.advance().succeeded
    assert world.tree(world.destination / DATE) == before


@pytest.mark.parametrize(("rows", "n_used"), [(slice(0, 2), 0), (slice(5, 6), 0), (slice(-3, None), -3)])
def test_rows_without_acquisition_times_are_salvaged_at_the_end_and_quarantined_elsewhere(sqlite_world, rows, n_used):
    world = sqlite_world
    world.simulate(scale=0.05, scenario=("slow",))
    cube = cubes(world, "vcam1")[0]

    def zeros(times_us):
        times_us[rows] = 0
        return times_us

    retime(cube, acquired_us=zeros)
    planned = plan_advance(world.machine(), world.night(), None).quarantined
    assert world.advance(to="synced").succeeded
    name = f"vcam1/{cube.name}"
    assert list(reasons(world)) == [name]
    assert planned == tuple(reasons(world).items())
    assert "no time" in reasons(world)[name]
    assert ("salvage: true" in reasons(world)[name]) == (n_used != 0)
    world.data["salvage"] = True
    assert world.advance(to="synced").succeeded
    assert (name in reasons(world)) == (n_used == 0)
    lost = world.query(f"SELECT lost_frames FROM file WHERE name = '{cube.name}' AND folder = 'vcam1'")
    assert lost == [(-n_used,)]


# clocks that contradict each other, or the night


@pytest.mark.parametrize("shift_us", [3 * HOUR_US, 37_000_000, -DAY_US])
def test_a_camera_whose_clock_is_off_is_in_quarantine_and_that_is_told(sqlite_world, shift_us):
    world = sqlite_world
    world.simulate(scale=0.05, scenario=("slow",))
    for cube in cubes(world, "vcam1"):
        retime(cube, acquired_us=lambda t: t + shift_us)
    result = world.advance(to="synced")
    assert result.succeeded
    assert {name for name, _ in result.quarantined} == {f"vcam1/{cube.name}" for cube in cubes(world, "vcam1")}
    assert all("the two clocks contradict each other" in reason for reason in reasons(world).values())
    assert "files of unknown target: quarantined" in verdict(summarise(world))
    assert counts(world)[1] == 0


@pytest.mark.parametrize(
    ("shift_us", "words"),
    [
        (-1_767_312_000_000_000, "have no time"),  # days of 1970
        (-DAY_US, f"its folder of {DATE}"),
        (DAY_US, f"its folder of {DATE}"),
        (-365 * DAY_US, f"its folder of {DATE}"),
        (10 * 365 * DAY_US, f"its folder of {DATE}"),
        (200 * 365 * DAY_US, "have no time"),
    ],
)
def test_a_night_of_another_year_is_in_quarantine_and_the_next_is_archived(sqlite_world, shift_us, words):
    world = sqlite_world
    world.simulate_two(DATE, "20260103")
    for cube in (*cubes(world, "vcam1"), *cubes(world, "vcam2")):
        retime(cube, acquired_us=lambda t: t + shift_us, logged_us=lambda t: t + shift_us)
    assert world.advance().succeeded
    assert len(reasons(world)) == len(cubes(world, "vcam1")) + len(cubes(world, "vcam2"))
    assert all(words in reason for reason in reasons(world).values())
    found = summarise(world)
    assert found.balance.quarantined_files == found.balance.raw_files > 0
    assert "Nothing unexpected" not in verdict(found)
    assert world.advance("20260103").succeeded
    assert reasons(world, "20260103") == {}
    assert list((world.destination / "20260103/vgen2").glob("*.fits.fz"))


def test_a_file_both_of_whose_clocks_are_off_is_told_by_its_name(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.05, scenario=("slow", "slow"))
    cube = cubes(world, "vcam2")[1]
    retime(cube, acquired_us=lambda t: t + 2 * HOUR_US, logged_us=lambda t: t + 2 * HOUR_US)
    result = world.advance(to="synced")
    what = "whose names tell another time than their rows"
    assert result.remarks[f"raw files {what}"] == 1
    found = summarise(world)
    assert [(told.what, told.files) for told in found.unexpected] == [(what, (f"vcam2/{cube.name}",))]
    assert f"1 raw file {what}" in verdict(found)
    assert f"1 raw file {what}: vcam2/{cube.name}" in world.run("summary", "--date", DATE).stdout
    assert found.as_json()["unexpected"] == [{"what": what, "files": (f"vcam2/{cube.name}",)}]


def test_a_cube_in_the_other_cameras_folder_is_put_aside_and_taken_up_once_it_is_moved(sqlite_world):
    """Its frames would be archived as the other camera's."""
    world = sqlite_world
    world.simulate(scale=0.05, scenario=("slow",))
    cube = cubes(world, "vcam1")[0]
    there = cube.parent.with_name("vcam2") / cube.name
    for suffix in (".fits", ".txt"):
        cube.with_suffix(suffix).rename(there.with_suffix(suffix))
    ((name, reason),) = world.advance(to="synced").quarantined
    assert name == f"vcam2/{cube.name}"
    assert "expected those of vcam2" in reason
    for suffix in (".fits", ".txt"):
        there.with_suffix(suffix).rename(cube.with_suffix(suffix))
    result = world.advance()
    assert (result.succeeded, result.quarantined) == (True, [])
    assert world.query("SELECT COUNT(*) FROM file WHERE kind = 'product' AND NOT synchronised") == [(0,)]


def test_a_clock_that_was_set_back_between_two_files_is_told(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.05, scenario=("slow",))
    first, *later = cubes(world, "vcam1")
    before, after = (read_timing(cube.with_suffix(".txt")).acquired_us for cube in (first, later[0]))
    back_us = int(after[0] - before[len(before) // 2])
    for cube in later:
        retime(cube, acquired_us=lambda t: t - back_us, logged_us=lambda t: t - back_us)
    assert world.advance(to="synced").remarks["raw files that begin before the one before has ended"] == 1
    assert "that begin before the one before has ended" in verdict(summarise(world))


def test_names_in_hst_and_with_the_seconds_of_tai_contradict_nothing(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.1, scenario=("slow", "pdi"))
    for stream in ("vcam1", "vcam2"):
        for n, cube in enumerate(cubes(world, stream)):
            hours, minutes, seconds = map(float, cube.stem.split("_")[1].split(":"))
            if n % 3 == 1:
                hours = (hours - 10) % 24
            else:
                seconds = (seconds + 37) % 60
            new = cube.with_name(f"{stream}_{hours:02.0f}:{minutes:02.0f}:{seconds:012.9f}.fits")
            cube.with_suffix(".txt").rename(new.with_suffix(".txt"))
            cube.rename(new)
    result = world.advance()
    assert result.succeeded
    assert reasons(world) == {}
    assert summarise(world).unexpected == ()
    starts = [start for (start,) in world.query("SELECT start_us FROM frame_id ORDER BY number")]
    assert starts == sorted(starts)


# folders of other dates


def test_a_logger_that_is_left_on_over_midnight_goes_on_in_the_old_folder(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.05, scenario=("slow",))
    for stream in ("vcam1", "vcam2"):
        for cube in cubes(world, stream):
            times = {"acquired_us": lambda t: t + 18 * HOUR_US, "logged_us": lambda t: t + 18 * HOUR_US}
            retime(cube, **times)  # 06:00 UT becomes 00:00 of the next day
            new = cube.with_name(cube.name.replace("_06:", "_00:"))
            cube.with_suffix(".txt").rename(new.with_suffix(".txt"))
            cube.rename(new)
    assert world.advance().succeeded
    assert reasons(world) == {}
    assert {fits.getval(p, "DATE-OBS", 1) for p in (world.destination / DATE / "vgen2").glob("*.fz")} == {"2026-01-03"}
    assert summarise(world).unexpected == ()


def test_copies_in_the_folder_of_another_night_are_duplicates(sqlite_world):
    world = sqlite_world
    world.simulate_two(DATE, "20260103")
    copied = set()
    for n, cube in enumerate((*cubes(world, "vcam1")[:2], *cubes(world, "vcam2")[:1])):
        name = cube.name if n != 1 else "vcam1_09:09:09.000000001.fits"
        new = world.folder / "archive/20260103" / cube.parent.name / name
        shutil.copy2(cube, new)
        shutil.copy2(cube.with_suffix(".txt"), new.with_suffix(".txt"))
        copied.add(f"{cube.parent.name}/{name}")
    assert world.advance().succeeded
    assert plan_advance(world.machine(), world.night("20260103"), None).quarantined
    assert world.advance("20260103").succeeded
    assert set(reasons(world, "20260103")) == copied
    assert all(reason.startswith("duplicate: the same bytes as") for reason in reasons(world, "20260103").values())


def test_a_file_of_another_night_whose_own_is_not_there_is_in_quarantine(sqlite_world):
    world = sqlite_world
    world.simulate_two(DATE, "20260110")
    cube = cubes(world, "vcam1")[0]
    new = world.folder / "archive/20260110/vcam1" / cube.name
    for suffix in (".fits", ".txt"):
        shutil.move(cube.with_suffix(suffix), new.with_suffix(suffix))
    planned = plan_advance(world.machine(), world.night("20260110"), "synced").quarantined
    assert world.advance("20260110", to="synced").succeeded
    assert planned == tuple(reasons(world, "20260110").items())
    assert "move it and its txt to the folder of its night" in reasons(world, "20260110")[f"vcam1/{cube.name}"]


# another configuration


@pytest.mark.parametrize(("key", "shift_us"), [("clocks_s", 3 * HOUR_US), ("date_h", 100 * DAY_US)])
@pytest.mark.parametrize("limit", [None, 1e9])
def test_a_limit_that_was_changed_lets_a_file_be_used(sqlite_world, key, shift_us, limit):
    world = sqlite_world
    world.simulate(scale=0.05, scenario=("slow",))
    for cube in cubes(world, "vcam1"):
        times = {"logged_us": lambda t: t + shift_us} if key == "date_h" else {}
        retime(cube, acquired_us=lambda t: t + shift_us, **times)
    assert world.advance(to="synced").succeeded
    assert f"(instrument.times.{key})" in reasons(world)[f"vcam1/{cubes(world, 'vcam1')[0].name}"]
    again = world.advance(to="synced")
    assert not again.changed  # looked at again, and nothing new about it
    world.data["instrument"]["times"][key] = limit
    assert plan_advance(world.machine(), world.night(), "synced").steps
    assert world.advance(to="synced").registered == len(cubes(world, "vcam1"))
    assert reasons(world) == {}


def test_what_is_registered_stays_so_whatever_the_limits_are(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.05, scenario=("slow",))
    world.machine().scan(world.night())
    world.data["instrument"]["times"] = {"clocks_s": 0, "date_h": 0, "name_s": 0}
    assert world.advance(to="synced").succeeded
    assert reasons(world) == {}


def test_a_configuration_of_before_has_the_defaults(sqlite_world):
    for key in ("times", "forms"):
        del sqlite_world.data["instrument"][key]
    assert sqlite_world.config.instrument.times.date_h == 3
    assert "ON" in sqlite_world.config.instrument.forms.means_true
