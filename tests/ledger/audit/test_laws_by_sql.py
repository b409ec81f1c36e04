"""Every law finds its violation: each is planted in a night that was sound, around the guards where one stands."""

import json
import os
import shlex
import sqlite3
from pathlib import Path

import pytest

from ledger.audit import laws
from ledger.disk.dates import Dates
from ledger.errors import UsageError
from tests.inside import call
from tests.world import DATE, World

ONE = "(SELECT MIN(id) FROM file WHERE kind = 'product')"
ITS_IDENTITY = f"(SELECT identity FROM file WHERE id = {ONE})"
RAW = "(SELECT MIN(id) FROM file WHERE kind = 'raw')"

#: Law, and statements that break it.
PLANTED = {
    "conservation": f"UPDATE file SET n_frames = n_frames + 1 WHERE id = {RAW}",
    "id_blocks": "UPDATE frame_block SET first_number = 2",
    "id_gaps": "UPDATE frame_sequence SET next_number = next_number + 5",
    "id_needed": f"UPDATE frame_id SET status = 'withdrawn' WHERE identity = {ITS_IDENTITY}",
    "id_order": "UPDATE frame_id SET start_us = start_us + 86400000000 WHERE number = 1",
    "manifest_covers": "UPDATE manifest SET withdrawn_us = 1",
    "product_frames": f"UPDATE file SET n_frames = n_frames + 1 WHERE id = {ONE}",
    "proof": f"UPDATE file SET sha256 = 'other' WHERE id = {ONE}",
    "quarantine_unused": f"UPDATE file SET quarantine_reason = 'late doubts' WHERE id = {RAW}",
    "siblings": "UPDATE file SET first_us = first_us + 1 WHERE id = (SELECT MIN(id) FROM file WHERE synchronised)",
    "state_has_entry": f"DELETE FROM entry WHERE identity = {ITS_IDENTITY}",
}
#: Further ways to break a law.
MORE = [
    ("id_gaps", "UPDATE frame_sequence SET next_number = 2"),
    ("id_gaps", "DELETE FROM frame_id WHERE number = 2"),
    ("manifest_covers", f"UPDATE file SET size_bytes = size_bytes + 1 WHERE id = {ONE}"),
    ("proof", "UPDATE copy SET withdrawn_us = 1"),
    ("siblings", "UPDATE file SET camera = 1 WHERE synchronised"),
    ("conservation", f"DELETE FROM lineage WHERE raw_id = {RAW}"),
]


@pytest.fixture
def finished(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    sqlite_world.bring()
    assert violated(sqlite_world) == set()
    return sqlite_world


def violations(world: World, **options: str) -> list[laws.Violation]:
    store = world.store()
    found = [v for _, violations in laws.check_laws(store, laws.read_laws()) for v in violations]
    return found + list(laws.check_files(store, world.config, **options))


def violated(world: World) -> set[str]:
    return {violation.law for violation in violations(world)}


def around_the_guards(world: World, statement: str) -> None:
    """Change rows as somebody does who has the file and drops the guards first."""
    with sqlite3.connect(world.url.removeprefix("sqlite:///")) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        assert connection.execute(statement).rowcount > 0
    connection.close()


def test_every_law_has_a_violation_planted_here():
    assert {law.name for law in laws.read_laws()} == set(PLANTED)
    assert all(law.says and law.next_step for law in laws.read_laws())


@pytest.mark.parametrize(("law", "statement"), [*PLANTED.items(), *MORE])
def test_a_violation_in_rows(finished, law, statement):
    around_the_guards(finished, statement)
    assert law in violated(finished)


def test_an_audit_reads_both_databases(world):
    world.simulate(scale=0.02, scenario=("slow",))
    world.bring(to="synced")
    assert violated(world) == set()
    with world.store().write() as session:
        session.connection().exec_driver_sql(f"UPDATE file SET n_frames = n_frames + 1 WHERE id = {ONE}")
    assert violated(world) == {"product_frames", "siblings"}


def product_file(world: World, pattern: str = "*.fits.fz") -> Path:
    return next((world.folder / "archive" / DATE / "vgen2").glob(pattern))


@pytest.mark.parametrize("pattern", ["*.fits.fz", "VMPA*.txt"])
def test_a_product_without_its_file(finished, pattern):
    path = product_file(finished, pattern)
    path.unlink()
    (violation,) = violations(finished)
    assert violation.law == "row_without_file"
    assert str(path) in violation.what


def test_a_file_without_its_product(finished):
    path = product_file(finished).with_name("VMPA99999999.fits.fz")
    path.write_bytes(b"whose?")
    (violation,) = violations(finished)
    assert violation.law == "orphan"
    assert str(path) in violation.what
    assert "move it" in violation.next_step


def test_what_a_dead_run_left_is_told_from_what_is_foreign(finished):
    path = product_file(finished).with_name(".ledger-VMPA00000001.fits")
    path.write_bytes(b"half of it")
    (violation,) = violations(finished)
    assert violation.law == "orphan"
    assert "ledger advance" in violation.next_step
    assert finished.advance().succeeded
    assert violations(finished) == []


@pytest.mark.parametrize("suffix", [".fits", ".txt"])
@pytest.mark.parametrize("what", ["gone", "longer", "touched"])
def test_a_raw_file_that_changed(finished, what, suffix):
    path = next((finished.folder / "archive" / DATE / "vcam1").glob("*.fits")).with_suffix(suffix)
    mtime_ns, size = path.stat().st_mtime_ns, path.stat().st_size
    if what == "gone":
        path.unlink()
    elif what == "longer":
        path.write_bytes(path.read_bytes() + bytes(2880))
        os.utime(path, ns=(mtime_ns, mtime_ns))
    else:
        os.utime(path, ns=(mtime_ns, mtime_ns + 1))
    (violation,) = violations(finished)
    file = {".fits": "cube", ".txt": "txt"}[suffix]
    assert violation.law == ("row_without_file" if what == "gone" else "raw_unchanged")
    assert str(path if what == "gone" else path.with_suffix(".fits")) in violation.what
    if what == "longer":
        assert f"{file} size: found {size + 2880} bytes, expected {size}" in violation.what
    if what == "touched":
        assert violation.what.count("expected") == 1
        assert f"{file} mtime: found " in violation.what
    if what != "gone":
        night = path.parent.parent
        old = " with the old one in place" if (what, suffix) == ("longer", ".fits") else ""
        assert f"`ledger rollback {night} --yes`{old} and `ledger advance {night}`" in violation.next_step
    assert not finished.advance().succeeded


def test_a_raw_file_without_products_is_simply_registered_anew(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    assert sqlite_world.machine().scan(sqlite_world.night()).succeeded
    path = next((sqlite_world.folder / "archive" / DATE / "vcam1").glob("*.txt"))
    os.utime(path, ns=(1, 1))
    found = list(laws.check_files(sqlite_world.store(), sqlite_world.config))
    assert [(v.law, v.next_step.split("`")[1]) for v in found] == [
        ("raw_unchanged", f"ledger scan {path.parent.parent}")
    ]
    assert sqlite_world.machine().scan(sqlite_world.night()).succeeded
    assert violations(sqlite_world) == []


def test_the_way_on_with_a_raw_file_that_is_right_now(finished):
    path = next((finished.folder / "archive" / DATE / "vcam1").glob("*.fits"))
    os.utime(path, ns=(1, 1))
    (violation,) = violations(finished)
    for command in violation.next_step.split("`")[1::2]:
        done = call(finished, *shlex.split(command)[1:])
        assert done.returncode == 0, done.stdout + done.stderr
    assert violations(finished) == []


@pytest.mark.parametrize("beyond", [False, True])
def test_a_frame_named_twice_or_beyond_the_file(finished, beyond):
    """The sums match, and still a frame is named twice, or one that the file does not have."""
    runs = "(SELECT runs FROM lineage WHERE n_frames > 1 LIMIT 1)"
    ((before,),) = finished.query(f"SELECT {runs}")
    ((start, step, n),) = json.loads(before)
    wrong = [[start + 1, step, n]] if beyond else [[start, step, 1], [start, step, n - 1]]
    around_the_guards(finished, f"UPDATE lineage SET runs = '{json.dumps(wrong)}' WHERE runs = '{before}'")
    assert violated(finished) == {"frame_once"}


def test_one_night_alone(finished):
    finished.simulate("20260103", scale=0.02, scenario=("onecamera",))
    finished.bring("20260103")
    product_file(finished).unlink()
    assert violations(finished, dates=Dates(["20260103"])) == []
    assert {v.law for v in violations(finished, dates=Dates([DATE]))} == {"row_without_file"}


def test_the_command(finished, tmp_path):
    (tmp_path / "few.sql").write_text("-- law: few products\n-- next: sleep\nSELECT 'too many' AS verdict;\n")
    done = call(finished, "audit", "--laws", str(tmp_path))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "FAIL  few products" in lines
    assert sum(line.startswith("ok  ") for line in lines) == len(PLANTED) + 1
    assert any("few: verdict too many" in line and "next: sleep" in line for line in lines)
    done = call(finished, "audit", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"laws": sorted(PLANTED), "violations": [], "explained": []}
    product_file(finished).unlink()
    done = call(finished, "audit", "--json")
    assert done.returncode == 1
    (violation,) = json.loads(done.stdout)["violations"]
    assert set(violation) == {"law", "what", "next_step"}


def test_a_law_says_what_it_is(tmp_path):
    (tmp_path / "mute.sql").write_text("SELECT 1")
    with pytest.raises(UsageError, match=r"mute\.sql.*-- law:"):
        laws.read_laws((tmp_path,))
    with pytest.raises(UsageError, match=r"expected a folder of \.sql files"):
        laws.read_laws((tmp_path / "none",))
