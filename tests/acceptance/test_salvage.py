"""Files that were cut off, used as far as they go: every frame in a product or counted lost, and back again."""

import hashlib
import os
import shutil

import numpy as np
import pytest
from astropy.io import fits

from ledger.audit import laws
from ledger.run import registration
from ledger.run.catch_up import catch_up
from ledger.run.plan import plan_advance
from ledger.simulation._blocks import DUPLICATE, SPOILT
from tests.acceptance.check import Finished, identities
from tests.world import DATE, LATER_US, World

CURED = ("txt rows", "truncated")


def salvaging(world: World, value: bool = True) -> World:
    world.data["salvage"] = value
    return world


def night(world: World, date: str = DATE):
    return world.folder / "archive" / date


def cubes(world: World, stream: str = "vcam1", date: str = DATE):
    return sorted((night(world, date) / stream).glob("*.fits"))


def cut(path, keep: float) -> bytes:
    """Cut a file off as an interruption does; return what it was. Its mtime stays."""
    status, content = path.stat(), path.read_bytes()
    begin = len(fits.Header.fromfile(path).tostring()) if path.suffix == ".fits" else 0
    data = 128 * fits.getval(path, "NAXIS3") if begin else len(content)
    os.truncate(path, begin + round(data * keep))
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    return content


def restore(path, content: bytes) -> None:
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))


def assert_clean(world: World) -> None:
    store = world.store()
    found = [v for _, violations in laws.check_laws(store, laws.read_laws()) for v in violations]
    assert found + list(laws.check_files(store, world.config)) == []


def balance(world: World) -> tuple[int, ...]:
    """Return frames declared, in products, and lost, of what is not in quarantine."""
    ((*sums,),) = world.query(
        "SELECT SUM(n_frames), SUM(in_products), SUM(lost_frames) FROM frame_balance WHERE quarantine_reason IS NULL"
    )
    return tuple(int(n or 0) for n in sums)


def ids(world: World):
    return world.query("SELECT number, identity FROM frame_id WHERE status = 'live' ORDER BY number")


def test_a_bad_night_is_salvaged_to_the_end_and_back(world, tmp_path):
    truth = salvaging(world).simulate(scenario=("bad", "onecamera"), scale=0.02)
    before = world.tree()
    assert world.advance(to="identified").succeeded
    folder = night(world) / "vgen2"
    plain = {path.name: path.read_bytes() for path in folder.glob("*.fits")}
    assert world.advance().succeeded
    finished = Finished(world, DATE)
    faults = {file.path: file for file in truth.files if file.fault}
    cured = {file.fault: file for file in faults.values() if file.fault in CURED}
    used = {"txt rows": cured["txt rows"].n_frames - 1, "truncated": cured["truncated"].n_frames // 2}
    lost = sum(cured[fault].n_frames - used[fault] for fault in CURED)
    whole = sum(file.n_frames for file in truth.files if not file.fault)
    finished.check_everything(whole + sum(used.values()), lost)
    finished.check_funpack(plain, tmp_path)
    # exactly the frames that there are by the truth, each once
    expected = set()
    for number, file in enumerate(truth.files):
        frames = truth.frames[file.camera]
        serials = frames["serial"][frames["file"] == number][: used.get(file.fault or "")]
        if file.fault is None or file.fault in CURED:
            expected |= {(file.camera, int(serial)) for serial in serials}
    found = [(camera, serial) for frames in finished.frames.values() for camera, serial, _ in frames]
    assert sorted(found) == sorted(expected)
    assert set(finished.quarantined) == {p for p, file in faults.items() if file.fault not in CURED}
    assert {faults[p].fault for p in finished.quarantined} == {*SPOILT, DUPLICATE} - set(CURED)
    # and their times
    for product in finished.products:
        times = np.loadtxt(folder / f"{product['frame_id']}.txt", ndmin=2)[:, 4]
        frames = truth.frames[product["camera"]]
        true_us = dict(zip(frames["serial"].tolist(), frames["time_us"].tolist(), strict=True))
        for (_, serial, _), time in zip(finished.frames[product["frame_id"]], times, strict=True):
            assert abs(time * 1e6 - true_us[serial]) < 200, product  # the mean of both cameras' where paired
    assert_clean(world)
    done = world.tree()
    assert {name: done[name] for name in before} == before
    numbers = ids(world)
    assert world.rollback().succeeded
    assert world.tree() == before
    assert balance(world)[2] == lost
    assert world.advance().succeeded
    assert (world.tree(), ids(world)) == (done, numbers)
    assert_clean(world)


def test_it_is_said_wherever_one_looks(sqlite_world):
    world = salvaging(sqlite_world)
    world.simulate(scale=0.02, scenario=("slow",))
    cube = cubes(world)[0]
    cut(cube, 0.7)
    done = world.run("scan", "--date", DATE)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("  salvaged")]
    ((declared, lost),) = world.query("SELECT n_frames, lost_frames FROM file WHERE lost_frames > 0")
    assert f"{cube.name}: its first {declared - lost} of {declared} frames are used, {lost} are lost: " in line
    assert "truncated" in line
    said = {name: world.run(name, str(cube)).stdout for name in ("explain", "history")}
    assert f"lost_frames {lost}" in said["explain"]
    assert "truncated" in said["explain"]
    assert f"lost_frames={lost}" in said["history"]
    assert f"its first {declared - lost} of {declared} frames are used" in said["history"]
    head, row = (line.split("\t") for line in world.run("status").stdout.splitlines())
    assert dict(zip(head, row, strict=True))["lost"] == str(lost)
    assert world.run("advance", "--date", DATE, "--to", "synced").returncode == 0
    assert f"every frame of it but the last {lost}, lost," in world.run("explain", str(cube)).stdout
    again = world.run("scan", "--date", DATE)
    assert "salvaged" not in again.stdout


def test_without_salvage_the_reason_names_the_way_out(sqlite_world):
    world = sqlite_world
    truth = world.simulate(scenario=("bad",))
    world.bring()
    reasons = Finished(world, DATE).quarantined
    for file in truth.files:
        expected = {"txt rows": file.n_frames - 1, "truncated": file.n_frames // 2}.get(file.fault or "")
        if file.fault:
            assert ("set salvage: true" in reasons[file.path]) is (expected is not None), reasons[file.path]
        if expected:
            assert f"use its first {expected} frames" in reasons[file.path]


def test_switched_on_later_it_takes_files_up_and_says_nothing_twice(world):
    world.simulate(scale=0.02, scenario=("slow", "bad"))
    world.bring(to="fixed")
    assert balance(world)[2] == 0
    n_quarantined = len(world.query("SELECT id FROM file WHERE quarantine_reason IS NOT NULL"))
    salvaging(world)
    plan = plan_advance(world.machine(), world.night(), None)
    result = world.advance(to="fixed")
    assert (result.registered, len(result.salvaged), result.quarantined) == (2, 2, [])
    assert result.succeeded
    registering = next(step for step in plan.steps if step.verb == "register")
    assert (registering.files, plan.quarantined) == (2, ())
    assert balance(world)[2] > 0
    assert len(world.query("SELECT id FROM file WHERE quarantine_reason IS NOT NULL")) == n_quarantined - 2
    entries = world.query("SELECT COUNT(*) FROM entry")
    assert not world.machine().scan(world.night()).changed
    assert plan_advance(world.machine(), world.night(), "fixed").steps == ()
    assert world.query("SELECT COUNT(*) FROM entry") == entries
    assert world.advance().succeeded
    assert_clean(world)


def test_switched_off_later_products_stay_and_raw_files_go_back(world):
    salvaging(world).simulate(scale=0.02, scenario=("slow",))
    cut(cubes(world)[0], 0.7)
    os.truncate(cubes(world)[1], len(cubes(world)[1].read_bytes()) - 1)  # of its padding
    assert world.advance().succeeded
    done, rows = world.tree(), world.query("SELECT identity, state FROM file ORDER BY id")
    salvaging(world, value=False)
    for _ in range(2):
        result = world.advance()
        assert (result.succeeded, result.changed) == (True, False)
    assert (world.tree(), world.query("SELECT identity, state FROM file ORDER BY id")) == (done, rows)
    assert_clean(world)
    assert world.rollback().succeeded
    result = world.machine().scan(world.night())
    assert len(result.quarantined) == 2
    assert all("set salvage: true" in reason for _, reason in result.quarantined)
    assert balance(world)[2] == 0
    assert not world.machine().scan(world.night()).changed
    salvaging(world)
    assert world.advance().succeeded
    assert world.tree() == done


def test_a_mended_file_is_another_file(sqlite_world):
    world = salvaging(sqlite_world)
    world.simulate(scale=0.02, scenario=("slow",))
    cube = cubes(world)[0]
    content = cut(cube, 0.7)
    world.machine().scan(world.night())
    ((first,),) = world.query("SELECT identity FROM file WHERE lost_frames > 0")
    restore(cube, content)
    result = world.machine().scan(world.night())
    assert (result.registered, result.salvaged) == (1, [])
    assert world.query("SELECT identity FROM file WHERE lost_frames > 0") == []
    assert world.query(f"SELECT id FROM file WHERE identity = '{first}'") == []
    cut(cube, 0.7)
    world.machine().scan(world.night())
    assert world.query("SELECT identity FROM file WHERE lost_frames > 0") == [(first,)]
    assert world.advance().succeeded
    restore(cube, content)
    result = world.advance()
    assert [name for name, _ in result.failed] == [f"vcam1/{cube.name}"]
    assert "changed underneath" in result.failed[0][1]
    (violation,) = laws.check_files(world.store(), world.config)
    assert "the whole original is welcome" in violation.next_step
    assert "--yes` with the old one in place" in violation.next_step
    cut(cube, 0.7)
    assert world.rollback().succeeded
    restore(cube, content)
    assert world.advance(late_reason="the original was found").succeeded
    assert balance(world)[2] == 0
    assert_clean(world)


@pytest.mark.parametrize("batch", [1, registration.BATCH])
def test_a_copy_that_was_cut_off_is_not_used_twice(sqlite_world, monkeypatch, batch):
    """Its frames are those of the whole file beside it, whichever of the two is looked at first."""
    monkeypatch.setattr(registration, "BATCH", batch)
    world = salvaging(sqlite_world)
    world.simulate(scale=0.02, scenario=("slow",))
    torn = ("vcam1_00:00:00.000000000", "vcam1_23:00:00.000000000")
    for cube, name in zip(cubes(world)[:2], torn, strict=True):
        for path in (cube, cube.with_suffix(".txt")):
            shutil.copy2(path, path.with_name(name + path.suffix))
        cut(cube.with_name(f"{name}.fits"), 0.5)
    plan = plan_advance(world.machine(), world.night(), None)
    result = world.advance()
    assert result.succeeded
    assert [name for name, _ in result.quarantined] == [f"vcam1/{name}.fits" for name in torn]
    assert plan.quarantined == tuple(result.quarantined)
    assert {s.verb: s.files for s in plan.steps if s.verb not in ("register", "sync")} == {
        verb: n for verb, n in result.moved.items() if verb != "sync"
    }
    assert all("the same frames as" in reason for _, reason in result.quarantined)
    assert balance(world)[2] == 0
    every = [frame for frames in Finished(world, DATE).frames.values() for frame in frames]
    assert len(every) == len(set(every))
    assert_clean(world)


# still being written


@pytest.mark.parametrize("growing", [".fits", ".txt"])
@pytest.mark.parametrize("date", [DATE, "20251101"])
def test_a_file_that_may_be_growing_is_left_alone(sqlite_world, growing, date):
    world = salvaging(sqlite_world)
    world.simulate(date, scale=0.02, scenario=("slow",))
    path = cubes(world, date=date)[0].with_suffix(growing)
    content = cut(path, 0.95)
    written_us = world.now_us
    if date == DATE:
        written_us = max(c.stat().st_mtime_ns for c in cubes(world, date=date)) // 1000 + 60_000_000
    os.utime(path, ns=(written_us * 1000, written_us * 1000))
    world.now_us = written_us + 29 * 60_000_000
    for _ in range(2):
        result = world.advance(date)
        assert result.salvaged == []
        assert "may still be written" in str(result.stopped)
        assert ids(world) == []
    ((reason,),) = world.query("SELECT reason FROM quarantine")
    assert "left alone for 30 minutes" in reason
    assert list(catch_up(world.machine())) == []
    path.write_bytes(content)  # it went on
    os.utime(path, ns=(written_us * 1000 + 1, written_us * 1000 + 1))
    assert world.advance(date, to="synced").registered == 1
    assert world.query("SELECT reason FROM quarantine") == []
    assert balance(world)[2] == 0


@pytest.mark.parametrize("how", ["later", "final"])
def test_a_file_that_was_left_alone_is_taken(sqlite_world, how):
    world = salvaging(sqlite_world)
    world.simulate(scale=0.02, scenario=("slow",))
    cut(cubes(world)[0], 0.6)
    newest_us = max(p.stat().st_mtime_ns for s in ("vcam1", "vcam2") for p in cubes(world, s)) // 1000
    world.now_us = newest_us + 29 * 60_000_000
    assert world.advance().salvaged == []
    if how == "later":
        world.now_us += 24 * 3_600_000_000  # its UT date has ended
        assert [n.date for n, _ in catch_up(world.machine())] == [DATE]
        assert len(world.query("SELECT id FROM file WHERE lost_frames > 0")) == 1
    else:
        plan = plan_advance(world.machine(), world.night(), None, final=True)
        assert (plan.quarantined, plan.stopped) == ((), None)
        assert len(world.advance(final=True).salvaged) == 1
    assert balance(world)[2] > 0
    assert ids(world)
    assert_clean(world)


# after numbering


def test_released_from_a_numbered_night_it_is_appended_if_it_is_the_last(world):
    world.simulate(scale=0.02, scenario=("slow", "onecamera"))
    cut(cubes(world)[-1].with_suffix(".txt"), 0.9)
    assert world.advance().succeeded
    before, numbers = world.tree(), ids(world)
    salvaging(world)
    world.now_us = LATER_US + 1
    assert list(catch_up(world.machine())) == []  # a finished night is not taken up by itself
    result = world.advance()
    assert result.succeeded, result
    assert len(result.salvaged) == 1
    assert ids(world)[: len(numbers)] == numbers
    assert len(ids(world)) > len(numbers)
    changed = {name for name, was in before.items() if world.tree().get(name) != was}
    assert changed <= {"SHA256SUMS", "vgen2/lineage.tsv"}
    assert_clean(world)


def test_released_from_a_numbered_night_it_is_late_if_it_is_not_the_last(sqlite_world):
    world = sqlite_world
    for date in (DATE, "20260103"):
        world.simulate(date, scale=0.02, scenario=("onecamera", "slow"))
    cut(cubes(world)[0], 0.7)
    assert world.advance().succeeded
    numbers, there = ids(world), world.tree(world.destination)
    salvaging(world)
    for _ in range(2):
        assert "--late --reason" in world.advance().stopped
    assert (ids(world), world.tree(world.destination)) == (numbers, there)
    assert f"earlier night {DATE}" in str(world.advance("20260103").stopped)  # what will come of it is not known yet
    assert world.advance(late_reason="salvaged").succeeded
    assert ids(world)[: len(numbers)] == numbers
    assert world.advance("20260103").succeeded
    assert_clean(world)


def test_what_was_late_is_undone_by_switching_it_off_again(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("onecamera", "slow"))
    cut(cubes(world)[0], 0.7)
    assert world.advance().succeeded
    done, numbers = world.tree(), ids(world)
    salvaging(world)
    assert "--late --reason" in world.advance().stopped
    salvaging(world, value=False)
    assert world.rollback().succeeded
    assert world.advance().succeeded
    assert (world.tree(), ids(world)) == (done, numbers)
    assert_clean(world)


def test_engineering_nights_are_salvaged_too(sqlite_world):
    world = salvaging(sqlite_world)
    world.simulate(scale=0.02, scenario=("onecamera",), pipeline="engineering")
    folder = world.folder / "engineering" / DATE
    (cube,) = (folder / "vcam1").glob("*.fits")
    digest = hashlib.sha256(cut(cube, 0.6)).hexdigest()
    assert world.run("advance", str(folder)).returncode == 0
    ((declared, lost),) = world.query("SELECT n_frames, lost_frames FROM file WHERE kind = 'raw'")
    assert sum(len(identities(p)) for p in (folder / "vgen2").glob("*.fz")) == declared - lost
    assert lost > 0
    assert hashlib.sha256(cube.read_bytes()).hexdigest() != digest
    assert_clean(world)
