"""A night that is on another host: its own small files are here for as long as a run holds it.

The host that fetches works in a folder at the destination (:func:`ledger.disk.nights.NightFolder`). What the run writes
there goes to the night as well before it counts, and what it takes back goes from there too
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
        Of the night, held. If it is on this host nothing is done.

    Raises
    ------
    UsageError
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
    except Busy:  # what is here is another run's by now
        raise
    except LedgerError:
        _clear(steps.folder.path)
        raise
    yield
    steps.journal.lease.confirm()
    _clear(steps.folder.path)


def _clear(item: Path) -> None:
    """Remove a folder to work in: all that was in it is on the other host."""
    shutil.rmtree(item, ignore_errors=True)  # what stays is compared with what is there by the next run
    with suppress(OSError):  # another night may be at work beside it
        item.parent.rmdir()


def _names(steps: Steps) -> list[PurePath]:
    """Return the night's own files, from its folder: those that stages write, and its manifests.

    Withdrawn manifests too: a run that died may have left them, and then they are removed.
    """
    job = steps.job()
    senders = [loaded.sender for loaded in steps.stages.values() if loaded.sender is not None]
    own = [name for sender in senders for name in sender.own_files(job=job)]
    manifests = {PurePath(manifest.name) for manifest in record.all_manifests(steps.journal.store, steps.journal.night)}
    return [*own, *sorted(manifests)]
