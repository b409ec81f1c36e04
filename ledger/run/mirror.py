"""A night on another host: its own small files are mirrored here while a run holds it.

The host that fetches works in a folder at the destination (:class:`ledger.disk.nights.NightFolder`). What the run
writes there is sent to the night before it takes effect, and what it removes is removed there too
(:mod:`stages.transport.pull`, :meth:`ledger.run.steps.Steps.remove`). What is in the product folder was made where the
night is, and stays.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from ledger.disk.nights import WORK
from ledger.errors import Busy, LedgerError, translated
from ledger.night import record
from ledger.run.steps import Steps
from stages.transport import proof, pull


@contextmanager
def mirrored(steps: Steps) -> Iterator[None]:
    """Have the night's own files here as they are on the other host.

    Parameters
    ----------
    steps : Steps
        The night, held. If it is on this host, nothing is done.

    Raises
    ------
    UsageError
        If the night is not there, or the destination is not here.
    NotReady
        If the other host cannot be reached, or the working folder cannot be written.
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
    except Busy:  # the files here are another run's by now
        raise
    except LedgerError:
        _clear(steps.folder.path)
        raise
    yield
    steps.journal.lease.confirm()
    _clear(steps.folder.path)


def _clear(folder: Path) -> None:
    """Remove a working folder: everything in it is on the other host."""
    shutil.rmtree(folder, ignore_errors=True)  # the next run compares what stays with the other host
    with suppress(OSError):  # a run on another night may work beside it
        folder.parent.rmdir()


def _names(steps: Steps) -> list[PurePath]:
    """Return the night's own files, relative to its folder: those that stages write, and its manifests.

    Withdrawn manifests are among them: if a dead run left them, they are removed.
    """
    job = steps.job()
    owners = [loaded.night_owner for loaded in steps.stages.values() if loaded.night_owner is not None]
    own = [name for owner in owners for name in owner.own_files(job=job)]
    manifests = {PurePath(manifest.name) for manifest in record.all_manifests(steps.journal.store, steps.journal.night)}
    return [*own, *sorted(manifests)]
