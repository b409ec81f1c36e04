"""Every kind of damage to products, copies and manifests is found, at the right file, by its own check."""

import json
import shutil
from pathlib import Path

import pytest

from ledger.delivery import manifest
from stages.fits.cards import BLOCK, CARD
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
    put_on_record,
    remove,
    repack,
    swap_frames,
)
from tests.world import World


def laws(world: World) -> list[tuple[str, str]]:
    return [(violation.law, violation.what) for violation in found(world)]


def cut(path: Path) -> None:
    keeping_times(path, lambda path: path.write_bytes(path.read_bytes()[:-BLOCK]))


LOCAL = [
    ("bytes", "*.fits.fz", flip),
    ("bytes", "*.fits.fz", cut),
    ("row_without_file", "*.fits.fz", remove),
    ("unreadable", "*.fits.fz", make_folder),
    ("bytes", "*.txt", lambda path: flip(path, 10)),
    ("bytes", "*.txt", lambda path: keeping_times(path, lambda p: p.write_bytes(p.read_bytes()[:-30]))),
    ("row_without_file", "*.txt", remove),
]


def test_damaged_products_are_all_found_and_brought_back(manifested):
    """Each damage is at a product of its own; what was sent is brought back."""
    expected = {}
    for number, (law, pattern, damage) in enumerate(LOCAL):
        path = product(manifested, pattern, number=number)
        damage(path)
        expected[path] = law
    violation = all_of(manifested, expected)
    assert "ledger recall" in violation.next_step
    follow(manifested, violation)


def test_damaged_copies_are_all_found_and_made_again(manifested):
    expected = {}
    for number, (law, pattern, damage) in enumerate(LOCAL):
        path = copy_of(manifested, product(manifested, pattern, number=number))
        damage(path)
        expected[path] = "unreadable" if law == "unreadable" else "copy"
    violation = all_of(manifested, expected)
    assert "ledger verify" in violation.next_step
    assert "--repair" in violation.next_step
    follow(manifested, violation)


def test_a_night_that_was_mailed_needs_to_be_withdrawn(few):
    manifest.send(few.machine(), [few.night()])
    path = product(few)
    flip(path)
    flip(copy_of(few, path))
    violations = found(few)
    assert all(" --yes --withdraw`" in v.next_step for v in violations)
    copy_of(few, path).unlink()
    follow(few, violations[0])


def test_copies_that_were_withdrawn_need_not_be_there(few):
    assert few.rollback(to="compressed").succeeded
    assert not copy_of(few, product(few)).exists()
    assert found(few) == []


def test_a_link_is_no_copy(few):
    path = product(few)
    copy = copy_of(few, path)
    copy.unlink()
    copy.hardlink_to(path)
    assert "same file" in only(few, "copy", copy).what


def test_a_product_of_which_no_good_copy_is_left(few):
    path = product(few)
    copy = copy_of(few, path)
    flip(path)
    flip(copy)
    violations = found(few)
    assert [(v.law, str(p) in v.what) for v, p in zip(violations, (path, copy), strict=True)] == [
        ("bytes", True),
        ("copy", True),
    ]
    assert f"move {copy} away" in violations[0].next_step
    copy.unlink()
    follow(few, violations[0])


@pytest.mark.parametrize("place", ["here", "there", "both"])
@pytest.mark.parametrize("damage", [lambda path: flip(path, 3), remove, make_folder])
def test_a_damaged_manifest_and_the_way_on(few, place, damage):
    here = next(night_of(few).glob("manifest*"))
    paths = [path for path, word in ((here, "here"), (copy_of(few, here), "there")) if place in (word, "both")]
    for path in paths:
        damage(path)
    violations = found(few)
    assert {v.law for v in violations} <= {"manifest", "unreadable"}
    assert [str(path) in v.what for v, path in zip(violations, paths, strict=True)] == [True] * len(paths)
    if place == "both":
        assert "--to transferred" in violations[0].next_step
        for path in paths[1:]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    follow(few, violations[0])


def test_a_manifest_that_lists_another_size(few):
    around_the_guards(few, "UPDATE manifest_line SET size_bytes = size_bytes + 1 WHERE position = 1")
    violations = found(few)
    copy = copy_of(few, product(few, "*.fz", number=1))
    assert [v.law for v in violations] == ["manifest", "manifest"]
    assert str(copy) in violations[0].what
    assert "lines" in violations[1].what
    assert all("--to transferred" in v.next_step for v in violations)


def test_a_manifest_that_lists_a_product_that_is_no_more(few):
    around_the_guards(few, "UPDATE manifest_line SET identity = 'another', path = '/gone' WHERE position = 0")
    assert ("manifest", "/gone is gone") in laws(few)


@pytest.mark.parametrize("damage", [flip, remove])
def test_a_copy_of_a_product_that_is_no_more(few, damage):
    path = copy_of(few, product(few))
    around_the_guards(few, "UPDATE copy SET identity = 'another' WHERE path = ?", str(path))
    around_the_guards(few, "UPDATE manifest SET withdrawn_us = 1")
    damage(path)
    only(few, "copy", path)


def test_damaged_products_that_were_not_sent_are_all_found_and_made_anew(compressed):
    expected = {}
    damages = ((flip, "bytes"), (cut, "bytes"), (remove, "row_without_file"), (make_folder, "unreadable"))
    for number, (damage, law) in enumerate(damages):
        path = product(compressed, number=number)
        damage(path)
        expected[path] = law
    violation = all_of(compressed, expected)
    assert "ledger rollback" in violation.next_step
    follow(compressed, violation)


def test_sums_of_a_compressed_product(compressed):
    """The bytes are those on record, and pixels right: only the sums know."""
    path = product(compressed)
    content = path.read_bytes()
    at = content.index(b"DATASUM ", BLOCK) + 11
    digit = content[at : at + 1]
    path.write_bytes(content[:at] + (b"1" if digit != b"1" else b"2") + content[at + 1 :])
    put_on_record(compressed, path)
    violations = found(compressed)
    assert [v.law for v in violations] == ["checksum", "checksum"]
    assert all(
        f"{path}: {sum_} of HDU 1" in v.what for v, sum_ in zip(violations, ("DATASUM", "CHECKSUM"), strict=True)
    )
    follow(compressed, violations[0])


def test_swapped_frames_that_only_the_comparison_with_raw_sees(compressed):
    name, raw = frames_of(compressed)[0]
    path = night_of(compressed) / "vgen2" / name
    repack(path, swap_frames)
    put_on_record(compressed, path)
    violation = only(compressed, "pixels", path)
    assert "2 of the " in violation.what
    assert str(raw) in violation.what
    assert "keep it" in violation.next_step
    assert "compare the raw file with another copy" in violation.next_step


def test_the_raw_files_own_sum_says_who_is_right(compressed):
    name, raw = frames_of(compressed)[-1]
    assert b"DATASUM " in raw.read_bytes()
    path = night_of(compressed) / "vgen2" / name
    repack(path, swap_frames)
    put_on_record(compressed, path)
    violation = only(compressed, "pixels", path)
    assert "agrees with its own DATASUM" in violation.next_step
    follow(compressed, violation)


def test_frames_that_mean_something_else(compressed):
    """The stored bits are those of raw, and the zero that they count from is not."""
    name, _ = frames_of(compressed)[0]
    path = night_of(compressed) / "vgen2" / name

    def count_from_zero(plain: Path) -> None:
        content = bytearray(plain.read_bytes())
        at = content.index(b"BZERO   =")
        content[at : at + CARD] = b"BZERO   =                    0".ljust(CARD)
        plain.write_bytes(content)

    repack(path, count_from_zero)
    put_on_record(compressed, path)
    assert "BZERO" in only(compressed, "pixels", path).what


def test_a_frame_too_many(compressed):
    name, _ = frames_of(compressed)[0]
    around_the_guards(
        compressed,
        "UPDATE lineage SET n_frames = n_frames - 1, runs = '[[0, 1, 1]]' WHERE position = 0 AND product_id ="
        " (SELECT id FROM file WHERE files LIKE ?)",
        f'["{name}"%',
    )
    assert ("pixels", True) in [(v.law, name in v.what) for v in found(compressed)]


def test_a_frame_that_the_raw_file_does_not_have(compressed):
    name, raw = frames_of(compressed)[0]
    runs = "SELECT product_id, runs FROM lineage JOIN file ON file.id = product_id WHERE position = 0 AND files LIKE"
    ((identity, before),) = compressed.query(f"{runs} '[\"{name}\"%'")
    ((first, step, n), *others) = json.loads(before)
    beyond = json.dumps([[first + 10**6, step, n], *others])
    around_the_guards(compressed, "UPDATE lineage SET runs = ? WHERE product_id = ? AND position = 0", beyond, identity)
    violations = found(compressed)
    assert {v.law for v in violations} == {"frame_once", "unreadable"}
    assert str(raw) in violations[-1].what
