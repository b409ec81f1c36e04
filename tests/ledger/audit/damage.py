"""Damage a night, and look at what a deep audit finds."""

import hashlib
import json
import os
import shlex
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

from ledger.audit.deep import Report, audit_deeply
from ledger.audit.laws import Violation
from stages.fits.cards import BLOCK
from stages.fits.cubes import read_cube_layout
from stages.fits.tiled import compress
from stages.fits.untiled import plain_pieces
from tests.inside import call
from tests.world import DATE, World

#: Cubes of `onecamera` have DATASUM and CHECKSUM, those of `pdi` have not.
SCENARIO = ("pdi", "onecamera")


def audit(world: World, **options: object) -> Report:
    return audit_deeply(world.store(), world.config, **options)


def found(world: World, **options: object) -> list[Violation]:
    violations = audit(world, **options).violations
    assert all(v.law and v.what and v.next_step for v in violations)
    return violations


def only(world: World, law: str, path: Path) -> Violation:
    """Return the one violation, and prove its law and its file; a folder in the place of a file is no file, either."""
    violations = [v for v in found(world) if not (law == "unreadable" and v.law == "row_without_file")]
    assert [(v.law, str(path) in v.what) for v in violations] == [(law, True)], violations
    return violations[0]


def all_of(world: World, expected: dict[Path, str]) -> Violation:
    """Return one of the violations, and prove that each file breaks its own law, and that the same commands help."""
    told = []
    for violation in found(world):
        (path,) = [path for path in expected if str(path) in violation.what]
        if not (violation.law == "row_without_file" and expected[path] == "unreadable"):  # a folder is no file, either
            told.append((str(path), violation.law, violation))
    assert sorted((path, law) for path, law, _ in told) == sorted((str(path), law) for path, law in expected.items())
    assert len({tuple(violation.next_step.split("`")[1::2]) for *_, violation in told}) == 1
    return told[0][-1]


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


def standing(world: World, state: str) -> World:
    world.simulate(scale=0.02, scenario=SCENARIO)
    world.bring(to=state)
    return world


def follow(world: World, violation: Violation) -> None:
    """Do what is said; then all is well."""
    commands = violation.next_step.split("`")[1::2]
    assert commands, violation.next_step
    for path in [p for p in world.folder.rglob("*") if p.is_dir() and p.suffix in (".fits", ".fz", ".txt", ".csv")]:
        path.rmdir()
    for command in commands:
        program, *arguments = shlex.split(command)
        if program == "ledger":
            done = call(world, *arguments)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
        else:
            subprocess.run([program, *arguments], check=True)
    assert found(world) == []
