"""What a night's data are, by minute and by target, and where something is wrong. Reads only.

The database keeps the first and last time and the number of frames of each file, not each frame's time.  So a
product (about 10 s of data) counts whole in the minute in which its group begins, the one that its name tells,
and so does a raw file of which there are no products yet.  A file in quarantine mostly has no times at all: it counts
in the minute in which it was last written, if that is within the time of the night's other raw files.  Frames that
a salvaged file lost count in the minute of its last frame that was not lost.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session, col

from ledger.config.model import Config
from ledger.db.models import File, Lineage, Night
from ledger.db.store import Store
from ledger.disk.access import is_folder
from ledger.disk.nights import NightFolder, find_night, parse_date
from ledger.disk.outside import Outside
from ledger.disk.raws import has_raws, raws_on_disk
from ledger.night import decisions, record
from ledger.query.counts import (
    HST,
    LOST,
    MINUTE_US,
    NOT_SYNCED,
    QUARANTINED,
    Minute,
    Piece,
    Tally,
    Target,
    classes_of,
    iso,
    minutes_of,
    targets_of,
)
from stages.check.witnesses import Observed, unexpected


@dataclass(frozen=True, slots=True)
class Balance:
    """The first law of a night: where the frames of its raw files are (docs/design.md, The laws).

    Attributes
    ----------
    raw_files, frames : int
        Registered raw files, and the frames that they are known to have.
    in_products : mapping of str to int
        Frames by class; `quarantined` are those of products in quarantine.
    dubious : mapping of str to int
        Those of them that have a dubious state of the FLC, by class.
    quarantined, quarantined_files : int
        Known frames of raw files in quarantine, and these files.
    unknown_files : int
        Those of them whose number of frames is not on record: no sum has these frames.
    lost, lost_files : int
        Frames that salvaged raw files have lost, and these files.
    not_synced, not_synced_files : int
        Frames of raw files that have no products yet, and these files.
    astray : tuple of str
        Raw files and products that do not balance by themselves.
    """

    raw_files: int
    frames: int
    in_products: dict[str, int]
    dubious: dict[str, int]
    quarantined: int
    quarantined_files: int
    unknown_files: int
    lost: int
    lost_files: int
    not_synced: int
    not_synced_files: int
    astray: tuple[str, ...]

    @property
    def accounted(self) -> int:
        """Return how many frames are accounted for."""
        return sum(self.in_products.values()) + self.quarantined + self.lost + self.not_synced

    @property
    def holds(self) -> bool:
        """Whether every frame is in one place, for the night and for each of its files."""
        return self.accounted == self.frames and not self.astray

    @property
    def is_complete(self) -> bool:
        """Whether the sum holds and leaves no frame out: the number of frames of every raw file is on record."""
        return self.holds and not self.unknown_files


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A file in quarantine: its name, its frames (None if that is not known), and why."""

    name: str
    frames: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Salvaged:
    """A raw file that was cut off: its name, the frames that it should have, and how many of them are lost."""

    name: str
    frames: int
    lost: int


@dataclass(frozen=True, slots=True)
class Unexpected:
    """What is unexpected of raw files that are used, in words that follow the noun, and these files by name."""

    what: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """A night, by minute and by target.

    Attributes
    ----------
    pipeline, date : str
        The night.
    cameras : tuple of int
        Those of the instrument and of the night's files.
    minutes : tuple of Minute
        Those in which something begins, in order; one without time comes last.
    targets : tuple of Target
        In the order in which they were first looked at; files that tell none come last.
    balance : Balance
        Where all frames are.
    quarantine : tuple of Quarantined
        Files in quarantine, by name.
    salvaged : tuple of Salvaged
        Raw files that have lost frames, by name.
    outside : tuple of Outside
        Files that may hold frames and are no raw files, of which nobody has decided.
    unexpected : tuple of Unexpected
        What witnesses of their times contradict, and what is missing or not known of cards that rules read.
    unregistered : int
        Raw files on disk that the ledger does not know yet.
    excluded_reason : str or None
        Why the night is out of the chronology, if it is.
    """

    pipeline: str
    date: str
    cameras: tuple[int, ...]
    minutes: tuple[Minute, ...]
    targets: tuple[Target, ...]
    balance: Balance
    quarantine: tuple[Quarantined, ...]
    salvaged: tuple[Salvaged, ...]
    outside: tuple[Outside, ...]
    unexpected: tuple[Unexpected, ...]
    unregistered: int
    excluded_reason: str | None

    @property
    def is_judged(self) -> bool:
        """Whether all that is on disk is paired, so that what is not marked is as expected."""
        return not (self.balance.not_synced_files or self.unregistered)

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold: the same keys in every minute of every night of an instrument."""
        names = classes_of(self.cameras)
        balance = self.balance
        sums = {"accounted": balance.accounted, "holds": balance.holds, "is_complete": balance.is_complete}
        return {
            "pipeline": self.pipeline,
            "date": self.date,
            "excluded_reason": self.excluded_reason,
            "unregistered": self.unregistered,
            "is_judged": self.is_judged,
            "minutes": [
                {"ut": iso(m.at_us), "hst": iso(m.at_us, HST), "targets": m.names, **m.as_json(names)}
                for m in self.minutes
            ],
            "targets": [{"target": target.name, **target.as_json(names)} for target in self.targets],
            "balance": {**asdict(balance), **sums},
            "quarantine": [asdict(file) for file in self.quarantine],
            "salvaged": [asdict(file) for file in self.salvaged],
            "outside": [asdict(file) for file in self.outside],
            "unexpected": [asdict(told) for told in self.unexpected],
        }


def find(store: Store, config: Config, *, date: str | None = None, folder: Path | None = None) -> NightFolder:
    """Return the night that is meant: as for all commands, and of nights that left the disk the ledger's rows remain.

    Raises
    ------
    UsageError
        If there is no such night, on disk or in the ledger.
    """
    if date is not None and folder is None:
        day = parse_date(date)
        for name, pipeline in config.pipelines.items():
            if is_folder(pipeline.root / day) or record.find_night(store, name, day) is not None:
                return NightFolder(name, pipeline.root, day)
    return find_night(config, date=date, folder=folder)


def summarise(store: Store, config: Config, night: NightFolder) -> Summary:
    """Return what the night's data are.

    Parameters
    ----------
    store, config
        The ledger.
    night : NightFolder
        Registered or not.
    """
    row = record.find_night(store, night.pipeline, night.date)
    raws: list[_Raw] = []
    products: list[_Product] = []
    if row is not None:
        with store.snapshot() as session:
            raws, products = _read(session, row, config)
    first_state = config.pipelines[night.pipeline].states[0]
    known = {raw.name for raw in raws}
    on_disk = raws_on_disk(night, config.instrument) if has_raws(night, config.instrument) else []
    cameras = {stream.camera for stream in config.instrument.streams} | {raw.camera for raw in raws}
    told = unexpected([raw.observed() for raw in raws if raw.is_used], config.instrument)
    pieces = [*(product.piece() for product in products), *_pieces(raws, first_state)]
    return Summary(
        pipeline=night.pipeline,
        date=night.date,
        cameras=tuple(sorted(cameras)),
        minutes=minutes_of(pieces),
        targets=targets_of(pieces),
        balance=_balance(raws, products, first_state),
        quarantine=_quarantine(raws, products),
        salvaged=tuple(Salvaged(raw.name, raw.n_frames, raw.lost) for raw in raws if raw.lost),
        outside=_outside(store, config, night),
        unexpected=tuple(Unexpected(what, tuple(names)) for what, names in told.items()),
        unregistered=sum(f"{raw.stream.name}/{raw.name}" not in known for raw in on_disk),
        excluded_reason=row.excluded_reason if row is not None else None,
    )


def _outside(store: Store, config: Config, night: NightFolder) -> tuple[Outside, ...]:
    if not night.path.is_dir():
        return ()
    with store.read() as session:
        return decisions.look(session, config, night).undecided


# what the database says


@dataclass(frozen=True, slots=True)
class _Raw:
    name: str
    camera: int
    state: str
    n_frames: int
    lost: int
    first_us: int | None
    last_us: int | None
    written_us: int
    settings: tuple[tuple[str | None, int | None], ...]
    quarantine_reason: str | None
    exposure_us: int | None
    cards: dict[str, Any]
    in_products: int

    @property
    def kept(self) -> int:
        return self.n_frames - self.lost

    @property
    def is_used(self) -> bool:
        return self.quarantine_reason is None and self.first_us is not None

    def observed(self) -> Observed:
        times_us = (self.first_us or 0, self.last_us or 0, self.exposure_us or 0)
        return Observed(self.name, self.camera, *times_us, self.cards)


@dataclass(frozen=True, slots=True)
class _Product:
    name: str
    camera: int
    n_frames: int
    at_us: int | None
    flc: str | None
    synchronised: bool
    solo: bool | None
    settings: tuple[tuple[str | None, int | None], ...]
    quarantine_reason: str | None
    in_lineage: int

    @property
    def kind(self) -> str:
        if self.quarantine_reason is not None:
            return QUARANTINED
        if self.synchronised:
            return f"paired_{self.flc or 'none'}"
        kind = {True: "solo", False: "unpaired", None: "not_paired"}[self.solo]
        return f"{kind}_{self.camera}"

    def piece(self) -> Piece:
        return Piece(self.at_us, self.kind, self.n_frames, self.flc, self.settings)


def _read(session: Session, night: Night, config: Config) -> tuple[list[_Raw], list[_Product]]:
    """Return the night's raw files and products, with the targets and exposure times of the frames in them."""
    raw_id, product_id = col(Lineage.raw_id), col(Lineage.product_id)
    settings: dict[int, tuple[str | None, int | None]] = {}
    used: Counter[int] = Counter()
    made_of: dict[int, set[tuple[str | None, int | None]]] = defaultdict(set)
    lengths: Counter[int] = Counter()
    raws = []
    of_night = col(File.night_id) == night.id
    lines = (
        select(product_id, raw_id, func.sum(col(Lineage.n_frames)))
        .join(File, col(File.id) == raw_id)
        .where(of_night)
        .group_by(product_id, raw_id)
    )
    found = [(int(product), int(raw), int(n)) for product, raw, n in session.execute(lines)]
    for _, raw, n in found:
        used[raw] += n
    columns = (File.id, File.folder, File.name, File.camera, File.n_frames, File.first_us, File.quarantine_reason)
    further = (File.state, File.lost_frames, File.exposure_us, File.last_us, File.mtime_ns, File.cards)
    query = select(*map(col, columns), *map(col, further))
    query = query.where(of_night, col(File.kind) == "raw").order_by(col(File.folder), col(File.name))
    for (
        key,
        folder,
        name,
        camera,
        n,
        at_us,
        reason,
        state,
        lost,
        exposure_us,
        last_us,
        mtime_ns,
        cards,
    ) in session.execute(query):
        words = cards.get(config.instrument.cards.target)
        settings[key] = (str(words).strip() or None if words is not None else None, exposure_us)
        own = () if at_us is None else (settings[key],)
        written_us = (mtime_ns or 0) // 1000
        times = (at_us, last_us, written_us)
        raws.append(
            _Raw(f"{folder}/{name}", camera, state, n, lost, *times, own, reason, exposure_us, cards, used[key])
        )
    for product, raw, n in found:
        made_of[product].add(settings[raw])
        lengths[product] += n
    query = select(*map(col, columns), col(File.flc), col(File.synchronised), col(File.solo))
    query = query.where(of_night, col(File.kind) == "product").order_by(col(File.first_us), col(File.name))
    products = [
        _Product(name, camera, n, at_us, flc, paired, solo, tuple(made_of[key]), reason, lengths[key])
        for key, _, name, camera, n, at_us, reason, flc, paired, solo in session.execute(query)
    ]
    return raws, products


def _pieces(raws: Sequence[_Raw], first_state: str) -> Iterable[Piece]:
    """Yield the frames of raw files that no product has."""
    begin_us = min((raw.first_us for raw in raws if raw.first_us is not None), default=0)
    end_us = max((raw.last_us for raw in raws if raw.last_us is not None), default=0)
    for raw in raws:
        at_us = raw.first_us
        # a file that was copied may say when that was; then it does not count in a minute where it does not belong
        if at_us is None and begin_us <= raw.written_us <= end_us + MINUTE_US:
            at_us = raw.written_us
        if raw.quarantine_reason is not None:
            yield Piece(at_us, QUARANTINED, raw.kept, settings=raw.settings)
        elif raw.state == first_state:
            yield Piece(at_us, NOT_SYNCED, raw.kept, settings=raw.settings)
        if raw.lost:
            yield Piece(raw.last_us, LOST, raw.lost, settings=raw.settings)


def _balance(raws: Sequence[_Raw], products: Sequence[_Product], first_state: str) -> Balance:
    made = Tally()
    for product in products:
        made.add(product.piece())
    out = [raw for raw in raws if raw.quarantine_reason is not None]
    waiting = [raw for raw in raws if raw.quarantine_reason is None and raw.state == first_state]
    idle = {raw.name for raw in (*out, *waiting)}
    astray = [raw.name for raw in raws if raw.in_products != (0 if raw.name in idle else raw.kept)]
    astray += [product.name for product in products if product.in_lineage != product.n_frames]
    return Balance(
        raw_files=len(raws),
        frames=sum(raw.n_frames for raw in raws),
        in_products=dict(made.frames),
        dubious=made.dubious,
        quarantined=sum(raw.kept for raw in out),
        quarantined_files=len(out),
        unknown_files=sum(not raw.n_frames for raw in out),
        lost=sum(raw.lost for raw in raws),
        lost_files=sum(raw.lost > 0 for raw in raws),
        not_synced=sum(raw.kept for raw in waiting),
        not_synced_files=len(waiting),
        astray=tuple(astray),
    )


def _quarantine(raws: Iterable[_Raw], products: Iterable[_Product]) -> tuple[Quarantined, ...]:
    files: list[_Raw | _Product] = [*raws, *products]
    return tuple(
        Quarantined(file.name, file.n_frames or None, file.quarantine_reason)
        for file in files
        if file.quarantine_reason is not None
    )
