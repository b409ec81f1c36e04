"""The counter, its blocks of numbers, and what people say about them."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from ledger.db.models import FolderSeen
from ledger.db.store import put
from ledger.errors import NotReady, StateError, Unconfirmed, UsageError
from ledger.ids.reservation import start
from ledger.ids.sequence import sequence_state
from tests.inside import call
from tests.world import World

FIRST, SECOND, THIRD = "20260101", "20260102", "20260103"


@pytest.fixture
def nights(world: World) -> World:
    world.data["outside"] = "ignore"  # products of others lie about, and it is their numbers that count here
    world.simulate_two(FIRST, SECOND)
    return world


@pytest.fixture
def sqlite_nights(sqlite_world: World) -> World:
    """Return the same for what is read of files."""
    sqlite_world.data["outside"] = "ignore"
    sqlite_world.simulate_two(FIRST, SECOND)
    return sqlite_world


def numbers(world: World) -> list[int]:
    return [n for (n,) in world.query("SELECT number FROM frame_id WHERE status = 'live' ORDER BY number")]


def now(world: World):
    with world.store().read() as session:
        return sequence_state(session, world.config)


def audit(world: World) -> None:
    done = call(world, "audit")
    assert done.returncode == 0, done.stdout


def foreign(world: World, name: str, date: str = "20250101") -> None:
    folder = world.folder / "archive" / date / "vgen2"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"")


# ids start


def test_it_skips_ahead_and_says_so(nights):
    nights.bring(FIRST, to="identified")
    before = numbers(nights)
    after, given_up = start(nights.store(), nights.config, "VMPA", 5000)
    assert (after.next_id, given_up) == ("VMPA00005000", 0)
    assert nights.advance(SECOND, to="identified").succeeded
    assert numbers(nights)[: len(before)] == before
    assert numbers(nights)[len(before)] == 5000
    ((name, detail),) = nights.query("SELECT name, detail FROM entry WHERE event = 'reserved'")
    detail = json.loads(detail) if isinstance(detail, str) else detail
    assert (name, detail["next"], detail["before"]) == ("VMPA00005000", 5000, before[-1] + 1)
    assert nights.query("SELECT command, exit_status FROM run WHERE command = 'ids start'") == [("ids start", 0)]
    audit(nights)
    skipped = f"{5000 - before[-1] - 1} gap: VMPA{before[-1] + 1:08d} to VMPA00004999 (between blocks)"
    assert f"explained: {skipped}" in call(nights, "audit").stdout
    done = call(nights, "ids", "check")
    assert done.returncode == 0, done.stdout
    assert f"explained: {skipped}" in done.stdout
    assert "headers: in order" in done.stdout


def test_what_was_skipped_is_not_taken_back(nights):
    nights.bring(FIRST, to="identified")
    start(nights.store(), nights.config, "VMPA", 5000)
    nights.data["states"]["synced"]["parameters"]["polarity"] = "long_first"
    assert nights.rollback(FIRST).succeeded
    assert nights.advance(FIRST, to="identified").succeeded
    assert min(numbers(nights)) == 5000
    audit(nights)


@pytest.mark.parametrize(
    ("prefix", "number", "message"),
    [
        ("XMPA", 10, "unknown prefix 'XMPA': expected 'VMPA'"),
        ("VMPA", 0, "expected one from 1 to 69999999"),
        ("VMPA", 70_000_000, r"expected one from 1 to 69999999 \(ids.last_number\)"),
        ("VMPA", 100_000_000, "expected one from 1 to 69999999"),
        ("VMPA", 2, "only skips ahead"),
    ],
)
def test_a_start_that_cannot_be(nights, prefix, number, message):
    nights.bring(FIRST, to="synced")
    start(nights.store(), nights.config, "VMPA", 3)
    before = now(nights)
    with pytest.raises(UsageError, match=message):
        start(nights.store(), nights.config, prefix, number)
    assert now(nights) == before


def numbers_in_use_are_met(nights: World, place: str) -> None:
    path = nights.folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('VMPA00000007|/a|1\r\n"/b/VMPA00000777.fits.fz";1\r\n')
    with pytest.raises(UsageError, match=r"VMPA00000777 is in use in .*778 or more"):
        start(nights.store(), nights.config, "VMPA", 777)
    result = nights.advance(FIRST)
    assert "VMPA00000777 is in use in" in result.stopped
    assert "ledger ids start VMPA 778" in result.stopped
    assert set(result.states) == {"synced"}
    assert numbers(nights) == []
    assert start(nights.store(), nights.config, "VMPA", 778)[0].next_id == "VMPA00000778"
    assert nights.advance(FIRST).succeeded
    assert min(numbers(nights)) == 778


def test_numbers_in_use_are_met(nights):
    numbers_in_use_are_met(nights, "archive/20250101/vgen2/VMPA00000777.fits.fz")


@pytest.mark.parametrize(
    "place",
    [
        "archive/20250101/old/deep/VMPA00000777.txt",
        "engineering/20250101/vgen2/VMPA00000777.fits",
        "destination/archive/20250101/vgen2/VMPA00000777.fits.fz",
        "destination/engineering/20250101/VMPA00000777.fits.fz",
        "archive/20250101/manifest_VMP_20250101.csv",
        "archive/20250102/manifest_VMP_20250102 of another tool.csv",
        "destination/archive/20250101/manifest_VMP_20250101_supplement1.csv",
    ],
)
def test_numbers_in_use_are_met_wherever_they_are(sqlite_nights, place):
    numbers_in_use_are_met(sqlite_nights, place)


@pytest.mark.parametrize("number", [7_525_191, 17_425_190, 69_999_999])
def test_a_number_far_above_all_that_are_known_has_to_be_meant(nights, number):
    foreign(nights, "VMPA07425189.fits.fz")
    before = now(nights)
    with pytest.raises(Unconfirmed, match=rf"above VMPA07425189, .*: {number - 7_425_190:,} numbers are skipped"):
        start(nights.store(), nights.config, "VMPA", number)
    assert now(nights).counter == before.counter
    assert nights.query("SELECT name FROM entry WHERE event = 'reserved'") == [("VMPA00000001",)]  # it is held
    assert start(nights.store(), nights.config, "VMPA", number, is_sure=True)[0].counter == number


@pytest.mark.parametrize(("number", "is_sure"), [(17_425_190, False), (70_425_190, True), (99_999_998, True)])
def test_whoever_was_refused_to_name_the_first_number_does_not_get_another_one(nights, number, is_sure):
    with pytest.raises(UsageError, match="until one is named that is accepted, no number is given"):
        start(nights.store(), nights.config, "VMPA", number, is_sure=is_sure)
    assert (now(nights).next_id, now(nights).remaining) == (None, 0)
    result = nights.advance(FIRST)
    assert "0 left of its own; look up the last one that the archive has; `ledger ids start VMPA " in result.stopped
    assert numbers(nights) == []
    assert start(nights.store(), nights.config, "VMPA", 1)[0].next_id == "VMPA00000001"
    assert nights.advance(FIRST).succeeded
    assert call(nights, "audit").returncode == 0


def test_a_sequence_that_has_begun_goes_on_whatever_is_refused(nights):
    nights.bring(FIRST, to="identified")
    before = now(nights)
    with pytest.raises(Unconfirmed) as refused:
        start(nights.store(), nights.config, "VMPA", 17_425_190)
    assert "no number is given" not in str(refused.value)
    assert now(nights) == before
    assert nights.advance(SECOND, to="identified").succeeded


def test_near_numbers_need_no_word_more(nights):
    """The first of an empty ledger is near if it is small."""
    assert start(nights.store(), nights.config, "VMPA", 12_346)[0].counter == 12_346
    assert start(nights.store(), nights.config, "VMPA", 112_346)[0].counter == 112_346
    with pytest.raises(Unconfirmed, match="above VMPA00112345, the highest that is known: 100,001 numbers"):
        start(nights.store(), nights.config, "VMPA", 212_347)


def test_whoever_skips_far_is_asked_or_says_yes(sqlite_world):
    world = sqlite_world
    done = call(world, "ids", "start", "VMPA", "7425190")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "VMPA07425190 is far above none at all so far: 7,425,189 numbers are skipped" in done.stderr
    status, shown = world.on_terminal("n\n", "ids", "start", "VMPA", "7425190")
    assert status == 1, shown
    assert "7,425,189 numbers are skipped" in " ".join(shown.split())
    assert world.query("SELECT name FROM entry") == [("VMPA00000001",)]  # it is held
    status, shown = world.on_terminal("y\n", "ids", "start", "VMPA", "7425190")
    assert (status, "next is VMPA07425190" in shown) == (0, True), shown
    assert call(world, "ids", "start", "VMPA", "9425190", "--yes").returncode == 0
    done = call(world, "ids", "start", "VMPA", "70425190", "--yes")
    assert done.returncode == 2
    assert "expected one from 1 to 69999999 (ids.last_number)" in done.stderr


def test_a_sequence_beyond_the_last_number_keeps_what_it_has_and_gives_no_more(nights):
    """As in a ledger that began when there was no such key."""
    nights.data["ids"]["last_number"] = None
    start(nights.store(), nights.config, "VMPA", 70_000_000, is_sure=True)
    assert nights.advance(FIRST).succeeded
    has = numbers(nights)
    nights.data["ids"]["last_number"] = 69_999_999
    with pytest.raises(StateError, match=r"0 left .* the last is 69999999 \(ids.last_number: raise it if"):
        nights.advance(SECOND)
    said = call(nights, "ids", "next")
    assert (said.returncode, "the last is 69999999 (ids.last_number" in said.stdout) == (0, True), said.stdout
    assert nights.rollback(FIRST).succeeded
    assert nights.advance(FIRST).succeeded
    assert numbers(nights) == has
    audit(nights)
    assert call(nights, "ids", "check").returncode == 0
    nights.data["ids"]["last_number"] = None
    assert nights.advance(SECOND).succeeded
    assert numbers(nights)[: len(has)] == has
    assert numbers(nights)[len(has)] == has[-1] + 1


def test_a_run_that_needs_more_than_is_left_gives_none(nights):
    nights.data["ids"]["last_number"] = 5001
    start(nights.store(), nights.config, "VMPA", 5000)
    with pytest.raises(StateError, match="and 2 left of its own; the last is 5001"):
        nights.advance(FIRST)
    assert numbers(nights) == []


def test_numbers_of_simulated_frames_on_disk_are_no_concern_of_the_sequence(nights):
    foreign(nights, "VMPA70000001.fits.fz")
    assert nights.advance(FIRST).succeeded
    assert numbers(nights)[0] == 1
    assert "foreign_ahead" not in call(nights, "ids", "check").stdout


def test_from_a_night_on(nights):
    """Nights before it neither block nor are numbered."""
    nights.simulate(THIRD, seed=3, scale=0.02, scenario=("pdi",))
    start(nights.store(), nights.config, "VMPA", 100, from_date=SECOND)
    assert nights.advance(SECOND, to="identified").succeeded
    assert min(numbers(nights)) == 100
    with pytest.raises(NotReady, match=f"before the first night, {SECOND}"):
        nights.advance(FIRST)
    with pytest.raises(NotReady, match="left alone"):
        nights.machine().scan(nights.night(FIRST))
    assert FIRST not in call(nights, "status").stdout
    start(nights.store(), nights.config, "VMPA", 500, from_date=THIRD)
    assert nights.rollback(SECOND).succeeded  # what has its IDs stays inside
    assert nights.advance(SECOND, to="identified").succeeded
    assert nights.advance(THIRD, to="identified").succeeded
    start(nights.store(), nights.config, "VMPA", 1000, from_date=FIRST)  # the date may be corrected
    assert "--late" in nights.advance(FIRST).stopped
    assert nights.advance(FIRST, to="identified", late_reason="wanted after all").succeeded
    audit(nights)


# what lies about on disk


def test_links_in_circles_do_not_matter(nights):
    night = nights.folder / "archive" / "20250101"
    (night / "a/b/c").mkdir(parents=True)
    (night / "circle").symlink_to(night / "circle")
    (night / "nowhere").symlink_to(night / "gone")
    (night / "a/up").symlink_to(nights.folder / "archive")
    assert nights.advance(FIRST, to="synced").succeeded
    (night / "a/b/c/VMPA00000009.fits").write_bytes(b"")
    assert "VMPA00000009 is in use" in nights.advance(FIRST).stopped


def test_a_destination_that_held_numbers_and_is_not_there_is_missed(nights):
    nights.bring(FIRST)
    shutil.move(nights.folder / "destination/archive", nights.folder / "unmounted")
    result = nights.advance(SECOND, to="identified")
    assert "destination/archive' is not there, and held frame numbers" in result.stopped
    with pytest.raises(UsageError, match="no such folder; numbers in use there could not be seen"):
        start(nights.store(), nights.config, "VMPA", 5000)
    shutil.move(nights.folder / "unmounted", nights.folder / "destination/archive")
    assert nights.advance(SECOND, to="identified").succeeded


def test_a_root_that_held_numbers_and_is_not_there_is_missed(nights):
    nights.data["archive"]["first_night"] = FIRST
    root = nights.folder / "engineering"
    with nights.store().write() as session:
        row = {"path": str(root.resolve() / "20250101"), "prefix": "VMPA", "changed_ns": 0, "folders": []}
        put(session, FolderSeen, [{**row, "numbers": [(7, 9)]}])
    shutil.rmtree(root)
    assert "engineering' is not there, and held frame numbers" in nights.advance(FIRST, to="identified").stopped


def test_a_restored_database_gives_no_number_twice(sqlite_world):
    world = sqlite_world
    world.simulate_two(FIRST, SECOND)
    world.bring(FIRST)
    world.close()
    path = Path(world.url.removeprefix("sqlite:///"))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    shutil.copy(path, world.folder / "old.db")
    assert world.advance(SECOND).succeeded
    world.close()
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    shutil.copy(world.folder / "old.db", path)
    world.simulate(THIRD, seed=3, scale=0.02, scenario=("pdi",))
    before = numbers(world)
    result = world.advance(THIRD)
    assert "if this database was restored from an older copy, restore a newer one" in result.stopped
    assert numbers(world) == before


# the command line


def test_ids_at_the_command_line(sqlite_world):
    world = sqlite_world
    assert "next is VMPA00000001; 69999999 left" in call(world, "ids", "next").stdout
    done = call(world, "ids", "start", "VMPA", "12346", "--from", "2026-01-02")
    assert "next is VMPA00012346, for nights from 20260102 on" in done.stdout
    facts = json.loads(call(world, "ids", "next", "--json").stdout)
    assert (facts["next"], facts["from_date"], facts["authority"]) == ("VMPA00012346", "20260102", "own")
    refused = call(world, "ids", "start", "VMPB", "1")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "unknown prefix 'VMPB'" in refused.stderr
    world.data["ids"]["authority"] = "blocks"
    (world.folder / "ids.txt").write_text("VMPA00020000 VMPA00020009\n")
    done = call(world, "ids", "reserve", "--from-file", "ids.txt")
    assert "imported VMPA00020000 to VMPA00020009: 10" in done.stdout
    assert call(world, "ids", "reserve", "--from-file", "none.txt").returncode == 2
    assert "10 left (authority: blocks)" in call(world, "ids", "next").stdout


def test_ids_check_at_the_command_line(sqlite_world):
    world = sqlite_world
    world.simulate(FIRST, scale=0.02, scenario=("pdi",))
    world.bring(FIRST)
    foreign(world, "VMPA00000001.fits.fz")
    done = call(world, "ids", "check")
    assert done.returncode == 1
    assert "foreign_number" in done.stdout
    assert "20250101/vgen2/VMPA00000001.fits.fz" in done.stdout
    assert done.stdout.rstrip().endswith("1 off")
    facts = json.loads(call(world, "ids", "check", "--json").stdout)
    assert [disorder["frame_id"] for disorder in facts["disorders"]] == ["VMPA00000001"]
    assert call(world, "ids", "check", "--date", "20990101").returncode == 2


def test_two_pipelines_cannot_share_the_sequence(sqlite_world):
    sqlite_world.data["engineering"]["states"] = ["raw", "synced", "consolidated", "fixed", "identified"]
    assert "frame IDs in archive and engineering" in call(sqlite_world, "status").stderr
