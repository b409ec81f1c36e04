"""The law of raw files: what is registered goes all the way, and comes out with the same pixels and the same cards."""

import dataclasses
import shutil
import subprocess

import numpy as np

from stages import compressed, consolidated, fixed, identified, synced
from stages.base import Job
from stages.fits.cards import read_header, split_cards
from stages.fits.header import HeaderRules, own_keywords
from stages.fits.structure import without_leftovers
from stages.fits.timing import format_timing
from stages.instrument import Instrument, Stream
from stages.product import Raw
from stages.raw import inspect
from tests.readers import header_by_astropy, read_by_astropy, read_by_cfitsio
from tests.stages.samples import apply, contents, make_timing
from tests.tools import need

INSTRUMENT = Instrument("VAMPIRES", (Stream("vcam1", 1), Stream("vcam2", 2)), rule_keywords=("RET-ANG1", "FILTER01"))
STREAM = INSTRUMENT.streams[0]

STEPS = (
    (consolidated, HeaderRules()),
    (fixed, HeaderRules()),
    (identified, HeaderRules()),
    (compressed, compressed.Parameters()),
)

#: Cards of a compressed cube that astropy makes itself, or reads as the table's.
_OF_READER = frozenset(
    {"", "SIMPLE", "XTENSION", "EXTNAME", "EXTEND", "PCOUNT", "GCOUNT", "GROUPS", "CHECKSUM", "DATASUM"}
)


def make_night(folder, n_frames):
    """Return a night with the txt of a cube, which is to be put beside it."""
    night = folder / "20260102"
    (night / "vcam1").mkdir(parents=True)
    (night / "vgen2").mkdir()
    (night / "vcam1/cube.txt").write_bytes(format_timing(make_timing(n_frames)))
    return night


def register(night, content, *, salvage=False):
    """Return what is registered of a cube of that content.

    Raises
    ------
    BadInput
        If it is put aside.
    """
    cube = night / "vcam1/cube.fits"
    cube.write_bytes(content)
    return inspect(cube, cube.with_suffix(".txt"), stream=STREAM, instrument=INSTRUMENT, salvage=salvage)


def products_of(night, facts):
    """Return a job for each product of a registered cube, which has its frame ID."""
    taken = {field.name for field in dataclasses.fields(Raw)} & {field.name for field in dataclasses.fields(facts)}
    cube = night / "vcam1/cube.fits"
    raw = Raw(cube=cube, timing=cube.with_suffix(".txt"), camera=1, **{name: getattr(facts, name) for name in taken})
    job = Job(night=night, date=night.name, folder=night / "vgen2", instrument=INSTRUMENT, raws=(raw,))
    products = synced.forward(job=job, params=synced.Parameters()).products
    assert sum(product.n_frames for product in products) == facts.n_frames
    return [
        dataclasses.replace(job, raws=(), products=(dataclasses.replace(product, frame_id="VMPA00000001"),))
        for product in products
    ]


def follow(job, outcome):
    """Let an outcome take effect."""
    apply(outcome)
    return dataclasses.replace(
        job, products=(dataclasses.replace(job.product, **outcome.facts.get(job.product.identity, {})),)
    )


def check_law(night, facts):
    """Take a registered cube, all of whose frames are of one product, to a compressed file, and read that.

    Unpacked by `funpack` it has the bytes that it had before; astropy and cfitsio find the pixels that they find in the
    raw file; and the cards are the raw file's, but for those that are the product's own and those that are left out.
    """
    need("funpack")
    raw = night / "vcam1/cube.fits"
    (job,) = products_of(night, facts)
    for stage, params in STEPS:
        job = follow(job, stage.forward(job=job, params=params))
        if stage is consolidated:
            _check_cards(raw, job.folder / job.product.files[0])
        if stage is identified:
            plain = shutil.copy(job.folder / job.product.files[0], night / "plain.fits")
    packed, unpacked = job.folder / job.product.files[0], night / "unpacked.fits"
    unpacked.unlink(missing_ok=True)
    subprocess.run(["funpack", "-C", "-O", unpacked, packed], check=True, capture_output=True)
    assert unpacked.read_bytes() == plain.read_bytes()
    with np.errstate(all="ignore"):  # of numbers by which pixels get too large
        _check_pixels(raw, plain, packed, facts.cards["BITPIX"])
    _check_values(header_by_astropy(plain), header_by_astropy(packed, 1))
    for stage, params in reversed(STEPS):
        job = follow(job, stage.reverse(job=job, params=params))
    assert contents(job.folder) == {}


def _check_cards(raw, plain):
    own = {keyword.ljust(8).encode() for keyword in own_keywords(INSTRUMENT)}
    ignored = own | {b"CHECKSUM", b"DATASUM ", b"CONTINUE", b" " * 8}
    kept, _ = without_leftovers(split_cards(read_header(raw)), INSTRUMENT)
    ours, theirs = split_cards(read_header(plain)), kept
    assert [card for card in ours if card[:8] not in ignored] == [card for card in theirs if card[:8] not in ignored]


def _check_pixels(raw, plain, packed, bitpix):
    pixels = read_by_astropy(raw)
    as_cfitsio = read_by_cfitsio(raw)
    large = (np.abs(as_cfitsio) > 1e37) | np.isnan(pixels)  # astropy reckons with floats of 32 bits, and knows BLANK
    assert np.all(large | np.isclose(pixels, as_cfitsio, rtol=1e-6, atol=1e-37))
    assert np.array_equal(read_by_astropy(plain), pixels, equal_nan=True)
    assert np.array_equal(read_by_cfitsio(plain), as_cfitsio)
    assert np.array_equal(read_by_cfitsio(packed, 2), as_cfitsio)
    if bitpix != 8:  # astropy shifts signed bytes in compressed files, fpack's own too (astropy #19736)
        assert np.array_equal(read_by_astropy(packed, 1), pixels, equal_nan=True)


def _check_values(plain, packed):
    def counted(header):
        return [
            pair for pair in header if pair[0] not in _OF_READER and not (pair[0] == "BZERO" and float(pair[1]) == 0)
        ]

    assert set(counted(packed)) == set(counted(plain))
