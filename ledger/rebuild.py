"""A ledger made anew from what is on disk, for when the database and its backups are lost.

Raw files are registered; ``lineage.tsv`` says which products were made of them; a product's state and frame ID are
what its own files prove (`stages.recognition`), and its copy at the destination is read again. All is written to a
database of its own, which takes its place at the end as a whole.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select, update
from sqlalchemy.engine import URL
from sqlmodel import Session, col

from ledger import backup, registration
from ledger.book import Failure, Move
from ledger.clock import Clock, now_us
from ledger.config import Config
from ledger.errors import BadInput, Interrupted, NotReady
from ledger.flow import Flow, Step, flows
from ledger.machine import Machine
from ledger.models import Entry, FrameBlock, FrameId, FrameSequence, Night
from ledger.numbers import DIGITS, numbers_on_disk, runs_of
from ledger.report import Reporter, Result, Stop, counted
from ledger.reservation import refuse_unmounted
from ledger.rows import Work, order_key, to_raw
from ledger.scan import NightFolder, has_raws, nights_on_disk, reading
from ledger.sequence import LAST_NUMBER, frame_id_of, standing
from ledger.steps import Steps, translated
from ledger.store import Store, insert_many
from stages import base
from stages.base import Product
from stages.consolidated import read_lineage, timing_sha256
from stages.recognition import Mark, Recognised, recognise
from stages.synced import identity_of
from stages.transferred import LINEAGE, SUMS

T = TypeVar("T")

#: Calls in hand at once.
BATCH = 200
#: Products whose copies are read between two looks at whether to stop.
COPIES = 64
#: Ending of a compressed cube.
PACKED = ".fz"

#: What no file tells.
LOST = (
    "the history: when and by which run anything was done, and earlier failures",
    "frame IDs of products that were rolled back: they get new ones",
    "why nights were excluded, frame IDs are late, products were discarded or their IDs withdrawn",
    "where `ledger ids start --from` began, and what is left of blocks that were handed out",
)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was made anew.

    Attributes
    ----------
    nights : list of Result
        Of each night; ``stopped`` says why its products are not in the ledger.
    frame_ids : int
        How many products have theirs.
    next_id : str or None
        The frame ID that is given next; None if there is none to give.
    """

    nights: list[Result]
    frame_ids: int
    next_id: str | None

    @property
    def succeeded(self) -> bool:
        """Whether all that is on disk is in the ledger."""
        return all(night.succeeded for night in self.nights)


@dataclass(slots=True)
class _Found:
    """What the files of one product tell: the state that they prove, or why none; its number, if it has one."""

    recognised: Recognised | None = None
    reason: str | None = None
    number: int | None = None


@dataclass(slots=True)
class _Night:
    """A night on the way: what was told of it, its products in ID order, and what was found of each, by identity."""

    folder: NightFolder
    told: Result
    products: list[Product] = field(default_factory=list)
    found: dict[str, _Found] = field(default_factory=dict)


def rebuild(
    config: Config,
    *,
    clock: Clock = now_us,
    reporter: Reporter | None = None,
    jobs: int | None = None,
    stop: Stop | None = None,
) -> Rebuilt:
    """Make the configured database of what is on disk.

    Parameters
    ----------
    config : Config
        Names a database that is empty or not there. Its states and rules must be those of then.
    clock, reporter, jobs, stop
        As for `Machine`.

    Raises
    ------
    BadInput
        If the database has rows, a root or destination is missing, products are at the destination only, or two files
        carry the same frame ID; then there is no database, as before.
    NotReady
        If something cannot be read, or the database not be written.
    Interrupted
        If it was asked to stop.
    """
    refuse_unmounted(config)
    with backup.replacing(config) as path:
        store = Store(URL.create("sqlite", database=str(path)), clock)
        try:
            store.init(flows(config).values())
            machine = Machine(config, store, reporter=reporter, jobs=jobs, stop=stop)
            folders = list(_folders(machine))
            for folder in folders:
                _refuse_missing(config, machine.flows[folder.pipeline], folder)
            nights = [_read(machine, folder) for folder in folders]
            n_ids = _restore_ids(machine, nights)
            results = [_restore_states(machine, night) for night in nights]
            with store.recorded("rebuild", {}) as (session, run_id):
                entry = Entry(run_id=run_id, name="ledger", event="rebuilt", at_us=0, detail={"nights": len(nights)})
                backup.note_beyond(session, store, config, entry)
                next_id = standing(session, config).next_id
        finally:
            store.close()
    return Rebuilt(results, n_ids, next_id)


def _folders(machine: Machine) -> Iterator[NightFolder]:
    """Yield the nights on disk that have raw files or products, oldest first."""
    instrument = machine.config.instrument
    for name, pipeline in machine.config.pipelines.items():
        for folder in nights_on_disk(machine.config, name) if pipeline.root.is_dir() else ():
            if has_raws(folder, instrument) or (folder.path / instrument.product_folder).is_dir():
                yield folder


def _names_in(folder: Path) -> set[str]:
    """Return the names of a folder, without temporaries; none if it is not there."""
    with reading(folder):
        found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return {name for name in found if not name.startswith(".")}


def _refuse_missing(config: Config, flow: Flow, folder: NightFolder) -> None:
    """Refuse a night of which numbered products are at the destination only: they would get new IDs."""
    if flow.numbering is None:
        return
    here = folder.path / config.instrument.product_folder
    there = config.destination(folder.pipeline) / folder.date / config.instrument.product_folder
    numbers = re.compile(rf"{config.instrument.prefix}\d{{{DIGITS}}}\..*")
    missing = sorted(name for name in _names_in(there) - _names_in(here) if numbers.fullmatch(name))
    if missing:
        raise BadInput(
            f"night {folder.date}: {counted(len(missing), 'file')} of {str(there)!r} ({missing[0]} is one) expected in"
            f" {str(here)!r} too, or their frames would get other frame IDs; copy the folder back (`cp -Rp`), and"
            " rebuild"
        )


# what the files tell


def _read(machine: Machine, folder: NightFolder) -> _Night:
    """Register the raw files of a night, make the rows of its products, and find out what their files prove."""
    with machine.holding(folder, "rebuild", {}) as (steps, result):
        night = _Night(folder, result)
        is_made = bool(_names_in(steps.product_folder))
        result.stopped = registration.register(steps, final=is_made)
        if is_made and result.stopped is None:
            try:
                products, supplements = _products(steps)
            except base.BadInput as exc:
                result.stopped = f"its products are not in the ledger, and the night is left alone: {exc}"
                return night
            _make(steps, products, supplements)
            night.products = [work.product for work in steps.book.store.works(steps.book.night)]
            night.found = _recognise(steps, night.products)
    return night


def _products(steps: Steps) -> tuple[tuple[Product, ...], dict[str, int]]:
    """Return the products of a night as its lineage has them, and the supplement of each raw file, by identity."""
    path = steps.product_folder / LINEAGE
    if not path.is_file():
        raise base.BadInput(f"{path}: missing; expected which frames each product has; is it at the destination?")
    book = steps.book
    rows = [row for row in book.store.raws(book.night) if not row.quarantine_reason]
    try:
        products = read_lineage(path, {f"{row.folder}/{row.name}": to_raw(book.night, row) for row in rows})
    except base.Retry as exc:
        raise NotReady(str(exc)) from exc
    for product in products:
        if identity_of(product.parts, product.camera, product.flc) != product.identity:
            raise base.BadInput(f"{path}: {product.name} has another identity than its frames give; it was changed")
    for what, values in {"name": [p.name for p in products], "identity": [p.identity for p in products]}.items():
        if len(set(values)) < len(values) or not values:
            raise base.BadInput(f"{path}: expected products, each with a {what} of its own")
    supplements: dict[str, int] = {}
    for raw in (part.raw for product in products for part in product.parts):
        if supplements.setdefault(raw.identity, raw.supplement) != raw.supplement:
            raise base.BadInput(f"{path}: {raw.cube.name} is in two supplements, expected one")
    return products, supplements


def _make(steps: Steps, products: Sequence[Product], supplements: Mapping[str, int]) -> None:
    """Make the rows of products."""
    book = steps.book
    parts = defaultdict(list)
    for row in book.store.raws(book.night):
        if row.identity in supplements:
            parts[supplements[row.identity]].append(row)
    book.make_products(steps.config.instrument.product_folder, products, parts, {"restored": len(products)})
    steps.result.moved[book.flow.step(book.flow.born).forward] += len(supplements)


def _recognise(steps: Steps, products: Sequence[Product]) -> dict[str, _Found]:
    """Return what is found of each product, by identity."""
    files = _names_in(steps.product_folder)
    hashes = _each(steps, "timing", [(timing_sha256, {"product": product}) for product in products])
    named = _numbers(steps, products, hashes, files)
    marks, sums = _marks(steps), _sums(steps)
    job = steps.job()
    calls = []
    for product, sha256 in zip(products, hashes, strict=True):
        number = named.get(product.identity)
        frame_id = None if number is None else frame_id_of(steps.config.instrument.prefix, number)
        known = replace(product, frame_id=frame_id, timing_sha256=sha256 if isinstance(sha256, str) else None)
        calls.append((recognise, {"job": replace(job, products=(known,)), "marks": marks, "sums": sums}))
    found: dict[str, _Found] = {}
    for product, outcome in zip(products, _each(steps, "products", calls), strict=True):
        number = named.get(product.identity)
        if isinstance(outcome, Recognised):
            found[product.identity] = _Found(recognised=outcome, number=number)
        else:
            found[product.identity] = _Found(reason=str(outcome), number=number)
    return found


def _each(steps: Steps, what: str, calls: Sequence[tuple[Callable[..., T], dict[str, Any]]]) -> list[T | base.BadInput]:
    """Make calls, by many workers; return what each gave, or what is wrong with its input."""
    steps.reporter.phase(f"rebuild {steps.folder.date}: {what}", len(calls))
    results: list[T | base.BadInput] = []
    for start in range(0, len(calls), BATCH):
        if steps.stop.signal_number is not None:
            raise Interrupted(steps.stop.signal_number)
        futures = [steps.executor.submit(call, **arguments) for call, arguments in calls[start : start + BATCH]]
        results += [_result(future) for future in futures]
        steps.reporter.advance(len(futures))
    return results


def _result(future: Future[Any]) -> Any:
    try:
        return future.result()
    except base.BadInput as exc:
        return exc
    except base.Retry as exc:
        raise NotReady(str(exc)) from exc


def _marks(steps: Steps) -> tuple[Mark, ...]:
    """Return what the states leave that work file by file, up to the first that does not."""
    marks = []
    for step in steps.book.flow.steps[1:]:
        if step.scope != "file":
            break
        loaded = steps.stages[step.state]
        level, suffixes = getattr(loaded.stage, "LEVEL", None), getattr(loaded.stage, "SUFFIXES", ())
        marks.append(Mark(step.state, level, tuple(suffixes), loaded.params))
    return tuple(marks)


def _sums(steps: Steps) -> dict[str, str]:
    """Return the SHA-256 of the files that ``SHA256SUMS`` lists, by name."""
    path = steps.folder.path / SUMS
    with reading(path):
        text = path.read_text(errors="surrogateescape") if path.is_file() else ""
    lines = [line.split("  ", 1) for line in text.splitlines() if "  " in line]
    return {Path(name).name: sha256 for sha256, name in lines}


# frame IDs


def _numbers(
    steps: Steps, products: Sequence[Product], hashes: Sequence[str | base.BadInput], files: set[str]
) -> dict[str, int]:
    """Return the numbers that files of the night have, by the identity of the product that they belong to.

    A txt is the product's own wherever it lies. A number whose txt is gone or damaged belongs to the product that
    its place in the order says, if that is beyond doubt.

    Raises
    ------
    BadInput
        If a number belongs to no product for sure: another one could get its frames.
    """
    if steps.book.flow.numbering is None:
        return {}
    prefix = steps.config.instrument.prefix
    numbers = re.compile(rf"{prefix}(\d{{{DIGITS}}})\..*")
    on_disk = {int(match[1]) for name in files if (match := numbers.fullmatch(name))}
    of_hash = defaultdict(list)
    for number in sorted(on_disk):
        path = steps.product_folder / f"{frame_id_of(prefix, number)}.txt"
        if path.is_file():
            with reading(path):
                of_hash[hashlib.sha256(path.read_bytes()).hexdigest()].append(number)
    found: dict[str, int] = {}
    for product, sha256 in zip(products, hashes, strict=True):
        if isinstance(sha256, str) and len(of_hash[sha256]) == 1:
            found[product.identity] = of_hash[sha256][0]
    left = on_disk - set(found.values())
    found |= _inferred(products, found, left.__contains__)
    if unclaimed := on_disk - set(found.values()):
        raise BadInput(
            f"night {steps.folder.date}: {counted(len(unclaimed), 'frame ID')} ({frame_id_of(prefix, min(unclaimed))} is"
            f" one) in {str(steps.product_folder)!r} expected to belong to one product each, by txt or by place in the"
            " order; bring their files back from the destination, or move them away, and rebuild"
        )
    return found


def _inferred(products: Sequence[Product], numbers: Mapping[str, int], may_be: Callable[[int], bool]) -> dict[str, int]:
    """Return the numbers of further products: those of one pairing were numbered in a row, in order of time."""
    together = defaultdict(list)
    for product in sorted(products, key=order_key):
        together[product.parts[0].raw.supplement].append(product.identity)
    found: dict[str, int] = {}
    for identities in together.values():
        offsets = {numbers[identity] - rank for rank, identity in enumerate(identities) if identity in numbers}
        if len(offsets) == 1:
            offset = offsets.pop()
            ranks = {identity: offset + rank for rank, identity in enumerate(identities) if identity not in numbers}
            found |= {identity: number for identity, number in ranks.items() if may_be(number)}
    return found


def _restore_ids(machine: Machine, nights: Sequence[_Night]) -> int:
    """Give products their frame IDs back, and the sequence its place; return how many IDs there are."""
    config, store = machine.config, machine.store
    prefix = config.instrument.prefix
    owners: dict[int, tuple[_Night, Product]] = {}
    for night in nights:
        for product in night.products:
            number = night.found[product.identity].number
            if number is not None and owners.setdefault(number, (night, product))[1] is not product:
                other = owners[number][0].folder.path
                raise BadInput(
                    f"frame ID {frame_id_of(prefix, number)} is in {str(other)!r} and in {str(night.folder.path)!r}:"
                    " expected in one place; find out which is right, move the other away, and rebuild"
                )
    disk = numbers_on_disk(store, config, remembers=False).within([(1, LAST_NUMBER)])
    counter = max(disk[0] + 1 if disk else 1, backup.next_number(config, prefix), max(owners, default=0) + 1)
    for night in nights:
        numbers = {identity: found.number for identity, found in night.found.items() if found.number is not None}
        products = {product.identity: product for product in night.products}
        for identity, number in _inferred(
            night.products, numbers, lambda n: 0 < n < counter and n not in owners
        ).items():
            night.found[identity].number = number
            owners[number] = (night, products[identity])
    if counter > 1:
        with store.recorded("rebuild", {"frame_ids": len(owners)}) as (session, run_id):
            _write_ids(session, config, store.clock(), run_id, owners, counter)
    return len(owners)


def _write_ids(
    session: Session,
    config: Config,
    at_us: int,
    run_id: int,
    owners: Mapping[int, tuple[_Night, Product]],
    counter: int,
) -> None:
    prefix = config.instrument.prefix
    session.add(FrameSequence(prefix=prefix, next_number=counter))
    session.add_all(
        FrameBlock(
            prefix=prefix, first_number=first, last_number=last, authority=config.ids.authority, created_us=at_us
        )
        for first, last in _blocks(config, runs_of(sorted(owners)), counter)
    )
    session.flush()
    known = session.execute(select(col(Night.id), col(Night.pipeline), col(Night.date)))
    rows = {(row.pipeline, row.date): row.id for row in known}
    ids, entries = [], []
    newest: tuple[int, int, str] | None = None
    for number, (night, product) in sorted(owners.items()):
        key = (product.start_us, product.camera, product.flc or "")
        late = newest is not None and key < newest
        newest = newest if late else key
        night_id = rows[night.folder.pipeline, night.folder.date]
        frame_id = frame_id_of(prefix, number)
        ids.append(
            {
                "frame_id": frame_id,
                "prefix": prefix,
                "number": number,
                "identity": product.identity,
                "night_id": night_id,
                "start_us": product.start_us,
                "camera": product.camera,
                "flc": product.flc,
                "status": "live",
                "late": late,
                "late_reason": "the reason was lost with the database: `ledger rebuild` found it out of order"
                if late
                else None,
            }
        )
        entries.append(
            {
                "at_us": at_us,
                "run_id": run_id,
                "night_id": night_id,
                "identity": product.identity,
                "name": frame_id,
                "event": "assigned",
                "detail": {"restored": 1},
            }
        )
    insert_many(session, FrameId, ids)
    insert_many(session, Entry, entries)
    numbered = update(Night).where(col(Night.id).in_({row["night_id"] for row in ids}))
    session.execute(numbered.values(numbered_us=at_us).execution_options(synchronize_session=False))


def _blocks(config: Config, known: Sequence[tuple[int, int]], counter: int) -> list[tuple[int, int]]:
    """Return the blocks of numbers that go on record: what lies between them is gone, as if it had been skipped."""
    blocks = list(known)
    if config.ids.authority == "own" and counter <= LAST_NUMBER:
        begin = blocks.pop()[0] if blocks and blocks[-1][1] == counter - 1 else counter
        blocks.append((begin, LAST_NUMBER))
    return blocks


# states


def _restore_states(machine: Machine, night: _Night) -> Result:
    """Take the products of a night along the declared edges, as far as their files prove it."""
    if not night.products:
        return night.told
    with machine.holding(night.folder, "rebuild", {}) as (steps, result):
        told = night.told
        result.registered, result.quarantined, result.salvaged = told.registered, told.quarantined, told.salvaged
        result.moved.update(told.moved)
        result.remarks.update(told.remarks)
        works = steps.book.store.works(steps.book.night)
        steps.reporter.phase(f"rebuild {night.folder.date}: states", len(works))
        proven = [work for work in works if night.found[work.product.identity].recognised]
        for step in steps.book.flow.steps[1:]:
            if not _restore_state(steps, step, proven, night.found):
                break
        _put_aside(steps, works, night.found)
        steps.reporter.advance(len(works))
    return result


def _restore_state(steps: Steps, step: Step, works: Sequence[Work], found: Mapping[str, _Found]) -> bool:
    """Take products into one state; return whether any went on."""
    here = [work for work in works if work.state == step.before]
    stage = steps.stages[step.state].stage
    flow = steps.book.flow
    if not here:
        return False
    if step.scope == "file":
        moves = []
        for work in here:
            recognised = found[work.product.identity].recognised
            if recognised is not None and flow.position(recognised.state) >= flow.position(step.state):
                facts = recognised.facts if recognised.state == step.state else {}
                moves.append(Move(work, step.forward, facts, remarks={"restored": 1}))
        _commit(steps, step, moves)
    elif step.needs_copy and hasattr(stage, "verify_copies"):
        _restore_copies(steps, step, here)
    elif hasattr(stage, "read_manifests"):
        _restore_manifests(steps, step, here)
    return any(work.state == step.state for work in here)


def _commit(steps: Steps, step: Step, moves: Sequence[Move], manifest: base.Manifest | None = None) -> None:
    steps.book.commit(moves, manifest)
    if moves:
        steps.result.moved[step.forward] += len(moves)


def _restore_copies(steps: Steps, step: Step, works: Sequence[Work]) -> None:
    """Read the copies at the destination, which is the only proof of them."""
    job, loaded = steps.job(), steps.stages[step.state]
    there = job.destination / job.folder.name if job.destination else job.folder
    sent = [work for work in works if (there / work.product.files[0]).is_file()]
    steps.reporter.phase(f"rebuild {steps.folder.date}: copies", len(sent))
    for start in range(0, len(sent), COPIES):
        if steps.stop.signal_number is not None:
            raise Interrupted(steps.stop.signal_number)
        batch = sent[start : start + COPIES]
        with translated():
            outcome = loaded.stage.verify_copies(job=steps.job(batch), params=loaded.params)  # type: ignore[attr-defined]
        evidence = {e.identity: e for e in outcome.evidence}
        moves = [
            Move(work, step.forward, evidence=evidence[work.product.identity], remarks={"restored": 1})
            for work in batch
            if work.product.identity in evidence
        ]
        _commit(steps, step, moves)
        for work in batch:
            if reason := outcome.failures.get(work.product.identity):
                steps.result.failed.append((work.product.frame_id or work.product.name, reason))
        steps.reporter.advance(len(batch))


def _restore_manifests(steps: Steps, step: Step, works: Sequence[Work]) -> None:
    loaded = steps.stages[step.state]
    try:
        with translated():
            manifests = loaded.stage.read_manifests(job=steps.job(works), params=loaded.params)  # type: ignore[attr-defined]
    except BadInput as exc:
        steps.result.failed.append((steps.folder.date, f"no manifest is in the ledger: {exc}"))
        return
    by_identity = {work.product.identity: work for work in works}
    for manifest in manifests:
        listed = [by_identity[line.identity] for line in manifest.lines]
        moves = [Move(work, step.forward, remarks={"restored": 1}) for work in listed if work.state == step.before]
        _commit(steps, step, moves, manifest)


def _put_aside(steps: Steps, works: Sequence[Work], found: Mapping[str, _Found]) -> None:
    """Deal with products whose files prove no state.

    What is compressed may be in the archive: it is left as it is, for somebody to decide. What is not is made anew of
    the raw files by the next advance, which removes these files first.
    """
    files, flow = _names_in(steps.product_folder), steps.book.flow
    expected = {name for work in works for name in work.product.files}
    kept: dict[int, list[str]] = {}
    failures = []
    for work in works:
        unproven = found[work.product.identity]
        names = sorted(files & steps.names_of(work.product), key=lambda name: (not name.endswith(PACKED), name))
        if unproven.recognised is not None or not names:
            continue
        if not names[0].endswith(PACKED):
            steps.result.remarks["products to be made anew of raw, as their files prove no state"] += 1
            continue
        kept[work.row_id] = names
        failures.append(
            Failure(
                work,
                f"left as it is by `ledger rebuild`: {unproven.reason}; mend it and rebuild; or, to make it anew of raw,"
                f" move {' and '.join(names)} away and release it (`ledger quarantine release`)",
                is_final=True,
            )
        )
    if kept:
        steps.book.found(kept)
        steps.book.failed(failures, flow.steps[1].forward, steps.config.failures)
        steps.result.failed += [(f.work.product.frame_id or f.work.product.name, f.error) for f in failures]
    expected.update(*kept.values())
    possible = {name for work in works for name in steps.names_of(work.product)}
    steps.is_torn = bool(files & possible - expected)  # the next run removes what a product's state does not have
