"""compressed: what comes out is what fpack makes, and comes back byte for byte."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from stages import compressed
from stages.base import Outcome
from stages.compressed import Parameters
from stages.fits import rice, tiled, untiled
from stages.fits.cubes import CubeLayout, read_cube_layout
from tests.stages.compression import (
    IMAGES,
    NAME,
    RNG,
    TILES,
    TIMING,
    USUAL_CARDS,
    complaints,
    finish,
    fpacked,
    funpacked,
    make_cube,
    make_job,
    pack,
    without_clock,
)


def same_as_fpack(folder, image, tile):
    content = make_cube(image, *USUAL_CARDS[:-3])
    (folder / NAME).write_bytes(content)
    rows, columns = image.shape[1:]
    theirs = fpacked(folder / NAME, *(("-t", f"{columns},{rows},1") if tile == "frame" else ()))
    ours = pack(folder, content, Parameters(tile=tile)).read_bytes()
    assert len(ours) == len(theirs)
    assert without_clock(ours) == without_clock(theirs)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_bytes_are_those_of_fpack(tmp_path, image, tile):
    same_as_fpack(tmp_path, image, tile)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("dtype", ["u1", "i4"])
@pytest.mark.parametrize("width", [0.0, 0.001, 1.0])
def test_bytes_of_other_pixels_are_those_of_fpack(tmp_path, dtype, tile, width):
    limits = np.iinfo(dtype)
    middle = (limits.max + limits.min + 1) // 2
    reach = width * (limits.max - middle)
    image = RNG.integers(middle - int(reach), middle + int(reach) + 1, (3, 21, 67)).astype(dtype)
    same_as_fpack(tmp_path, image, tile)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_both_ways_give_the_plain_file_back(tmp_path, image, tile):
    content = make_cube(image, *USUAL_CARDS)
    packed = pack(tmp_path, content, Parameters(tile=tile))
    assert funpacked(packed) == content
    finish(compressed.reverse(job=make_job(tmp_path, files=(packed.name, TIMING)), params=Parameters()))
    assert (tmp_path / NAME).read_bytes() == content
    assert not packed.exists()


HEADERS = {
    "no cards": (),
    **{f"{n} cards": tuple(f"KEY{i:<5}= {i:>20}" for i in range(n - 6)) for n in (34, 35, 36, 71, 72, 90)},
    **{f"{n} blank cards to a block": ("", "KEY     =                    1", *("",) * n) for n in (28, 64, 100)},
    "only blank cards": ("",) * 30,
    "pcount": ("PCOUNT  =                    0", "GCOUNT  =                    1"),
    "checksums": ("CHECKSUM= '0000000000000000'   / stale", "DATASUM = '12345   '"),
    "extname": ("EXTNAME = 'VCAM1   '",),
    "scaled": ("BSCALE  =                  0.5", "BZERO   =                  3.0"),
    "blank": ("BLANK   =               -32768",),
    "free format": ("KEY     = 5 / not in fixed columns", "STR     =   'x'"),
    "no space": ("KEY     =5",),
    "same twice": ("KEY     = 5", "KEY     = 6"),
    "like the table's": ("TTYPE   = 5", "ZVAL    = 5", "ZIMAGES = 5", "TFORMAT = 5"),
}


@pytest.mark.parametrize("cards", HEADERS.values(), ids=HEADERS)
def test_header_comes_back(tmp_path, cards):
    content = make_cube(IMAGES["few in a block"], *cards)
    (tmp_path / NAME).write_bytes(content)
    outcome = compressed.forward(job=make_job(tmp_path), params=Parameters())
    assert outcome.remarks == {}
    finish(outcome)
    packed = tmp_path / f"{NAME}.fz"
    assert funpacked(packed) == content
    finish(compressed.reverse(job=make_job(tmp_path, files=(packed.name, TIMING)), params=Parameters()))
    assert (tmp_path / NAME).read_bytes() == content


@pytest.mark.parametrize("n", [1, 5, 27, 29, 36, 63, 65])
def test_blank_cards_before_end_come_back_but_funpack_moves_end(tmp_path, n):
    content = make_cube(IMAGES["few in a block"], "", "KEY     =                    1", *("",) * n)
    (tmp_path / NAME).write_bytes(content)
    outcome = compressed.forward(job=make_job(tmp_path), params=Parameters())
    assert sum(outcome.remarks.values()) == 1
    finish(outcome)
    packed = tmp_path / f"{NAME}.fz"
    theirs = funpacked(packed)
    assert len(theirs) == len(content)
    assert theirs != content
    assert theirs.replace(b"END".ljust(80), b"".ljust(80)) == content.replace(b"END".ljust(80), b"".ljust(80))
    finish(compressed.reverse(job=make_job(tmp_path, files=(packed.name, TIMING)), params=Parameters()))
    assert (tmp_path / NAME).read_bytes() == content


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(("cards", "n"), [(USUAL_CARDS[:4], 0), (USUAL_CARDS, 4)], ids=["clean", "usual"])
def test_fitsverify_says_no_more_than_of_the_plain_file(tmp_path, tile, cards, n):
    content = make_cube(IMAGES["noise"], *cards)
    (tmp_path / NAME).write_bytes(content)
    plain = complaints(tmp_path / NAME)
    assert len(plain) == n
    packed = complaints(pack(tmp_path, content, Parameters(tile=tile)))
    assert set(packed) <= set(plain)


def test_fitsverify_sees_a_wrong_checksum(tmp_path):
    packed = pack(tmp_path, make_cube(IMAGES["noise"]))
    content = bytearray(packed.read_bytes())
    content[-2000] ^= 1
    packed.write_bytes(content)
    assert complaints(packed) != []


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_astropy_agrees_on_checksums_and_pixels(tmp_path, image, tile):
    packed = pack(tmp_path, make_cube(image, *USUAL_CARDS[:3]), Parameters(tile=tile))
    with fits.open(packed, checksum=True) as hdus:
        assert hdus[0]._checksum_valid
        assert hdus[0]._datasum_valid
        assert np.array_equal(hdus[1].data, image)
    with fits.open(packed, disable_image_compression=True, checksum=True) as hdus:
        assert hdus[1]._checksum_valid
        assert hdus[1]._datasum_valid


def test_every_checksum_of_many_is_right(tmp_path):
    # Checksums avoid punctuation in ways that depend on their bytes: one file would prove little.
    for number in range(300):
        header = rice.sealed(rice.primary_cards(), datasum=number * 14_316_557, stamp=f"{number}")
        assert rice.ones_complement_sum((header, (number * 14_316_557).to_bytes(4, "big"))) == 0xFFFFFFFF
        (checksum,) = (
            card[11:27] for card in map(bytes, zip(*[iter(header)] * 80, strict=True)) if card.startswith(b"CHECKSUM")
        )
        assert checksum.isalnum()


def test_outcome_names_files_and_facts(tmp_path):
    content = make_cube(IMAGES["noise"], *USUAL_CARDS)
    (tmp_path / NAME).write_bytes(content)
    job = make_job(tmp_path)
    outcome = compressed.forward(job=job, params=Parameters())
    final = tmp_path / f"{NAME}.fz"
    written = job.temporary(final.name).read_bytes()
    facts = {"files": [final.name, TIMING], "sha256": hashlib.sha256(written).hexdigest(), "size_bytes": len(written)}
    assert outcome == Outcome(
        outputs={final: job.temporary(final.name)}, superseded=(tmp_path / NAME,), facts={"1234abcd": facts}
    )
    assert (tmp_path / NAME).read_bytes() == content
    finish(outcome)
    outcome = compressed.reverse(
        job=make_job(tmp_path, files=(final.name, TIMING), sha256=facts["sha256"]), params=Parameters()
    )
    assert outcome == Outcome(
        outputs={tmp_path / NAME: job.temporary(NAME)},
        superseded=(final,),
        facts={"1234abcd": {"files": [NAME, TIMING], "sha256": None, "size_bytes": None}},
    )


def test_bytes_depend_on_the_product_only(tmp_path):
    content = make_cube(IMAGES["noise"], *USUAL_CARDS)
    first = pack(tmp_path, content).read_bytes()
    assert pack(tmp_path, content, Parameters(prove=False)).read_bytes() == first
    assert first.count(b"checksum updated 2026-01-02T06:00:00 ") == 4


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("image", [IMAGES["noise"], IMAGES["one pixel"]], ids=["noise", "one pixel"])
def test_wide_descriptors(tmp_path, image, tile):
    content = make_cube(image, *USUAL_CARDS)
    packed = tmp_path / "wide.fits.fz"
    (tmp_path / NAME).write_bytes(content)
    cube = read_cube_layout(tmp_path / NAME)
    with (tmp_path / NAME).open("rb") as source, packed.open("w+b") as target:
        source.seek(cube.data_offset)
        tiled.compress(source, target, cube, tile=tile, stamp="2026-01-02T06:00:00", wide=True)
    assert b"TFORM1  = '1QB(" in packed.read_bytes()
    assert funpacked(packed) == content
    with packed.open("rb") as file:
        assert b"".join(untiled.plain_pieces(file, packed)) == content


def test_narrow_descriptors_end_where_signed_integers_do():
    cube = CubeLayout(Path(), b"", (1000, 512, 512), 16, 0)
    assert tiled.largest_heap(cube) < 2**31
    assert tiled.largest_heap(replace(cube, shape=(4000, 512, 512))) > 2**31 - 1


def test_no_stream_is_larger_than_foreseen():
    for dtype in ("u1", "i2", "i4"):
        limits = np.iinfo(dtype)
        for n in (1, 2, 31, 32, 33, 64, 1000):
            pixels = RNG.integers(limits.min, limits.max, n, dtype=dtype, endpoint=True)
            cube = CubeLayout(Path(), b"", (1, 1, n), 8 * pixels.itemsize, 0)
            assert len(rice.encode(pixels)) <= tiled.largest_heap(cube)


@pytest.mark.parametrize("tile", TILES)
def test_files_of_fpack_are_unpacked_too(tmp_path, tile):
    content = make_cube(IMAGES["noise"], *USUAL_CARDS[:7])
    (tmp_path / NAME).write_bytes(content)
    packed = tmp_path / f"{NAME}.fz"
    packed.write_bytes(fpacked(tmp_path / NAME, *(("-t", "70,20,1") if tile == "frame" else ())))
    finish(compressed.reverse(job=make_job(tmp_path, files=(packed.name, TIMING)), params=Parameters()))
    assert (tmp_path / NAME).read_bytes() == content
