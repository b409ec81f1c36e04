"""Which way a job's products go, and where their files are hashed."""

from collections.abc import Sequence

from stages.base import BadInput, Job
from stages.transport import proof, pull
from stages.transport.base import Transport
from stages.transport.local import Local
from stages.transport.pull import Pull
from stages.transport.remote import Remote


def transport_of(job: Job, *, in_flight: int = 1) -> Transport:
    """Return the way to a job's destination.

    Parameters
    ----------
    job : Job
        With a destination, and the host where it is.
    in_flight : int
        Files that are copied at once, where that is a matter of this machine.

    Raises
    ------
    BadInput
        If the job has no destination.
    """
    if job.destination is None:
        raise BadInput(
            f"night {job.date}: no destination; expected the path of an existing folder; "
            "set transfer.destination in the configuration"
        )
    if job.source is not None:
        return Pull(job, in_flight, job.source)
    if job.host is None:
        return Local(job, in_flight)
    apart = (job.folder, job.destination / job.folder.name)
    return Remote(job.host, job.night, job.destination, is_stopped=job.is_stopped, carried=job.carried, apart=apart)


def hashes(job: Job, names: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 (hex) of files of the product folder, wherever that is.

    Raises
    ------
    BadInput
        If one cannot be read.
    Retry
        If they are on another host, and that cannot be reached.
    """
    if job.source is not None and names:
        return pull.hashes(job, job.source, names)
    return {name: proof.source_digest(job.folder / name).sha256 for name in names}
