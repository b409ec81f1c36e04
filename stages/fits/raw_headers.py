"""What is left of raw files that are removed: an archive of their headers and timing files, byte for byte.

A raw file is its header, its frames and what follows them. Products hold the frames; a tar archive, compressed with xz,
holds the rest, so that each raw file could be made again and proven by its SHA-256. Its file is named by its own
SHA-256 (:func:`stages.further.raw_headers_name`): it is never written over, and proves itself.
"""

import hashlib
import io
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path, PurePosixPath

from stages.base import TEMPORARY_PREFIX, BadInput
from stages.files import check_unchanged, mtime_ns_of, opened, read_small, retry_on_os_error
from stages.fits.cubes import read_cube_layout
from stages.further import raw_headers_sha256

#: Endings that the parts of a cube have beside its own name.
HEADER, REST = ".header", ".rest"

#: A folder of stand-ins for raw files, in a night's folder, while they are worked with.
STAND_INS = f"{TEMPORARY_PREFIX}raw_headers"

README, LIST = "README.txt", "raw_files.tsv"
_README = f"""\
Headers and timing files of raw FITS cubes that were removed after their frames were archived.

STREAM/NAME.fits{HEADER}  the header of the raw file: its first bytes, up to the first frame
STREAM/NAME.fits{REST}    what followed the last frame, if anything did: the padding of the file
STREAM/NAME.txt          the timing file, a row for each frame
{LIST}            size, time (UNIX, ns) and SHA-256 of each raw file, of its header and of its timing file

Header, frames (as they were stored: big-endian, unscaled) and rest, one after the other, are the raw file; its SHA-256
proves it. lineage.tsv beside the products says which frames of which raw file each product has.
"""

_COPY_BACK = "copy it back from the destination"

#: Little time for nearly as small a file: headers are alike.
_PRESET = 1


@dataclass(frozen=True, slots=True)
class RawListed:
    """A raw file as an archive lists it.

    Attributes
    ----------
    raw : str
        ``stream/name``.
    size_bytes, mtime_ns : int
        Of the cube.
    sha256, header_sha256 : str
        Of the whole cube, and of its header, hex.
    timing_size_bytes, timing_mtime_ns : int
        Of the txt.
    timing_sha256 : str
        The same, hex.
    """

    raw: str
    size_bytes: int
    mtime_ns: int
    sha256: str
    header_sha256: str
    timing_size_bytes: int
    timing_mtime_ns: int
    timing_sha256: str


@dataclass(frozen=True, slots=True)
class RawParts:
    """What an archive is to hold of a raw file: all of it but its frames.

    Attributes
    ----------
    listed : RawListed
        Its line.
    header, rest, timing : bytes
        Of the cube before and after its frames, and the txt.
    """

    listed: RawListed
    header: bytes
    rest: bytes
    timing: bytes


def read_parts(cube: Path) -> RawParts:
    """Read what an archive is to hold of a raw file, and hash all of it.

    Raises
    ------
    BadInput
        If it is no cube.
    Retry
        If it cannot be read, or changes meanwhile.
    """
    txt = cube.with_suffix(".txt")
    with retry_on_os_error(cube):
        status, timing_status = cube.stat(), txt.stat()
    layout = read_cube_layout(cube, may_be_short=True)
    with retry_on_os_error(cube), opened(cube) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(layout.data_offset + layout.data_bytes)
        rest = file.readall()
    timing = read_small(txt)
    for path, info in ((cube, status), (txt, timing_status)):
        check_unchanged(path, info.st_size, mtime_ns_of(info))
    listed = RawListed(
        f"{cube.parent.name}/{cube.name}",
        status.st_size,
        mtime_ns_of(status),
        sha256,
        hashlib.sha256(layout.header).hexdigest(),
        timing_status.st_size,
        mtime_ns_of(timing_status),
        hashlib.sha256(timing).hexdigest(),
    )
    return RawParts(listed, layout.header, rest, timing)


@contextmanager
def writing_archive(path: Path) -> Iterator[Callable[[RawParts], None]]:
    """Write an archive, whole and synced at the end; what is left of one that comes to nothing is removed.

    Yields
    ------
    callable
        Adds a raw file.

    Raises
    ------
    Retry
        If it cannot be written.
    """
    lines = [tuple(field.name for field in fields(RawListed))]
    try:
        with retry_on_os_error(path), path.open("wb") as file:
            with lzma.open(file, "wb", preset=_PRESET) as packed, tarfile.open(fileobj=packed, mode="w") as tar:

                def add(parts: RawParts) -> None:
                    raw, listed = parts.listed.raw, parts.listed
                    _add(tar, raw + HEADER, parts.header, listed.mtime_ns)
                    if parts.rest:
                        _add(tar, raw + REST, parts.rest, listed.mtime_ns)
                    _add(tar, _timing_of(raw), parts.timing, listed.timing_mtime_ns)
                    lines.append(astuple(listed))

                _add(tar, README, _README.encode())
                yield add
                _add(tar, LIST, "".join("\t".join(map(str, line)) + "\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def read_archive(path: Path, into: Path | None = None, *, besides: Path | None = None) -> dict[str, RawListed]:
    """Read an archive and check all of it; return its raw files by ``stream/name``.

    Parameters
    ----------
    path : Path
        The archive, under its name.
    into : Path, optional
        A folder to make stand-ins of the raw files in: their headers and timing files, and holes where frames were.
    besides : Path, optional
        A night's folder: of raw files whose cubes are there, no stand-ins are made.

    Raises
    ------
    BadInput
        If it has another SHA-256 than its name says, or a part of it is missing or other than it is listed.
    Retry
        If it cannot be read, or stand-ins not be written.
    """
    found: dict[str, str] = {}
    listing = b""

    def is_there(name: str) -> bool:
        return besides is not None and (besides / name.removesuffix(HEADER)).with_suffix(".fits").exists()

    with retry_on_os_error(path), opened(path) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != raw_headers_sha256(path.name):
        raise BadInput(f"{path}: SHA-256 {sha256}, expected the one in its name; {_COPY_BACK}")
    try:
        with retry_on_os_error(path), tarfile.open(path, "r:xz") as tar:
            for member in tar:
                content = _content(tar, member)
                if member.name == LIST:
                    listing = content
                elif member.name.endswith((HEADER, ".txt")) and member.name != README:
                    found[member.name] = hashlib.sha256(content).hexdigest()
                    if into is not None and not is_there(member.name):
                        _place(into, member.name.removesuffix(HEADER), content)
        listed = [_parse(line.split("\t")) for line in listing.decode().splitlines()[1:]]
    except (tarfile.TarError, lzma.LZMAError, EOFError, ValueError) as exc:
        raise BadInput(f"{path}: {exc}; expected an archive of raw headers; {_COPY_BACK}") from exc
    expected = {raw.raw + HEADER: raw.header_sha256 for raw in listed}
    expected |= {_timing_of(raw.raw): raw.timing_sha256 for raw in listed}
    if wrong := sorted(name for name in found.keys() | expected if found.get(name) != expected.get(name)):
        raise BadInput(f"{path}: {wrong[0]} is not as {LIST} has it; {_COPY_BACK}")
    for raw in listed if into is not None else ():
        if not is_there(raw.raw):
            _finish(Path(str(into), raw.raw), raw)
    return {raw.raw: raw for raw in listed}


def _timing_of(raw: str) -> str:
    return f"{raw.removesuffix('.fits')}.txt"


def _add(tar: tarfile.TarFile, name: str, content: bytes, mtime_ns: int = 0) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(content), mtime_ns // 10**9, 0o444
    tar.addfile(info, io.BytesIO(content))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    if file is None:
        raise ValueError(f"{member.name[:99]!r} is no file")
    return file.read()


def _parse(columns: Sequence[str]) -> RawListed:
    """Return a line of the list, with the types that its fields have."""
    values = [
        int(value) if field.type is int else value for field, value in zip(fields(RawListed), columns, strict=True)
    ]
    return RawListed(*values)  # type: ignore[arg-type]


def _place(folder: Path, name: str, content: bytes) -> None:
    """Write a file of a stream's folder."""
    stream, file = PurePosixPath(name).parts
    if {stream, file} & {"/", ".."}:
        raise ValueError(f"{name[:99]!r} leads out of the archive")
    path = folder / stream / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _finish(cube: Path, raw: RawListed) -> None:
    """Give a stand-in the size and the times of its raw file."""
    with retry_on_os_error(cube):
        os.truncate(cube, raw.size_bytes)
        os.utime(cube, ns=(raw.mtime_ns, raw.mtime_ns))
        os.utime(cube.with_suffix(".txt"), ns=(raw.timing_mtime_ns, raw.timing_mtime_ns))
