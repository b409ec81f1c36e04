"""Lineage: which frames of which raw files a product is made of, as its identity and as the file ``lineage.tsv``.

See docs/design.md, Headers and cubes.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages.base import BadInput
from stages.files import read_small
from stages.product import Part, Product, Raw, Run

#: The file, in a night's product folder (docs/design.md, Headers and cubes).
LINEAGE = "lineage.tsv"

#: Its columns; a line is one part of one product.
_COLUMNS = (
    "identity",
    "name",
    "camera",
    "flc",
    "synchronised",
    "group",
    "first_us",
    "last_us",
    "exposure_us",
    "raw",
    "raw_identity",
    "raw_size_bytes",
    "n_frames",
    "runs",
    "position",
    "solo",
    "supplement",
)

#: Whole numbers of a lineage have no more digits: they are 64 bits wide.
_MOST_DIGITS = 18

#: Groups and supplements are 32 bits wide in the database.
_MOST = 2**31 - 1

#: What a product may be called in it, so that a name leads nowhere else.
_NAME = re.compile(r"[^\W_][\w:.-]{0,199}")

#: Frame times are before 2100, UNIX, microseconds (as of raw files).
_END_OF_TIMES_US = 4_102_444_800_000_000


def format_lineage(products: Iterable[Product]) -> bytes:
    """Return the content of ``lineage.tsv``, so that the lineage survives the database.

    One line per product and raw file, in order of time, with tabs between columns: what the product is
    (``flc`` empty if not switching, ``synchronised`` 0 or 1), then ``raw`` (stream/name), its identity
    and size, how many of its frames are in the product and which: ``first:step:n`` for each run, with
    commas between; ``position`` counts the product's raw files from 0; ``solo`` (0 or 1) tells whether its camera
    was on its own, ``supplement`` which pairing of the night the raw file belongs to, from 0.

    Parameters
    ----------
    products : iterable of Product
        All of the night.
    """
    in_order = sorted(products, key=lambda p: (p.start_us, p.camera, p.flc or "", p.name))
    lines = [_COLUMNS, *(line for product in in_order for line in _lines(product))]
    return "".join("\t".join(line) + "\n" for line in lines).encode()


def _lines(product: Product) -> Iterator[tuple[str, ...]]:
    for position, part in enumerate(product.parts):
        columns = (
            product.identity,
            product.name,
            product.camera,
            product.flc or "",
            int(product.synchronised),
            product.group,
            product.first_us,
            product.last_us,
            product.exposure_us,
            f"{part.raw.cube.parent.name}/{part.raw.cube.name}",
            part.raw.identity,
            part.raw.size_bytes,
            part.n_frames,
            ",".join(f"{first}:{step}:{n}" for first, step, n in part.runs),
            position,
            int(product.solo),
            part.raw.supplement,
        )
        yield tuple(str(column) for column in columns)


def read_lineage(path: Path, raws: Mapping[str, Raw]) -> tuple[Product, ...]:
    """Return the products that a ``lineage.tsv`` names: the way back from :func:`format_lineage`.

    Parameters
    ----------
    path : Path
        The file.
    raws : mapping of str to Raw
        The night's raw files as they are registered now, by ``stream/name``.

    Returns
    -------
    tuple of Product
        In the order of the file, without siblings. Their raw files have the supplement that is written there.

    Raises
    ------
    BadInput
        If it is not such a file, or a raw file is missing or another one, or not each of its frames is in one
        product.
    Retry
        If it could not be read.
    """
    content = read_small(path)
    try:
        products = tuple(_read_products(content.decode(), raws))
    except ValueError as exc:  # UnicodeDecodeError is one
        raise BadInput(f"{path}: {exc}") from exc
    _check_whole(path, products)
    return products


def _read_products(text: str, raws: Mapping[str, Raw]) -> Iterator[Product]:
    head, *lines = [line.split("\t") for line in text.split("\n")[:-1]] or [[]]
    if tuple(head) != _COLUMNS or any(len(line) != len(_COLUMNS) for line in lines):
        raise ValueError(f"expected the columns {' '.join(_COLUMNS)}")
    rows = [dict(zip(_COLUMNS, line, strict=True)) for line in lines]
    for _, parts in groupby(rows, lambda row: row["identity"]):
        yield _read_product(list(parts), raws)


def _read_product(rows: Sequence[Mapping[str, str]], raws: Mapping[str, Raw]) -> Product:
    first = rows[0]
    if [row["position"] for row in rows] != [str(n) for n in range(len(rows))]:
        raise ValueError(f"the parts of product {first['name']!r} are not in order")
    if not _NAME.fullmatch(first["name"]) or first["flc"] not in {"", "A", "B", "D"}:
        found = f"product {first['name'][:99]!r} of state {first['flc'][:9]!r}"
        raise ValueError(f"{found}: expected a name, and A, B, D or nothing")
    first_us, last_us = _number(first["first_us"]), _number(first["last_us"])
    if not first_us <= last_us < _END_OF_TIMES_US:
        raise ValueError(f"times from {first_us} to {last_us} us: expected them in order, before 2100")
    return Product(
        identity=first["identity"],
        name=first["name"],
        camera=_number(first["camera"]),
        flc=first["flc"] or None,
        synchronised=_number(first["synchronised"]) == 1,
        group=_number(first["group"], _MOST),
        parts=tuple(_read_part(row, raws) for row in rows),
        sibling_parts=(),
        first_us=first_us,
        last_us=last_us,
        exposure_us=_number(first["exposure_us"]),
        solo=_number(first["solo"]) == 1,
    )


def _read_part(row: Mapping[str, str], raws: Mapping[str, Raw]) -> Part:
    raw = raws.get(row["raw"])
    if raw is None:
        raise ValueError(f"{row['raw'][:300]!r}: expected it among the usable raw files, as a product is made of it")
    if raw.identity != row["raw_identity"]:
        raise ValueError(f"{row['raw']!r} is another file than the one that a product was made of; put that back")
    runs = tuple(_read_run(run) for run in row["runs"].split(","))
    part = Part(replace(raw, supplement=_number(row["supplement"], _MOST)), runs)
    if part.n_frames != _number(row["n_frames"]) or any(
        first + step * (n - 1) >= raw.n_frames for first, step, n in runs
    ):
        raise ValueError(f"{row['raw']!r} has {raw.n_frames} frames, expected those that a product names")
    return part


def _read_run(text: str) -> Run:
    try:
        first, step, n = map(_number, text.split(":"))
    except ValueError as exc:
        raise ValueError(f"frames {text[:99]!r}: expected first:step:n") from exc
    if not step or not n:
        raise ValueError(f"frames {text[:99]!r}: expected some")
    return first, step, n


def _number(text: str, most: int = 10**_MOST_DIGITS) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) <= most):
        raise ValueError(f"found {text[:40]!r}, expected a whole number")
    return int(text)


def _check_whole(path: Path, products: Sequence[Product]) -> None:
    """Raise BadInput unless each frame of the raw files is in one product, as pairing leaves them."""
    raws = {part.raw.identity: part.raw for product in products for part in product.parts}
    used = {identity: np.zeros(raw.n_frames, dtype=np.int64) for identity, raw in raws.items()}
    for product in products:
        for part in product.parts:
            for first, step, n in part.runs:
                used[part.raw.identity][first : first + step * n : step] += 1
    for identity, times in used.items():
        if wrong := int(np.count_nonzero(times != 1)):
            raise BadInput(
                f"{path}: {wrong} of the {len(times)} frames of {raws[identity].cube.name} are in no product of it, or"
                " in several; expected each in one"
            )


def pack_runs(indices: npt.NDArray[np.int64]) -> tuple[Run, ...]:
    """Write indices as runs, each as long as it can be, from the first on.

    Parameters
    ----------
    indices : ndarray of int64, shape (n,)
        No two neighbours are equal.

    Returns
    -------
    tuple of (first, step, n)
        :func:`stages.product.frames_of` gives the indices back.
    """
    steps = np.diff(indices)
    ends = [*(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(steps)]
    runs = []
    start = 0
    for end in ends:
        if end > start:
            runs.append((int(indices[start]), int(steps[end - 1]), end - start + 1))
            start = end + 1
    if start < len(indices):
        runs.append((int(indices[start]), 1, 1))
    return tuple(runs)


def identity_of(parts: Sequence[Part], camera: int, flc: str | None) -> str:
    """Return the identity of a product: the SHA-256, hex, of its lineage, camera and state.

    Parameters
    ----------
    parts : sequence of Part
        Its lineage, in order.
    camera : int
        1 or 2.
    flc : str or None
        ``A``, ``B``, ``D`` or None.
    """
    lines = [f"camera {camera}", f"flc {flc or '-'}"]
    for part in parts:
        runs = ";".join(f"{first},{step},{n}" for first, step, n in part.runs)
        lines.append(f"{part.raw.identity} {runs}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
