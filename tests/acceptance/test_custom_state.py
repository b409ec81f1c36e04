"""The page on adding a state is the test: its module, configuration and commands are used as they stand there."""

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from astropy.io import fits
from sqlalchemy import text

from ledger.errors import ConfigError, UsageError
from ledger.night.pipeline import pipelines
from tests.world import DATE, Tree, World

PAGE = (Path(__file__).parents[2] / "docs" / "add-a-state.md").read_text(encoding="utf-8")
DEFAULT = ["raw", "synced", "consolidated", "fixed", "identified", "compressed", "transferred", "manifested"]


def shown(marker: str) -> str:
    """Return the block of the page that follows a marker."""
    (block,) = re.finditer(rf"<!-- {re.escape(marker)} -->\n```\w+\n(.*?)```", PAGE, flags=re.DOTALL)
    return block[1]


def merge(into: dict[str, Any], block: dict[str, Any]) -> None:
    for key, value in block.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def write_module(folder: Path) -> Path:
    """Write the page's module into a folder of its own; return the folder."""
    stages = folder / "stages of the observatory"
    stages.mkdir()
    (stages / "previewed.py").write_text(shown("file: previewed.py"))
    return stages


def configure(world: World) -> None:
    merge(world.data, yaml.safe_load(shown("merge into: config.yaml")))


def declare(world: World) -> None:
    """Do in this process what `ledger init` does."""
    world.store().init(pipelines(world.config).values())


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process find the module, and forget it afterwards."""
    monkeypatch.syspath_prepend(write_module(tmp_path))
    sys.modules.pop("previewed", None)
    yield
    sys.modules.pop("previewed", None)


def simulate(world: World) -> Tree:
    """Write a small night; return its files."""
    world.simulate(scale=0.02, scenario=("pdi", "onecamera"))
    return world.tree()


def files(world: World) -> dict[str, list[str]]:
    """Return the names of each product's files by its state and name."""
    rows = world.query("SELECT state, name, files FROM file WHERE kind = 'product'")
    return {
        f"{state} {name}": names if isinstance(names, list) else json.loads(names)  # SQLite has no type for it
        for state, name, names in rows
    }


def check_pictures(world: World) -> None:
    """Every product has its picture, here and at the destination, and it shows the mean of its frames."""
    assert files(world)
    for names in files(world).values():
        here = world.folder / "archive" / DATE / "vgen2"
        stem = names[0].removesuffix(".fits.fz")
        assert re.fullmatch(r"VMPA\d{8}", stem)
        assert sorted(names) == [f"{stem}.fits.fz", f"{stem}.pgm", f"{stem}.txt"]
        data = (here / f"{stem}.pgm").read_bytes()
        assert data == (world.destination / DATE / "vgen2" / f"{stem}.pgm").read_bytes()
        assert data.startswith(b"P5\n8 8\n255\n")
        pixels = np.frombuffer(data[11:], dtype=np.uint8).reshape(8, 8)[::-1]
        mean = fits.getdata(here / names[0]).mean(axis=0, dtype=float)
        order = np.argsort(mean, axis=None)
        assert (np.diff(pixels.ravel()[order].astype(int)) >= 0).all()
        assert (pixels.min(), pixels.max()) == (0, 255)
    sums = (world.folder / "archive" / DATE / "SHA256SUMS").read_text()
    assert sums.count(".pgm\n") == len(files(world))


def test_the_page_as_it_stands(sqlite_world: World, tmp_path: Path) -> None:
    world = sqlite_world
    world.data["engine"] = {"executor": "processes", "workers": 2}
    before = simulate(world)
    configure(world)
    export, *commands = [line.removeprefix("$ ") for line in shown("run").splitlines()]
    assert export.startswith("export PYTHONPATH=")
    stages = write_module(tmp_path)
    states = []
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "ledger"
        done = world.run(*arguments, PYTHONPATH=str(stages))
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        states.append({key.split()[0] for key in files(world)})
        if states[-1] == {"manifested"}:
            check_pictures(world)
            assert world.run("audit").returncode == 0
        elif states[-1]:
            assert all([Path(n).suffix for n in names] == [".fits", ".txt", ".pgm"] for names in files(world).values())
    assert states == [set(), {"previewed"}, {"manifested"}, {"previewed"}, set()]
    assert world.tree() == before
    assert world.tree(world.destination) == {}


def test_the_state_may_stand_after_compressed_too(world: World, importable: None) -> None:
    before = simulate(world)
    configure(world)
    pictures = []
    for order in (world.data["archive"]["states"], [*DEFAULT[:6], "previewed", *DEFAULT[6:]]):
        world.data["archive"]["states"] = order
        declare(world)
        assert world.advance().succeeded
        check_pictures(world)
        pictures.append({name: entry for name, entry in world.tree().items() if name.endswith(".pgm")})
        assert world.rollback().succeeded
        assert world.tree() == before
    assert pictures[0] == pictures[1]


def test_a_night_that_had_passed_the_place_of_the_new_state_stays_valid(sqlite_world: World, importable: None) -> None:
    before = simulate(sqlite_world)
    assert sqlite_world.advance().succeeded
    configure(sqlite_world)
    declare(sqlite_world)
    assert sqlite_world.run("audit").returncode == 0
    assert sqlite_world.rollback(to="consolidated").succeeded
    assert sqlite_world.advance().succeeded
    check_pictures(sqlite_world)
    assert sqlite_world.rollback().succeeded
    assert sqlite_world.tree() == before


def test_pictures_that_a_killed_run_left_are_known_by_their_suffix(sqlite_world: World, importable: None) -> None:
    before = simulate(sqlite_world)
    configure(sqlite_world)
    declare(sqlite_world)
    assert sqlite_world.advance(to="consolidated").succeeded
    for cube in (sqlite_world.folder / "archive" / DATE / "vgen2").glob("*.fits"):
        cube.with_suffix(".pgm").write_bytes(b"P5\n")  # in place, and not committed
    with sqlite_world.store().write() as session:
        session.execute(text("UPDATE run SET ended_us = NULL"))  # as a run that was killed leaves it
    assert sqlite_world.rollback().succeeded
    assert sqlite_world.tree() == before


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ({"white": 101}, "expected 0 <= black < white <= 100"),
        ({"whit": 99}, "states.previewed.parameters.whit: unknown key (did you mean 'white'?)"),
    ],
)
def test_wrong_parameters_are_told_at_once(
    sqlite_world: World, importable: None, parameters: dict[str, float], fault: str
) -> None:
    configure(sqlite_world)
    declare(sqlite_world)
    sqlite_world.data["states"]["previewed"]["parameters"] = parameters
    with pytest.raises(ConfigError, match=re.escape(fault)):
        sqlite_world.machine()


def test_a_module_that_python_cannot_find_is_told(sqlite_world: World) -> None:
    configure(sqlite_world)
    declare(sqlite_world)
    with pytest.raises(ConfigError, match=r"states\.previewed\.stage: 'previewed': No module named"):
        sqlite_world.machine()


def test_a_state_that_is_not_declared_to_the_database_is_refused(sqlite_world: World, importable: None) -> None:
    configure(sqlite_world)
    with pytest.raises(UsageError, match="run `ledger init`"):
        sqlite_world.machine()


def test_a_state_is_not_taken_away_while_files_are_in_it(sqlite_world: World, importable: None) -> None:
    simulate(sqlite_world)
    configure(sqlite_world)
    declare(sqlite_world)
    assert sqlite_world.advance(to="previewed").succeeded
    sqlite_world.data["archive"]["states"] = DEFAULT
    del sqlite_world.data["states"]["previewed"]
    with pytest.raises(UsageError, match=r"archive\.previewed"):
        declare(sqlite_world)
