"""Mean frames of some products as small pictures, in which an empty or a saturated one is seen at once."""

import base64
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from sqlalchemy import Row, select
from sqlmodel import Session, col

from ledger.db.models import Copy, File, FrameId, Lineage, Night
from ledger.pages._settings import Taken
from stages.base import BadInput, Retry
from stages.fits.frames import Frames, read_frames

T = TypeVar("T")
FloatArray = npt.NDArray[np.float64]

#: Pictures of a page at most, those that a night has anyway if it has products, and frames that each is the mean of.
_MOST, _ANYWAY, _FRAMES = 60, 16, 4

#: Pixels of a picture, each way, at most.
_SIZE = 96

#: The stretch is asinh, from the least value that a pixel can have to the most, linear below this part of the range.
_LINEAR = 1 / 500

#: From this part of the range on a pixel is saturated; and a frame, if this part of its pixels is.
_FULL, _MANY = 0.98, 0.001

#: A mean frame whose halves agree less (correlation over blocks of pixels) has nothing in it but noise.
_ALIKE = 0.1
_BLOCKS = 16


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A mean frame.

    Attributes
    ----------
    name : str
        Frame ID, or the product's name.
    camera : int
        Of it.
    at_us : int
        When its group begins.
    target : str or None
        What was looked at.
    words : str
        Filters and the like.
    uri : str
        The picture (PNG) as a ``data:`` URI; empty if it could not be read.
    least, middle, most : float
        Of the mean frame.
    mark : str
        ``saturated``, ``empty``, why it could not be read, or nothing.
    n_frames : int
        How many frames were averaged.
    """

    name: str
    camera: int
    at_us: int
    target: str | None
    words: str
    uri: str = ""
    least: float = 0.0
    middle: float = 0.0
    most: float = 0.0
    mark: str = ""
    n_frames: int = 0


def read_thumbnails(session: Session, night: Night, files: Sequence[Taken], target: str) -> list[Thumbnail]:
    """Return mean frames of products that show each change of target and filter in each camera, in order of time.

    Parameters
    ----------
    session, night
        The ledger.
    files : sequence of Taken
        Raw files in use.
    target : str
        The keyword of what was looked at.
    """
    settings = {file.row_id: file.settings for file in files}
    columns = (File.id, File.camera, File.flc, File.first_us, File.n_frames, File.name, File.identity)
    query = (
        select(*map(col, columns), col(Lineage.raw_id), col(FrameId.frame_id))
        .join(Lineage, (col(Lineage.product_id) == col(File.id)) & (col(Lineage.position) == 0))
        .outerjoin(FrameId, (col(FrameId.identity) == col(File.identity)) & (col(FrameId.status) == "live"))
        .where(col(File.night_id) == night.id, col(File.kind) == "product")
        .order_by(col(File.camera), col(File.first_us), col(File.name))
    )
    rows = session.execute(query).all()
    values: dict[str, set[Any]] = defaultdict(set)
    for file in files:
        for keyword, value in file.settings.items():
            values[keyword].add(value)
    found = []
    for row in chosen(rows, lambda row: (row.camera, _words(settings.get(row.raw_id, {})))):
        told = settings.get(row.raw_id, {})
        changing = [str(v) for key, v in told.items() if isinstance(v, str) and key != target and len(values[key]) > 1]
        plain = {
            "name": row.frame_id or row.name,
            "camera": row.camera,
            "at_us": row.first_us,
            "target": None if target not in told else str(told[target]),
            "words": ", ".join([*dict.fromkeys(changing), *([f"FLC {row.flc}"] if row.flc else [])]),
        }
        try:
            path = _path(session, night, row)
            frames = None if path is None else read_frames(path, row.n_frames, _FRAMES)
        except (BadInput, Retry) as exc:
            found.append(Thumbnail(**plain, mark=f"cannot be read: {exc}"))
        else:
            if frames is not None:
                found.append(_pictured(frames, plain))
    return sorted(found, key=lambda each: (each.at_us, each.camera))


def chosen(rows: Sequence[Row[Any]], key: Callable[[Row[Any]], Any]) -> list[Row[Any]]:
    """Return a row of each run of the same key, or of regular runs of very many; of few runs, some more rows."""
    runs = [list(run) for _, run in groupby(rows, key)]
    picked = [run[len(run) // 2] for run in _regular(runs, _MOST)]
    return (
        picked
        if len(picked) >= _ANYWAY
        else list({id(row): row for row in (*picked, *_regular(rows, _ANYWAY))}.values())
    )


def _regular(items: Sequence[T], most: int) -> list[T]:
    """Return all items, or as many at regular places."""
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, min(most, len(items)))]


def png(levels: npt.NDArray[np.uint8]) -> bytes:
    """Return a picture of grey levels, shape (ny, nx), as a PNG file (PNG, third edition, sec. 5)."""
    height, width = levels.shape
    lines = np.zeros((height, width + 1), dtype=np.uint8)  # each begins with its filter, none
    lines[:, 1:] = levels

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(lines.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def mark_of(frames: Frames) -> str:
    """Return what is wrong with frames at first sight: ``saturated``, ``empty``, or nothing."""
    pixels = frames.pixels
    full = frames.least + _FULL * (frames.most - frames.least)
    if np.mean(pixels >= full) >= _MANY:
        return "saturated"
    halves = [_blocks(half.mean(axis=0), _BLOCKS) for half in (pixels[::2], pixels[1::2]) if len(half)]
    if any(np.ptp(half) == 0 for half in halves):
        return "empty"
    if len(halves) == 2 and np.corrcoef(halves[0].ravel(), halves[1].ravel())[0, 1] < _ALIKE:
        return "empty"
    return ""


def _pictured(frames: Frames, plain: dict[str, Any]) -> Thumbnail:
    mean = frames.pixels.mean(axis=0)
    part = (mean - frames.least) / (frames.most - frames.least) / _LINEAR
    levels = np.arcsinh(_blocks(part, _SIZE)) / np.arcsinh(1 / _LINEAR)
    picture = png(np.clip(np.round(levels[::-1] * 255), 0, 255).astype(np.uint8))  # FITS begins at the bottom
    return Thumbnail(
        **plain,
        uri="data:image/png;base64," + base64.b64encode(picture).decode(),
        least=float(mean.min()),
        middle=float(np.median(mean)),
        most=float(mean.max()),
        mark=mark_of(frames),
        n_frames=len(frames.pixels),
    )


def _blocks(image: FloatArray, most: int) -> FloatArray:
    """Return an image of at most so many pixels each way, means of blocks; what does not fill one is left out."""
    step = max(1, -(-max(image.shape) // most))
    rows, columns = (max(1, size // step) for size in image.shape)
    step_y, step_x = min(step, image.shape[0]), min(step, image.shape[1])
    cut = image[: rows * step_y, : columns * step_x]
    means: FloatArray = cut.reshape(rows, step_y, columns, step_x).mean(axis=(1, 3))
    return means


def _words(settings: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(value) for value in settings.values() if isinstance(value, str))


def _path(session: Session, night: Night, row: Row[Any]) -> Path | None:
    """Return where a product's cube is: here, or, if that was pruned, its copy on this host; None if nowhere here."""
    file = session.execute(
        select(col(File.folder), col(File.files), col(File.pruned_us)).where(col(File.id) == row.id)
    ).one()
    if not file.files:
        return None
    if file.pruned_us is None:
        return Path(night.root, night.date, file.folder, file.files[0])
    copy = select(col(Copy.path)).where(
        col(Copy.identity) == row.identity, col(Copy.host) == "", col(Copy.withdrawn_us).is_(None)
    )
    path = session.execute(copy.limit(1)).scalar()
    return None if path is None else Path(path)
