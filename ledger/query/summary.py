"""What a night's data are, by minute and by target, and where something is wrong. Reads only.

The database keeps the first and last time and the number of frames of each file, not each frame's time.  So a
product (about 10 s of data) counts whole in the minute in which its group begins, the one that its name tells,
and so does a raw file of which there are no products yet.  A file in quarantine mostly has no times at all: it counts
in the minute in which it was last written, if that is within the time of the night's other raw files.  Frames that
a salvaged file lost count in the minute of its last frame that was not lost.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ledger.config.model import Config
from ledger.db.store import Store
from ledger.disk.nights import NightFolder
from ledger.disk.outside import Outside
from ledger.disk.raws import has_raws, raws_on_disk
from ledger.night import decisions, record
from ledger.query._summary_rows import Product, Raw, pieces_left, read_files
from ledger.query.counts import (
    HST,
    Minute,
    Tally,
    Target,
    classes_of,
    iso,
    minutes_of,
    targets_of,
)
from stages.check.witnesses import unexpected


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
    named : str
        What names it to a command.
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
    named: str
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
            "unexpected": [asdict(found) for found in self.unexpected],
        }


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
    raws: list[Raw] = []
    products: list[Product] = []
    if row is not None:
        with store.snapshot() as session:
            raws, products = read_files(session, row, config)
    first_state = config.pipelines[night.pipeline].states[0]
    known = {raw.name for raw in raws}
    on_disk = raws_on_disk(night, config.instrument) if has_raws(night, config.instrument) else []
    cameras = {stream.camera for stream in config.instrument.streams} | {raw.camera for raw in raws}
    strange = unexpected([raw.observed() for raw in raws if raw.is_used], config.instrument)
    pieces = [*(product.piece() for product in products), *pieces_left(raws, first_state)]
    return Summary(
        pipeline=night.pipeline,
        date=night.date,
        named=config.site(night.pipeline).named(night.date),
        cameras=tuple(sorted(cameras)),
        minutes=minutes_of(pieces),
        targets=targets_of(pieces),
        balance=_balance(raws, products, first_state),
        quarantine=_quarantine(raws, products),
        salvaged=tuple(Salvaged(raw.name, raw.n_frames, raw.lost) for raw in raws if raw.lost),
        outside=_outside(store, config, night),
        unexpected=tuple(Unexpected(what, tuple(names)) for what, names in strange.items()),
        unregistered=sum(f"{raw.stream.name}/{raw.name}" not in known for raw in on_disk),
        excluded_reason=row.excluded_reason if row is not None else None,
    )


def _outside(store: Store, config: Config, night: NightFolder) -> tuple[Outside, ...]:
    if not night.path.is_dir():
        return ()
    with store.read() as session:
        return decisions.look(session, config, night).undecided


# what the database says


def _balance(raws: Sequence[Raw], products: Sequence[Product], first_state: str) -> Balance:
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


def _quarantine(raws: Iterable[Raw], products: Iterable[Product]) -> tuple[Quarantined, ...]:
    files: list[Raw | Product] = [*raws, *products]
    return tuple(
        Quarantined(file.name, file.n_frames or None, file.quarantine_reason)
        for file in files
        if file.quarantine_reason is not None
    )
