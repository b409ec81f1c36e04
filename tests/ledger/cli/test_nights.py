"""Commands on several nights: repeated dates, ranges, folders, and what hands type."""

import json
import re
from pathlib import Path

import pytest

from ledger.disk.dates import Dates
from ledger.disk.nights import find_nights
from ledger.errors import UsageError
from ledger.night.record import ensure_night
from tests.world import DATE, World

SECOND, THIRD = "20260103", "20260105"


@pytest.fixture
def nights(sqlite_world: World) -> World:
    for seed, date in enumerate((DATE, SECOND, THIRD)):
        sqlite_world.simulate(date, seed=seed, scale=0.02, scenario=("pdi",))
    return sqlite_world


def states(world: World) -> dict[str, set[str]]:
    rows = world.query("SELECT date, state FROM file JOIN night ON night.id = night_id WHERE kind = 'product'")
    return {date: {state for day, state in rows if day == date} for date, _ in rows}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--date", SECOND, "--date", DATE], [DATE, SECOND]),
        (["--date", f"{DATE}..{SECOND}"], [DATE, SECOND]),
        (["--date", f"2026-01-03..{THIRD}", "--date", DATE], [DATE, SECOND, THIRD]),
        (["archive/20260103", f"archive/{DATE}", f"archive/{DATE}"], [DATE, SECOND]),
        ([DATE, "2026-01-03"], [DATE, SECOND]),
        ([DATE], [DATE]),
        ([f"{DATE}..{SECOND}"], [DATE, SECOND]),
        ([f"2026-01-02..{SECOND}", "archive/20260105"], [DATE, SECOND, THIRD]),
    ],
)
def test_nights_are_named_in_many_ways_and_go_oldest_first(nights, ledger, words, expected) -> None:
    status, out, err = ledger("advance", *words, "--to", "synced")
    assert status == 0, err
    assert [line.split()[1] for line in out.splitlines() if line.startswith("night ")] == expected
    assert set(states(nights)) == set(expected)


def test_json_is_a_list_if_there_are_several(nights, ledger) -> None:
    _, out, _ = ledger("scan", "--date", DATE, "--json")
    assert json.loads(out)["date"] == DATE
    _, out, _ = ledger("scan", "--date", f"20260101..{DATE}", "--json")
    assert [night["date"] for night in json.loads(out)] == [DATE]
    _, out, _ = ledger("scan", "--date", f"{DATE}..{THIRD}", "--json")
    assert [night["date"] for night in json.loads(out)] == [DATE, SECOND, THIRD]


def test_an_error_of_one_night_does_not_keep_the_others_from_being_tried(nights, ledger) -> None:
    (nights.folder / "archive" / SECOND / "vcam1").rename(nights.folder / "vcam1")
    (nights.folder / "archive" / SECOND / "vcam1").write_text("no folder")
    status, out, err = ledger("scan", "--date", f"{DATE}..{THIRD}")
    assert status != 0
    assert f"night {SECOND} (archive): " in err + out
    assert {(DATE,), (THIRD,)} <= set(nights.query("SELECT date FROM night JOIN file ON night.id = night_id"))


def test_an_error_of_one_night_is_in_the_log(nights, ledger) -> None:
    nights.data["log"] = str(nights.folder / "ledger.log")
    ensure_night(nights.store(), "archive", nights.folder / "archive", SECOND)
    with nights.store().write() as session:
        session.connection().exec_driver_sql(f"UPDATE night SET root = '/elsewhere' WHERE date = '{SECOND}'")
    assert ledger("scan", "--date", f"{DATE}..{SECOND}")[0] == 1
    errors = [line for line in (nights.folder / "ledger.log").read_text().splitlines() if " ERROR " in line]
    assert f"night {SECOND} (archive): night {SECOND} of archive is registered under '/elsewhere'" in errors[0]


def test_a_rollback_goes_on_without_a_night_that_cannot_be_planned(nights, ledger) -> None:
    assert ledger("advance", "--date", DATE)[0] == 0
    status, out, err = ledger("rollback", "--date", f"{DATE}..{SECOND}", "--yes", "--to", "synced")
    assert status == 2
    assert f"night {SECOND} (archive): night {SECOND} is not in the ledger" in err
    assert f"night {DATE} (archive): " in out
    assert states(nights) == {DATE: {"synced"}}


def test_a_date_whose_folder_has_gone_is_not_another_pipelines_night(nights, ledger) -> None:
    assert ledger("scan", "--date", DATE)[0] == 0
    nights.simulate(DATE, pipeline="engineering", scale=0.02, scenario=("onecamera",))
    (nights.folder / "archive" / DATE).rename(nights.folder / "away")
    for words in (["--date", DATE], ["--date", f"{DATE}..{DATE}"]):
        status, _, err = ledger("advance", *words)
        assert status == 2
        assert f"it is on record for archive, and {nights.folder}/archive/{DATE} is not there" in err
    assert nights.query("SELECT * FROM night WHERE pipeline = 'engineering'") == []
    assert "archive" in ledger("summary", "--date", DATE)[1].splitlines()[0]


def test_a_rollback_of_several_is_asked_once_and_goes_newest_first(nights, ledger) -> None:
    assert ledger("advance", "--date", f"{DATE}..{SECOND}")[0] == 0
    status, shown = nights.on_terminal("y\n", "rollback", "--date", f"{DATE}..{SECOND}", "--to", "synced")
    assert status == 0, shown
    assert shown.count("Roll back?") == 1
    assert re.findall(r"night (\d{8}) \(archive\): ", shown.split("Roll back?")[1]) == [SECOND, DATE]
    assert states(nights) == {DATE: {"synced"}, SECOND: {"synced"}}


def test_a_plan_of_several_nights_changes_nothing(nights, ledger) -> None:
    status, out, _ = ledger("advance", "--date", f"{DATE}..{THIRD}", "--dry-run")
    assert status == 0
    assert [line.split()[1] for line in out.splitlines() if line.startswith("night ")] == [DATE, SECOND, THIRD]
    assert nights.query("SELECT * FROM night") == []


def test_what_is_shown_is_of_the_nights_that_are_named(nights, ledger) -> None:
    assert ledger("advance", "--date", f"{DATE}..{SECOND}")[0] == 0
    for command in ("status", "summary", "verify"):
        status, out, _ = ledger(command, "--date", DATE, "--date", SECOND, "--json")
        assert status == 0
        assert [night["date"] for night in json.loads(out)] == [DATE, SECOND]
    assert ledger("audit", "--date", f"{DATE}..{SECOND}", "--deep")[0] == 0
    assert ledger("doctor", "--date", SECOND, "--date", DATE)[0] == 0
    status, out, _ = ledger("manifest", "--date", f"{DATE}..{SECOND}", "--json")
    assert status == 0
    assert json.loads(out)["count"] == len(nights.query("SELECT 1 FROM file WHERE kind = 'product'"))


COMMANDS = [("status",), ("doctor",), ("audit",), ("quarantine", "list"), ("outside", "list"), ("prune",), ("summary",)]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_nights_are_named_alike_everywhere(nights, ledger, command) -> None:
    assert ledger("advance", f"{DATE}..{THIRD}")[0] == 0
    (nights.night(SECOND).path / "vcam1/more.fits.gz").write_bytes(b"?")

    def said(*words: str) -> object:
        status, out, _ = ledger(*command, *words, "--json")
        assert status in (0, 1)
        facts = json.loads(out)
        # how much room a disk has is another at each moment
        return [each for each in facts if "night" in each["subject"]] if command == ("doctor",) else facts

    expected = said("--date", DATE, "--date", SECOND)
    for words in ([DATE, SECOND], [f"{DATE}..{SECOND}"], [f"archive/{DATE}", f"2026-01-03..{SECOND}"]):
        assert said(*words) == expected
    for word in ("20250101..20250105", "archive", f"{DATE}..tomorrow"):
        assert ledger(*command, word)[0] in ((0, 2) if command[0] in ("quarantine", "prune") else (1, 2))


def test_a_manifest_takes_folders_and_ranges(nights, ledger) -> None:
    assert ledger("advance", f"{DATE}..{SECOND}")[0] == 0
    expected = ledger("manifest", "--date", DATE, "--date", SECOND, "--json")
    assert ledger("manifest", f"archive/{DATE}", SECOND, "--json") == expected
    assert ledger("manifest", f"{DATE}..{SECOND}", "--json") == expected


def test_the_plan_of_several_nights_is_that_of_one_run(nights, ledger) -> None:
    status, out, _ = ledger("advance", f"{DATE}..{THIRD}", "--dry-run")
    assert (status, "cannot be numbered" in out) == (0, False)
    assert out.count("-> manifested") == 3
    _, out, _ = ledger("advance", f"{SECOND}..{THIRD}", "--dry-run")  # the first is not among them
    assert out.count(f"cannot be numbered yet: the earlier night {DATE}") == 2
    _, out, _ = ledger("advance", f"{DATE}..{THIRD}", "--to", "synced", "--dry-run")
    assert "manifested" not in out
    assert ledger("advance", f"{DATE}..{SECOND}", "--to", "fixed")[0] == 1  # the second waits for the first
    _, out, _ = ledger("advance", f"{DATE}..{THIRD}", "--dry-run")
    assert out.count("-> manifested") == 3


def test_a_plan_waits_for_a_night_that_would_not_be_numbered(nights, ledger) -> None:
    (nights.night(DATE).path / "vcam1/more.fits.gz").write_bytes(b"?")
    _, out, _ = ledger("advance", f"{DATE}..{THIRD}", "--dry-run")
    assert f"night {DATE}: 1 file that is no raw file" in out
    assert out.count(f"cannot be numbered yet: the earlier night {DATE}") == 2


def test_progress_of_several_names_the_night(nights, ledger) -> None:
    _, _, err = ledger("advance", DATE, "--to", "synced")
    assert "Z to synced: " in err
    _, _, err = ledger("advance", f"{DATE}..{SECOND}")
    assert f"Z {SECOND} to synced: " in err
    assert f"Z {DATE} consolidated + fixed: " in err
    assert "Z to " not in err
    nights.simulate(DATE, pipeline="engineering", scale=0.02, scenario=("onecamera",))
    _, _, err = ledger("scan", "engineering/20260102", SECOND)
    assert f"Z {DATE} (engineering) to raw: " in err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--date", "20260105..20260102"], "ends before it begins"),
        (["--date", "20250101..20250105"], "no night in 20250101..20250105"),
        (["--date", "20260102..tomorrow"], "not a date"),
        (["--date", DATE, "--date", "20250101"], "no night 20250101"),
        (["20250101"], "no night 20250101"),
        ([], "no night is named"),
    ],
)
def test_what_is_no_night_is_refused_before_anything_is_done(nights, ledger, words, complaint) -> None:
    status, _, err = ledger("advance", *words)
    assert status == 2
    assert complaint in err
    assert nights.query("SELECT * FROM night") == []


def test_a_folder_that_is_named_like_a_date_is_a_folder(nights, monkeypatch) -> None:
    monkeypatch.chdir(nights.folder / "archive")
    (night,) = find_nights(nights.config, Dates(), [Path(DATE)])
    assert night.path == nights.folder / "archive" / DATE
    (nights.folder / DATE).mkdir()
    monkeypatch.chdir(nights.folder)
    with pytest.raises(UsageError, match="is not a night"):
        find_nights(nights.config, Dates(), [Path(DATE)])
