import hashlib
import io
import re
import subprocess
import tracemalloc
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from astropy.io import fits

from stages import compressed
from stages.base import BadInput, Job, Outcome, Retry
from stages.compressed import Parameters
from stages.fits import rice, tiled
from stages.fits.cubes import CubeLayout, read_cube_layout
from stages.instrument import Instrument
from stages.product import Product
from tests.stages.samples import make_pixels
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
        assert b"".join(tiled.plain_pieces(file, packed)) == content


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


def good_cube(*cards):
    return make_cube(IMAGES["noise"], *cards)


REFUSED = {
    "several HDUs": (good_cube() + good_cube(), "expected 14400"),
    "bytes after the data": (good_cube() + b"x", "expected 14400"),
    "truncated data": (good_cube()[:-2880], "truncated"),
    "truncated header": (good_cube()[:2000], "truncated"),
    "empty": (b"", "not a FITS file"),
    "not FITS": (b"\x89PNG" * 2000, "not a FITS file"),
    "text after END": (make_header()[:2870] + b"x" * 10 + bytes(2880), "after the END"),
    "fill": (good_cube()[:-1] + b" ", "fill the last block"),
    "NUL after END": (
        make_header(shape=(1, 30, 48))[:560] + bytes(2320) + make_pixels((1, 30, 48)).tobytes(), "after the END"
    ),
    "float": (make_header(bitpix=-32) + bytes(2880), "BITPIX is -32"),
    "64 bits": (make_header(bitpix=64) + bytes(2880), "BITPIX is 64"),
    "no frames": (make_header(shape=(0, 4, 4)), "NAXIS3 is 0"),
    "image": (good_cube().replace(b"NAXIS   =                    3", b"NAXIS   =                    2"), "NAXIS is 2"),
    "extension": (b"XTENSION= 'IMAGE   '".ljust(80) + good_cube()[80:], "not a FITS file"),
    "order": (good_cube()[:80] + good_cube()[160:240] + good_cube()[80:160] + good_cube()[240:], "first cards"),
    **{
        keyword: (good_cube(f"{keyword:<8}= 1"), keyword)
        for keyword in (
            "TTYPE1", "TFORM2", "TZERO1", "TDIM1", "ZVAL1", "ZNAME12", "THEAP", "ZSIMPLE", "ZNAXIS3", "ZIMAGE",
            "ZHECKSUM", "ZBLANK", "ZSCALE", "NAXIS4", "XTENSION", "TFIELDS", "ZTENSION",
        )
    },
    "extname": (good_cube("EXTNAME = 'COMPRESSED_IMAGE'"), "EXTNAME"),
    "small letters": (good_cube("HIERARCH small letters = 1"), "capitals"),
    "small keyword": (good_cube("key     = 1"), "A-Z"),
    "embedded blank": (good_cube("KEY A   = 1"), "A-Z"),
    "not ASCII": (good_cube("OBSERVER= 'Bé'"), "printable"),
    "tab": (good_cube("OBSERVER= 'B\t'"), "printable"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
def test_what_could_not_come_back_is_refused(tmp_path, content, words):
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(BadInput, match=words) as caught:
        compressed.forward(job=make_job(tmp_path), params=Parameters(prove=False))
    assert str(tmp_path / NAME) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def damaged_in_heap(content):
    return content[:-2000] + bytes([content[-2000] ^ 1]) + content[-1999:]


def other_file(_content):
    return good_cube()


DAMAGED = {
    "empty": lambda content: content[:0],
    "within the header": lambda content: content[:4000],
    "after the headers": lambda content: content[: 2880 * 3],
    "within the heap": lambda content: content[:-2880],
    "within a block": lambda content: content[:-1],
    "heap": damaged_in_heap,
    "descriptor": lambda content: content[: 2880 * 3 + 3] + b"\7" + content[2880 * 3 + 4 :],
    "header": lambda content: content.replace(b"ZTILE2  =                   20", b"ZTILE2  =                   10"),
    "plain": other_file,
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("known", [False, True], ids=["", "known hash"])
def test_damaged_file_is_refused(tmp_path, damage, known):
    packed = pack(tmp_path, good_cube(*USUAL_CARDS))
    content = packed.read_bytes()
    assert content[2880 * 3 : 2880 * 3 + 2] == b"\0\0"
    assert damage(content) != content
    packed.write_bytes(damage(content))
    sha256 = hashlib.sha256(content).hexdigest() if known else None
    with pytest.raises(BadInput, match=packed.name):
        compressed.reverse(job=make_job(tmp_path, files=(packed.name, TIMING), sha256=sha256), params=Parameters())
    assert [path.name for path in tmp_path.iterdir()] == [packed.name]


def test_valid_file_that_is_another_is_refused(tmp_path):
    packed = pack(tmp_path, good_cube())
    job = make_job(tmp_path, files=(packed.name, TIMING), sha256="0" * 64)
    with pytest.raises(BadInput, match="SHA-256"):
        compressed.reverse(job=job, params=Parameters())


def test_stream_that_ends_early_is_refused(tmp_path):
    content = pack(tmp_path, good_cube()).read_bytes()
    cut = io.BytesIO(content[: 2880 * 2 + 4 * 8 + 100])
    with pytest.raises(BadInput, match="tile 0"):
        list(tiled.plain_pieces(cut, Path("cut")))


def test_swapped_offsets_are_refused(tmp_path):
    # Swapped words leave checksums as they are.
    packed = pack(tmp_path, good_cube())
    content = bytearray(packed.read_bytes())
    offsets = slice(2880 * 2 + 4, 2880 * 2 + 8), slice(2880 * 2 + 12, 2880 * 2 + 16)
    content[offsets[0]], content[offsets[1]] = content[offsets[1]], content[offsets[0]]
    packed.write_bytes(content)
    with pytest.raises(BadInput, match="overlap"):
        compressed.reverse(job=make_job(tmp_path, files=(packed.name, TIMING)), params=Parameters())


def test_negative_lengths_are_refused(tmp_path):
    content = pack(tmp_path, good_cube()).read_bytes()
    start = 2880 * 2
    table = np.frombuffer(content[start : start + 4 * 8], dtype=">i4").reshape(4, 2).copy()
    table[0, 0] += table[1, 0] + 1
    table[1] = -1, table[0, 0]
    changed = io.BytesIO(content[:start] + table.tobytes() + content[start + 4 * 8 :])
    with pytest.raises(BadInput, match="overlap"):
        list(tiled.plain_pieces(changed, Path("negative")))


@pytest.mark.parametrize("function", [compressed.forward, compressed.reverse])
def test_a_missing_file_may_be_put_back(tmp_path, function):
    with pytest.raises(Retry, match="missing"):
        function(job=make_job(tmp_path, files=(f"{NAME}.fz", TIMING)), params=Parameters())


def test_plain_file_is_not_decompressed(tmp_path):
    with pytest.raises(BadInput, match="expected a name"):
        compressed.reverse(job=make_job(tmp_path), params=Parameters())


def test_system_failure_may_pass(tmp_path):
    (tmp_path / NAME).write_bytes(good_cube())
    job = make_job(tmp_path)
    job.temporary(f"{NAME}.fz").mkdir()
    with pytest.raises(Retry):
        compressed.forward(job=job, params=Parameters())


@pytest.mark.parametrize("prove", [True, False])
def test_faulty_codec_is_found_by_the_proof(tmp_path, monkeypatch, prove):
    monkeypatch.setattr(rice, "_compiled", None)
    encode = imagecodecs.rcomp_encode
    monkeypatch.setattr(imagecodecs, "rcomp_encode", lambda tile, **options: encode(tile ^ 1, **options))
    (tmp_path / NAME).write_bytes(good_cube())
    with pytest.raises(Retry, match="other pixels") if prove else nullcontext():
        compressed.forward(job=make_job(tmp_path), params=Parameters(prove=prove))
    assert len(list(tmp_path.iterdir())) == (1 if prove else 2)


def damages(monkeypatch, change):
    """Let the disk have other bytes than were synced: `change` gets those of the whole file, to alter them."""
    really = tiled.sync

    def sync(file):
        really(file)
        content = bytearray(Path(file.name).read_bytes())
        change(content)
        Path(file.name).write_bytes(content)

    monkeypatch.setattr(compressed, "sync", sync)


@pytest.mark.parametrize("prove", [True, False])
@pytest.mark.parametrize("at", [0, 1000, 2880, 2880 + 24 * 80, -2880, -1])
def test_a_disk_that_gives_back_another_byte_is_found(tmp_path, monkeypatch, at, prove):
    """In any part of the file: headers, descriptors, streams, and what fills the last block."""

    def change(content):
        content[at] ^= 1

    damages(monkeypatch, change)
    (tmp_path / NAME).write_bytes(good_cube())
    with pytest.raises(Retry, match="reads back other bytes"):
        compressed.forward(job=make_job(tmp_path), params=Parameters(prove=prove))
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("change", [lambda content: content.extend(bytes(2880)), lambda content: content.pop()])
def test_a_disk_that_gives_back_more_or_less_is_found(tmp_path, monkeypatch, change):
    damages(monkeypatch, change)
    (tmp_path / NAME).write_bytes(good_cube())
    with pytest.raises(Retry, match="reads back other bytes"):
        compressed.forward(job=make_job(tmp_path), params=Parameters())


@pytest.mark.parametrize(("first", "second"), [(0, 1), (40, 41)])
def test_words_that_change_places_are_found(tmp_path, monkeypatch, first, second):
    """Their sum is the same, so the CHECKSUM cards would not tell."""

    def change(content):
        words = np.frombuffer(content, ">u4", 100, len(content) - 2880 * 3).copy()
        assert words[first] != words[second]
        words[[first, second]] = words[[second, first]]
        content[-2880 * 3 : -2880 * 3 + 400] = words.tobytes()

    damages(monkeypatch, change)
    (tmp_path / NAME).write_bytes(make_cube(RNG.integers(0, 1000, (8, 60, 60), dtype=np.uint16)))
    with pytest.raises(Retry, match="reads back other bytes"):
        compressed.forward(job=make_job(tmp_path), params=Parameters())


def test_memory_does_not_grow_with_the_cube(tmp_path):
    def peak_bytes(frames):
        image = RNG.integers(0, 1000, (frames, 300, 300), dtype=np.uint16)
        (tmp_path / NAME).write_bytes(make_cube(image))
        del image
        tracemalloc.start()
        finish(compressed.forward(job=make_job(tmp_path), params=Parameters()))
        finish(compressed.reverse(job=make_job(tmp_path, files=(f"{NAME}.fz",)), params=Parameters()))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(10)
    assert peak_bytes(60) < peak_bytes(10) + 300 * 300
