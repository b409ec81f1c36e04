"""What a night has at the destination beside its products: lineage, checksums, manifests, and what the user adds."""

from collections.abc import Sequence
from pathlib import Path, PurePath

from stages.base import TEMPORARY_PREFIX, Job, Retry, StageError
from stages.lineage import LINEAGE
from stages.transport import proof
from stages.transport.base import Copy, Transport

#: Checksums of the night, in the night's folder (docs/design.md, Transfer and proof).
SUMS = "SHA256SUMS"


def own_files(*, job: Job) -> tuple[PurePath, PurePath]:
    """Return the files that the ledger writes for a night as a whole, relative to its folder."""
    return PurePath(job.folder.name, LINEAGE), PurePath(SUMS)


def names_of(job: Job, also: Sequence[str]) -> list[PurePath]:
    """Return lineage, checksums, further files and manifests of the night, as far as they exist, relative to it."""
    names = (*own_files(job=job), *_further(job, also), *map(PurePath, job.manifests))
    return [name for name in dict.fromkeys(names) if proof.is_there(job.night / name)]


def send(there: Transport, job: Job, destination: Path, also: Sequence[str]) -> None:
    """Copy what a night has beside its products to its folder at the destination, and prove it."""
    names = names_of(job, also)
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
    never = {job.folder.name, *(stream.name for stream in job.instrument.streams)}
    found = {path for pattern in also for path in job.night.glob(pattern) if path.is_file()}
    names = sorted(path.relative_to(job.night) for path in found)
    return [
        name
        for name in names
        if name.parts[0] not in never and name.name != SUMS and not name.name.startswith(TEMPORARY_PREFIX)
    ]
