"""manifested: the products are listed in the night's manifest, here and at the destination.

A manifest has no header line, ends its lines with CRLF, and separates fields by ``|``: frame ID,
absolute path of the compressed cube, size in bytes (docs/design.md, Manifest, mail, receipt).
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from stages.base import TEMPORARY_PREFIX, BadInput, Job, Manifest, ManifestLine, Outcome, Retry, StageError
from stages.files import bad_input_on_os_error, read_small, retry_on_os_error
from stages.product import Product
from stages.transport.base import Copy
from stages.transport.choice import transport_of

DELIMITER = "|"
LINE_END = "\r\n"


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of the state.

    Attributes
    ----------
    path : {"destination", "source"}
        Whose paths the manifest names.
    """

    path: Literal["source", "destination"] = "destination"


def forward(*, job: Job, params: Parameters) -> Outcome:
    """Write the manifest of the job's products, and copy it proven to the destination.

    Raises
    ------
    BadInput
        If a product has no frame ID, its file is missing or not of its size, a field holds a
        delimiter, there is nothing to list, or there is no destination.
    Retry
        If the destination cannot be written.
    """
    if not job.products:
        raise BadInput(f"night {job.date}: found no products, expected some to list; advance the night first")
    with transport_of(job) as there:
        destination = _destination(job)
        lines = manifest_lines(job=job, params=params)
        name = manifest_name(job.instrument.manifest, date=job.date, serial=job.serial)
        temporary, sha256 = _write(job, name, lines)
        there.make_folders([destination])
        (result,) = there.put([[Copy(temporary, destination / name, sha256)]], [True])
        if isinstance(result, StageError):
            raise result
        there.sync_folder(destination)
    return Outcome(outputs={job.night / name: temporary}, manifest=Manifest(name=name, sha256=sha256, lines=lines))


def reverse(*, job: Job, params: Parameters) -> Outcome:
    """Withdraw all manifests of the night; what is missing already is fine.

    A manifest that stands at the destination only (a killed `forward` leaves it so) is compared with
    what the job's products would give.

    Raises
    ------
    Irreversible
        If a manifest at the destination is not the night's; then none is touched.
    BadInput
        If there is no destination.
    Retry
        If the destination cannot be read or written.
    """
    unrecorded = range(len(job.manifests), job.serial)
    names = (
        *job.manifests,
        *(manifest_name(job.instrument.manifest, date=job.date, serial=serial) for serial in unrecorded),
    )
    with transport_of(job) as there:
        destination = _destination(job)
        standing = there.names(destination)
        sources = [_source(job, params, name, is_there=name in standing) for name in names]
        (result,) = there.withdraw([[Copy(source, destination / n) for n, source in zip(names, sources, strict=True)]])
        if isinstance(result, StageError):
            raise result
        if result is not None:
            raise Retry(result)
        there.remove_if_empty([destination])
    return Outcome(superseded=tuple(sources), withdrawn_manifests=names)


def manifest_name(template: str, *, date: str, serial: int) -> str:
    """Return the name of the night's manifest, or of its `serial`-th supplement if that is above 0.

    Parameters
    ----------
    template : str
        ``Instrument.manifest``, with ``{date}``.
    date : str
        ``YYYYMMDD``.
    serial : int
        How many manifests the night has already.
    """
    name = Path(template.format(date=date))
    return name.with_stem(f"{name.stem}_supplement{serial}").name if serial else name.name


def manifest_lines(*, job: Job, params: Parameters) -> tuple[ManifestLine, ...]:
    """Return a line per product, in the order of frame IDs.

    Raises
    ------
    BadInput
        If a product has no frame ID or no size, its file is missing or not of its size, or there is
        no destination and its paths are asked for.
    """
    if params.path == "destination":
        folder = _destination(job) / job.folder.name
    else:
        folder = job.folder if job.source is None else job.source.night / job.folder.name
    lines = [_line(job, product, folder.absolute()) for product in job.products]
    return tuple(sorted(lines, key=lambda line: line.frame_id))


def read_manifests(*, job: Job, params: Parameters) -> tuple[Manifest, ...]:
    """Return the manifests of the job's products that stand in the night's folder, oldest first.

    Raises
    ------
    BadInput
        If one is not as a manifest of these products is, here or at a destination, or not at the destination as it
        is here: then nothing can be said of what was listed.
    Retry
        If one could not be read.
    """
    expected: dict[str, dict[bytes, ManifestLine]] = defaultdict(dict)
    for destination in (_destination(job), *job.other_destinations):
        for line in manifest_lines(job=replace(job, destination=destination), params=params):
            expected[line.frame_id][encode((line,))] = line
    found: list[Manifest] = []
    while (path := job.night / manifest_name(job.instrument.manifest, date=job.date, serial=len(found))).is_file():
        content = read_small(path)
        lines = tuple(_read_line(path, line, expected) for line in os.fsdecode(content).split(LINE_END)[:-1])
        if not lines or encode(lines) != content:
            raise BadInput(f"{str(path)!r}: expected lines of frame ID, path and size, each ended by CR and LF")
        if len({line.frame_id for line in lines}) < len(lines):
            raise BadInput(f"{str(path)!r}: expected each product once")
        for line in lines:
            del expected[line.frame_id]
        found.append(Manifest(name=path.name, sha256=hashlib.sha256(content).hexdigest(), lines=lines))
    _prove(job, found)
    return tuple(found)


def _read_line(path: Path, line: str, expected: Mapping[str, Mapping[bytes, ManifestLine]]) -> ManifestLine:
    """Parse a line of a manifest, of a product that no line before it lists."""
    known = expected.get(line.partition(DELIMITER)[0], {}).get(os.fsencode(line + LINE_END))
    if known is None:
        raise BadInput(
            f"{str(path)!r}: line {line[:300]!r} is of no product as it is here and at a destination, or listed twice;"
            " expected frame ID, path and size of one; is the destination that it names in former_destinations?"
        )
    return known


def _prove(job: Job, manifests: Sequence[Manifest]) -> None:
    """Refuse manifests that are not at the destination as they are here."""
    copies = [Copy(job.night / m.name, _destination(job) / m.name, m.sha256) for m in manifests]
    with transport_of(job) as there:
        for result in there.prove([[copy] for copy in copies]):
            if isinstance(result, StageError):
                raise result


def encode(lines: tuple[ManifestLine, ...]) -> bytes:
    """Return a manifest's bytes; paths keep the bytes they have on the file system.

    Raises
    ------
    BadInput
        If a frame ID or path holds the delimiter or a line end.
    """
    for line in lines:
        for field in (line.frame_id, line.path):
            if not {DELIMITER, *LINE_END}.isdisjoint(field):
                raise BadInput(
                    f"manifest: found {field!r}, expected no {DELIMITER!r}, CR or LF in it; "
                    "rename the folder, or set transfer.destination or archive.root"
                )
    return b"".join(
        os.fsencode(DELIMITER.join((line.frame_id, line.path, str(line.size_bytes))) + LINE_END) for line in lines
    )


def _write(job: Job, name: str, lines: tuple[ManifestLine, ...]) -> tuple[Path, str]:
    """Write the manifest to its temporary, synced; return that and the SHA-256 (hex)."""
    content = encode(lines)
    temporary = job.night / f"{TEMPORARY_PREFIX}{name}"
    with retry_on_os_error(temporary), temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary, hashlib.sha256(content).hexdigest()


def _source(job: Job, params: Parameters, name: str, *, is_there: bool) -> Path:
    """Return the night's own manifest, written anew if it stands at the destination only."""
    local = job.night / name
    if local.exists() or not is_there:
        return local
    return _write(job, name, manifest_lines(job=job, params=params))[0]


def _destination(job: Job) -> Path:
    """Return the night's folder at the destination.

    Raises
    ------
    BadInput
        If the job has none.
    """
    if job.destination is None:
        raise BadInput(f"night {job.date}: no destination; expected one to list; set transfer.destination")
    return job.destination


def _line(job: Job, product: Product, folder: Path) -> ManifestLine:
    """Return the product's line, checked against the file here."""
    if product.frame_id is None or not product.files:
        raise BadInput(
            f"{product.name!r} in {str(job.folder)!r}: found frame ID {product.frame_id!r} and files "
            f"{product.files!r}, expected both; a product is identified before it is listed"
        )
    name = product.files[0]
    local = (job.folder if job.source is None else _destination(job) / job.folder.name) / name
    with bad_input_on_os_error(local):
        size_bytes = local.stat().st_size
    if size_bytes != product.size_bytes:
        raise BadInput(
            f"{str(local)!r}: found {size_bytes} bytes, expected {product.size_bytes!r}; "
            "the file changed since it was compressed; roll it back and advance it again"
        )
    return ManifestLine(
        identity=product.identity, frame_id=product.frame_id, path=str(folder / name), size_bytes=size_bytes
    )
