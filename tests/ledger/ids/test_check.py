"""IDs are in order in the database, in names and in headers; whatever is not is found, each thing planted by itself."""

from itertools import count

import pytest

from ledger.audit.laws import check_laws, read_laws
from ledger.db.store import Store
from ledger.errors import UsageError
from ledger.ids.check import Report
from ledger.night import record
from ledger.night.lease import Lease
from tests.ledger.ids.planted import (
    FIRST,
    FOREIGN,
    ONE,
    SECOND,
    THIRD,
    TWO,
    around_the_guards,
    edit,
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


#: Law, statement that breaks it, and the ID that it is found with.
IN_ROWS = [
    ("order", "UPDATE frame_id SET start_us = start_us + 3600000000 WHERE number = 1", TWO),
    ("order", "UPDATE frame_id SET camera = 3 WHERE number = 1", TWO),
    ("late", "UPDATE frame_id SET late = 1 WHERE number = 1", ONE),
    ("gap", "DELETE FROM frame_id WHERE number = 2", TWO),
    ("gap", "UPDATE frame_sequence SET next_number = 2000", None),
    ("gap", "UPDATE frame_block SET last_number = last_number + 1 WHERE first_number = 1", None),
    ("block", "UPDATE frame_block SET first_number = 2 WHERE first_number = 1", ONE),
    ("counter", "UPDATE frame_sequence SET next_number = 1001", "VMPA00001001"),
    ("counter", "DELETE FROM frame_sequence", ONE),
    ("text", "UPDATE frame_id SET frame_id = 'VMPA00000901' WHERE number = 1", "VMPA00000901"),
    (
        "identity",
        "UPDATE frame_id SET identity = (SELECT identity FROM frame_id WHERE number = 2) WHERE number = 1",
        ONE,
    ),
    ("product", "UPDATE frame_id SET status = 'withdrawn' WHERE number = 1", ""),
    ("product", "UPDATE frame_id SET start_us = start_us - 1 WHERE number = 1", ONE),
    ("product", "UPDATE frame_id SET camera = 0 WHERE number = 1", ONE),
    ("product", "UPDATE frame_id SET flc = 'X' WHERE number = 1", ONE),
    ("product", "UPDATE frame_id SET night_id = night_id + 1 WHERE number = 1", ONE),
    ("product", "UPDATE file SET exposure_us = NULL WHERE kind = 'product'", ONE),
    ("file", f"UPDATE file SET files = REPLACE(files, '{ONE}', '{TWO}')", ONE),
    ("file", f"UPDATE file SET files = REPLACE(files, '{ONE}.', '{ONE}0.')", ONE),
]

#: Laws that `ledger audit` proves too, by its name of them; of "product" that there is an ID.
AUDITED = {
    "order": "id_order",
    "gap": "id_gaps",
    "counter": "id_gaps",
    "block": "id_blocks",
    "product": "id_needed",
}


# what is in order


def test_good_nights(world):
    simulate(world, FIRST, SECOND, THIRD)
    night = world.night(FIRST)
    record.exclude(world.store(), "archive", night.root, FIRST, "lost for a while")
    assert world.advance(SECOND).succeeded
    record.exclude(world.store(), "archive", night.root, FIRST, None)
    skip_ahead(world)
    assert world.advance(FIRST, late_reason="found on a disk").succeeded
    assert world.advance(THIRD).succeeded
    put_file(world, FOREIGN, "VMPA00000500.fits.fz")  # between the blocks
    report = look(world)
    assert report.disorders == []
    ((n_ids,),) = world.query("SELECT COUNT(*) FROM frame_id")
    ((n_late, first, last),) = world.query("SELECT COUNT(*), MIN(frame_id), MAX(frame_id) FROM frame_id WHERE late")
    ((n_before,),) = world.query("SELECT COUNT(*) FROM frame_id WHERE number < 1000")
    # of each product a cube and a txt, here and at the destination
    assert report.counts == {"frame IDs": n_ids, "nights": 4, "files": 4 * n_ids + 1, "headers": 2 * n_ids}
    late, gap = report.explained
    assert (late.kind, late.reason, late.count, late.first, late.last) == (
        "late",
        "found on a disk",
        n_late,
        first,
        last,
    )
    assert (gap.kind, gap.count) == ("gap", 1000 - n_before)
    assert (gap.first, gap.last) == (f"VMPA{n_before + 1:08d}", "VMPA00001000")


@pytest.mark.parametrize("state", ["synced", "fixed", "identified", "compressed", "transferred"])
def test_every_state_is_in_order(sqlite_world, state):
    simulate(sqlite_world, FIRST)
    sqlite_world.bring(FIRST, to=state)
    assert look(sqlite_world).disorders == []
    assert sqlite_world.advance(FIRST).succeeded
    assert sqlite_world.rollback(FIRST, to=state).succeeded
    report = look(sqlite_world)
    assert report.disorders == []
    assert (report.counts["headers"] > 0) == (state in ("identified", "compressed", "transferred"))


def test_an_empty_ledger_is_in_order(sqlite_world):
    assert look(sqlite_world) == Report([], [], {"frame IDs": 0, "nights": 0, "files": 0, "headers": 0})


def test_withdrawn_ids_are_explained(nights):
    nights.data["states"]["synced"]["parameters"]["polarity"] = "long_first"
    nights.data["states"]["synced"]["parameters"]["enforce_pairs"] = False
    assert nights.rollback(FIRST).succeeded
    assert nights.advance(FIRST, late_reason="the polarity was wrong").succeeded
    report = look(nights)
    assert report.disorders == []
    assert {"late", "withdrawn"} <= {explained.kind for explained in report.explained}


def test_exposure_starts_on_the_time_cards_are_taken_for_what_they_are(sqlite_world):
    sqlite_world.data["header"]["time_cards_from_exposure_start"] = True
    simulate(sqlite_world, FIRST)
    sqlite_world.bring(FIRST, to="identified")
    assert look(sqlite_world).disorders == []
    sqlite_world.data["header"]["time_cards_from_exposure_start"] = False
    assert found(sqlite_world, "header_time")


def test_an_exposure_time_may_lose_what_the_dictionary_takes(sqlite_world, tmp_path):
    dictionary = tmp_path / "coarse.tsv"
    dictionary.write_text("keyword\tformat\nEXPTIME\t%20.2f\n")
    sqlite_world.data["instrument"]["dictionary"] = str(dictionary)
    sqlite_world.simulate(FIRST, scale=0.02, scenario=("slow",))
    assert sqlite_world.advance(FIRST, to="identified").succeeded
    cube = next(products(sqlite_world).glob("*.fits"))
    ((exposure_us,),) = sqlite_world.query("SELECT DISTINCT exposure_us FROM file WHERE kind = 'product'")
    assert exposure_us == 18_000
    assert look(sqlite_world).disorders == []
    edit(cube, rb"(EXPTIME = +0\.0)2", lambda match: match[1] + b"3")
    assert found(sqlite_world, "header_time")


# the database


@pytest.mark.parametrize(("law", "statement", "frame_id"), IN_ROWS)
def test_disorder_in_rows(nights, law, statement, frame_id):
    around_the_guards(nights, statement)
    disorders = found(nights, law)
    assert disorders
    if frame_id is not None:
        assert disorders[0].frame_id == frame_id


@pytest.mark.parametrize(
    ("law", "statement"),
    [(law, statement) for law, statement, frame_id in IN_ROWS if law in AUDITED and (law != "product" or not frame_id)],
)
def test_an_audit_finds_the_same(nights, law, statement):
    around_the_guards(nights, statement)
    broken = {found.name for found, violations in check_laws(nights.store(), read_laws()) if violations}
    assert AUDITED[law] in broken


def test_late_ids_are_apart_though_they_are_of_the_same_time(nights):
    around_the_guards(nights, "UPDATE frame_id SET camera = 3, late = 1, late_reason = 'it was' WHERE number = 1")
    assert nights.query("SELECT MIN(start_us) = MAX(start_us) FROM frame_id WHERE number <= 2") == [(1,)]
    assert found(nights, "order") == []
    assert nights.query("SELECT SUM(disorder) FROM id_order") == [(0,)]


def test_a_gap_is_told_with_its_numbers(nights):
    ((last,),) = nights.query("SELECT MAX(number) FROM frame_id WHERE number < 1000")
    around_the_guards(nights, "UPDATE frame_block SET last_number = last_number + 3 WHERE first_number = 1")
    (gap,) = found(nights, "gap")
    assert gap.frame_id == f"VMPA{last + 1:08d}"
    assert gap.found == f"3 numbers without an ID, up to VMPA{last + 3:08d}"
    (explained,) = look(nights).explained
    assert (explained.first, explained.last) == (f"VMPA{last + 4:08d}", "VMPA00001000")


# headers


@pytest.mark.parametrize("place", ["archive", "destination/archive"])
@pytest.mark.parametrize(
    ("law", "pattern", "new"),
    [
        ("header_frame_id", rb"(?<=FRAMEID = ')VMPA00000001", b"VMPA00000002"),
        ("header_frame_id", rb"(?<=FRAMEID = ')VMPA00000001", b"            "),
        ("header_frame_id", rb"FRAMEID =", b"FRAMEIX ="),
        ("header_exposure_id", rb"(?<=EXP-ID  = ')VMPE00000001", b"VMPA00000001"),
        ("header_time", rb"(?<=UT-STR  = ')\d\d:", b"03:"),
        ("header_time", rb"(?<=UT-STR  = ')\d\d:", b"ab:"),
        ("header_time", rb"(?<=DATE-OBS= ')2026", b"2025"),
        ("header_time", rb"EXPTIME =", b"EXPTIMX ="),
        ("header", rb"ZIMAGE  = +T", lambda match: match[0][:-1] + b"F"),
        ("header", rb"XTENSION", b"XTENSIOX"),
        ("header", rb"SIMPLE", b"SIMPLX"),
        ("header", rb"(?<=FRAMEID = )'VMPA", b"*VMPA"),
    ],
)
def test_disorder_in_a_header(nights, place, law, pattern, new):
    path = products(nights, place=place) / f"{ONE}.fits.fz"
    edit(path, pattern, new)
    (disorder,) = [d for d in look(nights).disorders if d.law != "header_order"]
    assert (disorder.law, disorder.date, disorder.frame_id, disorder.where) == (law, FIRST, ONE, str(path))


def test_disorder_in_a_plain_header(sqlite_world):
    simulate(sqlite_world, FIRST)
    sqlite_world.bring(FIRST, to="identified")
    path = products(sqlite_world) / f"{ONE}.fits"
    edit(path, rb"(?<=FRAMEID = ')VMPA00000001", b"VMPA00000002")
    (disorder,) = look(sqlite_world).disorders
    assert (disorder.law, disorder.where) == ("header_frame_id", str(path))
    assert TWO in disorder.found
    assert ONE in disorder.expected


@pytest.mark.parametrize(("off_us", "laws"), [(1, []), (2, ["header_time"])])
def test_header_times_are_compared_to_a_microsecond(nights, off_us, laws):
    path = products(nights) / f"{ONE}.fits.fz"
    edit(
        path,
        rb"(?<=UT-STR  = '\d\d:\d\d:\d\d\.)(\d{6})",
        lambda match: b"%06d" % (int(match[1]) + off_us * (1 if int(match[1]) < 500_000 else -1)),
    )
    assert [disorder.law for disorder in look(nights).disorders] == laws


def test_files_that_have_changed_places(nights):
    one, two = (products(nights) / f"{frame_id}.fits.fz" for frame_id in (ONE, TWO))
    one.rename(one.with_name("aside"))
    two.rename(one)
    one.with_name("aside").rename(two)
    assert [d.frame_id for d in found(nights, "header_frame_id")] == [ONE, TWO]


def test_header_times_that_go_back(nights):
    around_the_guards(nights, "UPDATE frame_id SET start_us = start_us + 1 WHERE number = 1")  # to be told apart
    last = max(products(nights).glob("*.fits.fz"))
    edit(last, rb"(?<=UT-STR  = ')\d\d:", b"03:")
    (disorder,) = found(nights, "header_order")
    assert (disorder.date, disorder.where) == (FIRST, str(last))
    edit(last, rb"(?<=UT-STR  = ')\d\d:", b"23:")
    edit(last, rb"(?<=DATE-OBS= ')\d{4}-\d\d-\d\d", b"2026-02-01")  # the next night is before it
    (disorder,) = found(nights, "header_order")
    assert (disorder.date, disorder.frame_id) == (SECOND, "VMPA00001001")
    assert last.name.split(".")[0] in disorder.expected


@pytest.mark.parametrize("place", ["archive", "destination/archive"])
@pytest.mark.parametrize("length", [0, 1000, 2880, 2880 + 8000, -2880, 2880 * 1000])
def test_a_torn_file(nights, place, length):
    path = products(nights, place=place) / f"{ONE}.fits.fz"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size + length if abs(length) == 2880 and length < 0 else length)
    (disorder,) = look(nights).disorders
    assert (disorder.law, disorder.where) == ("header", str(path))


def test_a_torn_plain_file(sqlite_world):
    simulate(sqlite_world, FIRST)
    sqlite_world.bring(FIRST, to="identified")
    path = products(sqlite_world) / f"{ONE}.fits"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 2880)
    assert [(d.law, d.where) for d in look(sqlite_world).disorders] == [("header", str(path))]


def test_a_link_to_nothing(nights):
    path = products(nights) / f"{ONE}.fits.fz"
    path.unlink()
    path.symlink_to("nowhere")
    assert [(d.law, d.where) for d in look(nights).disorders] == [("header", str(path))]


def test_nights_need_not_be_numbered_in_order_of_their_dates(nights):
    """What counts are times: a night that is dated wrongly, or was appended to after a later one, is in order."""
    for place in ("archive", "destination/archive"):
        (nights.folder / place / FIRST).rename(nights.folder / place / THIRD)
    around_the_guards(nights, f"UPDATE night SET date = '{THIRD}' WHERE date = '{FIRST}'")
    assert look(nights).disorders == []


# one night, and nights that are worked on


def test_one_night(nights):
    for date in (FIRST, SECOND):
        put_file(nights, date, "VMPA00000900.fits")
    assert [d.date for d in found(nights, "name", date=SECOND)] == [SECOND]
    assert look(nights, date=SECOND).counts["nights"] == 1
    around_the_guards(nights, "DELETE FROM frame_id WHERE number = 1")
    assert found(nights, "gap", date=SECOND)  # the sequence is one
    with pytest.raises(UsageError, match="no night 20200101"):
        look(nights, date="20200101")


def test_a_night_that_is_worked_on_is_left_alone(nights):
    put_file(nights, FIRST, "VMPA00000900.fits")
    store = nights.store()
    night = record.find_night(store, "archive", FIRST)
    run_id = store.begin_run("advance", {})
    with Lease(store, night, run_id):
        report = look(nights)
        assert report.disorders == []
        (busy,) = [explained for explained in report.explained if explained.kind == "busy"]
        assert (busy.first, f"run {run_id} " in busy.reason) == (FIRST, True)
        assert report.counts["nights"] == 1
    assert found(nights, "name")


def test_a_run_that_comes_and_goes_meanwhile(nights):
    path = products(nights) / f"{ONE}.fits"
    path.write_bytes(b"")
    store, other = nights.store(), Store(nights.url, clock=lambda: nights.now_us)
    night, run_id = record.find_night(store, "archive", FIRST), store.begin_run("advance", {})
    asked = count(1)

    def clock() -> int:
        if next(asked) == 2:  # it is asked before and after the files of a night are looked at, FIRST first
            with Lease(other, night, run_id):
                pass
        return nights.now_us

    store.clock = clock
    report = look(nights)
    other.close()
    assert report.disorders == []
    assert [explained.first for explained in report.explained if explained.kind == "busy"] == [FIRST]
    assert [d.law for d in look(nights).disorders] == ["header"]


def test_what_a_dead_run_left_is_disorder(nights):
    put_file(nights, FIRST, "VMPA00000900.fits")
    store = nights.store()
    run_id = store.begin_run("advance", {})
    lease = Lease(store, record.find_night(store, "archive", FIRST), run_id)
    lease.__enter__()
    lease._stop.set()
    lease._thread.join()
    nights.now_us += 31_000_000
    assert found(nights, "name")
