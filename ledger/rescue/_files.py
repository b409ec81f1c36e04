"""What the files of a night tell of it, for a ledger that is made anew: its products, their states and numbers."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from ledger.config.model import Config
from ledger.config.site import Site
from ledger.disk.access import translate_read_errors
from ledger.disk.dates import is_date
from ledger.disk.nights import NightFolder
from ledger.errors import NotReady, UsageError, translated
from ledger.ids.numbers import DIGITS
from ledger.ids.sequence import frame_id_of
from ledger.night import record
from ledger.night.products import to_raw
from ledger.report import Result
from ledger.rescue._stand_ins import Gone, stand_ins
from ledger.run import registration
from ledger.run.machine import Machine
from ledger.run.steps import Steps
from ledger.text import counted
from stages import base
from stages.check.recognition import Mark, Recognised, is_numbered, recognise
from stages.consolidated import timing_sha256
from stages.files import read_small
from stages.further import SUMS
from stages.lineage import LINEAGE, identity_of, read_lineage
from stages.product import Product
from stages.transport import proof, remote_folder

T = TypeVar("T")

#: Calls in hand at once.
BATCH = 200


@dataclass(slots=True)
class Found:
    """What the files of one product tell: the state that they prove, or why none; its number, if it has one."""

    recognised: Recognised | None = None
    reason: str | None = None
    number: int | None = None


@dataclass(slots=True)
class NightFiles:
    """A night on disk: what its scan gave, its removed raw files, its products in ID order, what their files prove."""

    folder: NightFolder
    scanned: Result
    gone: Gone = field(default_factory=dict)
    archives: tuple[str, ...] = ()
    products: list[Product] = field(default_factory=list)
    found: dict[str, Found] = field(default_factory=dict)


def names_in(folder: Path) -> set[str]:
    """Return the names of a folder, without temporaries; none if it is not there."""
    with translate_read_errors(folder):
        if folder.is_symlink():
            folder.stat()  # a link to nothing is a disk that is not there, not a night without products
        found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return {name for name in found if not name.startswith(".")}


def site_on_disk(config: Config, folder: NightFolder) -> Site:
    """Return this host's part in a night, with the destination that has copies of most of its files.

    Of several, it is the one with most files, and then that of today: files may have been moved, in part, or removed.
    """
    sites = config.sites(folder.pipeline)
    if len(sites) == 1:
        return sites[0]
    here = names_in(folder.path / config.instrument.product_folder)
    names = [_names_at(config, site, folder) for site in sites]
    return max(zip(sites, names, strict=True), key=lambda found: (len(found[1] & here), len(found[1])))[0]


def names_at(config: Config, folder: NightFolder) -> set[str]:
    """Return the names in a night's product folder at its destination, without temporaries."""
    return _names_at(config, site_on_disk(config, folder), folder)


def _names_at(config: Config, site: Site, folder: NightFolder) -> set[str]:
    return {n for n in _listed(site, Path(folder.date, config.instrument.product_folder)) if not n.startswith(".")}


def dates_at(config: Config, pipeline: str) -> set[str]:
    """Return the dates that destinations have folders of."""
    names = {name for site in config.sites(pipeline) for name in _listed(site, Path())}
    return {name for name in names if len(name) == 8 and is_date(name)}


def _listed(site: Site, inside: Path) -> set[str]:
    """Return the names of a folder at a destination."""
    there, host = site.destination / inside, site.destination_host
    if host is None:
        return names_in(there)
    with translated():
        return remote_folder.names_at(host, there)


def read_night(machine: Machine, folder: NightFolder) -> NightFiles:
    """Register the raw files of a night, make the rows of its products, and find out what their files prove."""
    with machine.holding(folder, "rebuild", {}) as (steps, result), stand_ins(steps) as removed:
        night = NightFiles(folder, result, removed.listed, removed.archives)
        is_made = bool(names_in(steps.product_folder))
        if is_made:
            removed.register()
        result.stopped = registration.register(steps, final=is_made, is_new=not is_made)
        if is_made and result.stopped is None:
            try:
                products, supplements = _products(steps)
            except base.BadInput as exc:
                result.stopped = f"its products are not in the ledger, and the night is left alone: {exc}"
                return night
            _make(steps, products, supplements)
            night.products = [item.product for item in record.products(steps.journal.store, steps.journal.night)]
            night.found = _recognise(steps, [removed.in_product(product) for product in night.products])
    return night


def _products(steps: Steps) -> tuple[tuple[Product, ...], dict[str, int]]:
    """Return the products of a night as its lineage has them, and the supplement of each raw file, by identity."""
    path = steps.product_folder / LINEAGE
    if not path.is_file():
        raise base.BadInput(
            f"{path}: missing, expected which frames each product has; copy it back from the destination, and rebuild"
        )
    journal = steps.journal
    rows = [row for row in record.raws(journal.store, journal.night) if not row.quarantine_reason]
    try:
        products = read_lineage(path, {f"{row.folder}/{row.name}": to_raw(journal.night, row) for row in rows})
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
    journal = steps.journal
    parts = defaultdict(list)
    for row in record.raws(journal.store, journal.night):
        if row.identity in supplements:
            parts[supplements[row.identity]].append(row)
    journal.make_products(steps.config.instrument.product_folder, products, parts, {"restored": len(products)})
    steps.result.moved[journal.pipeline.step(journal.pipeline.born).forward] += len(supplements)


def _recognise(steps: Steps, products: Sequence[Product]) -> dict[str, Found]:
    """Return what is found of each product, by identity."""
    files = names_in(steps.product_folder)
    hashes = _each(steps, "timing", [(timing_sha256, {"product": product}) for product in products])
    marks, sums = _marks(steps), _sums(steps)
    named = _numbers(steps, products, hashes, files, marks)
    job = steps.job()
    calls = []
    for product, sha256 in zip(products, hashes, strict=True):
        number = named.get(product.identity)
        frame_id = None if number is None else frame_id_of(steps.config.instrument.prefix, number)
        known = replace(product, frame_id=frame_id, timing_sha256=sha256 if isinstance(sha256, str) else None)
        calls.append((recognise, {"job": replace(job, products=(known,)), "marks": marks, "sums": sums}))
    found: dict[str, Found] = {}
    for product, outcome in zip(products, _each(steps, "products", calls), strict=True):
        number = named.get(product.identity)
        if isinstance(outcome, Recognised):
            found[product.identity] = Found(recognised=outcome, number=number)
        else:
            found[product.identity] = Found(reason=str(outcome), number=number)
    return found


def _each(steps: Steps, what: str, calls: Sequence[tuple[Callable[..., T], dict[str, Any]]]) -> list[T | base.BadInput]:
    """Make calls, by many workers; return what each gave, or what is wrong with its input."""
    results: list[T | base.BadInput] = []
    for portion in steps.portions(f"rebuild {steps.folder.date}: {what}", calls, BATCH):
        futures = [steps.executor.submit(call, **arguments) for call, arguments in portion]
        results += [_result(future) for future in futures]
        steps.reporter.advance(len(portion))
    return results


def _result(future: Future[Any]) -> Any:
    with translated():
        try:
            return future.result()
        except base.BadInput as exc:
            return exc


def _marks(steps: Steps) -> tuple[Mark, ...]:
    """Return what the states leave that work file by file, up to the first that does not."""
    marks = []
    for step in steps.journal.pipeline.steps[1:]:
        if step.scope != "file":
            break
        loaded = steps.stages[step.state]
        marks.append(Mark(step.state, loaded.level, loaded.suffixes, loaded.params))
    return tuple(marks)


def _sums(steps: Steps) -> dict[str, str]:
    """Return the SHA-256 of the files that ``SHA256SUMS`` lists, by name."""
    path = steps.folder.path / SUMS
    with translated():
        text = read_small(path).decode(errors="surrogateescape") if path.is_file() else ""
    lines = [line.split("  ", 1) for line in text.splitlines() if "  " in line]
    return {Path(name).name: sha256 for sha256, name in lines}


def numbered(config: Config, names: Iterable[str]) -> set[int]:
    """Return the numbers of frame IDs that files are named by."""
    pattern = re.compile(rf"{config.instrument.prefix}(\d{{{DIGITS}}})\..*")
    return {int(match[1]) for name in names if (match := pattern.fullmatch(name))}


def _numbers(
    steps: Steps,
    products: Sequence[Product],
    hashes: Sequence[str | base.BadInput],
    files: set[str],
    marks: Sequence[Mark],
) -> dict[str, int]:
    """Return the numbers that files of the night have, by the identity of the product that they belong to.

    A txt is the product's own wherever it lies. A number whose txt is gone or damaged belongs to the product whose
    header its cube has.

    Raises
    ------
    UsageError
        If a number belongs to no product for sure: another one could get its frames.
    """
    if steps.journal.pipeline.numbering is None:
        return {}
    prefix = steps.config.instrument.prefix
    on_disk = numbered(steps.config, files)
    of_hash = defaultdict(list)
    for number in sorted(on_disk):
        path = steps.product_folder / f"{frame_id_of(prefix, number)}.txt"
        if path.is_file():
            with translate_read_errors(path):
                of_hash[proof.digest(path).sha256].append(number)
    n_products = Counter(sha256 for sha256 in hashes if isinstance(sha256, str))
    found: dict[str, int] = {}
    for product, sha256 in zip(products, hashes, strict=True):
        if isinstance(sha256, str) and len(of_hash[sha256]) == n_products[sha256] == 1:
            found[product.identity] = of_hash[sha256][0]
    job = steps.job()
    for number in sorted(on_disk - set(found.values())):
        frame_id = frame_id_of(prefix, number)
        for product in (product for product in products if product.identity not in found):
            with translated():
                is_its = is_numbered(replace(job, products=(replace(product, frame_id=frame_id),)), marks)
            if is_its:
                found[product.identity] = number
                break
    if unclaimed := on_disk - set(found.values()):
        first = frame_id_of(prefix, min(unclaimed))
        raise UsageError(
            f"night {steps.folder.date}: {counted(len(unclaimed), 'frame ID')} ({first} is one) in"
            f" {str(steps.product_folder)!r} expected to belong to one product each, by txt or by header; bring their"
            " files back from the destination, or move them away, and rebuild"
        )
    return found
