"""Raw files and products of a night, read from the database as ``ledger summary`` counts them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session, col

from ledger.config.model import Config
from ledger.db.models import File, Lineage, Night
from ledger.query.counts import (
    LOST,
    MINUTE_US,
    NOT_SYNCED,
    QUARANTINED,
    Piece,
)
from stages.check.witnesses import Observed


@dataclass(frozen=True, slots=True)
class Raw:
    """A raw file, and how many of its frames are in products."""

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
        """Return how many frames are not lost."""
        return self.n_frames - self.lost

    @property
    def is_used(self) -> bool:
        """Whether it is in use, and tells when it was taken."""
        return self.quarantine_reason is None and self.first_us is not None

    def observed(self) -> Observed:
        """Return what witnesses of its times are asked of."""
        times_us = (self.first_us or 0, self.last_us or 0, self.exposure_us or 0)
        return Observed(self.name, self.camera, *times_us, self.cards)


@dataclass(frozen=True, slots=True)
class Product:
    """A product, and how many frames its lineage names."""

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
        """Return the class that its frames are counted in."""
        if self.quarantine_reason is not None:
            return QUARANTINED
        if self.synchronised:
            return f"paired_{self.flc or 'none'}"
        kind = {True: "solo", False: "unpaired", None: "not_paired"}[self.solo]
        return f"{kind}_{self.camera}"

    def piece(self) -> Piece:
        """Return its frames, which count together."""
        return Piece(self.at_us, self.kind, self.n_frames, self.flc, self.settings)


def read_files(session: Session, night: Night, config: Config) -> tuple[list[Raw], list[Product]]:
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
        raws.append(Raw(f"{folder}/{name}", camera, state, n, lost, *times, own, reason, exposure_us, cards, used[key]))
    for product, raw, n in found:
        made_of[product].add(settings[raw])
        lengths[product] += n
    query = select(*map(col, columns), col(File.flc), col(File.synchronised), col(File.solo))
    query = query.where(of_night, col(File.kind) == "product").order_by(col(File.first_us), col(File.name))
    products = [
        Product(name, camera, n, at_us, flc, paired, solo, tuple(made_of[key]), reason, lengths[key])
        for key, _, name, camera, n, at_us, reason, flc, paired, solo in session.execute(query)
    ]
    return raws, products


def pieces_left(raws: Sequence[Raw], first_state: str) -> Iterable[Piece]:
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
