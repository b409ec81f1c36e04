"""consolidated: a product's frames, from all its raw files, in one cube with one timing txt.

See docs/design.md, Headers and cubes.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from stages import base
from stages.base import BadInput, Irreversible, Job, Level, Outcome, Part, Product, Raw
from stages.files import check_unchanged, read_small, retry_on_os_error
from stages.fits.cards import values
from stages.fits.cubes import CubeLayout, copy_frames, read_cube_layout
from stages.fits.header import HeaderRules, product_header
from stages.fits.timing import Timing, concatenate, format_timing, paired_time_us, read_used_rows, select

Parameters = HeaderRules

#: What it adds to a product's stem: the cube and its txt.
SUFFIXES = (".fits", ".txt")

LEVEL: Level = "consolidated"

#: Columns of lineage.tsv; a line is one part of one product.
_LINEAGE = (
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


def forward(*, job: Job, params: HeaderRules) -> Outcome:
    """Write the product's cube and txt.

    Parameters
    ----------
    job : Job
        With one product.
    params : HeaderRules
        The night's.

    Returns
    -------
    Outcome
        With both files as outputs, fsynced.

    Raises
    ------
    BadInput
        If a raw file changed since it was registered, does not have the frames that the lineage names, or
        frames of another size, type or zero than the first one's.
    Retry
        If a file could not be read or written.
    """
    product = job.product
    layouts = [_read_layout(part.raw) for part in product.parts]
    _check_alike(layouts)
    text = format_timing(product_timing(product))
    header, _ = product_header(job, "consolidated", params)
    cube, timing = (f"{product.name}{suffix}" for suffix in SUFFIXES)
    runs = [part.runs for part in product.parts]
    copy_frames(job.temporary(cube), header, list(zip(layouts, runs, strict=True)))
    _write(job.temporary(timing), text)
    return Outcome(
        outputs={job.folder / name: job.temporary(name) for name in (cube, timing)},
        facts={product.identity: {"files": [cube, timing], "timing_sha256": hashlib.sha256(text).hexdigest()}},
    )


def reverse(*, job: Job, params: HeaderRules) -> Outcome:
    """Remove the product's cube and txt, unless they hold the only copy of a frame.

    Parameters
    ----------
    job : Job
        One product.
    params : HeaderRules
        Not used.

    Returns
    -------
    Outcome
        Cube and txt are superseded by nothing.

    Raises
    ------
    Irreversible
        If a raw file is gone, or its size is another.
    """
    for part in job.product.parts:
        if not part.raw.is_there:
            raise Irreversible(
                f"{part.raw.cube}: gone or changed; expected the raw file that the product can be made of again"
            )
    return base.remove_outputs(job=job, params=params)


def night_files(*, job: Job, params: HeaderRules) -> dict[str, bytes]:
    """Return the lineage of the night's products, so that it survives the database.

    One line per product and raw file, in order of time, with tabs between columns: what the product is
    (``flc`` empty if not switching, ``synchronised`` 0 or 1), then ``raw`` (stream/name), its identity
    and size, how many of its frames are in the product and which: ``first:step:n`` for each run, with
    commas between; ``position`` counts the product's raw files from 0; ``solo`` (0 or 1) tells whether its camera
    was on its own, ``supplement`` which pairing of the night the raw file belongs to, from 0.

    Parameters
    ----------
    job : Job
        With all products of the night.
    params : HeaderRules
        Not used.

    Returns
    -------
    dict of str to bytes
        ``lineage.tsv`` in the product folder, by its path relative to the night's.
    """
    products = sorted(job.products, key=lambda p: (p.start_us, p.camera, p.flc or "", p.name))
    lines = [_LINEAGE, *(line for product in products for line in _lineage(product))]
    text = "".join("\t".join(line) + "\n" for line in lines)
    return {f"{job.instrument.product_folder}/lineage.tsv": text.encode()}


def _lineage(product: Product) -> Iterable[tuple[str, ...]]:
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
    """Return the products that a ``lineage.tsv`` names: the way back from :func:`night_files`.

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
    if tuple(head) != _LINEAGE or any(len(line) != len(_LINEAGE) for line in lines):
        raise ValueError(f"expected the columns {' '.join(_LINEAGE)}")
    rows = [dict(zip(_LINEAGE, line, strict=True)) for line in lines]
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


def _read_run(text: str) -> base.Run:
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


def timing_sha256(product: Product) -> str:
    """Return the SHA-256, hex, of the txt that a product has, made anew from its raw files.

    Raises
    ------
    BadInput, Retry
        See :func:`product_timing`.
    """
    return hashlib.sha256(format_timing(product_timing(product))).hexdigest()


def product_timing(product: Product) -> Timing:
    """Return the timing rows of a product.

    Parameters
    ----------
    product : Product
        Whose raw files, and whose sibling's, have their txt.

    Returns
    -------
    Timing
        Column 1 counts from 0, column 3 from the first row, column 5 is the frame's time: the mean of both
        cameras' where they are synchronised.  The others are as in raw.

    Raises
    ------
    BadInput
        If a txt is unreadable or lacks rows that the lineage names, or the sibling has other many frames.
    Retry
        If a txt could not be read.
    """
    rows = concatenate([_rows(part) for part in product.parts])
    acquired_us = rows.acquired_us
    if product.synchronised:
        sibling = concatenate([_rows(part) for part in product.sibling_parts])
        if sibling.n != rows.n:
            raise BadInput(
                f"product {product.name} has {rows.n} frames, its sibling {sibling.n}, expected as many; "
                "pair the night again"
            )
        acquired_us = paired_time_us(rows.acquired_us, sibling.acquired_us)
    return replace(
        rows,
        cube_index=np.arange(rows.n, dtype=np.int64),
        since_start_ns=rows.logged_ns - rows.logged_ns[:1],
        acquired_us=acquired_us,
    )


def _rows(part: Part) -> Timing:
    rows = read_used_rows(part.raw)
    indices = np.concatenate([np.arange(first, first + step * n, step) for first, step, n in part.runs])
    return select(rows, indices)


def _read_layout(raw: Raw) -> CubeLayout:
    """Return where the frames lie that are used: the file is as registered, so a short one was salvaged."""
    check_unchanged(raw.cube, raw.size_bytes, raw.mtime_ns)
    layout = read_cube_layout(raw.cube, may_be_short=True)
    if layout.n_whole < raw.n_frames:
        raise BadInput(
            f"{raw.cube}: {layout.n_whole} whole frames, registered with {raw.n_frames}; "
            "restore the raw file, or scan the night again"
        )
    return replace(layout, shape=(raw.n_frames, *layout.shape[1:]))


def _check_alike(layouts: list[CubeLayout]) -> None:
    """Raise BadInput unless the frames of all cubes mean the same by the same bytes."""
    first, *others = [(layout.path, (layout.shape[1:], layout.bitpix, _zero(layout))) for layout in layouts]
    for path, kind in others:
        if kind != first[1]:
            raise BadInput(
                f"{path}: frames of {kind} ((rows, columns), BITPIX, (BZERO, BSCALE)), expected {first[1]} "
                f"as in {first[0]}; they cannot be in one cube: roll the night back to raw and advance it again"
            )


def _zero(layout: CubeLayout) -> tuple[float, float]:
    scaling = values(layout.header, ("BZERO", "BSCALE"), layout.path)
    return scaling.get("BZERO", 0), scaling.get("BSCALE", 1)


def _write(path: Path, content: bytes) -> None:
    with retry_on_os_error(path), path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
