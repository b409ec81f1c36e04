"""Nights and places that are not all here when a ledger is made anew."""

import shutil
from subprocess import run

import pytest

from ledger.delivery.prune import prune
from ledger.disk.nights import NightFolder
from ledger.errors import NotReady, UsageError
from tests.inside import call
from tests.ledger.rescue.lost import SECOND, carry_on, facts, lose
from tests.world import DATE, World


def test_products_that_are_at_the_destination_only_stop_it(night, new_url):
    world = night
    world.bring()
    before = facts(world)
    shutil.rmtree(world.folder / "archive" / DATE / "vgen2")
    with pytest.raises(UsageError, match="cp -Rp"):
        lose(world, new_url)
    shutil.copytree(world.destination / DATE / "vgen2", world.folder / "archive" / DATE / "vgen2")
    assert lose(world, new_url).succeeded
    assert facts(world) == before


def test_removed_products_of_all_nights_are_named_with_what_copies_them_back(sqlite_world, new_url, monkeypatch):
    monkeypatch.setattr("ledger.rescue.rebuild.N_TOLD", 2)
    world = sqlite_world
    world.simulate_two(DATE, SECOND)
    world.simulate(SECOND, pipeline="engineering", scale=0.02, scenario=("pdi",))
    engineering = NightFolder("engineering", world.folder / "engineering", SECOND)
    for folder in (world.night(), world.night(SECOND), engineering):
        assert world.machine().advance(folder).succeeded
    world.data["prune"]["raw_days"] = 0
    assert len(list(prune(world.machine(), removes=True))) == 3
    before = {name: set(rows) for name, rows in facts(world).items()}
    trees = {top: world.tree(world.folder / top) for top in ("archive", "engineering")}
    with pytest.raises(UsageError, match="products of 3 nights") as stopped:
        lose(world, new_url)
    assert {top: world.tree(world.folder / top) for top in trees} == trees
    told = str(stopped.value)
    assert [f"{str(world.night(date).path)!r} (" in told for date in (DATE, SECOND)] == [True, True], told
    assert " and 1 more; expected" in told
    command = told.split("`")[1]
    assert run(["sh", "-ec", command], capture_output=True, check=True).stderr == b""
    made = lose(world, new_url)
    assert made.succeeded, made
    assert {name: set(rows) for name, rows in facts(world).items()} == before


def test_products_at_a_destination_on_another_host_are_copied_back_with_rsync(night, new_url, sshd):
    world = night
    world.send_afar(sshd)
    world.bring()
    shutil.rmtree(world.folder / "archive" / DATE / "vgen2")
    with pytest.raises(UsageError, match=rf"rsync -a \S+@127\.0\.0\.1:{world.destination}/\$night/vgen2 "):
        lose(world, new_url)


def test_manifests_name_the_destination_of_their_time(night, new_url):
    world = night
    world.bring()
    old, new = world.destination, world.folder / "new disk"
    new.mkdir()
    shutil.move(old / DATE, new)
    world.data["transfer"] = {"destination": str(new)}
    world.data["archive"]["former_destinations"] = [str(old)]
    assert call(world, "relocate", "--copies").returncode == 0
    before = facts(world)
    assert {row[5].startswith(f"{old}/") for row in before["manifest"]} == {True}
    made = lose(world, new_url)
    assert made.succeeded, made
    assert facts(world) == before
    world.data["archive"]["former_destinations"] = []
    (told,) = lose(world, f"{new_url}2").nights
    assert "former_destinations" in str(told.failed)


def test_it_needs_the_places_that_it_reads(night, new_url):
    world = night
    world.bring()
    away = world.destination.rename(world.destination.with_name("away"))
    with pytest.raises(UsageError, match="mounted"):
        lose(world, new_url)
    away.rename(world.destination)
    assert lose(world, new_url).succeeded


def test_a_night_that_is_at_the_destination_only_keeps_its_numbers(sqlite_world, new_url):
    world = sqlite_world
    world.simulate_two(DATE, SECOND)
    first, second = (world.folder / "archive" / date for date in (DATE, SECOND))
    hidden = first.rename(world.folder / "hidden")
    assert world.advance(SECOND).succeeded
    before = facts(world)
    ((last,),) = world.query("SELECT max(number) FROM frame_id")
    away = second.rename(world.folder / "away")
    hidden.rename(first)
    made = lose(world, new_url)
    assert not made.succeeded
    assert made.lowest_id == f"VMPA{last + 1:08d}"
    (told,) = [night for night in made.nights if night.date == SECOND]
    assert "destination" in str(told.stopped)
    assert world.query("SELECT date FROM night WHERE excluded_reason IS NOT NULL") == [(SECOND,)]
    carry_on(world, made)
    assert "before the first night" in str(stopped_by(world, DATE)), "its IDs would be out of order"
    for name in ("vgen2", "SHA256SUMS", *(path.name for path in away.glob("manifest*"))):
        (away / name).rename(world.folder / name)
    away.rename(second)
    assert "excluded" in str(stopped_by(world, SECOND)), "its frames have IDs already"
    for name in ("vgen2", "SHA256SUMS", *(path.name for path in world.folder.glob("manifest*"))):
        (world.folder / name).rename(second / name)
    world.close()
    made = lose(world, f"{new_url}2")
    assert made.succeeded
    assert facts(world)["frame_id"] == before["frame_id"]
    carry_on(world, made)
    assert "--late" in str(world.advance(DATE).stopped)


def stopped_by(world: World, date: str) -> str:
    try:
        return str(world.advance(date).stopped)
    except NotReady as exc:
        return str(exc)


def test_a_numbered_night_that_is_left_alone_keeps_its_place_in_time(sqlite_world, new_url):
    world = sqlite_world
    world.simulate_two(DATE, SECOND)
    first = world.folder / "archive" / DATE
    hidden = first.rename(world.folder / "hidden")
    assert world.advance(SECOND).succeeded
    hidden.rename(first)
    (world.folder / "archive" / SECOND / "vgen2" / "lineage.tsv").write_text("?")
    made = lose(world, new_url)
    assert [bool(night.stopped) for night in made.nights] == [False, True]
    carry_on(world, made)
    assert "before the first night" in stopped_by(world, DATE)


def test_an_id_of_two_nights_stops_it(sqlite_world, new_url):
    world = sqlite_world
    world.simulate_two(DATE, SECOND)
    world.bring()
    world.bring(SECOND)
    ((number,),) = world.query("SELECT min(f.number) FROM frame_id f JOIN night n ON n.id = f.night_id"
                               f" WHERE n.date = '{SECOND}'")  # fmt: skip
    for top in (world.folder / "archive", world.destination):
        for path in (top / SECOND / "vgen2").glob(f"VMPA{number:08d}*"):
            path.rename(path.with_name(path.name.replace(f"{number:08d}", "00000001")))
    with pytest.raises(UsageError, match="VMPA00000001 is in"):
        lose(world, new_url)


def test_places_of_every_pipeline_must_be_there(night, new_url):
    world = night
    world.bring()
    engineering = world.folder / "engineering"
    (world.config.site("engineering").destination / SECOND).mkdir()
    away = engineering.rename(world.folder / "away")
    with pytest.raises(UsageError, match=r"engineering\.root"):
        lose(world, new_url)
    away.rename(engineering)
    known = world.data["engineering"]["destination"]
    world.data["engineering"]["destination"] = str(world.folder / "unmounted")
    with pytest.raises(UsageError, match=r"engineering\.destination"):
        lose(world, new_url)
    world.data["engineering"]["destination"] = known
    products = world.folder / "archive" / DATE / "vgen2"
    disk = products.rename(world.folder / "disk")
    products.symlink_to(world.folder / "unmounted")
    with pytest.raises(NotReady, match="vgen2"):
        lose(world, new_url)
    products.unlink()
    disk.rename(products)
    assert lose(world, new_url).succeeded
