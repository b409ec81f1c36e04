"""State `compressed`: a plain cube becomes a Rice-compressed ``.fits.fz``, and back.

See docs/design.md, Compressed files.

The file is written directly, a frame at a time: an empty primary HDU, then a binary table with one row per
tile and the streams of the tiles as its heap (FITS 4.0 sec. 10.1).  What ``funpack -C`` could not give back
byte for byte is refused before anything is written; but for one thing: where a header has blank cards just
before END, funpack may put END elsewhere among them, which is reported.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from stages.base import BadInput, Fact, Job, Outcome, Retry
from stages.files import retry_on_os_error
from stages.fits.cubes import read_cube_layout
from stages.fits.tiled import (
    END_MOVES,
    LARGEST_NARROW_HEAP,
    SUFFIX,
    check_comes_back,
    compress,
    end_moves,
    largest_heap,
    read_back,
)
from stages.fits.untiled import BRING_BACK, plain_pieces, proven_digest

#: What it adds beside a product's stem.
SUFFIXES = (".fits" + SUFFIX,)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of the state.

    Attributes
    ----------
    tile : {"frame", "row"}
        What one tile is.  Frames compress better and are read back faster; rows are fpack's default.
    prove : bool
        Whether every tile is decoded and compared with the frames that it was made of.
    """

    tile: Literal["frame", "row"] = "frame"
    prove: bool = True


def forward(*, job: Job, params: Parameters) -> Outcome:
    """Compress the product's cube.

    Parameters
    ----------
    job : Job
        ``job.product.files[0]`` is the plain cube: one primary HDU, ``NAXIS`` 3, ``BITPIX`` 8, 16 or 32.
    params : Parameters
        See there.

    Returns
    -------
    Outcome
        The ``.fz`` supersedes the plain cube; facts ``files``, ``sha256``, ``size_bytes``; a remark if
        funpack would put END elsewhere among blank cards.

    Raises
    ------
    BadInput
        If the cube is not such a file, or has cards that funpack would not give back.
    Retry
        If the cube is missing, the system fails to read or write, or gives back other bytes than were written.
    """
    name, *others = job.product.files
    plain, final = job.folder / name, job.folder / (name + SUFFIX)
    stamp = f"{datetime.fromtimestamp(job.product.first_us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}"
    with _opened(plain) as source, _discarded_on_error(job.temporary(final.name)) as temporary:
        cube = read_cube_layout(plain)
        check_comes_back(cube)
        source.seek(cube.data_offset)
        with temporary.open("wb") as target:
            wide = largest_heap(cube) > LARGEST_NARROW_HEAP
            written = compress(source, target, cube, tile=params.tile, stamp=stamp, wide=wide, prove=params.prove)
            _sync(target)
        sha256 = read_back(temporary, written)
    remarks = {END_MOVES: 1} if end_moves(cube) else {}
    facts: dict[str, Fact] = {"files": [final.name, *others], "sha256": sha256, "size_bytes": written.size_bytes}
    return Outcome(
        outputs={final: temporary},
        superseded=(plain,),
        facts={job.product.identity: facts},
        remarks=remarks,
    )


def reverse(*, job: Job, params: Parameters) -> Outcome:
    """Give the plain cube back, byte for byte.

    Parameters
    ----------
    job : Job
        ``job.product.files[0]`` is a ``.fits.fz`` that :func:`forward` made.
    params : Parameters
        Not needed: the file says how it was compressed.

    Returns
    -------
    Outcome
        The plain cube supersedes the ``.fz``; facts ``files``, and ``sha256`` and ``size_bytes`` None.

    Raises
    ------
    BadInput
        If the file is not the one that was made, or not such a file.
    Retry
        If the file is missing, or the system fails to read or write.
    """
    name, *others = job.product.files
    if not name.endswith(SUFFIX):
        raise BadInput(f"{job.folder / name}: expected a name that ends in {SUFFIX!r}; audit the night")
    packed, final = job.folder / name, job.folder / name.removesuffix(SUFFIX)
    with _opened(packed) as source, _discarded_on_error(job.temporary(final.name)) as temporary:
        sha256 = proven_digest(source, packed)
        if job.product.sha256 not in (None, sha256):
            raise BadInput(
                f"{packed}: SHA-256 is {sha256}, expected {job.product.sha256} as when it was made; {BRING_BACK}"
            )
        with temporary.open("wb") as target:
            target.writelines(plain_pieces(source, packed))
            _sync(target)
    facts: dict[str, Fact] = {"files": [final.name, *others], "sha256": None, "size_bytes": None}
    return Outcome(outputs={final: temporary}, superseded=(packed,), facts={job.product.identity: facts})


def _sync(file: BinaryIO) -> None:
    """Put what was written to a file on its disk."""
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open an input file; what the system refuses during the block is worth another attempt.

    Raises
    ------
    Retry
        If the file is missing, and in place of any ``OSError`` of the block.
    """
    if not path.is_file():
        raise Retry(f"{path}: missing, expected the product's file; {BRING_BACK}")
    with retry_on_os_error(path), path.open("rb") as file:
        yield file


@contextmanager
def _discarded_on_error(temporary: Path) -> Iterator[Path]:
    """Give the path of a temporary, and remove it if the block fails."""
    try:
        yield temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
