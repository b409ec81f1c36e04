"""The tables, and nothing else. Times are UTC; ``_us`` are UNIX microseconds, ``_ns`` nanoseconds.

``entry``, ``frame_id`` and ``copy`` name a product by its identity (the hash of lineage, camera and
state), not by its row: a product that is rolled back and made again is the same product.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    Integer,
    UniqueConstraint,
    false,
    text,
)
from sqlmodel import Field, SQLModel

#: Names of constraints must not depend on the database: SQLite's batch migrations find them by name.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


#: SQLite numbers rows by itself only under the type INTEGER.
SERIAL = BigInteger().with_variant(Integer, "sqlite")


class State(SQLModel, table=True):
    """A state of a pipeline, as declared in the configuration."""

    pipeline: str = Field(primary_key=True)  # archive or engineering
    name: str = Field(primary_key=True)  # a past participle
    position: int  # 0 is raw
    scope: str  # what one step works on: file, batch or night
    stage: str | None  # the module that makes it; none for raw
    makes_products: bool  # products come into being here, and raw files end here
    needs_frame_id: bool  # no product is here or beyond without a live frame ID
    needs_copy: bool  # no product is here or beyond without a proven copy of the same SHA-256


class Edge(SQLModel, table=True):
    """A declared transition; the database refuses every other change of state."""

    __table_args__ = (
        ForeignKeyConstraint(["pipeline", "source"], ["state.pipeline", "state.name"]),
        ForeignKeyConstraint(["pipeline", "destination"], ["state.pipeline", "state.name"]),
    )
    pipeline: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)  # raw or product
    source: str = Field(primary_key=True)
    destination: str = Field(primary_key=True)
    name: str  # the verb: sync, unsync, …
    direction: str  # forward or reverse


class Night(SQLModel, table=True):
    """A folder ``<root>/<date>``."""

    __table_args__ = (UniqueConstraint("pipeline", "date"),)
    id: int | None = Field(default=None, primary_key=True)
    pipeline: str
    date: str = Field(index=True)  # YYYYMMDD, UT
    root: str  # absolute path of the folder that the night is a child of
    created_us: int = Field(sa_type=BigInteger)
    numbered_us: int | None = Field(default=None, sa_type=BigInteger)  # first time that it had its IDs
    excluded_reason: str | None = None  # out of the chronology, and why
    streams_ns: int | None = Field(default=None, sa_type=BigInteger)  # newest mtime of the streams when last scanned


class File(SQLModel, table=True):
    """A raw file or a product. What is; how it came to be is in `entry`."""

    __table_args__ = (
        UniqueConstraint("night_id", "folder", "name"),
        UniqueConstraint("pipeline", "identity"),
        ForeignKeyConstraint(["pipeline", "state"], ["state.pipeline", "state.name"]),
        CheckConstraint("kind IN ('raw', 'product')", name="kind"),
        CheckConstraint("n_frames >= 0 AND lost_frames >= 0", name="frames"),
        Index("ix_file_counts", "night_id", "kind", "state", "n_frames", "lost_frames"),
        Index(
            "ix_file_odd",
            "night_id",
            sqlite_where=text("quarantine_reason IS NOT NULL OR error IS NOT NULL OR is_discarded"),
            postgresql_where=text("quarantine_reason IS NOT NULL OR error IS NOT NULL OR is_discarded"),
        ),
        Index(
            "ix_file_twins",
            "header_sha256",
            "first_us",
            sqlite_where=text("kind = 'raw' AND quarantine_reason IS NULL"),
            postgresql_where=text("kind = 'raw' AND quarantine_reason IS NULL"),
        ),
    )
    id: int | None = Field(default=None, primary_key=True)
    night_id: int = Field(foreign_key="night.id")
    pipeline: str
    kind: str  # raw or product
    state: str
    identity: str = Field(
        index=True
    )  # hash: raw of name, size, header and timing; product of lineage, camera and state
    folder: str  # within the night: the stream, or the product folder
    name: str = Field(index=True)  # raw: the file's name; product: the stem that it has until it is identified
    camera: int
    flc: str | None = None  # A, B, D (dubious); none where the FLC was not switching
    synchronised: bool = False  # frame by frame with a sibling of the other camera
    solo: bool | None = False  # its camera was on its own; none: synced before this was on record
    group_number: int | None = None  # siblings share it
    n_frames: int = 0
    lost_frames: int = 0  # of a salvaged raw file: frames that have no time or no pixels
    first_us: int | None = Field(default=None, sa_type=BigInteger)  # product: of its whole group
    last_us: int | None = Field(default=None, sa_type=BigInteger)
    exposure_us: int | None = Field(default=None, sa_type=BigInteger)
    size_bytes: int | None = Field(default=None, sa_type=BigInteger)  # raw: the cube; product: the .fz
    mtime_ns: int | None = Field(default=None, sa_type=BigInteger)  # raw: when registered
    timing_size_bytes: int | None = Field(default=None, sa_type=BigInteger)  # raw; none: no txt
    timing_mtime_ns: int | None = Field(default=None, sa_type=BigInteger)
    header_sha256: str | None = None  # raw
    timing_sha256: str | None = None  # of the txt; product: from when it was written
    sha256: str | None = None  # product: of the .fz
    files: list[str] = Field(default_factory=list, sa_type=JSON)  # product: names on disk, the cube first
    cards: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # raw: values that rules read
    supplement: int | None = None  # raw: which numbering of its night gave its frames IDs, from 0; none: none yet
    quarantine_reason: str | None = Field(default=None, index=True)  # in quarantine, and why
    error: str | None = None  # last failure, until the next success
    attempts: int = 0  # failures since the last success
    next_retry_us: int | None = Field(default=None, sa_type=BigInteger)  # product that failed: when it is tried again
    # product in quarantine that was given up: nothing waits for it
    is_discarded: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    pruned_us: int | None = Field(default=None, sa_type=BigInteger)  # when its files here were removed on purpose


class Lineage(SQLModel, table=True):
    """Which frames of which raw file a product is made of."""

    product_id: int = Field(primary_key=True, foreign_key="file.id", ondelete="CASCADE")
    position: int = Field(primary_key=True)  # order of the parts in the product, from 0
    raw_id: int = Field(foreign_key="file.id", index=True)
    n_frames: int
    runs: list[tuple[int, int, int]] = Field(sa_type=JSON)  # [first, step, n] from frame 0 of the raw file


class Run(SQLModel, table=True):
    """One invocation of a command that changes something."""

    id: int | None = Field(default=None, primary_key=True)
    command: str
    arguments: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    host: str
    boot: str  # tells a dead process of this boot from one of another
    pid: int
    version: str
    begun_by: str | None = None  # the user's name; none before this was on record
    process: str | None = None  # what the runs of one process share, and no others do: numbers of processes come again
    started_us: int = Field(sa_type=BigInteger)
    ended_us: int | None = Field(default=None, sa_type=BigInteger)
    exit_status: int | None = None
    stop_asked_us: int | None = Field(default=None, sa_type=BigInteger)  # `ledger stop`: it ends in order


class Entry(SQLModel, table=True):
    """A line of the ledger: append-only, by the database's own guard."""

    __table_args__ = (Index("ix_entry_night_id_event", "night_id", "event"),)
    id: int | None = Field(default=None, primary_key=True, sa_type=SERIAL)
    at_us: int = Field(sa_type=BigInteger)
    run_id: int | None = Field(default=None, foreign_key="run.id")
    night_id: int | None = Field(default=None, foreign_key="night.id")
    identity: str | None = Field(default=None, index=True)
    name: str  # as it was called then: file, frame ID, or date
    event: str  # registered, started, done, failed, left, settled, quarantined, assigned, withdrawn, …
    edge: str | None = None  # the verb
    source: str | None = None  # state before
    destination: str | None = None  # state after
    seconds: float | None = None  # that the stage took
    size_bytes: int | None = Field(default=None, sa_type=BigInteger)  # that the stage worked on
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)


class FrameSequence(SQLModel, table=True):
    """The counter of a prefix. Allocation locks this row."""

    __tablename__ = "frame_sequence"
    prefix: str = Field(primary_key=True)
    next_number: int
    from_date: str | None = None  # nights before it (YYYYMMDD) get no numbers: they are outside, as before first_night


class FrameBlock(SQLModel, table=True):
    """Numbers that a sequence may yield, in order. What lies between blocks is an explained gap."""

    __tablename__ = "frame_block"
    __table_args__ = (
        UniqueConstraint("prefix", "first_number"),
        CheckConstraint("first_number >= 1 AND last_number >= first_number", name="numbers"),
        CheckConstraint("authority IN ('own', 'blocks')", name="authority"),
    )
    id: int | None = Field(default=None, primary_key=True)
    prefix: str
    first_number: int
    last_number: int  # cut short where the sequence skips ahead
    authority: str  # own: begun by the ledger; blocks: handed out by an outside authority
    created_us: int = Field(sa_type=BigInteger)


class FrameId(SQLModel, table=True):
    """A frame ID and the product it belongs to, whether or not that product's row exists now."""

    __tablename__ = "frame_id"
    __table_args__ = (
        UniqueConstraint("prefix", "number"),
        CheckConstraint("status IN ('live', 'withdrawn')", name="status"),
        Index(
            "uq_frame_id_live_identity",
            "identity",
            unique=True,
            sqlite_where=text("status = 'live'"),
            postgresql_where=text("status = 'live'"),
        ),
        Index("ix_frame_id_night_id_status", "night_id", "status"),
    )
    frame_id: str = Field(primary_key=True)
    prefix: str
    number: int
    identity: str
    night_id: int = Field(foreign_key="night.id")
    start_us: int = Field(sa_type=BigInteger)  # first key of the order: begin of the group's first exposure
    camera: int  # second key
    flc: str | None = None  # third key: A < B < D
    status: str = "live"
    late: bool = False  # numbered out of order, for ever …
    late_reason: str | None = None  # … and why


class OutsideRule(SQLModel, table=True):
    """A decision to leave out files of nights that may hold frames and are no raw files."""

    __tablename__ = "outside_rule"
    id: int | None = Field(default=None, primary_key=True)
    pattern: str  # of paths within a night, or (without a slash) of names
    night_id: int | None = Field(default=None, foreign_key="night.id")  # none: all nights
    reason: str
    made_us: int = Field(sa_type=BigInteger)
    withdrawn_us: int | None = Field(default=None, sa_type=BigInteger)  # it counts no more since


class Copy(SQLModel, table=True):
    """Proof that a product's bytes lay at a destination when they were read there.

    It is refuted by a later look that finds them otherwise; only a new proof stands then.
    """

    __table_args__ = (
        Index("ix_copy_night_id_identity", "night_id", "identity"),
        Index(
            "ix_copy_refuted",
            "night_id",
            sqlite_where=text("refuted_us IS NOT NULL"),
            postgresql_where=text("refuted_us IS NOT NULL"),
        ),
    )
    id: int | None = Field(default=None, primary_key=True)
    identity: str
    night_id: int = Field(foreign_key="night.id")
    host: str  # empty: a local path
    path: str
    sha256: str  # computed from the destination's own bytes
    size_bytes: int = Field(sa_type=BigInteger)
    tool: str
    proven_us: int = Field(sa_type=BigInteger)
    withdrawn_us: int | None = Field(default=None, sa_type=BigInteger)  # it was removed there on purpose, or moved
    refuted_us: int | None = Field(default=None, sa_type=BigInteger)  # it was read again, and was not right …
    fault: str | None = None  # … and what was found


class Manifest(SQLModel, table=True):
    """A list of products that was, or is to be, given to the archive."""

    id: int | None = Field(default=None, primary_key=True)
    night_id: int = Field(foreign_key="night.id", index=True)
    name: str
    sha256: str
    made_us: int = Field(sa_type=BigInteger)
    withdrawn_us: int | None = Field(default=None, sa_type=BigInteger)


class ManifestLine(SQLModel, table=True):
    """One line of a manifest."""

    __tablename__ = "manifest_line"
    manifest_id: int = Field(primary_key=True, foreign_key="manifest.id")
    position: int = Field(primary_key=True)
    frame_id: str = Field(index=True)
    identity: str
    path: str
    size_bytes: int = Field(sa_type=BigInteger)


class Mail(SQLModel, table=True):
    """A manifest that was mailed, or was about to be."""

    id: int | None = Field(default=None, primary_key=True)
    begun_us: int = Field(sa_type=BigInteger)
    sent_us: int | None = Field(default=None, sa_type=BigInteger)  # the transport took it
    refused: list[str] = Field(  # recipients that the transport did not take it for
        default_factory=list, sa_type=JSON, sa_column_kwargs={"server_default": text("'[]'")}
    )
    error: str | None = None  # it was not sent, for sure; with neither, nobody knows
    message_id: str = Field(unique=True)
    transport: str  # smtp, sendmail or eml
    recipients: list[str] = Field(sa_type=JSON)
    dates: list[str] = Field(sa_type=JSON)  # YYYYMMDD
    name: str  # of the manifest
    sha256: str  # of the manifest
    is_partial: bool = False  # products of these nights are not in it


class MailLine(SQLModel, table=True):
    """One line of a manifest that was mailed."""

    __tablename__ = "mail_line"
    mail_id: int = Field(primary_key=True, foreign_key="mail.id")
    position: int = Field(primary_key=True)
    frame_id: str = Field(index=True)
    identity: str
    path: str
    size_bytes: int = Field(sa_type=BigInteger)
    withdrawn_us: int | None = Field(default=None, sa_type=BigInteger)  # the night was taken back after it was mailed


class Receipt(SQLModel, table=True):
    """A list of what the archive says that it has; each reading of it, as the same list may come again."""

    id: int | None = Field(default=None, primary_key=True)
    read_us: int = Field(sa_type=BigInteger)
    name: str  # of the file
    sha256: str = Field(index=True)  # of the file


class ReceiptLine(SQLModel, table=True):
    """What the archive says of a product; the newest line that is not withdrawn counts."""

    __tablename__ = "receipt_line"
    receipt_id: int = Field(primary_key=True, foreign_key="receipt.id")
    frame_id: str = Field(primary_key=True, index=True)
    identity: str
    size_bytes: int = Field(sa_type=BigInteger)  # as it is on record here
    sha256: str | None = None  # as the archive has it, if it says
    difference: str | None = None  # what the archive has otherwise than on record; none: it is confirmed
    withdrawn_us: int | None = Field(default=None, sa_type=BigInteger)  # the night was taken back since


class Lease(SQLModel, table=True):
    """Who works on a night. The fence grows with every holder and is checked at every commit."""

    night_id: int = Field(primary_key=True, foreign_key="night.id")
    run_id: int | None = Field(default=None, foreign_key="run.id")  # none: free
    fence: int = 0
    acquired_us: int | None = Field(default=None, sa_type=BigInteger)
    heartbeat_us: int | None = Field(default=None, sa_type=BigInteger)


class FolderSeen(SQLModel, table=True):
    """What frame numbers a folder holds: it is not listed again while it has not changed. Safe to empty."""

    __tablename__ = "folder_seen"
    path: str = Field(primary_key=True)  # a folder under a root or at a destination, or a manifest
    prefix: str = Field(primary_key=True)
    changed_ns: int = Field(sa_type=BigInteger)  # its ctime when it was listed
    numbers: list[tuple[int, int]] = Field(sa_type=JSON)  # runs of numbers in the names, [first, last]
    folders: list[str] = Field(sa_type=JSON)  # its sub-folders
