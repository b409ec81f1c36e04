"""The schema goes up, is the models', goes down, and comes up again; on both databases."""

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlmodel import SQLModel

from ledger.cli._summary_words import after_tables
from ledger.config.urls import parse_url
from ledger.db import schema
from ledger.db.connection import WRITES, connect
from ledger.db.store import Store
from ledger.delivery import manifest
from ledger.delivery.copies import verify
from ledger.delivery.receipt import receive
from ledger.errors import UsageError
from ledger.night import record
from ledger.query.summary import Summary, summarise
from tests.world import DATE, World


def guards_and_views(store: Store) -> set[str]:
    with store.read() as session:
        if store.engine.dialect.name == "sqlite":
            query = "SELECT name FROM sqlite_master WHERE type = 'view' OR name LIKE 'guard_%'"
        else:
            query = (
                "SELECT viewname FROM pg_views WHERE schemaname = 'public'"
                " UNION SELECT tgname FROM pg_trigger WHERE tgname LIKE 'guard_%'"
            )
        return set(session.execute(text(query)).scalars())


#: By 0016.
DROPPED = {"ix_copy_identity_sha256", "ix_manifest_line_identity", "ix_receipt_line_identity"}


def indexes_of(store: Store) -> set[str]:
    """Return the names of all indexes that have one."""
    with store.engine.connect() as connection:
        schema_now = inspect(connection)
        tables = schema_now.get_table_names()
        return {str(index["name"]) for table in tables for index in schema_now.get_indexes(table)}


def run(store: Store, target: str) -> None:
    config = AlembicConfig()
    config.set_main_option("script_location", str(schema.migrations_folder()))
    with store.engine.connect().execution_options(**{WRITES: True}) as connection:
        config.attributes["connection"] = connection
        (command.upgrade if target == "head" else command.downgrade)(config, target)
        connection.commit()


def test_up_down_up(empty_database_url):
    store = Store(empty_database_url)
    run(store, "head")
    first = guards_and_views(store)
    assert {"night_status", "raw_progress", "frame_balance", "id_order", "unverified", "quarantine"} <= first
    assert len(first) > 15
    run(store, "base")
    assert guards_and_views(store) == set()
    with store.engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    run(store, "head")
    assert guards_and_views(store) == first
    store.close()


def test_the_newest_revision_is_that_of_the_last_file(sqlite_url):
    config = AlembicConfig()
    config.set_main_option("script_location", str(schema.migrations_folder()))
    head = ScriptDirectory.from_config(config).get_current_head()
    assert schema.revision(connect(parse_url(sqlite_url))) == head


def test_the_migrations_make_the_schema_of_the_models(database_url):
    engine = connect(parse_url(database_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "render_as_batch": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    engine.dispose()


def test_rows_outlive_a_migration_back_and_forth(world: World):
    world.simulate(scale=0.02, scenario=("untriggered", "slow"))
    assert world.advance(to="synced").succeeded
    rows = "SELECT identity, synchronised, n_frames, group_number FROM file ORDER BY id"
    lines = "SELECT product_id, position, raw_id, n_frames FROM lineage ORDER BY product_id, position"
    before = world.query(rows), world.query(lines)
    assert world.query("SELECT COUNT(*) FROM file WHERE solo") != [(0,)]
    guards = guards_and_views(world.store())
    run(world.store(), "0001")
    with pytest.raises(UsageError, match="behind this ledger"):
        world.store().open()
    run(world.store(), "head")
    world.store().open()
    assert (world.query(rows), world.query(lines)) == before
    assert world.query("SELECT COUNT(*) FROM file WHERE solo IS NOT NULL") == [(0,)]
    assert guards_and_views(world.store()) == guards


def test_of_products_synced_before_it_is_not_said_whether_their_camera_was_on_its_own(world: World):
    world.simulate(scale=0.02, scenario=("untriggered", "pdi"))
    assert world.advance(to="synced").succeeded

    def told() -> Summary:
        return summarise(world.store(), world.config, world.night())

    before = told()
    alone = {c: sum(before.balance.in_products.get(f"{kind}_{c}", 0) for kind in ("solo", "unpaired")) for c in (1, 2)}
    run(world.store(), "0001")
    run(world.store(), "head")
    found = told()
    assert found.balance.holds
    assert all(alone.values())
    assert {c: found.balance.in_products[f"not_paired_{c}"] for c in (1, 2)} == alone
    assert not any(name.startswith(("solo_", "unpaired_")) for name in found.balance.in_products)
    marks = {kind for minute in found.minutes for kind in minute.marks()}
    assert not marks & {"unpaired"}
    assert not any(kind.startswith("solo_") for minute in found.minutes for kind, _ in minute.states)
    words = "\n".join(after_tables(found, world.config.instrument.cards.dither_us))
    assert "not paired: " in words
    assert f"ledger rollback --date {DATE}" in words
    assert "Nothing unexpected." not in words
    assert world.rollback().succeeded
    assert world.advance(to="synced").succeeded
    assert told() == before


def test_a_database_of_a_newer_ledger_is_refused(database_url):
    store = Store(database_url)
    with store.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UsageError, match="ahead of the code"):
        store.open()
    store.close()


def test_a_database_behind_the_code_is_refused(empty_database_url):
    store = Store(empty_database_url)
    if store.engine.dialect.name == "sqlite":
        with pytest.raises(UsageError, match="run `ledger init` first"):
            store.open()
    with store.write() as session:
        session.execute(text("CREATE TABLE something (a int)"))
    with pytest.raises(UsageError, match="run `ledger init` first"):
        store.open()
    store.close()


def test_late_ids_and_supplements_outlive_a_migration_back_and_forth(world: World):
    world.simulate_two("20260101", "20260102")
    record.exclude(world.store(), "archive", world.folder / "archive", "20260101", "later")
    assert world.advance("20260102", to="identified").succeeded
    record.exclude(world.store(), "archive", world.folder / "archive", "20260101", None)
    assert world.advance("20260101", to="identified", late_reason="found").succeeded
    assert world.rollback("20260102").succeeded
    ids = "SELECT frame_id, identity, status, late, late_reason FROM frame_id ORDER BY number"
    before = world.query(ids)
    run(world.store(), "0002")
    run(world.store(), "head")
    assert world.query(ids) == before
    assert world.query("SELECT first_number, last_number, authority FROM frame_block") == [(1, 99_999_999, "own")]
    parts = "SELECT DISTINCT date, supplement FROM file JOIN night ON night.id = file.night_id WHERE kind = 'raw'"
    assert sorted(world.query(parts), key=str) == [("20260101", 0), ("20260102", None)]  # rolled back: paired anew
    assert world.advance("20260102", to="identified").succeeded
    assert world.query(ids) == before
    assert world.run("audit").returncode == 0


def test_what_is_confirmed_outlives_a_migration_back_and_forth(world: World):
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring()
    manifest.send(world.machine(), [world.night()])
    rows = world.query("SELECT frame_id, size_bytes FROM mail_line ORDER BY frame_id")
    file = world.folder / "receipt.csv"
    for n, more in enumerate((0, 1, 0)):
        file.write_text("".join(f"{frame_id},{size + more}\n" for frame_id, size in rows[n // 2 :]))
        receive(world.store(), world.config, file)
    lines = "SELECT receipt_id, frame_id, identity, size_bytes FROM receipt_line WHERE difference IS NULL ORDER BY 1, 2"
    before = world.query(lines)
    run(world.store(), "0007")
    assert world.query("SELECT count(*) FROM receipt") == [(3,)]
    run(world.store(), "head")
    assert world.query(lines) == before
    file.write_text("".join(f"{frame_id}|{size}\n" for frame_id, size in rows))
    assert receive(world.store(), world.config, file).succeeded  # numbers of new rows go on


def test_copies_that_were_found_bad_before_are_refuted(world: World):
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring()
    for repairs in (False, True, False):
        world.now_us += 1_000_000
        min((world.destination / DATE).rglob("*.fz")).write_bytes(b"damaged")
        verify(world.machine(), world.night(), repairs=repairs)
        before = world.query("SELECT name FROM unverified")
        assert len(before) == (not repairs)
        run(world.store(), "0007")
        run(world.store(), "head")
        assert world.query("SELECT name FROM unverified") == before
        assert world.query("SELECT 1 FROM unverified WHERE fault IS NULL") == []
        world.now_us += 1_000_000


def test_a_ledger_whose_states_were_held_by_code_alone_goes_on(world: World):
    """In every state; also where somebody moved products by plain SQL, which left no entry."""
    world.simulate(scale=0.02, scenario=("pdi",))
    states = world.config.archive.states
    for state in states[1:]:
        assert world.advance(to=state).succeeded
        run(world.store(), "0012")
        run(world.store(), "head")
    run(world.store(), "0012")
    with world.store().write() as session:
        session.execute(text("UPDATE file SET state = 'transferred' WHERE kind = 'product'"))
    run(world.store(), "head")
    for state in (*reversed(states[:-1]), states[-1]):
        assert (world.advance if state == states[-1] else world.rollback)(to=state).succeeded
    assert world.run("audit").returncode == 0


def test_a_ledger_goes_on_without_the_indexes_that_nothing_needs(world: World):
    """In every state, to the archive's answer and a copy that was found bad, and back."""
    world.simulate(scale=0.02, scenario=("pdi",))
    file = world.folder / "receipt.csv"

    def told() -> list[object]:
        views = (
            "SELECT * FROM night_status ORDER BY 3, 4",
            "SELECT name, fault FROM unverified",
            "SELECT * FROM refuted",
        )
        return [world.query(view) for view in views]

    def there_and_back() -> None:
        before, indexes = told(), indexes_of(world.store())
        run(world.store(), "0013")
        assert indexes_of(world.store()) - indexes == DROPPED
        run(world.store(), "head")
        assert (told(), indexes_of(world.store())) == (before, indexes)

    for state in world.config.archive.states:
        assert world.advance(to=state).succeeded
        there_and_back()
    manifest.send(world.machine(), [world.night()])
    rows = world.query("SELECT frame_id, size_bytes FROM mail_line ORDER BY frame_id")
    file.write_text("".join(f"{frame_id},{size}\n" for frame_id, size in rows))
    assert receive(world.store(), world.config, file).succeeded
    min((world.destination / DATE).rglob("*.fz")).write_bytes(b"damaged")
    verify(world.machine(), world.night(), repairs=False)
    assert len(told()[1]) == len(told()[2]) == 1
    there_and_back()
    verify(world.machine(), world.night(), repairs=True)
    assert world.run("audit").returncode == 0
