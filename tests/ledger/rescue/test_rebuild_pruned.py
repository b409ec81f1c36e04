"""The database is lost of nights whose raw files were removed: archives of their headers give their rows back."""

import os
import shutil

import pytest

from ledger.delivery.copies import recall, verify
from ledger.delivery.prune import prune
from ledger.disk.nights import NightFolder
from ledger.errors import CannotUndo
from ledger.rescue._stand_ins import stand_ins
from stages.fits.raw_headers import STAND_INS
from tests.inside import call
from tests.ledger.audit.test_laws_by_sql import violations
from tests.ledger.rescue.lost import carry_on, facts, lose
from tests.world import DATE

PRUNED = "SELECT folder, name FROM file WHERE kind = 'raw' AND pruned_us IS NOT NULL ORDER BY folder, name"


@pytest.fixture
def pruned(night):
    """A night of which no raw file is left, and whose products are here."""
    night.bring()
    night.data["prune"]["raw_days"] = 0
    (found,) = prune(night.machine(), removes=True)
    assert found.raws
    assert not found.failed
    recall(night.machine(), night.night())
    return night


def raws(world):
    return sorted((world.folder / "archive" / DATE).glob("vcam*/*"))


def known(world):
    """Return the facts, each once: there is a proof of a copy for each time that it was read."""
    return {name: set(rows) for name, rows in facts(world).items()}


def archive(world, folder):
    (path,) = (folder / DATE).glob("raw_headers_*")
    return path


@pytest.mark.parametrize("where", ["here", "there"])
def test_the_rows_of_removed_raw_files_come_back(pruned, new_url, where):
    world = pruned
    if where == "there":
        archive(world, world.folder / "archive").unlink()
    before, tree, removed = known(world), world.tree(), world.query(PRUNED)
    stats = "SELECT name, size_bytes, mtime_ns, timing_size_bytes, timing_mtime_ns, header_sha256 FROM file ORDER BY 1"
    stats_before = world.query(stats)
    made = lose(world, new_url)
    assert made.succeeded, made
    assert known(world) == before
    assert (world.query(stats), world.query(PRUNED)) == (stats_before, removed)
    assert world.tree() == tree
    carry_on(world, made)
    assert world.advance().succeeded
    found = verify(world.machine(), world.night())
    assert (found.bad, found.extra) == ([], [])
    assert violations(world) == []
    if where == "there":
        shutil.copy2(archive(world, world.destination), world.folder / "archive" / DATE)
    assert call(world, "audit", "--deep").returncode == 0
    with pytest.raises(CannotUndo, match="compressed"):
        world.rollback()
    assert world.rollback(to="compressed").succeeded
    assert world.advance().succeeded


def test_raw_files_that_are_here_are_not_taken_from_the_archive(night, new_url):
    world = night
    world.bring()
    kept = world.folder / "elsewhere"
    shutil.copytree(world.folder / "archive" / DATE, kept)
    world.data["prune"]["raw_days"] = 0
    list(prune(world.machine(), removes=True))
    recall(world.machine(), world.night())
    first = min(kept.glob("vcam*/*.fits"))
    for path in (first, first.with_suffix(".txt")):
        shutil.copy2(path, world.folder / "archive" / DATE / path.parent.name)
    world.machine().scan(world.night())
    before, removed = known(world), world.query(PRUNED)
    assert lose(world, new_url).succeeded
    assert known(world) == before
    assert world.query(PRUNED) == removed
    assert (first.parent.name, first.name) not in removed
    for path in kept.glob("vcam*/*"):
        shutil.copy2(path, world.folder / "archive" / DATE / path.parent.name)
    world.machine().scan(world.night())
    assert lose(world, f"{new_url}2").succeeded
    assert world.query(PRUNED) == []
    assert verify(world.machine(), world.night()).extra == []


def test_stand_ins_are_made_only_of_what_is_not_there(night):
    world = night
    world.bring()
    kept = min((world.folder / "archive" / DATE).glob("vcam1/*.fits"))
    content = kept.read_bytes()
    n_files = len(raws(world))
    world.data["prune"]["raw_days"] = 0
    list(prune(world.machine(), removes=True))
    kept.write_bytes(content)
    with world.machine().holding(world.night(), "rebuild", {}) as (steps, _), stand_ins(steps) as made:
        names = {path.name for path in made.folder.path.glob("vcam*/*")}
    assert len(names) == n_files - 2
    assert not {kept.name, kept.with_suffix(".txt").name} & names


def test_a_damaged_archive_leaves_the_night_alone(pruned, new_url):
    world = pruned
    for folder in (world.folder / "archive", world.destination):
        path = archive(world, folder)
        path.write_bytes(bytes(path.stat().st_size))
    made = lose(world, new_url)
    (night,) = made.nights
    assert {name for name, _ in night.failed} == {path.name}
    assert "expected it among the usable raw files" in str(night.stopped)
    assert not (world.folder / "archive" / DATE / STAND_INS).exists()


def test_raw_files_of_products_whose_copies_are_bad_are_missing(pruned, new_url):
    world = pruned
    copy = min((world.destination / DATE / "vgen2").glob("*.fz"))
    copy.write_bytes(bytes(copy.stat().st_size))
    made = lose(world, new_url)
    (night,) = made.nights
    assert any("raw_headers_" in reason for _, reason in night.failed)
    assert raws(world) == []
    assert 0 < len(world.query(PRUNED)) < len(world.query("SELECT 1 FROM file WHERE kind = 'raw'"))


def test_what_a_killed_rebuild_left_is_removed(pruned, new_url):
    world = pruned
    left = world.folder / "archive" / DATE / STAND_INS / DATE / "vcam1"
    left.mkdir(parents=True)
    (left / "torn.fits").write_bytes(b"SIMPLE  =")
    before = known(world)
    assert lose(world, new_url).succeeded
    assert known(world) == before
    assert not left.exists()


def copied(world, pipeline, *, n_lost=0):
    """Advance a night with a copy of a raw file, perhaps cut off, and remove the raw files of products; return it."""
    folder = NightFolder(pipeline, world.folder / pipeline, DATE)
    first = min(folder.path.glob("vcam1/*.fits"))
    for path in (first, first.with_suffix(".txt")):
        shutil.copy2(path, path.with_stem("zz_copy"))
    os.truncate(first.with_stem("zz_copy"), first.stat().st_size - n_lost)
    world.machine().advance(folder)
    world.data["prune"]["raw_days"] = 0
    (found,) = prune(world.machine(), removes=True)
    assert found.raws
    recall(world.machine(), folder)
    (copy,) = folder.path.glob("vcam*/*.fits")
    return copy


@pytest.mark.parametrize(("pipeline", "n_lost"), [("archive", 0), ("engineering", 0), ("archive", 2000)])
def test_a_copy_of_a_removed_raw_file_is_still_a_duplicate(sqlite_world, new_url, pipeline, n_lost):
    world = sqlite_world
    world.data["salvage"] = True
    world.simulate(pipeline=pipeline, scale=0.02, scenario=("pdi",))
    copy = copied(world, pipeline, n_lost=n_lost)
    before, removed, frame_ids = known(world), world.query(PRUNED), world.query("SELECT count(*) FROM frame_id")
    made = lose(world, new_url)
    (night,) = made.nights
    assert (night.failed, night.stopped) == ([], None)
    assert [name for name, _ in night.quarantined] == [f"vcam1/{copy.name}"]
    assert {**known(world), "sequence": before["sequence"]} == before
    assert world.query(PRUNED) == removed
    carry_on(world, made)
    world.machine().advance(NightFolder(pipeline, world.folder / pipeline, DATE), late_reason="found again")
    assert world.query("SELECT count(*) FROM frame_id") == frame_ids
    assert len(known(world)["lineage"]) == len(before["lineage"])


def test_a_copy_in_an_earlier_night_is_not_used_beside_the_products_of_a_removed_raw_file(sqlite_world, new_url):
    world = sqlite_world
    world.data["instrument"]["times"] = {"date_h": None}
    world.simulate(scale=0.02, scenario=("pdi",))
    copy = copied(world, "archive")
    earlier = world.folder / "archive" / "20260101" / "vcam1"
    earlier.mkdir(parents=True)
    for path in (copy, copy.with_suffix(".txt")):
        path.rename(earlier / path.name)
    first, second = lose(world, new_url).nights
    assert (first.registered, "lineage.tsv" in str(second.stopped)) == (1, True)
    assert [f"the same bytes as {earlier / copy.name}" in why for _, why in second.quarantined] == [True]
