"""Comma-separated values, as RFC 4180 has them, and a query from wherever it is."""

import csv
import io
import json
import subprocess
import sys

import pytest

from ledger.cli.output import show_csv
from ledger.clock import show_us
from tests.inside import call
from tests.ledger.cli.forked import on_terminal
from tests.world import DATE, World


@pytest.fixture
def night(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.02, scenario=("pdi", "bad"))
    sqlite_world.bring()
    return sqlite_world


def rows_of(text: str) -> list[dict[str, str]]:
    assert text.endswith("\r\n")
    assert text.count("\r\n") == text.count("\n")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_values_are_as_they_are(capsys):
    show_csv(("a", "b"), [('say "x", or', "two\nlines"), (None, [1, 2]), (True, {"x": None})])
    text = 'a,b\r\n"say ""x"", or","two\nlines"\r\n,"[1, 2]"\r\nTrue,"{""x"": null}"\r\n'
    assert capsys.readouterr().out == text


def test_status_has_a_row_a_night(night, ledger):
    night.simulate("20260103", scale=0.02, scenario=("slow",))
    told = json.loads(ledger("status", "--json")[1])
    status, out, _ = ledger("status", "--csv")
    assert status == 0
    rows = rows_of(out)
    assert [row["date"] for row in rows] == [DATE, "20260103"]
    for row, facts in zip(rows, told, strict=True):
        states = facts.pop("states")
        assert {name: row[name] for name in facts} == {
            name: "" if fact is None else str(fact) for name, fact in facts.items()
        }
        counts = {name: int(n) for name, n in row.items() if name.startswith("products_")}
        assert next(iter(counts)) == "products_synced"
        assert {name: n for name, n in counts.items() if n} == {f"products_{s}": n for s, n in states.items()}
    assert ledger("status", "--csv", "--date", "20260103")[1].splitlines()[0] == out.splitlines()[0]


def test_status_says_when_a_night_came_to_each_state_and_nothing_of_what_it_was_taken_back_from(night, ledger):
    night.bring()
    assert ledger("rollback", "--date", DATE, "--to", "fixed", "--yes")[0] == 0
    (row,) = rows_of(ledger("status", "--csv")[1])
    times = {name: row[f"{name}_ut"] for name in ("synced", "consolidated", "fixed", "identified", "manifested")}
    for state in ("synced", "consolidated", "fixed"):
        query = f"SELECT MAX(at_us) FROM entry WHERE event = 'done' AND destination = '{state}'"
        assert times[state] == show_us(night.query(query)[0][0])
    assert (times["identified"], times["manifested"], row["mailed_ut"], row["confirmed_ut"]) == ("", "", "", "")


def test_summary_has_a_row_a_minute_of_each_night(night, ledger):
    night.simulate("20260103", scale=0.02, scenario=("slow",))
    told = json.loads(ledger("summary", "--date", DATE, "--date", "20260103", "--json")[1])
    status, out, _ = ledger("summary", "--date", DATE, "--date", "20260103", "--csv")
    assert status == 0
    rows = rows_of(out)
    minutes = [(night, minute) for night in told for minute in night["minutes"]]
    assert len(rows) == len(minutes) > 0
    for row, (facts, minute) in zip(rows, minutes, strict=True):
        assert (row["date"], row["ut"]) == (facts["date"], minute["ut"] or "")
        assert json.loads(row["targets"]) == minute["targets"]
        assert {name: int(row[f"frames_{name}"]) for name in minute["frames"]} == minute["frames"]
        assert {name: int(row[f"dubious_{name}"]) for name in minute["dubious"]} == minute["dubious"]
    header = ledger("summary", "--date", "20260103", "--csv")[1].splitlines()[0]
    assert header == out.splitlines()[0]


def test_history_has_a_row_an_entry_or_a_frame(night, ledger):
    told = json.loads(ledger("history", "VMPA00000001", "--frames", "--json")[1])
    rows = rows_of(ledger("history", "VMPA00000001", "--csv")[1])
    assert [row["event"] for row in rows] == [entry["event"] for entry in told["entries"]]
    assert [json.loads(row["detail"]) for row in rows] == [entry["detail"] for entry in told["entries"]]
    rows = rows_of(ledger("history", "VMPA00000001", "--frames", "--csv")[1])
    frames = [{name: str(value) for name, value in frame.items()} for frame in told["frames"]]
    assert rows == frames


QUERY = "SELECT kind, state, files FROM night_status ORDER BY kind, state"


def test_a_query_has_its_own_columns(night, ledger):
    rows = rows_of(ledger("sql", QUERY, "--csv")[1])
    told = json.loads(ledger("sql", QUERY, "--json")[1])
    assert rows == [{name: str(value) for name, value in row.items()} for row in told]


@pytest.mark.parametrize("command", [("status",), ("summary", DATE), ("history", "VMPA00000001"), ("sql", QUERY)])
def test_one_form_is_enough(night, ledger, command):
    status, out, err = ledger(*command, "--csv", "--json")
    assert (status, out) == (2, "")
    assert "--json and --csv: expected one of them" in err


# where a query comes from


@pytest.mark.parametrize("argument", [(), ("-",)])
def test_a_query_on_standard_input(night, ledger, monkeypatch, argument):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{QUERY};\n"))
    assert ledger("sql", *argument) == ledger("sql", QUERY)


def test_a_query_through_a_pipe(night):
    command = [sys.executable, "-m", "ledger.cli", "--config", str(night.config_path), "sql", "--csv"]
    done = subprocess.run(command, input=QUERY, capture_output=True, cwd=night.folder, check=True, encoding="utf-8")
    assert done.stdout.startswith("kind,state,files\n")  # text: line ends are made one character
    done = subprocess.run(command, input="", capture_output=True, cwd=night.folder, check=False, encoding="utf-8")
    assert done.returncode == 2
    assert "the statement is empty: expected one SELECT" in done.stderr


def test_a_query_in_a_file(night, ledger):
    file = night.folder / "query.sql"
    file.write_text(f"-- by state\n{QUERY};\n", encoding="utf-8-sig")
    assert ledger("sql", "--file", str(file)) == ledger("sql", QUERY)
    assert "expected one of them" in ledger("sql", QUERY, "--file", str(file))[2]
    status, _, err = ledger("sql", "--file", str(night.folder / "none.sql"))
    assert status == 2
    assert "cannot be read as text" in err
    file.write_bytes(b"SELECT '\xff'")
    assert ledger("sql", "--file", str(file))[0] == 2


def test_nobody_waits_for_a_query_on_a_terminal(night):
    status, shown = on_terminal(night, "", "sql")
    assert status == 2
    assert "ledger sql --schema" in " ".join(shown.split())


@pytest.mark.parametrize("statement", ["DELETE FROM file", "SELECT 1; SELECT 2"])
def test_what_is_read_cannot_write_either(night, ledger, statement):
    file = night.folder / "query.sql"
    file.write_text(statement)
    status, _, err = ledger("sql", "--file", str(file))
    assert status == 2
    assert "expected one statement that only reads" in err


@pytest.mark.parametrize(
    ("statement", "advice"),
    [
        ("SELECT * FROM files", "`ledger sql --schema` lists"),
        ("SELECT nme FROM file", "`ledger sql --schema` lists"),
        ("SELEC 1", None),
        ("SELECT * FROM file WHERE", None),
        ("DELETE FROM file", "expected one statement that only reads"),
        ("CREATE TABLE x (y INTEGER)", "expected one statement that only reads"),
        ("SELECT 1; SELECT 2", "expected one statement that only reads"),
    ],
)
def test_what_is_wrong_with_a_statement_is_said(world, statement, advice):
    done = call(world, "sql", statement)
    assert done.returncode == 2
    found = [words for words in ("`ledger sql --schema` lists", "expected one statement that only reads")
             if words in done.stderr]  # fmt: skip
    assert found == ([] if advice is None else [advice]), done.stderr


def test_what_there_is_to_ask(world):
    done = world.run("sql", "--schema", "--json")
    assert done.returncode == 0, done.stderr
    told = {relation["name"]: relation for relation in json.loads(done.stdout)}
    assert told["file"]["kind"] == "table"
    assert told["file"]["columns"][:1] == ["id"]
    assert "quarantine_reason" in told["file"]["columns"]
    assert told["night_status"]["kind"] == "view"
    assert {"date", "state", "files"} <= set(told["night_status"]["columns"])
    assert "alembic_version" not in told
    kinds = [relation["kind"] for relation in told.values()]
    assert kinds == sorted(kinds, reverse=True)
    lines = world.run("sql", "--schema").stdout.splitlines()
    assert lines[0] == "name\tkind\tcolumns"
    assert len(lines) == 1 + len(told)
    assert "expected no statement" in world.run("sql", "--schema", "SELECT 1").stderr
