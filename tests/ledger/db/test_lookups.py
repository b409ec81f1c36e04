"""What is looked up for each product has an index, on both databases, also without statistics."""

import pytest
from sqlalchemy import text

from ledger.audit.laws import AUDITS
from ledger.db.store import Store
from ledger.delivery import manifest
from ledger.delivery.receipt import receive
from ledger.ids.check import check
from ledger.night.site import copies_at
from tests.ledger.run.test_registration import statements_of

OF_PRODUCT = "identity = 'x' AND night_id = 1"


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (
            f"SELECT 1 FROM copy WHERE {OF_PRODUCT} AND sha256 = 'y' AND withdrawn_us IS NULL",
            "ix_copy_night_id_identity",
        ),
        (f"UPDATE copy SET refuted_us = 1 WHERE {OF_PRODUCT} AND refuted_us IS NULL", "ix_copy_night_id_identity"),
        ("SELECT * FROM copy WHERE night_id = 1", "ix_copy_night_id_identity"),
        ("SELECT * FROM manifest_line WHERE frame_id = 'x' AND identity = 'y'", "ix_manifest_line_frame_id"),
        ("SELECT * FROM receipt_line WHERE frame_id = 'x' AND identity = 'y'", "ix_receipt_line_frame_id"),
    ],
)
def test_a_lookup_has_its_index(database_url, statement, index):
    store = Store(database_url)
    is_sqlite = store.engine.dialect.name == "sqlite"
    with store.read() as session:
        if not is_sqlite:  # of tables without rows it reads all
            session.execute(text("SET LOCAL enable_seqscan = off"))
        plan = str(session.execute(text(f"EXPLAIN {'QUERY PLAN ' if is_sqlite else ''}{statement}")).all())
    store.close()
    assert index in plan
    if OF_PRODUCT in statement:
        found = "(night_id=? AND identity=?)" if is_sqlite else "((night_id = 1) AND ((identity)::text = 'x'::text))"
        assert found in plan


def test_where_a_night_is_is_that_of_its_first_copy_in_the_order_of_an_index(database_url):
    """Each command asks it of each night, and a night has 10^5 copies: they are not sorted."""
    store = Store(database_url)
    is_sqlite = store.engine.dialect.name == "sqlite"
    with statements_of(store) as asked:
        copies_at(store, "archive", "20260102")
    ((statement, parameters),) = [(each, values) for each, values in asked if "FROM copy" in each]
    with store.read() as session:
        if not is_sqlite:
            session.execute(text("SET LOCAL enable_seqscan = off"))
        explained = f"EXPLAIN {'QUERY PLAN ' if is_sqlite else ''}{statement}"
        plan = str(session.connection().exec_driver_sql(explained, parameters).all())
    store.close()
    assert "ORDER BY copy.identity, copy.id" in statement
    assert "ix_copy_night_id_identity" in plan
    assert "TEMP B-TREE" not in plan


def test_the_lines_of_all_manifests_are_read_once(sqlite_url):
    """And not once for each product: no index of them has identities."""
    store = Store(sqlite_url)
    law = (AUDITS / "manifest_covers.sql").read_text()
    with store.read() as session:
        plan = [row[3] for row in session.execute(text(f"EXPLAIN QUERY PLAN {law}"))]
    store.close()
    assert plan[0] == "MATERIALIZE listed"
    assert any(step.startswith("SEARCH listed USING AUTOMATIC COVERING INDEX") for step in plan)


def test_the_file_of_a_frame_id_is_found_by_identity(sqlite_world):
    """And not among all files of its night, for each."""
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring()
    manifest.send(world.machine(), [world.night()])
    rows = world.query("SELECT frame_id, size_bytes FROM mail_line")
    answer = world.folder / "receipt.csv"
    answer.write_text("".join(f"{frame_id},{size}\n" for frame_id, size in rows))
    with statements_of(world.store()) as asked:
        assert receive(world.store(), world.config, answer).succeeded
        assert check(world.store(), world.config).disorders == []
    joins = {asked_of for asked_of in asked if "FROM frame_id LEFT OUTER JOIN file" in asked_of[0].replace("\n", "")}
    assert len(joins) == 2
    with world.store().read() as session:
        for statement, parameters in joins:
            plan = str(session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all())
            assert "SEARCH file USING INDEX ix_file_identity" in plan
