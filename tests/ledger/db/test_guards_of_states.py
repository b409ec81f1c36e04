"""No state changes without its entry: the database refuses it, whoever asks, in whatever way."""

import sqlite3
from itertools import pairwise

import pytest

from ledger.db.models import File
from ledger.errors import StateError
from tests.world import DATE, World, entry_of

LAW = "no state changes without its entry"
ONE = "id = (SELECT MIN(id) FROM (SELECT id, kind FROM file) AS f WHERE kind = 'product')"
RAW = "id = (SELECT MAX(id) FROM (SELECT id, kind FROM file) AS f WHERE kind = 'raw')"
OTHER = "'other', folder, 'other.fits'"
STATES = "SELECT id, kind, state, identity FROM file ORDER BY id"
ENTRIES = "SELECT COUNT(*) FROM entry"


@pytest.fixture
def synced(world: World) -> World:
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to="synced")
    return world


@pytest.fixture
def scanned(world: World) -> World:
    world.simulate(scale=0.02, scenario=("pdi",))
    world.machine().scan(world.night())
    return world


def refused(world: World, *statements: str) -> None:
    """Run statements in one transaction: they are refused, and nothing is changed."""
    before = world.query(STATES), world.query(ENTRIES)
    with pytest.raises(StateError, match=LAW):
        done(world, *statements)
    assert (world.query(STATES), world.query(ENTRIES)) == before


def done(world: World, *statements: str) -> None:
    """Run statements in one transaction."""
    with world.store().write() as session:
        for statement in statements:
            session.connection().exec_driver_sql(statement)


def move(state: str, condition: str = ONE) -> str:
    return f"UPDATE file SET state = '{state}' WHERE {condition}"


def test_a_state_changes_with_an_entry_of_its_own(synced):
    refused(synced, move("consolidated"))
    done(synced, entry_of(ONE, "synced", "consolidated"), move("consolidated"))
    refused(synced, move("synced"))
    refused(synced, move("fixed"))
    done(synced, entry_of(ONE, "consolidated", "synced"), move("synced"))
    assert synced.advance().succeeded


def test_every_state_forth_and_back(world):
    """Of a ledger in any state, nothing moves by plain SQL, and the ledger's own steps go on."""
    world.simulate(scale=0.02, scenario=("pdi",))
    states = world.config.archive.states
    for before, state in pairwise(states):
        assert world.advance(to=state).succeeded
        refused(world, move("raw", RAW) if state == "synced" else move(before, "kind = 'product'"))
    for state in reversed(states[:-1]):
        assert world.rollback(to=state).succeeded
        assert {row[0] for row in world.query("SELECT state FROM file WHERE kind = 'product'")} <= {state}
    assert world.query("SELECT DISTINCT kind, state FROM file") == [("raw", "raw")]
    assert world.advance().succeeded


@pytest.mark.parametrize(
    ("condition", "source", "destination"),
    [
        (ONE, "synced", "fixed"),
        (ONE, "fixed", "consolidated"),
        (ONE, None, "consolidated"),
        (ONE, "synced", None),
        (f"kind = 'product' AND NOT {ONE}", "synced", "consolidated"),
    ],
)
def test_the_entry_of_another_change_does_not_do(synced, condition, source, destination):
    refused(synced, entry_of(condition, source, destination), move("consolidated"))


def test_the_entry_of_another_night_does_not_do(synced):
    """The same raw files may lie in both pipelines, and have the same identities there."""
    values = "VALUES ('engineering', '20250101', '/x', 1)"
    refused(
        synced,
        f"INSERT INTO night (pipeline, date, root, created_us) {values}",
        entry_of(ONE, "synced", "consolidated", night_id="(SELECT MAX(id) FROM night)"),
        move("consolidated"),
    )


def test_an_entry_vouches_once(synced):
    done(synced, entry_of(ONE, "synced", "consolidated"), move("consolidated"))
    done(synced, entry_of(ONE, "consolidated", "synced"), move("synced"))
    refused(synced, move("consolidated"))  # there is one that says so, and it is not the newest
    refused(synced, entry_of(ONE, "synced", "consolidated"), move("consolidated"), move("synced"))


def test_an_entry_that_follows_is_too_late(synced):
    refused(synced, move("consolidated"), entry_of(ONE, "synced", "consolidated"))


@pytest.mark.parametrize("event", ["started", "failed", "left", "settled"])
def test_that_a_step_began_or_failed_is_no_entry_of_a_change(synced, event):
    refused(synced, entry_of(ONE, "synced", None, event=f"'{event}'"), move("consolidated"))


def test_what_else_is_told_does_not_hide_the_entry_of_a_change(synced):
    told = (entry_of(ONE, "synced", None, event="'failed'"), entry_of(ONE, None, None, event="'verified'"))
    done(synced, entry_of(ONE, "synced", "consolidated"), *told, move("consolidated"))


def test_one_statement_for_many_is_refused_if_one_has_no_entry(synced):
    all_of_them = move("consolidated", "kind = 'product'")
    refused(synced, entry_of(f"kind = 'product' AND NOT {ONE}", "synced", "consolidated"), all_of_them)
    done(synced, entry_of("kind = 'product'", "synced", "consolidated"), all_of_them)
    assert synced.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("consolidated",)]


def test_an_upsert_is_a_change(synced):
    names = ", ".join(File.model_fields)
    insert = f"INSERT INTO file ({names}) SELECT {names} FROM file WHERE {ONE}"
    with pytest.raises(StateError, match=f"{LAW}|not replaced"):
        done(synced, f"{insert} ON CONFLICT (id) DO UPDATE SET state = 'consolidated'")


def test_raw_files_move_with_their_entries(synced):
    refused(synced, move("raw", "kind = 'raw'"))
    assert synced.rollback().succeeded
    refused(synced, move("synced", "kind = 'raw'"))


# birth and death

COLUMNS = ", ".join(name for name in File.model_fields if name != "id")
BIRTH = f"INSERT INTO file ({COLUMNS}) SELECT {COLUMNS.replace('identity, folder, name', OTHER)} FROM file WHERE {RAW}"
DEATH = f"DELETE FROM file WHERE {RAW}"


def born(state: str) -> str:
    return entry_of(RAW, None, state, identity="'other'", event="'registered'")


def test_a_file_is_born_and_dies_with_its_entry(scanned):
    refused(scanned, BIRTH)
    refused(scanned, born("synced"), BIRTH)
    done(scanned, born("raw"), BIRTH)
    refused(scanned, DEATH)
    done(scanned, entry_of(RAW, "raw", None), DEATH)
    refused(scanned, BIRTH)  # it is on record, and so is its death


def test_a_product_dies_with_its_entry(synced):
    lineage = "DELETE FROM lineage WHERE product_id = (SELECT MIN(id) FROM file WHERE kind = 'product')"
    death = (lineage, f"DELETE FROM file WHERE {ONE}")
    refused(synced, *death)
    refused(synced, entry_of(ONE, "consolidated", None), *death)
    done(synced, entry_of(ONE, "synced", None), *death)


def test_a_raw_file_becomes_another_one_with_its_entry(scanned):
    """What changed on disk before anything was made of it is registered anew, in its row."""
    ((was,),) = scanned.query(f"SELECT identity FROM file WHERE {RAW}")
    other = f"UPDATE file SET identity = 'other' WHERE {RAW}"
    refused(scanned, other)
    done(scanned, born("raw"), other)
    refused(scanned, f"UPDATE file SET identity = '{was}' WHERE {RAW}")  # as it was registered before
    refused(scanned, f"UPDATE file SET identity = '{was}', state = 'synced' WHERE {RAW}")


def test_the_ledger_registers_anew_what_changed(scanned):
    raw = min((scanned.folder / "archive" / DATE).rglob("*.txt"))
    kept = raw.read_text()
    for content in ("nonsense", kept):
        raw.write_text(content)
        scanned.machine().scan(scanned.night())
    assert scanned.query("SELECT COUNT(*) FROM file WHERE quarantine_reason IS NOT NULL") == [(0,)]
    assert scanned.advance().succeeded


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE OR REPLACE file SET name = (SELECT name FROM file WHERE {one}), folder = 'vgen2' WHERE {two}",
        "UPDATE OR REPLACE file SET identity = (SELECT identity FROM file WHERE {one}) WHERE {two}",
        "INSERT OR REPLACE INTO file SELECT * FROM file WHERE {one}",
        "REPLACE INTO file SELECT * FROM file WHERE {one}",
    ],
)
def test_sqlite_replaces_no_row(sqlite_world, statement):
    """In a connection as anybody opens it: triggers of DELETE do not see what a REPLACE removes."""
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    sqlite_world.bring(to="synced")
    sqlite_world.close()
    two = ONE.replace("MIN", "MAX")
    with sqlite3.connect(sqlite_world.url.removeprefix("sqlite:///")) as connection:
        before = connection.execute(STATES).fetchall()
        with pytest.raises(sqlite3.IntegrityError, match="guard"):
            connection.execute(statement.format(one=ONE, two=two))
        assert connection.execute(STATES).fetchall() == before
    connection.close()
