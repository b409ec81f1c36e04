"""Which night may take frame IDs now."""

import os
import shutil
from pathlib import Path

import pytest

from ledger.night.journal import Journal
from tests.inside import call
from tests.world import DATE, World

FIRST, SECOND, THIRD = "20260101", "20260102", "20260103"


@pytest.fixture
def nights(sqlite_world: World) -> World:
    sqlite_world.simulate_two(FIRST, SECOND)
    return sqlite_world


def folder(world: World, date: str):
    return world.folder / "archive" / date


def held_back(world: World, date: str, reason: str, earlier: str = FIRST) -> None:
    result = world.advance(date)
    assert not result.succeeded
    assert f"the earlier night {earlier} {reason}" in result.stopped
    assert f"ledger advance --date {earlier}" in result.stopped
    assert set(result.states) == {"synced"}
    assert not (folder(world, date) / "vgen2").exists()


def shelve(world: World, date: str) -> list[tuple[Path, Path]]:
    """Take the second half of a night of two blocks away; return where it lies and where it belongs."""
    shelf = world.folder / "shelf"
    shelf.mkdir()
    moved = []
    for stream in ("vcam1", "vcam2"):
        for cube in sorted((folder(world, date) / stream).glob("*.fits"))[4:]:
            moved += [(shelf / path.name, path) for path in (cube, cube.with_suffix(".txt"))]
    for there, path in moved:
        shutil.move(path, there)
    return moved


def bring(moved: list[tuple[Path, Path]]) -> None:
    for there, path in moved:
        shutil.move(there, path)


@pytest.fixture
def growing(nights: World) -> tuple[World, list[tuple[Path, Path]]]:
    """Two nights; the second half of the first has not come yet, and it has its IDs."""
    shutil.rmtree(folder(nights, FIRST))
    nights.simulate(FIRST, scale=0.02, scenario=("slow", "slow"))
    moved = shelve(nights, FIRST)
    assert moved
    nights.begin()
    nights.bring(FIRST)
    return nights, moved


def test_raw_files_that_were_never_scanned_hold_later_nights_back(growing):
    """Even in a night that has its IDs: what comes of them would be out of order."""
    nights, moved = growing
    bring(moved)
    held_back(nights, SECOND, "has raw files that were never scanned")
    assert nights.advance(FIRST).succeeded
    assert nights.advance(SECOND).succeeded
    assert nights.query("SELECT SUM(disorder), SUM(CASE WHEN late THEN 1 ELSE 0 END) FROM id_order") == [(0, 0)]


def test_raw_files_that_are_registered_hold_later_nights_back(growing):
    nights, moved = growing
    bring(moved)
    assert nights.machine().scan(nights.night(FIRST)).succeeded
    held_back(nights, SECOND, "has raw files that are not synced")
    assert nights.advance(FIRST, to="synced").succeeded
    held_back(nights, SECOND, "has new products without frame IDs")


def test_calibrations_of_the_morning_after_a_later_night_are_late(growing):
    nights, moved = growing
    nights.bring(SECOND)
    bring(moved)
    made = nights.tree(folder(nights, FIRST))
    result = nights.advance(FIRST)
    assert f"ledger advance --date {FIRST} --late --reason TEXT" in result.stopped
    assert nights.tree(folder(nights, FIRST)) == made
    assert nights.advance(FIRST, late_reason="calibrations came later").succeeded
    late = {name for (name,) in nights.query("SELECT frame_id FROM frame_id WHERE late")}
    lists = sorted(p.name for p in folder(nights, FIRST).glob("manifest*"))
    assert len(lists) == 2
    supplement = (folder(nights, FIRST) / lists[1]).read_text()
    assert {line.split("|")[0] for line in supplement.splitlines()} == late
    assert call(nights, "audit").returncode == 0


def test_what_came_later_is_appended_and_comes_back_the_same(growing):
    """A night that was appended to is paired again as it was: the same products, the same IDs."""
    nights, moved = growing
    bring(moved)
    nights.bring(FIRST)
    live = "SELECT frame_id, identity FROM frame_id WHERE status = 'live' ORDER BY number"
    ids = nights.query(live)
    assert nights.query("SELECT DISTINCT supplement FROM file WHERE kind = 'raw' ORDER BY 1") == [(0,), (1,)]
    assert nights.rollback(FIRST).succeeded
    assert nights.advance(FIRST).succeeded
    assert nights.query(live) == ids


LIVE = "SELECT frame_id, identity FROM frame_id WHERE status = 'live' ORDER BY number"


def test_what_comes_while_a_night_is_rolled_back_changes_none_of_its_products(growing):
    nights, moved = growing
    ids = nights.query(LIVE)
    assert nights.rollback(FIRST).succeeded
    bring(moved)
    assert nights.advance(FIRST).succeeded
    assert nights.query(LIVE)[: len(ids)] == ids
    assert len(nights.query(LIVE)) > len(ids)
    assert nights.query("SELECT DISTINCT supplement FROM file WHERE kind = 'raw' ORDER BY 1") == [(0,), (1,)]


def test_a_raw_file_that_is_released_from_quarantine_is_a_supplement_for_ever(growing):
    nights, moved = growing
    bring(moved)
    nights.bring(FIRST)
    assert nights.rollback(FIRST).succeeded
    timing = next(path for _, path in reversed(moved) if path.suffix == ".txt")
    content = timing.read_bytes()
    timing.unlink()
    assert nights.advance(FIRST, late_reason="one is torn").succeeded  # and its products are not made any more
    timing.write_bytes(content)
    assert nights.advance(FIRST, late_reason="it was mended").succeeded
    ids = nights.query(LIVE)
    assert nights.rollback(FIRST).succeeded
    assert nights.advance(FIRST).succeeded
    assert nights.query(LIVE) == ids
    assert call(nights, "audit").returncode == 0


def test_a_night_on_a_disk_that_is_not_there_holds_back(nights):
    shutil.move(folder(nights, FIRST), nights.folder / "disk")
    folder(nights, FIRST).symlink_to(nights.folder / "not mounted")
    result = nights.advance(SECOND)
    assert f"{FIRST}': cannot be read" in result.stopped
    assert set(result.states) == {"synced"}
    folder(nights, FIRST).unlink()
    folder(nights, FIRST).symlink_to(nights.folder / "disk")
    held_back(nights, SECOND, "was never scanned")


def test_a_hidden_file_does_not_make_a_night_foreign(nights):
    (folder(nights, FIRST) / "vgen2").mkdir()
    (folder(nights, FIRST) / "vgen2" / ".DS_Store").write_bytes(b"")
    held_back(nights, SECOND, "was never scanned")


def test_what_was_on_a_manifest_and_is_withdrawn_is_told(nights):
    nights.bring(FIRST)
    nights.data["states"]["synced"]["parameters"]["polarity"] = "long_first"
    assert nights.rollback(FIRST).succeeded
    result = nights.advance(FIRST, late_reason="the polarity was wrong")
    assert result.remarks["frame IDs withdrawn that were on a manifest"] == result.remarks["frame IDs withdrawn"] > 0


def test_a_folder_that_changed_without_new_raw_files_does_not_matter(nights):
    nights.bring(FIRST)
    os.utime(folder(nights, FIRST) / "vcam1")
    assert nights.advance(SECOND).succeeded


@pytest.mark.parametrize("what", ["foreign", "foreign and scanned", "empty", "no streams"])
def test_nights_that_do_not_hold_back(nights, what):
    if what.startswith("foreign"):
        (folder(nights, FIRST) / "vgen2").mkdir()
        (folder(nights, FIRST) / "vgen2" / "something.fits").write_bytes(b"")
    if what == "foreign and scanned":
        assert nights.machine().scan(nights.night(FIRST)).succeeded
    if what == "empty":
        for path in folder(nights, FIRST).glob("vcam*/*"):
            path.unlink()
    if what == "no streams":
        shutil.rmtree(folder(nights, FIRST))
        folder(nights, FIRST).mkdir()
    before = nights.tree(folder(nights, FIRST))
    assert nights.advance(SECOND).succeeded
    assert nights.tree(folder(nights, FIRST)) == before


def test_nights_before_the_first_do_not_hold_back_and_are_not_touched(nights):
    nights.data["archive"]["first_night"] = SECOND
    before = nights.tree(folder(nights, FIRST))
    assert nights.advance(SECOND).succeeded
    for command in (["advance", "--date", FIRST], ["scan", "--date", FIRST], ["advance", "--date", FIRST, "--dry-run"]):
        done = call(nights, *command)
        assert done.returncode == 1
        assert f"before the first night, {SECOND} (archive.first_night)" in done.stderr
    assert nights.tree(folder(nights, FIRST)) == before
    assert nights.query(f"SELECT COUNT(*) FROM night WHERE date = '{FIRST}'") == [(0,)]


def test_an_old_night_that_is_found_is_late_and_the_refusal_says_how(nights):
    shutil.move(folder(nights, FIRST), nights.folder / "lost")
    assert nights.advance(SECOND).succeeded
    shutil.move(nights.folder / "lost", folder(nights, FIRST))
    nights.simulate(THIRD, seed=3, scale=0.02, scenario=("pdi",))
    held_back(nights, THIRD, "was never scanned; later nights have theirs, so it is late")
    late = f"ledger advance --date {FIRST} --late --reason TEXT"
    assert late in nights.advance(THIRD).stopped
    assert late in call(nights, "status", "--date", FIRST).stdout
    dry = call(nights, "advance", "--date", FIRST, "--dry-run")
    assert late in dry.stdout
    result = nights.advance(FIRST)
    assert late in result.stopped
    assert set(result.states) == {"synced"}
    assert "late" not in call(nights, "advance", "--date", FIRST, "--dry-run", "--late", "--reason", "found").stdout
    done = call(nights, "advance", "--date", FIRST, "--late", "--reason", "the disk was found")
    assert done.returncode == 0, done.stderr
    assert nights.advance(THIRD).succeeded
    ((n_late, reasons),) = nights.query(
        "SELECT COUNT(*), COUNT(DISTINCT late_reason) FROM frame_id WHERE late AND late_reason = 'the disk was found'"
    )
    assert (n_late > 0, reasons) == (True, 1)
    done = call(nights, "audit")
    assert done.returncode == 0, done.stdout
    assert f"explained: {n_late} late: VMPA" in done.stdout
    assert "(the disk was found)" in done.stdout


def test_only_a_night_that_takes_part_in_the_numbering_can_be_excluded(nights):
    (nights.folder / "engineering/20990101").mkdir(parents=True)
    done = call(nights, "exclude", "20990101", "--reason", "dome")
    assert done.returncode == 2
    assert "no night 20990101 under" in done.stderr
    assert nights.query("SELECT COUNT(*) FROM night WHERE date = '20990101'") == [(0,)]


def test_an_excluded_night_goes_no_further(nights):
    nights.bring(FIRST, to="identified")
    done = call(nights, "exclude", FIRST, "--reason", "dome tests")
    assert "frame IDs and what was made with them stay" in done.stdout
    before = nights.tree(folder(nights, FIRST))
    assert "is excluded (dome tests)" in nights.advance(FIRST).stopped
    assert nights.tree(folder(nights, FIRST)) == before
    assert nights.advance(SECOND).succeeded
    done = call(nights, "include", FIRST)
    assert "--late" not in done.stdout
    assert nights.advance(FIRST).succeeded  # it has its IDs: nothing is late
    assert nights.query("SELECT event FROM entry WHERE event LIKE '%cluded' ORDER BY id") == [
        ("excluded",),
        ("included",),
    ]


def test_what_is_included_again_too_late_is_told(nights):
    assert call(nights, "exclude", FIRST, "--reason", "dome tests").returncode == 0
    assert nights.advance(SECOND).succeeded
    assert f"ledger advance --date {FIRST} --late --reason TEXT" in call(nights, "include", FIRST).stdout


def test_a_numbered_night_that_was_rolled_back_needs_no_late(nights):
    nights.bring(FIRST)
    nights.bring(SECOND)
    assert nights.rollback(FIRST).succeeded
    assert "--late" not in call(nights, "status").stdout
    assert nights.advance(FIRST).succeeded


def test_a_withdrawn_id_is_explained(nights):
    nights.bring(FIRST)
    nights.data["states"]["synced"]["parameters"]["polarity"] = "long_first"
    assert nights.rollback(FIRST).succeeded
    assert nights.advance(FIRST, late_reason="the polarity was wrong").succeeded
    ((frame_id,),) = nights.query("SELECT MIN(frame_id) FROM frame_id WHERE status = 'withdrawn'")
    assert "was withdrawn" in call(nights, "explain", frame_id).stdout


def test_excluding_nonsense(nights):
    for arguments, message in (
        (("exclude", FIRST, "--reason", " "), "--reason is empty"),
        (("include", FIRST), "is not excluded"),
        (("exclude", "20990101", "--reason", "x"), "no night 20990101"),
    ):
        done = call(nights, *arguments)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_late_without_need_marks_nothing(nights):
    nights.bring(FIRST, late_reason="to be safe")
    assert nights.query("SELECT COUNT(*) FROM frame_id WHERE late OR late_reason IS NOT NULL") == [(0,)]


def test_late_does_not_open_the_gate(nights):
    assert "was never scanned" in nights.advance(SECOND, late_reason="in a hurry").stopped


def test_late_needs_a_reason_in_words(nights):
    done = call(nights, "advance", "--date", FIRST, "--late", "--reason", "  ")
    assert done.returncode == 2
    assert "--reason is empty" in done.stderr


def test_checksums_of_a_run_that_died_in_its_first_batch_are_the_ledgers_own(world, monkeypatch):
    """More products came since: they are written anew, and are in nobody's way."""
    world.simulate(scale=0.02, scenario=("slow", "slow"))
    moved = shelve(world, DATE)
    commit = Journal.commit

    def dying(journal, moves, *arguments, **named):
        if any(move.verb == "transfer" for move in moves):
            raise KeyboardInterrupt
        commit(journal, moves, *arguments, **named)

    sums = folder(world, DATE) / "SHA256SUMS"
    sums.write_text("somebody's own")
    for _ in range(2):
        assert "SHA256SUMS: found a file that this ledger did not write" in str(world.advance().stopped)
    sums.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "commit", dying)
        with pytest.raises(KeyboardInterrupt):
            world.advance()
    bring(moved)
    assert world.advance().succeeded
