"""Files here that are not needed any more: products that are proven at the destination, and old raw files of such.

What may go is decided by the configuration; what goes is proven again at the moment of its removal: the copy is read
at the destination, the file here is hashed, and a product's frames are compared with raw while both are here. Header
and timing file of a raw file, which no product has, are sent there before. First the removal is on record, then the
file goes; a run that is killed in between leaves files for the next one to remove.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from ledger.db.models import File, Lineage, Manifest, ManifestLine, Night
from ledger.delivery._raw_headers import SentHeader, archives_of, send_raw_headers
from ledger.disk import durable
from ledger.disk.access import translate_read_errors
from ledger.disk.nights import NightFolder
from ledger.disk.raws import streams_ns
from ledger.errors import Busy, Interrupted, LedgerError, NotReady
from ledger.night import record
from ledger.night.given_out import confirmed, contradictions, mailed_lines
from ledger.night.journal import Removal
from ledger.night.pipeline import Pipeline, Step
from ledger.night.products import WorkItem
from ledger.night.site import refuse_scattered
from ledger.report import by_file
from ledger.run.copies import reverify
from ledger.run.machine import Machine
from ledger.run.steps import Steps
from stages.check.reread import reread
from stages.files import mtime_ns_of
from stages.transport import proof

DAY_US = 86_400_000_000
#: Files of a product whose SHA-256 is on record: the cube and its txt.
HASHED = 2
#: Why a timing file stays: unless a removal that was killed had recorded and archived it, it may be nowhere else.
_NO_CUBE = "raw files whose cube is not here"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A raw file or a product that may go.

    Attributes
    ----------
    row : File
        Its row.
    paths : tuple of Path
        Its files here, the cube first.
    size_bytes : int
        Of those that are there.
    has_cube : bool
        Whether the cube is; a run that was killed may have removed it.
    """

    row: File
    paths: tuple[Path, ...]
    size_bytes: int
    has_cube: bool


@dataclass(slots=True)
class Pruned:
    """What may go of one night, or went.

    Attributes
    ----------
    pipeline, date : str
        The night.
    products, raws : int
        How many.
    size_bytes : int
        Of their files.
    headers : int
        Raw files whose header and timing file are sent to the destination first, or were.
    archives : list of str
        Where those are: archives in the night's folder, here and there.
    kept : Counter
        How many files stay, by the reason.
    failed : list
        What was to go, and could not be proven or removed: name and reason.
    """

    pipeline: str
    date: str
    products: int = 0
    raws: int = 0
    size_bytes: int = 0
    headers: int = 0
    archives: list[str] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "pipeline": self.pipeline,
            "date": self.date,
            "products": self.products,
            "raws": self.raws,
            "bytes": self.size_bytes,
            "headers": self.headers,
            "archives": self.archives,
            "kept": dict(sorted(self.kept.items())),
            "failed": by_file(self.failed),
        }


def prune(machine: Machine, *, only: Collection[NightFolder] | None = None, removes: bool = False) -> Iterator[Pruned]:
    """Yield what may go of each night, oldest first; with `removes` it goes.

    Parameters
    ----------
    machine : Machine
        The ledger.
    only : collection of NightFolder, optional
        Only these nights.
    removes : bool
        Remove it, up to ``prune.most_gb``; a night that another run holds is left out.

    Raises
    ------
    Interrupted
        Between two files.
    """
    with machine.store.read() as session:
        nights = session.execute(select(Night).order_by(col(Night.date), col(Night.pipeline))).scalars().all()
    wanted = None if only is None else {(night.pipeline, night.date) for night in only}
    left_bytes = int(machine.config.prune.most_gb * 1e9)
    for night in nights:
        is_other = wanted is not None and (night.pipeline, night.date) not in wanted
        if is_other or night.pipeline not in machine.pipelines:
            continue
        found = Pruned(night.pipeline, night.date)
        if not removes:
            products, raws = _candidates(machine, night, found)
            _count(found, [*products, *raws])
            found.headers = sum(candidate.has_cube for candidate in raws)
        else:
            try:
                left_bytes = _remove(machine, night, found, left_bytes)
            except Busy as exc:
                found.kept[str(exc)] += 1
            except Interrupted:
                raise
            except LedgerError as exc:  # what keeps this night from being looked at need not keep others
                found.failed.append((night.date, str(exc)))
        yield found


def _count(found: Pruned, candidates: Sequence[Candidate]) -> None:
    found.products += sum(candidate.row.kind == "product" for candidate in candidates)
    found.raws += sum(candidate.row.kind == "raw" for candidate in candidates)
    found.size_bytes += sum(candidate.size_bytes for candidate in candidates)


# what may go


def _candidates(machine: Machine, night: Night, found: Pruned) -> tuple[list[Candidate], list[Candidate]]:
    """Return the products and raw files of a night that may go; what stays, and why, is counted in `found`."""
    store, rules = machine.store, machine.config.prune
    pipeline = machine.pipelines[night.pipeline]
    now_us = store.clock()
    with store.read() as session:
        of_night = select(File).where(col(File.night_id) == night.id)
        rows = list(session.execute(of_night.order_by(col(File.folder), col(File.name))).scalars())
        lines = session.execute(
            select(col(Lineage.raw_id), col(Lineage.product_id))
            .join(File, col(File.id) == col(Lineage.raw_id))
            .where(col(File.night_id) == night.id)
            .distinct()
        ).all()
    sent_us: dict[str, int] = {}
    for copy in record.copies(store, night):
        if copy.withdrawn_us is None and copy.refuted_us is None:
            sent_us[copy.identity] = min(copy.proven_us, sent_us.get(copy.identity, copy.proven_us))
    named = _named_here(machine, night)
    with store.read() as session:
        contradicted = {line.identity for line in contradictions(session, night)}
    safe = {}
    products: list[Candidate] = []
    raws: list[Candidate] = []
    folder = Path(night.root) / night.date
    for row in (row for row in rows if row.kind == "product"):
        candidate = _on_disk(row, [folder / row.folder / name for name in row.files])
        reason = _why_not_sent(row, pipeline, has_proof=row.identity in sent_us)
        if reason is None and row.identity in contradicted:
            reason = "products that the archive has in another way than they are on record"
        if reason is None and named & {str(path) for path in candidate.paths}:
            reason = "products that a manifest names here, and the archive has not confirmed"
        safe[row.id] = reason is None  # raw files go after such products only, whatever else keeps those here
        if reason is None and len(row.files) > HASHED:
            reason = "products with files of which no SHA-256 is on record"
        if reason is None and rules.products_days and now_us - sent_us[row.identity] < rules.products_days * DAY_US:
            reason = f"products that were proven less than {rules.products_days} days ago"
        if candidate.size_bytes:
            _sort(products, candidate, reason, found)
    made_of: dict[int | None, list[int]] = defaultdict(list)
    for raw_id, product_id in lines:
        made_of[raw_id].append(product_id)
    for row in (row for row in rows if row.kind == "raw" and rules.raw_days is not None):
        cube = folder / row.folder / row.name
        candidate = _on_disk(row, [cube, cube.with_suffix(".txt")])
        reason = None
        if row.quarantine_reason:
            reason = "raw files in quarantine"
        elif row.lost_frames:
            reason = "raw files that were cut off: not each of their frames is in the archive"
        elif not candidate.has_cube and row.pruned_us is None:
            reason = _NO_CUBE
        elif not made_of[row.id] or not all(safe[product] for product in made_of[row.id]):
            reason = "raw files with frames of products that are not in the archive, or not for sure"
        elif now_us - int(row.last_us or now_us) < int(rules.raw_days or 0) * DAY_US:
            reason = f"raw files that are younger than {rules.raw_days} days"
        if candidate.size_bytes:
            _sort(raws, candidate, reason, found)
    return products, raws


def _sort(candidates: list[Candidate], candidate: Candidate, reason: str | None, found: Pruned) -> None:
    if reason is None:
        candidates.append(candidate)
    else:
        found.kept[reason] += 1


def _on_disk(row: File, paths: Sequence[Path]) -> Candidate:
    """Return a row's files with how large they are here; links are nobody's to remove."""
    sizes = []
    for path in paths:
        with translate_read_errors(path):
            sizes.append(path.stat().st_size if path.is_file() and not path.is_symlink() else None)
    return Candidate(row, tuple(paths), sum(size or 0 for size in sizes), sizes[:1] not in ([], [None]))


def _why_not_sent(row: File, pipeline: Pipeline, *, has_proof: bool) -> str | None:
    """Return why a product does not count as archived, or None."""
    if row.quarantine_reason or row.error:
        return "products in quarantine, or with an error"
    if row.state != pipeline.last or pipeline.sending is None:
        return f"products that are not {pipeline.last}"
    if not has_proof:
        return "products without a proven copy"
    return None


def _named_here(machine: Machine, night: Night) -> set[str]:
    """Return the paths that a manifest gave out, and the archive has not confirmed to have."""
    with machine.store.read() as session:
        has = set(session.execute(confirmed()).scalars())
        lines = session.execute(
            select(col(ManifestLine.frame_id), col(ManifestLine.path))
            .join(Manifest, col(Manifest.id) == col(ManifestLine.manifest_id))
            .where(col(Manifest.night_id) == night.id, col(Manifest.withdrawn_us).is_(None))
        ).all()
        mailed = [(line.frame_id, line.path) for _, line in session.execute(mailed_lines())]
    return {path for frame_id, path in (*lines, *mailed) if frame_id not in has}


# what goes


def _remove(machine: Machine, night: Night, found: Pruned, left_bytes: int) -> int:
    """Remove what may go of a night, as far as `left_bytes` allow; return what is left of them."""
    if not any(_candidates(machine, night, found)):
        return left_bytes
    found.kept.clear()  # it is looked at again
    folder = NightFolder(night.pipeline, Path(night.root), night.date)
    with machine.holding(folder, "prune", {}) as (steps, result):
        refuse_scattered(machine.store, steps.journal.night, steps.site)
        products, raws = _candidates(machine, steps.journal.night, found)  # as they are now that the night is held
        products, left_bytes = _up_to(products, left_bytes, found)
        raws, left_bytes = _up_to(raws, left_bytes, found)
        items = {item.product.identity: item for item in record.products(machine.store, steps.journal.night)}
        step = next(step for step in steps.journal.pipeline.steps if step.needs_copy)
        made_of = _made_of(items.values(), raws)
        wanted = {row.row.identity for row in products} | {p for made in made_of.values() for p in made}
        sound = _proven(steps, step, [item for item in items.values() if item.product.identity in wanted], found)
        _remove_all(steps, [c for c in products if c.row.identity in sound], found)
        raws = [c for c in raws if made_of[c.row.identity] <= sound]
        sent = send_raw_headers(steps, step, [c.row for c in raws], found.failed)
        found.headers, found.archives = len(sent), archives_of(sent)
        _remove_all(steps, [c for c in raws if c.row.identity in sent], found, sent)
        found.kept.update(_NO_CUBE for c in raws if not c.has_cube and c.row.identity not in sent)
        result.failed = list(found.failed)
    return left_bytes


def _up_to(candidates: Sequence[Candidate], left_bytes: int, found: Pruned) -> tuple[list[Candidate], int]:
    """Return the first candidates that the rest of the cap allows, and what is left of it."""
    taken = []
    for candidate in candidates:
        if candidate.size_bytes > left_bytes:
            found.kept["files beyond prune.most_gb, for another run"] += 1
            continue
        left_bytes -= candidate.size_bytes
        taken.append(candidate)
    return taken, left_bytes


def _made_of(items: Collection[WorkItem], raws: Sequence[Candidate]) -> Mapping[str, set[str]]:
    """Return the products that each raw file is in, by identity."""
    made: dict[str, set[str]] = {raw.row.identity: set() for raw in raws}
    for item in items:
        for part in item.product.parts:
            if part.raw.identity in made:
                made[part.raw.identity].add(item.product.identity)
    return made


def _proven(steps: Steps, step: Step, items: Sequence[WorkItem], found: Pruned) -> set[str]:
    """Return the identities of products whose copies are read again and right, and whose frames are those of raw."""
    sound: set[str] = set()
    for batch in steps.portions(f"prune {steps.folder.date}: prove", items):
        checked = reverify(steps, step, batch, {"prune": 1})
        differing = _compared([item for item in batch if item.product.identity in checked.proven], steps)
        sound |= checked.proven - differing.keys()
        steps.reporter.advance(len(checked.proven - differing.keys()))
        names = {item.product.identity: item.product.frame_id or item.product.name for item in batch}
        found.failed += [(names[identity], reason) for identity, reason in {**checked.failures, **differing}.items()]
    return sound


def _compared(items: Sequence[WorkItem], steps: Steps) -> dict[str, str]:
    """Return the products whose frames here are not those of raw, and why; one of both may be gone already."""
    futures = {}
    for item in items:
        product = item.product
        cube = steps.product_folder / product.files[0]
        if cube.is_file() and not any(part.raw.is_pruned for part in product.parts):
            futures[product.identity] = steps.executor.submit(reread, files=(), cube=cube, parts=product.parts)
    differing = {}
    for identity, future in futures.items():
        if faults := future.result().faults:
            differing[identity] = f"{faults[0].what}; nothing of it is removed; see `ledger audit --deep`"
    return differing


def _remove_all(
    steps: Steps, candidates: Sequence[Candidate], found: Pruned, sent: Mapping[str, SentHeader] = MappingProxyType({})
) -> None:
    """Remove files that are as they are on record, one product or raw file after the other.

    `sent` are the headers of raw files, by identity: the cubes must still be those that they were read from.
    """
    instrument = steps.config.instrument
    with translate_read_errors(steps.folder.path):
        was_seen = steps.journal.night.streams_ns == streams_ns(steps.folder, instrument)
    for (candidate,) in steps.portions(f"prune {steps.folder.date}: remove", candidates, 1):
        row, name = candidate.row, candidate.paths[0].name
        try:
            removal = Removal(
                int(row.id or 0), row.identity, name, _hashes(candidate, sent.get(row.identity)), candidate.size_bytes
            )
            steps.journal.pruned([removal])
            durable.remove(path for path in candidate.paths if path.name in removal.sha256)
        except (LedgerError, OSError) as exc:
            found.failed.append((name, str(exc)))
        else:
            _count(found, [candidate])
            steps.reporter.advance()
    if was_seen:
        steps.journal.looked_at(streams_ns(steps.folder, instrument))


def _hashes(candidate: Candidate, header: SentHeader | None) -> dict[str, str]:
    """Return the SHA-256, hex, of each file that is there, by name, all as on record.

    Raises
    ------
    NotReady
        If one is not.
    """
    row = candidate.row
    cube, timing = candidate.paths
    found = {}
    for path in (path for path in candidate.paths if path.is_file() and not path.is_symlink()):
        with translate_read_errors(path):
            found[path.name] = proof.digest(path).sha256
    expected: dict[str, str | None] = {timing.name: row.timing_sha256}
    is_same = True
    if row.kind == "product":
        expected[cube.name] = row.sha256
    elif cube.name in found:
        expected[cube.name] = header.cube_sha256 if header else None
        with translate_read_errors(cube):
            info = cube.stat()
        is_same = (info.st_size, mtime_ns_of(info)) == (row.size_bytes, row.mtime_ns)
    if not is_same or any(found.get(name, sha256) != sha256 for name, sha256 in expected.items()):
        raise NotReady(
            f"{str(cube)!r}, or the txt beside it, is not as on record: left alone; see `ledger audit --deep`"
        )
    return found
