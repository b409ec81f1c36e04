"""What makes the tests quicker, and changes nothing that they prove.

Imported by the forkserver that commands are forked from as well (`tests.processes`), last.
"""

import gc
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, util
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

#: A file system in memory, where syncing costs nothing.
MEMORY = Path("/dev/shm")  # noqa: S108  the folders made there have names of their own
ROOM_BYTES = 4 * 2**30

_COMPILED: Any = util.LRUCache(5000)


def write_to_memory() -> None:
    """Let temporary folders be in memory, unless the environment says where; nothing here cuts the power.

    Not where programs cannot run from (``noexec``), nor where room is short, as in a container.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir():
        return
    if os.statvfs(MEMORY).f_flag & os.ST_NOEXEC or shutil.disk_usage(MEMORY).free < ROOM_BYTES:
        return
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def share_compiled_statements() -> None:
    """Compile each SQL statement once a process and kind of database, instead of once an engine.

    SQLAlchemy keeps compiled statements by dialect, and each engine has one of its own; those of one kind, of one
    server, are alike.
    """
    for kind in (SQLiteDialect_pysqlite, PGDialect_psycopg):
        kind.__eq__ = lambda one, other: type(one) is type(other)
        kind.__hash__ = lambda one: hash(type(one))
    make = Engine.__init__

    def make_sharing(self: Engine, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        self._compiled_cache = _COMPILED

    Engine.__init__ = make_sharing


def freeze() -> None:
    """Let the garbage collector leave alone what is imported by now: it is there to the end."""
    gc.collect()
    gc.freeze()
