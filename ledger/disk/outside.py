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
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Literal

from ledger.disk.access import entries_of, translate_read_errors
from ledger.disk.nights import NightFolder
from ledger.text import printable
from stages.base import TEMPORARY_PREFIX
from stages.fits.packed import packed_by
from stages.further import raw_headers_sha256
from stages.instrument import Instrument

Kind = Literal["compressed", "named", "moved", "timing", "folder", "unreadable"]

#: What a file of each kind is, and what to do about it.
KINDS: dict[Kind, tuple[str, str]] = {
    "compressed": ("compressed cube", "unpack it (`funpack -D FILE`, `gunzip FILE`, `tar`) beside its txt"),
    "named": ("cube whose name does not end in .fits", "finish its copy, or rename it so that it does"),
    "moved": ("cube in another folder", "move it, and its txt, to its stream's folder, if it is not there already"),
    "timing": (
        "timing file without a cube",
        "find its cube: by another name, in another folder, or where it was taken",
    ),
    "folder": ("folder that is left out as a whole", "it is not looked into"),
    "unreadable": ("folder, link or file that cannot be read", "correct its owner, mode, target or mount"),
}

#: Names of FITS files (RFC 4047), compressed or not; names that were such before something was added to them; and names
#: of timing files.
_PACKED = r"(\.(?:fz|gz|bz2|xz|lzma|zst|lz4|lz|br|z|zip|7z|rar|gpg))?\Z"
_FITS_NAME = re.compile(rf"\.(?:fits?|fts|(fz)){_PACKED}", re.IGNORECASE)
_FITS_WITHIN = re.compile(r"\.(?:fits?|fts)(?![A-Z0-9])", re.IGNORECASE)
_TIMING_NAME = re.compile(rf"\.txt{_PACKED}", re.IGNORECASE)

#: The clock in the name of what the cameras' logger writes.
_CLOCK = re.compile(r"\d\d:\d\d:\d\d")

#: What a row of a timing file looks like: six or seven numbers.
_TIMING_ROW = re.compile(rb"^(?:[ \t]*[\d.]+){6,7}[ \t\r]*$", re.MULTILINE)
_TIMING_HEAD = b"# Telemetry stream timing data"

#: How much of a file is looked at.
_HEAD_BYTES = 4096

#: What can be looked into, of what :mod:`stages.fits.packed` knows.
_OPENERS: dict[str, type[gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]] = {
    "gzip": gzip.GzipFile,
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}

#: Bytes that text has: no control characters but tabs and ends of lines.
_TEXT = bytes({*range(0x20, 0x7F), *range(0x80, 0x100), *b"\t\n\r"})

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
        Files of which nobody has decided.
    left_out : tuple of (Outside, str)
        Files that somebody decided to leave out, and why.
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
        Names the streams, and the product folder, which is skipped.
    rules : iterable of Rule
        A folder that a rule leaves out as a whole is not entered, and yielded as one.

    Raises
    ------
    Unreachable
        If the night's folder or a stream's cannot be read.
    """
    streams = [stream.name for stream in instrument.streams]
    whole = {rule.pattern.removesuffix("/*") for rule in rules if rule.pattern.endswith("/*")}
    own = [night.path / name for name in (*streams, instrument.product_folder)]
    with translate_read_errors(night.path):
        seen = {(status.st_dev, status.st_ino) for status in (path.stat() for path in own if path.exists())}
    walk = _Walk(tuple(f"{name}_" for name in streams), whole, seen)
    for name in streams:
        with translate_read_errors(night.path / name):
            entries = list(entries_of(night.path / name))
        yield from walk.in_folder(entries, f"{name}/", is_stream=True)
    with translate_read_errors(night.path):
        entries = [
            entry
            for entry in entries_of(night.path)
            if entry.name not in {*streams, instrument.product_folder} and not raw_headers_sha256(entry.name)
        ]
    yield from walk.in_folder(entries, "")


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
        Returns the raw files of the night on record, ``stream/name``: a txt whose registered cube is gone is no file
        outside, as the missing cube is reported. Called only if there is such a txt.
    """
    found = list(found)
    known = raws() if any(file.kind == "timing" for file in found) else ()
    undecided, left_out = [], []
    for file in found:
        if file.kind == "timing" and _TIMING_NAME.sub(".fits", file.path) in known:
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


# walking


@dataclass(frozen=True, slots=True)
class _Walk:
    """A walk through the folders of a night.

    Attributes
    ----------
    begins : tuple of str
        Prefixes of the cameras' file names.
    whole : set of str
        Folders that are left out as a whole.
    seen : set of (int, int)
        Device and inode of folders that were entered: links may lead back.
    """

    begins: tuple[str, ...]
    whole: set[str]
    seen: set[tuple[int, int]]

    def in_folder(
        self, entries: Iterable[os.DirEntry[str]], within: str, *, is_stream: bool = False
    ) -> Iterator[Outside]:
        """Yield what is outside in a folder; `within` are the folders that lead to it, each with a slash."""
        named = {entry.name: entry for entry in entries}  # up to 10^5 cubes and as many txt
        cubes = {name for name in named if name.endswith(".fits")} - {".fits"}
        others = {name for name in named.keys() - cubes if not (name.endswith(".txt") and f"{name[:-4]}.fits" in cubes)}
        stems = {name[: fits.start()] for name in others if (fits := _FITS_NAME.search(name))}
        for name in sorted(others if is_stream else others | cubes):
            timing = _TIMING_NAME.search(name)
            if timing and (name[: timing.start()] in stems or f"{name[: timing.start()]}.fits" in cubes):
                continue
            if not name.startswith(TEMPORARY_PREFIX):
                yield from self._of_entry(named[name], within + printable(name), is_stream=is_stream)

    def _of_entry(self, entry: os.DirEntry[str], shown: str, *, is_stream: bool) -> Iterator[Outside]:
        if shown in self.whole:
            yield Outside(f"{shown}/*", "folder")
            return
        try:
            if not entry.is_dir():
                if kind := self._kind(entry, is_stream=is_stream):
                    yield Outside(shown, kind)
                return
            status = entry.stat()
            is_new = (status.st_dev, status.st_ino) not in self.seen
            self.seen.add((status.st_dev, status.st_ino))
            entries = list(entries_of(Path(entry.path))) if is_new else []
        except OSError:
            yield Outside(shown, "unreadable")
        else:
            yield from self.in_folder(entries, f"{shown}/")

    def _kind(self, entry: os.DirEntry[str], *, is_stream: bool) -> Kind | None:
        """Return how a file may hold frames, by its name or else its first bytes; None if it does not."""
        cube: Kind = "named" if is_stream else "moved"
        if name := _FITS_NAME.search(entry.name):
            return "compressed" if any(name.groups()) else cube
        path = Path(entry.path)
        if entry.is_symlink() and not path.exists():
            # a lock of Emacs, or a disk that is not there
            return None if entry.name.startswith(".#") else "unreadable"
        head = _head(path)
        if _TIMING_NAME.search(entry.name):
            is_a_cameras = bool(_CLOCK.search(entry.name)) and (is_stream or entry.name.startswith(self.begins))
            if is_a_cameras or _is_timing(_inside(path, head) or head):
                return "timing"
        if not head:
            return None
        if _is_fits(head):
            return cube
        if _is_packed(path, head):
            return "compressed"
        return "named" if _FITS_WITHIN.search(entry.name) and head.translate(None, _TEXT) else None


def _head(path: Path) -> bytes:
    """Return the first bytes of a file; none if it is not a regular file."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _is_fits(head: bytes) -> bool:
    """Whether bytes begin a FITS file, and not a list of its cards with a line for each."""
    return head.startswith((b"SIMPLE  =", b"XTENSION=")) and b"\n" not in head[:160]


def _inside(path: Path, head: bytes) -> bytes | None:
    """Return the first bytes of a compressed file, unpacked; None if it cannot be unpacked here."""
    opener = _OPENERS.get(packed_by(head) or "")
    if opener is None:
        return None
    try:
        with opener(path) as file:
            return file.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return None


def _is_packed(path: Path, head: bytes) -> bool:
    """Whether a file is compressed or an archive, and may have FITS files in it."""
    if packed_by(head) is None:
        return head[_TAR] == b"ustar"
    inside = _inside(path, head)  # of what is damaged, or cannot be looked into, it is not known
    return inside is None or _is_fits(inside) or inside[_TAR] == b"ustar"


def _is_timing(head: bytes) -> bool:
    """Whether the first bytes of a txt are those of a timing file."""
    return head.startswith(_TIMING_HEAD) or bool(_TIMING_ROW.search(head))
