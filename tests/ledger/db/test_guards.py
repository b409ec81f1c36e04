"""What the database itself refuses, whoever asks: plain SQL, around the code."""

import pytest
from sqlalchemy import text

from ledger.db.store import Store
from ledger.errors import LedgerError
from tests.inside import call
from tests.world import DATE, World


@pytest.fixture
def finished(world: World) -> World:
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring()
    return world


def refused(store: Store, statement: str, because: str) -> None:
    """Run a statement in a transaction of its own; it must be refused by a guard."""
    with pytest.raises(LedgerError, match=because), store.write() as session:
        session.execute(text(statement))


PRODUCT = "(SELECT MIN(id) FROM file WHERE kind = 'product')"
RAW = "(SELECT MIN(id) FROM file WHERE kind = 'raw')"
#: The newest frame ID again, for another product: only what the test changes may be wrong with it.
_FRAME_ID = {
    "frame_id": "'VMPA00000999'",
    "prefix": "prefix",
    "number": "number",
    "identity": "'other'",
    "night_id": "night_id",
    "start_us": "start_us",
    "camera": "camera",
    "flc": "flc",
    "status": "'live'",
    "late": "FALSE",
    "late_reason": "NULL",
}


def frame_id(column: str, value: str, **more: str) -> str:
    """Return a statement that inserts a frame ID with a column of another value."""
    columns = {**_FRAME_ID, **more, column: value}
    names, values = ", ".join(columns), ", ".join(columns.values())
    return f"INSERT INTO frame_id ({names}) SELECT {values} FROM frame_id ORDER BY number DESC LIMIT 1"


LAST_ENTRY = "(SELECT MAX(id) FROM (SELECT id FROM entry) AS e)"


@pytest.mark.parametrize(
    ("statement", "because"),
    [
        (f"UPDATE entry SET event = 'done' WHERE id = {LAST_ENTRY}", "append-only"),
        (f"DELETE FROM entry WHERE id = {LAST_ENTRY}", "append-only"),
        (f"UPDATE file SET state = 'synced' WHERE id = {PRODUCT}", "no declared edge"),
        (f"UPDATE file SET state = 'raw' WHERE id = {PRODUCT}", "no declared edge"),
        (f"UPDATE file SET state = 'consolidated' WHERE id = {RAW}", "no declared edge"),
        (f"UPDATE file SET sha256 = 'other' WHERE id = {PRODUCT}", "no proven copy"),
        (f"UPDATE file SET identity = 'other' WHERE id = {PRODUCT}", "identity of a file"),
        (f"DELETE FROM file WHERE id = {RAW}", "born in"),
        ("UPDATE frame_id SET status = 'withdrawn'", "in use"),
        ("UPDATE frame_id SET number = number + 1000", "does not change"),
        ("UPDATE frame_id SET identity = 'other'", "does not change"),
        ("DELETE FROM frame_id", "withdrawn, never manifested"),
        ("UPDATE frame_sequence SET next_number = 1", "numbers at or above"),
        ("UPDATE copy SET withdrawn_us = 1", "stands on this proof"),
        ("UPDATE copy SET sha256 = 'other'", "not rewritten"),
        ("DELETE FROM copy", "append-only|not deleted"),
        ("UPDATE frame_id SET night_id = night_id + 1", "does not change"),
        ("UPDATE frame_id SET start_us = start_us + 1", "does not change"),
        ("DELETE FROM frame_sequence", "counter are taken"),
        ("INSERT INTO frame_sequence (prefix, next_number) VALUES ('VMPA', 1)", "taken"),
        ("UPDATE frame_id SET late_reason = 'x'", "does not change"),
        (frame_id("late_reason", "'x'", number="999"), "has a reason"),
        (frame_id("late", "TRUE", number="999"), "has a reason"),
        (frame_id("start_us", "0", number="999"), "in order of time"),
        (frame_id("start_us", "start_us", number="0"), "only grow"),
        ("UPDATE lineage SET n_frames = n_frames + 1", "written once"),
        (f"DELETE FROM lineage WHERE product_id = {PRODUCT}", "has lineage"),
        ("UPDATE manifest SET name = 'x'", "on record"),
        ("DELETE FROM manifest_line", "on record|append-only"),
    ],
)
def test_refused(finished, statement, because):
    before = finished.query("SELECT id, state, identity, sha256 FROM file ORDER BY id")
    refused(finished.store(), statement, because)
    assert finished.query("SELECT id, state, identity, sha256 FROM file ORDER BY id") == before


def test_no_state_without_an_id_or_a_proof(world):
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to="fixed")
    store = world.store()
    refused(store, "UPDATE file SET state = 'identified' WHERE kind = 'product'", "no live frame ID")
    assert world.advance(to="compressed").succeeded
    refused(store, "UPDATE file SET state = 'transferred' WHERE kind = 'product'", "no proven copy")


def test_a_withdrawn_proof_does_not_come_back(world):
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to="transferred")
    assert world.rollback(to="compressed").succeeded
    refused(world.store(), "UPDATE copy SET withdrawn_us = NULL", "not rewritten")


def test_a_product_needs_lineage(world):
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to="synced")
    store = world.store()
    with store.write() as session:
        session.execute(text(f"DELETE FROM lineage WHERE product_id = {PRODUCT}"))
    refused(store, f"UPDATE file SET state = 'consolidated' WHERE id = {PRODUCT}", "has lineage")


def test_nothing_is_born_in_the_middle(world):
    world.simulate(scale=0.02, scenario=("pdi",))
    world.machine().scan(world.night())
    statement = (
        "INSERT INTO file (night_id, pipeline, kind, state, identity, folder, name, camera, synchronised, n_frames,"
        " lost_frames, files, cards, attempts) VALUES (1, 'archive', 'product', '{}', 'x', 'vgen2', 'x', 1, {}, 1, 0,"
        " '[]', '{{}}', 0)"
    )
    for state in ("transferred", "raw"):
        refused(world.store(), statement.format(state, "false"), "is born")
    refused(world.store(), statement.format("nonsense", "false"), "is born")


def test_replace_does_not_go_around_the_guards(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    sqlite_world.bring()
    for table, because in (
        ("entry", "append-only"),
        ("file", "not replaced"),
        ("copy", "not"),
        ("frame_id", "order|grow"),
    ):
        order = "frame_id" if table == "frame_id" else "id"
        refused(
            sqlite_world.store(),
            f"INSERT OR REPLACE INTO {table} SELECT * FROM {table} ORDER BY {order} LIMIT 1",
            because,
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE night SET excluded_reason = 'x'",
        "DELETE FROM lineage",
        "INSERT INTO frame_sequence (prefix, next_number) VALUES ('XXXX', 1)",
        "DROP TABLE copy",
        "SELECT 1; DELETE FROM lineage",
        "WITH gone AS (DELETE FROM lineage RETURNING *) SELECT * FROM gone",
        "RESET ROLE; DELETE FROM lineage",
        "SET TRANSACTION READ WRITE; DELETE FROM lineage",
        "COMMIT; DELETE FROM lineage",
        "ATTACH DATABASE 'other.db' AS other",
        "PRAGMA user_version = 7",
        "CREATE TEMP TABLE t AS SELECT 1",
    ],
)
def test_sql_cannot_write(world, statement):
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to="synced")
    before = world.query("SELECT * FROM lineage ORDER BY product_id, position")
    done = call(world, "sql", statement)
    harmless = statement.startswith(("CREATE TEMP", "PRAGMA"))  # of the connection, not of the file
    assert done.returncode == 2 or harmless, done.stdout
    assert world.query("SELECT * FROM lineage ORDER BY product_id, position") == before
    assert not (world.folder / "other.db").exists()


def test_sql_reads(world):
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to="synced")
    done = call(world, "sql", f"SELECT date, kind, state FROM night_status WHERE date = '{DATE}' ORDER BY kind")
    assert done.returncode == 0, done.stderr
    assert f"{DATE}\tproduct\tsynced" in done.stdout


def test_blocks_of_numbers_do_not_overlap_and_are_only_cut_short(finished):
    store = finished.store()
    with store.write() as session:
        session.execute(text("DELETE FROM frame_block WHERE first_number > 1"))
        session.execute(text("UPDATE frame_block SET last_number = 5000 WHERE last_number > 5000"))
    block = "INSERT INTO frame_block (prefix, first_number, last_number, authority, created_us) VALUES "
    refused(store, f"{block} ('VMPA', 5000, 6000, 'own', 0)", "do not overlap")
    refused(store, "UPDATE frame_block SET last_number = 5001", "only cut short")
    refused(store, "UPDATE frame_block SET last_number = 1", "only cut short")
    refused(store, "DELETE FROM frame_block", "are taken")
    with store.write() as session:
        session.execute(text(f"{block} ('VMPA', 5001, 6000, 'own', 0)"))
        session.execute(text("DELETE FROM frame_block WHERE first_number = 5001"))


def test_a_frame_id_that_is_in_order_is_welcome(finished):
    with finished.store().write() as session:
        session.execute(text(frame_id("number", "999")))
