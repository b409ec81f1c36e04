"""Folders and files looked at, and what the system says when it refuses."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.errors import NotReady, Unreachable

#: What the system says where there is no such file: not even the folder, or links that lead nowhere.
_NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def entries_of(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder; nothing if it is not there."""
    if folder.is_symlink():
        folder.stat()  # a link to nothing is a disk that is not there, not a camera that did not observe
    if folder.is_dir():
        with os.scandir(folder) as entries:
            yield from entries


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


@contextmanager
def writing(path: Path, remedy: str) -> Iterator[None]:
    """Translate what the disk refuses while a file is written.

    Parameters
    ----------
    path : Path
        What is written.
    remedy : str
        What to do.

    Raises
    ------
    NotReady
        Naming `path`.
    """
    try:
        yield
    except OSError as exc:
        raise NotReady(f"{path}: cannot be written ({exc.strerror or exc}); {remedy}") from exc


def is_folder(path: Path) -> bool:
    """Tell whether there is a folder of this name.

    Raises
    ------
    NotReady
        If that cannot be told.
    """
    with reading(path):
        return path.is_dir()


def stat_file(path: str) -> os.stat_result | None:
    """Return what `stat` says of a file, or None if there is none of that name."""
    try:
        info = os.stat(path)  # noqa: PTH116  of each file of a night
    except OSError as exc:
        if exc.errno in _NO_FILE:
            return None
        raise
    return info if stat.S_ISREG(info.st_mode) else None
