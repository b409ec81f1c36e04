"""Small cubes, timing files, raw files and products, and what the machine does with an outcome."""

import numpy as np

from stages.base import Job
from stages.fits.timing import Timing, format_timing
from stages.instrument import Instrument, Stream
from stages.product import Product, Raw

START_US = 1_767_333_600_123_456  # 2026-01-02T06:00:00.123456
PERIOD_US = 2000
INSTRUMENT = Instrument("VAMPIRES", (Stream("vcam1", 1), Stream("vcam2", 2)))

CARDS = (
    "BUNIT   = 'adu       '         / Unit of original values",
    "DATE    = '2026-01-02T06:00:01' / file creation date (YYYY-MM-DDThh:mm:ss UT)",
    "OBJECT  = 'O''Neil / 1'         / Object",
    "EXPTIME =                0.002 / [s] Total integration time of the frame",
    "EXTTRIG =                    T / Exposure of detector by an external trigger",
    "CD1_2   =          -2.2401E-09 / Pixel coordinate translation matrix",
    "U_FLC   = 'NA              '   / VAMPIRES FLC polarization state",
    "UT      = '06:00:00.12'        / HH:MM:SS.SS typical UTC at exposure",
    "MJD     =     61042.2500014288 / Modified Julian Day at exposure",
    "FRAMEID = '' / Image sequential number",
    "EXP-ID  = '' / ID of the exposure this data was taken",
)


def pad(content, fill=b"\0"):
    return content.ljust(-(-len(content) // 2880) * 2880, fill)


def make_header(*cards, shape=(3, 5, 7), bitpix=16, naxis=3):
    """A header block as bytes, from cards as text."""
    n, ny, nx = shape
    structure = (
        "SIMPLE  =                    T / file does conform to FITS standard",
        f"BITPIX  = {bitpix:20d} / number of bits per data pixel",
        f"NAXIS   = {naxis:20d} / number of data axes",
        *(f"NAXIS{i}  = {length!s:>20} / length" for i, length in enumerate((nx, ny, n)[:naxis], 1)),
    )
    return pad("".join(c.ljust(80) for c in (*structure, *cards, "END")).encode("latin-1"), b" ")


def make_pixels(shape=(3, 5, 7), seed=0):
    return np.random.default_rng(seed).integers(-(2**15), 2**15, shape).astype(">i2")


def write_cube(path, pixels, *cards):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make_header(*cards, shape=pixels.shape) + pad(pixels.tobytes()))
    return path


def make_timing(n, start_us=START_US, *, has_acquisition=True):
    index = np.arange(n, dtype=np.int64)
    acquired_us = start_us + PERIOD_US * index
    return Timing(
        head=b"# Telemetry stream timing data \n# \n",
        cube_index=index,
        main_index=index + 1_000_000,
        since_start_ns=PERIOD_US * 1000 * index,
        logged_ns=acquired_us * 1000 + 320_123,
        acquired_us=acquired_us,
        cnt0=index + 1_000_000,
        cnt1=index * 0,
        has_acquisition=has_acquisition,
    )


def make_raw(night, n=10, camera=1, *, start_us=START_US, cards=CARDS, shape=(5, 7)):
    """A raw file of a night, with its txt, as registered."""
    cube = night / f"vcam{camera}" / f"vcam{camera}_{start_us}.fits"
    write_cube(cube, make_pixels((n, *shape), seed=start_us + camera), *cards)
    rows = make_timing(n, start_us)
    cube.with_suffix(".txt").write_bytes(format_timing(rows))
    status = cube.stat()
    return Raw(
        cube=cube,
        timing=cube.with_suffix(".txt"),
        identity=f"raw-{camera}-{start_us}",
        camera=camera,
        n_frames=n,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        first_us=int(rows.acquired_us[0]),
        last_us=int(rows.acquired_us[-1]),
        exposure_us=2000,
        cards={},
    )


def make_product(*parts, sibling_parts=(), **facts):
    first_us = min(part.raw.first_us for part in parts)
    name = "vsync_06:00:00.123456.cam1.A"
    facts = {"identity": "p1", "name": name, "camera": 1, "flc": "A", "group": 1, **facts}
    return Product(
        synchronised=bool(sibling_parts),
        parts=parts,
        sibling_parts=sibling_parts,
        first_us=first_us,
        last_us=max(part.raw.last_us for part in parts),
        exposure_us=2000,
        **facts,
    )


def make_job(night, *products, instrument=INSTRUMENT):
    folder = night / instrument.product_folder
    folder.mkdir(exist_ok=True)
    return Job(night=night, date="20260102", folder=folder, instrument=instrument, products=products)


def apply(outcome):
    """Do to the files what the machine does with an outcome."""
    for final, temporary in outcome.outputs.items():
        temporary.replace(final)
    for rewrite in outcome.rewrites:
        (path,) = [path for path in dict.fromkeys(rewrite.candidates) if path.exists()]
        content = path.read_bytes()
        path.write_bytes(rewrite.header + content[len(rewrite.header) :])
        path.replace(rewrite.final)
    for rename in outcome.renames:
        if rename.source.exists():
            rename.source.replace(rename.final)
    for path in outcome.superseded:
        path.unlink()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
