"""Copies that are proven: hashed while written, synced, read again from the disk and hashed again.

All that `transferred` and `manifested` write or remove at a destination goes through these functions:
they are the transport to a local folder, and what another transport has to offer.

What fails at the destination (disk full, no permission, connection lost) is a :class:`Retry`, what
fails at the source a :class:`BadInput`, and removing what is not provably ours an
:class:`Irreversible`.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.base import TEMPORARY_PREFIX, BadInput, Irreversible, Job
from stages.files import AHEAD_BYTES, bad_input_on_os_error, begin_writing, read_from_disk, retry_on_os_error

#: What computes the hashes; goes into the evidence.
TOOL = "hashlib"

#: Bytes per read and write; 1 MiB and more was erratic.
BLOCK_BYTES = 512 * 1024

#: What to do about a copy that is not right.
AGAIN = "copy it again (`ledger verify --repair`)"

#: A mismatch is copied again with force, then failed (docs/design.md, Transfer and proof).
ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Digest:
    """What was read: SHA-256 (hex) and number of bytes."""

    sha256: str
    size_bytes: int


def is_there(path: Path) -> bool:
    """Tell whether there is anything of this name.

    Raises
    ------
    Retry
        If that cannot be told.
    """
    with retry_on_os_error(path):
        return path.exists()


def digest(path: Path, *, from_disk: bool = False) -> Digest:
    """Hash a file.

    Parameters
    ----------
    path : Path
        File to read.
    from_disk : bool
        Sync the file and drop it from the cache first, where the system can (only what is synced
        can be dropped), so that what is hashed is what the disk holds and not what was meant to be
        written.

    Raises
    ------
    OSError
        If it is no file, or cannot be synced or read.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # one who opens a pipe waits for who writes to it
        raise OSError(errno.EINVAL, "not a file", str(path))
    with path.open("rb", buffering=0) as file:
        if from_disk:
            os.fsync(file.fileno())
            read_from_disk(file.fileno())
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Digest(sha256, file.tell())


def source_digest(path: Path) -> Digest:
    """Hash a file of ours.

    Raises
    ------
    BadInput
        If it cannot be read.
    """
    with bad_input_on_os_error(path):
        return digest(path)


def sizes(paths: Sequence[Path]) -> list[int | None]:
    """Return the sizes of files of ours, in bytes; None for what is not there.

    Raises
    ------
    BadInput
        If that cannot be told.
    """
    found: list[int | None] = []
    for path in paths:
        with bad_input_on_os_error(path):
            found.append(path.stat().st_size if path.exists() else None)
    return found


def sync_folder(folder: Path) -> None:
    """Make names in `folder` durable.

    Raises
    ------
    Retry
        If the folder cannot be synced.
    """
    with retry_on_os_error(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def destination_of(job: Job) -> Path:
    """Return the night's folder at the destination, which need not exist yet.

    The folder above it must: creating it would fill the disk below a mount point that is empty.

    Raises
    ------
    BadInput
        If the job has no destination, its base is no folder, or it is the night itself.
    Retry
        If the base exists but cannot be looked at.
    """
    if job.destination is None:
        raise BadInput(
            f"night {job.date}: no destination; expected the path of an existing folder; "
            "set transfer.destination in the configuration"
        )
    base = job.destination.parent
    with retry_on_os_error(base):
        try:
            is_folder = stat.S_ISDIR(base.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            is_folder = False
        if not is_folder:
            raise BadInput(
                f"destination {str(base)!r}: found no folder there, expected an existing one; "
                "mount it, create it, or set transfer.destination"
            )
        for ours, theirs in ((job.night, job.destination), (job.folder, job.destination / job.folder.name)):
            if ours.exists() and theirs.exists() and ours.samefile(theirs):
                raise BadInput(
                    f"destination {str(theirs)!r} is the night's own folder {str(ours)!r}; "
                    "expected another one; set transfer.destination"
                )
    return job.destination


def make_folder(folder: Path) -> None:
    """Create one folder durably, if it is not there; its parent must be.

    Raises
    ------
    BadInput
        If something that is not a folder has the name.
    Retry
        If it cannot be created.
    """
    with retry_on_os_error(folder):
        try:
            folder.mkdir(exist_ok=True)
        except FileExistsError as exc:
            raise BadInput(
                f"destination {str(folder)!r}: found a file, expected a folder or nothing; move it away"
            ) from exc
    sync_folder(folder.parent)


def copy_proven(source: Path, final: Path, *, sha256: str | None = None, may_replace: bool = True) -> Digest:
    """Make sure that `final` holds the bytes of `source`, and prove it.

    A file of the same size at `final` is proven as it lies and not copied again if its bytes are
    right.  Otherwise the copy is written to a temporary beside it, proven, and then takes the name.
    The caller syncs the folder.  The copy keeps the time of modification, as ``rsync -a`` does
    (docs/design.md, Transfer and proof).

    Parameters
    ----------
    source, final : Path
        File to copy, and its name at the destination in an existing folder.
    sha256 : str, optional
        What the bytes must hash to, hex; without it, what is read at the source.
    may_replace : bool
        Whether a file of other bytes at `final` is ours to replace.

    Returns
    -------
    Digest
        Of the destination's bytes.

    Raises
    ------
    BadInput
        If the source cannot be read or does not hash to `sha256`, if the name is taken by something
        that is not a file, or if the copy differs even when made a second time.
    Retry
        If the destination cannot be written or read.
    """
    with retry_on_os_error(final):
        if _looks_copied(source, final):
            present = digest(final, from_disk=True)
            if present.sha256 == (sha256 or source_digest(source).sha256):
                return present
        if not may_replace and os.path.lexists(final):
            raise BadInput(
                f"{str(final)!r}: found other bytes than those of {str(source)!r}, which this ledger did not put "
                "there; expected no such file; it may be an archived one: find out whose it is, and move it away"
            )
        temporary = temporary_beside(final)
        try:
            for _ in range(ATTEMPTS):
                read = _copy(source, temporary)
                if sha256 not in (None, read.sha256):
                    raise BadInput(
                        f"{str(source)!r}: found SHA-256 {read.sha256}, expected {sha256}; the file changed "
                        "since it was compressed: not copied; roll it back and advance it again"
                    )
                written = digest(temporary, from_disk=True)
                if written == read:
                    temporary.replace(final)
                    return written
        finally:
            temporary.unlink(missing_ok=True)
    raise BadInput(
        f"{str(final)!r}: the copy reads back as SHA-256 {written.sha256} ({written.size_bytes} bytes), "
        f"expected {read.sha256} ({read.size_bytes} bytes), {ATTEMPTS} times; check the destination's disk"
    )


def temporary_beside(final: Path) -> Path:
    """Return the name under which `final` is written until it is proven."""
    return final.with_name(f"{TEMPORARY_PREFIX}{final.name}")


def prove(final: Path, *, sha256: str) -> Digest:
    """Hash a copy as it lies at the destination.

    Raises
    ------
    BadInput
        If it is missing or its bytes hash to something else than `sha256`.
    Retry
        If the destination cannot be read.
    """
    with retry_on_os_error(final):
        if not final.is_file():
            raise BadInput(f"{str(final)!r}: found no file, expected a copy; {AGAIN}")
        found = digest(final, from_disk=True)
    if found.sha256 != sha256:
        raise BadInput(f"{str(final)!r}: found SHA-256 {found.sha256}, expected {sha256}; the copy is damaged; {AGAIN}")
    return found


def is_ours(source: Path, final: Path, *, sha256: str | None = None) -> bool:
    """Tell whether `final` stands at the destination and may be removed.

    It may if it is a file, `source` exists, and both have the same bytes (those of `sha256`, if
    given): then nothing is lost that could not be copied again.

    Returns
    -------
    bool
        False if there is nothing at `final`.

    Raises
    ------
    Irreversible
        If what stands there is not provably ours, or is the only copy.
    Retry
        If the destination cannot be read.
    """
    with retry_on_os_error(final):
        if not os.path.lexists(final):
            return False
        if not stat.S_ISREG(final.lstat().st_mode):
            raise Irreversible(f"{str(final)!r}: found something that is not a file; left alone; move it away")
        there = digest(final, from_disk=True)
    try:
        here = source_digest(source)
    except BadInput as exc:
        raise Irreversible(f"{str(final)!r} may be the only copy, left alone: {exc}") from exc
    expected = sha256 or here.sha256
    if there.sha256 != expected:
        raise Irreversible(
            f"{str(final)!r}: found SHA-256 {there.sha256}, expected {expected}; "
            "not ours any more, left alone; move it away"
        )
    if here.sha256 != expected:
        raise Irreversible(
            f"{str(source)!r}: found SHA-256 {here.sha256}, expected {expected}; "
            f"{str(final)!r} is the only good copy, left alone; copy it back over {str(source)!r} first"
        )
    return True


def remove(final: Path) -> None:
    """Remove a file at the destination, and what a killed copy to it left; missing is fine.

    Raises
    ------
    Retry
        If it cannot be removed.
    """
    with retry_on_os_error(final):
        final.unlink(missing_ok=True)
        temporary_beside(final).unlink(missing_ok=True)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder at the destination if nothing is in it; missing is fine.

    Raises
    ------
    Retry
        If it is empty and cannot be removed.
    """
    with retry_on_os_error(folder):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _looks_copied(source: Path, final: Path) -> bool:
    """Tell whether `final` is a file of its own with the size of `source`.

    A link to the source is no copy: both would go together.
    """
    if not os.path.lexists(final):
        return False
    there = final.lstat()
    if stat.S_ISDIR(there.st_mode):
        raise BadInput(f"destination {str(final)!r}: found a folder, expected a file or nothing; move it away")
    with bad_input_on_os_error(source):
        here = source.stat()
    return stat.S_ISREG(there.st_mode) and there.st_size == here.st_size and not os.path.samestat(there, here)


def _copy(source: Path, temporary: Path) -> Digest:
    """Copy, without syncing; return the digest of what was read.

    Raises
    ------
    BadInput
        If the source cannot be read.
    OSError
        If the temporary cannot be written.
    """
    # What a killed copy left goes first: a link there would be written through.
    temporary.unlink(missing_ok=True)
    with bad_input_on_os_error(source):
        mtime_ns = source.stat().st_mtime_ns
    sha256 = hashlib.sha256()
    size_bytes = begun = 0
    with temporary.open("xb") as file:
        for block in _blocks(source):
            file.write(block)
            sha256.update(block)
            size_bytes += len(block)
            if size_bytes - begun >= AHEAD_BYTES:
                file.flush()
                begin_writing(file.fileno(), begun, size_bytes - begun)
                begun = size_bytes
        # Buffered bytes, written later, would change the time again.
        file.flush()
        os.utime(file.fileno(), ns=(mtime_ns, mtime_ns))
    return Digest(sha256.hexdigest(), size_bytes)


def _blocks(source: Path) -> Iterator[memoryview]:
    """Yield the file's bytes through one buffer; only what fails here is the source's fault."""
    buffer = memoryview(bytearray(BLOCK_BYTES))
    with bad_input_on_os_error(source), source.open("rb", buffering=0) as file:
        while n := file.readinto(buffer):
            yield buffer[:n]
