"""The laws, proven: one query a law, whose rows are violations, and what the files themselves say."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col

from ledger.config.model import Config
from ledger.db.models import File, FrameId, Lineage, Night, State
from ledger.db.store import Store
from ledger.disk.dates import Dates
from ledger.disk.nights import NightFolder
from ledger.disk.outside import grouped
from ledger.disk.raws import advice_on_changed_raw, stat_raw
from ledger.errors import NotReady, UsageError
from ledger.ids import gate
from ledger.ids.check_rows import Explained, find_explained
from ledger.night import decisions
from ledger.night.pipeline import pipelines
from stages.base import TEMPORARY_PREFIX
from stages.instrument import Stream

AUDITS = Path(__file__).parent / "queries"


@dataclass(frozen=True, slots=True)
class Law:
    """A query of which every row is a violation.

    Attributes
    ----------
    name : str
        Of the file.
    says : str
        The law, from the line ``-- law:``.
    next_step : str
        What to do about a violation, from the line ``-- next:``.
    query : str
        SQL that both databases understand.
    """

    name: str
    says: str
    next_step: str
    query: str


@dataclass(frozen=True, slots=True)
class Violation:
    """One row of one law, in words."""

    law: str
    what: str
    next_step: str


def read_laws(folders: Sequence[Path] = (AUDITS,)) -> list[Law]:
    """Return the laws in `folders`, by name.

    Raises
    ------
    UsageError
        If a folder is missing or holds no law, or a law does not say what it is.
    """
    laws = []
    for folder in folders:
        paths = sorted(folder.glob("*.sql")) if folder.is_dir() else []
        if not paths:
            raise UsageError(f"audits {str(folder)!r}: expected a folder of .sql files, one a law; found none")
        laws += [_read_law(path) for path in paths]
    return laws


def _read_law(path: Path) -> Law:
    lines = path.read_text(encoding="utf-8").splitlines()
    said = {
        key: line.split(f"-- {key}:", 1)[1].strip() for key in ("law", "next") for line in lines if f"-- {key}:" in line
    }
    if "law" not in said:
        raise UsageError(f"audit {str(path)!r}: expected a line '-- law: what holds'; found none")
    query = "\n".join(line for line in lines if not line.startswith("--"))
    return Law(path.stem, said["law"], said.get("next", ""), query.strip().rstrip(";"))


def check_laws(store: Store, laws: Sequence[Law]) -> Iterator[tuple[Law, list[Violation]]]:
    """Yield each law with its violations."""
    for law in laws:
        with store.read() as session:
            try:
                rows = session.execute(text(law.query)).mappings().all()
            except DBAPIError as exc:
                store.refuse_damage(exc)
                raise UsageError(f"audit {law.name!r}: {exc.orig}; correct its query") from exc
        yield law, [Violation(law.name, _in_words(row), law.next_step) for row in rows]


def _in_words(row: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in row.items() if value is not None)


def explained(store: Store) -> list[Explained]:
    """Return disorder that is explained: frame IDs out of order with a reason, and numbers that were skipped."""
    with store.read() as session:
        return [found for found in find_explained(session) if found.kind in ("late", "gap")]


def nights_of(store: Store, dates: Dates | None = None) -> Sequence[Night]:
    """Return the nights of the ledger, oldest first; all, or those of some dates.

    Raises
    ------
    UsageError
        If there is none of one of these dates.
    """
    with store.read() as session:
        every = session.execute(select(Night).order_by(col(Night.date), col(Night.pipeline))).scalars().all()
    if not dates:
        return every
    nights = [night for night in every if night.date in dates]
    if lacking := [date for date in dates.single if date not in {night.date for night in nights}]:
        raise UsageError(f"no night {', '.join(lacking)} in the ledger; expected one of `ledger status`")
    if not nights:
        raise UsageError(f"no night {dates} in the ledger; expected one of `ledger status`")
    return nights


def check_files(store: Store, config: Config, *, dates: Dates | None = None) -> Iterator[Violation]:
    """Yield where disk and rows disagree: rows without files, files without rows, frames in two products.

    Parameters
    ----------
    store, config
        The ledger.
    dates : Dates, optional
        Only these nights.
    """
    for night in nights_of(store, dates):
        yield from check_night(store, config, night)


def check_night(store: Store, config: Config, night: Night) -> Iterator[Violation]:
    """Yield where disk and rows of one night disagree."""
    with store.read() as session:
        files = session.execute(select(File).where(col(File.night_id) == night.id)).scalars().all()
        is_first = (col(State.pipeline) == night.pipeline, col(State.position) == 0)
        first_state = session.execute(select(col(State.name)).where(*is_first)).scalar()
        yield from _frames_twice(session, night)
        known = set(session.execute(select(col(FrameId.frame_id)).where(col(FrameId.night_id) == night.id)).scalars())
    try:
        yield from _rows_without_files(night, files, first_state)
        yield from _files_without_rows(night, files, config, known)
        yield from _undecided_outside(store, night, config)
    except (OSError, NotReady) as exc:
        what = f"{Path(night.root) / night.date}: files that rows name could not be checked any further ({exc})"
        yield Violation("unreadable", what, "correct owner, mode or mount, and audit again")


def _rows_without_files(night: Night, files: Sequence[File], first_state: str | None) -> Iterator[Violation]:
    folder = Path(night.root) / night.date
    for file in files:
        if (file.kind == "raw" and file.quarantine_reason) or file.pruned_us is not None:
            continue  # nothing stands on it, or it was removed on purpose
        names = [file.name, Path(file.name).with_suffix(".txt").name] if file.kind == "raw" else file.files
        gone = [folder / file.folder / name for name in names if not (folder / file.folder / name).is_file()]
        for path in gone:
            name = shlex.quote(f"{file.folder}/{file.name}" if file.kind == "raw" else file.name)
            what_it_was = f"put it back; `ledger explain {name}` tells what it was"
            yield Violation("row_without_file", f"{path} is gone", what_it_was)
        if file.kind == "raw" and not gone:
            yield from _changed(folder, file, first_state)


def _changed(night: Path, file: File, first_state: str | None) -> Iterator[Violation]:
    """Yield a raw file that is not as registered: an advance would stop there, or register it anew."""
    raw = stat_raw(night / file.folder / file.name, Stream(file.folder, file.camera))
    if raw.is_as_registered(file):
        return
    if file.state == first_state:
        next_step = f"`ledger scan {shlex.quote(str(night))}` registers it as it is now"
    else:
        next_step = advice_on_changed_raw(night, file, raw)
    yield Violation("raw_unchanged", f"{raw.cube} changed underneath: {raw.differences(file)}", next_step)


def _files_without_rows(
    night: Night, files: Sequence[File], config: Config, frame_ids: set[str]
) -> Iterator[Violation]:
    name = config.instrument.product_folder
    folder = Path(night.root) / night.date / name
    expected = {f for file in files if file.kind == "product" for f in file.files} | {"lineage.tsv"}
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name not in expected:
            mine = path.name.startswith(TEMPORARY_PREFIX) or path.name.split(".")[0] in frame_ids
            command = f"left by a run that died; `ledger advance {shlex.quote(str(folder.parent))}` removes it"
            yield Violation("orphan", f"{path} belongs to no product", command if mine else "not the ledger's: move it")


def _undecided_outside(store: Store, night: Night, config: Config) -> Iterator[Violation]:
    """Yield what may hold frames of a night, is in no row, and waits for a decision."""
    folder = NightFolder(night.pipeline, Path(night.root), night.date)
    if not folder.path.is_dir() or night.pipeline not in config.pipelines:
        return
    with store.read() as session:
        if gate.is_left_alone(session, config, pipelines(config)[night.pipeline], folder):
            return
        found = decisions.look(session, config, folder)
    if found.blocks:
        what = f"{folder.path}: files that may hold frames are no raw files: {grouped(found.undecided)}"
        yield Violation("outside", what, f"`ledger outside list --date {night.date}` says what to do about each")


def _frames_twice(session: Session, night: Night) -> Iterator[Violation]:
    """Yield raw files of which a frame is in two products, or beyond the frames that are used."""
    lines = session.execute(
        select(Lineage, col(File.n_frames) - col(File.lost_frames), col(File.folder), col(File.name))
        .join(File, col(File.id) == col(Lineage.raw_id))
        .where(col(File.night_id) == night.id)
        .order_by(col(Lineage.raw_id))
    )
    counts: dict[int, tuple[bytearray, str]] = {}
    for line, n_used, folder, name in lines:
        taken, where = counts.setdefault(line.raw_id, (bytearray(n_used), f"{night.date}/{folder}/{name}"))
        for first, step, n in line.runs:
            indices = range(first, first + step * n, step)
            wrong = [i for i in indices if i >= len(taken) or taken[i]]
            for i in indices:
                if i < len(taken):
                    taken[i] = 1
            if wrong:
                what = f"{where}: frames {wrong[:5]} are in two products, or not in the file or lost"
                yield Violation("frame_once", what, "roll the night back to raw and advance it again")
