"""Every kind of damage is found, at the right file, by its own check; and a sound night passes in every state."""

import hashlib
import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from ledger.audit import deep
from ledger.audit._deep_tasks import Task
from ledger.audit.deep import Report, audit_deeply
from ledger.audit.laws import Violation
from ledger.delivery import manifest
from ledger.delivery.verify import verify
from ledger.errors import BadInput, Interrupted
from ledger.night import record
from ledger.night.lease import Lease
from ledger.report import Silent, Stop
from stages.check import reread
from stages.check.reread import Found
from stages.fits.cards import BLOCK, CARD
from stages.fits.cubes import read_cube_layout
from stages.fits.tiled import compress, plain_pieces
from tests.databases import make_database
from tests.world import DATE, World

STATES = ["raw", "synced", "consolidated", "fixed", "identified", "compressed", "transferred", "manifested"]
#: Cubes of `onecamera` have DATASUM and CHECKSUM, those of `pdi` have not.
SCENARIO = ("pdi", "onecamera")


def audit(world: World, **options: object) -> Report:
    return audit_deeply(world.store(), world.config, **options)


def found(world: World, **options: object) -> list[Violation]:
    violations = audit(world, **options).violations
    assert all(v.law and v.what and v.next_step for v in violations)
    return violations


def laws(world: World) -> list[tuple[str, str]]:
    return [(violation.law, violation.what) for violation in found(world)]


def only(world: World, law: str, path: Path) -> Violation:
    """Return the one violation, and prove its law and its file; a folder in the place of a file is no file, either."""
    violations = [v for v in found(world) if not (law == "unreadable" and v.law == "row_without_file")]
    assert [(v.law, str(path) in v.what) for v in violations] == [(law, True)], violations
    return violations[0]


def night_of(world: World) -> Path:
    return world.folder / "archive" / DATE


def product(world: World, pattern: str = "*.fits*", *, number: int = 0) -> Path:
    return sorted((night_of(world) / "vgen2").glob(pattern))[number]


def copy_of(world: World, path: Path) -> Path:
    return world.destination / path.relative_to(night_of(world).parent)


def frames_of(world: World) -> list[tuple[str, Path]]:
    """Return the cube and the first raw file of products that have several frames of it."""
    rows = world.query(
        "SELECT file.files, raw.folder, raw.name FROM lineage JOIN file ON file.id = product_id"
        " JOIN file AS raw ON raw.id = raw_id WHERE position = 0 AND lineage.n_frames > 3 ORDER BY file.id"
    )
    return [(json.loads(files)[0], night_of(world) / folder / name) for files, folder, name in rows]


def keeping_times(path: Path, change: Callable[[Path], None]) -> None:
    """Change a file as a disk does: size and mtime say nothing, if the change keeps the size."""
    info = path.stat()
    change(path)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def flip(path: Path, at: int = -BLOCK - 40) -> None:
    """Flip one bit; before the padding by default."""

    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)

    keeping_times(path, change)


def cut(path: Path) -> None:
    keeping_times(path, lambda path: path.write_bytes(path.read_bytes()[:-BLOCK]))


def remove(path: Path) -> None:
    path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def swap_frames(path: Path) -> None:
    """Swap the first two frames of a plain cube."""
    cube = read_cube_layout(path)
    content = bytearray(path.read_bytes())
    a = slice(cube.data_offset, cube.data_offset + cube.frame_bytes)
    b = slice(a.stop, a.stop + cube.frame_bytes)
    assert content[a] != content[b]
    content[a], content[b] = content[b], content[a]
    path.write_bytes(content)


def repack(packed: Path, change: Callable[[Path], None]) -> None:
    """Change the cube in a ``.fz``, whose sums are right then."""
    plain = packed.with_suffix("")
    with packed.open("rb") as source:
        plain.write_bytes(b"".join(plain_pieces(source, packed)))
    change(plain)
    cube = read_cube_layout(plain)
    with plain.open("rb") as source, packed.open("w+b") as target:
        source.seek(cube.data_offset)
        compress(source, target, cube, tile="frame", stamp="2026-01-02T06:00:00", wide=False)
    plain.unlink()


def around_the_guards(world: World, statement: str, *parameters: object) -> None:
    with sqlite3.connect(world.url.removeprefix("sqlite:///")) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        assert connection.execute(statement, parameters).rowcount > 0
    connection.close()


def put_on_record(world: World, path: Path) -> None:
    """Put on record what a compressed product is now, as if it had been made so."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    where = ("UPDATE file SET sha256 = ?, size_bytes = ? WHERE files LIKE ?", f'["{path.name}"%')
    around_the_guards(world, where[0], sha256, path.stat().st_size, where[1])


def nights_in(state: str) -> Callable[[pytest.FixtureRequest, pytest.TempPathFactory], Iterator[World]]:
    """Return a fixture: a night that is in `state`, and the same again for each test, as rows name its paths."""

    @pytest.fixture(scope="module")
    def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
        folder = tmp_path_factory.mktemp(state)
        url = make_database(request, folder, "sqlite")
        world = World(folder / "world", url)
        world.simulate(scale=0.02, scenario=SCENARIO)
        assert world.advance(to=state).succeeded
        world.close()
        kept = tmp_path_factory.mktemp("kept") / "copy"
        shutil.copytree(folder, kept)
        return folder, kept, url

    return made


manifested_once, compressed_once, fixed_once = nights_in("manifested"), nights_in("compressed"), nights_in("fixed")


def again(once: tuple[Path, Path, str]) -> Iterator[World]:
    folder, kept, url = once
    shutil.rmtree(folder)
    world = World(folder / "world", url)
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    yield world
    world.close()


@pytest.fixture
def manifested(manifested_once: tuple[Path, Path, str]) -> Iterator[World]:
    yield from again(manifested_once)


@pytest.fixture
def compressed(compressed_once: tuple[Path, Path, str]) -> Iterator[World]:
    yield from again(compressed_once)


@pytest.fixture
def fixed(fixed_once: tuple[Path, Path, str]) -> Iterator[World]:
    yield from again(fixed_once)


# what is sound


def test_a_sound_night_passes_in_every_state(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=(*SCENARIO, "slow", "untriggered", "bad"))
    for state in STATES:
        assert world.advance(to=state).succeeded
        report = audit(world)
        assert report.violations == []
        has_files = state not in STATES[:2]
        frames = "SELECT COUNT(*), COALESCE(SUM(n_frames), 0) FROM file WHERE kind = 'product'"
        ((n_products, n_frames),) = world.query(frames)
        assert report.counts["nights"] == 1
        assert report.counts["products"] == n_products
        assert report.counts["frames"] == (n_frames if has_files else 0)
    raws = "SELECT SUM(timing_size_bytes), COUNT(*) FROM file WHERE kind = 'raw' AND quarantine_reason IS NULL"
    ((raw_bytes, n_raws),) = world.query(raws)
    sent = [night_of(world), world.destination / DATE]
    files = [path for folder in sent for path in [*(folder / "vgen2").iterdir(), *folder.glob("manifest*")]]
    files = [path for path in files if path.name != "lineage.tsv"]
    of_frames = n_frames * 8 * 8 * 2
    assert report.counts["files"] == len(files) + n_raws
    assert report.counts["bytes"] == sum(path.stat().st_size for path in files) + raw_bytes + of_frames


def test_both_databases(world):
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring()
    assert found(world) == []
    flip(product(world, number=1))
    (violation,) = found(world)
    assert violation.law == "bytes"


def test_the_other_pipeline_and_one_night_alone(sqlite_world):
    world = sqlite_world
    world.simulate(pipeline="engineering", scale=0.02, scenario=("slow",))
    assert world.machine().advance(world.night()).succeeded
    world.simulate("20260103", scale=0.02, scenario=("pdi",))
    assert world.advance("20260103").succeeded
    assert audit(world).counts["nights"] == 2
    path = min((world.folder / "engineering" / DATE / "vgen2").glob("*.fz"))
    flip(path)
    assert found(world, date="20260103") == []
    (violation,) = found(world, date=DATE)
    assert str(path) in violation.what
    with pytest.raises(BadInput, match="no night 20260104"):
        audit(world, date="20260104")


@pytest.mark.parametrize("tile", ["frame", "row"])
def test_cubes_are_compared_a_few_frames_at_a_time(sqlite_world, monkeypatch, tile):
    monkeypatch.setattr(reread, "_CHUNK_BYTES", 3 * 8 * 8 * 2)
    sqlite_world.data["states"]["compressed"]["parameters"]["tile"] = tile
    sqlite_world.simulate(scale=0.02, scenario=SCENARIO)
    assert sqlite_world.advance(to="compressed").succeeded
    assert found(sqlite_world) == []
    name, _ = frames_of(sqlite_world)[0]
    path = night_of(sqlite_world) / "vgen2" / name

    def spoil_the_last(plain: Path) -> None:
        cube = read_cube_layout(plain)
        flip(plain, cube.data_offset + cube.shape[0] * cube.frame_bytes - 1)

    repack(path, spoil_the_last)
    put_on_record(sqlite_world, path)
    (violation,) = found(sqlite_world)
    assert violation.law == "pixels"
    assert str(path) in violation.what


def test_a_salvaged_file_is_compared_as_far_as_it_is_used(sqlite_world):
    world = sqlite_world
    world.data["salvage"] = True
    world.simulate(scale=0.1, scenario=("slow",))
    path = min((night_of(world) / "vcam1").glob("*.fits"))
    path.write_bytes(path.read_bytes()[: -BLOCK - 200])
    assert world.advance().succeeded
    assert world.query("SELECT COUNT(*) FROM file WHERE lost_frames > 0") == [(1,)]
    assert found(world) == []


# what is damaged: state, which file, how, and the law that it breaks

LOCAL = [
    ("bytes", "*.fits.fz", flip),
    ("bytes", "*.fits.fz", cut),
    ("row_without_file", "*.fits.fz", remove),
    ("unreadable", "*.fits.fz", make_folder),
    ("bytes", "*.txt", lambda path: flip(path, 10)),
    ("bytes", "*.txt", lambda path: keeping_times(path, lambda p: p.write_bytes(p.read_bytes()[:-30]))),
    ("row_without_file", "*.txt", remove),
]


@pytest.mark.parametrize(("law", "pattern", "damage"), LOCAL)
def test_a_damaged_product_and_the_way_on(manifested, law, pattern, damage):
    path = product(manifested, pattern, number=1)
    damage(path)
    violation = only(manifested, law, path)
    follow(manifested, violation)


def follow(world: World, violation: Violation) -> None:
    """Do what is said; then all is well."""
    commands = violation.next_step.split("`")[1::2]
    assert commands, violation.next_step
    for path in [p for p in world.folder.rglob("*") if p.is_dir() and p.suffix in (".fits", ".fz", ".txt", ".csv")]:
        path.rmdir()
    for command in commands:
        program, *arguments = shlex.split(command)
        if program == "ledger":
            done = world.run(*arguments)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
        else:
            subprocess.run([program, *arguments], check=True)
    assert found(world) == []


@pytest.mark.parametrize(("law", "pattern", "damage"), LOCAL)
def test_a_damaged_copy_and_the_way_on(manifested, law, pattern, damage):
    path = copy_of(manifested, product(manifested, pattern, number=1))
    damage(path)
    violation = only(manifested, "unreadable" if law == "unreadable" else "copy", path)
    assert "ledger verify" in violation.next_step
    assert "--repair" in violation.next_step
    follow(manifested, violation)


def test_a_product_that_was_sent_is_brought_back(manifested):
    path = product(manifested, number=1)
    flip(path)
    assert "ledger recall" in only(manifested, "bytes", path).next_step


def test_a_night_that_was_mailed_needs_to_be_withdrawn(manifested):
    manifest.send(manifested.machine(), [manifested.night()])
    path = product(manifested)
    flip(path)
    flip(copy_of(manifested, path))
    violations = found(manifested)
    assert all(" --yes --withdraw`" in v.next_step for v in violations)
    copy_of(manifested, path).unlink()
    follow(manifested, violations[0])


def test_copies_that_were_withdrawn_need_not_be_there(manifested):
    assert manifested.rollback(to="compressed").succeeded
    assert not copy_of(manifested, product(manifested)).exists()
    assert found(manifested) == []


def test_a_link_is_no_copy(manifested):
    path = product(manifested)
    copy = copy_of(manifested, path)
    copy.unlink()
    copy.hardlink_to(path)
    assert "same file" in only(manifested, "copy", copy).what


def test_a_product_of_which_no_good_copy_is_left(manifested):
    path = product(manifested)
    copy = copy_of(manifested, path)
    flip(path)
    flip(copy)
    violations = found(manifested)
    assert [(v.law, str(p) in v.what) for v, p in zip(violations, (path, copy), strict=True)] == [
        ("bytes", True),
        ("copy", True),
    ]
    assert f"move {copy} away" in violations[0].next_step
    copy.unlink()
    follow(manifested, violations[0])


@pytest.mark.parametrize("place", ["here", "there", "both"])
@pytest.mark.parametrize("damage", [lambda path: flip(path, 3), remove, make_folder])
def test_a_damaged_manifest_and_the_way_on(manifested, place, damage):
    here = next(night_of(manifested).glob("manifest*"))
    paths = [path for path, word in ((here, "here"), (copy_of(manifested, here), "there")) if place in (word, "both")]
    for path in paths:
        damage(path)
    violations = found(manifested)
    assert {v.law for v in violations} <= {"manifest", "unreadable"}
    assert [str(path) in v.what for v, path in zip(violations, paths, strict=True)] == [True] * len(paths)
    if place == "both":
        assert "--to transferred" in violations[0].next_step
        for path in paths[1:]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    follow(manifested, violations[0])


def test_a_manifest_that_lists_another_size(manifested):
    around_the_guards(manifested, "UPDATE manifest_line SET size_bytes = size_bytes + 1 WHERE position = 1")
    violations = found(manifested)
    copy = copy_of(manifested, product(manifested, "*.fz", number=1))
    assert [v.law for v in violations] == ["manifest", "manifest"]
    assert str(copy) in violations[0].what
    assert "lines" in violations[1].what
    assert all("--to transferred" in v.next_step for v in violations)


def test_a_manifest_that_lists_a_product_that_is_no_more(manifested):
    around_the_guards(manifested, "UPDATE manifest_line SET identity = 'another', path = '/gone' WHERE position = 0")
    assert ("manifest", "/gone is gone") in laws(manifested)


@pytest.mark.parametrize("damage", [flip, remove])
def test_a_copy_of_a_product_that_is_no_more(manifested, damage):
    path = copy_of(manifested, product(manifested))
    around_the_guards(manifested, "UPDATE copy SET identity = 'another' WHERE path = ?", str(path))
    around_the_guards(manifested, "UPDATE manifest SET withdrawn_us = 1")
    damage(path)
    only(manifested, "copy", path)


@pytest.mark.parametrize(
    ("damage", "law"),
    [(flip, "bytes"), (cut, "bytes"), (remove, "row_without_file"), (make_folder, "unreadable")],
)
def test_a_damaged_product_that_was_not_sent(compressed, damage, law):
    path = product(compressed, number=2)
    damage(path)
    violation = only(compressed, law, path)
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


# plain cubes, of which no hash is on record

PLAIN = [
    ("pixels", swap_frames),
    ("pixels", lambda path: flip(path, read_cube_layout(path).data_offset + 5)),
    ("bytes", lambda path: path.write_bytes(path.read_bytes() + bytes(BLOCK))),
    ("row_without_file", remove),
    ("unreadable", make_folder),
]


@pytest.mark.parametrize(("law", "damage"), PLAIN)
def test_a_damaged_plain_product_and_the_way_on(fixed, law, damage):
    name, _ = frames_of(fixed)[0]
    path = night_of(fixed) / "vgen2" / name
    damage(path)
    follow(fixed, only(fixed, law, path))


def test_a_plain_product_that_was_cut(fixed):
    path = night_of(fixed) / "vgen2" / frames_of(fixed)[0][0]
    keeping_times(path, lambda path: path.write_bytes(path.read_bytes()[: read_cube_layout(path).data_offset + 3]))
    violations = found(fixed)
    assert {v.law for v in violations} <= {"bytes", "unreadable"}
    assert all(str(path) in v.what for v in violations)
    follow(fixed, violations[0])


# raw files


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
def test_what_is_no_file_is_not_waited_for(manifested, place):
    path = product(manifested, "*.txt" if place == "txt" else "*.fits.fz")
    path = copy_of(manifested, path) if place == "copy" else path
    path.unlink()
    os.mkfifo(path)

    def give_up(*_: object) -> None:
        raise AssertionError("it was waited for")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    try:
        only(manifested, "unreadable", path)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("suffix", [".fits", ".txt"])
@pytest.mark.parametrize("damage", [remove, make_folder])
def test_a_raw_file_that_is_gone(manifested, suffix, damage):
    raw = frames_of(manifested)[0][1].with_suffix(suffix)
    damage(raw)
    violations = found(manifested)
    assert violations
    assert all(str(raw) in v.what for v in violations)


# fail closed


def test_a_check_that_fails_has_not_passed(tmp_path):
    future: Future[Found] = Future()
    future.set_exception(MemoryError("no more"))
    (fault,) = deep._result(future, Task(tmp_path, Found), []).faults
    assert fault.law == "unchecked"
    assert "no more" in fault.what


def test_files_that_may_not_be_read(manifested):
    if os.geteuid() == 0:
        pytest.skip("root may read everything; a folder in place of a file is tried above")
    path = product(manifested)
    path.chmod(0)
    only(manifested, "unreadable", path)


def test_a_disk_that_refuses_is_a_violation(manifested):
    """A name that the file system does not take stands for a folder that may not be entered, and a disk that fails."""
    long = "x" * 300
    around_the_guards(manifested, "UPDATE file SET folder = ? WHERE kind = 'raw' AND folder = 'vcam1'", long)
    violations = found(manifested)
    assert {v.law for v in violations} == {"unreadable"}
    assert "File name too long" in violations[0].what
    for suffix in (".fits", ".txt"):
        assert any(f"{suffix} cannot be read" in v.what for v in violations)
    assert manifested.run("audit").returncode == 1


# nights that a run works on


def test_a_night_that_a_run_works_on_is_not_judged(manifested):
    flip(product(manifested))
    store = manifested.store()
    night = record.find_night(store, "archive", DATE)
    run_id = store.begin_run("advance", {})

    class Unexpected(Silent):
        def phase(self, *_: object, **__: object) -> None:
            raise AssertionError("files are not read in vain")

    with Lease(store, night, run_id):
        report = audit(manifested, reporter=Unexpected())
    assert report.violations == []
    assert report.counts["nights"] == report.counts["files"] == 0
    assert [(e.kind, e.first, f"run {run_id} works on it" in e.reason) for e in report.explained] == [
        ("busy", DATE, True)
    ]
    assert found(manifested)


def test_a_night_that_a_run_has_had_meanwhile_is_not_judged(manifested):
    flip(product(manifested))
    store = manifested.store()
    night = record.find_night(store, "archive", DATE)
    run_id = store.begin_run("advance", {})

    class Visitor(Silent):
        def phase(self, *_: object, **__: object) -> None:
            with Lease(store, night, run_id):
                pass

    report = audit(manifested, reporter=Visitor())
    assert report.violations == []
    assert [(e.kind, "meanwhile" in e.reason) for e in report.explained] == [("busy", True)]


def test_copies_at_another_host_are_told(manifested):
    around_the_guards(manifested, "UPDATE copy SET host = 'stars'")
    report = audit(manifested)
    assert report.violations == []
    assert [(e.kind, "stars" in e.reason) for e in report.explained] == [("afar", True)]


def test_a_copy_afar_counts_once_however_often_it_was_proven(manifested):
    for _ in range(3):
        verify(manifested.machine(), manifested.night())
    around_the_guards(manifested, "UPDATE copy SET host = 'stars'")
    (explained,) = audit(manifested).explained
    assert explained.count == len(manifested.query("SELECT 1 FROM file WHERE kind = 'product'"))


# workers, and the command


def test_results_are_in_order_with_workers_too(manifested):
    for number in (3, 1):
        flip(product(manifested, number=number))
    flip(copy_of(manifested, product(manifested, number=2)))
    inline = audit(manifested)
    assert [v.law for v in inline.violations] == ["bytes", "copy", "bytes"]
    manifested.data["engine"]["executor"] = "processes"
    parallel = audit(manifested, jobs=2)
    assert parallel.violations == inline.violations
    assert parallel.counts == inline.counts


def test_a_stop_between_files(manifested):
    with pytest.raises(Interrupted, match="nothing was changed"):
        audit(manifested, stop=Stop(signal.SIGTERM))


def test_the_command(manifested):
    before, rows = manifested.tree(manifested.folder / "archive"), manifested.query("SELECT * FROM run")
    done = manifested.run("audit", "--deep", "--date", DATE)
    assert done.returncode == 0, done.stderr
    *_, verdict, compared = done.stdout.splitlines()
    assert verdict.startswith("ok  ")
    ((n, frames),) = manifested.query("SELECT COUNT(*), SUM(n_frames) FROM file WHERE kind = 'product'")
    assert compared.startswith(f"compared: 1 night, {n} products, {frames} frames and ")
    assert f"deep audit {DATE}" in done.stderr
    assert manifested.tree(manifested.folder / "archive") == before
    assert manifested.query("SELECT * FROM run") == rows
    path = product(manifested)
    flip(path)
    done = manifested.run("audit", "--deep")
    assert done.returncode == 1
    assert any(line.startswith(f"  bytes: {path} has SHA-256 ") for line in done.stdout.splitlines())
    done = manifested.run("audit", "--deep", "--json", "--jobs", "2")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert [v["law"] for v in told["violations"]] == ["bytes"]
    assert set(told["compared"]) == {"nights", "products", "files", "frames", "bytes", "seconds"}
    assert manifested.run("audit").returncode == 0
    assert manifested.run("audit", "--jobs", "2").returncode == 2


#: So large that reading it takes a worker minutes, and no disk.
SPARSE_BYTES = 2 * 10**12


@pytest.fixture
def busy_audit(manifested: World) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Return a deep audit, and its worker that reads a file which takes very long."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to see what a process reads")
    path = product(manifested)
    os.truncate(path, SPARSE_BYTES)
    manifested.data["engine"] = {"executor": "processes", "workers": 1}
    command = [sys.executable, "-m", "ledger.cli", "--config", str(manifested.config_path), "audit", "--deep"]
    audit = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    readers: list[int] = []
    until(lambda: readers.extend(pid for pid in session(audit.pid) if reads(pid, path)) or readers)
    yield audit, readers[0]
    for pid in session(audit.pid):
        os.kill(pid, signal.SIGKILL)
    audit.communicate()


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def session(leader: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(sid) == leader and state != "Z":
            found.append(int(path.parent.name))
    return found


def reads(pid: int, path: Path) -> bool:
    try:
        return any(fd.resolve() == path for fd in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_at_once_and_leaves_nothing(busy_audit, number):
    audit, _ = busy_audit
    asked = time.monotonic()
    os.killpg(audit.pid, number)  # as a terminal does
    _, said = audit.communicate(timeout=30)
    assert audit.returncode == 128 + number, said
    assert time.monotonic() - asked < 5
    assert "nothing was changed" in said
    assert "Traceback" not in said
    until(lambda: not session(audit.pid), 10)


def test_a_worker_that_dies_is_told_with_what_it_read(busy_audit, manifested):
    audit, worker = busy_audit
    os.kill(worker, signal.SIGKILL)
    _, said = audit.communicate(timeout=30)
    assert audit.returncode == 1, said
    assert f"died at one of {product(manifested)}" in said
