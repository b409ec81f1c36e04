"""consolidated: a product's frames, from all its raw files, in one cube with one timing txt.

See docs/design.md, Headers and cubes.
"""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from stages import base
from stages.base import BadInput, Irreversible, Job, Level, Outcome
from stages.files import check_unchanged, retry_on_os_error
from stages.fits.cards import values
from stages.fits.cubes import CubeLayout, copy_frames, read_cube_layout
from stages.fits.header import HeaderRules, product_header
from stages.fits.timing import Timing, concatenate, format_timing, paired_time_us, read_used_rows, select
from stages.lineage import LINEAGE, format_lineage
from stages.product import Part, Product, Raw

Parameters = HeaderRules

#: What it adds to a product's stem: the cube and its txt.
SUFFIXES = (".fits", ".txt")

LEVEL: Level = "consolidated"


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
    """Return ``lineage.tsv`` of the night, in the product folder, by its path relative to the night's."""
    return {f"{job.instrument.product_folder}/{LINEAGE}": format_lineage(job.products)}


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
