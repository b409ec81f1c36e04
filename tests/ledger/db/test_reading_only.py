"""Whoever may read the file of an SQLite ledger may ask it; nobody who may not write is told something else."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.db.readonly import Reader, SqliteFile
from ledger.db.store import Store
from ledger.errors import Busy
from tests.tools import missing
from tests.world import DATE, World

#: Root may write everywhere, unless it gives that up.
AS_READER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


@pytest.fixture
def shut(sqlite_world: World) -> Iterator[World]:
    """A finished night whose ledger may be read, and neither file nor folder of it written."""
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring()
    world.close()
    assert world.config_path.is_file()
    file = path_of(world)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file.chmod(0o444)
    file.parent.chmod(0o555)
    yield world
    file.parent.chmod(0o755)
    file.chmod(0o644)


def path_of(world: World) -> Path:
    return Path(world.url.removeprefix("sqlite:///"))


def ask(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody who may not write."""
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        missing("setpriv")
    command = [*(AS_READER if os.getuid() == 0 else []), sys.executable, "-m", "ledger.cli"]
    return subprocess.run(
        [*command, "--config", str(world.folder / "config.yaml"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=world.folder,
    )


READING = (
    ("status",),
    ("summary", "--date", DATE),
    ("history", "VMPA00000001"),
    ("explain", "VMPA00000001"),
    ("sql", "SELECT count(*) FROM file"),
    ("quarantine", "list"),
    ("ids", "next"),
    ("audit",),
)


def test_everything_that_only_looks_works(shut):
    before = sorted(path.name for path in path_of(shut).parent.iterdir())
    for command in READING:
        done = ask(shut, *command)
        assert done.returncode == 0, (command, done.stderr)
    assert sorted(path.name for path in path_of(shut).parent.iterdir()) == before


def test_what_writes_is_refused_in_one_line(shut):
    done = ask(shut, "advance", "--date", DATE)
    assert done.returncode == 2
    assert "may only read it" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_not_in_the_file_yet_is_read_too(shut):
    """While somebody has the ledger open, the last entries are in its journal alone."""
    with closing(sqlite3.connect(path_of(shut), isolation_level=None)) as writer:
        path_of(shut).parent.chmod(0o755)
        path_of(shut).chmod(0o644)
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        names = "command, arguments, host, boot, pid, version, started_us"
        writer.execute(f"INSERT INTO run ({names}) VALUES ('x', '{{}}', 'h', 'b', 1, 'v', 1)")
        path_of(shut).chmod(0o444)
        path_of(shut).parent.chmod(0o555)
        done = ask(shut, "sql", "SELECT count(*) FROM run WHERE command = 'x'")
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[-1] == "1"


def test_a_file_that_is_written_to_meanwhile_is_read_again(tmp_path, monkeypatch):
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE a (b)")
    monkeypatch.setattr(os, "access", lambda *_: False)
    file = SqliteFile(path)
    assert "immutable=1" in file.uri
    file.refuse_changed()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE c (d)")
    with pytest.raises(Busy, match="try again"):
        file.refuse_changed()
    assert "immutable=1" in SqliteFile(path).uri
    Path(f"{path}-wal").write_bytes(b"journal")
    assert "immutable" not in SqliteFile(path).uri


def test_damage_that_is_only_somebody_writing_is_not_called_damage(tmp_path, monkeypatch):
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE a (b)")
    monkeypatch.setattr(os, "access", lambda *_: False)
    reader = Reader(f"sqlite:///{path}")
    path.write_bytes(b"another file" * 1000)
    with pytest.raises(Busy, match="try again"):
        reader.rows("SELECT * FROM a")
    reader.close()


def test_a_link_is_read_where_its_file_is(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    path, link = tmp_path / "real/ledger.db", tmp_path / "link.db"
    link.symlink_to(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE a (b)")
        writer.execute("INSERT INTO a VALUES (1)")
        monkeypatch.setattr(os, "access", lambda *_: False)
        reader = Reader(f"sqlite:///{link}")
        assert reader.rows("SELECT * FROM a") == [(1,)]
        reader.close()


def test_a_ledger_is_made_in_a_folder_that_is_not_there_yet(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/new/folder/ledger.db")
    assert store.init([])[0] is None
    store.close()
