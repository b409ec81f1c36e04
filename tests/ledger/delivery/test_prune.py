"""`ledger prune`: what goes is proven first, what is needed stays, and what is gone is known to be."""

import json
import os
import shutil

import pytest
import yaml
from astropy.io import fits
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ledger.config.read import packaged_config
from ledger.delivery import manifest
from ledger.delivery.copies import recall, verify
from ledger.delivery.prune import prune
from ledger.disk.nights import find_night
from ledger.errors import CannotUndo, NotReady
from tests.inside import call
from tests.ledger.audit.test_laws_by_sql import violations
from tests.world import DATE

DAY_US = 86_400_000_000
everywhere = pytest.mark.parametrize("sent", ["here", "afar"], indirect=True)


@pytest.fixture
def sent(request, sqlite_world):
    """A world with a night that is done, at this machine or at another one."""
    world = sqlite_world
    if getattr(request, "param", "here") == "afar":
        world.send_afar(request.getfixturevalue("sshd"))
    world.simulate(scale=0.005, scenario=("pdi", "untriggered"))
    world.bring()
    world.data["prune"]["raw_days"] = 30
    age(world, 1)
    return world


def go(world, **options):
    (found,) = prune(world.machine(), removes=True, **options)
    return found


def age(world, days):
    ((last_us,),) = world.query("SELECT max(last_us) FROM file WHERE kind = 'raw'")
    world.now_us = last_us + days * DAY_US


def raws(world):
    return sorted((world.folder / "archive" / DATE).glob("vcam*/*"))


def products(world):
    folder = world.folder / "archive" / DATE / "vgen2"
    return sorted([*folder.glob("*.fz"), *folder.glob("VMPA*.txt")])


def archives(world):
    return sorted((world.folder / "archive" / DATE).glob("raw_headers_*"))


def deep(world):
    done = world.run("audit", "--deep")
    return done.returncode, done.stdout


@everywhere
def test_products_go_and_come_back(sent):
    world = sent
    world.data["prune"]["raw_days"] = 100_000
    before = world.tree()
    n = len(products(world)) // 2
    (listed,) = prune(world.machine())
    assert (listed.products, listed.raws) == (n, 0)
    assert listed.size_bytes == sum(path.stat().st_size for path in products(world))
    assert world.tree() == before, "only counted"
    found = go(world)
    assert (found.products, found.raws, found.failed) == (n, 0, [])
    assert found.size_bytes == listed.size_bytes
    assert products(world) == []
    assert {name for name in before if name not in world.tree()} == {
        name for name in before if name.startswith("vgen2/VMPA")
    }
    assert violations(world) == []
    assert deep(world)[0] == 0
    assert world.advance().succeeded
    assert products(world) == []
    assert go(world).products == 0
    assert verify(world.machine(), world.night()).succeeded
    for state in ("transferred", "raw"):
        with pytest.raises(NotReady, match="ledger recall"):
            world.rollback(to=state)
    assert len(recall(world.machine(), world.night()).brought) == n
    assert world.tree() == before
    assert world.query("SELECT count(*) FROM file WHERE pruned_us IS NOT NULL") == [(0,)]
    assert world.rollback().succeeded


@everywhere
def test_old_raw_files_go_if_all_of_their_frames_are_in_the_archive(sent):
    world = sent
    go(world)
    n = len(raws(world)) // 2
    hashes = {str(path.relative_to(world.folder / "archive" / DATE)) for path in raws(world)}
    assert n, "they are young"
    age(world, 29)
    (young,) = prune(world.machine())
    assert (young.raws, young.kept["raw files that are younger than 30 days"]) == (0, n)
    age(world, 31)
    found = go(world)
    assert (found.raws, found.failed) == (n, [])
    assert raws(world) == []
    entries = world.query("SELECT detail FROM entry e JOIN file f ON f.identity = e.identity"
                          " WHERE e.event = 'pruned' AND f.kind = 'raw'")  # fmt: skip
    details = [json.loads(row[0]) if isinstance(row[0], str) else row[0] for row in entries]
    assert {name for detail in details for name in detail["sha256"]} == {name.split("/")[1] for name in hashes}
    assert violations(world) == []
    assert deep(world)[0] == 0
    status = json.loads(world.run("status", "--json").stdout)
    assert [night["stands"] for night in status if night["date"] == DATE] == ["finished"]
    assert world.run("catch-up").returncode == 0
    assert world.advance().succeeded
    with pytest.raises(CannotUndo, match="compressed"):
        world.rollback()
    recall(world.machine(), world.night())
    assert world.rollback(to="compressed").succeeded
    assert world.advance().succeeded
    assert world.run("doctor").returncode == 0
    explained = world.run("explain", "VMPA00000001")
    assert explained.returncode == 0


def test_raw_files_stay_unless_somebody_asks(sent):
    world = sent
    del world.data["prune"]["raw_days"]
    age(world, 100_000)
    n = len(raws(world))
    found = go(world)
    assert (found.products > 0, found.raws, found.failed, dict(found.kept)) == (True, 0, [], {})
    assert len(raws(world)) == n
    assert yaml.safe_load(packaged_config().read_text())["prune"]["raw_days"] is None
    world.data["prune"]["raw_days"] = 0
    assert go(world).raws == n // 2


def test_raw_files_that_are_put_back_are_found(sent):
    world = sent
    before = world.tree()
    kept = world.folder / "elsewhere"
    shutil.copytree(world.folder / "archive" / DATE, kept)
    age(world, 31)
    assert go(world).raws
    recall(world.machine(), world.night())
    for path in kept.glob("vcam*/*"):
        shutil.copy2(path, world.folder / "archive" / DATE / path.parent.name / path.name)
    world.machine().scan(world.night())
    assert world.query("SELECT count(*) FROM file WHERE pruned_us IS NOT NULL") == [(0,)]
    after = world.tree()
    assert {name for name in after if name not in before} == {path.name for path in archives(world)}
    assert {name: after[name] for name in before} == before
    assert world.rollback().succeeded


def test_a_copy_that_is_damaged_keeps_the_files_here(sent):
    world = sent
    age(world, 31)
    before = world.tree()
    copy = min((world.destination / DATE / "vgen2").glob("*.fz"))
    copy.write_bytes(bytes(copy.stat().st_size))
    found = go(world)
    frame_id = copy.name.split(".")[0]
    assert [name for name, _ in found.failed] == [frame_id]
    now = world.tree()
    assert f"vgen2/{copy.name}" in now
    ((identity,),) = world.query(f"SELECT identity FROM frame_id WHERE frame_id = '{frame_id}'")
    rows = world.query("SELECT r.folder, r.name FROM file p JOIN lineage l ON l.product_id = p.id"
                       f" JOIN file r ON r.id = l.raw_id WHERE p.identity = '{identity}'")  # fmt: skip
    assert all(f"{folder}/{name}" in now for folder, name in rows)
    assert 0 < len(now) < len(before)
    assert world.run("verify", "--date", DATE, "--repair").returncode == 0
    assert go(world).failed == []
    assert products(world) == raws(world) == []


@pytest.mark.parametrize("what", ["product", "txt", "raw txt"])
def test_a_file_that_is_not_as_on_record_stays(sent, what):
    world = sent
    age(world, 31)
    path = {"product": products(world)[0], "txt": products(world)[1], "raw txt": raws(world)[1]}[what]
    info = path.stat()
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    found = go(world)
    assert len(found.failed) >= 1
    assert path.exists()


def test_frames_that_are_not_those_of_raw_stay(sent):
    """The raw file was damaged after it was compressed, with its size and time as they were."""
    world = sent
    age(world, 31)
    cube = raws(world)[0]
    info, content = cube.stat(), bytearray(cube.read_bytes())
    with fits.open(cube) as hdus:
        content[hdus[0].fileinfo()["datLoc"]] ^= 1
    cube.write_bytes(content)
    os.utime(cube, ns=(info.st_atime_ns, info.st_mtime_ns))
    found = go(world)
    assert any("deep" in reason for _, reason in found.failed)
    assert cube.exists()


def test_what_is_not_done_stays(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to="transferred")
    world.data["prune"]["raw_days"] = 1
    age(world, 31)
    before = world.tree()
    found = go(world)
    assert (found.products, found.raws, found.failed) == (0, 0, [])
    assert found.kept["products that are not manifested"]
    assert found.kept["raw files with frames of products that are not in the archive, or not for sure"]
    assert world.tree() == before
    assert world.advance().succeeded
    world.data["prune"]["products_days"] = 100_000
    assert go(world).kept["products that were proven less than 100000 days ago"]


@pytest.mark.parametrize("state", ["raw", "synced"])
def test_a_night_that_has_no_product_files_yet_is_left_out(sqlite_world, state):
    """So it stands while the disk is full, which is when somebody prunes."""
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to=state)
    world.data["prune"]["raw_days"] = 1
    found = go(world)
    assert (found.products, found.raws, found.failed) == (0, 0, [])


def test_what_a_manifest_names_here_stays_until_it_is_confirmed(sqlite_world):
    world = sqlite_world
    world.data["states"]["manifested"]["parameters"] = {"path": "source"}
    world.data["prune"]["raw_days"] = 100_000
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring()
    n = len(products(world)) // 2
    world.data["prune"]["raw_days"] = 1
    age(world, 31)
    found = go(world)
    assert found.kept["products that a manifest names here, and the archive has not confirmed"] == n
    assert (found.products, found.raws) == (0, 0)
    world.data["prune"]["raw_days"] = 100_000
    receipt = world.folder / "receipt.csv"
    manifest.send(world.machine(), [world.night()])
    rows = world.query("SELECT i.frame_id, f.size_bytes FROM file f JOIN frame_id i ON i.identity = f.identity")
    receipt.write_text("".join(f"{frame_id},{size}\n" for frame_id, size in rows))
    assert world.run("receipt", str(receipt)).returncode == 0
    assert world.rollback(to="fixed", withdraws=True).succeeded
    assert world.advance().succeeded
    assert world.run("manifest", "--date", DATE, "--withdrawal-sent").returncode == 0
    manifest.send(world.machine(), [world.night()])
    assert go(world).kept["products that a manifest names here, and the archive has not confirmed"] == n
    assert world.run("receipt", str(receipt)).returncode == 0
    receipt.write_text(f"{rows[0][0]},1\n")
    assert world.run("receipt", str(receipt)).returncode == 1
    world.data["prune"]["raw_days"] = 1
    assert "otherwise than on record" in world.run("doctor").stdout
    found = go(world)
    assert found.products == n - 1
    assert found.kept["products that the archive has in another way than they are on record"] == 1
    assert found.kept["raw files with frames of products that are not in the archive, or not for sure"] >= 1


def test_a_raw_file_that_was_cut_off_stays(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    world.data["salvage"] = True
    world.data["prune"]["raw_days"] = 30
    cube = max((world.folder / "archive" / DATE / "vcam1").glob("*.fits"))
    os.truncate(cube, cube.stat().st_size - 2880 + 140)  # one frame and a bit
    assert world.machine().advance(world.night(), final=True).stopped is None
    age(world, 31)
    found = go(world)
    assert found.raws
    assert [path for path in raws(world) if path.suffix == ".fits"] == [cube]


def test_a_destination_that_is_not_there_keeps_everything(sent):
    world = sent
    before = world.tree()
    world.destination.rename(world.folder / "away")
    found = go(world)
    assert [name for name, _ in found.failed] == [DATE]
    assert world.tree() == before


def test_the_cap_holds(sent):
    world = sent
    age(world, 31)
    sizes = sum(path.stat().st_size for path in (*products(world), *raws(world)))
    world.data["prune"]["most_gb"] = sizes / 3e9
    found = go(world)
    assert 0 < found.size_bytes <= sizes / 3
    assert found.kept["files beyond prune.most_gb, for another run"]
    world.data["prune"]["most_gb"] = 1
    go(world)
    assert products(world) == raws(world) == []


def test_a_night_in_use_is_left_out(sent):
    world = sent
    before = world.tree()
    with world.machine().holding(world.night(), "test", {}):
        found = go(world)
    assert len(found.kept) == 1
    assert not found.failed
    assert world.tree() == before


def test_what_a_killed_run_left_is_removed_by_the_next(sent):
    world = sent
    copies = {path: path.read_bytes() for path in products(world)}
    go(world)
    for path, content in list(copies.items())[:3]:
        path.write_bytes(content)
    assert go(world).products == 2
    assert products(world) == []


def test_the_database_refuses_what_is_not_in_the_archive(world):
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to="compressed")
    for kind in ("product", "raw"):
        with world.store().write() as session, pytest.raises(DBAPIError, match="in the archive"):
            session.execute(text(f"UPDATE file SET pruned_us = 1 WHERE kind = '{kind}'"))
    assert world.advance().succeeded
    with world.store().write() as session:
        session.execute(text("UPDATE file SET pruned_us = 1"))
    for kind, state in (("product", "compressed"), ("raw", "raw")):
        with world.store().write() as session, pytest.raises(DBAPIError, match="guard"):
            session.execute(text(f"UPDATE file SET state = '{state}' WHERE kind = '{kind}'"))


def test_the_command(sent):
    world = sent
    world.data["prune"]["raw_days"] = 100_000
    done = world.run("prune")
    assert done.returncode == 0
    assert "--yes" in done.stdout
    n = len(products(world)) // 2
    assert f"{n} products and 0 raw files could be removed" in done.stdout
    done = world.run("prune", "--date", DATE, "--yes", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)[0]["products"] == n
    assert world.run("prune", "--date", "nonsense").returncode == 2
    assert "recall" in world.run("explain", "VMPA00000001").stdout


def test_a_date_means_the_archive_s_night_and_no_other(sqlite_world):
    world = sqlite_world
    for pipeline in ("archive", "engineering"):
        world.simulate(scale=0.02, scenario=("onecamera",), pipeline=pipeline)
        night = find_night(world.config, folder=world.folder / pipeline / DATE)
        assert world.machine().advance(night).succeeded
    assert list(prune(world.machine(), only=[], removes=True)) == []
    done = call(world, "prune", DATE, "--yes")
    assert done.returncode == 0, done.stderr
    assert "archive is meant" in done.stderr
    assert "(engineering)" not in done.stdout
    query = "SELECT DISTINCT pipeline FROM file JOIN night USING (pipeline) WHERE pruned_us IS NOT NULL"
    assert world.query(query) == [("archive",)]
    assert call(world, "prune", str(world.folder / "engineering" / DATE), "--yes").returncode == 0
    assert len(world.query(query)) == 2
