"""What a deep audit reads of a night: one call for each raw file, product and manifest, made of their rows."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Protocol, TypeVar

from ledger.config.model import Config
from ledger.db.models import Copy, Manifest, ManifestLine, Night
from ledger.db.store import Store
from ledger.ids.check_rows import Explained
from ledger.night import record
from ledger.night.listed import listed
from ledger.night.products import WorkItem
from ledger.night.site import site_of
from stages.check.reread import Fault, Found, Recorded, reread, reread_raw
from stages.further import raw_headers_sha256
from stages.product import Product


@dataclass(frozen=True, slots=True)
class Task:
    """One call, and what is needed to say what to do about what it finds.

    Attributes
    ----------
    path : Path
        What it is about.
    call : callable
        Can be sent to a worker.
    files : sequence of Recorded
        That it reads; none of a raw file, which is nobody's to mend.
    product : Product or None
        Whose they are.
    faults : sequence of Fault
        What is known to be wrong already.
    """

    path: Path
    call: Callable[[], Found]
    files: Sequence[Recorded] = ()
    product: Product | None = None
    faults: Sequence[Fault] = ()


class _OfProduct(Protocol):
    identity: str


T = TypeVar("T", bound=_OfProduct)


def tasks_of(store: Store, config: Config, night: Night, items: Iterable[WorkItem]) -> list[Task]:
    """Return what to read of a night: raw files by name, products in the order of `items`, manifests, raw headers."""
    folder, known = folder_of(night), listed(store, night)
    lines = [line for line, _ in known]
    site = site_of(store, config, night.pipeline, night.date)
    destination: Path | None = site.destination / night.date
    read = [ManifestLine.model_validate(line.model_dump() | {"path": path}) for line, path in known]
    if not site.has_copies:  # nothing of it is here to be read
        read = [line for line in read if not Path(line.path).is_relative_to(str(destination))]
        destination = None
    return [
        *_of_raws(store, night, folder),
        *_of_products(items, folder / config.instrument.product_folder, _copies(store, night), read),
        *_of_manifests(record.manifests(store, night), lines, folder, destination),
        *_of_raw_headers(record.raw_headers(store, night), folder, destination),
    ]


def folder_of(night: Night) -> Path:
    """Return the folder of a night."""
    return Path(night.root) / night.date


def afar(store: Store, night: Night) -> Iterator[Explained]:
    """Yield copies at other hosts, which cannot be read here."""
    places = {(copy.host, copy.path) for copy in record.copies(store, night) if copy.withdrawn_us is None and copy.host}
    hosts = Counter(host for host, _ in places)  # a copy has a proof for each time that it was read
    for host, n in sorted(hosts.items()):
        yield Explained("afar", f"copies at {host} were not read again", n, night.date, night.date)


def _of_raws(store: Store, night: Night, folder: Path) -> Iterator[Task]:
    for row in record.raws(store, night):
        if row.quarantine_reason or row.pruned_us is not None:
            continue  # nothing stands on it, or it was removed on purpose
        cube = folder / row.folder / row.name
        timing = Recorded(cube.with_suffix(".txt"), row.timing_sha256, row.timing_size_bytes, "raw_bytes")
        yield Task(cube, partial(reread_raw, cube=cube, header_sha256=row.header_sha256, timing=timing))


def _of_products(
    items: Iterable[WorkItem], folder: Path, copies: Iterable[Copy], lines: Iterable[ManifestLine]
) -> Iterator[Task]:
    """Yield what each product has: its own files, their copies, and the files that manifests name."""
    copies_of, lines_of = _by_identity(copies), _by_identity(lines)
    for item in items:
        product = item.product
        recorded = [(product.sha256, product.size_bytes), (product.timing_sha256, None)]
        facts = zip_longest(product.files, recorded[: len(product.files)], fillvalue=(None, None))
        own = [Recorded(folder / str(name), sha256, size_bytes) for name, (sha256, size_bytes) in facts]
        elsewhere = _elsewhere(own, copies_of.pop(product.identity, []), lines_of.pop(product.identity, []))
        files = [*own, *elsewhere]
        cube = own[0].path if own else None
        if item.is_pruned:
            files = elsewhere
            cube = next((file.path for file in elsewhere if file.copy_of == cube), None)
        is_raw_here = not any(part.raw.is_pruned for part in product.parts)
        call = partial(reread, files=files, cube=cube, parts=product.parts if own and is_raw_here else ())
        yield Task(cube or folder / product.name, call, files, product)
    for identity in {**copies_of, **lines_of}:  # of products that are no more
        files = _elsewhere([], copies_of.get(identity, []), lines_of.get(identity, []))
        yield Task(files[0].path, partial(reread, files=files), files)


def _elsewhere(own: Sequence[Recorded], copies: Iterable[Copy], lines: Iterable[ManifestLine]) -> list[Recorded]:
    """Return the copies of a product's files, and what manifests say of either, each file once."""
    files: dict[tuple[Path, int | None], Recorded] = {}
    for copy in copies:
        path = Path(copy.path)
        is_of_state = bool(own) and own[0].path.name == path.name
        of = own[0].path if is_of_state else None
        files[path, copy.size_bytes] = Recorded(path, copy.sha256, copy.size_bytes, "copy", of)
        for file in own[1:] if is_of_state else ():
            sent = path.with_name(file.path.name)
            files[sent, None] = Recorded(sent, file.sha256, None, "copy", file.path)
    known = {(file.path, file.size_bytes) for file in own}
    for line in lines:
        path, sha256 = Path(line.path), own[0].sha256 if own else None
        if (path, line.size_bytes) not in known:
            files.setdefault((path, line.size_bytes), Recorded(path, sha256, line.size_bytes, "manifest"))
    return list(files.values())


def _of_manifests(
    manifests: Iterable[Manifest], lines: Sequence[ManifestLine], folder: Path, destination: Path | None
) -> Iterator[Task]:
    """Yield the manifests that stand, here and at the destination, and whether their lines on record are theirs."""
    for manifest in manifests:
        path = folder / manifest.name
        files = [Recorded(path, manifest.sha256, law="manifest")]
        if destination is not None:
            files.append(Recorded(destination / manifest.name, manifest.sha256, law="manifest", copy_of=path))
        text = [f"{x.frame_id}|{x.path}|{x.size_bytes}\r\n" for x in lines if x.manifest_id == manifest.id]
        sha256 = hashlib.sha256(os.fsencode("".join(text))).hexdigest()
        what = f"the lines of {path} on record have SHA-256 {sha256}, expected {manifest.sha256}"
        faults = [Fault("manifest", path, what)] if sha256 != manifest.sha256 else []
        yield Task(path, partial(reread, files=files), files, faults=faults)


def _of_raw_headers(names: Iterable[str], folder: Path, destination: Path | None) -> Iterator[Task]:
    """Yield the archives of raw headers, here and at the destination."""
    for name in names:
        path, sha256 = folder / name, raw_headers_sha256(name)
        files = [Recorded(path, sha256)]
        if destination is not None:
            files.append(Recorded(destination / name, sha256, copy_of=path))
        yield Task(path, partial(reread, files=files), files)


def _copies(store: Store, night: Night) -> list[Copy]:
    """Return the proofs that stand, of copies that can be read here."""
    return [copy for copy in record.copies(store, night) if copy.withdrawn_us is None and not copy.host]


def _by_identity(rows: Iterable[T]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for row in rows:
        found.setdefault(row.identity, []).append(row)
    return found
