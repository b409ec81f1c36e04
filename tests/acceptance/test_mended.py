"""Faults that were found by use, each a test that failed before it was mended."""

import shutil
import sys

import pytest

from ledger.audit import laws
from ledger.disk.nights import find_night
from ledger.errors import NotReady
from ledger.night import record
from ledger.query import history
from ledger.run.catch_up import catch_up
from ledger.run.plan import plan_advance
from tests.ledger.cli.forked import Running
from tests.world import DATE


def cubes(world, stream, date=DATE):
    return sorted((world.folder / "archive" / date / stream).glob("*.fits"))


def shelve(world, chosen):
    shelf = world.folder / "shelf"
    shelf.mkdir(exist_ok=True)
    moves = [(shelf / p.name, p) for c in chosen for p in (c, c.with_suffix(".txt"))]
    for there, path in moves:
        shutil.move(path, there)
    return moves


def violations(world):
    store = world.store()
    return [v for _, vs in laws.check_laws(store, laws.read_laws()) for v in vs] + list(
        laws.check_files(store, world.config)
    )


def test_groups_of_appended_raw_do_not_collide(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("slow", "slow"))
    moves = shelve(world, [c for s in ("vcam1", "vcam2") for c in cubes(world, s)[4:]])
    assert world.advance().succeeded
    for there, path in moves:
        shutil.move(there, path)
    assert world.advance().succeeded
    night = record.find_night(world.store(), "archive", DATE)
    for item in record.products(world.store(), night):
        for part in item.product.sibling_parts:  # the other camera's, at the same time
            assert abs(part.raw.first_us - item.product.first_us) < 1_000_000, item.product.name
    assert violations(world) == []


def test_an_empty_night_is_not_numbered(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("slow",))
    moves = shelve(world, [c for s in ("vcam1", "vcam2") for c in cubes(world, s)])
    assert world.advance().succeeded  # the folder is there, observing has not begun
    for there, path in moves:
        if path.parent.name == "vcam1":
            shutil.move(there, path)
    assert world.advance(to="synced").succeeded
    for there, path in moves:
        if path.parent.name == "vcam2":
            shutil.move(there, path)
    assert world.advance(to="synced").succeeded
    assert all(s for (s,) in world.query("SELECT synchronised FROM file WHERE kind = 'product'"))


def test_the_gates_advice_works_for_a_night_that_is_gone_from_disk(sqlite_world):
    world = sqlite_world
    for date in ("20260102", "20260103"):
        world.simulate(date, scale=0.02, scenario=("onecamera",))
    world.machine().scan(world.night("20260102"))
    shutil.rmtree(world.folder / "archive/20260102")
    assert "ledger exclude 20260102" in world.advance("20260103").stopped
    assert world.run("exclude", "20260102", "--reason", "lost disk").returncode == 0


def test_the_plan_stops_where_the_run_does(sqlite_world):
    world = sqlite_world
    for date in ("20260102", "20260103"):
        world.simulate(date, scale=0.02, scenario=("onecamera",))
    plan = plan_advance(world.machine(), world.night("20260103"), None)
    result = world.advance("20260103")
    assert [step.verb for step in plan.steps] == ["register", *result.moved]
    assert plan.stopped == result.stopped


def test_a_foreign_night_is_refused_by_the_plan_as_by_the_run(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    folder = sqlite_world.folder / "archive" / DATE / "vgen2"
    folder.mkdir()
    (folder / "x.fits").write_text("x")
    for act in (lambda: plan_advance(sqlite_world.machine(), sqlite_world.night(), None), sqlite_world.advance):
        with pytest.raises(NotReady, match="is foreign"):
            act()


def test_sync_is_counted_in_the_plan_as_in_the_result(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("slow", "bad"))
    plan = plan_advance(sqlite_world.machine(), sqlite_world.night(), None)
    result = sqlite_world.advance()
    assert {s.verb: s.files for s in plan.steps if s.verb != "register"} == dict(result.moved)


def test_a_plan_knows_duplicates_of_registered_files(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    sqlite_world.bring()
    (cube,) = cubes(sqlite_world, "vcam1")
    for path in (cube, cube.with_suffix(".txt")):
        shutil.copy2(path, path.with_name(f"vcam1_07:00:00.000000000{path.suffix}"))
    plan = plan_advance(sqlite_world.machine(), sqlite_world.night(), None)
    result = sqlite_world.advance()
    assert [n for n, _ in plan.quarantined] == [n for n, _ in result.quarantined]


def test_dry_run_meets_an_unreadable_raw_file_without_a_traceback(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    timing = cubes(sqlite_world, "vcam1")[0].with_suffix(".txt")
    timing.unlink()
    timing.symlink_to(timing.name)
    done = sqlite_world.run("advance", "--date", DATE, "--dry-run")
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="a file that cannot be read: /proc/self/mem (Linux)")
def test_one_unreadable_raw_file_does_not_keep_the_others_from_being_registered(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    timing = cubes(sqlite_world, "vcam1")[0].with_suffix(".txt")
    timing.unlink()
    timing.symlink_to("/proc/self/mem")  # a file that the system gives an error of input and output for, to root too
    assert not sqlite_world.machine().scan(sqlite_world.night()).succeeded
    assert sqlite_world.query("SELECT COUNT(*) FROM file WHERE kind = 'raw'")[0][0] >= 7


def test_a_path_is_never_ambiguous_in_history(sqlite_world):
    for pipeline in ("archive", "engineering"):
        sqlite_world.simulate(scale=0.02, scenario=("onecamera",), pipeline=pipeline)
        night = find_night(sqlite_world.config, folder=sqlite_world.folder / pipeline / DATE)
        assert sqlite_world.machine().advance(night).succeeded
    raw = next((sqlite_world.folder / "engineering" / DATE / "vcam1").glob("*.fits"))
    product = next((sqlite_world.folder / "engineering" / DATE / "vgen2").glob("*.fz"))
    for path in (raw, product):
        found = history.find(sqlite_world.store(), str(path))
        assert (found.night.pipeline, found.frame_id) == ("engineering", None)


def test_a_quarantined_file_may_be_removed(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("bad",))
    sqlite_world.bring(to="synced")
    ((folder, name),) = sqlite_world.query("SELECT folder, name FROM quarantine WHERE reason LIKE 'duplicate%'")
    (sqlite_world.folder / "archive" / DATE / folder / name).unlink()
    assert sqlite_world.advance(to="synced").succeeded
    assert violations(sqlite_world) == []


def test_a_manifest_is_withdrawn_by_the_name_it_was_made_under(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("onecamera",))
    before = world.tree()
    world.bring()
    world.data["instrument"]["manifest"] = "list_{date}.csv"
    assert world.rollback().succeeded
    assert (world.tree(), world.tree(world.destination)) == (before, {})


def test_a_damaged_timing_file_is_not_sent(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("onecamera",))
    world.bring(to="compressed")
    timing = world.folder / "archive" / DATE / "vgen2" / "VMPA00000001.txt"
    good = timing.read_bytes()
    timing.write_bytes(good + b"X")
    result = world.advance()
    assert [name for name, _ in result.failed] == ["VMPA00000001"]
    timing.write_bytes(good)
    assert world.advance().succeeded


def test_a_numbered_night_that_was_rolled_back_holds_the_gate(sqlite_world):
    world = sqlite_world
    for date in ("20260102", "20260103"):
        world.simulate(date, scale=0.02, scenario=("onecamera",))
    world.bring("20260102")
    assert world.rollback("20260102").succeeded
    assert "raw files that are not synced" in world.advance("20260103").stopped
    assert world.advance("20260102").succeeded
    assert world.advance("20260103").succeeded


def test_a_renamed_night_can_be_registered(world):
    world.simulate("20260101", scale=0.02, scenario=("onecamera",))
    assert world.machine().scan(world.night("20260101")).succeeded
    (world.folder / "archive/20260101").rename(world.folder / "archive/20260102")
    assert world.machine().scan(world.night("20260102")).succeeded


def test_an_engineering_night_that_was_sent_is_not_made_anew(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("onecamera", "slow"), pipeline="engineering")
    night = find_night(world.config, folder=world.folder / "engineering" / DATE)
    late = max((night.path / "vcam1").glob("*.fits"))
    shelf = world.folder / "shelf"
    shelf.mkdir()
    for path in (late, late.with_suffix(".txt")):
        path.rename(shelf / path.name)
    assert world.machine().advance(night).succeeded
    sent = world.tree(world.folder / "destination/engineering" / DATE / "vgen2")
    for path in shelf.iterdir():
        path.rename(late.parent / path.name)
    result = world.machine().advance(night)
    assert result.succeeded
    assert "withdraw" not in result.moved
    now = world.tree(world.folder / "destination/engineering" / DATE / "vgen2")
    assert {k: v for k, v in now.items() if k in sent and k != "lineage.tsv"} == {
        k: v for k, v in sent.items() if k != "lineage.tsv"
    }


def test_a_day_that_is_none_does_not_hold_the_gate(sqlite_world):
    world = sqlite_world
    world.simulate("20260302", scale=0.02, scenario=("onecamera",))
    (world.folder / "archive/20260231/vcam1").mkdir(parents=True)
    (world.folder / "archive/20260231/vcam1/x.fits").write_bytes(b"")
    assert world.advance("20260302").succeeded


def test_a_group_that_is_none_is_a_fault_of_the_configuration(sqlite_world):
    sqlite_world.data["permissions"]["group"] = "nosuchgroup"
    done = sqlite_world.run("status")
    assert done.returncode == 2
    assert "permissions.group: no such group" in done.stderr


def test_init_does_not_take_a_guard_away_under_files(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("onecamera",))
    world.bring()
    del world.data["states"]["transferred"]["requires"]
    done = world.run("init")
    assert done.returncode == 2
    assert "stands on evidence" in done.stderr


def test_several_processes_at_once_on_an_empty_ledger(world):
    world.simulate(scale=0.02, scenario=("onecamera",))
    advance = ("advance", "--date", DATE)
    with Running(world, *advance) as first, Running(world, *advance) as second, Running(world, *advance) as third:
        runs = (first, second, third)
        statuses = {run.wait() for run in runs}
        said = [run.told for run in runs]
    assert statuses <= {0, 75}, said
    assert 0 in statuses


def test_a_file_of_somebody_under_a_name_of_ours_is_not_written_over(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("onecamera",))
    night = world.folder / "archive" / DATE
    for name, state in (("SHA256SUMS", "compressed"), (f"manifest_VMP_{DATE}.csv", "transferred")):
        mine = night / name
        mine.write_text("of the observer")
        result = world.advance()
        assert not result.succeeded
        assert set(result.states) == {state}
        assert mine.read_text() == "of the observer"
        mine.unlink()
    assert world.advance().succeeded


def test_a_dictionary_that_is_missing_is_a_fault_of_the_configuration(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    sqlite_world.data["instrument"]["dictionary"] = "nowhere.tsv"
    done = sqlite_world.run("advance", "--date", DATE)
    assert done.returncode == 2
    assert "instrument.dictionary" in done.stderr


def test_a_state_that_no_pipeline_has_is_a_fault(sqlite_world):
    done = sqlite_world.run("status", LEDGER_STATES__COMPRESED__PARAMETERS__PROVE="false")
    assert done.returncode == 2
    assert "did you mean 'compressed'?" in done.stderr


def test_a_quarantined_file_that_is_mended_in_place_is_seen(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("slow", "onecamera"))
    cube = max((world.folder / "archive" / DATE / "vcam1").glob("*.fits"))
    whole = cube.read_bytes()
    with cube.open("r+b") as file:
        file.truncate(len(whole) - 2880)
    assert world.advance().succeeded
    assert list(catch_up(world.machine())) == []
    with cube.open("r+b") as file:
        file.write(whole)
    assert [n.date for n, _ in catch_up(world.machine())] == [DATE]
    assert world.query("SELECT COUNT(*) FROM quarantine") == [(0,)]
    assert list(catch_up(world.machine())) == []
