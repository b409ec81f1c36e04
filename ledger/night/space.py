"""Room on disk: what a night still needs, and whether it is there. Looked at before anything is written."""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ledger.config.model import Config
from ledger.config.site import Site
from ledger.db.store import Store
from ledger.disk.access import translate_read_errors
from ledger.disk.nights import NightFolder
from ledger.night import record
from ledger.night.pipeline import Pipeline
from ledger.night.products import WorkItem
from stages.base import StageError
from stages.product import Product
from stages.transport.remote import Remote
from stages.transport.remote_folder import RECALLED

#: How much larger than lately compressed cubes may turn out: noise differs from target to target.
MARGIN = 1.2
#: More than the header of a product, what compression adds of its own, and ends of blocks, in bytes.
HEADER_BYTES = 50_000


@dataclass(frozen=True, slots=True)
class Need:
    """Room that a night still needs, in bytes: in its own folder, and at the destination."""

    night_bytes: int = 0
    destination_bytes: int = 0


def size_of(products: Sequence[Product]) -> int:
    """Return about how many bytes the frames of `products` have."""
    parts = (part for product in products for part in product.parts)
    return sum(part.raw.size_bytes * part.n_frames // max(part.raw.n_frames, 1) for part in parts)


def compressed_size(products: Sequence[Product], ratio: float | None) -> tuple[int, str]:
    """Return how many bytes the compressed cubes of `products` have, and how well that is known.

    Parameters
    ----------
    products : sequence of Product
        Compressed or not.
    ratio : float or None
        Of compressed to plain bytes, lately; None without history: then nothing is taken to be saved.

    Returns
    -------
    int, str
        The size, and ``about``, ``at most``, or (if all are compressed) an empty string.
    """
    plain = [product for product in products if product.sha256 is None]
    known = sum(product.size_bytes or 0 for product in products if product.sha256 is not None)
    if not plain:
        return known, ""
    if ratio is None:
        return known + _size_of_files(plain), "at most"
    return known + int(ratio * size_of(plain)), "about"


def _size_of_files(products: Sequence[Product], factor: float = 1.0) -> int:
    """Return how many bytes products take at most, headers and timing files too; frames times `factor`."""
    return int(factor * size_of(products)) + HEADER_BYTES * len(products) + _size_of_timing(products)


def _size_of_timing(products: Sequence[Product]) -> int:
    parts = (part for product in products for part in product.parts)
    return sum(part.raw.timing_size_bytes * part.n_frames // max(part.raw.n_frames, 1) for part in parts)


def needed_here(store: Store, site: Site, pipeline: Pipeline, items: Sequence[WorkItem], target: str) -> Need:
    """Return what products need to reach a state by what this host does; see :func:`needed`."""
    if not site.has_nights and pipeline.sending is not None:
        first = pipeline.position(pipeline.sending.before)
        items = [item for item in items if pipeline.position(item.state) >= first]
    return needed(pipeline, items, target, record.compression_ratio(store))


def needed(pipeline: Pipeline, items: Sequence[WorkItem], target: str, ratio: float | None) -> Need:
    """Return what products need to reach a state.

    Parameters
    ----------
    pipeline : Pipeline
        Their pipeline.
    items : sequence of WorkItem
        All products of the night.
    target : str
        The state.
    ratio : float or None
        Of compressed to plain bytes, lately; None without history: then nothing is taken to be saved.
    """
    reached = pipeline.position(target)
    if reached <= pipeline.position(pipeline.born):
        return Need()
    inside = [item for item in items if item.quarantine_reason is None]
    unwritten = [item.product for item in inside if item.state == pipeline.born]
    unpacked = [item.product for item in inside if item.product.sha256 is None]
    # at the barrier of numbering all plain cubes lie there; beyond it the largest is packed beside itself
    packing = max((_size_of_files([product]) for product in unpacked), default=0)
    sending = next((pipeline.position(step.state) for step in pipeline.steps if step.needs_copy), None)
    unsent: list[Product] = []
    if sending is not None and sending <= reached:
        unsent = [item.product for item in inside if pipeline.position(item.state) < sending]
    packed = [product for product in unsent if product.sha256]
    known = sum(product.size_bytes or 0 for product in packed) + _size_of_timing(packed)
    factor = 1.0 if ratio is None else MARGIN * ratio
    guessed = _size_of_files([product for product in unsent if not product.sha256], factor)
    return Need(_size_of_files(unwritten) + packing, known + guessed)


def shortfall(config: Config, site: Site, folder: NightFolder, need: Need, *, looks_afar: bool = True) -> str | None:
    """Return what is missing on which disk, or None if there is room, or ``space.keep_free_mb`` is null.

    Parameters
    ----------
    config : Config
        Says how much stays free.
    site : Site
        Where its products go.
    folder : NightFolder
        The night.
    need : Need
        What it needs.
    looks_afar : bool
        Whether a destination on another host is looked at too.
    """
    if config.space.keep_free_mb is None:
        return None
    kept_bytes = int(config.space.keep_free_mb * 1e6)
    for place, size_bytes, there_bytes in _rooms(config, site, folder, need, looks_afar=looks_afar):
        free_bytes = max(there_bytes - kept_bytes, 0)
        if size_bytes > free_bytes:
            return (
                f"{place}: {size_bytes - free_bytes:,} bytes short: the night needs {size_bytes:,} there, and"
                f" {free_bytes:,} may be used ({config.space.keep_free_mb:g} MB stay free: space.keep_free_mb); make"
                " room, or stop before with --to"
            )
    return None


def _rooms(
    config: Config, site: Site, folder: NightFolder, need: Need, *, looks_afar: bool
) -> Iterator[tuple[str, int, int]]:
    """Yield each disk that a night needs, by a place on it, with what it needs there and what is free, in bytes."""
    destination, host = site.destination, site.destination_host
    there_bytes = need.destination_bytes if host is None else 0
    if there_bytes and not site.has_nights:
        there_bytes = max(there_bytes - _brought_bytes(config, site, folder), 0)
    here = [(folder.path, need.night_bytes), (destination, there_bytes)]
    wanted, places = Counter[int](), dict[int, Path]()
    for place, size_bytes in here:
        if size_bytes:
            with translate_read_errors(place):
                device = place.stat().st_dev  # both may be on one disk
            wanted[device] += size_bytes
            places.setdefault(device, place)
    for device, size_bytes in wanted.items():
        yield str(places[device]), size_bytes, shutil.disk_usage(places[device]).free
    if host is not None and need.destination_bytes and looks_afar:
        # one that cannot be reached now may be there when products are sent, and says then what is wrong
        with suppress(StageError), Remote(host, destination, destination / "any") as there:
            yield f"{host.name}:{destination}", need.destination_bytes, there.free_bytes()


def _brought_bytes(config: Config, site: Site, folder: NightFolder) -> int:
    """Return how many bytes connections that broke off have brought of a night that is fetched."""
    product_folder = site.destination / folder.date / config.instrument.product_folder
    with translate_read_errors(product_folder):
        return sum(path.stat().st_size for path in (product_folder / RECALLED).rglob("*") if path.is_file())
