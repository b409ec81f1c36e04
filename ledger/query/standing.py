"""Nights that stand still, and why: told by `catch-up`'s alerts, by `ledger doctor` and by `ledger status --check`.

A night stands still if no catch-up takes it on by itself, however often it runs. Reads only.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from ledger.clock import show_us
from ledger.config.model import Config
from ledger.db.readonly import Reader
from ledger.disk.access import entries_of, is_folder, translate_read_errors
from ledger.disk.dates import Dates, is_date
from ledger.disk.nights import NightFolder, night_of
from ledger.disk.outside import find_outside
from ledger.disk.raws import has_raws, is_being_written
from ledger.night.pipeline import Pipeline
from ledger.query import _questions as ask
from ledger.query.status import NightStatus, nights, untold
from ledger.text import counted, printable

#: Why a night stands still: its folder, or all nights of a root, are not there; it is in a folder that is not taken;
#: nothing has changed for long; all of it is in quarantine; somebody has to decide, repair or send something; or the
#: last backup failed.
Why = Literal["gone", "stray", "stalled", "quarantined", "stopped", "failed"]

#: What looks like the date of a night, wherever it stands in a name.
_LIKE_A_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_.]?)(\d\d)\2(\d\d)(?!\d)")


@dataclass(frozen=True, slots=True)
class Still:
    """A night that stands still, or a root or folder with nights that nobody takes on.

    Attributes
    ----------
    why : str
        Of :data:`Why`.
    pipeline : str
        Its pipeline; empty if it is about backups.
    date : str
        Of the night; empty if it is about the root.
    folder : str
        A folder that is not taken, by its name, or a list that is to be sent; empty otherwise.
    text : str
        What was found.
    remedy : str
        What to do.
    """

    why: Why
    pipeline: str
    date: str
    folder: str
    text: str
    remedy: str

    @property
    def where(self) -> str:
        """Return what it is about: a night, the key of a root, or backups."""
        if not self.pipeline:
            return "backups"
        return f"night {self.date} ({self.pipeline})" if self.date else f"{self.pipeline}.root"

    @property
    def is_of_root(self) -> bool:
        """Whether a root has lost all of its nights: its disk is not mounted."""
        return self.why == "gone" and not self.date


def standing_still(
    config: Config,
    pipelines: dict[str, Pipeline],
    now_us: int,
    *,
    dates: Dates | None = None,
    every: Sequence[NightStatus] | None = None,
) -> list[Still]:
    """Return what stands still, one reason for each night, oldest first; and what else waits for a person.

    Parameters
    ----------
    config, pipelines
        The ledger.
    now_us : int
        What time it is (UNIX, microseconds).
    dates : Dates, optional
        Only these.
    every : sequence of NightStatus, optional
        Where all nights stand, from who has looked already.

    Raises
    ------
    UsageError
        If a root is not there, or there is no ledger.
    Unreachable
        If a folder cannot be read.
    """
    found_now = nights(config, pipelines) if every is None else every
    every = [night for night in found_now if not dates or night.date in dates]
    reader = ask.open_ledger(config)
    try:
        rows = {(row.pipeline, row.date): row for row in ask.nights(reader)}
        look = _Look(config, reader, rows, now_us, dates)
        found = [still for name in pipelines for still in look.at(name, [n for n in every if n.pipeline == name])]
        if config.backup.automatic and not dates and (why := ask.backup_failure(reader)):
            remedy = "run `ledger backup`: it makes one, or says what keeps it from being made"
            found.append(Still("failed", "", "", "", f"the last one failed: {why}", remedy))
    finally:
        reader.close()
    return sorted(found, key=lambda still: (still.date, still.pipeline))


@dataclass(frozen=True, slots=True)
class _Look:
    config: Config
    reader: Reader
    rows: Mapping[tuple[str, str], ask.NightRow]
    now_us: int
    dates: Dates | None

    def at(self, pipeline: str, known: Sequence[NightStatus]) -> Iterator[Still]:
        """Yield what stands still of a pipeline, of which `known` are the nights on disk and in the ledger."""
        site = self.config.site(pipeline)
        for night in (night for night in known if night.withdrawn):
            yield Still("stopped", pipeline, night.date, night.withdrawn, *untold(night, site.named(night.date)))
        if not site.has_nights:
            yield from (still for night in known if (still := self._of_night(night, is_here=None)))
            return
        folders = self._folders(site.root)
        here = {name for name in folders if _is_night(name)}
        on_record = [night for night in known if night.raws]
        if on_record and not here:
            text = f"{site.root}: no night is left in it, and {counted(len(on_record), 'night')} of it are on record"
            yield Still("gone", pipeline, "", "", text, f"mount its disk, or correct {pipeline}.root")
        for night in known:
            if (here or not night.raws) and (still := self._of_night(night, is_here=night.date in here)):
                yield still
        yield from self._strays(pipeline, site.root, folders)

    def _of_night(self, night: NightStatus, *, is_here: bool | None) -> Still | None:
        """Return why a night stands still, or None; whether its folder `is_here` is not known on a host without it."""
        folder = night_of(self.config, night.pipeline, night.date)
        if is_here and not night.raws and night.outside and (still := self._of_other_streams(night, folder)):
            return still
        if night.is_finished:
            return self._still("stopped", night, "somebody has to look at it") if night.needs_person else None
        if is_here is False:
            text = f"{folder.path}: no such folder, and it is not finished ({night.stands})"
            remedy = "mount its disk, or bring it back"
            if night.pipeline == self.config.numbering:
                remedy += f"; or leave it out for ever: `ledger exclude {night.date} --reason TEXT`"
            return Still("gone", night.pipeline, night.date, "", text, remedy)
        changed_us = self._changed_us(night, folder if is_here else None)
        today = datetime.fromtimestamp(self.now_us / 1e6, tz=UTC).strftime("%Y%m%d")
        stalled_us = self.config.notify.stalled_hours * 3600e6
        if changed_us is not None and self.now_us - changed_us > stalled_us and night.date < today:
            return self._still(
                "stalled", night, f"it is {night.stands}, and nothing has changed since {show_us(changed_us)} UT"
            )
        if night.date >= today or (is_here and is_being_written(folder, self.config, self.now_us)):
            return None  # catch-up leaves it alone, too
        if night.stands == "quarantined":
            return self._still("quarantined", night, "all of it is in quarantine, and nobody has decided so")
        if night.needs_person:
            return self._still(
                "stopped", night, f"it is {night.stands}, and somebody has to decide or repair something"
            )
        return None

    def _still(self, why: Why, night: NightStatus, text: str) -> Still:
        remedy = f"`{night.next_command}`"
        if not night.needs_person:
            remedy += " says what it waits for"
        return Still(why, night.pipeline, night.date, "", text, remedy)

    def _changed_us(self, night: NightStatus, folder: NightFolder | None) -> int | None:
        """Return when something changed at a night: by its entries, or by its folders, if it has none."""
        row = self.rows.get((night.pipeline, night.date))
        changed_us = None if row is None else ask.changed_us(self.reader, row)
        if changed_us is not None or folder is None:
            return changed_us
        with translate_read_errors(folder.path):  # mtimes may come with a copy, and be those of another disk
            inside = [entry.stat().st_ctime_ns for entry in entries_of(folder.path) if entry.is_dir()]
            return max(folder.path.stat().st_ctime_ns, *inside, 0) // 1000

    def _of_other_streams(self, night: NightStatus, folder: NightFolder) -> Still | None:
        """Return that a night has cubes in folders of other names than the streams alone, or None."""
        instrument = self.config.instrument
        if has_raws(folder, instrument):
            return None
        streams = [stream.name for stream in instrument.streams]
        found = [file for file in find_outside(folder, instrument) if file.kind in ("moved", "compressed", "named")]
        tops = sorted({file.path.partition("/")[0] for file in found if "/" in file.path} - {*streams})
        tops = [name for name in tops if not self._is_ignored(name)]
        if not tops:
            return None
        where, others = " or ".join(streams), ", ".join(tops)
        text = f"no cube in {where}, and {counted(len(found), 'file')} that may be some in {others}"
        remedy = "give the folder its stream's name, correct instrument.streams, or add it to notify.ignore"
        return Still("stray", night.pipeline, night.date, others, text, remedy)

    def _strays(self, pipeline: str, root: Path, folders: Sequence[str]) -> Iterator[Still]:
        """Yield folders of a root that look like nights and are none."""
        config = self.config
        sites = [config.site(name) for name in config.pipelines]
        places = [site.root for site in sites] + [site.destination for site in sites if site.has_copies]
        first = self._first(pipeline)
        for name in folders:
            match = _LIKE_A_DATE.search(name)
            if match is None or _is_night(name) or name.startswith(".") or self._is_ignored(name):
                continue
            date = "".join(match.group(1, 3, 4))
            is_a_place = any(place.is_relative_to(root / name) for place in places)
            if date < first or is_a_place or (self.dates and date not in self.dates):
                continue
            text = "looks like a night and is not taken; expected a folder named YYYYMMDD"
            remedy = "rename it, move it elsewhere, or add its name to notify.ignore"
            yield Still("stray", pipeline, "", printable(str(root / name)), text, remedy)

    def _first(self, pipeline: str) -> str:
        """Return the first night that a pipeline takes; an empty string if it takes all."""
        configured = self.config.pipelines[pipeline].first_night or ""
        if pipeline != self.config.numbering:
            return configured
        _, numbers_from = ask.numbering(self.reader, self.config.instrument.prefix)
        return max(configured, numbers_from or "")

    def _is_ignored(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.config.notify.ignore)

    def _folders(self, root: Path) -> list[str]:
        """Return the folders of a root by name; a night that is a link to nothing is one."""
        if not is_folder(root):
            return []
        with translate_read_errors(root):
            return sorted(e.name for e in entries_of(root) if e.is_dir() or (e.is_symlink() and _is_night(e.name)))


def _is_night(name: str) -> bool:
    return len(name) == 8 and is_date(name)
