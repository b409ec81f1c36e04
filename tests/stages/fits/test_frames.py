"""Some frames of a cube, against astropy's reading of the same file."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from stages.base import BadInput
from stages.fits.cubes import read_cube_layout
from stages.fits.frames import read_frames
from stages.fits.tiled import compress


def written(path: Path, kind: str, tile: str) -> tuple[Path, np.ndarray]:
    """Write a cube, plain and compressed; return the compressed file and the values of the pixels."""
    limits = np.iinfo(kind)
    pixels = np.random.default_rng(0).integers(limits.min, limits.max, (7, 5, 6), dtype=kind, endpoint=True)
    fits.writeto(path, pixels)
    cube = read_cube_layout(path)
    packed = path.with_name(f"{path.name}.fz")
    with path.open("rb") as source, packed.open("w+b") as target:
        source.seek(cube.data_offset)
        compress(source, target, cube, tile=tile, stamp="2026-01-02T00:00:00", wide=False)
    return packed, pixels.astype(np.float64)


@pytest.mark.parametrize("tile", ["frame", "row"])
@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32"])
def test_frames_at_regular_places_are_those_of_the_cube(tmp_path, kind, tile):
    packed, pixels = written(tmp_path / "cube.fits", kind, tile)
    for path in (packed, tmp_path / "cube.fits"):
        found = read_frames(path, 7, 3)
        np.testing.assert_array_equal(found.pixels, pixels[[0, 3, 6]])
        assert (found.least, found.most) == (np.iinfo(kind).min, np.iinfo(kind).max)
        np.testing.assert_array_equal(read_frames(path, 7, 9).pixels, pixels)


def test_what_is_no_cube_is_refused(tmp_path):
    (tmp_path / "x.fits.fz").write_bytes(b"no cube")
    with pytest.raises(BadInput):
        read_frames(tmp_path / "x.fits.fz", 7, 3)
