"""The schema: migrations up to the code's own revision, and the declared states as tables."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Connection, Engine, delete, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, SQLModel, col

from ledger.db.connection import READER
from ledger.db.models import Edge, File, State
from ledger.db.readonly import migrations_folder, newest_revision, refuse_damage
from ledger.errors import NoLedger, UsageError

if TYPE_CHECKING:  # each command looks at the revision, and few migrate: Alembic takes its time to import
    from alembic.config import Config as AlembicConfig


def _alembic(connection: Connection | None = None) -> "AlembicConfig":
    from alembic.config import Config as AlembicConfig  # noqa: PLC0415

    config = AlembicConfig()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine, to: str | None = None) -> tuple[str | None, str]:
    """Bring the database to the code's revision; return the revisions before and after.

    Parameters
    ----------
    engine : Engine
        Of the database.
    to : str, optional
        An earlier revision instead.

    Raises
    ------
    UsageError
        If the database is of a newer ledger.
    """
    with _opened(engine) as connection:
        before = _revision(connection)
        head = to or newest_revision()
        if before != head:
            if before is not None:
                _refuse_unknown(before)
            from alembic import command  # noqa: PLC0415

            command.upgrade(_alembic(connection), head)
            connection.commit()
        if engine.dialect.name == "postgresql":
            _make_reader(connection)
    return before, head


@contextmanager
def _opened(engine: Engine) -> Iterator[Connection]:
    """Connect; a database that cannot be opened is the user's to put right."""
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as exc:
        shown = engine.url.render_as_string(hide_password=True)
        refuse_damage(shown, exc.orig)
        raise UsageError(f"database {shown}: cannot be used ({_first_line(exc)}); check database.url") from exc


def _make_reader(connection: Connection) -> None:
    """Make the role that `ledger sql` takes, where this user may; without it, transactions are read-only alone."""
    allowed = connection.execute(
        text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
    ).scalar()
    exists = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": READER}).scalar()
    if allowed and not exists:
        connection.execute(text(f"CREATE ROLE {READER} NOLOGIN"))
        connection.execute(text(f"GRANT {READER} TO CURRENT_USER"))
        exists = 1
    if exists:
        connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {READER}"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}"))
    connection.commit()


def revision(engine: Engine) -> str | None:
    """Return the revision of the database; None if it is no ledger's, or not there yet.

    Raises
    ------
    UsageError
        If it cannot be opened.
    """
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).is_file():
        return None
    with _opened(engine) as connection:
        return _revision(connection)


def is_behind(engine: Engine) -> bool:
    """Whether the database is there, and not of the code's revision."""
    return revision(engine) not in (None, newest_revision())


def _revision(connection: Connection) -> str | None:
    """Return what Alembic has written down of the database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _refuse_unknown(revision: str) -> None:
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    known = {script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions()}
    if revision not in known:
        raise UsageError(
            f"the database is at revision {revision!r}, which this ledger does not know: it is ahead of the code;"
            " expected the same or an older one; install the ledger that last wrote it"
        )


class Declared(Protocol):
    """A declared machine: its states and edges as rows."""

    def rows(self) -> list[State]:
        """Return its states."""

    def edges(self) -> list[Edge]:
        """Return its edges."""


def check(engine: Engine) -> None:
    """Refuse a database that is not exactly at the code's revision.

    Raises
    ------
    UsageError
        Behind, ahead, not a ledger, or not reachable; each with what to do.
    """
    shown = engine.url.render_as_string(hide_password=True)
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).is_file():
        raise NoLedger(f"no database at {engine.url.database}")
    with _opened(engine) as connection:
        found = _revision(connection)
        is_empty = found is None and not inspect(connection).has_table("file")
    if found is None:
        what = "has no ledger in it" if is_empty else "has tables, but no revision of a ledger"
        raise NoLedger(f"database {shown} {what}")
    if found != newest_revision():
        _refuse_unknown(found)
        raise UsageError(
            f"database {shown} is at revision {found}, behind this ledger ({newest_revision()}): run `ledger init` to"
            " migrate it"
        )


def _first_line(exc: DBAPIError) -> str:
    return str(exc.orig).strip().splitlines()[0] if exc.orig else str(exc)


def declare(session: Session, states: Iterable[State], edges: Iterable[Edge]) -> None:
    """Write the declared states and edges, which the database's guards read.

    Raises
    ------
    UsageError
        If files are in a state that is declared no longer.
    """
    wanted = {(s.pipeline, s.name): s for s in states}
    found = session.execute(select(col(File.pipeline), col(File.state)).distinct())
    used = {(pipeline, state) for pipeline, state in found}
    gone = sorted(f"{p}.{s}" for p, s in used if (p, s) not in wanted)
    if gone:
        raise UsageError(
            f"files are in states that the configuration declares no longer: {', '.join(gone)};"
            " roll them back with the old configuration first"
        )
    for row in session.execute(select(State)).scalars():
        new = wanted.get((row.pipeline, row.name))
        stands = (row.pipeline, row.name) in used
        weaker = new and ((row.needs_copy and not new.needs_copy) or (row.needs_frame_id and not new.needs_frame_id))
        if stands and weaker:
            raise UsageError(
                f"files are in state {row.name} of {row.pipeline}, which stands on evidence, and the configuration asks"
                " for none any more; set `requires` back, or roll them back first"
            )
    session.execute(delete(Edge))
    session.flush()
    for row in session.execute(select(State)).scalars():
        if (row.pipeline, row.name) not in wanted:
            session.delete(row)
    session.flush()
    for state in wanted.values():
        session.merge(state)
    session.flush()
    for edge in edges:
        session.merge(edge)


def declared(session: Session) -> set[tuple[object, ...]]:
    """Return the states and edges that the database holds, as comparable tuples."""
    return as_tuples([*session.execute(select(State)).scalars(), *session.execute(select(Edge)).scalars()])


def as_tuples(rows: Iterable[SQLModel]) -> set[tuple[object, ...]]:
    """Return rows as comparable tuples."""
    return {tuple(getattr(row, name) for name in type(row).model_fields) for row in rows}
