"""transferred: the same bytes are proven at the destination (DESIGN section 10).

The layout there is that of the night: ``<destination>/<date>/<product folder>/…``.  A copy counts
only when its SHA-256, computed from the destination's bytes, is the product's.  The way back removes
copies that are still provably ours and leaves everything else alone.
"""

import errno
import itertools
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import NamedTuple, TypeVar

from stages import proof
from stages.base import TEMPORARY_PREFIX, BadInput, Evidence, Irreversible, Job, Outcome, Product, Retry

#: Checksums of the night, in the night's folder (DESIGN section 3).
SUMS = "SHA256SUMS"

#: Lineage of the night, in the product folder (DESIGN section 6).
LINEAGE = "lineage.tsv"

#: What the system refuses for one file and may grant for the next.
_OF_ONE_FILE = frozenset({errno.EIO, errno.EACCES, errno.EPERM})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of the state.

    Attributes
    ----------
    in_flight : int
        Files copied at once; with two, one is hashed while the other is written (BUDGETS).
    also : tuple of str
        Glob patterns, relative to the night's folder, of further files to send.  Raw streams, the
        product folder and temporaries never match.

    Raises
    ------
    ValueError
        If `in_flight` is below 1 or a pattern leaves the night's folder.
    """

    in_flight: int = 2
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.in_flight < 1:
            raise ValueError(f"in_flight: found {self.in_flight!r}, expected 1 or more")
        for pattern in self.also:
            parts = PurePath(pattern).parts
            if not parts or ".." in parts or PurePath(pattern).is_absolute():
                raise ValueError(f"also: found {pattern!r}, expected a pattern within the night's folder")


class _Copy(NamedTuple):
    """A file, its name at the destination, and what its bytes must hash to if that is on record."""

    source: Path
    final: Path
    sha256: str | None


def forward(*, job: Job, params: Parameters) -> Outcome:
    """Copy and prove every file of the products, then the night's own files.

    A product that cannot be proven is in the outcome's failures, and the others go on.  Copies that
    already lie there are proven and not made again, so repeating this is harmless.  One batch of a
    night at a time: batches share the night's own files.

    Raises
    ------
    BadInput
        If there is no destination; its base is never created, for it may be an unmounted disk.
    Retry
        If the destination has too little space or cannot be written.
    """
    destination = proof.destination_of(job)
    folder = destination / job.folder.name
    _require_space(job, folder)
    proof.make_folder(destination)
    proof.make_folder(folder)
    evidence, failures = _each(job.products, partial(_transfer, job, folder), params.in_flight)
    proof.sync_folder(folder)
    if evidence:
        _send_night_files(job, params)
    else:
        proof.remove_if_empty(folder)
        proof.remove_if_empty(destination)
    return Outcome(evidence=tuple(evidence), failures=failures)


def reverse(*, job: Job, params: Parameters) -> Outcome:
    """Withdraw the products' copies; the night's own files and emptied folders go with the last one.

    A copy whose bytes are not ours any more, or which is the only one left, is left alone and is in
    the outcome's failures.  What is missing already is fine, so repeating this is harmless.

    Raises
    ------
    BadInput
        If there is no destination: an unmounted disk is not a withdrawn copy.
    Retry
        If the destination cannot be read or written.
    """
    folder = proof.destination_of(job) / job.folder.name
    # From the first removal on nothing may be raised: what is gone must be told, or a state would stand on it.
    left: dict[str, str] = {}
    withdrawn, failures = _each(job.products, partial(_withdraw, job, folder, left), params.in_flight, gives_up=False)
    remarks = {}
    try:
        kept = _tidy(job, params)
        remarks = {"changed copies left at the destination": kept} if kept else {}
    except Retry as exc:
        left |= {identity: str(exc) for identity in withdrawn[-1:]}  # through one product the rest is taken up again
    return Outcome(withdrawn=tuple(withdrawn), failures=failures, unfinished=left, remarks=remarks)


def night_files(*, job: Job, params: Parameters) -> dict[str, bytes]:
    """Return ``SHA256SUMS``: a line per file of the compressed products, and of the lineage.

    The format is coreutils' (``<sha256>  <path from the night's folder>``), sorted by path, so that
    ``sha256sum -c SHA256SUMS`` works in the night's folder and at the destination alike.

    Raises
    ------
    BadInput
        If a file that has to be hashed cannot be read.
    """
    sums: dict[str, str] = {}
    for product in job.products:
        if product.sha256 is not None:
            for name, sha256 in _recorded(product).items():
                sums[name] = sha256 or proof.source_digest(job.folder / name).sha256
    if (job.folder / LINEAGE).exists():
        sums[LINEAGE] = proof.source_digest(job.folder / LINEAGE).sha256
    lines = [f"{sums[name]}  {job.folder.name}/{name}\n" for name in sorted(sums)]
    return {SUMS: "".join(lines).encode()}


def verify_copies(*, job: Job, params: Parameters) -> Outcome:
    """Prove the products' copies again, as they lie; nothing is written.

    Timing files, whose hash is not on record, are compared with the local ones where these exist.

    Returns
    -------
    Outcome
        Fresh evidence, and the reason for each product whose copy is bad or missing.

    Raises
    ------
    BadInput
        If there is no destination.
    Retry
        If it cannot be read.
    """
    folder = proof.destination_of(job) / job.folder.name
    evidence, failures = _each(job.products, partial(_verify, job, folder), params.in_flight)
    return Outcome(evidence=tuple(evidence), failures=failures)


def _transfer(job: Job, folder: Path, product: Product) -> Evidence:
    copies = _copies(job, folder, product)
    may_replace = product.identity in job.placed
    digests = [
        proof.copy_proven(copy.source, copy.final, sha256=copy.sha256, may_replace=may_replace) for copy in copies
    ]
    return _evidence(product, copies[0], digests[0])


def _verify(job: Job, folder: Path, product: Product) -> Evidence:
    copies = _copies(job, folder, product)
    digests = [
        proof.prove(copy.final, sha256=copy.sha256 or proof.source_digest(copy.source).sha256)
        for copy in copies
        if copy.sha256 or copy.source.exists()
    ]
    return _evidence(product, copies[0], digests[0])


def _withdraw(job: Job, folder: Path, left: dict[str, str], product: Product) -> str:
    """Remove all files of the product, or none; what could not be removed once others were is put in `left`."""
    copies = _copies(job, folder, product)
    for copy in copies:
        proof.is_ours(copy.source, copy.final, sha256=copy.sha256)
    try:
        for copy in copies:
            proof.remove(copy.final)
    except Retry as exc:
        remaining = [copy.final for copy in copies if copy.final.exists()]
        if len(remaining) == len(copies):
            raise
        left[product.identity] = str(exc)  # no state may stand on what is there in part
    return product.identity


def _copies(job: Job, folder: Path, product: Product) -> list[_Copy]:
    """Return what to copy, the cube first."""
    if not product.files or product.sha256 is None:
        raise BadInput(
            f"{product.name!r} in {str(job.folder)!r}: found files {product.files!r} and SHA-256 "
            f"{product.sha256!r}, expected both; a product is compressed before it is transferred"
        )
    return [_Copy(job.folder / name, folder / name, sha256) for name, sha256 in _recorded(product).items()]


def _recorded(product: Product) -> dict[str, str | None]:
    """Return the product's file names with the SHA-256 on record: the cube's, the txt's, none of further ones."""
    known = (product.sha256, product.timing_sha256)
    return dict(itertools.zip_longest(product.files, known[: len(product.files)]))


def _evidence(product: Product, cube: _Copy, digest: proof.Digest) -> Evidence:
    return Evidence(
        identity=product.identity,
        host="",
        path=str(cube.final),
        sha256=digest.sha256,
        size_bytes=digest.size_bytes,
        tool=proof.TOOL,
    )


def _each(
    products: Sequence[Product], work: Callable[[Product], T], in_flight: int, *, gives_up: bool = True
) -> tuple[list[T], dict[str, str]]:
    """Work on products, `in_flight` at once; return what came of them, and failures by identity.

    What ails the destination as a whole (Retry) is raised, and products not yet begun are left; unless it
    may not give up: then that too is the product's failure.
    """
    results: list[T] = []
    failures: dict[str, str] = {}
    pool = ThreadPoolExecutor(in_flight)
    try:
        futures = [(product.identity, pool.submit(work, product)) for product in products]
        for identity, future in futures:
            try:
                results.append(future.result())
            except (BadInput, Irreversible, Retry) as exc:
                if gives_up and isinstance(exc, Retry) and not _ails_one_file(exc):
                    raise
                failures[identity] = str(exc)
    finally:
        pool.shutdown(cancel_futures=True)
    return results, failures


def _ails_one_file(exc: Retry) -> bool:
    """Tell a bad spot or a wrong mode from a disk that is full, read-only or gone."""
    return isinstance(exc.__cause__, OSError) and exc.__cause__.errno in _OF_ONE_FILE


def _send_night_files(job: Job, params: Parameters) -> None:
    """Copy and prove lineage, checksums and further files of the night, as far as they exist."""
    destination = proof.destination_of(job)
    for name in (*_own(job), *_also(job, params, job.night)):
        if (job.night / name).exists():
            for parent in reversed(name.parents[:-1]):
                proof.make_folder(destination / parent)
            proof.copy_proven(job.night / name, destination / name)
            proof.sync_folder((destination / name).parent)


def _require_space(job: Job, folder: Path) -> None:
    """Raise Retry unless the destination has room for what has to be copied."""
    base = folder.parent.parent
    names = [name for product in job.products for name in product.files]
    with proof.or_retry(base):
        needed = sum(_bytes_to_copy(job.folder / name, folder / name) for name in names)
        free = shutil.disk_usage(base).free
    if needed > free:
        raise Retry(f"destination {str(base)!r}: {needed} bytes needed, {free} free; make room and it is tried again")


def _bytes_to_copy(source: Path, final: Path) -> int:
    """Return the size of `source`, or 0 if it is missing or something of its size is at `final`."""
    with proof.or_bad_input(source):
        size = source.stat().st_size if source.exists() else 0
    return 0 if final.exists() and final.stat().st_size == size else size


def _tidy(job: Job, params: Parameters) -> int:
    """Remove the night's own files and emptied folders if no product is left at the destination.

    Lineage, checksums and what killed copies left are derived, and named by the ledger: they go as
    they are.

    Returns
    -------
    int
        How many further files were left because their bytes are not the night's.
    """
    destination = proof.destination_of(job)
    folder = destination / job.folder.name
    with proof.or_retry(folder):
        if folder.is_dir() and any(_is_product(path) for path in folder.iterdir()):
            return 0
        for left in folder.glob(f"{TEMPORARY_PREFIX}*"):
            left.unlink()
    names = [*_own(job), *_also(job, params, destination)]
    kept = 0
    for name in names:
        try:
            if name in _own(job) or proof.is_ours(job.night / name, destination / name):
                proof.remove(destination / name)
        except Irreversible:
            kept += 1
    parents = {parent for name in names for parent in name.parents}
    for parent in sorted(parents, key=lambda parent: len(parent.parts), reverse=True):
        proof.remove_if_empty(destination / parent)
    return kept


def _is_product(path: Path) -> bool:
    """Tell a compressed cube from its timing, the lineage and temporaries, by its name."""
    return path.suffix == ".fz" and not path.name.startswith(TEMPORARY_PREFIX)


def _own(job: Job) -> tuple[PurePath, PurePath]:
    """Return the files that the ledger writes for a night as a whole, relative to its folder."""
    return PurePath(job.folder.name, LINEAGE), PurePath(SUMS)


def _also(job: Job, params: Parameters, folder: Path) -> list[PurePath]:
    """Return further files that the patterns name in `folder`, relative to it and sorted."""
    never = {job.folder.name, *(stream.name for stream in job.instrument.streams)}
    found = {path for pattern in params.also for path in folder.glob(pattern) if path.is_file()}
    names = sorted(path.relative_to(folder) for path in found)
    return [
        name
        for name in names
        if name.parts[0] not in never and name.name != SUMS and not name.name.startswith(TEMPORARY_PREFIX)
    ]
