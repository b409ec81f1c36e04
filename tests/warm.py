"""What makes the tests quicker, and changes nothing that they prove."""

import gc
from typing import Any

from sqlalchemy import Engine, util
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

_COMPILED: Any = util.LRUCache(5000)


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
