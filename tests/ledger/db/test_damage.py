"""A database that is damaged is told as that, by whatever command: none answers from it as if nothing were."""

import random
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ledger.cli import main
from ledger.db import readonly
from ledger.db.connection import query
from ledger.db.readonly import translate_driver_error
from ledger.db.store import Store
from ledger.errors import Damaged, UsageError
from ledger.ids import check
from ledger.night.pipeline import pipelines
from ledger.query.status import nights
from tests.world import DATE, World

PAGE = 4096
#: A page is overwritten with zeros, with garbage, or by another one, and its second half is lost.
WAYS: dict[str, Callable[[bytes, int], bytes]] = {
    "zeros": lambda _, __: bytes(PAGE),
    "garbage": lambda _, page: random.Random(page).randbytes(PAGE),
    "another": lambda content, page: page_of(content, page * 7 % (len(content) // PAGE)),
    "half": lambda content, page: page_of(content, page)[: PAGE // 2] + bytes(PAGE // 2),
}


def page_of(content: bytes, page: int) -> bytes:
    return content[page * PAGE : (page + 1) * PAGE]


@pytest.fixture
def archived(sqlite_world: World) -> World:
    """Return a world whose database is a file alone."""
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    sqlite_world.bring()
    sqlite_world.close()
    with closing(sqlite3.connect(path_of(sqlite_world))) as connection:
        assert connection.execute("PRAGMA page_size").fetchone() == (PAGE,)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return sqlite_world


def path_of(world: World) -> Path:
    return Path(world.url.removeprefix("sqlite:///"))


def put(path: Path, content: bytes) -> None:
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    path.write_bytes(content)


def is_whole(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    except sqlite3.DatabaseError:
        return False


def status(world: World) -> Any:
    return nights(world.config, pipelines(world.config))


def ids_check(world: World) -> Any:
    store = Store(world.url)
    try:
        store.open()
        return check.check(store, world.config)
    finally:
        store.close()


@pytest.mark.parametrize("way", WAYS)
def test_whatever_page_is_damaged_status_and_ids_check_say_so(archived, way):
    path = path_of(archived)
    content = path.read_bytes()
    before = {look: look(archived) for look in (status, ids_check)}
    n_damaged = 0
    for page in range(0, len(content) // PAGE, 3):
        bad = content[: page * PAGE] + WAYS[way](content, page) + content[(page + 1) * PAGE :]
        for look, found in before.items():
            put(path, bad)
            if is_whole(path):  # what was lost was free
                assert look(archived) == found, page
                continue
            n_damaged += 1
            with pytest.raises(Damaged, match=r"is damaged: .*; move it away, and `ledger backup --restore FILE`"):
                look(archived)
    assert n_damaged > len(content) // PAGE // 3


def damage_index(world: World) -> None:
    """Let an index lack what its table has."""
    with closing(sqlite3.connect(path_of(world))) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'ix_entry_identity'"
        (page,) = connection.execute(query).fetchone()
    content = path_of(world).read_bytes()
    put(path_of(world), content[: (page - 1) * PAGE] + b"\xff" * PAGE + content[page * PAGE :])


def said(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *command: str) -> str:
    monkeypatch.setattr(sys, "argv", ["ledger", "--config", str(world.config_path), *command])
    with pytest.raises(SystemExit) as exited:
        main()
    told = capsys.readouterr()
    assert exited.value.code == 1, told
    return told.err


@pytest.mark.parametrize("is_small", [True, False])
@pytest.mark.parametrize("command", [("audit",), ("audit", "--deep"), ("ids", "check"), ("history", "VMPA00000001")])
def test_who_proves_something_proves_the_database_first(archived, monkeypatch, capsys, command, is_small):
    if not is_small:
        monkeypatch.setattr(readonly, "SMALL_BYTES", 0)
    damage_index(archived)
    err = said(archived, monkeypatch, capsys, *command)
    (line,) = (line for line in err.splitlines() if line.startswith("ledger: "))
    assert "is damaged" in line
    assert "ledger backup --restore" in line
    assert "correct its query" not in err


def test_what_cannot_be_is_of_a_damaged_database_and_no_bug(archived, monkeypatch, capsys):
    monkeypatch.setattr(readonly, "SMALL_BYTES", 0)
    with closing(sqlite3.connect(path_of(archived))) as connection:
        connection.execute("UPDATE file SET files = '[\"x' WHERE kind = 'product'")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage_index(archived)
    err = said(archived, monkeypatch, capsys, "verify", "--date", DATE)
    assert "is damaged" in err
    assert "bug" not in err


def test_sql_says_damage_and_does_not_blame_the_statement(archived):
    damage_index(archived)
    store = Store(archived.url)
    with pytest.raises(Damaged):
        query(store.url, "SELECT COUNT(*) FROM entry INDEXED BY ix_entry_identity WHERE identity > ''")
    with pytest.raises(UsageError, match="no such table"):
        query(store.url, "SELECT * FROM none_such")


@pytest.mark.parametrize(
    "kind",
    [psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted, psycopg.errors.IoError],
    ids=lambda k: k.sqlstate,
)
def test_postgresql_has_words_for_damage_too(kind):
    told = translate_driver_error("postgresql://x", kind("invalid page in block 7"))
    assert isinstance(told, Damaged)
    assert "invalid page in block 7" in str(told)
    assert not isinstance(translate_driver_error("postgresql://x", psycopg.errors.AdminShutdown("ended")), Damaged)
