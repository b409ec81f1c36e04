"""Files read again, whole, and compared with what is on record and with each other.

The reader is independent of the stages: frames and sums are astropy's work, which parses headers and decompresses
tiles by itself. Memory stays flat whatever the size of a cube. Nothing is written; what cannot be read is a fault like
any other, and is not raised.
"""

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from stages.product import Part
from stages.transport import proof

#: Bytes of frames that are compared at once, of each side.
_CHUNK_BYTES = 16 * 1024 * 1024

#: Of a header or data block, and of a card (FITS 4.0 sec. 3.1, 3.3.1).
_BLOCK_BYTES, _CARD_BYTES = 2880, 80

#: What astropy's ``verify_datasum`` and ``verify_checksum`` say of a sum that is wrong, and of one that is right.
_WRONG, _RIGHT = 0, 1


@dataclass(frozen=True, slots=True)
class Recorded:
    """A file, and what is on record of it.

    Attributes
    ----------
    path : Path
        The file.
    sha256 : str or None
        Hex; without it, that of the file which it is a copy of.
    size_bytes : int or None
        Without it, any.
    law : str
        What is broken if it has other bytes.
    copy_of : Path or None
        The file that it is a copy of, which comes before it.
    """

    path: Path
    sha256: str | None
    size_bytes: int | None = None
    law: str = "bytes"
    copy_of: Path | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a file.

    Attributes
    ----------
    law : str
        ``gone``, ``unreadable``, ``checksum``, ``pixels``, or that of a :class:`Recorded`.
    path : Path
        Of the file.
    what : str
        Found and expected, in words.
    raw_is_sound : bool or None
        Of frames that differ: whether the raw file's own ``DATASUM`` holds; None if it has none.
    """

    law: str
    path: Path
    what: str
    raw_is_sound: bool | None = None


@dataclass(slots=True)
class Found:
    """What is wrong, and how much was read.

    Attributes
    ----------
    faults : list of Fault
        Empty if nothing is.
    n_files : int
        Files that were read whole.
    n_frames : int
        Frames that were compared with raw.
    n_bytes : int
        Of these files, and of the raw frames.
    """

    faults: list[Fault] = field(default_factory=list)
    n_files: int = 0
    n_frames: int = 0
    n_bytes: int = 0


class _UnreadableError(Exception):
    """A file cannot be read."""

    def __init__(self, path: Path, exc: Exception) -> None:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else f"{type(exc).__name__}: {exc}"
        self.fault = Fault("unreadable", path, f"{path} cannot be read ({reason}), expected a whole file")
        super().__init__(self.fault.what)


@dataclass(frozen=True, slots=True)
class _Image:
    """The cube of an open file, as it is stored."""

    path: Path
    hdu: Any

    @property
    def kind(self) -> tuple[Any, ...]:
        """Return what the stored integers mean: BITPIX, BZERO, BSCALE, rows, columns."""
        header = self.hdu.header
        return (header["BITPIX"], header.get("BZERO", 0), header.get("BSCALE", 1), *self.hdu.shape[1:])

    @property
    def frame_bytes(self) -> int:
        """Return the size of one frame, bytes."""
        return int(np.prod(self.hdu.shape[1:]) * abs(self.hdu.header["BITPIX"]) // 8)

    def read(self, first: int, step: int, n: int) -> np.ndarray[Any, Any]:
        """Return frames as integers of shape (n, ny, nx), fewer where the cube ends before."""
        with _translated(self.path):
            return np.asarray(self.hdu.section[first : first + step * (n - 1) + 1 : step])


def reread(*, files: Sequence[Recorded], cube: Path | None = None, parts: Sequence[Part] = ()) -> Found:
    """Read files whole, and compare the frames of a cube with those of the raw files that it is made of.

    Parameters
    ----------
    files : sequence of Recorded
        All that belongs to one product, or to a manifest.
    cube : Path, optional
        One of them: the product's cube, plain or compressed. Its frames are not looked at if its bytes are not
        those on record.
    parts : sequence of Part
        The cube's lineage; empty if its raw files are not there any more.

    Returns
    -------
    Found
        Never raises for what is in a file, or what the disk refuses.
    """
    found = Found()
    digests: dict[Path, proof.Digest] = {}
    with _quiet():
        for file in files:
            _check_bytes(file, digests, found)
        if cube is not None and cube not in {fault.path for fault in found.faults}:
            _check_sums(cube, found, is_whole=True)
            if parts:
                _check_frames(cube, parts, found)
    return found


def reread_raw(*, cube: Path, header_sha256: str | None, timing: Recorded) -> Found:
    """Read what is on record of a raw file: its header and its txt; its data, if it has sums of them, and their place.

    Parameters
    ----------
    cube : Path
        The raw file.
    header_sha256 : str or None
        Of its header, whole blocks, hex.
    timing : Recorded
        Its txt.
    """
    found = Found()
    with _quiet():
        _check_bytes(timing, {}, found)
        try:
            sha256 = _header_sha256(cube)
            if header_sha256 not in (None, sha256):
                what = f"the header of {cube} has SHA-256 {sha256}, expected {header_sha256} as registered"
                found.faults.append(Fault(timing.law, cube, what))
            _check_sums(cube, found, is_whole=False)
            _check_place(cube, found)
        except _UnreadableError as exc:
            found.faults.append(exc.fault)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence astropy: what it warns of is checked here, or is how the header of a raw file is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as exc:  # a damaged file makes a reader raise anything
        raise _UnreadableError(path, exc) from exc


def _check_bytes(file: Recorded, digests: dict[Path, proof.Digest], found: Found) -> None:
    path = file.path
    try:
        if not path.exists():
            law = "gone" if file.law == "bytes" else file.law
            found.faults.append(Fault(law, path, f"{path} is gone"))
            return
        if not path.is_file():
            found.faults.append(Fault("unreadable", path, f"{path} is not a file, expected one"))
            return
        if file.copy_of is not None and file.copy_of.exists() and path.samefile(file.copy_of):
            found.faults.append(Fault(file.law, path, f"{path} is the same file as {file.copy_of}, expected a copy"))
            return
        digest = proof.digest(path, from_disk=True)
    except OSError as exc:
        found.faults.append(_UnreadableError(path, exc).fault)
        return
    digests[path] = digest
    found.n_files += 1
    found.n_bytes += digest.size_bytes
    if what := _differences(file, digest, digests):
        found.faults.append(Fault(file.law, path, f"{path} has {what}"))


def _differences(file: Recorded, digest: proof.Digest, digests: Mapping[Path, proof.Digest]) -> str:
    """Return what of a file is not as on record; empty if nothing."""
    original = digests.get(file.copy_of) if file.copy_of is not None else None
    sha256 = file.sha256 or (original and original.sha256)
    told = []
    if file.size_bytes not in (None, digest.size_bytes):
        told.append(f"{digest.size_bytes} bytes, expected {file.size_bytes}")
    if sha256 not in (None, digest.sha256):
        told.append(f"SHA-256 {digest.sha256}, expected {sha256}")
    return "; ".join(told)


def _header_sha256(cube: Path) -> str:
    """Return the SHA-256 of the first header of a file, hex."""
    with _translated(cube):
        with fits.open(cube, memmap=False) as hdus:
            size_bytes = hdus[0].fileinfo()["datLoc"]
        with cube.open("rb") as file:
            return hashlib.sha256(file.read(size_bytes)).hexdigest()


def _check_place(path: Path, found: Found) -> None:
    """Report bytes between header and data that show that frames may not lie where the header puts them."""
    with _translated(path):
        with fits.open(path, memmap=False, do_not_scale_image_data=True) as hdus:
            start, image = hdus[0].fileinfo()["datLoc"], _Image(path, hdus[0])
            data_bytes = image.hdu.shape[0] * image.frame_bytes
        with path.open("rb") as file:
            cards = [file.read(_CARD_BYTES) for _ in range(start // _CARD_BYTES)]
            first = file.read(min(_BLOCK_BYTES, data_bytes))
            end = next((n for n, card in enumerate(cards) if card.rstrip() == b"END"), len(cards))
            after = b"".join(cards[end + 1 :])
            file.seek(start + data_bytes - len(after))
            last = file.read(len(after))
    seen = {
        "no END card with blanks only": end == len(cards),
        "something else than blanks or NUL follows END": bool(after.strip(b" ") and after.strip(b"\0")),
        "NUL follows END, and ends its data": after.startswith(b"\0") and not last.strip(b"\0"),
        "the first block of its data is blank": bool(first) and not first.strip(b" "),
    }
    found.faults += [
        Fault("pixels", path, f"{path}: {what}, so that its frames may lie elsewhere than from byte {start} on")
        for what, is_so in seen.items()
        if is_so
    ]


def _check_sums(path: Path, found: Found, *, is_whole: bool) -> None:
    """Compare DATASUM and CHECKSUM, where they are present, with the data; and, if it `is_whole`, the file's size."""
    try:
        with _translated(path), fits.open(path, memmap=True, disable_image_compression=True) as hdus:
            for number, hdu in enumerate(hdus):
                for keyword, verify in (("DATASUM", hdu.verify_datasum), ("CHECKSUM", hdu.verify_checksum)):
                    if verify() == _WRONG:
                        what = f"{path}: {keyword} of HDU {number} is {hdu.header[keyword]!r}, expected another"
                        found.faults.append(Fault("checksum", path, what))
            last = hdus[-1].fileinfo()
            expected, size_bytes = last["datLoc"] + last["datSpan"], path.stat().st_size
        if is_whole and expected != size_bytes:
            what = f"{path} has {size_bytes} bytes, expected {expected} by its headers"
            found.faults.append(Fault("bytes", path, what))
    except _UnreadableError as exc:
        found.faults.append(exc.fault)


@contextmanager
def _opened(path: Path) -> Iterator[_Image]:
    """Open a cube, plain or compressed; nothing is mapped, so that a disk that fails is an error, and no signal."""
    with _translated(path):
        hdus = fits.open(path, memmap=False, do_not_scale_image_data=True)
    try:
        with _translated(path):
            image = _Image(path, hdus[1] if path.suffix == ".fz" else hdus[0])
            if len(image.hdu.shape) != 3 or not image.hdu.is_image:
                raise ValueError(f"shape {image.hdu.shape}, expected a cube")
        yield image
    finally:
        hdus.close()


def _check_frames(cube: Path, parts: Sequence[Part], found: Found) -> None:
    """Compare every frame of a cube with the one that lineage names."""
    expected = sum(part.n_frames for part in parts)
    try:
        with _opened(cube) as image:
            if image.hdu.shape[0] != expected:
                what = f"{cube} has {image.hdu.shape[0]} frames, expected {expected} by its lineage"
                found.faults.append(Fault("pixels", cube, what))
                return
            at = 0
            for part in parts:
                try:
                    _check_part(image, at, part, found)
                except _UnreadableError as exc:
                    if exc.fault.path == cube:
                        raise
                    found.faults.append(exc.fault)
                at += part.n_frames
    except _UnreadableError as exc:
        found.faults.append(exc.fault)


def _check_part(image: _Image, at: int, part: Part, found: Found) -> None:
    """Compare the frames of a cube from `at` on with those of one raw file, bit by bit."""
    path = part.raw.cube
    wrong: list[tuple[int, int]] = []
    with _opened(path) as raw:
        with _translated(path):
            if image.kind != raw.kind:
                meaning = f"{image.kind} (BITPIX, BZERO, BSCALE, rows, columns), expected {raw.kind} as in {path}"
                found.faults.append(Fault("pixels", image.path, f"{image.path} has frames of {meaning}"))
                return
        many = max(1, _CHUNK_BYTES // max(1, raw.frame_bytes))
        for start, step, total in part.runs:
            for done in range(0, total, many):
                n, first = min(many, total - done), start + done * step
                theirs, ours = raw.read(first, step, n), image.read(at, 1, n)
                if len(theirs) < n:
                    raise _UnreadableError(path, EOFError(f"no frame {first + step * len(theirs)}"))
                differs = np.flatnonzero((ours != theirs).any(axis=(1, 2)))
                wrong += [(at + int(i), first + step * int(i)) for i in differs]
                found.n_frames += n
                found.n_bytes += theirs.nbytes
                at += n
    if wrong:
        (ours_at, theirs_at), count = wrong[0], f"{len(wrong)} of the {part.n_frames} frames"
        what = f"{image.path}: {count} made of {path} differ, the first is frame {ours_at}, expected frame {theirs_at}"
        found.faults.append(Fault("pixels", image.path, f"{what} of that file", _holds(path)))


def _holds(path: Path) -> bool | None:
    """Return whether the DATASUM of a plain cube holds; None if it has none."""
    with _translated(path), fits.open(path, memmap=True) as hdus:
        verdict = hdus[0].verify_datasum()
    return None if verdict not in (_WRONG, _RIGHT) else verdict == _RIGHT
