"""Headers of many images: values as astropy reads them, plain and compressed."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from stages.base import BadInput
from stages.fits.image import COMMENTARY, ImageHeaders
from tests.stages.sample_headers import HEADERS, astropy_values
from tests.tools import need


def everything(_: str) -> bool:
    return True


@pytest.mark.parametrize("block", HEADERS)
def test_values_are_those_that_astropy_reads(tmp_path, block):
    path = tmp_path / "a.fits"
    path.write_bytes(block)
    layout, values, faults = ImageHeaders(everything).read(path)
    expected = {key: value for key, value in astropy_values(block).items() if key not in COMMENTARY}
    assert dict(zip(layout.keywords, values, strict=True)) == expected
    assert [type(value) for value in values] == [type(expected[key]) for key in layout.keywords]
    assert faults == []


def image(folder: Path, **cards: object) -> Path:
    path = folder / "image.fits"
    hdu = fits.PrimaryHDU(np.zeros((2, 8, 8), dtype=np.int16))
    for keyword, value in cards.items():
        hdu.header[keyword.replace("_", "-")] = value
    hdu.header["HIERARCH ESO DET GAIN"] = 2.5
    hdu.header.add_history("made for a test")
    hdu.writeto(path)
    return path


def test_of_a_compressed_image_the_values_are_those_of_the_image(tmp_path):
    path = image(tmp_path, OBJECT="AB Aur", DATE_OBS="2026-01-02", LONG="a" * 100)
    need("fpack")
    subprocess.run([shutil.which("fpack"), "-r", path], check=True)
    reader = ImageHeaders(everything)
    plain, packed = (dict(zip(x.keywords, v, strict=True)) for x, v, _ in map(reader.read, (path, Path(f"{path}.fz"))))
    packed.pop("CHECKSUM", None), packed.pop("DATASUM", None)
    assert {key: packed.get(key) for key in plain} == plain
    assert set(packed) <= set(plain) | {"CHECKSUM", "DATASUM"}


def test_what_is_not_wanted_is_not_looked_at(tmp_path):
    path = image(tmp_path, OBJECT="x")
    layout, values, _ = ImageHeaders({"OBJECT", "ESO DET GAIN"}.__contains__).read(path)
    assert (layout.keywords, values) == (("OBJECT", "ESO DET GAIN"), ["x", 2.5])


def test_a_card_that_says_nothing_is_told_and_the_rest_is_read(tmp_path):
    path = image(tmp_path, OBJECT="x", WRONG=1)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"WRONG   =                    1", b"WRONG   =                abc 1"))
    layout, values, faults = ImageHeaders({"OBJECT", "WRONG"}.__contains__).read(path)
    assert dict(zip(layout.keywords, values, strict=True)) == {"OBJECT": "x", "WRONG": None}
    assert "WRONG" in faults[0]


def test_what_has_no_image_is_refused(tmp_path):
    path = tmp_path / "a.fits.fz"
    path.write_bytes(fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0)]).tostring().encode())
    with pytest.raises(BadInput):
        ImageHeaders(everything).read(path)
