"""The command line: words, JSON, exit status, terminals; what is asked and what is never done unasked."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer.main

from ledger.cli.common import app
from ledger.cli.output import show_result
from ledger.cli.progress import Lines
from ledger.night import record
from ledger.night.lease import Lease
from ledger.report import Result
from ledger.text import counted
from tests.ledger.cli.forked import on_terminal
from tests.processes import run_command
from tests.world import DATE, World

README = Path(__file__).parents[3] / "README.md"
COMMANDS = sorted(typer.main.get_command(app).commands)
RESULT = {
    "pipeline",
    "date",
    "registered",
    "moved",
    "quarantined",
    "salvaged",
    "failed",
    "settled",
    "notes",
    "remarks",
    "stopped",
    "states",
}

Ledger = Callable[..., tuple[int, str, str]]


@pytest.fixture
def night(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    return sqlite_world


def everything(world: World) -> tuple[Any, ...]:
    tables = ("night", "file", "lineage", "entry", "frame_id", "copy", "manifest", "run")
    rows = {table: sorted(world.query(f"SELECT * FROM {table}"), key=repr) for table in tables}
    return world.tree(), world.tree(world.destination), rows


# help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(ledger, command):
    status, out, _ = ledger(command, "--help")
    assert status == 0
    example = " ".join(out.split("Example", 1)[1].split())
    assert re.search(rf"ledger (--config \S+ )?{command}\b", example)


def test_help_imports_nothing_that_takes_long():
    heavy = {"pydantic", "yaml", "sqlalchemy", "sqlmodel", "alembic", "numpy", "astropy", "transitions", "rich"}
    check = (
        "import sys; from ledger.cli import main\n"
        "sys.argv = ['ledger', '--help']\n"
        f"try: main()\nfinally: print(sorted(sys.modules.keys() & {heavy}))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_names_every_command_of_the_readme(ledger):
    status, out, _ = ledger("--help")
    assert status == 0
    named = set(re.findall(r"^\$ ledger ([a-z-]+)", README.read_text(), re.MULTILINE))
    assert {"advance", "rollback", "catch-up"} < named
    assert named <= {line.split()[0] for line in out.splitlines() if re.match(r"  [a-z]", line)}


def test_no_such_command_or_option(ledger):
    assert ledger("advanse")[0] == 2
    assert ledger("advance", "--dry")[0] == 2
    assert ledger("advance", "--date", DATE, "--jobs", "0")[0] == 2


# words and JSON


@pytest.mark.parametrize("word", ["id'd", "identified"])
def test_a_date_with_hyphens_and_both_words_for_identified(night, ledger, word):
    status, out, _ = ledger("advance", "--date", "2026-01-02", "--to", word)
    assert status == 0
    assert f"night {DATE} (archive)" in out
    assert night.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("identified",)]
    assert ledger("advance", "--date", DATE)[0] == 0
    assert ledger("rollback", "--date", "2026-01-02", "--to", word, "--yes")[0] == 0
    assert night.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("identified",)]


def test_json_of_what_runs_do(night, ledger):
    steps = [
        (("scan", "--date", DATE), "registered", 1),
        (("advance", "--date", DATE, "--to", "fixed"), "states", {"fixed": 2}),
        (("rollback", "--date", DATE, "--to", "synced", "--yes"), "moved", {"unfix": 2, "unconsolidate": 2}),
        (("advance", str(night.folder / "archive" / DATE)), "states", {"manifested": 2}),
        (("restore", str(night.folder / "archive" / DATE), "--yes"), "states", {}),
    ]
    for arguments, key, value in steps:
        status, out, _ = ledger(*arguments, "--json")
        told = json.loads(out)
        assert status == 0
        assert set(told) == RESULT
        assert (told["pipeline"], told["date"], told["failed"], told["stopped"]) == ("archive", DATE, [], None)
        assert told[key] == value


def test_json_of_quarantine_and_failure(sqlite_world, ledger):
    sqlite_world.simulate(scale=0.02, scenario=("bad",))
    (sqlite_world.destination / DATE).write_text("whose?")
    status, out, _ = ledger("advance", "--date", DATE, "--json")
    told = json.loads(out)
    assert status == 1
    assert len(told["quarantined"]) == 11
    assert all(set(item) == {"file", "reason"} for item in told["quarantined"])
    assert all(set(item) == {"file", "error"} for item in told["failed"])
    assert told["stopped"]


def test_json_of_catch_up(night, ledger):
    night.simulate("20260103", scale=0.02, scenario=("onecamera",))
    (night.folder / "archive/20260103/vgen2").write_text("whose?")
    status, out, _ = ledger("catch-up", "--json")
    first, second = json.loads(out)
    assert status == 1
    assert set(first) == RESULT
    assert (second["date"], "vgen2" in second["stopped"]) == ("20260103", True)
    (night.folder / "archive/20260103/vgen2").unlink()
    assert ledger("catch-up", "--json")[0] == 0
    assert json.loads(ledger("catch-up", "--json")[1]) == []


def test_sql(night, ledger):
    assert ledger("advance", "--date", DATE)[0] == 0
    query = "SELECT kind, state, files FROM night_status ORDER BY kind"
    status, out, _ = ledger("sql", query)
    assert (status, out) == (0, "kind\tstate\tfiles\nproduct\tmanifested\t2\nraw\tsynced\t1\n")
    told = json.loads(ledger("sql", query, "--json")[1])
    assert told[1] == {"kind": "raw", "state": "synced", "files": 1}


def test_the_environment_overrides_the_file(night):
    elsewhere = night.folder / "elsewhere"
    elsewhere.mkdir()
    done = night.run("advance", "--date", DATE, LEDGER_TRANSFER__DESTINATION=str(elsewhere))
    assert done.returncode == 0, done.stderr
    assert (elsewhere / DATE / "vgen2/VMPA00000001.fits.fz").is_file()
    done = night.run("status", LEDGER_TRANSFR__DESTINATION="x")
    assert done.returncode == 2
    assert "did you mean 'transfer'" in done.stderr


def test_lines_and_a_log_where_there_is_no_terminal(night, ledger):
    night.data["log"] = str(night.folder / "logs/ledger.log")
    status, _, err = ledger("advance", "--date", DATE)
    assert status == 0
    assert "Z to consolidated + fixed: 4 files\n" in err
    assert "Z consolidated + fixed: 4 of 4 files\n" in err
    assert "\x1b" not in err
    log = (night.folder / "logs/ledger.log").read_text()
    texts = [line.split(maxsplit=3)[3] for line in log.splitlines()]
    told = [text for text in texts if not text.startswith(("begin ", "night ", "end "))]
    assert told == [line.split(" ", 1)[1] for line in err.splitlines()]


# what is never done unasked


def test_rollback_without_a_terminal_or_yes_refuses(night, ledger):
    assert ledger("advance", "--date", DATE)[0] == 0
    before = everything(night)
    done = night.run("rollback", str(night.folder / "archive" / DATE))
    assert done.returncode == 2
    assert "unlist" in done.stderr  # the plan
    assert "--yes" in done.stderr.splitlines()[-1]
    assert everything(night) == before


def test_rollback_asks_on_a_terminal(night, ledger):
    before = night.tree()
    assert ledger("advance", "--date", DATE)[0] == 0
    finished = everything(night)
    status, shown = on_terminal(night, "n\n", "rollback", "--date", DATE)
    assert status == 1
    assert "unlist" in shown
    assert "Roll back? [y/N]" in shown
    assert everything(night) == finished
    status, shown = on_terminal(night, "y\n", "rollback", "--date", DATE)
    assert status == 0
    assert "2/2" in shown  # bars
    assert night.tree() == before
    assert night.tree(night.destination) == {}


def test_bars_on_a_terminal(night):
    status, shown = on_terminal(night, "", "advance", "--date", DATE)
    assert status == 0
    assert "━" in shown
    assert all(f"{n}/{n}" in shown for n in (1, 2, 4))
    status, shown = on_terminal(night, "", "catch-up")
    assert (status, shown) == (0, "")


def test_simulate_never_overwrites(night, ledger):
    before = night.tree()
    status, _, err = ledger("simulate", str(night.folder / "archive"), DATE)
    assert status == 2
    assert "never overwritten" in err
    assert night.tree() == before
    status, out, _ = ledger(
        "simulate", str(night.folder / "archive"), "2026-01-03", "--scale", "0.02", "--size", "8", "8"
    )
    assert status == 0
    assert str(night.folder / "archive/20260103") in out
    assert ledger("scan", "--date", "20260103")[0] == 0


def test_init_is_harmless_to_repeat(night, ledger):
    assert ledger("advance", "--date", DATE)[0] == 0
    before = everything(night)
    status, out, _ = ledger("init")
    assert status == 0
    assert "up to date" in out
    assert everything(night) == before


def test_init_writes_the_configuration_where_there_is_none(tmp_path):
    environment = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    done = run_command(["init"], tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert "created" in done.stdout
    assert (tmp_path / "ledger.db").is_file()
    (tmp_path / "config.yaml").write_text((tmp_path / "config.yaml").read_text() + "# mine\n")
    done = run_command(["init"], tmp_path, environment)
    assert "up to date" in done.stdout
    assert (tmp_path / "config.yaml").read_text().endswith("# mine\n")


# exit status


def test_a_night_that_another_run_holds(night):
    machine = night.machine()
    row = record.ensure_night(machine.store, "archive", night.folder / "archive", DATE)
    run_id = machine.store.begin_run("advance", {})
    night.now_us = 4_000_000_000_000_000  # the heartbeat is young whatever the clock of the second run
    before = night.tree()
    with Lease(machine.store, row, run_id):
        done = night.run("advance", "--date", DATE)
        assert done.returncode == 75
        assert f"held by run {run_id}" in done.stderr
        assert "try again later" in done.stderr
    assert night.tree() == before
    assert night.query(f"SELECT exit_status FROM run WHERE id > {run_id}") == [(75,)]


def test_every_run_is_on_record_with_its_exit_status(night, ledger):
    assert ledger("scan", "--date", DATE)[0] == 0
    (night.destination / DATE).write_text("whose?")
    assert ledger("advance", "--date", DATE)[0] == 1
    (night.destination / DATE).unlink()
    assert ledger("advance", "--date", DATE)[0] == 0
    assert ledger("rollback", "--date", DATE, "--yes")[0] == 0
    runs = night.query("SELECT command, exit_status, ended_us >= started_us FROM run ORDER BY id")
    assert runs == [("scan", 0, 1), ("advance", 1, 1), ("advance", 0, 1), ("rollback", 0, 1)]


def lines_of(capsys: pytest.CaptureFixture[str], **found: Any) -> list[str]:
    result = Result("archive", DATE)
    for name, value in found.items():
        setattr(result, name, value)
    show_result(result)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("found", "first"),
    [
        ({}, "nothing to do"),
        ({"registered": 1}, "register 1"),
        ({"registered": 80, "moved": Counter(sync=80)}, "register 80, sync 80"),
        ({"quarantined": [("vcam1/a.fits", "no txt")]}, "no file went on"),
        ({"failed": [("vcam1/a.fits", "gone")]}, "no file went on"),
        ({"stopped": "not yet"}, "no file went on"),
        ({"settled": ["a: left behind, removed"]}, "no file went on"),
    ],
)
def test_nothing_to_do_is_said_only_where_there_was_nothing(capsys, found, first):
    assert lines_of(capsys, **found)[0] == f"night {DATE} (archive): {first}"


@pytest.mark.parametrize(("n", "words"), [(1, "1 raw file"), (80, "80 raw files")])
def test_one_file_is_no_files(capsys, n, words):
    assert lines_of(capsys, registered=n)[1] == f"  registered   {words}"
    assert counted(n, "product") == words.replace("raw file", "product")


def test_a_phase_of_one_file(capsys):
    lines = Lines()
    lines.phase("synced", 1)
    assert capsys.readouterr().err.endswith(" to synced: 1 file\n")
    lines.advance()
    lines.end()
    lines.end()
    assert capsys.readouterr().err.endswith("Z synced: 1 of 1 file\n")


def test_the_version_is_told(sqlite_world: World) -> None:
    done = sqlite_world.run("--version")
    assert done.returncode == 0
    assert done.stdout == f"ledger {version('ledger')}\n"


@pytest.mark.parametrize("command", ["advance", "rollback"])
def test_an_empty_state_is_none(night, command):
    before = night.tree()
    done = night.run(command, "--date", DATE, "--to", "", *(["--yes"] if command == "rollback" else []))
    assert done.returncode == 2
    assert "no state '' in pipeline archive" in done.stderr
    assert night.tree() == before
