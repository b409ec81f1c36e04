"""Further files of a night: what lies in its folder, and is neither a raw file nor a product."""

import os
import re
from collections import deque
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from stages.base import TEMPORARY_PREFIX

#: Checksums of the night, in the night's folder (docs/design.md, Transfer and proof).
SUMS = "SHA256SUMS"

#: An archive of raw headers and timing files (:mod:`stages.fits.raw_headers`), in the night's folder.
_RAW_HEADERS = re.compile(r"raw_headers_([0-9a-f]{64})\.tar\.xz")


def raw_headers_name(sha256: str) -> str:
    """Return the name of an archive of raw headers that has this SHA-256, hex."""
    return f"raw_headers_{sha256}.tar.xz"


def raw_headers_sha256(name: str) -> str | None:
    """Return the SHA-256, hex, that an archive of raw headers has by its name; None if it is no name of one."""
    found = _RAW_HEADERS.fullmatch(name)
    return found and found[1]


def further_files(night: Path, but: Collection[str]) -> list[PurePath]:
    """Return the files of a night's folder and of the folders in it, relative to it and sorted.

    Links to folders are followed once all else is known, so that a folder is found where it is. What cannot be looked
    into is returned itself. Temporaries of the ledger, pipes and links that lead nowhere are no files.

    Parameters
    ----------
    night : Path
        Its folder.
    but : collection of str
        Folders in it that are left out, also where links lead to them.

    Raises
    ------
    OSError
        If the night's folder itself cannot be read.
    """
    seen = {_inode(night / name) for name in but if (night / name).is_dir()}
    found = []
    folders, links = deque([(night, PurePath())]), deque[tuple[Path, PurePath]]()
    while folders or links:
        folder, within = (folders or links).popleft()
        try:
            if (inode := _inode(folder)) in seen:
                continue
            seen.add(inode)
            with os.scandir(folder) as entries:
                named = [entry for entry in entries if not entry.name.startswith(TEMPORARY_PREFIX)]
        except OSError:
            if folder == night:
                raise
            found.append(within)
            continue
        for entry in named:
            name = within / entry.name
            try:
                if entry.is_dir():
                    (links if entry.is_symlink() else folders).append((folder / entry.name, name))
                elif entry.is_file():
                    found.append(name)
            except OSError:
                found.append(name)
    return sorted(found)


def is_named(name: PurePath, patterns: Sequence[str]) -> bool:
    """Whether a file of a night's folder fits one of some patterns.

    A pattern is compared folder by folder: ``*.log`` names files of the night's folder itself, ``notes/*.txt`` those of
    one folder in it, ``apapane/**`` all that a folder has at any depth, ``**/*.log`` files of any folder.
    """
    return any(_fits(name.parts, PurePath(pattern).parts) for pattern in patterns)


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return len(pattern) == 1 or any(_fits(parts[n:], pattern[1:]) for n in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _inode(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
