"""Bad input of any kind: one clear message, the exit status that it is due, and nothing changed."""

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.cli import main
from ledger.simulation._blocks import DUPLICATE, SPOILT
from tests.world import DATE, World

Ledger = Callable[..., tuple[int, str, str]]

#: What the reason says of each fault of docs/design.md, A raw night.
REASONS = {
    "no txt": "does not exist",
    "txt rows": "rows, expected",
    "unreadable": "not a FITS file",
    "truncated": "truncated",
    "two-dimensional": "NAXIS is 2, expected 3",
    "float": "BITPIX is -32",
    "several HDUs": "several HDUs",
    "no EXPTIME": "EXPTIME",
    "backwards": "times go backwards",
    "zero frames": "zero frames",
    DUPLICATE: "duplicate: the same bytes as",
}
#: User ID of nobody on Linux.
NOBODY = 65534
TABLES = ("night", "file", "lineage", "entry", "frame_id", "frame_sequence", "copy", "manifest", "manifest_line", "run")


def rows(world: World) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that the database holds of nights and runs."""
    return {table: sorted(world.query(f"SELECT * FROM {table}"), key=repr) for table in TABLES}


def everything(world: World) -> tuple[Any, ...]:
    """Return all that a refused command must leave as it was."""
    return world.tree(), world.tree(world.destination), rows(world)


def complaint(err: str) -> str:
    """Return the one line that the command complains with."""
    lines = [line for line in err.splitlines() if line.startswith("ledger: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("advance", "--date", "20250101"), ("no night 20250101", "{root}", "check the date")),
        (("advance", "{root}/20250101"), ("{root}/20250101", "no such folder", "<root>/YYYYMMDD")),
        (("advance", "{root}"), ("{root}", "not a night", "direct child", "archive.root")),
        (("advance", "{night}/vcam1"), ("{night}/vcam1", "not a night", "direct child")),
        (("advance", "{root}/notes"), ("{root}/notes", "not a night", "YYYYMMDD")),
        (("advance", "--date", "{night}"), ("{night}", "not a date", "YYYYMMDD", "without --date")),
        (("advance", "--date", "20260230"), ("20260230", "not a date", "YYYYMMDD")),
        (("advance",), ("no night is named", "--date")),
        (("advance", "--date", DATE, "--to", "synched"), ("'synched'", "expected one of", "synced")),
        (("advance", "--date", DATE, "--late"), ("--late and --reason", "both or neither")),
        (("advance", "--date", DATE, "--reason", "found"), ("--late and --reason", "both or neither")),
        (("rollback", "{night}", "--yes"), (DATE, "not in the ledger", "ledger status")),
        (("rollback", "{night}", "--to", "nowhere", "--yes"), ("'nowhere'", "expected one of")),
        (("rollback", "--date", "20250101", "--yes"), ("no night 20250101",)),
        (("exclude", "20250101", "--reason", "none"), ("no night 20250101", "{root}")),
        (("include", "yesterday"), ("yesterday", "not a date")),
        (("status", "--date", "{night}"), ("not a date", "without --date")),
        (("history", "vcam1_00:00:00.000000000.fits"), ("not in the ledger", "ledger scan")),
        (("explain", "VMPA00000001"), ("not in the ledger", "frame ID")),
        (("sql", "SELECT nonsense"), ("nonsense", "--schema")),
        (("audit", "--laws", "{night}"), ("{night}", ".sql")),
        (("simulate", "{root}", DATE), ("exists already", "never overwritten")),
        (("simulate", "{root}", "20250101", "--block", "comet"), ("comet", "pdi")),
        (("demo", "{root}"), ("{root}", "new folder")),
    ],
)
def test_a_wrong_command(sqlite_world, ledger, arguments, expected):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    root = sqlite_world.folder / "archive"
    (root / "notes").mkdir()
    names = {"root": str(root), "night": str(root / DATE)}
    before = everything(sqlite_world)
    status, _, err = ledger(*(argument.format(**names) for argument in arguments))
    assert status == 2, err
    for words in expected:
        assert words.format(**names) in complaint(err)
    assert everything(sqlite_world) == before
    assert not (root / "20250101").exists()


def test_all_faults_of_a_configuration_at_once(sqlite_world, ledger):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    before = everything(sqlite_world)
    sqlite_world.data["engine"]["executer"] = "inline"
    sqlite_world.data["archive"]["states"][1] = "synched"
    status, _, err = ledger("advance", "--date", DATE)
    assert status == 2
    assert "engine.executer: unknown key (did you mean 'executor'?)" in err
    assert "unknown state 'synched' (did you mean 'synced'?)" in err
    assert everything(sqlite_world) == before


def test_a_state_that_the_database_does_not_know(sqlite_world, ledger):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    sqlite_world.data["archive"]["states"].remove("compressed")
    before = everything(sqlite_world)
    status, _, err = ledger("advance", "--date", DATE)
    assert status == 2
    assert "ledger init" in complaint(err)
    assert everything(sqlite_world) == before


def test_no_configuration_where_one_is_named(sqlite_world, monkeypatch, capsys):
    nowhere = sqlite_world.folder / "nowhere.yaml"
    monkeypatch.setattr(sys, "argv", ["ledger", "--config", str(nowhere), "status"])
    with pytest.raises(SystemExit) as exited:
        main()
    assert exited.value.code == 2
    assert str(nowhere) in complaint(capsys.readouterr().err)


def database(world: World) -> Path:
    return Path(world.url.removeprefix("sqlite:///"))


@pytest.mark.parametrize(
    ("revision", "words"), [("0000", ("'0000'", "ahead", "install")), (None, ("no revision", "ledger init"))]
)
def test_a_database_of_another_revision(sqlite_world, ledger, revision, words):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    tree = sqlite_world.tree()
    with sqlite3.connect(database(sqlite_world)) as connection:
        connection.execute("DELETE FROM alembic_version")
        if revision:
            connection.execute("INSERT INTO alembic_version VALUES (?)", [revision])
    connection.close()
    for arguments in (("advance", "--date", DATE), ("status",), ("catch-up",)):
        status, _, err = ledger(*arguments)
        assert status == 2
        assert all(word in complaint(err) for word in words)
    assert sqlite_world.tree() == tree


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///{folder}/none.db", ("none.db", "ledger init")),
        ("sqlite:///{folder}", ("{folder}", "ledger init")),
        ("sqlite:///{folder}/notes.txt", ("notes.txt", "not a database", "database.url")),
        ("postgresql+psycopg://nobody@127.0.0.1:1/none", ("127.0.0.1:1/none", "database.url")),
        ("mysql://localhost/ledger", ("mysql", "expected sqlite or postgresql")),
        ("ledger.db", ("'ledger.db'", "sqlite:///PATH")),
    ],
)
def test_a_database_that_is_none(sqlite_world, ledger, url, words):
    names = {"folder": str(sqlite_world.folder)}
    (sqlite_world.folder / "notes.txt").write_text("not a database\n" * 1000)
    sqlite_world.data["database"]["url"] = url.format(**names)
    status, _, err = ledger("status")
    assert status == (1 if "notes" in url else 2), err  # what is no database may be one of which the begin is damaged
    assert all(word.format(**names) in err for word in words), err
    assert "Traceback" not in err


@pytest.mark.parametrize("found", ["nothing", "a file"])
def test_a_destination_that_is_missing(sqlite_world, ledger, found):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    sqlite_world.destination.rmdir()
    if found == "a file":
        sqlite_world.destination.write_text("not mounted")
    before = sqlite_world.tree(), rows(sqlite_world)
    status, _, err = ledger("advance", "--date", DATE)
    assert status == 2
    assert all(word in complaint(err) for word in (str(sqlite_world.destination), "mounted", "--to compressed"))
    assert (sqlite_world.tree(), rows(sqlite_world)) == before
    assert ledger("advance", "--date", DATE, "--to", "compressed")[0] == 0


def test_a_file_where_the_destinations_night_is_due(sqlite_world, ledger):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    blocking = sqlite_world.destination / DATE
    blocking.write_text("whose?")
    status, out, _ = ledger("advance", "--date", DATE)
    assert status == 1
    assert "expected a folder or nothing" in out
    assert blocking.read_text() == "whose?"
    blocking.unlink()
    assert ledger("advance", "--date", DATE)[0] == 0


def test_a_file_where_the_product_folder_is_due(sqlite_world, ledger):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    blocking = sqlite_world.folder / "archive" / DATE / "vgen2"
    blocking.write_text("whose?")
    before = sqlite_world.tree()
    status, out, _ = ledger("advance", "--date", DATE)
    assert status == 1
    (stopped,) = (line for line in out.splitlines() if line.startswith("  stopped"))
    assert str(blocking) in stopped
    assert sqlite_world.tree() == before
    blocking.unlink()
    assert ledger("advance", "--date", DATE)[0] == 0


def test_a_log_that_cannot_be_written(sqlite_world, ledger):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    sqlite_world.data["log"] = str(sqlite_world.folder)
    before = everything(sqlite_world)
    status, _, err = ledger("advance", "--date", DATE)
    assert status == 2
    assert "LEDGER_LOG" in complaint(err)
    assert everything(sqlite_world) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody, whom modes bind")
def test_a_night_that_may_not_be_written(sqlite_world, ledger):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    before = sqlite_world.tree()
    assert ledger("advance", "--date", DATE, "--dry-run")[0] == 0  # imports what nobody may not be able to
    closed = [folder for folder in sqlite_world.folder.parents if not folder.stat().st_mode & 0o001]
    for folder in closed:
        folder.chmod(0o711)
    mine = (database(sqlite_world).parent, *database(sqlite_world).parent.glob("ledger.db*"))
    for path in (*mine, sqlite_world.folder, *(p for p in sqlite_world.folder.iterdir() if p.is_file())):
        os.chown(path, NOBODY, -1)
    os.seteuid(NOBODY)
    try:
        status, out, err = ledger("advance", "--date", DATE)
    finally:
        os.seteuid(0)
        for folder in closed:
            folder.chmod(0o700)
    assert status == 1, err
    (stopped,) = (line for line in out.splitlines() if line.startswith("  stopped"))
    assert all(word in stopped for word in ("vgen2", "Permission denied", "may be written"))
    assert sqlite_world.tree() == before


def test_every_fault_of_a_raw_file_is_quarantined_and_the_night_goes_on(world):
    truth = world.simulate(scenario=("bad", "onecamera"), scale=0.02)
    before = world.tree()
    done = world.run("advance", "--date", DATE)
    assert done.returncode == 0, done.stdout + done.stderr
    reasons = {
        f"{folder}/{name}": reason
        for folder, name, reason in world.query("SELECT folder, name, reason FROM quarantine")
    }
    faults = {file.path: file.fault for file in truth.files if file.fault}
    assert sorted(faults.values()) == sorted((*SPOILT, DUPLICATE))
    assert set(reasons) == set(faults)
    for path, fault in faults.items():
        assert REASONS[fault] in reasons[path], (fault, reasons[path])
        assert path in done.stdout
    assert world.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("manifested",)]
    usable = sum(file.n_frames for file in truth.files if not file.fault)
    assert world.query("SELECT SUM(n_frames) FROM file WHERE kind = 'product'") == [(usable,)]
    after = world.tree()
    assert {name: after[name] for name in before} == before


def test_a_float_of_64_bits_and_an_integer_of_64_bits(sqlite_world, ledger):
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    cubes = sorted((sqlite_world.folder / "archive" / DATE / "vcam1").glob("*.fits"))
    for cube, bitpix in zip(cubes[:2], (-64, 64), strict=True):
        data = cube.read_bytes()
        at = data.index(b"BITPIX  =")
        cube.write_bytes(data[:at] + f"{f'BITPIX  = {bitpix:20d}':<80}".encode() + data[at + 80 :])
    status, out, _ = ledger("advance", "--date", DATE)
    assert status == 0
    for cube, bitpix in zip(cubes[:2], (-64, 64), strict=True):
        assert any(cube.name in line and f"BITPIX is {bitpix}" in line for line in out.splitlines())


def test_a_night_of_nothing_but_faults(sqlite_world, ledger):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    night = sqlite_world.folder / "archive" / DATE
    for timing in (night / "vcam1").glob("*.txt"):
        timing.unlink()
    before = sqlite_world.tree()
    assert ledger("advance", "--date", DATE)[0] == 0
    assert sqlite_world.tree() == before
    assert ledger("audit")[0] == 0
    later = sqlite_world.folder / "archive" / "20260103"
    shutil.copytree(night, later)
    assert ledger("advance", str(later))[0] == 0
