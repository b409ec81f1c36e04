"""A night that waits: the run, its dry run and `ledger explain` say the same, word for word."""

import os
from datetime import UTC, datetime

import pytest

from ledger.delivery.copies import verify
from ledger.ids.gate import exclude
from ledger.night import record
from ledger.night.progress import Go, Outlook, Wait, next_segment
from ledger.query import explanation, history
from ledger.run.plan import plan_advance
from tests.stages.transport.test_remote import DAMAGES
from tests.world import DATE, World

BEFORE, AFTER = "20260101", "20260103"


def explained(world: World, where: str = "kind = 'product'") -> str:
    """Return why the first file that fulfils a condition is where it is."""
    machine = world.machine()
    ((name,),) = world.query(f"SELECT name FROM file WHERE {where} ORDER BY id LIMIT 1")
    return explanation.explain(
        machine.store, world.config, machine.pipelines, history.find(machine.store, name)
    ).because


def planned(world: World, **options) -> str | None:
    return plan_advance(world.machine(), world.night(), None, **options).stopped


def waits(world: World, reason: str, where: str = "kind = 'product'") -> None:
    """Expect that run, dry run and explanation say the same."""
    before = planned(world)
    result = world.advance()
    assert reason in str(result.stopped)
    assert before == result.stopped
    assert planned(world) == result.stopped
    assert explained(world, where).endswith(f"; it waits: {result.stopped}")


@pytest.fixture
def night(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    return sqlite_world


def test_nothing_to_wait_for(night):
    assert planned(night) is None
    assert night.advance(to="fixed").succeeded
    assert planned(night) is None
    assert "waits" not in explained(night)
    assert night.advance().succeeded
    assert "waits" not in explained(night)
    assert "waits" not in explained(night, "kind = 'raw'")


def test_an_earlier_night_lacks_its_frame_ids(night):
    night.simulate(BEFORE, seed=1, scale=0.02, scenario=("pdi",))
    waits(night, f"the earlier night {BEFORE} was never scanned")
    night.machine().scan(night.night(BEFORE))
    waits(night, f"the earlier night {BEFORE} has no frame IDs yet")


def test_an_excluded_night(night):
    exclude(night.store(), night.config, DATE, "a test")
    waits(night, f"night {DATE} is excluded (a test)")


def test_files_outside(night):
    (night.folder / "archive" / DATE / "vcam1/more.fits.gz").write_bytes(b"\x1f\x8b")
    waits(night, "1 file that is no raw file may hold frames")


def test_a_night_that_is_still_being_written(night):
    night.now_us = int(datetime(2026, 1, 2, 12, tzinfo=UTC).timestamp() * 1e6)
    for path in (night.folder / "archive" / DATE).rglob("*.*"):
        os.utime(path, ns=(night.now_us * 1000, night.now_us * 1000))
    waits(night, f"night {DATE} may still be written")


def test_a_raw_file_that_is_gone(night):
    night.machine().scan(night.night())
    cubes = sorted((night.folder / "archive" / DATE / "vcam1").glob("*.fits"))
    cubes[0].unlink()
    waits(night, f"1 raw file cannot be had (vcam1/{cubes[0].name} is one)", "kind = 'raw'")


def test_products_that_are_older_than_ids_which_are_taken(sqlite_world):
    sqlite_world.simulate(AFTER, seed=1, scale=0.02, scenario=("pdi",))
    sqlite_world.bring(AFTER)
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    waits(sqlite_world, "older than frame IDs that are taken already", "kind = 'product' AND state = 'synced'")


def test_no_room(night):
    night.data["space"]["keep_free_mb"] = 1e12
    waits(night, "bytes short")


def test_a_product_in_quarantine(night):
    night.bring(to="fixed")
    with night.store().write() as session:
        session.connection().exec_driver_sql(
            "UPDATE file SET quarantine_reason = 'a test' WHERE id = (SELECT max(id) FROM file)"
        )
    waits(night, "1 product in quarantine before identified, which takes the whole night")


def test_a_window_that_is_closed(night):
    night.data["transfer"]["window"] = "08:10-08:20"  # it is 08:00 in tests
    result = night.advance()
    assert "transfer.window" in str(result.stopped)
    waits(night, "transfer.window")


def test_copies_that_were_listed_and_are_not_right(night):
    night.bring()
    night.now_us += 1_000_000
    cube = min((night.destination / DATE / "vgen2").glob("*.fz"))
    DAMAGES["same size and time"](cube)
    assert verify(night.machine(), night.night()).bad
    frame_id = cube.name.removesuffix(".fits.fz")
    has_id = f"identity = (SELECT identity FROM frame_id WHERE frame_id = '{frame_id}')"
    waits(night, "the copies of 1 product were not right", has_id)


def test_products_that_failed_keep_the_others_from_a_barrier(night):
    """A dry run takes them to succeed this time; what stopped the run is what keeps the others."""
    night.bring(to="synced")
    cube = min((night.folder / "archive" / DATE / "vcam1").glob("*.fits"))
    content = cube.read_bytes()
    stat = cube.stat()
    cube.unlink()
    result = night.advance()
    assert "still to be fixed, and identified takes the whole night" in str(result.stopped)
    assert explained(night, "kind = 'product' AND error IS NULL").endswith(f"; it waits: {result.stopped}")
    cube.write_bytes(content)
    os.utime(cube, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert planned(night) is None
    assert night.advance().succeeded


def test_the_first_reason_is_the_one_that_is_told(night):
    """What costs most to find out is not looked up while another reason stands."""
    night.bring(to="fixed")
    machine = night.machine()
    pipeline, site = machine.pipelines["archive"], night.config.site()
    looked_up = []
    outlook = Outlook(
        DATE,
        pipeline,
        site,
        night.config.failures,
        night.now_us,
        check_numbering=lambda: looked_up.append("numbers"),
        shortfall=lambda _: looked_up.append("room"),
        closed="closed",
    )
    row = record.find_night(machine.store, "archive", DATE)
    assert row is not None
    items = record.products(machine.store, row)
    segments = {segment[0].state: segment for segment in pipeline.segments(pipeline.last)}
    assert next_segment(outlook, segments["consolidated"], items) == Go()
    assert looked_up == ["numbers", "room"]
    items[0].state = "consolidated"
    decision = next_segment(outlook, segments["identified"], items)
    assert isinstance(decision, Wait)
    assert decision.cause == "products"
    assert looked_up == ["numbers", "room"]
