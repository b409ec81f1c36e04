"""What a night's data are, minute by minute, and where something is wrong. Reads only.

The database keeps the first and last time and the number of frames of each file, not each frame's time.  So a
product (about 10 s of data) counts whole in the minute in which its group begins, the one that its name tells,
and so does a raw file of which there are no products yet.  A file in quarantine mostly has no times at all: it counts
in the minute in which it was last written, if that is within the time of the night's other raw files.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session, col

from ledger.config import Config
from ledger.models import File, Lineage, Night
from ledger.scan import NightFolder, find_night, has_raws, parse_date, raws_on_disk
from ledger.store import Store
from stages.base import Cards

#: Fractions of frames from which on a minute is marked. Both measure what a sound night does not have; 1 % is the
#: instrument scientist's choice, and no product depends on it.
DUBIOUS_LIMIT = UNPAIRED_LIMIT = 0.01

#: Hawaiian standard time is UT - 10 h, all the year (DESIGN section 3).
HST = timedelta(hours=-10)

#: Files in quarantine that are listed for people; JSON has all.
LISTED = 12

_MINUTE_US = 60_000_000
NOT_SYNCED, QUARANTINED = "not_synced", "quarantined"
_SHORT = {"paired_A": "A", "paired_B": "B", "paired_D": "D", "paired_none": "no FLC"}


def classes_of(cameras: Iterable[int]) -> tuple[str, ...]:
    """Return the classes that frames are counted in, in the order in which they are shown.

    Frames are `not_paired` if it is not known whether they are unpaired or solo.
    """
    by_camera = [f"{kind}_{camera}" for kind in ("unpaired", "solo", "not_paired") for camera in sorted(cameras)]
    return (*_SHORT, *by_camera, NOT_SYNCED, QUARANTINED)


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames of one file that count together.

    Attributes
    ----------
    at_us : int or None
        When they begin, UNIX, microseconds; None if that is not known.
    kind : str
        One of :func:`classes_of`.
    n_frames : int
        How many.
    flc : str or None
        State of the FLC; None if it was not switching, or it is not known yet.
    settings : tuple of (str or None, int or None)
        Each target and exposure time (microseconds) that the frames have.
    """

    at_us: int | None
    kind: str
    n_frames: int
    flc: str | None = None
    settings: tuple[tuple[str | None, int | None], ...] = ()


@dataclass(slots=True)
class Minute:
    """One minute of a night.

    Attributes
    ----------
    at_us : int or None
        Its begin, UNIX, microseconds; None for files of which no time is known.
    targets : set of str
        What was looked at.
    exposures_us : set of int
        Exposure times, microseconds.
    frames : mapping of str to int
        By class, of both cameras.
    solo_states : mapping of str to int
        Frames of solo files by state of the FLC, where it was switching.
    quarantined_files : int
        Raw files and products that are out of the flow.
    """

    at_us: int | None
    targets: set[str] = field(default_factory=set)
    exposures_us: set[int] = field(default_factory=set)
    frames: Counter[str] = field(default_factory=Counter)
    solo_states: Counter[str] = field(default_factory=Counter)
    quarantined_files: int = 0

    def add(self, piece: Piece) -> None:
        """Count frames."""
        self.targets |= {target for target, _ in piece.settings if target}
        self.exposures_us |= {exposure_us for _, exposure_us in piece.settings if exposure_us is not None}
        self.frames[piece.kind] += piece.n_frames
        self.quarantined_files += piece.kind == QUARANTINED
        if piece.flc is not None and piece.kind.startswith("solo"):
            self.solo_states[piece.flc] += piece.n_frames

    @property
    def dubious_fraction(self) -> float:
        """Return how many of the paired frames taken while the FLC was switching are dubious, from 0 to 1."""
        return _fraction(self.frames["paired_D"], self.frames["paired_A"] + self.frames["paired_B"])

    @property
    def solo_dubious_fraction(self) -> float:
        """Return how many of the solo frames taken while the FLC was switching are dubious, from 0 to 1."""
        return _fraction(self.solo_states["D"], self.solo_states["A"] + self.solo_states["B"])

    @property
    def unpaired_fraction(self) -> float:
        """Return how many of the triggered frames, where both cameras ran, have no partner, from 0 to 1."""
        paired, unpaired = (_sum_of(self.frames, kind) for kind in ("paired", "unpaired"))
        return _fraction(unpaired, paired)

    def marks(self) -> dict[str, str]:
        """Return what is unexpected, by kind, with how much of it there is."""
        found = {}
        dubious = {"D": self.dubious_fraction, "solo D": self.solo_dubious_fraction}
        if told := [f"{word} {part:.1%}" for word, part in dubious.items() if part > DUBIOUS_LIMIT]:
            found["D"] = ", ".join(told)
        if self.unpaired_fraction > UNPAIRED_LIMIT:
            found["unpaired"] = f"unpaired {self.unpaired_fraction:.1%}"
        if self.quarantined_files:
            found[QUARANTINED] = f"quarantined {self.quarantined_files}"
        return found


@dataclass(frozen=True, slots=True)
class Balance:
    """The first law of a night: where the frames of its raw files are (DESIGN section 4).

    Attributes
    ----------
    raw_files, frames : int
        Registered raw files, and the frames that they are known to have.
    in_products : mapping of str to int
        Frames by class; `quarantined` are those of products that are out of the flow.
    quarantined, quarantined_files : int
        Known frames of raw files in quarantine, and these files.
    unknown_files : int
        Those of them whose number of frames is not known.
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


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A file out of the flow: its name, its frames (None if that is not known), and why."""

    name: str
    frames: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Summary:
    """A night, minute by minute.

    Attributes
    ----------
    pipeline, date : str
        The night.
    cameras : tuple of int
        Those of the instrument and of the night's files.
    minutes : tuple of Minute
        Those in which something begins, in order; one without time comes last.
    balance : Balance
        Where all frames are.
    quarantine : tuple of Quarantined
        Files out of the flow, by name.
    unregistered : int
        Raw files on disk that the ledger does not know yet.
    excluded_reason : str or None
        Why the night is out of the chronology, if it is.
    """

    pipeline: str
    date: str
    cameras: tuple[int, ...]
    minutes: tuple[Minute, ...]
    balance: Balance
    quarantine: tuple[Quarantined, ...]
    unregistered: int
    excluded_reason: str | None

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold: the same keys in every minute of every night of an instrument."""
        names = classes_of(self.cameras)
        return {
            "pipeline": self.pipeline,
            "date": self.date,
            "excluded_reason": self.excluded_reason,
            "unregistered": self.unregistered,
            "minutes": [
                {
                    "ut": _iso(m.at_us),
                    "hst": _iso(m.at_us, HST),
                    "targets": sorted(m.targets),
                    "exposures_us": sorted(m.exposures_us),
                    "frames": {name: m.frames[name] for name in names},
                    "quarantined_files": m.quarantined_files,
                    "dubious_fraction": m.dubious_fraction,
                    "solo_dubious_fraction": m.solo_dubious_fraction,
                    "unpaired_fraction": m.unpaired_fraction,
                    "marks": list(m.marks()),
                }
                for m in self.minutes
            ],
            "balance": {**asdict(self.balance), "accounted": self.balance.accounted, "holds": self.balance.holds},
            "quarantine": [asdict(file) for file in self.quarantine],
        }


def find(store: Store, config: Config, *, date: str | None = None, folder: Path | None = None) -> NightFolder:
    """Return the night that is meant: as for all commands, and of nights that left the disk the ledger's rows remain.

    Raises
    ------
    BadInput
        If there is no such night, on disk or in the ledger.
    """
    if date is not None and folder is None:
        day = parse_date(date)
        for name, pipeline in config.pipelines.items():
            if (pipeline.root / day).is_dir() or store.find_night(name, day) is not None:
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
    row = store.find_night(night.pipeline, night.date)
    raws: list[_Raw] = []
    products: list[_Product] = []
    if row is not None:
        with store.snapshot() as session:
            raws, products = _read(session, row, config)
    first_state = config.pipelines[night.pipeline].states[0]
    known = {raw.name for raw in raws}
    on_disk = raws_on_disk(night, config.instrument) if has_raws(night, config.instrument) else []
    cameras = {stream.camera for stream in config.instrument.streams} | {raw.camera for raw in raws}
    return Summary(
        pipeline=night.pipeline,
        date=night.date,
        cameras=tuple(sorted(cameras)),
        minutes=minutes_of([*(p.piece() for p in products), *_pieces(raws, first_state)]),
        balance=_balance(raws, products, first_state),
        quarantine=_quarantine(raws, products),
        unregistered=sum(f"{raw.stream.name}/{raw.cube.name}" not in known for raw in on_disk),
        excluded_reason=row.excluded_reason if row is not None else None,
    )


def minutes_of(pieces: Iterable[Piece]) -> tuple[Minute, ...]:
    """Return the minutes in which something begins, in order; what has no time comes last."""
    found: dict[int | None, Minute] = {}
    for piece in pieces:
        at_us = None if piece.at_us is None else piece.at_us - piece.at_us % _MINUTE_US
        found.setdefault(at_us, Minute(at_us)).add(piece)
    return tuple(sorted(found.values(), key=lambda minute: (minute.at_us is None, minute.at_us or 0)))


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
    in_products: int

    @property
    def kept(self) -> int:
        return self.n_frames - self.lost


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
    target = col(File.cards)[config.instrument.cards.target].as_string()
    columns = (File.id, File.folder, File.name, File.camera, File.n_frames, File.first_us, File.quarantine_reason)
    further = (File.state, File.lost_frames, File.exposure_us, File.last_us, File.mtime_ns)
    query = select(*map(col, columns), *map(col, further), target)
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
        words,
    ) in session.execute(query):
        settings[key] = (str(words).strip() if words is not None else None, exposure_us)
        own = () if at_us is None else (settings[key],)
        raws.append(
            _Raw(
                f"{folder}/{name}",
                camera,
                state,
                n,
                lost,
                at_us,
                last_us,
                (mtime_ns or 0) // 1000,
                own,
                reason,
                used[key],
            )
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
    """Yield the frames of raw files that no product counts."""
    begin_us = min((raw.first_us for raw in raws if raw.first_us is not None), default=0)
    end_us = max((raw.last_us for raw in raws if raw.last_us is not None), default=0)
    for raw in raws:
        at_us = raw.first_us
        # a file that was copied may say when that was; then it does not count in a minute where it does not belong
        if at_us is None and begin_us <= raw.written_us <= end_us + _MINUTE_US:
            at_us = raw.written_us
        if raw.quarantine_reason is not None:
            yield Piece(at_us, QUARANTINED, raw.kept, settings=raw.settings)
        elif raw.state == first_state:
            yield Piece(at_us, NOT_SYNCED, raw.kept, settings=raw.settings)


def _balance(raws: Sequence[_Raw], products: Sequence[_Product], first_state: str) -> Balance:
    in_products: Counter[str] = Counter()
    for product in products:
        in_products[product.kind] += product.n_frames
    out = [raw for raw in raws if raw.quarantine_reason is not None]
    waiting = [raw for raw in raws if raw.quarantine_reason is None and raw.state == first_state]
    idle = {raw.name for raw in (*out, *waiting)}
    astray = [raw.name for raw in raws if raw.in_products != (0 if raw.name in idle else raw.kept)]
    astray += [product.name for product in products if product.in_lineage != product.n_frames]
    return Balance(
        raw_files=len(raws),
        frames=sum(raw.n_frames for raw in raws),
        in_products=dict(in_products),
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


# for people


def table(summary: Summary) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return columns and rows: a row for each minute, a column for each class that the night has."""
    present = {name for minute in summary.minutes for name, n in minute.frames.items() if n}
    kinds = [name for name in classes_of(summary.cameras) if name in present]
    is_marked = any(minute.marks() for minute in summary.minutes)
    columns = ("HST", "UT", "target", "exposure", *(_heading(name) for name in kinds), *(["look at"] * is_marked))
    rows = [
        (
            _clock(minute.at_us, HST),
            _clock(minute.at_us, date=summary.date),
            _some(sorted(minute.targets)),
            _some([_seconds(exposure_us) for exposure_us in sorted(minute.exposures_us)]),
            *(str(minute.frames[name] or "") for name in kinds),
            *([", ".join(minute.marks().values())] * is_marked),
        )
        for minute in summary.minutes
    ]
    return columns, rows


def before_table(summary: Summary) -> list[str]:
    """Return what to say first: which night, and whether anything is to be seen at all."""
    named = f"night {summary.date} ({summary.pipeline})"
    if summary.excluded_reason is not None:
        named += f", excluded: {summary.excluded_reason}"
    lines = [named]
    if summary.unregistered:
        known = "more raw files" if summary.balance.raw_files else "raw files"
        lines.append(
            f"{summary.unregistered} {known} on disk, not registered and not counted here: run"
            f" `ledger scan --date {summary.date}`"
        )
    elif not summary.balance.raw_files:
        lines.append("no raw files, on disk or in the ledger")
    return lines


def after_table(summary: Summary, cards: Cards) -> list[str]:
    """Return what the marks mean and what to do, what is in quarantine, and where all frames are."""
    if not summary.balance.raw_files:
        return []
    lines = ["", "Frames are those of both cameras, counted in the minute in which their product or raw file begins."]
    marks = {kind for minute in summary.minutes for kind in minute.marks()}
    meanings = {
        "D": (
            f"over {DUBIOUS_LIMIT:.0%} of the frames taken while the FLC was switching have a dubious state, of no use"
            f" as A or B: look for dropped frames, and whether the dither ({cards.dither_us}) was on"
        ),
        "unpaired": (
            f"over {UNPAIRED_LIMIT:.0%} of the triggered frames lack the other camera's, although both ran: it started"
            " late, drops frames, or its files are in quarantine; if it goes on, look at that camera's logger"
        ),
        QUARANTINED: (
            "files out of the flow, for the reasons below, in the minute of their frames or of their last change; they"
            f" block nothing; put right, `ledger advance --date {summary.date}` takes them up"
        ),
    }
    lines += [f"  {kind}: {meaning}" for kind, meaning in meanings.items() if kind in marks]
    if any(_sum_of(minute.frames, "not_paired") for minute in summary.minutes):
        lines.append(
            "  not paired: synced before it was on record whether a camera was on its own (solo) or lacks the other's"
            " frames (unpaired), so neither is marked; to know,"
            f" `ledger rollback --date {summary.date}` and `ledger advance --date {summary.date}`"
        )
    elif not marks:
        lines.append("Nothing unexpected.")
    if summary.quarantine:
        lines += ["", f"quarantine: {_files(len(summary.quarantine))}"]
        lines += [f"  {file.name}: {file.reason}" for file in summary.quarantine[:LISTED]]
        if len(summary.quarantine) > LISTED:
            lines.append(f"  and {len(summary.quarantine) - LISTED} more: see the view `quarantine`, or --json")
    return [*lines, "", *_equation(summary)]


def _equation(summary: Summary) -> list[str]:
    balance, width = summary.balance, len(str(max(summary.balance.frames, summary.balance.accounted)))
    classes = [
        f"{_heading(n)} {balance.in_products[n]}" for n in classes_of(summary.cameras) if n in balance.in_products
    ]
    unknown = f"; {balance.unknown_files} of them tell no number" if balance.unknown_files else ""
    terms = [
        (sum(balance.in_products.values()), f"in products: {', '.join(classes)}" if classes else "in products"),
        (balance.quarantined, f"quarantined: {_files(balance.quarantined_files, 'raw file')}{unknown}"),
        (balance.lost, f"lost: {_files(balance.lost_files, 'salvaged raw file')}"),
        (balance.not_synced, f"not yet synced: {_files(balance.not_synced_files, 'raw file')}"),
    ]
    lines = [f"  {balance.frames:>{width}} frames in {_files(balance.raw_files, 'raw file')}"]
    lines += [f"{sign} {n:>{width}} {what}" for sign, (n, what) in zip("=+++", terms, strict=True)]
    if balance.holds:
        return [*lines, "The sum holds: every frame is accounted for."]
    difference = balance.frames - balance.accounted
    where = f"; astray: {_some(balance.astray, 5)}" if balance.astray else ""
    how = f"{difference} frames are nowhere" if difference >= 0 else f"{-difference} frames too many"
    return [*lines, f"THE SUM DOES NOT HOLD: {how}{where}; run `ledger audit`, which says what to do"]


def _heading(name: str) -> str:
    return _SHORT.get(name, name.replace("_", " "))


def _files(n: int, noun: str = "file") -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _sum_of(frames: Mapping[str, int], kind: str) -> int:
    return sum(n for name, n in frames.items() if name.startswith(f"{kind}_"))


def _fraction(part: int, rest: int) -> float:
    return part / (part + rest) if part else 0.0


def _some(words: Sequence[str], n: int = 2) -> str:
    """Return some words of a list, and how many more there are."""
    return ", ".join(words[:n]) + (f" +{len(words) - n}" if len(words) > n else "")


def _seconds(time_us: int) -> str:
    return f"{time_us / 1e6:g} s" if time_us >= 1_000_000 else f"{time_us / 1e3:g} ms"


def _when(time_us: int, zone: timedelta = timedelta()) -> datetime:
    return datetime.fromtimestamp(time_us / 1e6, tz=UTC) + zone


def _iso(time_us: int | None, zone: timedelta = timedelta()) -> str | None:
    return None if time_us is None else f"{_when(time_us, zone):%Y-%m-%dT%H:%M}"


def _clock(time_us: int | None, zone: timedelta = timedelta(), date: str = "") -> str:
    """Return the time of day; with the day, where that is not `date`."""
    if time_us is None:
        return "?"
    when = _when(time_us, zone)
    return f"{when:%H:%M}" if date in ("", f"{when:%Y%m%d}") else f"{when:%Y-%m-%d %H:%M}"
