"""Files of a night that may hold frames and are no raw files: by their names, and by what they begin with.

A raw file is a cube ``NAME.fits`` in a stream's folder. Whatever else may hold frames is *outside*: cubes that somebody
compressed, renamed or moved to another folder, copies that were not finished, timing files whose cube is gone.
"""

import bz2
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Literal

from ledger.report import printable
from ledger.scan import NightFolder, entries_of, reading
from stages.base import TEMPORARY_PREFIX, Instrument

Kind = Literal["compressed", "named", "moved", "timing", "folder", "unreadable"]

#: What a file of each kind is, and what to do about it.
KINDS: dict[Kind, tuple[str, str]] = {
    "compressed": ("compressed cube", "unpack it in its folder (`funpack -D FILE`, `gunzip FILE`), its txt beside it"),
    "named": ("cube whose name does not end in .fits", "finish its copy, or rename it so that it does"),
    "moved": ("cube in another folder", "move it, and its txt, to the folder of its stream"),
    "timing": ("timing file without a cube", "bring its cube back from the acquisition machine"),
    "folder": ("folder that is left out as a whole", "it is not looked into"),
    "unreadable": ("folder, link or file that cannot be read", "correct its owner or mode"),
}

#: Names that a FITS file has, compressed or not (FITS 4.0 registers ``.fits``, ``.fit`` and ``.fts`` as image/fits).
_FITS_NAME = re.compile(r"\.(?:fits?|fts|(fz))(?:\.(fz|gz|bz2|xz|zst|lz4|z|zip|7z))?\Z", re.IGNORECASE)

#: The clock in the name of what the cameras' logger writes.
_CLOCK = re.compile(r"\d\d:\d\d:\d\d")

#: What a row of a timing file looks like: six or seven numbers.
_TIMING_ROW = re.compile(rb"^(?:[ \t]*[\d.]+){6,7}[ \t\r]*$", re.MULTILINE)
_TIMING_HEAD = b"# Telemetry stream timing data"

#: How much of a file is looked at.
_HEAD_BYTES = 4096

#: First bytes of what can be looked into, and of what cannot.
_OPENERS: dict[bytes, type[gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_CLOSED = (b"\x1f\x9d", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c")

#: Where a tar archive says that it is one.
_TAR = slice(257, 262)


@dataclass(frozen=True, slots=True)
class Outside:
    """A file that may hold frames and is no raw file.

    Attributes
    ----------
    path : str
        Relative to the night's folder; what cannot be printed is escaped.
    kind : str
        Of :data:`KINDS`.
    """

    path: str
    kind: Kind

    @property
    def words(self) -> str:
        """Return what it is, in words."""
        return KINDS[self.kind][0]

    @property
    def folder(self) -> str:
        """Return its folder within the night, in words."""
        parent = str(PurePosixPath(self.path).parent)
        return "the night's folder" if parent == "." else parent


@dataclass(frozen=True, slots=True)
class Rule:
    """A decision to leave files outside out.

    Attributes
    ----------
    pattern : str
        Of paths within a night (``apapane/*``) or, without a slash, of names; ``*`` stands for anything.
    reason : str
        Why.
    night : tuple of (str, str) or None
        Pipeline and date of the night that it is for; None: all nights.
    """

    pattern: str
    reason: str
    night: tuple[str, str] | None = None

    def covers(self, path: str) -> bool:
        """Whether a path within a night is meant."""
        name = path if "/" in self.pattern else PurePosixPath(path).name
        return fnmatchcase(name, self.pattern)


@dataclass(frozen=True, slots=True)
class Found:
    """What lies outside in a night.

    Attributes
    ----------
    undecided : tuple of Outside
        Of which nobody has decided.
    left_out : tuple of (Outside, str)
        Of which somebody has, and why.
    waits : bool
        Whether the night waits for a decision (``outside: wait``).
    """

    undecided: tuple[Outside, ...]
    left_out: tuple[tuple[Outside, str], ...]
    waits: bool

    @property
    def blocks(self) -> bool:
        """Whether the night is not numbered until somebody decides."""
        return self.waits and bool(self.undecided)

    def refusal(self, date: str) -> str:
        """Return why the night is not numbered, and what to do."""
        n = len(self.undecided)
        which = "file that is no raw file" if n == 1 else "files that are no raw files"
        return (
            f"night {date}: {n} {which} may hold frames"
            f" ({grouped(self.undecided)}); expected cubes named .fits in their streams' folders; `ledger outside list"
            f" --date {date}` says what to do about each; `ledger outside ignore PATTERN --reason TEXT` leaves some out"
        )


def find_outside(night: NightFolder, instrument: Instrument, rules: Iterable[Rule] = ()) -> Iterator[Outside]:
    """Yield the files of a night that may hold frames and are no raw files, folder by folder.

    Parameters
    ----------
    night : NightFolder
        On disk.
    instrument : Instrument
        Names the streams, and the folder of products, which is left out.
    rules : iterable of Rule
        A folder that one of them leaves out as a whole is not looked into, and told as one.

    Raises
    ------
    Unreachable
        If the night's folder or a stream's cannot be read.
    """
    streams = {stream.name for stream in instrument.streams}
    whole = {rule.pattern.removesuffix("/*") for rule in rules if rule.pattern.endswith("/*")}
    own = (*(night.path / name for name in streams), night.path / instrument.product_folder)
    seen = {(status.st_dev, status.st_ino) for status in (path.stat() for path in own if path.exists())}
    with reading(night.path):
        top = _sorted(night.path)
    for entry in top:
        if entry.name in streams:
            with reading(Path(entry.path)):
                yield from _in_stream(Path(entry.path), whole, seen)
        elif entry.name != instrument.product_folder:
            yield from _elsewhere(entry, printable(entry.name), whole, seen)


def sort_out(
    found: Iterable[Outside], rules: Sequence[Rule], *, waits: bool, raws: Callable[[], Collection[str]]
) -> Found:
    """Return files outside by whether a rule covers them.

    Parameters
    ----------
    found : iterable of Outside
        All of a night.
    rules : sequence of Rule
        That hold for it.
    waits : bool
        Whether it waits for decisions.
    raws : callable
        Returns the raw files of the night that are on record, ``stream/name``: if one of them is gone, that is told
        of the cube, and its txt is none without a cube. Asked only where there is such a txt.
    """
    found = list(found)
    known = raws() if any(file.kind == "timing" for file in found) else ()
    undecided, left_out = [], []
    for file in found:
        if file.kind == "timing" and f"{file.path.removesuffix('.txt')}.fits" in known:
            continue
        reason = next((rule.reason for rule in rules if rule.covers(file.path)), None)
        if reason is None:
            undecided.append(file)
        else:
            left_out.append((file, reason))
    return Found(tuple(undecided), tuple(left_out), waits)


def grouped(found: Sequence[Outside]) -> str:
    """Return files in a line: how many of each kind are in which folder, and the first of them by name."""
    groups: dict[tuple[str, Kind], list[Outside]] = {}
    for file in found:
        groups.setdefault((file.folder, file.kind), []).append(file)
    return "; ".join(
        f"{folder}: {KINDS[kind][0]}, {PurePosixPath(files[0].path).name}"
        + (f" and {len(files) - 1} more" if len(files) > 1 else "")
        for (folder, kind), files in groups.items()
    )


# looking


def _sorted(folder: Path) -> list[os.DirEntry[str]]:
    return sorted(entries_of(folder), key=lambda entry: entry.name)


def _in_stream(folder: Path, whole: Collection[str], seen: set[tuple[int, int]]) -> Iterator[Outside]:
    """Yield what is outside in a stream's own folder."""
    entries = {entry.name: entry for entry in entries_of(folder)}  # up to 10^5 cubes and as many txt
    cubes = {name for name in entries if name.endswith(".fits")} - {".fits"}
    others = {name for name in entries.keys() - cubes if not (name.endswith(".txt") and f"{name[:-4]}.fits" in cubes)}
    stems = {name[: fits.start()] for name in others if (fits := _FITS_NAME.search(name))}
    for name in sorted(others):
        entry, is_txt = entries[name], name.endswith(".txt")
        if is_txt and name[:-4] in stems:
            continue
        shown = f"{folder.name}/{printable(name)}"
        if not is_txt or Path(entry.path).is_dir():
            for file in _elsewhere(entry, shown, whole, seen):
                yield replace(file, kind="named") if file == Outside(shown, "moved") else file
        elif _is_timing(Path(entry.path)):
            yield Outside(shown, "timing")


def _elsewhere(
    entry: os.DirEntry[str], shown: str, whole: Collection[str], seen: set[tuple[int, int]]
) -> Iterator[Outside]:
    """Yield a file that may hold frames, or those in a folder; links are followed, and none of them twice."""
    if entry.name.startswith(TEMPORARY_PREFIX):
        return
    if shown in whole:
        yield Outside(f"{shown}/*", "folder")
        return
    try:
        if not entry.is_dir():
            if kind := _kind(entry):
                yield Outside(shown, kind)
            return
        status = entry.stat()
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            for inner in _sorted(Path(entry.path)):
                yield from _elsewhere(inner, f"{shown}/{printable(inner.name)}", whole, seen)
    except OSError:
        yield Outside(shown, "unreadable")


def _kind(entry: os.DirEntry[str]) -> Kind | None:
    """Return how a file may hold frames, by its name or else by what it begins with; None if it does not."""
    if name := _FITS_NAME.search(entry.name):
        return "compressed" if any(name.groups()) else "moved"
    if entry.is_symlink() and not Path(entry.path).exists():
        return None if entry.name.startswith(".#") else "unreadable"  # an editor's lock, or a disk that is not there
    if entry.name.endswith(".txt") or not (head := _head(Path(entry.path))):
        return None
    if _is_fits(head):
        return "moved"
    return "compressed" if _is_packed(Path(entry.path), head) else None


def _head(path: Path) -> bytes:
    """Return what a file begins with; nothing if it is no regular file."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _is_fits(head: bytes) -> bool:
    """Whether bytes begin a FITS file, and not a list of its cards with a line for each."""
    return head.startswith((b"SIMPLE  =", b"XTENSION=")) and b"\n" not in head[:160]


def _is_packed(path: Path, head: bytes) -> bool:
    """Whether a file is compressed or an archive, and may have FITS files in it."""
    if head.startswith(_CLOSED) or head[_TAR] == b"ustar":
        return True
    opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
    if opener is None:
        return False
    try:
        with opener(path) as file:
            inside = file.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return True  # damaged: it may have held anything
    return _is_fits(inside) or inside[_TAR] == b"ustar"


def _is_timing(path: Path) -> bool:
    """Whether a txt is a timing file, by its name or by its rows."""
    try:
        head = _head(path)
    except OSError:
        return True
    return bool(_CLOCK.search(path.name)) or head.startswith(_TIMING_HEAD) or bool(_TIMING_ROW.search(head))
