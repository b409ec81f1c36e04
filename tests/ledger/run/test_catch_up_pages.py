"""The pages that catch-up writes of the nights that it finishes, and what happens when it cannot."""

import sys
from pathlib import Path

import pytest

from tests.inside import call
from tests.world import World

FIRST, SECOND = "20260102", "20260103"


@pytest.fixture
def world(sqlite_world: World) -> World:
    for date in (FIRST, SECOND):
        sqlite_world.simulate(date, scale=0.02, scenario=("onecamera",))
    sqlite_world.data["report"] = {"folder": "pages"}
    return sqlite_world


def pages(world: World) -> list[str]:
    return sorted(path.name for path in (world.folder / "pages").iterdir())


def log_of(world: World) -> str:
    return (world.folder / "ledger.log").read_text()


def test_catch_up_writes_pages_of_nights_that_it_finished_and_the_index(world):
    done = call(world, "catch-up")
    assert (done.returncode, done.stderr) == (0, "")
    assert pages(world) == [f"{FIRST}.html", f"{SECOND}.html", "index.html"]
    index = (world.folder / "pages/index.html").read_text()
    assert f'href="{FIRST}.html"' in index
    assert f'href="{SECOND}.html"' in index
    for path in (world.folder / "pages").iterdir():
        path.unlink()
    assert call(world, "catch-up").returncode == 0
    assert pages(world) == []  # nothing was done, so nothing is written


def test_a_night_that_is_not_finished_has_no_page(world):
    world.data["archive"]["destination"] = "nowhere"
    done = call(world, "catch-up")
    assert done.returncode != 0
    assert not (world.folder / "pages").exists() or pages(world) == []


def test_by_default_there_are_none(world):
    del world.data["report"]
    assert call(world, "catch-up").returncode == 0
    assert not list(world.folder.rglob("*.html"))


def test_a_page_that_cannot_be_written_is_told_once_and_the_nights_are_done(world):
    (world.folder / "pages").mkdir()
    (world.folder / f"pages/{FIRST}.html").mkdir()
    done = call(world, "catch-up")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"page of night {FIRST} (archive): ")
    assert f"`ledger report --date {FIRST}`" in line
    assert log_of(world).count("ERROR") == 1
    assert world.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("manifested",)]
    assert f"{SECOND}.html" in pages(world)
    assert call(world, "catch-up").stderr == ""


def test_what_is_missing_or_broken_does_not_fail_the_nights(world, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "jinja2", None)
        done = call(world, "catch-up")
    assert done.returncode == 0
    assert "pip install 'ledger[report]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert world.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("manifested",)]
    assert Path(world.folder / "ledger.log").read_text().count("ERROR") == 1
