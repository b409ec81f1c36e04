"""What must hold of a finished night, whoever wrote it: read from disk and database, compared with the truth."""

import csv
import fnmatch
import hashlib
import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from astropy.io import fits

from stages.fits.formats import read_dictionary
from tests.tools import need
from tests.world import World

TIME_CARDS = ("DATE-OBS", "UT-STR", "UT", "UT-END", "HST-STR", "HST", "HST-END", "MJD-STR", "MJD", "MJD-END")
KEEP_DIGITS = ("CD?_?*", "PC?_?*", "CDELT*")


#: Camera, serial and trigger (None: free-running) of a frame.
Identity = tuple[int, int, int | None]


@dataclass(frozen=True)
class Opened:
    """What is in a cube: who its frames are, by their first pixels, its header, and its cards as they are written."""

    frames: list[Identity]
    header: fits.Header
    cards: list[fits.Card]


def opened(cube: Path) -> Opened:
    """Return what is in a compressed cube."""
    with fits.open(cube) as hdus:
        frames, header = decoded_cube(hdus[1]), hdus[1].header
    with fits.open(cube, disable_image_compression=True) as hdus:
        return Opened(frames, header, list(hdus[1].header.cards))


def identities(cube: Path) -> list[Identity]:
    """Return who every frame of a cube is."""
    with fits.open(cube) as hdus:
        return decoded_cube(hdus[1] if cube.suffix == ".fz" else hdus[0])


def decoded_cube(hdu: fits.ImageHDU) -> list[Identity]:
    """Return who every frame of a cube is that is open."""
    return decoded(np.asarray(hdu.data)[:, 0, :5].astype(np.int64))


def raw_identities(cube: Path) -> list[Identity]:
    """Return the same of a raw cube's whole frames, however short the file is; it is uint16 by its BZERO."""
    header = fits.Header.fromfile(cube)
    shape = (header["NAXIS2"], header["NAXIS1"])
    begin, size = len(header.tostring()), 2 * shape[0] * shape[1]
    n = min(header["NAXIS3"], (cube.stat().st_size - begin) // size)
    pixels = np.fromfile(cube, ">i2", n * shape[0] * shape[1], offset=begin).reshape(n, *shape)
    return decoded(pixels[:, 0, :5].astype(np.int64) + 32768)


def decoded(first: np.ndarray) -> list[Identity]:
    """Return who frames are from their first five pixels."""
    low, high = first[:, [1, 3]], first[:, [2, 4]]
    serial, trigger = (low + (high << 16)).T
    return [
        (int(c), int(s), None if t == 0xFFFFFFFF else int(t))
        for c, s, t in zip(first[:, 0], serial, trigger, strict=True)
    ]


class Finished:
    """A night that was advanced to the end."""

    def __init__(self, world: World, date: str) -> None:
        self.world = world
        self.night = world.folder / "archive" / date
        self.date = date
        self.folder = self.night / "vgen2"
        rows = world.query(
            "SELECT frame_id.frame_id, file.name, file.camera, file.flc, file.synchronised, file.group_number,"
            " file.sha256, file.size_bytes, frame_id.start_us, file.id"
            " FROM file JOIN frame_id ON frame_id.identity = file.identity AND frame_id.status = 'live'"
            f" JOIN night ON night.id = file.night_id AND night.date = '{date}' ORDER BY frame_id.frame_id"
        )
        names = ("frame_id", "name", "camera", "flc", "synchronised", "group", "sha256", "size_bytes", "start_us", "id")
        self.products = [dict(zip(names, row, strict=True)) for row in rows]
        self.opened = {p["frame_id"]: opened(self.cube(p)) for p in self.products}
        self.frames = {frame_id: cube.frames for frame_id, cube in self.opened.items()}
        self.quarantined = {
            f"{folder}/{name}": reason
            for folder, name, reason in world.query(
                f"SELECT folder, name, reason FROM quarantine WHERE date = '{date}'"
            )
        }

    def cube(self, product: dict) -> Path:
        return self.folder / f"{product['frame_id']}.fits.fz"

    def header(self, product: dict) -> fits.Header:
        return self.opened[product["frame_id"]].header

    def check_everything(self, n_frames: int, n_lost: int = 0) -> None:
        self.check_frames(n_frames, n_lost)
        self.check_siblings()
        self.check_ids()
        self.check_headers()
        self.check_destination()
        self.check_manifest()
        self.check_timing()

    def check_frames(self, n_frames: int, n_lost: int = 0) -> None:
        """Every frame is in exactly one product, where the lineage says; nothing else is."""
        of_raw = cache(raw_identities)
        every = [(c, s) for frames in self.frames.values() for c, s, _ in frames]
        assert len(every) == len(set(every)) == n_frames
        for product in self.products:
            lineage = self.world.query(
                "SELECT raw.folder, raw.name, lineage.runs FROM lineage JOIN file AS raw ON raw.id = lineage.raw_id"
                f" WHERE lineage.product_id = {product['id']} ORDER BY lineage.position"
            )
            expected: list = []
            for folder, name, runs in lineage:
                raw = of_raw(self.night / folder / name)
                parsed = runs if isinstance(runs, list) else json.loads(runs)
                expected += [raw[i] for first, step, n in parsed for i in range(first, first + step * n, step)]
            assert self.frames[product["frame_id"]] == expected
            assert {c for c, _, _ in expected} == {product["camera"]}
        balance = self.world.query(
            f"SELECT SUM(n_frames), SUM(in_products), SUM(lost_frames) FROM frame_balance WHERE date = '{self.date}'"
        )
        assert tuple(int(n) for n in balance[0]) == (n_frames + n_lost, n_frames, n_lost)

    def check_siblings(self) -> None:
        """Siblings of both cameras hold the same exposures, frame by frame; all of a group share their time cards."""
        groups: dict = {}
        for product in self.products:
            groups.setdefault(product["group"], []).append(product)
        for group in groups.values():
            cards = {tuple(self.header(p)[k] for k in TIME_CARDS) for p in group}
            assert len(cards) == 1
            for product in group:
                header = self.header(product)
                assert header["U_SYNC"] is bool(product["synchronised"])
                if product["flc"] is not None:
                    assert header["U_FLC"].strip() == product["flc"]
                if product["synchronised"]:
                    siblings = [p for p in group if p["flc"] == product["flc"]]
                    assert sorted(p["camera"] for p in siblings) == [1, 2]
                    first, second = ([t for _, _, t in self.frames[p["frame_id"]]] for p in siblings)
                    assert first == second

    def check_ids(self) -> None:
        """IDs are in order of time, camera and state, without gaps, and are the files' own."""
        numbers = [int(p["frame_id"][4:]) for p in self.products]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        keys = [(p["start_us"], p["camera"], p["flc"] or "") for p in self.products]
        assert keys == sorted(keys)
        for product in self.products:
            header = self.header(product)
            assert header["FRAMEID"] == product["frame_id"]
            assert header["EXP-ID"] == "VMPE" + product["frame_id"][4:]

    def check_headers(self) -> None:
        """Every value is written in its format of the dictionary, or kept for one of the reasons of the design."""
        formats = read_dictionary("vampires")
        different = {card.image: card for cube in self.opened.values() for card in cube.cards}
        for image, card in different.items():
            form = formats.get(card.keyword)
            structural = card.keyword in ("SIMPLE", "BITPIX", "EXTEND", "BSCALE", "BZERO") or "NAXIS" in card.keyword
            if form is None or structural or any(fnmatch.fnmatch(card.keyword, k) for k in KEEP_DIGITS):
                continue
            assert obeys(card, form), (image, form)

    def check_destination(self) -> None:
        """The destination holds the bytes that the ledger says, and nothing that the night does not."""
        there = self.world.destination / self.date
        for product in self.products:
            copy = there / "vgen2" / f"{product['frame_id']}.fits.fz"
            assert hashlib.sha256(copy.read_bytes()).hexdigest() == product["sha256"]
            assert copy.stat().st_size == product["size_bytes"]
        here = {p.relative_to(self.night): p for p in self.night.rglob("*") if p.is_file()}
        mine = {k: p.read_bytes() for k, p in here.items() if k.parts[0] not in ("vcam1", "vcam2")}
        assert {p.relative_to(there): p.read_bytes() for p in there.rglob("*") if p.is_file()} == mine
        proof = subprocess.run(
            ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=there, capture_output=True, text=True, check=False
        )
        assert (proof.returncode, proof.stdout) == (0, "")

    def check_manifest(self) -> None:
        """The manifest lists every .fz, in order of IDs, with its true size."""
        manifest = self.night / f"manifest_VMP_{self.date}.csv"
        text = manifest.read_bytes().decode()
        assert text.count("\r\n") == text.count("\n") == len(self.products)
        rows = list(csv.reader(text.splitlines(), delimiter="|"))
        assert [row[0] for row in rows] == [p["frame_id"] for p in self.products]
        for frame_id, path, size in rows:
            assert Path(path).name == f"{frame_id}.fits.fz"
            assert Path(path).is_absolute()
            assert Path(path).stat().st_size == int(size)

    def check_timing(self) -> None:
        """The txt beside a product has a row a frame, numbered from 0, in order of time, and siblings agree."""
        times = {}
        for product in self.products:
            rows = np.loadtxt(self.folder / f"{product['frame_id']}.txt", ndmin=2)
            assert rows.shape == (len(self.frames[product["frame_id"]]), 7)
            assert np.array_equal(rows[:, 0], np.arange(len(rows)))
            assert rows[0, 2] == 0
            assert (np.diff(rows[:, 4]) >= 0).all()
            times.setdefault((product["group"], product["flc"]), []).append(rows[:, 4])
        for both in times.values():
            assert all(np.array_equal(both[0], other) for other in both)

    def check_funpack(self, plain: dict[str, bytes], tmp_path: Path) -> None:
        """`funpack -C` gives back every product as it was before compression; `fitsverify` finds no fault."""
        need("funpack", "fitsverify")
        assert set(plain) == {f"{p['frame_id']}.fits" for p in self.products}
        packed = [f"{p['frame_id']}.fits.fz" for p in self.products]
        back = tmp_path / "unpacked"
        back.mkdir()
        subprocess.run(["funpack", "-C", "-P", f"{back}/", *packed], cwd=self.folder, check=True)
        assert {path.name: path.read_bytes() for path in back.iterdir()} == plain
        found = list(faults(self.folder, packed).values())
        assert found == list(faults(back, [name.removesuffix(".fz") for name in packed]).values())
        assert not any("error" in fault.lower() for each in found for fault in each)
        shutil.rmtree(back)

    def count(self) -> Counter:
        """Return how many frames there are of each class."""
        counts: Counter = Counter()
        for p in self.products:
            counts["paired" if p["synchronised"] else "solo", p["flc"]] += len(self.frames[p["frame_id"]])
        return counts


def faults(folder: Path, cubes: list[str]) -> dict[str, set[str]]:
    """Return what fitsverify finds in each cube; warnings about what the raw header says are not ours to mend."""
    said = subprocess.run(["fitsverify", "-l", *cubes], cwd=folder, capture_output=True, text=True, check=False).stdout
    _, *parts = re.split(r"^File: (.*)$", said, flags=re.MULTILINE)
    found = {
        name: set(re.findall(r"\*\*\* (?:Warning|Error).*", text))
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }
    assert list(found) == cubes
    assert said.count("Verification found") == len(cubes)
    return found


def obeys(card: fits.Card, form: str) -> bool:
    """Whether a card's value is printed as its format says, or does not fit the format in kind."""
    value, text = card.value, card.image[10:].split(" / ")[0]
    if isinstance(value, fits.card.Undefined):
        return True
    if form == "BOOLEAN":
        return not isinstance(value, bool) or text.rstrip() == ("T" if value else "F").rjust(20)
    if form.endswith("s"):
        if not isinstance(value, str):
            return True
        printed = (form % value).replace("'", "''")
        fits_in = len((form % value).rstrip()) == len(value.rstrip())
        return not fits_in or card.image[10:].startswith(f"'{printed:<8}'") or len(printed) > 60
    if isinstance(value, bool | str):
        return True
    if form.endswith("d") and value != int(value):
        return True
    return text.rstrip() == (form % value).strip().rjust(20)
