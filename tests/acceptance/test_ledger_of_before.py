"""A ledger of before goes on: what it took when less was looked at keeps its bytes and IDs; what it did not number is
looked at again."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ledger.rescue.rebuild import rebuild
from ledger.run import registration
from ledger.run.plan import plan_advance
from stages.fits.cubes import read_cube_layout
from tests.ledger.db.test_backup import fresh
from tests.world import DATE, World


def cubes(world: World, stream: str = "vcam1") -> list[Path]:
    return sorted((world.folder / "archive" / DATE / stream).glob("*.fits"))


def keeping_times(path: Path, content: bytes) -> None:
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def execute(world: World, sql: str, **values: Any) -> None:
    with world.store().write() as session:
        session.execute(text(sql), values)


def forget_structure(world: World) -> None:
    """Leave what raw rows of before have of their headers."""
    for row_id, cards in world.query("SELECT id, cards FROM file WHERE kind = 'raw'"):
        known = json.loads(cards) if isinstance(cards, str) else cards
        kept = {key: value for key, value in known.items() if key not in {"BITPIX", "BZERO", "BSCALE", "BLANK"}}
        execute(world, "UPDATE file SET cards = :cards WHERE id = :id", cards=json.dumps(kept), id=row_id)


def ids(world: World) -> list[tuple]:
    return world.query("SELECT frame_id, identity, start_us, status FROM frame_id ORDER BY number")


def products(world: World) -> dict[str, tuple]:
    return {name: file for name, file in world.tree().items() if name.startswith("vgen2")}


#: What a raw file may have that is looked at today, and was not then.
ODD = ("fill that is not zero", "text after END", "a truth as text")


def odd(cube: Path, what: str) -> bytes:
    """Return the bytes of a cube with something odd."""
    content, at = cube.read_bytes(), read_cube_layout(cube).data_offset
    changed = {
        "fill that is not zero": content[:-4] + b"fill",
        "text after END": content[: at - 4] + b"text" + content[at:],
        "a truth as text": content.replace(b"EXTTRIG =                    T", b"EXTTRIG = 'MAYBE   '          ", 1),
    }[what]
    assert changed != content
    return changed


@pytest.fixture
def archived(world: World, monkeypatch) -> World:
    """Return a world with a night that was archived when less was looked at; each of its first raw files is odd."""
    world.simulate(scale=0.02, scenario=("slow",))
    first = [*cubes(world), *cubes(world, "vcam2")][: len(ODD)]
    for what, cube in zip(ODD, first, strict=True):
        keeping_times(cube, odd(cube, what))
    world.data["instrument"]["times"] = dict.fromkeys(("clocks_s", "date_h", "name_s", "exposures"))
    with monkeypatch.context() as patched:
        patched.setattr(registration, "register", partial(registration.register, is_new=False))
        result = world.advance()
    assert result.succeeded, result.stopped
    assert not result.quarantined
    forget_structure(world)
    del world.data["instrument"]["times"]
    return world


def test_taken_back_and_forward_it_has_the_same_bytes_and_ids(archived):
    before = ids(archived), products(archived)
    for state in ("fixed", "raw"):
        assert archived.rollback(to=state).succeeded
        result = archived.advance()
        assert (result.succeeded, result.quarantined) == (True, [])
        assert (ids(archived), products(archived)) == before


def test_rebuilt_it_has_the_same_ids_and_goes_back_and_forward(archived, tmp_path):
    before = ids(archived), products(archived)
    fresh(archived, f"sqlite:///{tmp_path / 'new.db'}")
    made = rebuild(archived.config, clock=lambda: archived.now_us)
    assert made.succeeded
    assert (ids(archived), products(archived)) == before
    assert archived.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("manifested",)]


def test_a_night_without_numbers_is_looked_at_again_before_it_gets_some(world):
    world.simulate(scale=0.02, scenario=("slow",))
    world.bring(to="fixed")
    forget_structure(world)
    before = products(world)
    planned = plan_advance(world.machine(), world.night(), None)
    assert "unsync" in {step.verb for step in planned.steps}
    assert products(world) == before
    result = world.advance()
    assert result.succeeded, result.stopped
    assert result.registered == len(cubes(world)) + len(cubes(world, "vcam2"))
    assert world.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("manifested",)]
    assert {step.verb for step in planned.steps} >= set(result.moved) - {"register"}


def test_what_is_found_then_is_put_aside(world):
    """Before numbers are given, and not after."""
    world.simulate(scale=0.02, scenario=("slow",))
    world.bring(to="fixed")
    forget_structure(world)
    cube = cubes(world)[0]
    keeping_times(cube, cube.read_bytes()[:-4] + b"fill")
    result = world.advance()
    assert [name for name, _ in result.quarantined] == [f"vcam1/{cube.name}"]
    assert result.succeeded
    assert world.query(f"SELECT state FROM file WHERE name = '{cube.name}'") == [("raw",)]


def test_a_copy_of_a_file_that_was_registered_by_times_of_0_is_a_duplicate(world):
    world.simulate(scale=0.02, scenario=("onecamera",))
    cube, *others = cubes(world)
    for other in others:
        other.unlink()
        other.with_suffix(".txt").unlink()
    rows = [line.split() for line in cube.with_suffix(".txt").read_text().splitlines() if not line.startswith("#")]
    cube.with_suffix(".txt").write_text("".join(" ".join([*row[:4], "0.000000", *row[5:]]) + "\n" for row in rows))
    assert world.advance(to="synced").succeeded
    execute(world, "UPDATE file SET first_us = 0, last_us = 0 WHERE kind = 'raw'")
    copy = cube.with_name("copy.fits")
    copy.write_bytes(cube.read_bytes())
    copy.with_suffix(".txt").write_bytes(cube.with_suffix(".txt").read_bytes())
    ((name, reason),) = world.advance(to="synced").quarantined
    assert (name, reason.startswith("duplicate")) == ("vcam1/copy.fits", True)
