"""Which state a product is in, from its own files alone: for a ledger whose database is lost.

A header is a pure function of the raw file's and the product, so the cube whose header it is can be of no other product
and of no other state. Its frames are compared with those of the raw files. Nothing is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.base import BadInput, Fact, Job, Level
from stages.check.reread import reread
from stages.files import opened, retry_on_os_error
from stages.fits.cubes import read_cube_layout
from stages.fits.header import product_header
from stages.fits.tiled import SUFFIX
from stages.fits.untiled import plain_pieces
from stages.product import Product
from stages.transport import proof

CUBE, TIMING = ".fits", ".txt"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a state leaves on a product's files.

    Attributes
    ----------
    state : str
        Its name.
    level : {"consolidated", "fixed", "identified"} or None
        Of the header; None if it leaves the header as it is.
    suffixes : tuple of str
        Endings of the files that it adds.
    params : object
        Of its stage.
    """

    state: str
    level: Level | None
    suffixes: tuple[str, ...]
    params: Any


@dataclass(frozen=True, slots=True)
class Recognised:
    """A product as it was found.

    Attributes
    ----------
    state : str
        The last of those that its files prove.
    facts : mapping
        ``files``, ``timing_sha256``, and of a compressed one ``sha256`` and ``size_bytes``.
    """

    state: str
    facts: Mapping[str, Fact]


def recognise(job: Job, marks: Sequence[Mark], sums: Mapping[str, str]) -> Recognised:
    """Return the state of a job's one product.

    Parameters
    ----------
    job : Job
        Its product has its frame ID, if its files tell one, and the SHA-256 that its txt must have.
    marks : sequence of Mark
        Of the states that work file by file, in their order.
    sums : mapping of str to str
        File name to the SHA-256, hex, that ``SHA256SUMS`` has of it.

    Raises
    ------
    BadInput
        With what was found and expected, if its files prove none of the states.
    Retry
        If one could not be read.
    """
    product = job.product
    stems = [stem for stem in (product.frame_id, product.name) if stem]
    places = [place for stem in stems for place in _places(job, stem)]
    reasons = []
    for cube in filter(Path.is_file, places):
        try:
            return _recognise(job, cube, marks, sums)
        except BadInput as exc:
            reasons.append(exc)  # of two cubes one may be whole: a run that was killed leaves both
    raise reasons[0] if reasons else BadInput(f"{' or '.join(map(str, places))}: expected a cube")


def is_numbered(job: Job, marks: Sequence[Mark]) -> bool:
    """Whether a cube under the frame ID of a job's one product has the header that this product has.

    Raises
    ------
    Retry
        If one could not be read.
    """
    stem = str(job.product.frame_id)
    for cube in filter(Path.is_file, _places(job, stem)):
        try:
            header = _header_of(cube)
        except BadInput:
            continue
        if any(_is_of(header, job, mark, stem) for mark in marks):
            return True
    return False


def _places(job: Job, stem: str) -> list[Path]:
    """Return where the cube of a product may be, compressed and plain."""
    return [job.folder / f"{stem}{suffix}" for suffix in (CUBE + SUFFIX, CUBE)]


def _recognise(job: Job, cube: Path, marks: Sequence[Mark], sums: Mapping[str, str]) -> Recognised:
    """Return the state that one cube and the files beside it prove."""
    product = job.product
    stem = cube.name.removesuffix(SUFFIX).removesuffix(CUBE)
    _check_timing(job, cube.with_name(stem + TIMING))
    header = _header_of(cube)
    reached = next((n for n in reversed(range(len(marks))) if _is_of(header, job, marks[n], stem)), None)
    if reached is None:
        raise BadInput(
            f"{cube}: its header is not what {product.name} has in any state under that name; expected one that the raw"
            " file, the lineage and the configuration give"
        )
    if cube.name not in sums:
        _check_frames(cube, product)
    files = [cube.name, stem + TIMING]
    facts: dict[str, Fact] = {"timing_sha256": product.timing_sha256}
    if cube.name.endswith(SUFFIX):
        facts |= _of_compressed(cube, sums)
    for place, mark in enumerate(marks[reached + 1 :], start=reached + 1):
        if mark.level is not None or (CUBE + SUFFIX in mark.suffixes and not cube.name.endswith(SUFFIX)):
            break  # its header would be another, or it is the cube that is not proven
        if mark.suffixes and all((job.folder / (stem + suffix)).is_file() for suffix in mark.suffixes):
            reached = place  # and with it those before, which may leave no file
    for mark in marks[: reached + 1]:
        if mark.level is None:
            extra = [stem + suffix for suffix in mark.suffixes]
            files += [name for name in extra if name not in files and (job.folder / name).is_file()]
    return Recognised(marks[reached].state, {**facts, "files": files})


def _check_timing(job: Job, timing: Path) -> None:
    if not timing.is_file():
        raise BadInput(f"{timing}: missing, expected it beside the cube")
    found = proof.source_digest(timing).sha256
    if found != job.product.timing_sha256:
        raise BadInput(f"{timing}: SHA-256 {found}, expected {job.product.timing_sha256} as its raw files give it")


def _header_of(cube: Path) -> bytes:
    """Return the header of a cube as it is, or as it comes back from a compressed one."""
    if not cube.name.endswith(SUFFIX):
        return read_cube_layout(cube).header
    with retry_on_os_error(cube), opened(cube) as file:
        return next(plain_pieces(file, cube))


def _is_of(header: bytes, job: Job, mark: Mark, stem: str) -> bool:
    """Whether a header is that of a state, in a file that is named as the state names it."""
    if mark.level is None or stem != (job.product.frame_id if mark.level == "identified" else job.product.name):
        return False
    return product_header(job, mark.level, mark.params)[0] == header


def _check_frames(cube: Path, product: Product) -> None:
    """Refuse a cube whose frames are not those of its raw files, or whose own sums do not hold."""
    for fault in reread(files=(), cube=cube, parts=product.parts).faults:
        of_raw = "; the raw file itself is damaged, by its DATASUM" if fault.raw_is_sound is False else ""
        raise BadInput(f"{fault.what}{of_raw}")


def _of_compressed(cube: Path, sums: Mapping[str, str]) -> dict[str, Fact]:
    digest = proof.source_digest(cube)
    if sums.get(cube.name, digest.sha256) != digest.sha256:
        raise BadInput(f"{cube}: SHA-256 {digest.sha256}, expected {sums[cube.name]} as SHA256SUMS has it")
    return {"sha256": digest.sha256, "size_bytes": digest.size_bytes}
