"""Destinations change over the years: each night keeps its own, and copies that were moved are followed."""

import shutil
import socket

import pytest

from ledger.delivery import moved
from ledger.delivery.copies import recall, verify
from ledger.delivery.manifest import send
from ledger.disk.access import is_folder
from ledger.errors import UsageError
from ledger.rescue.rebuild import rebuild
from tests.inside import call
from tests.ledger.audit.damage import around_the_guards
from tests.ledger.rescue.lost import fresh
from tests.world import DATE, World

SECOND = "20260103"


@pytest.fixture
def world(sqlite_world: World) -> World:
    """A finished night, and one that is not begun; a new disk takes what is sent from now on."""
    sqlite_world.simulate_two(DATE, SECOND)
    sqlite_world.bring()
    use(sqlite_world, "new disk")
    return sqlite_world


def use(world: World, name: str) -> None:
    (world.folder / name).mkdir(exist_ok=True)
    world.data["transfer"] = {"destination": str(world.folder / name)}


def move(world: World) -> None:
    """Move the copies of the first night to the new disk."""
    shutil.move(world.destination / DATE, world.folder / "new disk")


def places(world: World) -> set[tuple[str, str]]:
    """Return each destination that standing copies are at, with the night."""
    found = world.query("SELECT date, path FROM copy JOIN night ON night.id = night_id WHERE withdrawn_us IS NULL")
    return {(date, str(path).partition(f"/{date}/")[0]) for date, path in found}


def test_a_new_disk_serves_new_nights_while_old_ones_stay_where_they_are(world):
    assert world.advance(SECOND).succeeded
    old, new = (DATE, str(world.destination)), (SECOND, str(world.folder / "new disk"))
    assert places(world) == {old, new}
    assert verify(world.machine(), world.night()).succeeded
    cube = min((world.folder / "archive" / DATE / "vgen2").glob("*.fz"))
    cube.unlink()
    assert recall(world.machine(), world.night()).brought == [cube.name.split(".")[0]]
    assert call(world, "audit", "--deep").returncode == 0
    assert call(world, "ids", "check").returncode == 0
    assert world.rollback(to="compressed").succeeded
    assert world.tree(world.destination) == {}
    assert world.advance().succeeded  # nothing of it is anywhere: it goes where all go now
    assert places(world) == {(DATE, new[1]), new}


def test_a_disk_that_is_away_is_named_with_what_to_do_if_it_was_moved(world):
    world.rollback(to="transferred")
    world.destination.rename(world.folder / "away")
    with pytest.raises(UsageError, match=r"disk mounted.*ledger relocate --copies --date 20260102"):
        world.advance()
    assert world.advance(SECOND, to="compressed").succeeded  # other nights do not need it


def test_copies_that_were_moved_are_followed_and_go_on_there(world):
    move(world)
    before = places(world)
    dry = call(world, "relocate", "--copies", "--dry-run")
    assert (dry.returncode, places(world)) == (0, before)
    assert "would be on record at" in dry.stdout
    done = call(world, "relocate", "--copies")
    assert done.returncode == 0, done.stdout
    assert places(world) == {(DATE, str(world.folder / "new disk"))}
    assert call(world, "audit", "--deep").returncode == 0
    assert call(world, "ids", "check").returncode == 0
    assert call(world, "verify", "--date", DATE).returncode == 0
    assert call(world, "relocate", "--copies").stdout == "every night is on record where its copies are\n"
    assert world.rollback().succeeded
    assert list((world.folder / "new disk").iterdir()) == []
    assert world.advance().succeeded


def test_the_way_back_of_copies_is_the_same_command(world):
    shutil.copytree(world.destination / DATE, world.folder / "new disk" / DATE)
    old = places(world)
    assert call(world, "relocate", "--copies", "--date", DATE).returncode == 0
    assert places(world) != old
    world.data["transfer"] = {"destination": str(world.destination)}
    assert call(world, "relocate", "--copies", "--date", DATE).returncode == 0
    assert places(world) == old
    told = world.query("SELECT event FROM entry WHERE event = 'relocated'")
    assert len(told) == 2


def test_what_was_listed_and_not_mailed_is_listed_anew_before_it_is_mailed(world):
    world.data["mail"] |= {"sender": "vampires@example.org", "recipients": ["archive@example.org"]}
    move(world)
    advice = f"`ledger rollback --date {DATE} --to transferred` and `ledger advance --date {DATE}`"
    assert advice in call(world, "relocate", "--copies").stdout
    for again in ((), ("--again",)):
        done = call(world, "manifest", DATE, "--send", *again)
        assert (done.returncode, advice in done.stderr, world.query("SELECT * FROM mail")) == (1, True, [])
    assert world.rollback(to="transferred").succeeded
    assert world.advance().succeeded
    assert call(world, "manifest", DATE, "--send").returncode == 0
    folder = f"{world.folder}/new disk/{DATE}/"
    assert all(path.startswith(folder) for (path,) in world.query("SELECT path FROM mail_line"))
    use(world, "newest disk")
    shutil.move(world.folder / "new disk" / DATE, world.folder / "newest disk")
    assert "is listed at" not in call(world, "relocate", "--copies").stdout  # it was mailed, and that stays
    assert "--again writes it again" in call(world, "manifest", DATE, "--send").stderr


def test_a_destination_inside_the_one_of_before_is_one_move(world):
    world.destination.joinpath("sub").mkdir()
    shutil.move(world.destination / DATE, world.destination / "sub")
    world.data["transfer"] = {"destination": str(world.destination / "sub")}
    assert call(world, "relocate", "--copies").returncode == 0
    assert call(world, "audit", "--deep").returncode == 0
    assert call(world, "rollback", DATE, "--to", "transferred", "--yes").returncode == 0
    assert call(world, "advance", DATE).returncode == 0
    assert call(world, "audit", "--deep").returncode == 0
    for name in ("destination/archive", "destination/archive/sub"):  # there and back, by way of the one that it is in
        before = world.config.site().destination
        world.data["transfer"] = {"destination": str(world.folder / name)}
        shutil.move(before / DATE, world.folder / name)
        assert call(world, "relocate", "--copies").returncode == 0
        done = call(world, "audit", "--deep")
        assert done.returncode == 0, done.stdout


def test_a_mail_names_the_hosts_that_its_nights_are_on(world):
    world.data["mail"] |= {"sender": "vampires@example.org", "recipients": ["archive@example.org"]}
    assert world.advance(SECOND).succeeded
    world.data["transfer"] = {"destination": "elsewhere.example.org:/archive"}
    sent = send(world.machine(), [world.night(), world.night(SECOND)])
    assert sent.file is not None
    assert f"of {DATE}, {SECOND} on {socket.gethostname()}.\n" in sent.file.read_text()


@pytest.fixture
def scattered(world):
    """A night whose first copy is on record on the new disk, where the other copies are, too."""
    here, new = str(world.destination), f"{world.folder}/new disk"
    around_the_guards(
        world, "UPDATE copy SET path = replace(path, ?, ?) WHERE identity = (SELECT min(identity) FROM copy)", here, new
    )
    move(world)
    return world


def test_a_scattered_night_is_refused_and_followed_as_advised(scattered):
    world = scattered
    with pytest.raises(UsageError, match=f"`ledger relocate --copies --date {DATE}`"):
        verify(world.machine(), world.night())
    assert call(world, "relocate", "--copies", "--date", DATE).returncode == 0
    assert places(world) == {(DATE, str(world.folder / "new disk"))}
    assert verify(world.machine(), world.night()).succeeded


@pytest.mark.parametrize("damage", ["gone", "cut", "other bytes", "manifest"])
def test_copies_that_are_not_right_stay_on_record_where_they_were(world, damage):
    move(world)
    there = world.folder / "new disk" / DATE
    copy = min(there.glob("vgen2/*.fz"))
    if damage == "gone":
        copy.unlink()
    elif damage == "manifest":
        min(there.glob("manifest*")).unlink()
    else:
        copy.write_bytes(copy.read_bytes()[:-1] + (b"?" if damage == "other bytes" else b""))
    before = places(world)
    done = call(world, "relocate", "--copies")
    assert done.returncode == 1
    assert f"its copies stay on record at {world.destination}: " in done.stdout
    assert places(world) == before


def test_copies_of_nights_that_are_named_and_not_there_are_told(world):
    done = call(world, "relocate", "--copies", DATE)
    assert done.returncode == 1
    assert f"{world.folder}/new disk/{DATE}: no such folder; expected its copies there\n" in done.stdout
    assert call(world, "relocate", "--copies").returncode == 0  # unnamed ones stay where they are
    assert call(world, "relocate", DATE).returncode == 2


def test_a_destination_that_is_not_there_is_not_said_to_be_in_order(world):
    (world.folder / "new disk").rmdir()
    done = call(world, "relocate", "--copies")
    assert done.returncode == 2
    assert "is the disk mounted?" in done.stderr


def test_a_destination_is_listed_once_for_all_nights(world, monkeypatch):
    assert world.advance(SECOND).succeeded
    looks = []
    monkeypatch.setattr(moved, "is_folder", lambda path: looks.append(path) or is_folder(path))
    assert call(world, "relocate", "--copies").returncode == 0
    assert len(looks) == 1


def test_copies_may_move_to_another_host_and_stay_there(sqlite_world, sshd):
    world = sqlite_world
    world.simulate_two(DATE, SECOND)
    world.bring()
    world.send_afar(sshd)  # the same folder, by way of a host
    done = call(world, "relocate", "--copies")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {host for (host,) in world.query("SELECT host FROM copy WHERE withdrawn_us IS NULL")} == {"127.0.0.1"}
    ssh = world.data["transfer"]["ssh"]
    use(world, "new disk")
    world.data["transfer"]["ssh"] = ssh  # new nights go to a disk here, and the old one is still verified there
    assert verify(world.machine(), world.night()).succeeded
    assert world.advance(SECOND).succeeded


def test_a_rebuild_finds_copies_at_destinations_of_before(world, tmp_path):
    assert world.advance(SECOND).succeeded
    known = places(world)
    for pipeline in ("archive", "engineering"):
        world.data[pipeline]["former_destinations"] = []
    world.data["archive"]["former_destinations"] = [str(world.destination)]
    fresh(world, f"sqlite:///{tmp_path / 'new.db'}")
    rebuild(world.config, clock=lambda: world.now_us)
    assert places(world) == known
    states = world.query("SELECT DISTINCT state FROM file WHERE kind = 'product'")
    assert states == [("manifested",)]


def test_a_rebuild_finds_whole_copies_beside_a_move_that_was_not_finished(world, tmp_path):
    known = places(world)
    for name in ("lineage.tsv", "VMPA00000001.fits.fz", "VMPA00000001.txt"):
        copy = world.folder / "new disk" / DATE / "vgen2" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((world.folder / "archive" / DATE / "vgen2" / name).read_bytes())
    world.data["archive"]["former_destinations"] = [str(world.destination)]
    fresh(world, f"sqlite:///{tmp_path / 'new.db'}")
    rebuild(world.config, clock=lambda: world.now_us)
    assert places(world) == known
    assert world.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("manifested",)]


def test_doctor_names_destinations_that_the_configuration_does_not(world):
    told = call(world, "doctor").stdout
    assert f"copies of 1 night are at {world.destination}" in told
    world.data["archive"]["former_destinations"] = [str(world.destination)]
    assert f"are at {world.destination}" not in call(world, "doctor").stdout
