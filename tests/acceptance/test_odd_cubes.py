"""Cubes as loggers and compressors leave them: the night is archived, or each is put aside with the reason."""

import json
import subprocess

import numpy as np
import pytest
from astropy.io import fits
from sqlalchemy import text

from ledger.run.plan import plan_advance
from tests.readers import read_by_astropy, read_by_cfitsio
from tests.tools import need
from tests.world import DATE

CARD, BLOCK = 80, 2880


def cubes(world, stream):
    return sorted((world.folder / "archive" / DATE / stream).glob("*.fits"))


def products(world):
    return sorted((world.destination / DATE / "vgen2").glob("*.fits.fz"))


def change_cards(path, change):
    """Rewrite a cube with other cards: `change` takes a list of them as text, and gives one back."""
    content = path.read_bytes()
    end = next(at for at in range(0, len(content), CARD) if content[at : at + CARD].rstrip() == b"END")
    cards = [content[at : at + CARD].decode() for at in range(0, end, CARD)]
    header = "".join(card.ljust(CARD) for card in (*change(cards), "END")).encode()
    data = content[-(-(end + CARD) // BLOCK) * BLOCK :]
    path.write_bytes(header.ljust(-(-len(header) // BLOCK) * BLOCK) + data)


def without_zero(cards):
    return [card for card in cards if card[:8] not in ("BZERO   ", "BSCALE  ")]


def forget_structure(world):
    """Make the rows of raw files those of a version that did not register structure."""
    with world.store().engine.begin() as connection:
        for number, cards in connection.execute(text("SELECT id, cards FROM file WHERE kind = 'raw'")).all():
            kept = {key: value for key, value in json.loads(cards).items() if not key.startswith("B")}
            connection.execute(
                text("UPDATE file SET cards = :cards WHERE id = :id"), {"cards": json.dumps(kept), "id": number}
            )


@pytest.fixture
def world(sqlite_world):
    """Return a world with a small night of two cameras."""
    sqlite_world.simulate(scale=0.02, scenario=("slow", "slow"))
    return sqlite_world


def n_frames(world):
    return sum(fits.getheader(path)["NAXIS3"] for stream in ("vcam1", "vcam2") for path in cubes(world, stream))


def archived(world):
    return sum(fits.getheader(path, 1)["NAXIS3"] for path in products(world))


def test_a_zero_point_that_changes_between_two_cubes(world):
    for stream in ("vcam1", "vcam2"):
        for path in cubes(world, stream)[:2]:
            change_cards(path, without_zero)
    result = world.advance()
    assert (result.succeeded, result.quarantined) == (True, [])
    assert archived(world) == n_frames(world)


def test_the_advice_about_cubes_that_cannot_share_one_leads_on(world):
    """A night that the version before had registered, and that failed because of it."""
    for stream in ("vcam1", "vcam2"):
        for path in cubes(world, stream)[:2]:
            change_cards(path, without_zero)
    assert world.advance(to="raw").succeeded
    forget_structure(world)
    plan = plan_advance(world.machine(), world.night(), None)
    result = world.advance()
    assert (result.succeeded, result.quarantined) == (True, [])
    assert plan.steps[0].verb == "register"
    assert archived(world) == n_frames(world)


def test_a_night_of_the_version_before_keeps_its_products(world):
    world.bring()
    before = {path.name: path.read_bytes() for path in products(world)}
    forget_structure(world)
    assert world.rollback(to="raw").succeeded
    result = world.advance()
    assert (result.succeeded, result.registered) == (True, 0)
    assert {path.name: path.read_bytes() for path in products(world)} == before


def test_leftovers_of_an_earlier_compression(world):
    left = [
        "ZSIMPLE =                    T",
        "ZNAXIS3 =                30000",
        "TTYPE1  = 'x'",
        "EXTNAME = 'COMPRESSED_IMAGE'",
    ]
    raws = cubes(world, "vcam1")
    for path in raws:
        change_cards(path, lambda cards: [*cards, *left])
    result = world.advance()
    assert (result.succeeded, result.quarantined) == (True, [])
    assert result.remarks["left out, as it is of another file's table: ZSIMPLE"] > 0
    assert archived(world) == n_frames(world)
    need("funpack", "fitsverify")
    for path in products(world):
        unpacked = world.folder / "unpacked.fits"
        unpacked.unlink(missing_ok=True)
        subprocess.run(["funpack", "-C", "-O", unpacked, path], check=True)
        assert not {"ZSIMPLE", "ZNAXIS3", "TTYPE1"} & set(fits.getheader(unpacked))
        done = subprocess.run(["fitsverify", path], capture_output=True, check=False)
        assert b" 0 error(s)" in done.stdout
        assert np.array_equal(read_by_astropy(unpacked), read_by_cfitsio(path, 2))
    assert world.run("audit", "--deep").returncode == 0


ASIDE = {
    "table": (lambda cards: [*cards, "PCOUNT  =            61275254."], "PCOUNT  =            61275254.': expected 0"),
    "groups": (lambda cards: [*cards, "GROUPS  =                    T"], "expected F"),
    "zero": (lambda cards: ["BZERO   = nan" if c[:5] == "BZERO" else c for c in cards], "expected a finite number"),
    "twice": (lambda cards: [*cards, "NAXIS1  = 99"], "a card before it says"),
}


@pytest.mark.parametrize("what", ASIDE)
def test_a_header_of_two_readings_is_put_aside_before_there_are_numbers(world, what):
    change, reason = ASIDE[what]
    odd = cubes(world, "vcam1")[0]
    others = n_frames(world) - fits.getheader(odd)["NAXIS3"]
    change_cards(odd, change)
    result = world.advance()
    assert result.succeeded
    ((name, why),) = result.quarantined
    assert (name, reason in why) == (f"vcam1/{odd.name}", True)
    assert archived(world) == others


def test_frames_that_lie_elsewhere_are_put_aside(world):
    """The header is not padded, and the file has the size that it should have all the same."""
    odd = cubes(world, "vcam1")[0]
    content = odd.read_bytes()
    end = content.index(b"END" + b" " * 77) + CARD
    start = -(-end // BLOCK) * BLOCK
    odd.write_bytes(content[:end] + content[start:] + bytes(start - end))
    result = world.advance()
    ((name, why),) = result.quarantined
    assert name == f"vcam1/{odd.name}"
    assert "data that begin too early" in why


def test_a_compressed_cube_that_is_called_plain(world):
    need("fpack", "funpack")
    odd = cubes(world, "vcam1")[0]
    plain = odd.read_bytes()
    subprocess.run(["fpack", "-r", "-O", f"{odd}.new", odd], check=True)
    odd.with_name(f"{odd.name}.new").replace(odd)
    result = world.advance(to="synced")
    ((_, why),) = result.quarantined
    assert "tile-compressed image in its first extension (ZIMAGE = T, RICE_1" in why
    subprocess.run(why.rpartition("same name: ")[2], shell=True, cwd=odd.parent, check=True)  # noqa: S602
    assert fits.getdata(odd).tobytes() == fits.HDUList.fromstring(plain)[0].data.tobytes()
    assert world.rollback(to="raw").succeeded
    result = world.advance()
    assert (result.succeeded, result.quarantined) == (True, [])
    assert archived(world) == n_frames(world)


@pytest.mark.parametrize("zero", [None, -128])
def test_bytes_with_and_without_sign(world, zero):
    scaling = [] if zero is None else ["BZERO   =                 -128", "BSCALE  =                    1"]
    stored = {}
    for stream in ("vcam1", "vcam2"):
        for path in cubes(world, stream):
            pixels = np.random.default_rng(len(stored)).integers(
                0, 255, fits.getdata(path).shape, np.uint8, endpoint=True
            )
            change_cards(
                path, lambda cards: [c.replace(" 16 ", "  8 ") if c[:6] == "BITPIX" else c for c in without_zero(cards)]
            )
            change_cards(path, lambda cards: [*cards[:7], *scaling, *cards[7:]])
            content = path.read_bytes()
            header = content[: -(-(content.index(b"END" + b" " * 77) + CARD) // BLOCK) * BLOCK]
            path.write_bytes(header + pixels.tobytes() + bytes(-pixels.size % BLOCK))
            stored[path] = pixels
    result = world.advance()
    assert (result.succeeded, result.quarantined) == (True, [])
    need("funpack")
    found = []
    for path in products(world):
        unpacked = world.folder / "unpacked.fits"
        unpacked.unlink(missing_ok=True)
        subprocess.run(["funpack", "-C", "-O", unpacked, path], check=True)
        pixels = fits.getdata(unpacked)
        assert pixels.dtype == (np.uint8 if zero is None else np.int8)
        found += [frame.astype(np.int64).tobytes() for frame in pixels]
    expected = [(frame.astype(np.int64) + (zero or 0)).tobytes() for cube in stored.values() for frame in cube]
    assert sorted(found) == sorted(expected)
