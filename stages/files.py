"""Files: what the system's errors, and files that are not as registered, mean to a stage."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from stages.base import BadInput, Retry

#: After so many bytes of a file the disk is asked to start on them.
AHEAD_BYTES = 8 * 1024 * 1024

#: Errors of `open` for a socket or a device that nobody serves, and for circular links.
_NO_FILE = frozenset({errno.ENXIO, errno.ENODEV, errno.ELOOP})


@contextmanager
def retry_on_os_error(path: Path) -> Iterator[None]:
    """Translate an ``OSError`` of the block into ``Retry``: it says nothing about the file's content.

    Parameters
    ----------
    path : Path
        Named in the message if the error names no file.

    Raises
    ------
    Retry
        In place of any ``OSError``.
    """
    try:
        yield
    except OSError as exc:
        raise Retry(
            f"{str(exc.filename or path)!r}: cannot be read or written ({exc.strerror or exc}); "
            "expected permission, room and a mounted disk; see to that, and run the same command again"
        ) from exc


@contextmanager
def bad_input_on_os_error(path: Path) -> Iterator[None]:
    """Translate what fails while a file of ours is read.

    Raises
    ------
    BadInput
        For any OSError inside; the message names `path`.
    """
    try:
        yield
    except OSError as exc:
        raise BadInput(
            f"cannot read {str(path)!r}: {exc.strerror or exc}; expected a readable file; "
            "copy it back from the destination, or roll the night back to raw and advance it again"
        ) from exc


@contextmanager
def opened(path: Path) -> Iterator[FileIO]:
    """Open a file that others write, for reading and unbuffered; a pipe or a device is refused without waiting for it.

    Parameters
    ----------
    path : Path
        A link to a file is as good as the file.

    Yields
    ------
    FileIO
        The open file.

    Raises
    ------
    BadInput
        If it is no file (a folder, a pipe, a socket, a device), or its links are circular.
    Retry
        If the system refuses to open or read it.
    """
    with retry_on_os_error(path):
        try:
            # Without waiting for somebody who writes to it, as one does who opens a pipe.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as exc:
            if exc.errno in _NO_FILE:
                raise BadInput(f"{path}: {exc.strerror}, expected a file; remove it, or put the file in place") from exc
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise BadInput(f"{path}: not a file, expected one; remove it, or put the file in place")
        with FileIO(descriptor) as file:
            yield file


def read_small(path: Path, most_bytes: int = 1 << 28) -> bytes:
    """Return the content of a file, unless it is larger than one of its kind can be.

    Raises
    ------
    BadInput
        If it is no file, or has more than `most_bytes`.
    Retry
        If the system does not give it.
    """
    with retry_on_os_error(path), opened(path) as file:
        if (size_bytes := os.fstat(file.fileno()).st_size) > most_bytes:
            raise BadInput(
                f"{path}: {size_bytes} bytes, expected no more than {most_bytes}; it is not what its name says"
            )
        return file.readall()


def begin_writing(descriptor: int, start: int, length: int) -> None:
    """Start writing bytes of an open file to the disk, so that a later sync waits less.

    A hint only: Linux starts to write dirty pages that are said not to be needed, and keeps them until that is done.
    """
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_DONTNEED)


def read_from_disk(descriptor: int) -> None:
    """Have a synced file read from the disk, in order, and not from the cache, where the system can."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)


def mtime_ns_of(info: os.stat_result) -> int:
    """Return when a file was last written to (UNIX, nanoseconds), as a database takes it: 2262 at the latest.

    A clock that is wrong, or a broken copy, dates files farther into the future than 64 bits reach.
    """
    return min(info.st_mtime_ns, 2**63 - 1)


def check_unchanged(path: Path, size_bytes: int, mtime_ns: int) -> None:
    """Raise unless a file is there as it was registered.

    Parameters
    ----------
    path : Path
        The file.
    size_bytes, mtime_ns : int
        As registered.

    Raises
    ------
    Retry
        If it is gone, differs, or the system does not tell: it may be put back as it was.
    """
    with retry_on_os_error(path):
        try:
            now = path.stat()
        except FileNotFoundError as exc:
            raise Retry(f"{path}: gone since it was registered; put it back and it is tried again") from exc
    if (now.st_size, mtime_ns_of(now)) != (size_bytes, mtime_ns):
        raise Retry(
            f"{path}: changed underneath: {now.st_size} bytes, modified at {mtime_ns_of(now)} ns, "
            f"registered with {size_bytes} bytes, {mtime_ns} ns; "
            "put it back as it was and it is tried again, or roll the night back and advance it with the new one"
        )
