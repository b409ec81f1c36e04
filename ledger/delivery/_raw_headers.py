"""The headers and timing files of raw files that are to be removed: at the destination first, and proven there."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from ledger.db.models import File
from ledger.disk import durable
from ledger.disk.access import translate_read_errors, writing
from ledger.errors import Interrupted, LedgerError, StateError, translated
from ledger.night.pipeline import Step
from ledger.run.steps import Steps
from stages.base import TEMPORARY_PREFIX, BadInput, Outcome, StageError
from stages.fits.raw_headers import RawListed, read_archive, read_parts, writing_archive
from stages.further import raw_headers_name, raw_headers_sha256
from stages.transport import proof

Failures = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class SentHeader:
    """Where header and timing file of a raw file are proven, and the cube that they were read from.

    Attributes
    ----------
    archive : str
        Its name, in the night's folder here and at the destination.
    cube_sha256 : str
        Of the raw cube, hex.
    """

    archive: str
    cube_sha256: str


def archives_of(sent: Mapping[str, SentHeader]) -> list[str]:
    """Return the archives that headers were sent in, each once."""
    return list(dict.fromkeys(header.archive for header in sent.values()))


def send_raw_headers(steps: Steps, step: Step, rows: Sequence[File], failed: Failures) -> dict[str, SentHeader]:
    """Put headers and timing files of raw files into an archive of the night, and prove it at the destination.

    What archives here hold already, of a run that was killed for example, is not written again.

    Parameters
    ----------
    steps : Steps
        The night, held.
    step : Step
        The one that sends products.
    rows : sequence of File
        Of the raw files; of one whose cube is not here, only an archive that there is already is proven.
    failed : list
        Filled in: what is not as on record, damaged here or could not be sent; name and reason.

    Returns
    -------
    dict of str to SentHeader
        Of each raw file whose header and timing file are proven there, by identity.

    Raises
    ------
    Interrupted
        Between two files.
    """
    if not rows:
        return {}
    try:
        return _send(steps, step, rows, failed)
    except Interrupted:
        raise
    except LedgerError as exc:
        failed.append((f"raw headers of {steps.folder.date}", f"{exc}; no raw file is removed"))
        return {}


def _send(steps: Steps, step: Step, rows: Sequence[File], failed: Failures) -> dict[str, SentHeader]:
    if (sender := steps.stages[step.state].header_sender) is None:
        raise StateError(
            f"state {step.state!r}: its stage offers no `send_raw_headers`, and raw headers are nowhere else; expected"
            " it, or prune.raw_days: null"
        )
    held = _held(steps, failed)
    missing = [row for row in rows if not _is_in(held, row)]
    with translate_read_errors(steps.folder.path):
        missing = [row for row in missing if (steps.folder.path / _name(row)).is_file()]
    if missing:
        held |= _write(steps, missing, failed)
    found = {row.identity: held[_name(row)] for row in rows if _is_in(held, row)}
    sent = {identity: SentHeader(archive, listed.sha256) for identity, (archive, listed) in found.items()}
    if sent:
        job = replace(steps.job(), raw_headers=tuple(archives_of(sent)))
        with steps.translated():
            outcome: Outcome = sender.send_raw_headers(job=job, params=steps.stages[step.state].params)
        proven = {e.identity: e for e in outcome.evidence if e.sha256 == raw_headers_sha256(e.identity)}
        sent = {identity: header for identity, header in sent.items() if header.archive in proven}
        new = {name: asdict(evidence) for name, evidence in proven.items() if name not in steps.raw_headers}
        steps.journal.sent_headers(new)
        steps.raw_headers = (*steps.raw_headers, *new)
    return sent


def _name(row: File) -> str:
    return f"{row.folder}/{row.name}"


def _is_in(held: Mapping[str, tuple[str, RawListed]], row: File) -> bool:
    """Whether an archive has header and timing file of a raw file as they are on record."""
    if _name(row) not in held:
        return False
    listed = held[_name(row)][1]
    is_same = (listed.size_bytes, listed.timing_sha256) == (row.size_bytes, row.timing_sha256)
    return is_same and row.header_sha256 in (None, listed.header_sha256)


def _held(steps: Steps, failed: Failures) -> dict[str, tuple[str, RawListed]]:
    """Return the raw files that archives in the night's folder hold: their archive, and what it lists."""
    held: dict[str, tuple[str, RawListed]] = {}
    with translate_read_errors(steps.folder.path):
        paths = sorted(path for path in steps.folder.path.iterdir() if raw_headers_sha256(path.name))
    for path in paths:
        with translated():
            try:
                held |= {raw: (path.name, listed) for raw, listed in read_archive(path).items()}
            except BadInput as exc:
                failed.append((path.name, str(exc)))
    return held


def _write(steps: Steps, rows: Sequence[File], failed: Failures) -> dict[str, tuple[str, RawListed]]:
    """Write a new archive to the night's folder; return what :func:`_held` would of it."""
    temporary = steps.folder.path / f"{TEMPORARY_PREFIX}raw_headers.tar.xz"
    added = False
    with translated(), writing_archive(temporary) as add:
        for (row,) in steps.portions(f"prune {steps.folder.date}: raw headers", rows, 1):
            try:
                parts = read_parts(steps.folder.path / row.folder / row.name)
            except StageError as exc:
                failed.append((row.name, str(exc)))
                continue
            if not _is_in({parts.listed.raw: ("", parts.listed)}, row):
                failed.append(
                    (row.name, "its header or txt is not as on record: left alone; see `ledger audit --deep`")
                )
                continue
            add(parts)
            added = True
            steps.reporter.advance()
    with writing(temporary, "free or mount the disk"):
        if not added:
            temporary.unlink()
            return {}
        name = raw_headers_name(proof.digest(temporary, from_disk=True).sha256)
        steps.journal.lease.confirm()
        durable.put_in_place(Outcome(outputs={steps.folder.path / name: temporary}), steps.config.permissions.group)
    with translated():
        return {raw: (name, listed) for raw, listed in read_archive(steps.folder.path / name).items()}
