"""The one door to the database: sessions, rows, and the journal.

What changes a night goes through :class:`ledger.night.journal.Book`, which writes its entries in the same
transaction, after it has checked its lease.
"""

import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Row, Select, and_, column, func, inspect, not_, select, table, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import aliased
from sqlmodel import Session, SQLModel, col

from ledger.clock import Clock, now_us
from ledger.config.urls import parse_url
from ledger.db import schema
from ledger.db.connection import WRITES, connect
from ledger.db.models import Copy, Entry, File, FrameId, Lineage, Manifest, Night, Run
from ledger.db.readonly import PROOF, is_small, refuse_damage, refused
from ledger.errors import BadInput, Damaged, LedgerError, StateError
from ledger.night.pipeline import Flow
from ledger.night.products import PRODUCT_COLUMNS, RAW_COLUMNS, Work, to_works

#: Columns of `File` that a raw file on disk is compared with, and where among them is what the disk says too.
SEEN_COLUMNS = (
    "size_bytes",
    "mtime_ns",
    "timing_size_bytes",
    "timing_mtime_ns",
    "id",
    "identity",
    "folder",
    "name",
    "state",
    "n_frames",
    "lost_frames",
    "quarantine_reason",
    "pruned_us",
)
STATS = slice(4)

#: Columns of `File` that tell whether a raw file is a duplicate.
TWIN_COLUMNS = ("folder", "name", "state", "header_sha256", "timing_sha256", "first_us", "size_bytes", "lost_frames")

#: Raw files in use by what is sought, as a table. The terms of the index are written as they are there.
_IN_USE = "file.kind = 'raw' AND file.quarantine_reason IS NULL"
_SOUGHT = {
    "sqlite": (
        "json_each(:keys) AS sought CROSS JOIN file"
        " ON file.header_sha256 = json_extract(sought.value, '$[0]')"
        f" AND file.first_us = json_extract(sought.value, '$[1]') AND {_IN_USE}"
    ),
    "postgresql": (
        "json_array_elements(CAST(:keys AS json)) AS sought CROSS JOIN LATERAL (SELECT * FROM file WHERE"  # noqa: S608  constants
        f" file.header_sha256 = sought ->> 0 AND file.first_us = CAST(sought ->> 1 AS bigint) AND {_IN_USE} OFFSET 0)"
        " AS file"
    ),
}

T = TypeVar("T")


class Store:
    """A ledger's database.

    Parameters
    ----------
    url : str or URL
        Of SQLite or PostgreSQL.
    clock : Clock, optional
        What time it is, for everybody; by default the system says, and to leases the database's server.
    """

    def __init__(self, url: str | URL, clock: Clock | None = None) -> None:
        self.url = parse_url(url) if isinstance(url, str) else url
        self.engine = connect(self.url)
        self.clock = clock or now_us
        self._asks_server = clock is None and self.url.get_backend_name() == "postgresql"

    def common_us(self, session: Session) -> int:
        """Return what time it is for all hosts that share this database: their own clocks may be minutes apart."""
        if not self._asks_server:
            return self.clock()
        return int(session.execute(text("SELECT extract(epoch FROM clock_timestamp()) * 1000000")).scalar_one())

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def open(self) -> None:
        """Refuse a database that is not at the code's revision, or (an SQLite file that is small) damaged."""
        schema.check(self.engine)
        if self._is_sqlite and is_small(str(self.url.database)):
            self.prove()

    def prove(self) -> None:
        """Read the whole database, as far as that can be asked for, and refuse one that is damaged.

        Raises
        ------
        Damaged
            If a page of an SQLite file is not in order, or an index has not what its table has.
        """
        if self._is_sqlite:
            with self.read() as session:
                verdict = session.execute(text(PROOF)).scalar()
            if verdict != "ok":
                raise Damaged(self.shown, str(verdict))

    def refuse_damage(self, exc: DBAPIError) -> None:
        """Raise `Damaged` if that is what the database said, whatever it was asked."""
        refuse_damage(self.shown, exc.orig)

    @property
    def _is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    # sessions

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session that only reads; of several statements, each may see more than the one before."""
        with self._translated(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Open a session that only reads, and whose statements all see the database as the first of them does.

        SQLite's transactions are like that; PostgreSQL's see what others commit meanwhile, unless told not to.
        """
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        is_postgresql = self.engine.dialect.name == "postgresql"
        with (
            self._translated(),
            self.engine.connect().execution_options(**(options if is_postgresql else {})) as connection,
            Session(connection, expire_on_commit=False) as session,
        ):
            yield session

    @contextmanager
    def write(self, fence: Callable[[Session], None] | None = None) -> Iterator[Session]:
        """Open a session that writes; it is committed at the end, or rolled back by an exception.

        Parameters
        ----------
        fence : callable, optional
            Called first, inside the transaction; raises if the lease was lost.
        """
        with (
            self._translated(),
            self.engine.connect().execution_options(**{WRITES: True}) as connection,
            Session(connection, expire_on_commit=False) as session,
        ):
            if fence is not None:
                fence(session)
            yield session
            session.commit()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as exc:
            if exc.orig is not None and (refusal := refused(self.shown, exc.orig)):
                raise refusal from exc
            raise

    @cached_property
    def shown(self) -> str:
        """Return the URL without its password."""
        return self.url.render_as_string(hide_password=True)

    # the schema

    def init(self, flows: Iterable[Flow]) -> tuple[str | None, str]:
        """Create or migrate the database and declare the states; return the revisions before and after."""
        if self._is_sqlite:
            Path(str(self.url.database)).parent.mkdir(parents=True, exist_ok=True)
        with self._translated():
            revisions = schema.upgrade(self.engine)
        with self.write() as session:
            every = list(flows)
            schema.declare(session, [s for f in every for s in f.rows()], [e for f in every for e in f.edges()])
        return revisions

    def check_declared(self, flows: Iterable[Flow]) -> None:
        """Refuse to work with states that the database does not know.

        Raises
        ------
        BadInput
            If the configuration's states are not those of the last ``ledger init``.
        """
        expected = schema.as_tuples(row for flow in flows for row in (*flow.rows(), *flow.edges()))
        with self.read() as session:
            found = schema.declared(session)
        if found != expected:
            raise BadInput(
                "the states of the configuration are not those that the database guards:"
                " run `ledger init` to declare them"
            )

    # runs

    def begin_run(self, command: str, arguments: Mapping[str, Any]) -> int:
        """Record an invocation; return its number."""
        run = Run(
            command=command,
            arguments=json.loads(json.dumps(arguments, default=str)),
            host=socket.gethostname(),
            boot=boot_id(),
            pid=os.getpid(),
            version=version("ledger"),
            started_us=self.clock(),
        )
        with self.write() as session:
            session.add(run)
            session.flush()
            return int(run.id or 0)

    def end_run(self, run_id: int, exit_status: int, *, in_order: bool) -> None:
        """Record how an invocation ended; one that did not end in order is settled by the next."""
        ended_us = self.clock() if in_order else None
        with self.write() as session:
            session.execute(update(Run).where(col(Run.id) == run_id).values(ended_us=ended_us, exit_status=exit_status))

    # nights and raw files

    def night(self, pipeline: str, root: Path, date: str) -> Night:
        """Return the row of a night, made if it is new.

        Raises
        ------
        StateError
            If the ledger knows this night under another root.
        """
        with self.write() as session:
            new = {"pipeline": pipeline, "root": str(root), "date": date, "created_us": self.clock()}
            insert_if_new(session, Night, new)
            found: Night = session.execute(of_night(pipeline, date)).scalar_one()
        if found.root != str(root):
            raise StateError(
                f"night {date} of {pipeline} is registered under {found.root!r}, and this is {str(root)!r}:"
                f" expected one place; set {pipeline}.root back"
            )
        return found

    def find_night(self, pipeline: str, date: str) -> Night | None:
        """Return the row of a night, or None."""
        with self.read() as session:
            return session.execute(of_night(pipeline, date)).scalar_one_or_none()

    @contextmanager
    def recorded(self, command: str, arguments: Mapping[str, Any]) -> Iterator[tuple[Session, int]]:
        """Open a session that writes, for a command that is one transaction, with its run on record."""
        run_id = self.begin_run(command, arguments)
        status = 3  # a bug, unless it turns out otherwise
        try:
            with self.write() as session:
                yield session, run_id
            status = 0
        except LedgerError as exc:
            status = exc.exit_status
            raise
        finally:
            self.end_run(run_id, status, in_order=True)

    def exclude(self, pipeline: str, root: Path, date: str, reason: str | None) -> int:
        """Take a night out of the chronology, or (without a reason) back in; return how many frame IDs it has."""
        night = self.night(pipeline, root, date)
        event, arguments = ("included", {}) if reason is None else ("excluded", {"reason": reason})
        with self.recorded(event.removesuffix("d"), {"date": date, **arguments}) as (session, run_id):
            session.execute(update(Night).where(col(Night.id) == night.id).values(excluded_reason=reason))
            session.add(
                Entry(
                    at_us=self.clock(),
                    run_id=run_id,
                    night_id=night.id,
                    name=date,
                    event=event,
                    detail=dict(arguments),
                )
            )
            live = select(func.count()).where(col(FrameId.night_id) == night.id, col(FrameId.status) == "live")
            return int(session.execute(live).scalar() or 0)

    def raws(self, night: Night) -> list[File]:
        """Return the raw rows of a night, by folder and name."""
        query = (
            select(File)
            .where(col(File.night_id) == night.id, col(File.kind) == "raw")
            .order_by(col(File.folder), col(File.name))
        )
        with self.read() as session:
            return list(session.execute(query).scalars())

    def seen(self, night: Night) -> list[Row[Any]]:
        """Return what is on record of a night's raw files that a look at the disk is compared with.

        Not whole rows: a night has up to 10^5, and every run looks at all of them.
        """
        query = select(*(getattr(File, name) for name in SEEN_COLUMNS)).where(
            col(File.night_id) == night.id, col(File.kind) == "raw"
        )
        with self.read() as session:
            found = session.connection().execute(query.order_by(col(File.folder), col(File.name)))
            return list(found.all())

    def raw_files(self, ids: Sequence[int]) -> dict[int, File]:
        """Return rows of raw files by their numbers."""
        with self.read() as session:
            queries = [select(File).where(col(File.id).in_(chunk)) for chunk in chunks(ids)]
            return {int(row.id or 0): row for query in queries for row in session.execute(query).scalars()}

    def unstructured(self, night: Night, *, anew: bool = False) -> frozenset[int]:
        """Return the numbers of a night's raw files in use of which the structure was not registered.

        There are none once the night was numbered, unless it is paired `anew`: its groups stay as they were cut.
        """
        if night.numbered_us is not None and not anew:
            return frozenset()
        query = select(col(File.id)).where(
            col(File.night_id) == night.id,
            col(File.kind) == "raw",
            col(File.quarantine_reason).is_(None),
            col(File.pruned_us).is_(None),
            col(File.cards)["BITPIX"].as_string().is_(None),
        )
        with self.read() as session:
            return frozenset(session.execute(query).scalars())

    def twins(self, pipeline: str, keys: Sequence[tuple[str, int]]) -> list[Row[Any]]:
        """Return the raw files in use that have one of some pairs of header and first time, in order of registration.

        Each pair is looked up in the index, in one statement for all of them: without statistics, as a new ledger has
        none, both databases would read all raw files instead if they were free to choose.

        Parameters
        ----------
        pipeline : str
            Of any of its nights.
        keys : sequence of (str, int)
            SHA-256 of the header, hex, and first time, UNIX, microseconds.

        Returns
        -------
        list of rows
            :data:`TWIN_COLUMNS`, with ``root`` and ``date`` of the night.
        """
        columns = ", ".join(f"file.{name}" for name in TWIN_COLUMNS)
        query = text(
            f"SELECT night.root, night.date, {columns} FROM {_SOUGHT[self.engine.dialect.name]}"  # noqa: S608
            " JOIN night ON night.id = file.night_id WHERE file.pipeline = :pipeline ORDER BY file.id"
        )
        with self.read() as session:
            return [
                row
                for chunk in chunks(keys)
                for row in session.connection().execute(query, {"keys": json.dumps(chunk), "pipeline": pipeline})
            ]

    # products

    def works(self, night: Night) -> list[Work]:
        """Return the products of a night, in ID order."""
        of_night = col(File.night_id) == night.id
        products, raws = (
            select(*(getattr(File, name) for name in names)).where(of_night, col(File.kind) == kind)
            for kind, names in (("product", PRODUCT_COLUMNS), ("raw", RAW_COLUMNS))
        )
        lineage = select(col(Lineage.product_id), col(Lineage.raw_id), col(Lineage.runs))
        lineage = lineage.join(File, col(File.id) == col(Lineage.product_id)).where(of_night)
        ids = select(col(FrameId.identity), col(FrameId.frame_id)).where(
            col(FrameId.night_id) == night.id, col(FrameId.status) == "live"
        )
        faults = self.faults(night)
        with self.read() as session:
            return to_works(
                night,
                session.execute(products),
                session.execute(raws),
                session.execute(lineage.order_by(col(Lineage.product_id), col(Lineage.position))),
                {row.identity: row.frame_id for row in session.execute(ids)},
                faults,
            )

    def states(self, night: Night) -> Counter[str]:
        """Return how many products of a night are in each state."""
        query = select(col(File.state), func.count()).where(col(File.night_id) == night.id, col(File.kind) == "product")
        with self.read() as session:
            return Counter({state: int(n) for state, n in session.execute(query.group_by(col(File.state)))})

    def unsynced(self, night: Night, first_state: str) -> int:
        """Return how many raw files of a night have no product yet, and are not in quarantine."""
        query = select(func.count()).where(
            col(File.night_id) == night.id,
            col(File.kind) == "raw",
            col(File.state) == first_state,
            col(File.quarantine_reason).is_(None),
        )
        with self.read() as session:
            return int(session.execute(query).scalar_one())

    def manifests(self, night: Night) -> list[Manifest]:
        """Return the manifests of a night that stand."""
        return [manifest for manifest in self.all_manifests(night) if manifest.withdrawn_us is None]

    def all_manifests(self, night: Night) -> list[Manifest]:
        """Return the manifests of a night, withdrawn ones too, in the order in which they were made."""
        with self.read() as session:
            query = select(Manifest).where(col(Manifest.night_id) == night.id).order_by(col(Manifest.id))
            return list(session.execute(query).scalars())

    def copied(self, night: Night) -> frozenset[str]:
        """Return the identities of products of a night that were ever at a destination."""
        with self.read() as session:
            query = select(col(Copy.identity)).where(col(Copy.night_id) == night.id)
            return frozenset(session.execute(query).scalars())

    def copy_elsewhere(self, night: Night, host: str, folder: Path) -> tuple[str, str] | None:
        """Return host and path of a copy of a product of the night that is not on `host` below `folder`; or None."""
        prefix = f"{folder}/"
        is_there = and_(col(Copy.host) == host, func.substr(col(Copy.path), 1, len(prefix)) == prefix)
        query = select(col(Copy.host), col(Copy.path)).where(
            col(Copy.night_id) == night.id, col(Copy.withdrawn_us).is_(None), not_(is_there)
        )
        with self.read() as session:
            found = session.execute(query.order_by(col(Copy.id)).limit(1)).first()
        return None if found is None else (str(found.host), str(found.path))

    def copies(self, night: Night) -> list[Copy]:
        """Return every proof of the night's products at a destination, withdrawn ones too."""
        with self.read() as session:
            return list(session.execute(select(Copy).where(col(Copy.night_id) == night.id)).scalars())

    def faults(self, night: Night) -> dict[str, str]:
        """Return what was found wrong with copies of a night's products when they were last read, by identity."""
        view = table("refuted", column("copy_id"), column("night_id"), column("identity"), column("fault"))
        with self.read() as session:
            query = select(view.c.identity, view.c.fault).where(view.c.night_id == night.id)
            return {row.identity: str(row.fault) for row in session.execute(query.order_by(view.c.copy_id))}

    def seconds_per_byte(self, verb: str) -> float | None:
        """Return how long a step took lately, in worker seconds a byte; None without history."""
        recent = (
            select(col(Entry.seconds), col(Entry.size_bytes))
            .where(col(Entry.event) == "done", col(Entry.edge) == verb, col(Entry.seconds).is_not(None))
            .order_by(col(Entry.id).desc())
            .limit(1000)
            .subquery()
        )
        with self.read() as session:
            seconds, size = session.execute(select(func.sum(recent.c.seconds), func.sum(recent.c.size_bytes))).one()
        return float(seconds) / float(size) if seconds and size else None

    def compression_ratio(self) -> float | None:
        """Return how many bytes the products compressed lately have for each byte of their frames; None without any."""
        recent = (
            select(col(File.id), col(File.size_bytes))
            .where(col(File.kind) == "product", col(File.sha256).is_not(None))
            .order_by(col(File.id).desc())
            .limit(200)
            .subquery()
        )
        raw = aliased(File)
        plain = func.sum(1.0 * col(raw.size_bytes) * col(Lineage.n_frames) / col(raw.n_frames))
        query = (
            select(plain)
            .join_from(recent, Lineage, col(Lineage.product_id) == recent.c.id)
            .join(raw, col(raw.id) == col(Lineage.raw_id))
        )
        with self.read() as session:
            packed_bytes = session.execute(select(func.sum(recent.c.size_bytes))).scalar()
            plain_bytes = session.execute(query).scalar()
        return float(packed_bytes) / float(plain_bytes) if packed_bytes and plain_bytes else None


def of_night(pipeline: str, date: str) -> Select[Night]:
    """Return the query of a night's row."""
    return select(Night).where(col(Night.pipeline) == pipeline, col(Night.date) == date)


def chunks(items: Sequence[T], size: int = 500) -> Iterator[Sequence[T]]:
    """Yield `items` in pieces: databases limit how many parameters a statement may have."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def insert_if_new(session: Session, table: type[SQLModel], values: Mapping[str, Any]) -> None:
    """Insert a row unless there is one with its key: two processes may come at the same moment."""
    session.execute(_insert(session, table).values(**values).on_conflict_do_nothing())


def put(session: Session, table: type[SQLModel], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or replace what is there under their keys."""
    if not rows:
        return
    keys = [column.name for column in inspect(table).primary_key]
    statement = _insert(session, table)
    others = {name: statement.excluded[name] for name in table.model_fields if name not in keys}
    session.execute(statement.on_conflict_do_update(index_elements=keys, set_=others), list(rows))


def _insert(session: Session, table: type[SQLModel]) -> postgresql.Insert | sqlite.Insert:
    """Return an insert that can say what to do with rows that are there."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def insert_many(session: Session, table: type[SQLModel], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, all of the same columns, in their order.

    In one statement: a statement a row takes PostgreSQL ten times as long, and SQLite, which prepares to undo each
    where a guard may refuse it, twice.
    """
    if not rows:
        return
    target, names = inspect(table).local_table, list(rows[0])
    if session.get_bind().dialect.name == "postgresql":
        values = ", ".join(names)
        source = f"json_populate_recordset(CAST(NULL AS {target.name}), CAST(:rows AS json))"
    else:
        values = ", ".join(f"json_extract(value, '$.{name}')" for name in names)
        source = "json_each(:rows) ORDER BY key"
    statement = f"INSERT INTO {target.name} ({', '.join(names)}) SELECT {values} FROM {source}"  # noqa: S608  names of the models
    session.connection().execute(text(statement), {"rows": json.dumps(list(rows))})


def boot_id() -> str:
    """Return what tells this boot of this host from others; an empty string where the system has no such thing."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""
