"""Where the database has gone: what is said brings it back, and no empty one takes its place."""

import shutil
from pathlib import Path

import pytest

from ledger.db import backup
from tests.inside import call
from tests.world import DATE, World


@pytest.fixture
def night(sqlite_world: World) -> World:
    """Return a night with products, without backups."""
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    sqlite_world.bring(to="compressed")
    return sqlite_world


def lose(world: World) -> Path:
    """Let the database be where nothing is."""
    path = world.folder / "gone" / "ledger.db"
    world.close()
    world.data["database"]["url"] = f"sqlite:///{path}"
    return path


COMMANDS = [("status",), ("doctor",), ("explain", "x"), ("advance", "--date", DATE), ("status", "--check"), ("init",)]


@pytest.mark.parametrize("place", ["backups", "destination/archive/.ledger"])
def test_backups_are_named_wherever_they_are(night, place):
    (made, copy) = backup.make(night.store(), night.config)
    shutil.rmtree((copy if place == "backups" else made).parent)
    path = lose(night)
    (left,) = (night.folder / place).iterdir()
    for command in COMMANDS:
        done = call(night, *command)
        assert done.returncode != 0
        said = done.stdout + done.stderr
        assert f"if its disk is not mounted, mount it; else `ledger backup --restore {left}`" in said, command
        assert "ledger init`" not in said, command
    assert not path.exists()
    assert call(night, "backup", "--restore", str(left)).returncode == 0
    assert call(night, "status").returncode == 0


@pytest.mark.parametrize("place", ["archive", "destination/archive"])
def test_without_backups_products_tell_that_a_ledger_was_there(night, place):
    if place != "archive":
        assert night.advance(to="transferred").succeeded
        shutil.rmtree(night.folder / "archive" / DATE / "vgen2")
    path = lose(night)
    for command in COMMANDS:
        done = call(night, *command)
        said = done.stdout + done.stderr
        assert done.returncode != 0
        assert f"{night.folder}/{place}/{DATE}/vgen2/lineage.tsv is of a ledger, and no backup is in" in said, command
        assert "`ledger rebuild` makes it of the files" in said
        assert "ledger init`" not in said, command
    assert not path.exists()


def test_a_new_one_is_begun_if_that_is_meant(night):
    path = lose(night)
    done = call(night, "init")
    assert done.returncode == 2
    assert "`ledger init --new` begins a new one all the same" in done.stderr
    assert call(night, "init", "--new").returncode == 0
    assert path.exists()
    assert call(night, "init").returncode == 0  # is there: harmless to repeat


def test_products_of_other_software_are_no_ledgers(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("onecamera",))
    (world.night().path / "vgen2").mkdir()
    (world.night().path / "vgen2" / "VMPA00000007.fits.fz").write_text("of before")
    lose(world)
    assert "run `ledger init` first" in call(world, "status").stderr
    assert call(world, "init").returncode == 0


def test_what_cannot_be_looked_at_is_said(night):
    (night.folder / "archive").rename(night.folder / "elsewhere")
    (night.folder / "archive").symlink_to("archive")
    lose(night)
    for command in ("status", "init"):
        assert "what is left of it cannot be looked for: " in call(night, command).stderr


def test_an_empty_database_is_none(night, empty_database_url):
    made, _ = backup.make(night.store(), night.config)
    night.close()
    night.data["database"]["url"] = empty_database_url
    for command in ("status", "init"):
        done = call(night, command)
        assert done.returncode == 2
        assert made.name in done.stderr
    assert call(night, "backup", "--restore", str(made)).returncode == 0
    assert call(night, "status").returncode == 0
