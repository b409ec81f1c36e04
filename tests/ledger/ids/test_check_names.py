"""IDs in names of files, here and at the destination: whatever is not in order is found."""

import shutil

import pytest

from tests.ledger.ids.planted import (
    FIRST,
    FOREIGN,
    ONE,
    OTHER,
    SECOND,
    around_the_guards,
    finished,
    found,
    look,
    nights,
    products,
    put_file,
    simulate,
    skip_ahead,
)

__all__ = ["finished", "nights"]  # fixtures


@pytest.mark.parametrize("place", ["archive", "destination/archive"])
@pytest.mark.parametrize("suffix", [".fits.fz", ".txt"])
def test_a_file_of_another_number(nights, place, suffix):
    path = products(nights, place=place) / f"{ONE}{suffix}"
    path.rename(path.with_name(f"VMPA00000900{suffix}"))
    (name,) = found(nights, "name")
    assert name.where == str(path.with_name(f"VMPA00000900{suffix}"))
    assert name.found == "a number that the ledger has not given"


@pytest.mark.parametrize("place", ["archive", "destination/archive"])
def test_a_number_under_two_nights_of_ours(nights, place):
    shutil.copy(products(nights, place=place) / f"{ONE}.txt", products(nights, SECOND, place=place))
    (name,) = found(nights, "name")
    assert (name.date, name.frame_id) == (SECOND, ONE)
    assert name.found == f"a live ID of night {FIRST}"


def test_a_copy_that_should_have_been_withdrawn(nights):
    around_the_guards(nights, "UPDATE frame_id SET status = 'withdrawn' WHERE number = 1")
    wheres = {name.where for name in found(nights, "name") if name.found == f"a withdrawn ID of night {FIRST}"}
    assert str(products(nights, place="destination/archive") / f"{ONE}.fits.fz") in wheres


def test_a_file_with_the_id_of_a_product_that_is_not_identified(nights):
    assert nights.rollback(FIRST, to="fixed").succeeded
    assert look(nights).disorders == []
    put_file(nights, FIRST, f"{ONE}.txt", place="destination/archive")  # as a transfer that was interrupted leaves it
    path = put_file(nights, FIRST, f"{ONE}.fits")
    (name,) = found(nights, "name")
    assert (name.where, name.found) == (str(path), "its product is fixed")
    path.unlink()
    assert nights.rollback(FIRST).succeeded
    put_file(nights, FIRST, f"{ONE}.fits")
    (name,) = found(nights, "name")
    assert name.found == "its product is rolled back"


@pytest.mark.parametrize("state", ["raw", "synced"])
def test_a_night_of_ours_has_no_other_numbers(nights, sqlite_world, state):
    """It has IDs without products (rolled back), or products without IDs (not numbered yet)."""
    world = nights if state == "raw" else sqlite_world
    if state == "raw":
        assert world.rollback(FIRST).succeeded
    else:
        simulate(world, FIRST)
        assert world.advance(FIRST, to=state).succeeded
        skip_ahead(world)
    put_file(world, FIRST, "VMPA00000900.fits")  # in no block: a foreign night might have it
    assert [d.law for d in look(world).disorders] == ["name"]


@pytest.mark.parametrize("place", ["archive", "destination/archive"])
@pytest.mark.parametrize("name", [f"{ONE}.fits.fz", f"below/{ONE}_preview.png"])
def test_a_foreign_file_with_a_number_of_ours(nights, place, name):
    path = put_file(nights, FOREIGN, name, place=place)
    (disorder,) = look(nights).disorders
    assert (disorder.law, disorder.date, disorder.where) == ("foreign_number", FOREIGN, str(path))
    assert disorder.found == f"a live ID of night {FIRST}"


def test_nights_before_the_first_are_looked_at_too(nights):
    nights.data["archive"]["first_night"] = SECOND
    put_file(nights, FOREIGN, f"{ONE}.fits.fz")
    path = put_file(nights, FIRST, f"{ONE}0000.fits")  # no frame ID
    assert [d.law for d in look(nights).disorders] == ["foreign_number"]
    path.unlink()
    (products(nights) / f"{ONE}.txt").rename(products(nights) / "VMPA00000900.txt")
    assert {d.law for d in look(nights).disorders} == {"foreign_number", "name"}


@pytest.mark.parametrize("place", ["archive", "destination/archive"])
def test_a_foreign_number_at_or_above_the_counter(nights, place):
    ((counter,),) = nights.query("SELECT next_number FROM frame_sequence")
    put_file(nights, FOREIGN, f"VMPA{counter:08d}.fits.fz", place=place)
    (disorder,) = look(nights).disorders
    assert (disorder.law, disorder.frame_id) == ("foreign_ahead", f"VMPA{counter:08d}")
    assert str(counter) in disorder.found


def test_a_foreign_number_above_all_blocks(nights):
    around_the_guards(nights, "UPDATE frame_block SET last_number = 5000 WHERE first_number = 1001")
    put_file(nights, FOREIGN, "VMPA00005001.fits.fz")
    assert look(nights).disorders == []


def test_a_number_under_two_foreign_nights(nights):
    for number in (500, 501, 502):
        put_file(nights, FOREIGN, f"VMPA{number:08d}.fits.fz")
        put_file(nights, FOREIGN, f"VMPA{number:08d}.fits.fz", place="destination/archive")  # its copy
    put_file(nights, OTHER, "VMPA00000503.fits.fz")
    assert look(nights).disorders == []
    put_file(nights, OTHER, "VMPA00000502.fits.fz", place="destination/archive")
    (disorder,) = look(nights).disorders
    assert (disorder.law, disorder.date, disorder.frame_id) == ("twice", OTHER, "VMPA00000502")
    assert FOREIGN in disorder.found


def test_a_name_that_is_not_text(nights):
    path = products(nights) / f"{ONE}.fits.fz"
    path.rename(path.with_name(f"{ONE}\udcff.fits.fz"))
    put_file(nights, FIRST, "VMPA00000900\udcff.fits")
    disorders = look(nights).disorders
    assert any(r"VMPA00000900\xff.fits" in disorder.where for disorder in disorders)
    assert str(disorders).encode()


def test_a_folder_that_cannot_be_listed(nights):
    path = nights.folder / "archive" / FOREIGN / "vgen2"
    path.parent.mkdir()
    path.write_bytes(b"")
    (disorder,) = look(nights).disorders
    assert (disorder.law, disorder.where) == ("folder", str(path))


def test_a_destination_that_is_not_there(nights):
    nights.destination.rename(nights.destination.with_name("unmounted"))
    (disorder,) = look(nights).disorders
    assert (disorder.law, disorder.where) == ("folder", str(nights.destination))
    for date in (SECOND, FIRST):  # without any copy none is missed
        around_the_guards(
            nights, f"UPDATE copy SET withdrawn_us = 1 WHERE night_id = (SELECT id FROM night WHERE date = '{date}')"
        )
    assert look(nights).disorders == []
