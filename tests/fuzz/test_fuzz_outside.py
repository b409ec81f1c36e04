"""Wherever the cubes of a night go and whatever they are called: they are raw files, or somebody is told."""

import bz2
import gzip
import lzma
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ledger.config.read import packaged_config, read_config
from ledger.disk.nights import NightFolder
from ledger.disk.outside import find_outside, grouped
from ledger.disk.raws import raws_on_disk
from ledger.text import printable
from tests.fuzz.names import NAMES, put
from tests.fuzz.profiles import fuzz
from tests.world import DATE

PLACES = ("vcam1", "vcam2", "", "vcam1/old", "apapane", "a/b/c", ".hidden", "vcam3", "VCAM1")
SUFFIXES = (
    ".fits",
    ".FITS",
    ".fit",
    ".fts",
    ".fz",
    ".fits.fz",
    ".fits.part",
    ".fits~",
    ".fits.1",
    ".fits.Ab12Cd",
    "",
    ".dat",
    ".bak",
)
PACKERS = {
    "plain": lambda content: content,
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "cut gzip": lambda content: gzip.compress(content, mtime=0)[:-9],
}
JUNK = (b"", b"cloudy\n", gzip.compress(b"cloudy\n" * 9, mtime=0), b"SIMPLE", b"\x89PNG\r\n\x1a\n" + bytes(99))

places, stems = st.sampled_from(PLACES), NAMES.map(lambda name: name.removesuffix(b".fits")[:200] or b"x")
cubes = st.tuples(places, stems, st.sampled_from(SUFFIXES), st.sampled_from(sorted(PACKERS)))
others = st.tuples(places, stems, st.sampled_from((".log", ".png", ".md", "")), st.sampled_from(JUNK))


@fuzz(60)
@given(cubes=st.lists(cubes, max_size=6), others=st.lists(others, max_size=3))
def test_no_frame_is_passed_over(nights, cubes, others):
    config = read_config(packaged_config(), environment={})
    content = min((nights / DATE).glob("vcam1/*.fits")).read_bytes()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        shutil.copytree(nights / DATE, root / DATE)
        night = NightFolder("archive", root, DATE)
        put_there = set()
        for place, stem, suffix, packer in cubes:
            path = _put(root / DATE / place, stem + suffix.encode(), PACKERS[packer](content))
            put_there |= {path} if path else set()
        for place, stem, suffix, junk in others:
            _put(root / DATE / place, stem + suffix.encode(), junk)
        raws = {f"{raw.stream.name}/{raw.name}" for raw in raws_on_disk(night, config.instrument)}
        outside = list(find_outside(night, config.instrument))
        told = {file.path for file in outside}
        assert grouped(outside).isprintable()
        assert len(told) == len(outside)
        assert not raws & told
        assert {path for path in put_there if path not in raws} <= told
        junk = {path for path in told - put_there if not path.endswith(".txt")}
        assert all(Path(path).suffix.lower() in {".fz", ".fits", ".fit", ".fts"} for path in junk)


def _put(folder: Path, name: bytes, content: bytes) -> str | None:
    """Write a file that is not there yet; return its path within the night, as it is shown."""
    folder.mkdir(parents=True, exist_ok=True)
    path = os.path.join(os.fsencode(folder), name)
    if os.path.lexists(path) or name.startswith(b".ledger-") or len(name) > 255:
        return None
    put("file", path, content, b"")
    parts = Path(os.fsdecode(path)).parts
    return "/".join(map(printable, parts[parts.index(DATE) + 1 :]))
