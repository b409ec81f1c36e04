"""Cubes: what is one and what is not, and that frames are copied byte for byte."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import subprocess
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from stages.base import BadInput, Retry
from stages.fits import cubes
from stages.fits.cards import values
from stages.fits.cubes import copy_frames, read_cube_layout, read_packed_header
from stages.fits.timing import read_timing
from tests.stages.samples import make_header, make_pixels, make_raw, pad, write_cube
from tests.tools import need


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32])
def test_layout_is_what_astropy_reads(tmp_path, dtype):
    path = tmp_path / "cube.fits"
    fits.PrimaryHDU(np.zeros((3, 5, 7), dtype)).writeto(path)
    layout = read_cube_layout(path)
    with fits.open(path) as hdus:
        assert layout.shape == hdus[0].shape
        assert layout.bitpix == hdus[0].header["BITPIX"]
        assert layout.data_offset == hdus[0].fileinfo()["datLoc"]
    assert layout.frame_bytes == 5 * 7 * np.dtype(dtype).itemsize
    assert layout.size_bytes == path.stat().st_size


GOOD = make_header() + pad(make_pixels().tobytes())
FAULTS = {
    "empty": (b"", "not a FITS file"),
    "not FITS": (b"\x89PNG" * 1000, "not a FITS file"),
    "no END": (GOOD[:2880].replace(b"END", b"   "), "no END"),
    "cut within the header": (GOOD[:2000], "truncated"),
    "cut within the data": (GOOD[:2880] + bytes(150), "truncated, 2 of them are whole"),
    "cut within the padding": (GOOD[:-1], "truncated, 3 of them are whole"),
    "trailing bytes": (GOOD + bytes(2880), "2880 trailing bytes"),
    "several HDUs": (GOOD + pad(b"XTENSION= 'IMAGE   '", b" "), "several HDUs"),
    "two axes": (make_header(naxis=2) + pad(bytes(70)), "NAXIS is 2"),
    "zero frames": (make_header(shape=(0, 5, 7)), "zero frames"),
    "negative axis": (make_header(shape=(3, -5, 7)), "NAXIS2 is -5"),
    "axis that is no number": (make_header(shape=("'3'", 5, 7)), "NAXIS3 is '3'"),
    "float": (make_header(bitpix=-32) + pad(bytes(420)), "BITPIX is -32"),
    "64 bits": (make_header(bitpix=64) + pad(bytes(840)), "BITPIX is 64"),
    "BITPIX that is no integer": (GOOD.replace(b"  16 / number", b" 16. / number"), "BITPIX is 16.0"),
    "not standard": (GOOD.replace(b"   T / file", b"   F / file"), "SIMPLE is False"),
    "an empty primary HDU": (make_header(naxis=0), "no extension that can be read"),
    "text after END": (
        GOOD[:2870] + b"x" * 10 + GOOD[2880:],
        "after END, at byte 2870, follows b'xxxxxxxx', expected blanks up to byte 2880",
    ),
    "blanks and NUL after END": (GOOD[:2870] + bytes(10) + GOOD[2880:], "after END, at byte 2870"),
    "no fill of the header": (pad(GOOD[:560] + GOOD[2880 : 2880 + 210]), "after END, at byte 560"),
    "no fill of the header, and as many bytes": (
        GOOD[:560] + GOOD[2880 : 2880 + 210] + bytes(2 * 2880 - 770),
        "after END, at byte 560",
    ),
    "no fill of the header, and pixels that are zero": (
        GOOD[:560] + bytes(2320) + bytes(2880),
        "the header ends in NUL from byte 560 on, and may have no fill",
    ),
    "a header that ends in NUL, and a cube that was cut off": (
        GOOD[:560] + bytes(2320) + GOOD[2880:-1],
        "truncated, 3 of them are whole",
    ),
    "a block too many, and cut off by as much": (
        GOOD[:2880] + b" " * 2880,
        "bytes other than zero fill its last block",
    ),
    "a block too many in a cube of whole blocks, and cut off by as much": (
        make_header(shape=(2, 30, 24)) + b" " * 2880,
        "the first 2880 bytes of its data are blanks",
    ),
    "fill that is not zero": (GOOD[:-1] + b"x", "bytes other than zero fill its last block"),
    "fill that is blank": (GOOD[:3090] + b" " * 2670, "bytes other than zero fill its last block"),
    "more frames than declared": (
        make_header(shape=(2, 5, 7)) + GOOD[2880:],
        "bytes other than zero fill its last block",
    ),
    "a letter that is not ASCII": (make_header("OBSERVER= 'Bé'") + GOOD[2880:], "card 7 has the byte b'\\xe9'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_cube_is_refused(tmp_path, fault):
    content, message = FAULTS[fault]
    path = tmp_path / "cube.fits"
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        read_cube_layout(path, is_new=True)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_header_that_ends_in_nul_is_accepted_where_frames_can_lie_in_one_place_only(tmp_path):
    path = tmp_path / "cube.fits"
    full = make_header(shape=(1, 30, 48)) + make_pixels((1, 30, 48)).tobytes()
    path.write_bytes(full[:560] + bytes(2320) + full[2880:])
    layout = read_cube_layout(path, is_new=True)
    assert (layout.data_offset, layout.shape) == (2880, (1, 30, 48))


@pytest.mark.parametrize("change", ["fill", "blanks", "NUL"])
def test_salvage_does_not_help_where_frames_may_lie_elsewhere(tmp_path, change):
    content = {
        "fill": GOOD[:-10] + b"x",
        "blanks": GOOD[:2880] + b" " * 140,
        "NUL": GOOD[:560] + bytes(2320) + GOOD[2880:3020],
    }[change]
    path = tmp_path / "cube.fits"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="may lie elsewhere"):
        read_cube_layout(path, may_be_short=True, is_new=True)


def test_what_a_file_without_primary_data_is(tmp_path):
    need("fpack", "funpack")
    path = tmp_path / "cube 1.fits"
    subprocess.run(["fpack", "-r", "-O", path, write_cube(tmp_path / "plain.fits", make_pixels())], check=True)
    with pytest.raises(BadInput) as caught:
        read_cube_layout(path)
    assert "tile-compressed image in its first extension (ZIMAGE = T, RICE_1, 3 frames)" in str(caught.value)
    command = str(caught.value).rpartition("under the same name: ")[2]
    assert command == "funpack -O 'cube 1.fits.plain' 'cube 1.fits' && mv 'cube 1.fits.plain' 'cube 1.fits'"
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)  # noqa: S602
    assert read_cube_layout(path).shape == (3, 5, 7)


@pytest.mark.parametrize("kind", [fits.ImageHDU, fits.CompImageHDU])
def test_an_image_that_unpacking_would_leave_in_an_extension(tmp_path, kind):
    path = tmp_path / "cube.fits"
    fits.HDUList([fits.PrimaryHDU(), kind(make_pixels())]).writeto(path)
    what = (
        r"tile-compressed image in its first extension \(.*\)"
        if kind is fits.CompImageHDU
        else "file of several HDUs.*IMAGE"
    )
    with pytest.raises(BadInput, match=f"NAXIS is 0.*; it is a {what}: write the cube into the primary HDU"):
        read_cube_layout(path)


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("cube.fits", content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "pack", "command"),
    [("gzip", gzip.compress, "gzip -dc"), ("bzip2", bz2.compress, "bzip2 -dc"), ("xz", lzma.compress, "xz -dc"),
     ("zip", zipped, "unzip -p")],
)  # fmt: skip
def test_how_a_packed_file_is_unpacked(tmp_path, name, pack, command):
    path = tmp_path / "cube.fits"
    path.write_bytes(pack(GOOD))
    with pytest.raises(BadInput, match=f"not a FITS file.*compressed by {name}: unpack it in place") as caught:
        read_cube_layout(path)
    told = str(caught.value).rpartition("name: ")[2]
    assert told == f"{command} cube.fits > cube.fits.plain && mv cube.fits.plain cube.fits"
    if shutil.which(command.split()[0]):
        subprocess.run(told, shell=True, cwd=tmp_path, check=True)  # noqa: S602
        assert path.read_bytes() == GOOD


def test_what_cannot_be_read_may_be_tried_again(tmp_path):
    with pytest.raises(Retry):
        read_cube_layout(tmp_path / "missing.fits")


RUNS = {
    "all": [((0, 1, 6),), ((0, 1, 4),)],
    "alternate": [((0, 2, 3),), ((1, 2, 2),)],
    "pieces out of order": [((4, 1, 2), (0, 3, 2)), ((3, 1, 1),)],
    "one frame": [((5, 1, 1),)],
}


@pytest.mark.parametrize("buffer", [7, 70, 512 * 1024])
@pytest.mark.parametrize("runs", RUNS)
def test_frames_are_copied_byte_for_byte(tmp_path, monkeypatch, runs, buffer):
    monkeypatch.setattr(cubes, "_BUFFER_BYTES", buffer)
    sources = [make_pixels((n, 5, 7), seed=n) for n in (6, 4)]
    paths = [write_cube(tmp_path / f"{len(s)}.fits", s) for s in sources]
    expected = np.concatenate(
        [
            s[first : first + step * n : step]
            for s, rs in zip(sources, RUNS[runs], strict=False)
            for first, step, n in rs
        ]
    )
    header = make_header("OBJECT  = 'new'", shape=expected.shape)
    target = tmp_path / "target.fits"
    parts = [(read_cube_layout(path), rs) for path, rs in zip(paths, RUNS[runs], strict=False)]
    copy_frames(target, header, parts)
    assert target.read_bytes() == header + pad(expected.astype(">i2").tobytes())
    assert np.array_equal(fits.getdata(target), expected)


def test_the_system_may_read_and_write_less_than_it_is_asked_for(tmp_path, monkeypatch):
    layout = read_cube_layout(write_cube(tmp_path / "cube.fits", make_pixels()))
    preadv, pwrite = os.preadv, os.pwrite
    monkeypatch.setattr(os, "preadv", lambda file, pieces, at: preadv(file, [pieces[0][:11]], at))
    monkeypatch.setattr(os, "pwrite", lambda file, piece, at: pwrite(file, piece[:13], at))
    copy_frames(tmp_path / "target.fits", layout.header, [(layout, ((0, 1, 3),))])
    assert (tmp_path / "target.fits").read_bytes() == layout.path.read_bytes()


def test_the_new_cube_is_on_the_disk_when_all_is_written(tmp_path, monkeypatch):
    layout = read_cube_layout(write_cube(tmp_path / "cube.fits", make_pixels()))
    target, synced = tmp_path / "target.fits", []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(target.read_bytes()), fsync(file)))
    copy_frames(target, layout.header, [(layout, ((0, 1, 3),))])
    assert synced == [layout.path.read_bytes()]


def test_a_longer_file_in_its_place_leaves_nothing(tmp_path):
    layout = read_cube_layout(write_cube(tmp_path / "cube.fits", make_pixels()))
    target = tmp_path / "target.fits"
    target.write_bytes(b"x" * 100_000)
    copy_frames(target, layout.header, [(layout, ((0, 1, 3),))])
    assert target.read_bytes() == layout.path.read_bytes()


@pytest.mark.parametrize("run", [(0, 1, 4), (3, 1, 1), (-1, 1, 1), (1, 2, 2), (0, 0, 2), (2, -1, 2), (0, 1, 0)])
def test_frames_that_are_not_there_are_refused(tmp_path, run):
    layout = read_cube_layout(write_cube(tmp_path / "cube.fits", make_pixels()))
    with pytest.raises(BadInput, match="has frames 0 to 2"):
        copy_frames(tmp_path / "target.fits", layout.header, [(layout, (run,))])


def test_frames_of_two_sizes_are_refused(tmp_path):
    one = read_cube_layout(write_cube(tmp_path / "one.fits", make_pixels((3, 5, 7))))
    two = read_cube_layout(write_cube(tmp_path / "two.fits", make_pixels((3, 5, 8))))
    with pytest.raises(BadInput, match="one size"):
        copy_frames(tmp_path / "target.fits", one.header, [(one, ((0, 1, 3),)), (two, ((0, 1, 3),))])


def test_half_a_header_block_is_refused(tmp_path):
    layout = read_cube_layout(write_cube(tmp_path / "cube.fits", make_pixels()))
    with pytest.raises(BadInput, match="whole blocks"):
        copy_frames(tmp_path / "target.fits", layout.header[:80], [(layout, ((0, 1, 3),))])


def test_a_cube_that_lost_frames_meanwhile_is_refused(tmp_path):
    layout = read_cube_layout(write_cube(tmp_path / "cube.fits", make_pixels()))
    os.truncate(layout.path, 2880 + 100)
    with pytest.raises(BadInput, match="ends at byte 2980"):
        copy_frames(tmp_path / "target.fits", layout.header, [(layout, ((0, 1, 3),))])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_may_be_tried_again(tmp_path):
    layout = read_cube_layout(write_cube(tmp_path / "cube.fits", make_pixels()))
    with pytest.raises(Retry, match="/dev/full"):
        copy_frames(Path("/dev/full"), layout.header, [(layout, ((0, 1, 3),))])


def test_memory_does_not_grow_with_the_cube(tmp_path):
    layout = read_cube_layout(write_cube(tmp_path / "cube.fits", make_pixels((100, 300, 300))))
    tracemalloc.start()
    copy_frames(tmp_path / "target.fits", layout.header, [(layout, ((0, 1, 100),)), (layout, ((1, 2, 50),))])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1024 * 1024 < layout.size_bytes / 10


def test_the_raw_files_of_these_tests_are_right(tmp_path):
    raw = make_raw(tmp_path)
    assert read_cube_layout(raw.cube).shape[0] == read_timing(raw.timing).n == raw.n_frames


@pytest.fixture
def packed(tmp_path):
    """Return a compressed cube that astropy wrote."""
    path = tmp_path / "VMPA00000001.fits.fz"
    image = fits.CompImageHDU(make_pixels((4, 20, 30)).astype(np.int16), compression_type="RICE_1")
    image.header["FRAMEID"] = "VMPA00000001"
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(path)
    return path


def test_a_compressed_cube_has_its_cards_in_the_table(packed):
    header = read_packed_header(packed)
    with fits.open(packed, disable_image_compression=True) as hdus:
        assert header.decode() == hdus[1].header.tostring()
    assert values(header, ["FRAMEID", "ZNAXIS3"]) == {"FRAMEID": "VMPA00000001", "ZNAXIS3": 4}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda content: content[:-2880], "truncated"),
        (lambda content: content + bytes(2880), "something follows it"),
        (lambda content: content[:2880], "no extension at byte 2880"),
        (lambda content: content[:4000], "no END card"),
        (lambda content: content.replace(b"ZIMAGE  =", b"ZIMAGX  ="), "expected ZIMAGE = T"),
        (lambda content: content.replace(b"PCOUNT  =", b"PCOUNX  ="), "the size of a table"),
        (lambda content: content[:0], "not a FITS file"),
    ],
)
def test_what_is_no_compressed_cube_is_refused(packed, fault, said):
    packed.write_bytes(fault(packed.read_bytes()))
    with pytest.raises(BadInput, match=said):
        read_packed_header(packed)
