"""Reading folders and files, with errors of the system translated."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.errors import NotReady, Unreachable

#: Error numbers of a file that is not there: its folder neither, or links that lead nowhere.
_NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def entries_of(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder; none if there is no such folder."""
    if folder.is_symlink():
        folder.stat()  # a link to nothing is a disk that is not there, not a camera that did not observe
    if folder.is_dir():
        with os.scandir(folder) as entries:
            yield from entries


@contextmanager
def translate_read_errors(path: Path) -> Iterator[None]:
    """Translate errors of the system while a folder or file is read.

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
    """Whether there is a folder of this name.

    Raises
    ------
    Unreachable
        If the system does not say.
    """
    with translate_read_errors(path):
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
