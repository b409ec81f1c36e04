"""Alembic's environment. The ledger passes its own connection; by hand, LEDGER_DATABASE__URL names one."""

import os
from pathlib import Path

from alembic import context
from sqlalchemy import Connection, text

from ledger.config.urls import parse_url
from ledger.db import models
from ledger.db.connection import WRITES, connect

GUARDS = Path(__file__).parent / "guards"


def statements(path: Path) -> list[str]:
    """Return the statements of a file of guards or views."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("--") or line == "-- end"]
    return [s.strip() for s in "\n".join(lines).split("-- end") if s.strip()]


def drop_guards(connection: Connection) -> None:
    """Drop every guard and view: batch migrations would lose the guards, and views hold tables in place."""
    if connection.dialect.name == "sqlite":
        found = connection.execute(
            text(
                "SELECT type, name FROM sqlite_master WHERE type = 'view' OR (type = 'trigger' AND name LIKE 'guard_%')"
            )
        ).all()
        for kind, name in found:
            connection.execute(text(f"DROP {kind} {name}"))
        return
    views = (
        connection.execute(text("SELECT viewname FROM pg_views WHERE schemaname = current_schema()")).scalars().all()
    )
    for name in views:
        connection.execute(text(f"DROP VIEW IF EXISTS {name} CASCADE"))
    functions = (
        connection.execute(
            text(
                "SELECT proname FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace"
                " WHERE nspname = current_schema() AND proname LIKE 'guard_%'"
            )
        )
        .scalars()
        .all()
    )
    for name in functions:
        connection.execute(text(f"DROP FUNCTION {name} CASCADE"))


def create_guards(connection: Connection) -> None:
    """Create the views and guards of the newest revision."""
    for name in ("views.sql", f"{connection.dialect.name}.sql"):
        for statement in statements(GUARDS / name):
            connection.exec_driver_sql(
                statement.replace("%", "%%") if connection.dialect.name == "postgresql" else statement
            )


def run(connection: Connection) -> None:
    """Run the migrations between dropping and creating guards, all in one transaction."""
    context.configure(
        connection=connection,
        target_metadata=models.SQLModel.metadata,
        render_as_batch=True,
        compare_server_default=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        drop_guards(connection)
        context.run_migrations()
        head = context.get_head_revision()
        if head is not None and context.get_context().get_current_revision() == head:
            create_guards(connection)


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    engine = connect(parse_url(os.environ["LEDGER_DATABASE__URL"]))
    with engine.connect().execution_options(**{WRITES: True}) as own:
        run(own)
        own.commit()
