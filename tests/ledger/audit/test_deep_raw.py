"""Damage to plain products and to raw files is found, and a check that fails has not passed."""

import json
import os
import signal
from concurrent.futures import Future
from pathlib import Path

import pytest

from ledger.audit import deep
from ledger.audit._deep_tasks import Task
from stages.check.reread import Found
from stages.fits.cards import BLOCK
from stages.fits.cubes import read_cube_layout
from tests.inside import call
from tests.ledger.audit.damage import (
    all_of,
    around_the_guards,
    copy_of,
    flip,
    follow,
    found,
    frames_of,
    keeping_times,
    make_folder,
    night_of,
    only,
    product,
    remove,
    swap_frames,
)
from tests.world import World

PLAIN = [
    ("pixels", swap_frames),
    ("pixels", lambda path: flip(path, read_cube_layout(path).data_offset + 5)),
    ("bytes", lambda path: path.write_bytes(path.read_bytes() + bytes(BLOCK))),
    ("row_without_file", remove),
    ("unreadable", make_folder),
]


def test_damaged_plain_products_are_all_found_and_made_anew(fixed):
    of_frames = [night_of(fixed) / "vgen2" / name for name, _ in frames_of(fixed)]
    others = [path for path in sorted((night_of(fixed) / "vgen2").glob("*.fits")) if path not in of_frames]
    paths = [*of_frames, *others][: len(PLAIN)]
    expected = {path: law for path, (law, _) in zip(paths, PLAIN, strict=True)}
    for path, (_, damage) in zip(paths, PLAIN, strict=True):
        damage(path)
    follow(fixed, all_of(fixed, expected))


def test_a_plain_product_that_was_cut(fixed):
    path = night_of(fixed) / "vgen2" / frames_of(fixed)[0][0]
    keeping_times(path, lambda path: path.write_bytes(path.read_bytes()[: read_cube_layout(path).data_offset + 3]))
    violations = found(fixed)
    assert {v.law for v in violations} <= {"bytes", "unreadable"}
    assert all(str(path) in v.what for v in violations)
    follow(fixed, violations[0])


def products_of(world: World, raw: Path) -> list[str]:
    rows = world.query(
        "SELECT file.files FROM lineage JOIN file ON file.id = product_id JOIN file AS raw ON raw.id = raw_id"
        f" WHERE raw.name = '{raw.name}'"
    )
    return sorted(json.loads(files)[0] for (files,) in rows)


def flip_frame(path: Path) -> None:
    flip(path, read_cube_layout(path).data_offset + 5)


def test_a_flipped_bit_in_a_raw_file(manifested):
    """One frame differs, in the one product that it is in; the raw file's size and mtime are as registered."""
    _, raw = frames_of(manifested)[0]
    flip_frame(raw)
    (violation,) = found(manifested)
    assert violation.law == "pixels"
    assert str(raw) in violation.what
    assert any(name in violation.what for name in products_of(manifested, raw))
    assert "1 of the " in violation.what
    assert "keep it" in violation.next_step
    flip_frame(raw)
    assert found(manifested) == []


def test_a_flipped_bit_in_a_raw_file_that_has_sums(manifested):
    _, raw = frames_of(manifested)[-1]
    flip_frame(raw)
    violations = found(manifested)
    assert [v.law for v in violations] == ["checksum", "checksum", "pixels"]
    assert all(str(raw) in v.what for v in violations)
    assert "contradicts its own DATASUM: put it back" in violations[2].next_step
    assert "ledger rollback" not in violations[2].next_step


@pytest.mark.parametrize("suffix", [".fits", ".txt"])
def test_a_flipped_bit_in_what_is_on_record_of_a_raw_file(manifested, suffix):
    raw = frames_of(manifested)[0][1].with_suffix(suffix)
    flip(raw, raw.read_bytes().index(b" / ") + 5 if suffix == ".fits" else 10)
    assert "do not roll" in only(manifested, "raw_bytes", raw).next_step


def test_frames_of_a_raw_file_that_may_lie_elsewhere(manifested):
    """A version that did not look at what follows END may have registered it."""
    raw, what = frames_of(manifested)[0][1], "else than blanks or NUL follows END"
    at = read_cube_layout(raw).data_offset - 4
    keeping_times(raw, lambda path: path.write_bytes(path.read_bytes()[:at] + b"fill" + path.read_bytes()[at + 4 :]))
    (violation,) = [v for v in found(manifested) if what in v.what]
    assert violation.law == "pixels"
    assert str(raw) in violation.what
    assert "compare the raw file with another copy of it" in violation.next_step


def test_a_raw_file_that_was_cut(manifested):
    """What is told by `stat`, and that frames are missing."""
    raw = frames_of(manifested)[0][1]
    keeping_times(raw, lambda path: path.write_bytes(path.read_bytes()[: read_cube_layout(path).data_offset + 3]))
    violations = found(manifested)
    assert {v.law for v in violations} == {"raw_unchanged", "unreadable"}
    assert all(str(raw) in v.what for v in violations)


@pytest.mark.parametrize("place", ["product", "copy", "txt"])
def test_what_is_no_file_is_not_waited_for(few, place):
    path = product(few, "*.txt" if place == "txt" else "*.fits.fz")
    path = copy_of(few, path) if place == "copy" else path
    path.unlink()
    os.mkfifo(path)

    def give_up(*_: object) -> None:
        raise AssertionError("it was waited for")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    try:
        only(few, "unreadable", path)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("suffix", [".fits", ".txt"])
@pytest.mark.parametrize("damage", [remove, make_folder])
def test_a_raw_file_that_is_gone(few, suffix, damage):
    raw = frames_of(few)[0][1].with_suffix(suffix)
    damage(raw)
    violations = found(few)
    assert violations
    assert all(str(raw) in v.what for v in violations)


def test_a_check_that_fails_has_not_passed(tmp_path):
    future: Future[Found] = Future()
    future.set_exception(MemoryError("no more"))
    (fault,) = deep._result(future, Task(tmp_path, Found), []).faults
    assert fault.law == "unchecked"
    assert "no more" in fault.what


def test_files_that_may_not_be_read(few):
    if os.geteuid() == 0:
        pytest.skip("root may read everything; a folder in place of a file is tried above")
    path = product(few)
    path.chmod(0)
    only(few, "unreadable", path)


def test_a_disk_that_refuses_is_a_violation(manifested):
    """A name that the file system does not take stands for a folder that may not be entered, and a disk that fails."""
    long = "x" * 300
    around_the_guards(manifested, "UPDATE file SET folder = ? WHERE kind = 'raw' AND folder = 'vcam1'", long)
    violations = found(manifested)
    assert {v.law for v in violations} == {"unreadable"}
    assert "File name too long" in violations[0].what
    for suffix in (".fits", ".txt"):
        assert any(f"{suffix} cannot be read" in v.what for v in violations)
    assert call(manifested, "audit").returncode == 1
