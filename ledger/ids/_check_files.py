"""Frame IDs in the names of files and in headers, night by night, here and at the destination.

Nights of the ledger must have the IDs that it gave them; other nights, made by other tools or before ``first_night``,
must have none of its numbers. Memory holds one night, and of the others what numbers they have, as runs.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import and_, select
from sqlmodel import col

from ledger.config.model import Config
from ledger.config.site import Site
from ledger.db.models import Copy, File, FrameId, Night, State
from ledger.db.store import Store
from ledger.disk.dates import is_date
from ledger.ids._check_headers import Begin, HeaderCheck, LiveId, is_cube
from ledger.ids.check_rows import Disorder, Explained, Sequences, given_within
from ledger.ids.numbers import DIGITS, runs_of
from ledger.ids.sequence import frame_id_of
from ledger.night import record
from ledger.night.lease import Hold, read_hold, why_unsettled
from ledger.night.site import site_of
from ledger.report import Reporter


@dataclass(frozen=True, slots=True)
class _Named:
    """A file that is named by a frame ID."""

    prefix: str
    number: int
    path: Path
    is_here: bool  # not at the destination

    @property
    def frame_id(self) -> str:
        return frame_id_of(self.prefix, self.number)


@dataclass(slots=True)
class _Night:
    """What the database says of a night, and what is found there."""

    date: str
    row: Night | None
    hold: Hold = field(default_factory=Hold)
    ids: dict[str, LiveId] = field(default_factory=dict)
    is_ours: bool = False  # has products or IDs
    disorders: list[Disorder] = field(default_factory=list)
    begins: dict[str, Begin] = field(default_factory=dict)  # by ID, late ones apart
    n_headers: int = 0


class FilesCheck:
    """Checks the files of a pipeline's nights.

    Parameters
    ----------
    store, config
        The ledger.
    pipeline : str
        One that numbers its products.
    state : str
        In which it does.
    sequences : Sequences
        Counters and blocks.
    """

    def __init__(self, store: Store, config: Config, pipeline: str, state: str, sequences: Sequences) -> None:
        self.disorders: list[Disorder] = []
        self.explained: list[Explained] = []
        self.counts: Counter[str] = Counter()
        self._store = store
        self._pipeline = pipeline
        self._config = config
        self._site = config.site(pipeline)
        self._hosts: set[str] = set()  # with copies that cannot be looked at from here
        self._product_folder = config.instrument.product_folder
        self._headers = HeaderCheck(config, state)
        self._sequences = sequences
        self._last_number = config.ids.last
        prefixes = "|".join(map(re.escape, sorted({config.instrument.prefix, *sequences.next_number})))
        self._name = re.compile(rf"({prefixes})(\d{{{DIGITS}}})(?!\d)", re.ASCII)
        self._foreign: list[tuple[str, int, int, str]] = []  # prefix, first and last of a run of numbers, date
        self._last: dict[str, Begin] = {}  # by prefix, of the highest number so far

    def check(self, date: str | None, reporter: Reporter) -> bool:
        """Check all nights, or that of one date; return whether there is any."""
        ours = col(Night.pipeline) == self._pipeline
        copies = select(col(Copy.id)).join(Night, col(Night.id) == col(Copy.night_id))
        with self._store.read() as session:
            in_ledger = session.execute(select(col(Night.date)).where(ours)).scalars().all()
            copy = session.execute(copies.where(ours, col(Copy.withdrawn_us).is_(None)).limit(1)).first()
        on_disk = {*self._dates(self._site.root)}
        for site in self._config.sites(self._pipeline):
            if site.has_copies:
                must_exist = copy is not None and site == self._site
                on_disk.update(self._dates(site.destination, must_exist=must_exist))
        dates = on_disk.union(in_ledger)
        wanted = sorted(dates if date is None else dates & {date})
        reporter.phase("frame IDs", len(wanted))
        for each in wanted:
            self._check_night(each)
            reporter.advance()
        self._find_twice()
        for host in sorted(self._hosts):
            self.explained.append(Explained("afar", f"names and headers at {host} were not looked at", 0, "", ""))
        return bool(wanted)

    def _dates(self, root: Path, *, must_exist: bool = True) -> list[str]:
        """Return the nights in a folder, whatever ``first_night`` says."""
        try:
            with os.scandir(root) as entries:
                return [e.name for e in entries if len(e.name) == 8 and is_date(e.name) and e.is_dir()]
        except OSError as exc:
            if must_exist or not isinstance(exc, FileNotFoundError):
                self.disorders.append(_unlisted(exc, ""))
        return []

    def _check_night(self, date: str) -> None:
        """Check one night; if a run works on it meanwhile, what was found says nothing."""
        night = self._read(date)
        root = self._site.root if night.row is None else Path(night.row.root)
        files = [*self._named(night, root, is_here=True)]
        for site in self._sites_of(night):
            if site.destination_host is None:
                files += self._named(night, site.destination, is_here=False)
            else:
                self._hosts.add(site.destination_host.name)
        night.disorders += self._strangers(night, [file for file in files if file.frame_id not in night.ids])
        for file in files:
            if live := night.ids.get(file.frame_id):
                self._look_at_file(night, live, file)
        if self._is_busy(night):
            return
        self.disorders += [*night.disorders, *self._backwards(night)]
        self.counts += Counter(nights=1, files=len(files), headers=night.n_headers)
        if not night.is_ours:
            self._foreign += [(prefix, *run, date) for prefix, run in _runs(files)]

    def _sites_of(self, night: _Night) -> Sequence[Site]:
        """Return where the copies of a night are; of one that is not in the ledger, where they may be."""
        if night.row is None:
            return self._config.sites(self._pipeline)
        return [site_of(self._store, self._config, self._pipeline, night.date)]

    def _look_at_file(self, night: _Night, live: LiveId, file: _Named) -> None:
        if file.is_here and not live.is_identified:
            night.disorders.append(_misnamed(night, file, f"its product is {live.state or 'rolled back'}"))
        elif is_cube(file.path):
            night.n_headers += 1
            for found in self._headers.check(night.date, live, file.path):
                if isinstance(found, Disorder):
                    night.disorders.append(found)
                elif not live.late:
                    night.begins.setdefault(live.frame_id, found)

    def _read(self, date: str) -> _Night:
        """Return a night with its live IDs, and where its rows name files otherwise."""
        row = record.find_night(self._store, self._pipeline, date)
        night = _Night(date, row)
        if row is None:
            return night
        of_product = and_(
            col(File.identity) == col(FrameId.identity),
            # + 0 leaves only the index of identities to be used: without statistics, that of nights looks as good
            col(File.night_id) + 0 == col(FrameId.night_id),
            col(File.kind) == "product",
        )
        of_state = and_(col(State.pipeline) == col(File.pipeline), col(State.name) == col(File.state))
        columns = (col(FrameId.frame_id), col(FrameId.start_us), col(FrameId.late))
        query = (
            select(*columns, col(File.exposure_us), col(File.state), col(State.needs_frame_id), col(File.files))
            .outerjoin(File, of_product)
            .outerjoin(State, of_state)
            .where(col(FrameId.night_id) == row.id, col(FrameId.status) == "live")
        )
        products = select(col(File.id)).where(col(File.night_id) == row.id, col(File.kind) == "product").limit(1)
        with self._store.read() as session:
            night.hold = read_hold(session, row, self._store.common_us(session))
            for frame_id, start_us, late, exposure_us, state, is_identified, names in session.execute(query):
                live = LiveId(frame_id, start_us, late, exposure_us or 0, state or "", bool(is_identified))
                night.ids[frame_id] = live
                for name in names if live.is_identified else ():
                    match = self._name.match(name)
                    if match is None or match[0] != frame_id:
                        wrong = Disorder("file", date, frame_id, "file", name, f"a name that begins with {frame_id}")
                        night.disorders.append(wrong)
            night.is_ours = bool(night.ids) or session.execute(products).first() is not None
        return night

    def _is_busy(self, night: _Night) -> bool:
        """Whether a run has held the night since it was read."""
        row = record.find_night(self._store, self._pipeline, night.date)
        if row is None:
            return False
        with self._store.read() as session:
            reason = why_unsettled(night.hold, read_hold(session, row, self._store.common_us(session)))
        if reason is None:
            return False
        self.explained.append(
            Explained("busy", f"{reason}: its files were not checked", len(night.ids), night.date, night.date)
        )
        return True

    def _named(self, night: _Night, root: Path, *, is_here: bool) -> Iterator[_Named]:
        """Yield the night's files under `root` that are named by an ID."""
        refused: list[OSError] = []
        for parent, folders, names in os.walk(root / night.date / self._product_folder, onerror=refused.append):
            folders.sort()
            for name in sorted(names):
                if match := self._name.match(name):
                    yield _Named(match[1], int(match[2]), Path(parent, name), is_here)
        # a night need not have products; whether it has lost them is audited
        night.disorders += [_unlisted(exc, night.date) for exc in refused if not isinstance(exc, FileNotFoundError)]

    def _strangers(self, night: _Night, files: list[_Named]) -> Iterator[Disorder]:
        """Yield what is wrong with files whose names are no live IDs of their night."""
        with self._store.read() as session:
            dates = {row.id: row.date for row in session.execute(select(Night)).scalars()} if files else {}
            given = {row.frame_id: row for prefix, run in _runs(files) for row in given_within(session, prefix, run)}
        for file in files:
            row = given.get(file.frame_id)
            owner = "" if row is None else f"a {row.status} ID of night {dates[row.night_id]}"
            if night.is_ours:
                yield _misnamed(night, file, owner or "a number that the ledger has not given")
            elif row is not None:
                expected = "a number that the ledger has not given: it did not make this file"
                yield Disorder("foreign_number", night.date, file.frame_id, str(file.path), owner, expected)
            elif file.number <= self._last_number and self._sequences.is_ahead(file.prefix, file.number):
                counter = self._sequences.next_number.get(file.prefix, 1)
                found = f"a number of a block, and the counter is at {counter}"
                expected = "a counter above it: `ledger ids start`"
                yield Disorder("foreign_ahead", night.date, file.frame_id, str(file.path), found, expected)

    def _backwards(self, night: _Night) -> Iterator[Disorder]:
        """Yield where the times of headers go back from one ID to the next one that is in order."""
        for frame_id, begin in sorted(night.begins.items()):
            prefix = frame_id[:-DIGITS]
            last = self._last.get(prefix)
            if last is not None and frame_id < last.frame_id:
                continue  # of a night that was appended to after a later one: compared with the database only
            if last is not None and begin.us + begin.tolerance_us < last.us - last.tolerance_us:
                found = f"its first exposure began at {begin.us} us"
                expected = f"not before that of {last.frame_id}, {last.us} us"
                yield Disorder("header_order", night.date, frame_id, begin.where, found, expected)
            self._last[prefix] = begin

    def _find_twice(self) -> None:
        """Find numbers that several foreign nights have; those of our own nights are compared with their rows."""
        before: tuple[str, int, int, str] | None = None
        for run in sorted(self._foreign):
            prefix, first, last, date = run
            if before is not None and before[0] == prefix and first <= before[2]:
                end = frame_id_of(prefix, min(last, before[2]))
                where = str(self._site.root / date / self._product_folder)
                found = f"up to {end}, also in night {before[3]}"
                frame_id = frame_id_of(prefix, first)
                self.disorders.append(Disorder("twice", date, frame_id, where, found, "a number in one night only"))
            if before is None or before[0] != prefix or last > before[2]:
                before = run


def _runs(files: Iterable[_Named]) -> list[tuple[str, tuple[int, int]]]:
    """Return the numbers of files by prefix, as runs."""
    numbers: dict[str, set[int]] = {}
    for file in files:
        numbers.setdefault(file.prefix, set()).add(file.number)
    return [(prefix, run) for prefix, found in numbers.items() for run in runs_of(found)]


def _misnamed(night: _Night, file: _Named, found: str) -> Disorder:
    expected = "a live ID of this night" + (", of a product that is identified" if file.is_here else "")
    return Disorder("name", night.date, file.frame_id, str(file.path), found, expected)


def _unlisted(exc: OSError, date: str) -> Disorder:
    return Disorder("folder", date, "", str(exc.filename), exc.strerror or str(exc), "a folder that can be listed")
