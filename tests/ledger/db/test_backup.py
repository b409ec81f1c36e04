"""Backups: made by themselves, whole, put back into either database; an old one that is put back is noticed."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlmodel import SQLModel

from ledger.cli.common import open_store
from ledger.db import backup, schema
from ledger.db.store import Store
from ledger.errors import Interrupted, LedgerError, NotReady, UsageError
from ledger.night import record
from ledger.rescue.restore import restore
from stages.base import TEMPORARY_PREFIX
from tests.inside import call
from tests.world import DATE, World

SECOND = "20260103"
DAY_US = 86_400_000_000


@pytest.fixture
def backed_up(world: World) -> World:
    world.data["backup"]["automatic"] = True
    world.simulate_two(DATE, SECOND)
    return world


def rows_of(url: str) -> dict[str, list[Any]]:
    """Return all rows of all tables, by column."""
    store = Store(url)
    with store.engine.connect() as connection:
        found = {
            table.name: [tuple(sorted(row.items())) for row in connection.execute(select(table)).mappings()]
            for table in SQLModel.metadata.sorted_tables
        }
    store.close()
    return {name: sorted(rows, key=repr) for name, rows in found.items()}


def backups_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*")) if folder.is_dir() else []


def fresh(world: World, make_url: Any) -> str:
    """Point the configuration to another database, which is not initialised."""
    world.close()
    world._store = None
    world.url = make_url
    world.data["database"]["url"] = make_url
    return make_url


def test_a_backup_has_every_row_and_goes_into_either_database(backed_up, other_url):
    world = backed_up
    world.bring()
    before = rows_of(world.url)
    here, there = backup.make(world.store(), world.config)
    assert here.parent == world.folder / "backups"
    assert there.parent == world.destination / ".ledger"
    assert here.read_bytes() == there.read_bytes()
    assert rows_of(f"sqlite:///{here}") == before
    fresh(world, other_url)
    assert restore(world.config, there) == []
    after = rows_of(other_url)
    (new,) = [entry for entry in after["entry"] if entry not in before["entry"]]
    assert dict(new)["event"] == "restored"
    for name in set(before) - {"entry", "run"}:
        assert after[name] == before[name], name
    assert [row for row in before["entry"] if row not in after["entry"]] == []
    assert call(world, "audit").returncode == 0
    assert world.advance(SECOND).succeeded, "the guards are back, and numbers go on"
    with world.store().write() as session, pytest.raises(Exception, match="append-only"):
        session.execute(text("DELETE FROM entry"))


def test_a_backup_has_all_tables_indexes_guards_and_views(world, tmp_path):
    def made_of(path: Path) -> set[tuple[str, str, str]]:
        with closing(sqlite3.connect(path)) as connection:
            return set(connection.execute("SELECT type, name, sql FROM sqlite_master"))

    here, _ = backup.make(world.store(), world.config)
    new = Store(f"sqlite:///{tmp_path / 'new.db'}")
    schema.upgrade(new.engine)
    new.close()
    assert made_of(here) == made_of(tmp_path / "new.db")


def test_commands_back_up_what_they_changed(backed_up):
    world = backed_up
    folder = world.folder / "backups"
    assert call(world, "advance", "--date", DATE, "--to", "synced").returncode == 0
    (first,) = backups_in(folder)
    assert backups_in(world.destination / ".ledger")[0].name == first.name
    for command in (("status",), ("advance", "--date", DATE, "--to", "synced"), ("audit",)):
        assert call(world, *command).returncode == 0
        assert backups_in(folder) == [first], command
    assert call(world, "exclude", SECOND, "--reason", "clouds").returncode == 0
    assert len(backups_in(folder)) == 2
    shown = call(world, "backup", "--list").stdout
    assert all(str(path) in shown for path in backups_in(folder))
    assert call(world, "backup").returncode == 0
    assert rows_of(f"sqlite:///{max(backups_in(folder))}")["night"] == rows_of(world.url)["night"]


def test_a_backup_that_cannot_be_written_is_told_and_the_work_is_done(backed_up):
    world = backed_up
    (world.folder / "backups").write_text("in the way")
    ran = call(world, "advance", "--date", DATE)
    assert ran.returncode == 0
    assert "no backup in" in ran.stderr
    assert str(world.folder / "backups") in ran.stderr
    assert "Traceback" not in ran.stderr
    assert call(world, "backup").returncode == 1


def test_nothing_is_backed_up_if_nobody_wants_it(backed_up):
    world = backed_up
    world.data["backup"]["automatic"] = False
    assert call(world, "advance", "--date", DATE).returncode == 0
    assert not (world.folder / "backups").exists()


def test_the_newest_are_kept_and_the_last_of_each_day(sqlite_world):
    world = sqlite_world
    world.data["backup"].update(keep=2, keep_days=3)
    store, config = world.store(), world.config
    made = []
    for day in range(5):
        for hour in range(3):
            world.now_us = day * DAY_US + hour * 3_600_000_000
            made.append(backup.make(store, config)[0].name)
    last_of_days = {made[8], made[11], made[14]}
    for folder in (world.folder / "backups", world.destination / ".ledger"):
        assert {path.name for path in backups_in(folder)} == last_of_days | {made[13]}
    stranger = world.folder / "backups/ledger-mine.db"
    stranger.write_text("mine")
    backup.make(store, config)
    assert stranger.read_text() == "mine"


@pytest.mark.parametrize(("n_sizes", "kept"), [(4.5, (16, 15, 10, 4)), (2.5, (16, 10)), (0, (16, 10))])
def test_so_many_are_kept_as_have_room_and_never_less_than_two(sqlite_world, n_sizes, kept):
    """The last ones of days first."""
    world = sqlite_world
    world.data["backup"].update(keep=2, keep_days=3)
    store, config = world.store(), world.config
    (size,) = {path.stat().st_size for path in backup.make(store, config)}
    world.data["backup"]["keep_gb"] = n_sizes * size / 1e9
    made, next_day_us = {}, (world.now_us // DAY_US + 1) * DAY_US
    for place in (0, 1, 2, 3, 4, 8, 9, 10, 14, 15, 16):  # of days that have six
        world.now_us = next_day_us + place * DAY_US // 6
        made[place] = backup.make(store, world.config)[0].name
    for folder in (world.folder / "backups", world.destination / ".ledger"):
        assert {path.name for path in backups_in(folder)} == {made[place] for place in kept}


def test_a_migration_begins_with_a_backup_of_the_old_revision(empty_database_url, sqlite_world):
    world = sqlite_world
    world.data["backup"]["automatic"] = True
    world.url = world.data["database"]["url"] = empty_database_url
    store = Store(empty_database_url)
    schema.upgrade(store.engine, to="0003")
    with store.engine.begin() as connection:
        connection.execute(
            text("INSERT INTO night (pipeline, date, root, created_us) VALUES ('archive', '20250101', '/x', 1)")
        )
    store.close()
    ran = call(world, "init")
    assert ran.returncode == 0, ran.stderr
    (made,) = backups_in(world.folder / "backups")
    assert str(made) in ran.stdout
    with closing(sqlite3.connect(made)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0003",)
        assert connection.execute("SELECT date FROM night").fetchall() == [("20250101",)]
    other = f"sqlite:///{world.folder / 'put-back.db'}"
    world.data["database"]["url"] = other
    restore(world.config, made)
    assert rows_of(other)["night"] == rows_of(empty_database_url)["night"]


def test_a_migration_without_its_backup_is_not_done(empty_database_url, sqlite_world):
    world = sqlite_world
    world.data["backup"]["automatic"] = True
    world.data["database"]["url"] = empty_database_url
    store = Store(empty_database_url)
    schema.upgrade(store.engine, to="0003")
    (world.folder / "backups").write_text("in the way")
    ran = call(world, "init")
    assert ran.returncode == 1
    assert "no backup in" in ran.stderr
    assert schema.revision(store.engine) == "0003"
    store.close()


def test_a_backup_is_not_put_over_a_database_in_use(backed_up):
    world = backed_up
    world.bring()
    made, _ = backup.make(world.store(), world.config)
    before = rows_of(world.url)
    with pytest.raises(UsageError, match="runs on record: expected none"):
        restore(world.config, made)
    assert rows_of(world.url) == before


@pytest.mark.parametrize("fault", ["missing", "damaged", "no database", "other database", "of a newer ledger"])
def test_what_is_no_backup_is_refused(sqlite_world, fault, tmp_path):
    world = sqlite_world
    made, _ = backup.make(world.store(), world.config)
    file = tmp_path / "given.db"
    if fault != "missing":
        file.write_bytes(made.read_bytes())
    if fault == "damaged":
        with file.open("r+b") as opened:
            opened.seek(4096)
            opened.write(b"\xff" * 8192)
    elif fault == "no database":
        file.write_text("SIMPLE  =                    T")
    elif fault == "other database":
        file.unlink()
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE stars (name)")
    elif fault == "of a newer ledger":
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
            connection.commit()
    given = file.read_bytes() if file.exists() else None
    fresh(world, f"sqlite:///{tmp_path / 'other.db'}")
    with pytest.raises(UsageError, match=r"given\.db|revision '9999'"):
        restore(world.config, file)
    assert not (tmp_path / "other.db").exists()
    assert (file.read_bytes() if file.exists() else None) == given
    assert not list(tmp_path.glob(f"{TEMPORARY_PREFIX}*"))


def test_the_journal_of_a_database_that_is_gone_is_not_written_over(sqlite_world, tmp_path):
    world = sqlite_world
    made, _ = backup.make(world.store(), world.config)
    fresh(world, f"sqlite:///{tmp_path / 'other.db'}")
    (tmp_path / "other.db-wal").write_bytes(b"entries")
    with pytest.raises(UsageError, match=r"other\.db-wal"):
        restore(world.config, made)
    assert (tmp_path / "other.db-wal").read_bytes() == b"entries"


@pytest.mark.parametrize("way", ["by hand", "with restore"])
def test_an_old_backup_that_was_put_back_numbers_nothing(backed_up, way, tmp_path):
    world = backed_up
    world.bring(to="synced")
    old, _ = backup.make(world.store(), world.config)
    world.now_us += 1_000_000
    assert world.advance().succeeded
    newest, _ = backup.make(world.store(), world.config)
    made = world.tree(world.destination / DATE)
    path = tmp_path / "other.db"
    fresh(world, f"sqlite:///{path}")
    if way == "by hand":
        path.write_bytes(old.read_bytes())
        expected = f"ends with entry .* goes on to {backup.found(world.config)[-1].last_entry}"
    else:
        with pytest.raises(UsageError, match=r"restore that one, or say --older"):
            restore(world.config, old)
        assert not path.exists()
        missing = restore(world.config, old, is_older_meant=True)
        assert "what lies between is not in it" in missing[0]
        assert "is in use in" in missing[1]
        expected = "is in use in"
    try:
        told = str(world.advance().stopped)
    except NotReady as exc:
        told = str(exc)
    assert re.search(expected, told), told
    assert world.query("SELECT count(*) FROM frame_id WHERE status = 'live'") == [(0,)]
    assert world.tree(world.destination / DATE) == made
    path.unlink()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    world.close()
    world._store = None
    assert restore(world.config, newest) == []
    assert world.advance(SECOND).succeeded
    assert call(world, "audit").returncode == 0


@pytest.mark.parametrize("error", [LedgerError("a recipient was refused"), Interrupted(15)])
def test_what_was_done_before_an_error_is_backed_up(sqlite_world, error):
    world = sqlite_world
    world.data["backup"]["automatic"] = True
    world.simulate(scale=0.02, scenario=("onecamera",))

    def command() -> None:
        with open_store(world.config, changes=True) as store:
            record.exclude(store, "archive", world.folder / "archive", DATE, "dome tests")
            raise error

    with pytest.raises(type(error)):
        command()
    assert backup.found(world.config)[-1].last_entry == backup.last_entry(world.store()) > 0
