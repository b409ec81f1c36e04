"""Raw files that change, go and come back, and which night waits for which."""

import os
import shutil
from pathlib import Path

import pytest

from tests.ledger.disk.raws import assert_clean, raw_files
from tests.world import DATE, World

#: 2026-01-03 00:00 UT.
MIDNIGHT_US = 1_767_398_400_000_000


def put_aside(world: World, *cubes: Path) -> list[tuple[Path, Path]]:
    """Take cubes and their txt out of the night; return where they are and where they belong."""
    shelf = world.folder / "shelf"
    shelf.mkdir(exist_ok=True)
    moves = [(shelf / path.name, path) for cube in cubes for path in (cube, cube.with_suffix(".txt"))]
    for there, path in moves:
        shutil.move(path, there)
    return moves


def put_back(moves: list[tuple[Path, Path]]) -> None:
    for there, path in moves:
        shutil.move(there, path)


def live_ids(world: World) -> list[tuple]:
    """Return number, identity and lateness of every live frame ID, in order."""
    return [
        (number, identity, bool(late))
        for number, identity, late in world.query(
            "SELECT number, identity, late FROM frame_id WHERE status = 'live' ORDER BY number"
        )
    ]


def test_a_file_put_right_before_numbering_is_paired_with_the_night(world):
    truth = world.simulate(scale=0.02, scenario=("slow",))
    timing = raw_files(world)[1].with_suffix(".txt")
    content = timing.read_bytes()
    timing.unlink()
    first = world.advance(to="fixed")
    assert first.succeeded
    assert [name for name, _ in first.quarantined] == [f"vcam1/{timing.stem}.fits"]
    assert not all(
        synchronised for (synchronised,) in world.query("SELECT synchronised FROM file WHERE kind='product'")
    )
    timing.write_bytes(content)
    result = world.advance()
    assert (result.succeeded, result.registered, result.quarantined) == (True, 1, [])
    assert world.query("SELECT COUNT(*) FROM quarantine") == [(0,)]
    assert all(synchronised for (synchronised,) in world.query("SELECT synchronised FROM file WHERE kind='product'"))
    n_frames = sum(file.n_frames for file in truth.files)
    assert world.query("SELECT SUM(n_frames) FROM file WHERE kind = 'product'") == [(n_frames,)]
    assert_clean(world)


def test_the_last_file_put_right_after_numbering_is_appended(world):
    world.simulate(scale=0.02, scenario=("slow", "onecamera"))
    timing = raw_files(world)[-1].with_suffix(".txt")
    content = timing.read_bytes()
    timing.unlink()
    assert world.advance().succeeded
    before, tree = live_ids(world), world.tree()
    timing.write_bytes(content)
    result = world.advance()
    assert result.succeeded, result
    after = live_ids(world)
    assert after[: len(before)] == before
    assert len(after) > len(before)
    assert not any(late for _, _, late in after)
    changed = {name for name, was in tree.items() if world.tree().get(name) != was}
    assert changed <= {"SHA256SUMS", "vgen2/lineage.tsv"}  # of the night as a whole
    manifests = sorted(p.name for p in (world.folder / "archive" / DATE).glob("manifest*"))
    assert len(manifests) == 2
    lines = [p.read_text().splitlines() for p in (world.folder / "archive" / DATE).glob("manifest*")]
    assert sorted(len(found) for found in lines) == sorted((len(before), len(after) - len(before)))
    assert_clean(world)


def test_an_earlier_file_put_right_after_numbering_is_late(world):
    world.simulate(scale=0.02, scenario=("onecamera", "slow"))
    timing = raw_files(world)[0].with_suffix(".txt")
    content = timing.read_bytes()
    timing.unlink()
    raw_tree = world.tree()
    assert world.advance().succeeded
    before, tree = live_ids(world), world.tree(world.destination)
    timing.write_bytes(content)
    for _ in range(2):
        assert f"ledger advance --date {DATE} --late --reason" in world.advance().stopped
        assert live_ids(world) == before
        assert world.tree(world.destination) == tree
    done = world.run("advance", "--date", DATE)
    assert done.returncode == 1
    assert "--late --reason TEXT" in done.stdout
    done = world.run("advance", "--date", DATE, "--late", "--reason", "the txt was found")
    assert done.returncode == 0, done.stderr
    after = live_ids(world)
    assert after[: len(before)] == before
    assert {late for _, _, late in after[len(before) :]} == {True}
    reasons = world.query("SELECT CAST(detail AS TEXT) FROM entry WHERE event = 'assigned' ORDER BY id")
    assert [("the txt was found" in reason) for (reason,) in reasons] == [late for _, _, late in after]
    assert_clean(world)
    assert world.rollback().succeeded
    now = world.tree()
    assert {name for name in now if name not in raw_tree} == {f"vcam1/{timing.name}"}
    assert {name: now[name] for name in raw_tree} == raw_tree


def test_an_old_night_that_is_found_is_late(sqlite_world):
    sqlite_world.simulate("20260103", scale=0.02, scenario=("onecamera",))
    sqlite_world.bring("20260103")
    sqlite_world.simulate("20260102", scale=0.02, scenario=("onecamera",))
    before = live_ids(sqlite_world)
    assert "--late --reason" in sqlite_world.advance("20260102").stopped
    assert live_ids(sqlite_world) == before
    assert sqlite_world.advance("20260102", late_reason="found on a spare disk").succeeded
    assert {late for _, _, late in live_ids(sqlite_world)[len(before) :]} == {True}
    assert_clean(sqlite_world)


def test_a_raw_file_that_changed_before_its_frames_have_products_is_registered_anew(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    sqlite_world.bring(to="raw")
    cube = raw_files(sqlite_world)[0]
    os.truncate(cube, cube.stat().st_size - 2880)
    result = sqlite_world.advance()
    assert result.succeeded
    ((name, reason),) = result.quarantined
    assert name == f"vcam1/{cube.name}"
    assert "truncated" in reason


def test_a_raw_file_that_changed_after_its_frames_have_products_is_a_failure(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    sqlite_world.bring(to="synced")
    cube = raw_files(sqlite_world)[0]
    moved = cube.stat().st_mtime_ns + 1
    os.utime(cube, ns=(moved, moved))
    identities = sqlite_world.query("SELECT identity FROM file ORDER BY id")
    result = sqlite_world.advance()
    assert not result.succeeded
    assert any(name == f"vcam1/{cube.name}" and "changed underneath" in error for name, error in result.failed)
    assert sqlite_world.query("SELECT identity FROM file ORDER BY id") == identities


def test_a_raw_file_that_is_gone_before_its_frames_have_products_stops_the_night(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    sqlite_world.machine().scan(sqlite_world.night())
    moves = put_aside(sqlite_world, raw_files(sqlite_world)[0])
    result = sqlite_world.advance()
    assert "1 raw file cannot be had" in result.stopped
    ((name, error),) = result.failed
    assert name.endswith(moves[0][1].name)
    assert "put the file back" in error
    assert sqlite_world.query("SELECT COUNT(*) FROM file WHERE kind = 'product'") == [(0,)]
    put_back(moves)
    assert sqlite_world.advance().succeeded


def test_a_raw_file_that_is_gone_after_its_frames_have_products_is_a_failure(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    sqlite_world.bring(to="synced")
    moves = put_aside(sqlite_world, raw_files(sqlite_world)[0])
    result = sqlite_world.advance()
    assert not result.succeeded
    assert any(name == f"vcam1/{moves[0][1].name}" and "put the file back" in error for name, error in result.failed)
    put_back(moves)
    assert sqlite_world.advance().succeeded
    assert_clean(sqlite_world)


@pytest.mark.parametrize("known", ["only on disk", "scanned", "synced", "fixed"])
def test_a_later_night_waits_at_synced_and_spends_no_disk(world, known):
    for date in ("20260102", "20260103"):
        world.simulate(date, scale=0.02, scenario=("onecamera",))
    if known == "scanned":
        world.machine().scan(world.night("20260102"))
    elif known != "only on disk":
        world.bring("20260102", to=known)
    later = world.folder / "archive" / "20260103"
    before = world.tree(later)
    result = world.advance("20260103")
    assert not result.succeeded
    assert "20260102" in str(result.stopped)
    assert "ledger advance --date 20260102" in str(result.stopped)
    assert set(result.states) == {"synced"}
    assert world.tree(later) == before
    assert live_ids(world) == []
    assert world.advance("20260102").succeeded
    assert world.advance("20260103").succeeded
    assert_clean(world)


def test_the_gate_at_the_command_line_and_how_it_is_opened(sqlite_world):
    for date in ("20260102", "20260103"):
        sqlite_world.simulate(date, scale=0.02, scenario=("onecamera",))
    done = sqlite_world.run("advance", "--date", "20260103")
    assert done.returncode == 1
    assert "ledger exclude 20260102" in done.stdout
    assert not (sqlite_world.folder / "archive/20260103/vgen2").exists()
    assert sqlite_world.run("exclude", "2026-01-02", "--reason", "dome tests").returncode == 0
    assert sqlite_world.query("SELECT excluded_reason FROM night WHERE date = '20260102'") == [("dome tests",)]
    assert sqlite_world.run("advance", "--date", "20260103").returncode == 0
    assert sqlite_world.run("include", "20260102").returncode == 0
    assert sqlite_world.query("SELECT event FROM entry WHERE name = '20260102' ORDER BY id") == [
        ("excluded",),
        ("included",),
    ]
    assert "--late --reason" in sqlite_world.advance("20260102").stopped


def test_the_gate_does_not_wait_for_what_is_none_of_its_business(sqlite_world):
    sqlite_world.data["archive"]["first_night"] = "20260101"
    sqlite_world.simulate("20251231", scale=0.02, scenario=("onecamera",))
    sqlite_world.simulate("20260101", scale=0.02, scenario=("onecamera",), pipeline="engineering")
    (sqlite_world.folder / "archive/20260101").mkdir()
    (sqlite_world.folder / "archive/notes").mkdir()
    foreign = sqlite_world.folder / "archive/20260102"
    sqlite_world.simulate("20260102", scale=0.02, scenario=("onecamera",))
    (foreign / "vgen2").mkdir()
    (foreign / "vgen2/vsync_00:00:00.fits").write_text("of another tool")
    sqlite_world.simulate("20260103", scale=0.02, scenario=("onecamera",))
    assert sqlite_world.advance("20260103").succeeded


@pytest.mark.parametrize(("date", "minutes", "waits"), [(DATE, 29, True), (DATE, 31, False), ("20260101", 29, False)])
def test_a_night_still_being_written_is_not_numbered(sqlite_world, date, minutes, waits):
    sqlite_world.simulate(date, scale=0.02, scenario=("onecamera",))
    (cube,) = raw_files(sqlite_world, date=date)
    os.utime(cube, ns=(MIDNIGHT_US * 1000, MIDNIGHT_US * 1000))
    sqlite_world.now_us = MIDNIGHT_US + minutes * 60_000_000
    result = sqlite_world.advance(date)
    assert result.succeeded is not waits
    assert bool(live_ids(sqlite_world)) is not waits
    if waits:
        assert "--final" in str(result.stopped)
        assert not (sqlite_world.folder / "archive" / date / "vgen2").exists()
        assert sqlite_world.advance(date, final=True).succeeded
        assert live_ids(sqlite_world)
