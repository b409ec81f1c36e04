"""What lies in a night's folder and is carried by nothing is named, and goes if somebody names it."""

import json

import pytest

from ledger.audit.doctor import examine
from ledger.disk.uncarried import stay_behind, uncarried
from tests.inside import call
from tests.world import DATE

ALSO = ["*.log", "apapane/**"]


@pytest.fixture
def night(sqlite_world):
    """A night that is done, with a log and a folder of another camera."""
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    sqlite_world.bring()
    folder = sqlite_world.folder / "archive" / DATE
    (folder / "apapane/dark").mkdir(parents=True)
    for name in ("apapane/a.txt", "apapane/dark/b.txt", "night.log", "notes.txt"):
        (folder / name).write_text(name)
    (folder / "vcam1/logger.log").write_text("")
    return sqlite_world


def name_in_configuration(world, also):
    world.data["states"]["transferred"]["parameters"]["also"] = also


def notes(world):
    return {f.text: f.remedy for f in examine(world.config) if "nothing carries" in f.text}


def test_what_nothing_carries_is_named(night):
    assert uncarried(night.config, night.night()) == ["apapane/a.txt", "apapane/dark/b.txt", "night.log", "notes.txt"]
    ((text, remedy),) = notes(night).items()
    assert text.startswith(
        "4 files in its folder that nothing carries to the destination: apapane/a.txt, apapane/dark/"
    )
    assert text.endswith(", night.log and 1 more")
    assert "states.transferred.parameters.also" in remedy
    (found,) = json.loads(call(night, "status", "--json").stdout)
    assert found["uncarried"] == 4
    assert "uncarried" not in call(night, "status").stdout
    name_in_configuration(night, ALSO)
    assert uncarried(night.config, night.night()) == ["notes.txt"]
    name_in_configuration(night, ["**"])
    assert notes(night) == {}


def test_what_is_named_goes_is_proven_and_comes_back(night):
    before = night.tree(night.destination)
    name_in_configuration(night, ALSO)
    done = call(night, "verify", "--date", DATE)
    assert done.returncode == 1
    assert "night.log" in done.stdout
    assert call(night, "verify", "--date", DATE, "--repair").returncode == 0
    sent = night.tree(night.destination)
    assert {name for name in sent.keys() - before.keys() if "." in name} == {
        f"{DATE}/{name}" for name in ("night.log", "apapane/a.txt", "apapane/dark/b.txt")
    }
    (night.destination / DATE / "apapane/dark/b.txt").write_text("damaged")
    assert call(night, "verify", "--date", DATE).returncode == 1
    assert call(night, "verify", "--date", DATE, "--repair").returncode == 0
    assert night.tree(night.destination) == sent
    assert night.rollback().succeeded
    assert night.tree(night.destination) == {}
    assert night.advance().succeeded
    assert night.tree(night.destination) == sent


def test_what_was_changed_there_stays_and_is_told(night):
    name_in_configuration(night, ALSO)
    assert night.rollback().succeeded
    assert night.advance().succeeded
    kept = night.destination / DATE / "apapane/dark/b.txt"
    kept.write_text("changed")
    result = night.rollback()
    assert "changed copies left at the destination" in str(result.as_json())
    assert kept.read_text() == "changed"


def test_of_a_night_that_is_left_alone_nothing_is_said(night):
    assert call(night, "exclude", DATE, "--reason", "tests").returncode == 0
    assert notes(night) == {}
    (found,) = json.loads(call(night, "status", "--json").stdout)
    assert found["uncarried"] == 0


def test_a_name_is_said_as_it_can_be_printed(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    (sqlite_world.folder / "archive" / DATE / "two\nlines").write_text("")
    (name,) = uncarried(sqlite_world.config, sqlite_world.night())
    assert name.isprintable()
    assert stay_behind([name]).startswith("1 file in its folder")
