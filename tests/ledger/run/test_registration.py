"""Many raw files are registered as few are: duplicates are found, and the database is asked as often."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event

from ledger.db.models import Entry, File
from ledger.db.store import Store, insert_many
from ledger.disk.raws import RawOnDisk, raws_on_disk
from ledger.night import record
from ledger.night.record import TWIN_COLUMNS
from ledger.run import registration
from ledger.run.plan import in_words, plan_advance
from ledger.text import alike
from tests.inside import call
from tests.world import DATE, World

OTHER = "20260103"
N_CARD = b"OBJECT  = "


@contextmanager
def statements_of(store: Store) -> Iterator[list[tuple[str, Any]]]:
    """Collect what this thread asks the database, with parameters; the lease has a thread of its own."""
    asked: list[tuple[str, Any]] = []
    here = threading.get_ident()

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if threading.get_ident() == here:
            asked.append((statement, parameters))

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(store.engine, "before_cursor_execute", note)


def one_cube(world: World, date: str = DATE) -> Path:
    """Return the one cube of a night."""
    world.simulate(date, scale=0.02, scenario=("onecamera",))
    (cube,) = (world.folder / "archive" / date / "vcam1").glob("*.fits")
    return cube


def copied(cube: Path, n: int, *, header: bool = True, to: Path | None = None) -> list[Path]:
    """Return `n` copies of a cube, and of its txt, under names of the same microsecond; each with its own header."""
    content, copies = cube.read_bytes(), []
    at = content.index(N_CARD) + len(N_CARD)
    for number in range(n):
        copy = (to or cube.parent) / f"{cube.stem[:-3]}{number + 1:03d}.fits"
        copy.parent.mkdir(parents=True, exist_ok=True)
        own = f"'N{number:07d}'".ljust(70).encode() if header else content[at : at + 70]
        copy.write_bytes(content[:at] + own + content[at + 70 :])
        shutil.copy2(cube.with_suffix(".txt"), copy.with_suffix(".txt"))
        copies.append(copy)
    return copies


def quarantined(world: World, date: str = DATE) -> dict[str, str]:
    """Scan a night, and return why files were put aside, by name; a plan has said the same before."""
    plan = plan_advance(world.machine(), world.night(date), "raw")
    result = world.machine().scan(world.night(date))
    assert plan.quarantined == tuple(result.quarantined)
    return {name.partition("/")[2]: reason for name, reason in result.quarantined}


@pytest.mark.parametrize("batch", [1, 2, registration.BATCH])
def test_of_equal_files_the_first_is_registered(world, monkeypatch, batch):
    monkeypatch.setattr(registration, "BATCH", batch)
    cube = one_cube(world)
    copies = sorted([cube, *copied(cube, 3, header=False)])
    reasons = quarantined(world)
    assert sorted(reasons) == [copy.name for copy in copies[1:]]
    assert all(f"the same bytes as {copies[0]}, which is registered" in reason for reason in reasons.values())


def test_a_file_of_another_night_is_found_and_one_that_is_gone_is_not(world):
    world.data["instrument"]["times"] = {"date_h": None}
    cube = one_cube(world)
    assert quarantined(world) == {}
    (copy,) = copied(cube, 1, header=False, to=world.folder / "archive" / OTHER / "vcam1")
    reasons = quarantined(world, OTHER)
    assert f"the same bytes as {cube}" in reasons[copy.name]
    cube.unlink()
    copy.touch()
    assert quarantined(world, OTHER) == {}


def test_a_file_that_was_moved_after_products_were_made_of_it_is_used_once(world):
    cube = one_cube(world)
    assert world.advance(to="synced").succeeded
    moved = cube.with_name("moved.fits")
    for suffix in (".fits", ".txt"):
        cube.with_suffix(suffix).rename(moved.with_suffix(suffix))
    result = world.advance(to="synced")
    ((name, reason),) = result.quarantined
    assert (name, f"of {cube}, of which products are made, and which is gone" in reason) == ("vcam1/moved.fits", True)
    assert [why.split(":")[0] for _, why in result.failed] == ["gone"]


def test_a_torn_copy_of_a_file_that_is_gone_since_products_were_made_of_it_is_not_used(world):
    world.data["salvage"] = True
    cube = one_cube(world)
    (torn,) = copied(cube, 1, header=False)
    torn.write_bytes(torn.read_bytes()[:-2000])
    assert not world.advance(to="synced").failed
    cube.unlink()
    assert world.advance(to="synced").registered == 0
    assert world.query("SELECT count(*) FROM file WHERE kind = 'raw' AND quarantine_reason IS NULL") == [(1,)]


def test_files_of_one_header_and_time_with_other_bytes_are_no_duplicates(world):
    cube = one_cube(world)
    (copy,) = copied(cube, 1, header=False)
    content = bytearray(copy.read_bytes())
    content[-2880] ^= 1
    copy.write_bytes(content)
    assert quarantined(world) == {}


@pytest.mark.parametrize("batch", [1, registration.BATCH])
@pytest.mark.parametrize("torn", [0, 1])
def test_a_torn_copy_is_found_whatever_its_name(world, monkeypatch, batch, torn):
    monkeypatch.setattr(registration, "BATCH", batch)
    world.data["salvage"] = True
    cube = one_cube(world)
    names = sorted([cube, *copied(cube, 1, header=False)])
    names[torn].write_bytes(names[torn].read_bytes()[:-2000])
    reasons = quarantined(world)
    assert list(reasons) == [names[torn].name]
    assert f"the same frames as {names[1 - torn]}" in reasons[names[torn].name]


def test_the_database_is_asked_as_often_for_many_files_as_for_few(world):
    counts = []
    for date, n in ((DATE, 4), (OTHER, 60)):
        cube = one_cube(world, date)
        copied(cube, n)
        for registered in (n + 1, 0):
            with statements_of(world.store()) as asked:
                assert world.machine().scan(world.night(date)).registered == registered
            counts.append(len(asked))
        for txt in cube.parent.glob("*.txt"):
            txt.touch()  # each is looked into again, and its row is there
        with statements_of(world.store()) as asked:
            world.machine().scan(world.night(date))
        counts.append(len(asked))
    assert counts[:3] == counts[3:]


def test_duplicates_are_looked_up_by_their_index(world):
    """Without statistics, as a new ledger has none, and with more rows than it takes to read them all instead."""
    cube = one_cube(world)
    world.machine().scan(world.night())
    store = world.store()
    (row,) = record.raws(store, record.find_night(store, "archive", DATE))
    like = row.model_dump(exclude={"id"})
    with store.write() as session:
        others = [
            {**like, "identity": f"{n:064x}", "header_sha256": f"{n:064x}", "name": f"{n}.fits"} for n in range(5000)
        ]
        born = {"at_us": 0, "night_id": row.night_id, "event": "registered", "destination": row.state, "detail": {}}
        insert_many(session, Entry, [{**born, **{key: it[key] for key in ("identity", "name")}} for it in others])
        insert_many(session, File, others)
    keys = [(row.header_sha256, int(row.first_us or 0)), ("0" * 63 + "7", int(row.first_us or 0)), ("none", 0)]
    with statements_of(store) as asked:
        found = record.twins(store, "archive", keys)
    assert [twin.name for twin in found] == [cube.name, "7.fits"]
    assert set(TWIN_COLUMNS) <= set(found[0]._fields)
    ((statement, parameters),) = [it for it in asked if "SELECT" in it[0]]
    explain = "EXPLAIN QUERY PLAN " if store.engine.dialect.name == "sqlite" else "EXPLAIN "
    with store.read() as session:
        plan = "\n".join(map(str, session.connection().exec_driver_sql(explain + statement, parameters)))
    assert "ix_file_twins" in plan
    assert "SCAN file" not in plan
    assert "Seq Scan on file" not in plan
    assert record.twins(store, "engineering", keys) == []


def test_of_many_files_that_were_put_aside_a_line_is_told(sqlite_world):
    cube = one_cube(sqlite_world)
    for copy in copied(cube, 40):
        copy.with_suffix(".txt").unlink()
    planned = in_words(plan_advance(sqlite_world.machine(), sqlite_world.night(), "raw"))
    assert len([line for line in planned if "does not exist" in line]) == 1
    done = call(sqlite_world, "scan", "--date", DATE)
    told = [line for line in done.stdout.splitlines() if line.startswith("  quarantined")]
    assert len(told) == 2
    assert "and 37 more: timing file" in told[0]
    assert f"40: `ledger quarantine list --date {DATE}` names all" in told[1]
    listed = call(sqlite_world, "quarantine", "list", "--date", DATE)
    assert len(listed.stdout.splitlines()) == 1 + 40


def test_what_is_told_of_ten_thousand_files_is_short_and_leaves_none_out():
    words = [f"{a}{b}" for a in "abcdefgh" for b in "ijklmnop"]
    told = [(f"{n}.fits", f"/night/{n}.txt: {words[n % 64]} in row {n}") for n in range(10_000)]
    lines = alike(told)
    assert len(lines) == 20 + 1
    assert lines[0] == ("0.fits, 64.fits, 128.fits and 154 more", told[0][1])
    assert lines[-1] == (
        f"{10_000 - sum(3 + int(name.split()[-2]) for name, _ in lines[:-1])} more",
        "of 44 other kinds",
    )
    assert alike(told[:20]) == told[:20]
    assert alike([(name, "all the same") for name, _ in told]) == [("0.fits and 9999 more", "all the same")]


# what becomes of each file


def row_of(raw: RawOnDisk, **changes: Any) -> SimpleNamespace:
    """Return what is on record of a raw file that is in a product, with some of it changed."""
    columns = ("size_bytes", "mtime_ns", "timing_size_bytes", "timing_mtime_ns")
    known = dict(zip(columns, raw.stats, strict=True))
    used = {"id": 1, "state": "synced", "lost_frames": 0, "quarantine_reason": None, "pruned_us": None}
    return SimpleNamespace(**known | used | {"folder": raw.stream.name, "name": raw.name} | changes)


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "kept"),
        ({"state": "raw"}, "kept"),
        ({"pruned_us": 1}, "kept"),
        ({"state": "raw", "mtime_ns": 1}, "due"),
        ({"state": "raw", "quarantine_reason": "rows (instrument.forms)"}, "due"),
        ({"state": "raw", "quarantine_reason": "no txt"}, "kept"),
        ({"state": "raw", "id": 7}, "due"),
        ({"id": 7}, "kept"),
        ({"mtime_ns": 1}, "changed"),
    ],
)
def test_a_file_on_disk_and_on_record(sqlite_world, changes, outcome):
    one_cube(sqlite_world)
    (raw,) = raws_on_disk(sqlite_world.night(), sqlite_world.config.instrument)
    row = row_of(raw, **changes)
    found = registration.decide([raw], {(row.folder, row.name): row}, sqlite_world.config, "raw", frozenset({7}))
    expected = {"due": [], "kept": [], "changed": [], outcome: [(raw, row)]}
    assert {"due": found.due, "kept": found.kept, "changed": [(r, row) for row, r in found.changed]} == expected
    assert not found.gone


@pytest.mark.parametrize(
    ("changes", "is_gone", "is_missing"),
    [
        ({}, True, False),
        ({"state": "raw"}, True, True),
        ({"state": "raw", "quarantine_reason": "no txt"}, False, False),
        ({"pruned_us": 1}, False, False),
    ],
)
def test_a_file_that_is_on_record_only(sqlite_world, changes, is_gone, is_missing):
    one_cube(sqlite_world)
    (raw,) = raws_on_disk(sqlite_world.night(), sqlite_world.config.instrument)
    row = row_of(raw, **changes)
    rows = {(row.folder, row.name): row}
    found = registration.decide([], rows, sqlite_world.config, "raw", frozenset())
    assert (bool(found.gone), bool(found.missing)) == (is_gone, is_missing)
    taken_back = registration.decide([], rows, sqlite_world.config, "raw", frozenset(), is_taken_back=True)
    assert bool(taken_back.missing) == is_gone


def test_a_file_that_changed_under_a_product_is_not_registered_anew(sqlite_world):
    cube = one_cube(sqlite_world)
    assert sqlite_world.advance(to="fixed").succeeded
    content = cube.read_bytes()
    cube.write_bytes(content)
    plan = plan_advance(sqlite_world.machine(), sqlite_world.night(), "fixed")
    result = sqlite_world.advance(to="fixed")
    assert "changed underneath" in result.failed[0][1]
    assert result.registered == 0
    assert plan.steps == ()


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_file_that_was_renamed_over_another_and_one_in_its_own_place_are_registered(world, names):
    """Both rows get new identities at once, and one gets what the other gives up."""
    first = one_cube(world)
    places = [first.with_name(f"{first.stem}{letter}.fits") for letter in names]
    kept = copied(first, 3, to=first.parent.parent.parent.parent / "aside")
    for cube, place in zip(kept, places, strict=False):
        move(cube, place)
    assert world.machine().scan(world.night()).registered == 3
    move(places[0], places[1])
    move(kept[2], places[0])
    result = world.machine().scan(world.night())
    assert (result.failed, result.registered) == ([], 2)
    assert world.query("SELECT COUNT(DISTINCT identity), COUNT(*) FROM file WHERE quarantine_reason IS NULL") == [
        (3, 3)
    ]


def move(cube: Path, place: Path) -> None:
    for suffix in (".fits", ".txt"):
        cube.with_suffix(suffix).replace(place.with_suffix(suffix))
