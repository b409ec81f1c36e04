"""Cubes to compress, and the tools of cfitsio to compare with."""

import re
import subprocess

import numpy as np

from stages import compressed
from stages.base import Job
from stages.compressed import Parameters
from stages.instrument import Instrument
from stages.product import Product
from tests.tools import need

START_US = 1767333600_123456  # 2026-01-02T06:00:00.123456
NAME = "VMPA00000001.fits"
TIMING = "VMPA00000001.txt"
TILES = ("frame", "row")
RNG = np.random.default_rng(20260102)

USUAL_CARDS = (
    "EXTEND  =                    T / FITS dataset may contain extensions",
    "BSCALE  =                    1",
    "BZERO   =                32768",
    "OBJECT  = 'O''Neil / star'     / a quote and a slash",
    "CRPIX1  =                  40. / [pixel] no digits after the point",
    "CD1_2   =           -2.2401E-09",
    "HIERARCH ESO DET CHIP GAIN = 3.5 / of a long name",
    "LONGSTR = 'a string that goes on and on and on until it does not fit into one &'",
    "CONTINUE  'card any more' / with a comment",
    "COMMENT   a = b, in small letters: it's text",
    "HISTORY   and so is this",
    "",
    "        text without keyword",
    "UNDEFIND=",
    "DATE    = '2026-01-02T06:00:10' / not to be renewed",
    "FZALGOR = 'GZIP_1  '           / directive to fpack, none to us",
)

IMAGES = {
    "noise": RNG.normal(200, 8, (4, 20, 70)).astype(np.uint16),
    "random": RNG.integers(0, 2**16, (3, 33, 65), dtype=np.uint16),
    "constant": np.full((2, 16, 64), 1234, dtype=np.uint16),
    "zeros": np.zeros((2, 5, 32), dtype=np.uint16),
    "extremes": np.tile(np.array([0, 65535], dtype=np.uint16), 5 * 7 * 11).reshape(2, 5, 77),
    "one step": np.where(np.arange(6 * 50).reshape(1, 6, 50) < 123, 0, 65535).astype(np.uint16),
    "one frame": RNG.poisson(3, (1, 31, 9)).astype(np.uint16),
    "one pixel": np.array([[[65535]]], dtype=np.uint16),
    "one column": RNG.poisson(100, (3, 40, 1)).astype(np.uint16),
    "one row": RNG.poisson(100, (3, 1, 40)).astype(np.uint16),
    "few in a block": RNG.poisson(100, (7, 3, 3)).astype(np.uint16),
}


def make_header(*cards, bitpix=16, shape=(1, 1, 1)):
    frames, rows, columns = shape
    values = {"BITPIX": bitpix, "NAXIS": 3, "NAXIS1": columns, "NAXIS2": rows, "NAXIS3": frames}
    lines = ["SIMPLE  =                    T / conforms"]
    lines += [f"{keyword:<8}= {value:>20} / [] of the cube" for keyword, value in values.items()]
    content = "".join(line.ljust(80) for line in (*lines, *cards, "END"))
    return content.ljust(-(-len(content) // 2880) * 2880).encode("latin-1")


def make_cube(image, *cards):
    """Return a plain file; `image` has the stored values, or unsigned ones of 16 bits."""
    if image.dtype == np.uint16:
        image = (image.astype(np.int32) - 32768).astype(np.int16)
    data = image.astype(image.dtype.newbyteorder(">")).tobytes()
    header = make_header(*cards, bitpix=8 * image.itemsize, shape=image.shape)
    return header + data.ljust(-(-len(data) // 2880) * 2880, b"\0")


def make_job(folder, *, files=(NAME, TIMING), sha256=None):
    product = Product(
        identity="1234abcd",
        name="vsync_06:00:00.123456.cam1.A",
        camera=1,
        flc="A",
        synchronised=True,
        group=1,
        parts=(),
        sibling_parts=(),
        first_us=START_US,
        last_us=START_US + 10_000_000,
        exposure_us=2000,
        files=files,
        frame_id="VMPA00000001",
        sha256=sha256,
    )
    return Job(folder.parent, "20260102", folder, Instrument("VAMPIRES", ()), (product,))


def finish(outcome):
    """Do what the machine does with files."""
    for final, temporary in outcome.outputs.items():
        temporary.replace(final)
    for path in outcome.superseded:
        path.unlink()


def pack(folder, content, params=None):
    """Compress `content` in `folder` and return the path of the result."""
    (folder / NAME).write_bytes(content)
    outcome = compressed.forward(job=make_job(folder), params=params or Parameters())
    finish(outcome)
    (final,) = outcome.outputs
    return final


def run(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


def funpacked(path):
    need("funpack")
    done = run("funpack", "-C", "-O", path.with_name("unpacked"), path)
    assert done.returncode == 0, done.stdout + done.stderr
    return path.with_name("unpacked").read_bytes()


def fpacked(path, *options):
    need("fpack")
    done = run("fpack", "-r", *options, "-O", path.with_name("packed"), path)
    assert done.returncode == 0, done.stdout + done.stderr
    return path.with_name("packed").read_bytes()


def complaints(path):
    """Return what fitsverify says of a file, without the numbers of cards."""
    need("fitsverify")
    lines = run("fitsverify", path).stdout.splitlines()
    return [re.sub(r"#\d+", "#", line) for line in lines if line.startswith("*** ")]


def without_clock(content):
    """Return a file of fpack's without the times of its making and the checksums that depend on them."""
    content = re.sub(rb"( checksum updated )[0-9T:-]{19}", rb"\1", content)
    return re.sub(rb"(CHECKSUM= ')\w{16}'", rb"\1", content)


def good_cube(*cards):
    return make_cube(IMAGES["noise"], *cards)
