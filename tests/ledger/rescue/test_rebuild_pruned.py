"""The database is lost of nights whose raw files were removed: archives of their headers give their rows back."""

import shutil

import pytest

from ledger.delivery.copies import recall, verify
from ledger.delivery.prune import prune
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
