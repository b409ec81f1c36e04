"""Rows of the database as stages know them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Row

from ledger.db.models import File, Night
from stages.base import Outcome
from stages.check.spans import Spans
from stages.product import Part, Product, Raw

T = TypeVar("T")

#: What a product is from its birth on: the columns of `File`, and what stands for null there. `Product` has them by the
#: same names, but for ``group``.
_BORN: dict[str, Any] = {
    "identity": "",
    "name": "",
    "camera": 0,
    "flc": None,
    "synchronised": False,
    "solo": False,
    "group_number": 0,
    "first_us": 0,
    "last_us": 0,
    "exposure_us": 0,
}
#: What stages find out about it later, and how it fares, as in `WorkItem`.
_FOUND = ("sha256", "timing_sha256", "size_bytes")
_FARES = ("quarantine_reason", "error", "attempts", "next_retry_us", "is_discarded")

#: Columns of `File` that a product, and a raw file, is made of here.
PRODUCT_COLUMNS = ("id", "state", *_BORN, "files", *_FOUND, *_FARES, "pruned_us")
RAW_COLUMNS = (
    "id",
    "folder",
    "name",
    "identity",
    "camera",
    "n_frames",
    "lost_frames",
    "size_bytes",
    "mtime_ns",
    "first_us",
    "last_us",
    "exposure_us",
    "cards",
    "timing_size_bytes",
    "timing_mtime_ns",
    "supplement",
    "pruned_us",
)


@dataclass(slots=True)
class WorkItem:
    """A product in hand: its row, its state, and what a stage needs to know of it."""

    row_id: int
    state: str
    product: Product
    quarantine_reason: str | None = None
    error: str | None = None
    attempts: int = 0
    next_retry_us: int | None = None
    is_discarded: bool = False
    is_pruned: bool = False
    fault: str | None = None  # of its copy, until that is proven again


def to_items(
    night: Night,
    products: Iterable[Row[Any]],
    raws: Iterable[Row[Any]],
    lines: Iterable[Row[Any]],
    frame_ids: Mapping[str, str],
    faults: Mapping[str, str],
) -> list[WorkItem]:
    """Return the products of a night with lineage, siblings and frame IDs, in ID order.

    Parameters
    ----------
    night : Night
        Theirs.
    products, raws : iterable of rows
        :data:`PRODUCT_COLUMNS` of all products of the night, and :data:`RAW_COLUMNS` of the raw files that they are
        made of.
    lines : iterable of rows
        ``product_id``, ``raw_id`` and ``runs`` of the lineage, in order of product and position.
    frame_ids : mapping
        Identity to live frame ID.
    faults : mapping
        Identity to what is wrong with the copy at the destination.
    """
    rows = list(products)
    as_raw = {row.id: to_raw(night, row) for row in raws}
    parts: dict[int | None, list[Part]] = defaultdict(list)
    for line in lines:
        runs = tuple((int(first), int(step), int(n)) for first, step, n in line.runs)
        parts[line.product_id].append(Part(raw=as_raw[line.raw_id], runs=runs))
    siblings: dict[tuple[int | None, str | None], list[Row[Any]]] = defaultdict(list)
    for row in rows:
        if row.synchronised:
            siblings[row.group_number, row.flc].append(row)
    items = []
    for row in rows:
        others = [s for s in siblings[row.group_number, row.flc] if row.synchronised and s.camera != row.camera]
        product = Product(
            **{_attribute(name): _known(getattr(row, name), null) for name, null in _BORN.items()},
            **{name: getattr(row, name) for name in _FOUND},
            parts=tuple(parts[row.id]),
            sibling_parts=tuple(parts[others[0].id]) if others else (),
            files=tuple(row.files),
            frame_id=frame_ids.get(row.identity),
        )
        items.append(
            WorkItem(
                int(row.id),
                row.state,
                product,
                **{name: getattr(row, name) for name in _FARES},
                is_pruned=row.pruned_us is not None,
                fault=faults.get(row.identity),
            )
        )
    return sorted(items, key=lambda item: order_key(item.product))


def put_back(folder: Path, files: Sequence[str], named: str) -> str:
    """Return what to do about a product that was pruned, and whose copy is not right; `named` names its night."""
    return (
        "no good copy of it is known: find one (an older backup, or the archive's own), put"
        f" {' and '.join(files)} back into {folder}, and `ledger verify {named} --repair`"
    )


def order_key(product: Product) -> tuple[int, int, str, str]:
    """Return the key that frame IDs are ordered by (docs/design.md, Frame IDs); names break ties."""
    return (product.start_us, product.camera, product.flc or "", product.name)


def to_raw(night: Night, row: File | Row[Any]) -> Raw:
    """Return a registered raw file as stages know it."""
    folder, name = Path(night.root, night.date, row.folder), str(row.name)
    return Raw(
        cube=folder / name,
        timing=folder / f"{name.removesuffix('.fits')}.txt",
        identity=row.identity,
        camera=row.camera,
        n_frames=row.n_frames - row.lost_frames,
        size_bytes=int(row.size_bytes or 0),
        mtime_ns=int(row.mtime_ns or 0),
        first_us=int(row.first_us or 0),
        last_us=int(row.last_us or 0),
        exposure_us=int(row.exposure_us or 0),
        cards=row.cards,
        lost_frames=row.lost_frames,
        timing_size_bytes=int(row.timing_size_bytes or 0),
        timing_mtime_ns=row.timing_mtime_ns,
        supplement=row.supplement or 0,
        is_pruned=row.pruned_us is not None,
    )


def product_columns(product: Product) -> dict[str, Any]:
    """Return the columns of a new product's row that follow from the product itself."""
    born = {name: getattr(product, _attribute(name)) for name in _BORN}
    return {"kind": "product", "n_frames": product.n_frames, **born}


def _attribute(column: str) -> str:
    return column.removesuffix("_number")


def _known(value: Any, null: Any) -> Any:
    return null if value is None else value


def parts_of(
    new: Sequence[T], supplement: Callable[[T], int | None], *, last: int | None, has_products: bool, is_numbered: bool
) -> dict[int, list[T]]:
    """Return raw files in the parts that are paired by themselves, by the supplement that each is.

    What comes to a night that has its IDs never changes the products of what was there before: not now, and
    not when the night is made again.

    Parameters
    ----------
    new : sequence
        Raw files to be paired, in any form.
    supplement : callable
        Returns ``File.supplement`` of one: the part that it was last.
    last : int or None
        The greatest supplement of the night.
    has_products : bool
        Whether the night has products already, of other raw files.
    is_numbered : bool
        Whether it was ever numbered.
    """
    fresh = 0 if last is None else last + 1
    if has_products:
        return {fresh: list(new)}
    if not is_numbered:
        return {0: list(new)}
    parts: dict[int, list[T]] = defaultdict(list)
    for raw in new:
        known = supplement(raw)
        parts[fresh if known is None else known].append(raw)
    return dict(sorted(parts.items()))


def count_apart(new: Iterable[File], raws: Iterable[File]) -> int:
    """Return how many raw files meet files of the other camera that were numbered without them.

    Parameters
    ----------
    new : iterable of File
        Raw files to be paired; those that never were have no supplement yet.
    raws : iterable of File
        All raw files of the night that are used.
    """
    numbered: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for row in raws:
        if row.supplement is not None:
            begin_us = (row.first_us or 0) - (row.exposure_us or 0)
            numbered[row.camera, row.supplement].append((begin_us, row.last_us or 0))
    spans = {key: Spans(spans_us) for key, spans_us in numbered.items()}
    return sum(
        any(
            spans[camera, supplement].count_meeting(row.first_us or 0, row.last_us or 0)
            for camera, supplement in spans
            if camera != row.camera and (row.supplement is None or supplement < row.supplement)
        )
        for row in new
    )


def pair_parts(
    parts: Iterable[Sequence[Raw]], items: Iterable[WorkItem], pair: Callable[[Sequence[Raw], frozenset[str]], Outcome]
) -> tuple[list[Product], Counter[str]]:
    """Pair parts of a night one after the other; names and group numbers go on from what there is.

    Parameters
    ----------
    parts : iterable of sequence of Raw
        See `parts_of`.
    items : iterable of WorkItem
        Products that the night has already.
    pair : callable
        The stage, given raw files and the names that are taken.

    Returns
    -------
    list of Product
        New ones.
    Counter
        The stage's remarks.
    """
    before = [item.product for item in items]
    made: list[Product] = []
    remarks: Counter[str] = Counter()
    for part in parts:
        known = [*before, *made]
        outcome = pair(part, frozenset(product.name for product in known))
        last_group = max((product.group for product in known), default=0)
        made += [replace(product, group=last_group + product.group) for product in outcome.products]
        remarks.update(outcome.remarks)
    return made, remarks
