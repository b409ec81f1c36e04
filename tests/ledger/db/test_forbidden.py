"""Folders that whoever runs the ledger may not enter: one sentence that names them, and no traceback."""

import sys

import pytest

from ledger.cli import main
from tests.ledger.disk.raws import forbid
from tests.world import DATE, World

PLACES = {"root": "archive", "destination": "destination/archive", "products": f"archive/{DATE}/vgen2"}

#: What has something to say, or nothing to do, although a folder cannot be entered.
MAY_PASS = ("catch-up", "doctor", "prune", "status")


def run(world: World, monkeypatch, capsys, *arguments: str) -> tuple[int, str]:
    """Run a command in this process; return its exit status and what it complained of."""
    monkeypatch.chdir(world.folder)
    monkeypatch.setattr(sys, "argv", ["ledger", "--config", str(world.config_path), *arguments])
    with pytest.raises(SystemExit) as exited:
        main()
    said = capsys.readouterr()
    return int(exited.value.code or 0), said.err + said.out


@pytest.mark.parametrize(
    ("place", "arguments"),
    [
        ("root", ("advance", "--date", DATE)),
        ("root", ("status",)),
        ("root", ("catch-up",)),
        ("root", ("doctor",)),
        ("destination", ("advance", "--date", DATE)),
        ("destination", ("prune", "--yes")),
        ("destination", ("doctor",)),
        ("destination", ("verify", "--date", DATE)),
        ("products", ("verify", "--date", DATE)),
        ("products", ("rollback", "--date", DATE, "--yes")),
        ("products", ("advance", "--date", DATE)),
    ],
)
def test_a_folder_that_may_not_be_entered_is_one_sentence(sqlite_world, monkeypatch, capsys, place, arguments):
    world = sqlite_world
    world.data["backup"] = {"automatic": True}
    world.data["prune"] = {"products_days": 0}
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring()
    folder = world.folder / PLACES[place]
    forbid(monkeypatch, "stat", folder)
    forbid(monkeypatch, "list", folder)
    status, said = run(world, monkeypatch, capsys, *arguments)
    assert "Traceback" not in said, said
    assert "bug" not in said, said
    if status:
        assert status == 1, said
        assert "Permission denied" in said, said
    assert status == 1 or arguments[0] in MAY_PASS or (place, arguments[0]) == ("products", "advance"), said


def test_what_the_system_refuses_anywhere_is_no_bug(sqlite_world, monkeypatch, capsys):
    forbid(monkeypatch, "stat", sqlite_world.folder / "closed")
    status, said = run(sqlite_world, monkeypatch, capsys, "demo", str(sqlite_world.folder / "closed/here"))
    assert (status, "Traceback" in said) == (1, False), said
    assert "Permission denied" in said
