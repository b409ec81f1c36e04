"""Each table on a real terminal of 80 and of 120 columns: no line is too long, and what matters is there, whole."""

import re

import pytest

from tests.ledger.cli.forked import on_terminal
from tests.world import DATE, World

LATER = "20260103"
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
widths = pytest.mark.parametrize("columns", [80, 120])


@pytest.fixture
def nights(sqlite_world: World) -> World:
    """Return a ledger with a finished night, and one that has a name in quarantine and waits."""
    sqlite_world.simulate(scale=0.02, scenario=("pdi", "bad"))
    sqlite_world.simulate(LATER, scale=0.02, scenario=("slow", "bad"))
    sqlite_world.bring()
    sqlite_world.bring(date=LATER, to="fixed")
    return sqlite_world


def shown(world: World, columns: int, *arguments: str) -> list[str]:
    """Return the lines that a command shows; none is wider than the terminal, unless it is one word."""
    status, text = on_terminal(world, "", *arguments, columns=columns)
    assert status == 0, text
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r", "").splitlines()
    if lines[0].startswith("configuration: "):  # said beside the table, on standard error
        del lines[0]
    too_long = [line for line in lines if len(line) > columns and " " in line.strip()]
    assert too_long == []
    assert "…" not in text
    return lines


@widths
def test_status(nights, columns):
    lines = shown(nights, columns, "status")
    (place,) = (place for place, line in enumerate(lines) if line.startswith(LATER))
    assert f"{LATER}  fixed" in lines[place]
    assert f"  next: ledger advance --date {LATER}" in lines[place:]
    assert any(line.startswith(f"{DATE}  finished") for line in lines)
    assert {"night", "stands", "quarantined", "failed", "lost"} <= set(" ".join(lines[:2]).split())
    told = [line for line in lines if line.startswith("not shown here: ")]
    assert len(told) == (columns == 80)
    wide = on_terminal(nights, "", "status", "--wide", columns=columns)[1]
    assert f"ledger advance --date {LATER}" in wide
    assert {"pipeline", "frames", "IDs", "confirmed"} <= set(wide.split())
    assert "not shown" not in wide


@widths
def test_the_longest_advice_is_whole(nights, columns):
    nights.simulate("20260101", scale=0.02, scenario=("slow",))
    lines = shown(nights, columns, "status")
    assert "  next: ledger advance --date 20260101 --late --reason TEXT" in lines


@widths
def test_summary(nights, columns):
    lines = shown(nights, columns, "summary", "--date", DATE)
    assert any(line.startswith("20:") for line in lines)
    assert any("quarantined 11" in line for line in lines)
    assert "The sum holds" in " ".join(lines)
    assert "\\n" not in "".join(lines)
    wide = on_terminal(nights, "", "summary", "--date", DATE, "--wide", columns=columns)[1]
    assert re.search(r"HST +UT +target +exposure +paired A .* look at", wide)


@widths
def test_sql(nights, columns):
    lines = shown(nights, columns, "sql", "SELECT * FROM file ORDER BY id")
    names = [name for (name,) in nights.query("SELECT name FROM pragma_table_info('file')")]
    assert [line.split()[0] for line in lines[:3]] == names[:3]
    assert all(line.strip().startswith("/") for line in lines if len(line) > columns), "more than paths is too long"
    hashes = [sha256 for (sha256,) in nights.query("SELECT header_sha256 FROM file WHERE header_sha256 IS NOT NULL")]
    assert hashes
    assert set(hashes) <= set(" ".join(lines).split())
    n_files = nights.query("SELECT count(*) FROM file")[0][0]
    assert lines.count("-" * 40) == n_files - 1
    assert shown(nights, columns, "sql", "SELECT 1 AS one, 2 AS two") == ["one  two", "1    2"]
    assert shown(nights, columns, "sql", "SELECT 1 AS one, 2 AS two", "--vertical") == ["one  1", "two  2"]
    schema = " ".join(" ".join(shown(nights, columns, "sql", "--schema")).split())
    assert "numbers_from" not in schema
    assert "frame_balance view" in schema
    assert all(name in schema for name in names)


@widths
def test_history(nights, columns):
    lines = shown(nights, columns, "history", "VMPA00000001")
    n_entries = sum(bool(TIME.match(line)) for line in lines)
    identity = nights.query("SELECT identity FROM frame_id WHERE frame_id = 'VMPA00000001'")[0][0]
    assert n_entries == nights.query(f"SELECT count(*) FROM entry WHERE identity = '{identity}'")[0][0]
    assert any("manifested" in line for line in lines)
    raw = nights.query("SELECT name FROM file WHERE kind = 'raw' AND quarantine_reason IS NULL LIMIT 1")[0][0]
    assert raw in shown(nights, columns, "history", raw, "--frames")[0]


@widths
def test_quarantine_and_outside(nights, columns):
    lines = shown(nights, columns, "quarantine", "list", "--date", DATE)
    files = nights.query("SELECT folder || '/' || name FROM quarantine WHERE date = '20260102'")
    text = " ".join(" ".join(lines).split())
    assert all(name in text for (name,) in files)
    for (reason,) in nights.query("SELECT DISTINCT reason FROM quarantine WHERE date = '20260102'"):
        assert " ".join(reason.split()) in text
    (nights.folder / "archive" / LATER / "vcam1/vcam1_06:00:00.000000000.fits.gz").write_bytes(b"\x1f\x8b")
    text = " ".join(" ".join(shown(nights, columns, "outside", "list")).split())
    assert LATER in text
    assert "vcam1/vcam1_06:00:00.000000000.fits.gz" in text


@widths
def test_configuration_backups_and_numbers(nights, columns):
    lines = shown(nights, columns, "config")
    assert any(line.startswith("instrument.prefix ") and "VMPA" in line for line in lines)
    nights.data["backup"]["automatic"] = True
    assert nights.run("backup").returncode == 0
    lines = shown(nights, columns, "backup", "--list")
    assert sum(bool(TIME.match(line)) for line in lines) == sum(".db" in line for line in lines) > 0
    assert "next is VMPA" in shown(nights, columns, "ids", "next")[0]
    assert "in order" in shown(nights, columns, "ids", "check")[-1]
