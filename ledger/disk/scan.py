"""What is on disk: nights under the roots, raw files in a night. Reads folders only, never a file."""

import errno
import os
import re
import shlex
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.clock import show_us
from ledger.config.model import Config
from ledger.errors import BadInput, Unreachable
from ledger.report import counted, printable
from stages.base import TEMPORARY_PREFIX, Instrument, Stream
from stages.files import mtime_ns_of
from stages.fits.cards import padded

if TYPE_CHECKING:
    from sqlalchemy import Row

    from ledger.db.models import File

#: At the destination: where the own files of nights are while they are fetched. Begins with a dot: no data.
WORK = f"{TEMPORARY_PREFIX}nights"

#: What the system says where there is no such file: not even the folder, or links that lead nowhere.
_NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})

#: What to do about files of the future.
SET_THE_CLOCK = "set the clock of the machine that writes them, or of this one"

#: Size in bytes and mtime in nanoseconds of a cube, and of the txt beside it if there is one.
Stats = tuple[int, int, int | None, int | None]

_DATE = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})")


@dataclass(frozen=True, slots=True)
class NightFolder:
    """A night on disk: which pipeline it belongs to, by its root, and its UT date (YYYYMMDD).

    On a host that fetches, its root is on another one, and `work` the folder to work in instead.
    """

    pipeline: str
    root: Path
    date: str
    work: Path | None = None

    @property
    def path(self) -> Path:
        """Return the folder."""
        return (self.work or self.root) / self.date


@dataclass(frozen=True, slots=True)
class RawOnDisk:
    """A cube in a stream's folder, and what `stat` says of it and of the txt beside it.

    `fault` says why there is nothing to stat: a link to nothing, a folder, or a name that is not UTF-8 or cannot be
    printed; of such a name `name` has what is wrong escaped, as database, terminal or a table in text do not take it.
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
        """Return what is compared."""
        return self.size_bytes, self.mtime_ns, self.timing_size_bytes, self.timing_mtime_ns

    def is_as_registered(self, row: "File | Row[Any]") -> bool:
        """Whether nothing has changed since `row` was written."""
        return self.stats == (
            row.size_bytes,
            row.mtime_ns,
            row.timing_size_bytes,
            row.timing_mtime_ns,
        )

    def differences(self, row: "File | Row[Any]") -> str:
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
        told = []
        for file, (found, expected) in sizes.items():
            if found is None and expected is not None:
                told.append(f"{file}: found none, expected {expected} bytes")
                continue
            if found != expected:
                told.append(f"{file} size: found {found} bytes, expected {expected}")
            then_ns, now_ns = reversed(mtimes_ns[file])
            if then_ns != now_ns:
                told.append(f"{file} mtime: found {show_ns(now_ns)}, expected {show_ns(then_ns)}")
        return ", ".join(told)


def ways_on(night: Path, row: "File | Row[Any]", raw: RawOnDisk) -> str:
    """Return what to do about a raw file that changed after products were made of it.

    Parameters
    ----------
    night : Path
        Its night's folder.
    row : File
        As registered; if it was salvaged then, the whole file may have been found.
    raw : RawOnDisk
        As it is now. If its size is another, a rollback may need the old one: nothing that cannot be made
        again is ever dropped.
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


def parse_date(text: str) -> str:
    """Return a date as ``YYYYMMDD``; ``2026-01-02`` is understood too.

    Raises
    ------
    BadInput
        If it is no date, or a path where a date is due.
    """
    if is_date(text):
        return text.replace("-", "")
    hint = f"; a folder is given without --date: {text!r}" if "/" in text else ""
    raise BadInput(f"date {text!r}: not a date; expected YYYYMMDD or YYYY-MM-DD, such as 20260102{hint}")


def is_date(text: str) -> bool:
    """Whether `text` is a day of the calendar, as ``YYYYMMDD`` or ``YYYY-MM-DD``."""
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    try:
        datetime.strptime("".join(match.groups()), "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def find_night(config: Config, *, date: str | None = None, folder: Path | None = None) -> NightFolder:
    """Return the night that a command names, by date or by folder.

    A date in both roots means the one of `archive`. A night must be a direct child of a root.

    Raises
    ------
    BadInput
        If there is no such night, saying what was expected instead.
    """
    if (date is None) == (folder is None):
        raise BadInput("expected one night: either --date YYYYMMDD or a night's folder")
    if date is not None:
        return _night_of_date(config, parse_date(date))
    return _night_of_folder(config, Path(str(folder)))


def also_in(config: Config, night: NightFolder) -> list[str]:
    """Return the other pipelines whose root has a night of the same date; on a host that fetches nobody looks."""
    if config.fetches:
        return []
    others = [(name, p) for name, p in config.pipelines.items() if name != night.pipeline]
    return [name for name, p in others if is_folder(p.root / night.date)]


def night_of(config: Config, pipeline: str, date: str) -> NightFolder:
    """Return the night of a date, whether it is there or not."""
    work = config.destination(pipeline) / WORK if config.fetches else None
    return NightFolder(pipeline, config.pipelines[pipeline].root, date, work)


def _night_of_date(config: Config, date: str) -> NightFolder:
    if config.fetches:  # whether there is one is for the database to say
        return night_of(config, "archive", date)
    for name, pipeline in config.pipelines.items():
        if is_folder(pipeline.root / date):
            return NightFolder(name, pipeline.root, date)
    roots = " or ".join(f"{p.root} ({name})" for name, p in config.pipelines.items())
    raise BadInput(f"no night {date}: expected a folder {date!r} in {roots}; check the date, or archive.root")


def _night_of_folder(config: Config, folder: Path) -> NightFolder:
    named = Path(os.path.normpath(folder.absolute()))
    path = named.parent.resolve() / named.name  # a night may be a link
    if not config.fetches and not is_folder(path):
        raise BadInput(f"{str(folder)!r}: no such folder; expected a night, <root>/YYYYMMDD, or --date")
    for name, pipeline in config.pipelines.items():
        if path.parent == pipeline.root.resolve():
            if len(path.name) != 8 or not is_date(path.name):
                raise BadInput(f"{str(folder)!r} is not a night: expected a folder named YYYYMMDD in {pipeline.root}")
            return night_of(config, name, parse_date(path.name))
    roots = " or ".join(f"{p.root} ({name})" for name, p in config.pipelines.items())
    raise BadInput(f"{str(folder)!r} is not a night: expected a direct child of {roots}; check archive.root")


def nights_on_disk(config: Config, pipeline: str) -> list[NightFolder]:
    """Return the nights under the root of `pipeline`, oldest first, from its ``first_night`` on.

    On a host that fetches there are none: its nights are on another one.

    Raises
    ------
    BadInput
        If the root is not there.
    """
    settings = config.pipelines[pipeline]
    if config.fetches:
        return []
    if not is_folder(settings.root):
        raise BadInput(
            f"{pipeline}.root {str(settings.root)!r}: no such folder; expected the folder that holds the nights;"
            f" create it, or set LEDGER_{pipeline.upper()}__ROOT"
        )
    first = settings.first_night or ""
    with reading(settings.root):
        dates = [p for p in settings.root.iterdir() if len(p.name) == 8 and is_date(p.name)]
        names = sorted(p.name for p in dates if p.is_dir() or p.is_symlink())  # one to nothing is told when it is read
    return [NightFolder(pipeline, settings.root, name) for name in names if name >= first]


def before_first(
    config: Config, pipeline: str, date: str, numbered_us: int | None, numbers_from: str | None
) -> str | None:
    """Return what puts a night before the first one that the pipeline looks at, in words; None if nothing does.

    Parameters
    ----------
    config : Config
        With the pipeline's ``first_night``.
    pipeline, date : str
        The night.
    numbered_us : int or None
        When it first had its frame IDs.
    numbers_from : str or None
        The first night that gets numbers, as ``ledger ids start --from`` named it; holds for nights that have none yet.
    """
    configured = config.pipelines[pipeline].first_night
    if configured is not None and date < configured:
        return f"{configured} ({pipeline}.first_night)"
    if numbers_from is not None and date < numbers_from and numbered_us is None:
        return f"{numbers_from} (`ledger ids start --from`)"
    return None


def raws_on_disk(night: NightFolder, instrument: Instrument) -> list[RawOnDisk]:
    """Return the cubes in the night's streams, by stream and name.

    Raises
    ------
    BadInput
        If a stream is a file.
    NotReady
        If a stream cannot be read.
    """
    return compare_with_disk(night, instrument, {})[0]


def compare_with_disk(
    night: NightFolder, instrument: Instrument, known: Mapping[str, Mapping[str, Stats]]
) -> tuple[list[RawOnDisk], list[tuple[str, str]]]:
    """Return the cubes in the night's streams that are not as they are known to be, and which are.

    Of those that are, nothing is made but their names: a night has up to 10^5, and every run looks at all of them.

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
    BadInput, NotReady
        As :func:`raws_on_disk`.
    """
    for stream in instrument.streams:
        folder = night.path / stream.name
        with reading(folder):
            is_file = folder.exists() and not folder.is_dir()
        if is_file:
            raise BadInput(f"{str(folder)!r} is a file: expected the folder of stream {stream.name!r}; move it away")
    others: list[RawOnDisk] = []
    alike: list[tuple[str, str]] = []
    for stream in instrument.streams:
        with reading(night.path / stream.name):
            new, names = _raws_of(night.path / stream.name, stream, known.get(stream.name, {}))
        others += new
        alike += [(stream.name, name) for name in names]
    return others, alike


def streams_ns(night: NightFolder, instrument: Instrument) -> int:
    """Return the newest mtime of the streams' folders, in nanoseconds: it changes when a file comes or goes."""
    _refuse_lost(night)
    mtimes_ns = [0]
    for stream in instrument.streams:
        folder = night.path / stream.name
        with reading(folder):
            mtimes_ns += [mtime_ns_of(folder.stat())] if folder.is_dir() else []
    return max(mtimes_ns)


def _refuse_lost(night: NightFolder) -> None:
    """Refuse a night that is a link to nothing: its disk is not there."""
    if night.path.is_symlink():
        with reading(night.path):
            night.path.stat()


def has_raws(night: NightFolder, instrument: Instrument) -> bool:
    """Whether any stream of the night holds a cube."""
    _refuse_lost(night)
    for stream in instrument.streams:
        folder = night.path / stream.name
        with reading(folder):
            if any(_is_cube(entry.name) for entry in entries_of(folder)):
                return True
    return False


def has_products(night: NightFolder, instrument: Instrument) -> bool:
    """Whether anything lies where the night's products are."""
    products = night.path / instrument.product_folder
    with reading(products):
        return products.is_dir() and not all(entry.name.startswith(".") for entry in entries_of(products))


def entries_of(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder; nothing if it is not there."""
    if folder.is_symlink():
        folder.stat()  # a link to nothing is a disk that is not there, not a camera that did not observe
    if folder.is_dir():
        with os.scandir(folder) as entries:
            yield from entries


def _is_cube(name: str) -> bool:
    return name.endswith(".fits") and name != ".fits"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Translate what the disk refuses.

    Raises
    ------
    Unreachable
        Naming the folder or file.
    """
    try:
        yield
    except OSError as exc:
        raise Unreachable(
            f"{str(exc.filename or path)!r}: cannot be read ({exc.strerror or exc}); expected that whoever runs the"
            " ledger may list the folder and read its files; correct owner, mode or mount, and run the same command"
            " again"
        ) from exc


def is_folder(path: Path) -> bool:
    """Tell whether there is a folder of this name.

    Raises
    ------
    NotReady
        If that cannot be told.
    """
    with reading(path):
        return path.is_dir()


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
        stats = _stats_of(_stat_file(within + name), _stat_file(within + timing))
        if stats is not None and stats == known.get(name):
            alike.append(name)
        else:
            others[name] = _looked_at(folder, name, stream, stats)
    return [others[name] for name in sorted(others)], alike


def look_at(cube: Path, stream: Stream) -> RawOnDisk:
    """Return what `stat` says of a cube and of the txt beside it."""
    if not cube.name.isprintable():
        return _unprintable(cube.parent, cube.name, stream)
    with reading(cube):
        stats = _stats_of(_stat_file(str(cube)), _stat_file(f"{str(cube).removesuffix('.fits')}.txt"))
    return _looked_at(cube.parent, cube.name, stream, stats)


def _stats_of(info: os.stat_result | None, timing_info: os.stat_result | None) -> Stats | None:
    """Return what is compared of a cube and its txt; None if there is no cube."""
    if info is None:
        return None
    if timing_info is None:
        return info.st_size, mtime_ns_of(info), None, None
    return info.st_size, mtime_ns_of(info), timing_info.st_size, mtime_ns_of(timing_info)


def _looked_at(folder: Path, name: str, stream: Stream, stats: Stats | None) -> RawOnDisk:
    if stats is None:
        fault = f"{folder / name}: not a file; expected a FITS cube; remove it"
        return RawOnDisk(stream, folder, name, 0, 0, None, None, fault)
    return RawOnDisk(stream, folder, name, *stats)


def _unprintable(folder: Path, name: str, stream: Stream) -> RawOnDisk:
    shown = printable(name)
    fault = f"{folder / shown}: its name is not UTF-8, or cannot be printed; rename it, and its txt"
    return RawOnDisk(stream, folder, shown, 0, 0, None, None, fault)


def _stat_file(path: str) -> os.stat_result | None:
    """Return what `stat` says of a file, or None if there is none of that name."""
    try:
        info = os.stat(path)  # noqa: PTH116  of each file of a night
    except OSError as exc:
        if exc.errno in _NO_FILE:
            return None
        raise
    return info if stat.S_ISREG(info.st_mode) else None


def is_being_written(night: NightFolder, config: Config, now_us: int) -> bool:
    """Whether the cameras may still be writing to the night.

    True if its UT date is today or yesterday and its newest raw file is younger than ``settle_minutes``.
    With ``salvage`` the date does not matter, and txt count too: a file that is still being copied looks
    like one that was cut off, and must not miss its turn.
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
    """Whether any file was written to in the last ``settle_minutes``: it may not be complete yet.

    Clocks may be as far apart, so a file of the next minutes is young too; a later one has no age that says anything.
    """
    settle_us = config.settle_minutes * 60e6
    return any(-settle_us <= now_us - mtime_ns // 1000 < settle_us for mtime_ns in mtimes_ns if mtime_ns is not None)


def soonest_future_ns(config: Config, now_us: int) -> int:
    """Return from which mtime on (UNIX, nanoseconds) a file is of the future: no clock is so far off that is right."""
    return (now_us + int(max(config.settle_minutes, 1) * 60e6)) * 1000


def of_the_future(files: Mapping[str, int]) -> str:
    """Return what to tell of files of the future.

    Parameters
    ----------
    files : mapping of str to int
        Name to mtime, UNIX, in nanoseconds; at least one.
    """
    name = max(files, key=lambda name: (files[name], name))
    more = f", and {counted(len(files) - 1, 'other')}" if len(files) > 1 else ""
    return f"{name} was written at {show_ns(files[name])} UT{more}: in the future, so how old it is does not count"
