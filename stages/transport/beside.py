"""What a night has at the destination beside its products: its own files, and what the user adds.

Its own are lineage, checksums, manifests, and archives of the headers of raw files that are removed.
"""

from collections.abc import Sequence
from pathlib import Path, PurePath

from stages.base import TEMPORARY_PREFIX, Job, Retry, StageError, Stopped
from stages.files import retry_on_os_error
from stages.further import SUMS, further_files, is_named, raw_headers_sha256
from stages.lineage import LINEAGE
from stages.transport import proof
from stages.transport.base import Copy, Transport

#: Further files that are sent between two looks whether somebody asked to stop.
_AT_ONCE = 100


def own_files(*, job: Job) -> tuple[PurePath, PurePath]:
    """Return the files that the ledger writes for a night as a whole, relative to its folder."""
    return PurePath(job.folder.name, LINEAGE), PurePath(SUMS)


def names_of(job: Job, also: Sequence[str]) -> list[PurePath]:
    """Return lineage, checksums, further files and manifests of the night, as far as they exist, relative to it."""
    names = (*own_files(job=job), *_further(job, also), *map(PurePath, job.manifests))
    return [name for name in dict.fromkeys(names) if proof.is_there(job.night / name)]


def further_copies(job: Job, destination: Path, also: Sequence[str]) -> list[Copy]:
    """Return what there is to copy of what the user adds."""
    return [Copy(job.night / name, destination / name) for name in _further(job, also)]


def send(there: Transport, job: Job, destination: Path, also: Sequence[str]) -> None:
    """Copy what a night has beside its products to its folder at the destination, and prove it.

    What the user adds may be much, so it obeys a stop; the rest is little, and belongs to the products.
    """
    names = names_of(job, also)
    own = {*own_files(job=job), *map(PurePath, job.manifests)}
    further = [name for name in names if name not in own]
    for start in range(0, len(further), _AT_ONCE):
        if job.is_stopped is not None and job.is_stopped():
            raise Stopped(f"{str(further[start])!r}: left, as somebody asked to stop; the same command goes on")
        _put(there, job, destination, further[start : start + _AT_ONCE])
    there.ignore_stop()
    _put(there, job, destination, [name for name in names if name in own])
    send_raw_headers(there, job, destination)


def raw_headers_copies(job: Job, destination: Path) -> list[Copy]:
    """Return the copies of the night's archives of raw headers, each with the SHA-256 that its name has."""
    return [Copy(job.night / name, destination / name, raw_headers_sha256(name)) for name in job.raw_headers]


def send_raw_headers(there: Transport, job: Job, destination: Path) -> list[tuple[Copy, proof.Digest]]:
    """Bring the archives of raw headers to the night's folder at the destination; return the proof of each.

    One that is missing or damaged here is left out: what is at the destination may be the only good one.
    """
    proven = []
    for copy in raw_headers_copies(job, destination):
        if not _is_whole(there, job, copy):
            continue
        (result,) = there.put([[copy]], [True])
        if isinstance(result, StageError):
            raise result
        proven.append((copy, result[0]))
    if proven:
        there.sync_folder(destination)
    return proven


def _is_whole(there: Transport, job: Job, copy: Copy) -> bool:
    """Whether an archive is right where the night is; on another host it is proven as it is fetched."""
    if job.source is not None:
        return there.source_sizes([copy.source]) != [None]
    return proof.is_there(copy.source) and proof.source_digest(copy.source).sha256 == copy.sha256


def _put(there: Transport, job: Job, destination: Path, names: Sequence[PurePath]) -> None:
    if not names:
        return
    folders = {parent: None for name in names for parent in reversed(name.parents[:-1])}
    there.make_folders([destination / folder for folder in folders])
    groups = [[Copy(job.night / name, destination / name)] for name in names]
    for result in there.put(groups, [True for _ in groups]):
        if isinstance(result, StageError):
            raise result
    for folder in dict.fromkeys((destination / name).parent for name in names):
        there.sync_folder(folder)


def tidy(there: Transport, job: Job, destination: Path, also: Sequence[str]) -> int:
    """Remove the night's own files and emptied folders if no product is left at the destination.

    Lineage, checksums and what killed copies left are derived, and named by the ledger: they go as
    they are.

    Returns
    -------
    int
        How many further files were left because their bytes are not the night's.
    """
    folder = destination / job.folder.name
    names = there.names(folder)
    if any(_is_product(Path(name)) for name in names):
        return 0
    there.remove([folder / name for name in names if name.startswith(TEMPORARY_PREFIX)])
    there.remove([destination / name for name in own_files(job=job)])
    further = _further(job, also)
    results = there.withdraw([[Copy(job.night / name, destination / name)] for name in further])
    for result in results:
        if isinstance(result, Retry):
            raise result
    parents = {parent for name in (*own_files(job=job), *further) for parent in name.parents}
    there.remove_if_empty(
        [destination / parent for parent in sorted(parents, key=lambda parent: len(parent.parts), reverse=True)]
    )
    return sum(result is not None for result in results)


def _is_product(path: Path) -> bool:
    """Tell a compressed cube from its timing, the lineage and temporaries, by its name."""
    return path.suffix == ".fz" and not path.name.startswith(TEMPORARY_PREFIX)


def _further(job: Job, also: Sequence[str]) -> list[PurePath]:
    """Return the files that the patterns `also` name, relative to the night's folder and sorted."""
    if not also:
        return []
    with retry_on_os_error(job.night):
        names = further_files(job.night, {job.folder.name, *(stream.name for stream in job.instrument.streams)})
    own = {name for name in names if str(name) == SUMS or raw_headers_sha256(str(name))}
    return [name for name in names if name not in own and is_named(name, also)]
