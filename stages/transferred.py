"""transferred: the same bytes are proven at the destination.

See docs/design.md, Transfer and proof.

The layout there is that of the night: ``<destination>/<date>/<product folder>/…``.  A copy counts
only when its SHA-256, computed from the destination's bytes, is the product's.  The way back removes
copies that are still provably ours and leaves everything else alone.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from stages.base import BadInput, Evidence, Job, Outcome, Retry, StageError, Stopped
from stages.further import SUMS
from stages.lineage import LINEAGE
from stages.optional import NightCheck
from stages.product import Product
from stages.transport import beside, proof
from stages.transport.base import Copy, Transport
from stages.transport.choice import hashes, transport_of


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of the state.

    Attributes
    ----------
    in_flight : int
        Files copied at once; with two, one is hashed while the other is written.
    also : tuple of str
        Patterns, relative to the night's folder, of further files to send; see
        :func:`stages.further.is_named`.  Raw streams, the product folder and temporaries never match.

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


def forward(*, job: Job, params: Parameters) -> Outcome:
    """Copy and prove every file of the products, then (if the job brings them) the night's own files.

    A product that cannot be proven is in the outcome's failures, and the others go on; if a stop is asked
    for, what has arrived is proven, and the rest is left.  Copies that already lie there are proven
    and not made again, so repeating this is harmless.  One batch of a night at a time: batches share the
    night's own files.

    Raises
    ------
    BadInput
        If there is no destination; its base is never created, for it may be an unmounted disk.
    Retry
        If the destination has too little space or cannot be written.
    """
    with transport_of(job, in_flight=params.in_flight) as there:
        destination = _destination(job)
        folder = destination / job.folder.name
        groups, failures = _groups(job, folder)
        further = beside.further_copies(job, destination, params.also) if job.brings_night else []
        _require_space(there, job, [*further, *(copy for _, group in groups for copy in group)])
        there.make_folders([destination, folder])
        replaceable = [product.identity in job.placed for product, _ in groups]
        results = there.put([group for _, group in groups], replaceable)
        evidence = _evidence(there, groups, results, failures)
        there.sync_folder(folder)
        if evidence:
            if job.brings_night:
                beside.send(there, job, destination, params.also)
        else:
            there.remove_if_empty([folder, destination])
    return Outcome(evidence=evidence, failures=failures, left=_left(groups, results))


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
    with transport_of(job, in_flight=params.in_flight) as there:
        groups, failures = _groups(job, _destination(job) / job.folder.name)
        # From the first removal on nothing may be raised: what is gone must be told, or a state would stand on it.
        left: dict[str, str] = {}
        withdrawn = []
        for (product, _), result in zip(groups, there.withdraw([group for _, group in groups]), strict=True):
            if isinstance(result, StageError):
                failures[product.identity] = str(result)
                continue
            withdrawn.append(product.identity)
            if result is not None:
                left[product.identity] = result
        remarks = {}
        try:
            kept = beside.tidy(there, job, _destination(job), params.also)
            remarks = {"changed copies left at the destination": kept} if kept else {}
        except Retry as exc:
            left |= {identity: str(exc) for identity in withdrawn[-1:]}  # the rest is taken up again with one product
    return Outcome(withdrawn=tuple(withdrawn), failures=failures, unfinished=left, remarks=remarks)


#: What the ledger writes for the night as a whole (`stages.optional.Sender`).
own_files = beside.own_files


def night_files(*, job: Job, params: Parameters) -> dict[str, bytes]:
    """Return ``SHA256SUMS``: a line per file of the compressed products, and of the lineage.

    The format is coreutils' (``<sha256>  <path from the night's folder>``), sorted by path, so that
    ``sha256sum -c SHA256SUMS`` works in the night's folder and at the destination alike.

    Raises
    ------
    BadInput
        If a file that has to be hashed cannot be read.
    Retry
        If it is on another host, and that cannot be reached.
    """
    made = [product for product in job.products if product.sha256 is not None]
    recorded = {name: sha256 for product in made for name, sha256 in _recorded(product).items()}
    sums = {name: sha256 for name, sha256 in recorded.items() if sha256 is not None}
    sums |= hashes(job, [name for name in recorded if name not in sums])
    if proof.is_there(job.folder / LINEAGE):
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
    with transport_of(job, in_flight=params.in_flight) as there:
        groups, failures = _groups(job, _destination(job) / job.folder.name)
        evidence = _evidence(there, groups, there.prove([group for _, group in groups]), failures)
    return Outcome(evidence=evidence, failures=failures)


def verify_night(*, job: Job, params: Parameters) -> NightCheck:
    """Prove what the night has at the destination beside its products, and look for what nobody sent there.

    Parameters
    ----------
    job : Job
        With all products of the night that have copies.
    params : Parameters
        Of the state.

    Returns
    -------
    NightCheck
        What is damaged or missing, and why; and what is there, and was not sent.

    Raises
    ------
    BadInput
        If there is no destination.
    Retry
        If it cannot be read.
    """
    destination = _destination(job)
    copies = [Copy(job.night / name, destination / name) for name in beside.names_of(job, params.also)]
    copies += beside.raw_headers_copies(job, destination)
    names = [copy.final.relative_to(destination) for copy in copies]
    with transport_of(job, in_flight=params.in_flight) as there:
        results = there.prove([[copy] for copy in copies])
        top, inner = there.names(destination), there.names(destination / job.folder.name)
    sent = {LINEAGE, *(name for product in job.products for name in product.files)}
    extra = [PurePath(name) for name in top - {job.folder.name, *(name.parts[0] for name in names)}]
    extra += [PurePath(job.folder.name, name) for name in inner - sent]
    wrong = [(name, found) for name, found in zip(names, results, strict=True) if isinstance(found, StageError)]
    return NightCheck({str(name): str(found) for name, found in wrong}, tuple(sorted(map(str, extra))))


def repair(*, job: Job, params: Parameters) -> Outcome:
    """Copy the job's products again where they are not proven, and the night's own files.

    Raises
    ------
    BadInput
        If there is no destination, or a file of the night is missing or cannot be read.
    Retry
        If it cannot be read or written.
    """
    if job.products:
        return forward(job=job, params=params)
    with transport_of(job, in_flight=params.in_flight) as there:
        beside.send(there, job, _destination(job), params.also)
    return Outcome()


def send_raw_headers(*, job: Job, params: Parameters) -> Outcome:
    """Bring the job's archives of raw headers to the destination, and prove them there.

    Returns
    -------
    Outcome
        Evidence of each archive that is whole here, its name as identity.

    Raises
    ------
    BadInput
        If there is no destination, or an archive cannot be read.
    Retry
        If the destination has too little space, or cannot be read or written.
    """
    destination = _destination(job)
    with transport_of(job, in_flight=params.in_flight) as there:
        _require_space(there, job, beside.raw_headers_copies(job, destination))
        proven = beside.send_raw_headers(there, job, destination)
    return Outcome(
        evidence=tuple(
            Evidence(copy.final.name, there.host, str(copy.final), digest.sha256, digest.size_bytes, there.tool)
            for copy, digest in proven
        )
    )


def recall(*, job: Job, params: Parameters) -> Outcome:
    """Bring the files of the job's products back from the destination, proven on arrival.

    A product that cannot be proven is in the outcome's failures.

    Raises
    ------
    BadInput
        If there is no destination.
    Retry
        If it cannot be read, or the night's folder not be written.
    """
    groups, failures = _groups(job, _destination(job) / job.folder.name)
    outputs: dict[Path, Path] = {}
    whole = []
    for product, group in groups:
        if all(copy.sha256 for copy in group):
            whole.append((product, group))
        else:
            failures[product.identity] = f"{product.name}: of one of its files no SHA-256 is on record to prove it by"
    with transport_of(job, in_flight=params.in_flight) as there:
        results = there.fetch([group for _, group in whole], job.folder)
    for (product, group), result in zip(whole, results, strict=True):
        if isinstance(result, Stopped):
            continue
        if isinstance(result, StageError):
            failures[product.identity] = str(result)
        else:
            outputs.update((copy.source, temporary) for copy, temporary in zip(group, result, strict=True))
    return Outcome(outputs=outputs, failures=failures, left=_left(whole, results))


def _destination(job: Job) -> Path:
    """Return the night's folder at the destination, of a job that has one."""
    if job.destination is None:
        raise AssertionError("looked at by transport_of")
    return job.destination


def _groups(job: Job, folder: Path) -> tuple[list[tuple[Product, list[Copy]]], dict[str, str]]:
    """Return the copies of each product that has files to copy, and of the others why not, by identity."""
    groups = []
    failures: dict[str, str] = {}
    for product in job.products:
        try:
            groups.append((product, _copies(job, folder, product)))
        except BadInput as exc:
            failures[product.identity] = str(exc)
    return groups, failures


def _evidence(
    there: Transport,
    groups: Sequence[tuple[Product, Sequence[Copy]]],
    results: Sequence[tuple[proof.Digest, ...] | StageError],
    failures: dict[str, str],
) -> tuple[Evidence, ...]:
    """Return the proof of each proven cube; note in `failures` why others are not, unless a stop left them."""
    found = []
    for (product, group), result in zip(groups, results, strict=True):
        if isinstance(result, Stopped):
            continue
        if isinstance(result, StageError):
            failures[product.identity] = str(result)
            continue
        cube = result[0]
        found.append(
            Evidence(
                identity=product.identity,
                host=there.host,
                path=str(group[0].final),
                sha256=cube.sha256,
                size_bytes=cube.size_bytes,
                tool=there.tool,
            )
        )
    return tuple(found)


def _left(groups: Sequence[tuple[Product, object]], results: Sequence[object]) -> tuple[str, ...]:
    """Return the identities of products that a stop left as they were."""
    pairs = zip(groups, results, strict=True)
    return tuple(product.identity for (product, _), result in pairs if isinstance(result, Stopped))


def _copies(job: Job, folder: Path, product: Product) -> list[Copy]:
    """Return what to copy, the cube first."""
    if not product.files or product.sha256 is None:
        raise BadInput(
            f"{product.name!r} in {str(job.folder)!r}: found files {product.files!r} and SHA-256 "
            f"{product.sha256!r}, expected both; a product is compressed before it is transferred"
        )
    return [Copy(job.folder / name, folder / name, sha256) for name, sha256 in _recorded(product).items()]


def _recorded(product: Product) -> dict[str, str | None]:
    """Return the SHA-256 on record of each of the product's files: of the cube and the txt; None for further ones."""
    known = (product.sha256, product.timing_sha256)
    return dict(itertools.zip_longest(product.files, known[: len(product.files)]))


def _require_space(there: Transport, job: Job, copies: Sequence[Copy]) -> None:
    """Raise Retry unless the destination has room for what has to be copied."""
    lying = there.sizes([copy.final for copy in copies])
    sizes = there.source_sizes([copy.source for copy in copies])
    needed = sum(size or 0 for size, there_bytes in zip(sizes, lying, strict=True) if size != there_bytes)
    free = there.free_bytes()
    if needed > free:
        base = str(_destination(job).parent)
        raise Retry(f"destination {base!r}: {needed} bytes needed, {free} free; make room and it is tried again")
