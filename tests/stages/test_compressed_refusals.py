"""compressed: what could not come back, and what is damaged, is refused or found."""

import hashlib
import io
import tracemalloc
from contextlib import nullcontext
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from stages import compressed
from stages.base import BadInput, Retry
from stages.compressed import Parameters
from stages.fits import rice, untiled
from tests.stages.compression import (
    NAME,
    RNG,
    TIMING,
    USUAL_CARDS,
    finish,
    good_cube,
    make_cube,
    make_header,
    make_job,
    pack,
)
from tests.stages.samples import make_pixels

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
        list(untiled.plain_pieces(cut, Path("cut")))


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
        list(untiled.plain_pieces(changed, Path("negative")))


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
    really = compressed._sync

    def sync(file):
        really(file)
        content = bytearray(Path(file.name).read_bytes())
        change(content)
        Path(file.name).write_bytes(content)

    monkeypatch.setattr(compressed, "_sync", sync)


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
