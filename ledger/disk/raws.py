"""Raw files of a night as folders list them, and how they differ from what is on record. Opens no file."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ledger.clock import show_us
from ledger.config.model import Config
from ledger.disk.access import entries_of, stat_file, translate_read_errors
from ledger.disk.nights import NightFolder, refuse_lost
from ledger.errors import UsageError
from ledger.text import counted, printable
from stages.files import mtime_ns_of
from stages.fits.cards import padded
from stages.instrument import Instrument, Stream

#: What to do about files of the future.
SET_THE_CLOCK = "set the clock of the machine that writes them, or of this one"


#: Size in bytes and mtime in nanoseconds of a cube, and of the txt beside it if there is one.
Stats = tuple[int, int, int | None, int | None]


@dataclass(frozen=True, slots=True)
class RawOnDisk:
    """A cube in a stream's folder, and what `stat` says of it and of the txt beside it.

    `fault` says why there is nothing to stat: a link to nothing, a folder, or a name that is not UTF-8 or cannot be
    printed. In such a name, characters that databases and terminals do not take are escaped.
    """

    stream: Stream
    folder: Path
    name: str
    size_bytes: int
    mtime_ns: int
    timing_size_bytes: int | None
    timing_mtime_ns: int | None
    fault: str | None = None

    @property
    def cube(self) -> Path:
        """Return where the cube is."""
        return self.folder / self.name

    @property
    def stats(self) -> "Stats":
        """Return sizes and times, which are compared."""
        return self.size_bytes, self.mtime_ns, self.timing_size_bytes, self.timing_mtime_ns

    def is_as_registered(self, row: Any) -> bool:
        """Whether nothing has changed since `row` was written."""
        return self.stats == (
            row.size_bytes,
            row.mtime_ns,
            row.timing_size_bytes,
            row.timing_mtime_ns,
        )

    def differences(self, row: Any) -> str:
        """Return what has changed since `row` was written, found and expected; empty if nothing has."""
        if self.fault:
            return self.fault
        sizes = {
            "cube": (self.size_bytes, row.size_bytes),
            "txt": (self.timing_size_bytes, row.timing_size_bytes),
        }
        mtimes_ns = {
            "cube": (self.mtime_ns, row.mtime_ns),
            "txt": (self.timing_mtime_ns, row.timing_mtime_ns),
        }
        found_differences = []
        for file, (found, expected) in sizes.items():
            if found is None and expected is not None:
                found_differences.append(f"{file}: found none, expected {expected} bytes")
                continue
            if found != expected:
                found_differences.append(f"{file} size: found {found} bytes, expected {expected}")
            then_ns, now_ns = reversed(mtimes_ns[file])
            if then_ns != now_ns:
                found_differences.append(f"{file} mtime: found {show_ns(now_ns)}, expected {show_ns(then_ns)}")
        return ", ".join(found_differences)


def advice_on_changed_raw(night: Path, row: Any, raw: RawOnDisk) -> str:
    """Return what to do about a raw file that changed after products were made of it.

    Parameters
    ----------
    night : Path
        Its night's folder.
    row : row of the table `file`
        As registered; if it was salvaged, the new file may be the whole one.
    raw : RawOnDisk
        As it is now. If its size changed, a rollback may need the old file: nothing is dropped that cannot be made
        again.
    """
    folder = shlex.quote(str(night))
    size_bytes = int(row.size_bytes or 0)
    is_cut_off = row.lost_frames > 0 or size_bytes != padded(size_bytes)
    welcome = " (it was cut off: the whole original is welcome in this way)" if is_cut_off else ""
    resized = raw.size_bytes != size_bytes
    old, new = (" with the old one in place", " with the new one") if resized else ("", "")
    return (
        f"raw files are read-only: put it back as it was; or, if the new one is right{welcome},"
        f" `ledger rollback {folder} --yes`{old} and `ledger advance {folder}`{new}"
    )


def show_ns(time_ns: int | None) -> str:
    """Return a time of the file system for people, in UT, with every digit that is compared."""
    if time_ns is None:
        return "none"
    return f"{show_us(time_ns // 10**9 * 10**6)}.{time_ns % 10**9:09d}"


def raws_on_disk(night: NightFolder, instrument: Instrument) -> list[RawOnDisk]:
    """Return the cubes in the night's streams, by stream and name.

    Raises
    ------
    UsageError
        If a stream is a file.
    NotReady
        If a stream cannot be read.
    """
    return compare_with_disk(night, instrument, {})[0]


def compare_with_disk(
    night: NightFolder, instrument: Instrument, known: Mapping[str, Mapping[str, Stats]]
) -> tuple[list[RawOnDisk], list[tuple[str, str]]]:
    """Return the cubes in the night's streams that differ from what is known, and the names of those that do not.

    Only names are made of the latter: a night has up to 10^5 files, and every run checks all of them.

    Parameters
    ----------
    night : NightFolder
        The night.
    instrument : Instrument
        With its streams.
    known : mapping
        Stream to name to :data:`Stats`.

    Returns
    -------
    list of RawOnDisk
        By stream and name.
    list of tuple of str
        Stream and name of each that is as known.

    Raises
    ------
    UsageError, NotReady
        As :func:`raws_on_disk`.
    """
    for stream in instrument.streams:
        folder = night.path / stream.name
        with translate_read_errors(folder):
            is_file = folder.exists() and not folder.is_dir()
        if is_file:
            raise UsageError(f"{str(folder)!r} is a file: expected the folder of stream {stream.name!r}; move it away")
    others: list[RawOnDisk] = []
    alike: list[tuple[str, str]] = []
    for stream in instrument.streams:
        with translate_read_errors(night.path / stream.name):
            new, names = _raws_of(night.path / stream.name, stream, known.get(stream.name, {}))
        others += new
        alike += [(stream.name, name) for name in names]
    return others, alike


def streams_ns(night: NightFolder, instrument: Instrument) -> int:
    """Return the newest mtime of the streams' folders, in nanoseconds: it changes when a file comes or goes."""
    refuse_lost(night)
    mtimes_ns = [0]
    for stream in instrument.streams:
        folder = night.path / stream.name
        with translate_read_errors(folder):
            mtimes_ns += [mtime_ns_of(folder.stat())] if folder.is_dir() else []
    return max(mtimes_ns)


def has_raws(night: NightFolder, instrument: Instrument) -> bool:
    """Whether any stream of the night holds a cube."""
    refuse_lost(night)
    for stream in instrument.streams:
        folder = night.path / stream.name
        with translate_read_errors(folder):
            if any(_is_cube(entry.name) for entry in entries_of(folder)):
                return True
    return False


def _is_cube(name: str) -> bool:
    return name.endswith(".fits") and name != ".fits"


def _raws_of(folder: Path, stream: Stream, known: Mapping[str, Stats]) -> tuple[list[RawOnDisk], list[str]]:
    names = {entry.name for entry in entries_of(folder)}
    others: dict[str, RawOnDisk] = {}
    alike = []
    within = f"{folder}/"  # pathlib takes longer to put a path together than the system to look there
    for name in names:
        if not _is_cube(name):
            continue
        if not name.isprintable():
            if (shown := printable(name)) not in names:  # an escaped name gives way
                others[shown] = _unprintable(folder, name, stream)
            continue
        timing = f"{name.removesuffix('.fits')}.txt"
        stats = _stats_of(stat_file(within + name), stat_file(within + timing))
        if stats is not None and stats == known.get(name):
            alike.append(name)
        else:
            others[name] = _raw_of(folder, name, stream, stats)
    return [others[name] for name in sorted(others)], alike


def stat_raw(cube: Path, stream: Stream) -> RawOnDisk:
    """Return what `stat` says of a cube and of the txt beside it."""
    if not cube.name.isprintable():
        return _unprintable(cube.parent, cube.name, stream)
    with translate_read_errors(cube):
        stats = _stats_of(stat_file(str(cube)), stat_file(f"{str(cube).removesuffix('.fits')}.txt"))
    return _raw_of(cube.parent, cube.name, stream, stats)


def _stats_of(info: os.stat_result | None, timing_info: os.stat_result | None) -> Stats | None:
    """Return size and time of a cube and its txt; None if there is no cube."""
    if info is None:
        return None
    if timing_info is None:
        return info.st_size, mtime_ns_of(info), None, None
    return info.st_size, mtime_ns_of(info), timing_info.st_size, mtime_ns_of(timing_info)


def _raw_of(folder: Path, name: str, stream: Stream, stats: Stats | None) -> RawOnDisk:
    if stats is None:
        fault = f"{folder / name}: not a file; expected a FITS cube; remove it"
        return RawOnDisk(stream, folder, name, 0, 0, None, None, fault)
    return RawOnDisk(stream, folder, name, *stats)


def _unprintable(folder: Path, name: str, stream: Stream) -> RawOnDisk:
    shown = printable(name)
    fault = f"{folder / shown}: its name is not UTF-8, or cannot be printed; rename it, and its txt"
    return RawOnDisk(stream, folder, shown, 0, 0, None, None, fault)


def is_being_written(night: NightFolder, config: Config, now_us: int) -> bool:
    """Whether the cameras may still be writing to the night.

    True if its UT date is today or yesterday and its newest raw file is younger than ``settle_minutes``. With
    ``salvage`` the date does not matter, and txt files count too: a file that is still being copied looks like one
    that was cut off.
    """
    raws = raws_on_disk(night, config.instrument)
    if config.salvage:
        return any(is_young(config, now_us, raw.mtime_ns, raw.timing_mtime_ns) for raw in raws)
    now = datetime.fromtimestamp(now_us / 1e6, tz=UTC)
    recent = {f"{now:%Y%m%d}", f"{now - timedelta(days=1):%Y%m%d}"}
    if night.date not in recent:
        return False
    return any(is_young(config, now_us, raw.mtime_ns) for raw in raws)


def is_young(config: Config, now_us: int, *mtimes_ns: int | None) -> bool:
    """Whether any file was written in the last ``settle_minutes``: it may not be complete yet.

    Clocks may differ by as much, so a file of the next minutes is young too; the age of a later one says nothing.
    """
    settle_us = config.settle_minutes * 60e6
    return any(-settle_us <= now_us - mtime_ns // 1000 < settle_us for mtime_ns in mtimes_ns if mtime_ns is not None)


def soonest_future_ns(config: Config, now_us: int) -> int:
    """Return the mtime (UNIX, ns) from which on a file is of the future: no clock that is right is so far ahead."""
    return (now_us + int(max(config.settle_minutes, 1) * 60e6)) * 1000


def of_the_future(files: Mapping[str, int]) -> str:
    """Return a message about files of the future.

    Parameters
    ----------
    files : mapping of str to int
        Name to mtime, UNIX, in nanoseconds; at least one.
    """
    name = max(files, key=lambda name: (files[name], name))
    more = f", and {counted(len(files) - 1, 'other')}" if len(files) > 1 else ""
    return f"{name} was written at {show_ns(files[name])} UT{more}: in the future, so how old it is does not count"
