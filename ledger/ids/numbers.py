"""Frame numbers in use on disk: in names of files under the roots and at the destinations, and in manifests.

They keep the sequence honest where the database cannot: products of another tool, nights of before, a
database that was restored from an older backup. Only folders and manifests are read, never a cube. What
a folder holds is kept in the database for as long as its modification time stands.
"""

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import delete, exists, select
from sqlmodel import col

from ledger.config.model import Config
from ledger.config.site import Site
from ledger.db.models import Copy, FolderSeen, FrameId
from ledger.db.store import Store, put
from ledger.disk.access import translate_read_errors
from ledger.errors import Unreachable
from ledger.text import is_utf8
from stages.base import StageError
from stages.transport import remote_folder

#: Of a frame ID's number, however small it is.
DIGITS = 8

#: Numbers in a row, first and last.
Run = tuple[int, int]

#: A folder written to this recently may change again without a new time: it is not remembered.
#: (Time stamps of file systems are as coarse as 2 s: FAT, and NFS servers on it.)
RACY_NS = 2_000_000_000
#: Folders that are no data: of the file system itself (e2fsprogs), readable by root alone.
SKIPPED = frozenset({"lost+found"})


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers found on disk.

    Attributes
    ----------
    prefix : str
        Of the frame IDs.
    runs : tuple of (int, int, Path)
        First and last of numbers in a row, and the folder or manifest that holds them.
    """

    prefix: str
    runs: tuple[tuple[int, int, Path], ...] = ()

    def within(self, ranges: Iterable[Run]) -> tuple[int, Path] | None:
        """Return the highest number that lies in any of `ranges` (first and last), and where; None if none does."""
        found = [
            (min(last, high), where)
            for low, high in ranges
            for first, last, where in self.runs
            if first <= high and last >= low
        ]
        return max(found, default=None)


@dataclass(slots=True)
class _Walk:
    """One walk over all places; `known` is what the database remembers."""

    prefix: str
    frame_id: re.Pattern[str]
    manifest: re.Pattern[str]
    skipped: frozenset[str]
    known: dict[str, FolderSeen]
    visited: dict[str, FolderSeen] = field(default_factory=dict)
    news: list[FolderSeen] = field(default_factory=list)

    def visit(self, place: Path) -> None:
        """Look into a folder and all below it; one that links lead to twice is looked into once."""
        todo = [place]
        while todo:
            path = todo.pop()
            real = os.path.realpath(path)
            if real in self.visited:
                continue
            with translate_read_errors(path):
                changed_ns = path.stat().st_ctime_ns
            seen = self._known(real, changed_ns) or self._list(path, real, changed_ns)
            self.visited[real] = seen
            todo += [path / name for name in seen.folders]

    def _known(self, real: str, changed_ns: int) -> FolderSeen | None:
        seen = self.known.get(real)
        return seen if seen is not None and seen.changed_ns == changed_ns else None

    def _list(self, path: Path, real: str, changed_ns: int) -> FolderSeen:
        numbers, folders = set(), []
        is_plain = True
        with translate_read_errors(path), os.scandir(path) as entries:
            for entry in entries:
                if _is_folder(entry):
                    if entry.name not in self.skipped and not entry.name.startswith("."):
                        folders.append(entry.name)
                elif match := self.frame_id.match(entry.name):
                    numbers.add(int(match[1]))
                elif self.manifest.match(entry.name):
                    self._manifest(path / entry.name)
                    is_plain = False  # a manifest that is written anew does not show in its folder's time
        seen = FolderSeen(
            path=real, prefix=self.prefix, changed_ns=changed_ns, numbers=runs_of(numbers), folders=sorted(folders)
        )
        if is_plain and all(map(is_utf8, (real, *folders))):
            self.news.append(seen)
        return seen

    def _manifest(self, path: Path) -> None:
        real = os.path.realpath(path)
        with translate_read_errors(path):
            info = path.stat()
            if not stat.S_ISREG(info.st_mode):
                return
            seen = self._known(real, info.st_ctime_ns)
            if seen is None:
                text = path.read_text(encoding="utf-8", errors="replace")
                numbers = {int(digits) for digits in self.frame_id.findall(text)}
                seen = FolderSeen(
                    path=real, prefix=self.prefix, changed_ns=info.st_ctime_ns, numbers=runs_of(numbers), folders=[]
                )
                if is_utf8(real):
                    self.news.append(seen)
        self.visited[real] = seen


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere, or round in a circle: nothing is in it
        return False


def runs_of(numbers: Iterable[int]) -> list[Run]:
    """Return numbers as runs of neighbours, in order."""
    return joined((number, number) for number in numbers)


def joined(runs: Iterable[Run]) -> list[Run]:
    """Return runs in order, adjoining and overlapping ones as one."""
    found: list[Run] = []
    for first, last in sorted(runs):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def numbers_on_disk(store: Store, config: Config, *, remembers: bool = True, is_routine: bool = False) -> Numbers:
    """Return every frame number under the roots, at the destinations and in manifests there.

    Raw streams are left out: raw files have names of their own.

    Parameters
    ----------
    store, config
        The ledger.
    remembers : bool
        Whether to write down what folders hold, so that they need not be listed again.
    is_routine : bool
        Whether a destination to which another host fetches is left out: it may not be reached from here, and nights are
        numbered all the same. What moves the sequence by hand is to see it.

    Raises
    ------
    Unreachable
        If a folder or manifest cannot be read, or a root or destination that held numbers is not there.
    """
    instrument, prefix = config.instrument, config.instrument.prefix
    manifest = Path(instrument.manifest)
    stem = re.escape(manifest.stem).replace(re.escape("{date}"), r"\d{8}")
    with store.read() as session:
        rows = session.execute(select(FolderSeen).where(col(FolderSeen.prefix) == prefix)).scalars()
        known = {row.path: row for row in rows}
    walk = _Walk(
        prefix,
        re.compile(rf"{prefix}(\d{{{DIGITS}}})(?!\d)"),
        re.compile(stem + ".*" + re.escape(manifest.suffix)),
        SKIPPED | {stream.name for stream in instrument.streams},
        known,
    )
    places = [site.root for name in config.pipelines if (site := config.site(name)).has_nights]
    places += [site.destination for site in _destinations(config, is_routine=is_routine) if site.has_copies]
    for place in places:
        with translate_read_errors(place):
            is_there = place.is_dir()
        if is_there:
            walk.visit(place)
        elif _held_numbers(store, place, known.values()):
            raise Unreachable(
                f"{str(place)!r} is not there, and held frame numbers when it was last looked at; expected it to be"
                " mounted; mount it, or set it in the configuration"
            )
    if remembers:
        _remember(store, walk)
    here = [(first, last, Path(s.path)) for s in walk.visited.values() for first, last in s.numbers]
    return Numbers(prefix, (*here, *_numbers_afar(config, is_routine=is_routine)))


def _destinations(config: Config, *, is_routine: bool) -> Iterator[Site]:
    """Yield the destinations to look at; those of before only if a person asks, as their disks may lie on a shelf."""
    for name in config.pipelines:
        yield from config.sites(name)[: 1 if is_routine else None]


def _numbers_afar(config: Config, *, is_routine: bool) -> Iterator[tuple[int, int, Path]]:
    """Yield the runs of numbers at destinations on other hosts; what these hold is not remembered."""
    prefix, manifests = config.instrument.prefix, config.instrument.manifest.replace("{date}", "*")
    stem, dot, suffix = manifests.rpartition(".")
    for site in _destinations(config, is_routine=is_routine):
        host, folder = site.destination_host, site.destination
        if host is None or (is_routine and not site.sends):
            continue
        try:
            found = remote_folder.numbers_at(host, folder, prefix, DIGITS, f"{stem}*{dot}{suffix}")
        except StageError as exc:
            raise Unreachable(f"frame numbers in use at the destination could not be seen: {exc}") from exc
        for first, last in runs_of(found):
            yield first, last, Path(f"{host.name}:{folder}")


def _held_numbers(store: Store, place: Path, known: Iterable[FolderSeen]) -> bool:
    """Whether a folder that is not there is known to have held numbered files."""
    real = Path(os.path.realpath(place))
    if any(row.numbers and Path(row.path).is_relative_to(real) for row in known):
        return True
    inside = col(Copy.path).startswith(f"{place}{os.sep}", autoescape=True)
    numbered = exists().where(col(FrameId.identity) == col(Copy.identity))
    with store.read() as session:
        query = select(col(Copy.id)).where(inside, col(Copy.withdrawn_us).is_(None), numbered)
        return session.execute(query.limit(1)).first() is not None


def _remember(store: Store, walk: _Walk) -> None:
    now_ns = time.time_ns()
    news = [seen for seen in walk.news if seen.changed_ns < now_ns - RACY_NS]
    gone = [path for path in walk.known if path not in walk.visited]
    if not news and not gone:
        return
    with store.write() as session:
        put(session, FolderSeen, [seen.model_dump() for seen in sorted(news, key=lambda seen: seen.path)])
        for path in sorted(gone):
            session.execute(
                delete(FolderSeen).where(col(FolderSeen.path) == path, col(FolderSeen.prefix) == walk.prefix)
            )
