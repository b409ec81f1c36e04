"""Cubes: their layout is checked, and frames are copied byte for byte; raw files for other tests."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from stages import cubes
from stages.base import BadInput, Instrument, Job, Product, Raw, Retry, Stream
from stages.cubes import copy_frames, read_cube_layout
from stages.timing import Timing, format_timing, read_timing

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
    "a letter that is not ASCII": (make_header("OBSERVER= 'Bé'") + GOOD[2880:], "card 7 has the byte b'\\xe9'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_cube_is_refused(tmp_path, fault):
    content, message = FAULTS[fault]
    path = tmp_path / "cube.fits"
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        read_cube_layout(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


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
