"""Streams of 16-bit pixels by the ledger's own code are those of cfitsio's, byte for byte."""

import numpy as np
import pytest

from stages.fits import rice
from tests.tools import missing

SIZES = [1, 2, 31, 32, 33, 64, 100, 536, 5000]


def noise(rng, n):
    return rng.integers(-(2**15), 2**15, n)


def sky(rng, n):
    return rng.normal(200 - 2**15, rng.uniform(0.1, 3000), n)


def extremes(rng, n):
    return rng.choice([-(2**15), 2**15 - 1], n)


def flat(rng, n):
    return np.full(n, rng.integers(-(2**15), 2**15))


def cosmic_rays(rng, n):
    return np.where(rng.random(n) < 0.03, 2**15 - 1, rng.integers(-2, 3, n))


def ramp(rng, n):
    return np.cumsum(rng.integers(-3, 4, n))


def two_levels(rng, n):
    return np.where(rng.random(n) < 0.5, -(2**15), rng.integers(0, rng.integers(1, 9000), n))


@pytest.fixture
def compiled():
    if rice._compiled is None:
        missing("stages/fits/_native.so (a C compiler)")


@pytest.mark.parametrize("pixels_of", [noise, sky, extremes, flat, cosmic_rays, ramp, two_levels])
@pytest.mark.parametrize("n", SIZES)
def test_the_streams_are_those_of_cfitsio(compiled, rng, monkeypatch, pixels_of, n):
    for _ in range(20):
        tile = np.clip(pixels_of(rng, n), -(2**15), 2**15 - 1).astype(">i2")
        ours = rice.encode(tile)
        with monkeypatch.context() as without:
            without.setattr(rice, "_compiled", None)
            assert ours == rice.encode(tile)
            theirs = np.empty(n, np.int16)
            rice.decode(ours, theirs)
        back = np.empty(n, np.int16)
        rice.decode(ours, back)
        assert np.array_equal(back, tile)
        assert ours == rice.encode(tile.astype("<i2"))


def test_the_longest_stream_has_room(compiled):
    """Differences that alternate so that each takes as many bits as any can, in blocks of every number of low bits."""
    for step in range(1, 2**16, 97):
        tile = np.tile(np.array([0, step], np.uint16).view(np.int16), 512)
        assert len(rice.encode(tile)) <= tile.nbytes + tile.size // 4


def test_too_small_a_buffer_is_not_written_beyond(compiled):
    tile = np.arange(4096, dtype=">i2")[::-1].copy() * 7919
    for size in (0, 100, 150, 1000, 5000):
        stream = np.full(size + 64, 0xAA, np.uint8)
        assert rice._compiled.ledger_rice16(tile.ctypes.data, tile.size, stream.ctypes.data, size) == -1
        assert (stream[size:] == 0xAA).all()


@pytest.mark.parametrize("pixels_of", [noise, sky, cosmic_rays, ramp])
def test_a_stream_that_is_cut_off_is_refused(compiled, rng, pixels_of):
    tile = np.clip(pixels_of(rng, 200), -(2**15), 2**15 - 1).astype(">i2")
    stream = rice.encode(tile)
    for length in range(len(stream)):
        with pytest.raises(ValueError, match="not a Rice stream of 200 pixels"):
            rice.decode(stream[:length], np.empty(200, np.int16))


def test_garbage_is_read_within_its_bounds(compiled, rng):
    """What lies behind a stream does not change what is read of it."""
    for _ in range(2000):
        garbage = (rng.random(rng.integers(2, 200)) < rng.uniform(0, 0.3)) * rng.integers(0, 256)
        stream = garbage.astype(np.uint8).tobytes()
        found = []
        for behind in (b"\0" * 16, b"\xff" * 16):
            held = np.frombuffer(stream + behind, np.uint8)
            pixels = np.zeros(64 + 8, np.int16)
            status = rice._compiled.ledger_rice16_read(held.ctypes.data, len(stream), pixels.ctypes.data, 64)
            assert not pixels[64:].any()
            found.append((status, pixels.tobytes()))
        assert found[0] == found[1]


@pytest.mark.parametrize("is_compiled", [True, False])
@pytest.mark.parametrize("pixels_of", [noise, sky, extremes, flat, cosmic_rays, ramp, two_levels])
def test_a_stream_is_of_its_own_tile_only(compiled, rng, monkeypatch, pixels_of, is_compiled):
    if not is_compiled:
        monkeypatch.setattr(rice, "_compiled", None)
    for n in SIZES:
        tile = np.clip(pixels_of(rng, n), -(2**15), 2**15 - 1).astype(">i2")
        stream = rice.encode(tile)
        assert rice.is_stream_of(stream, tile)
        assert rice.is_stream_of(stream, tile.astype("<i2"))
        assert not rice.is_stream_of(stream[:-1], tile)
        for place in {0, n // 2, n - 1}:
            for bit in (0, 15):
                other = tile.copy()
                other[place] ^= np.int16(-(2**15)) if bit else np.int16(1)
                assert not rice.is_stream_of(stream, other)


@pytest.mark.parametrize("dtype", ["u1", ">i4"])
def test_other_pixels_are_taken_too(rng, dtype):
    tile = rng.integers(0, 200, (7, 9)).astype(dtype)
    back = np.empty((7, 9), tile.dtype.newbyteorder("="))
    rice.decode(rice.encode(tile), back)
    assert np.array_equal(back, tile)
    assert rice.is_stream_of(rice.encode(tile), tile)
    assert not rice.is_stream_of(rice.encode(tile), tile ^ tile.dtype.type(1))


def test_it_is_said_what_encodes(monkeypatch):
    assert rice.encoder() == "the ledger's own code" or rice._compiled is None
    monkeypatch.setattr(rice, "_compiled", None)
    assert rice.encoder().startswith("imagecodecs 2")
