"""Some frames of a cube, plain or compressed, for a look at them; the others are not read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.base import BadInput
from stages.files import opened
from stages.fits.cards import read_header, values
from stages.fits.cubes import read_cube_layout
from stages.fits.image import PACKED
from stages.fits.rice import PIXELS
from stages.fits.untiled import tiled_frames

#: Cards that scale the pixels (FITS 4.0 sec. 4.4.2).
_SCALES = ("BZERO", "BSCALE")


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Frames at regular places of a cube.

    Attributes
    ----------
    pixels : ndarray of float64, shape (k, ny, nx)
        Physical values.
    least, most : float
        The range of values that the cube can hold.
    """

    pixels: npt.NDArray[np.float64]
    least: float
    most: float


def read_frames(path: Path, n_frames: int, at_most: int) -> Frames:
    """Read frames at regular places of a cube.

    Parameters
    ----------
    path : Path
        A cube; if its name ends in ``.fz``, compressed as the ledger does.
    n_frames : int
        How many frames it has.
    at_most : int
        How many to read.

    Returns
    -------
    Frames
        At least one.

    Raises
    ------
    BadInput
        If it is no such cube.
    Retry
        If it could not be read.
    """
    numbers = sorted({int(place) for place in np.linspace(0, n_frames - 1, min(at_most, n_frames))})
    header = read_header(path)
    if path.name.endswith(PACKED):
        header = read_header(path, at=len(header))
        with opened(path) as source:
            stored: list[npt.NDArray[Any]] = list(tiled_frames(source, path, numbers))
    else:
        cube = read_cube_layout(path)
        with opened(path) as source:
            stored = []
            for number in numbers:
                source.seek(cube.data_offset + number * cube.frame_bytes)
                pixels = np.frombuffer(source.read(cube.frame_bytes), dtype=PIXELS[cube.bitpix])
                if pixels.size != cube.shape[1] * cube.shape[2]:
                    raise BadInput(f"{path}: ends within frame {number}; expected {cube.shape[0]} whole frames")
                stored.append(pixels.reshape(cube.shape[1:]))
    limits = np.iinfo(stored[0].dtype)
    zero, scale = _scaling(header, path)
    ends = sorted((zero + scale * limits.min, zero + scale * limits.max))
    return Frames(zero + scale * np.stack(stored).astype(np.float64), *ends)


def _scaling(header: bytes, path: Path) -> tuple[float, float]:
    found = values(header, _SCALES, path)
    zero, scale = (float(found.get(keyword) or default) for keyword, default in zip(_SCALES, (0.0, 1.0), strict=True))
    return zero, scale
