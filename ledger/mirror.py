"""A night that is on another host: its own small files are here for as long as a run holds it.

The host that fetches works in a folder at the destination (:func:`ledger.scan.NightFolder`). What the run writes there
goes to the night as well before it counts (:mod:`stages.pull`); what it removes, of the night's folder itself, goes at
the end. What is in the product folder was made where the night is, and stays.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from ledger.errors import LedgerError
from ledger.scan import WORK
from ledger.steps import Steps, translated
from stages import proof, pull


@contextmanager
def mirrored(steps: Steps) -> Iterator[None]:
    """Keep the night's own files as they are on the other host, and there as they are here afterwards.

    Parameters
    ----------
    steps : Steps
        Of the night, held. If it is on this host nothing is done.

    Raises
    ------
    BadInput
        If the night is not there, or the destination is not here.
    NotReady
        If the other host cannot be reached, or the folder to work in not be written.
    """
    job = steps.job()
    if job.source is None:
        yield
        return
    with translated():
        base = proof.destination_of(job).parent  # never made: an empty mount point is no destination
        for folder in (base / WORK, steps.folder.path, steps.product_folder):
            proof.make_folder(folder)
    try:
        with translated():
            pull.bring(job, job.source, _names(steps))
    except LedgerError:
        _clear(steps.folder.path)
        raise
    brought = [name for name in _names(steps) if len(name.parts) == 1 and (steps.folder.path / name).exists()]
    yield
    standing = set(steps.manifests())
    with translated():
        pull.drop(job, job.source, [name for name in brought if name.name not in standing])
    _clear(steps.folder.path)


def _clear(work: Path) -> None:
    """Remove a folder to work in: all that was in it is on the other host."""
    shutil.rmtree(work, ignore_errors=True)  # what stays is compared with what is there by the next run
    with suppress(OSError):  # another night may be at work beside it
        work.parent.rmdir()


def _names(steps: Steps) -> list[PurePath]:
    """Return the night's own files, from its folder: those that stages write, and manifests that stand."""
    job = steps.job()
    stages = [loaded.stage for loaded in steps.stages.values() if hasattr(loaded.stage, "own_files")]
    own = [name for stage in stages for name in stage.own_files(job)]
    return [*own, *map(PurePath, steps.manifests())]
