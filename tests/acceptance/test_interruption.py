"""Stopped by a signal, suspended, or two at once, and what is left of it: nothing lost, nothing false."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ledger.errors import Busy, NotReady
from ledger.night import record
from ledger.run import registration
from tests.acceptance.faults import kill, rollback, run
from tests.acceptance.kill import run_and_kill
from tests.world import DATE, World


def back(world: World) -> tuple:
    assert world.machine().rollback(world.night()).succeeded
    return world.tree(), world.tree(world.destination)


@pytest.mark.parametrize(("verb", "to"), [("list", "transferred"), ("transfer", "compressed")])
def test_a_step_that_nobody_repeats_is_undone_by_a_rollback(sqlite_world, verb, to):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    before = world.tree()
    world.bring(to=to)
    n = run_and_kill(world, lambda machine: machine.advance(world.night()), None)
    assert world.rollback(to=to).succeeded
    for at in range(n - 8, n) if verb == "list" else range(n // 2, n // 2 + 3):
        assert run_and_kill(world, lambda machine: machine.advance(world.night()), at) is None
        assert world.advance(to=to).succeeded
        assert back(world) == (before, {}), at
        assert world.advance(to=to).succeeded


def test_a_bad_copy_is_never_listed_wherever_its_rollback_was_killed(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring()
    made = world.tree(world.destination)
    path = min((world.destination / DATE / "vgen2").glob("*.fz"))

    def act(machine):
        machine.rollback(world.night(), to="compressed")

    def damage():
        assert world.advance().succeeded
        assert world.tree(world.destination) == made
        path.write_bytes(b"damaged")

    damage()
    n = run_and_kill(world, act, None)
    assert world.query("SELECT count(*) FROM unverified") == [(1,)]
    for at in range(n // 3, n, 5):
        damage()
        assert run_and_kill(world, act, at) is None
        world.advance()
        told = world.query("SELECT count(*) FROM file WHERE state = 'manifested' AND kind = 'product'")
        assert world.tree(world.destination) == made or told[0][0] == 0, at


def test_a_product_that_is_lost_is_made_again(sqlite_world):
    """Its raw frames are there, so a rollback to raw goes through, and an advance makes it again."""
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    before = world.tree()
    world.bring(to="compressed")
    made = world.tree()
    folder = world.folder / "archive" / DATE / "vgen2"
    (folder / "VMPA00000001.fits.fz").unlink()
    (folder / "VMPA00000002.fits.fz").write_bytes(b"damaged")
    assert not world.rollback(to="fixed").succeeded
    result = world.rollback()
    assert result.succeeded, result
    assert result.remarks["products dropped, as they could not be taken back"] == 2
    assert world.tree() == before
    assert world.advance(to="compressed").succeeded
    assert world.tree() == made


@pytest.fixture
def torn(sqlite_world):
    """Return a world where a rollback was killed in the middle of a header, the cube, and the bytes it then has."""
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    assert world.advance(to="identified").succeeded
    act = rollback(world, to="fixed")
    points = run(world, act).points
    at = next(i for i, point in enumerate(points) if point.startswith("pwrite64") and point.endswith(".fits"))
    assert world.advance(to="identified").succeeded
    whole = world.tree()
    assert run(world, act, at, kill).said is None
    (name,) = (name for name, found in world.tree().items() if found != whole[name])  # products finish in any order
    cube = world.night().path / name
    return world, cube, cube.read_bytes()


def test_a_product_that_is_lost_with_a_torn_header_holds_up_no_other(torn):
    """Its step stays open: the header is made good when the cube is put back, however many runs later."""
    world, cube, content = torn
    cube.unlink()
    for _ in range(2):
        result = world.advance(to="compressed")
        assert [name for name, _ in result.failed] == [cube.stem]
        assert result.states["identified"] == 1
        assert result.states["compressed"] == sum(result.states.values()) - 1 > 0
        assert any(text.startswith(f"{cube.stem}: its header may be torn") for text in result.remarks)
    cube.write_bytes(content)
    assert world.advance(to="compressed").succeeded
    made = world.tree()
    assert world.rollback().succeeded
    assert world.advance(to="compressed").succeeded
    assert world.tree() == made


@pytest.mark.parametrize("damage", ["lost", "cut", "older"])
def test_a_torn_header_that_cannot_be_made_good_is_rolled_back(torn, damage):
    world, cube, content = torn
    raws = {name: found for name, found in world.tree().items() if name.startswith("vcam")}
    if damage == "lost":
        cube.unlink()
    elif damage == "cut":
        cube.write_bytes(content[:2880])
    else:
        for raw in world.night().path.glob("vcam*/*.fits"):
            os.utime(raw, ns=(0, raw.stat().st_mtime_ns - 1))
    if damage != "lost":
        with pytest.raises(NotReady, match="may be torn"):
            world.advance()
    result = world.rollback()
    assert result.succeeded, result
    if damage != "older":
        assert world.tree() == raws | {"vcam1": ("folder", None), "vcam2": ("folder", None)}
    assert world.advance().succeeded
    audit = world.run("audit")
    assert audit.returncode == 0, audit.stdout


def test_workers_end_with_their_run(sqlite_world):
    world = sqlite_world
    world.data["engine"] = {"executor": "processes", "workers": 2}
    world.simulate(scale=1, scenario=("pdi", "slow"))
    command = [sys.executable, "-m", "ledger.cli", "--config", str(world.config_path), "advance", "--date", DATE]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for line in run.stderr:
        if "consolidated" in line:
            break
    run.kill()
    run.wait()
    run.stderr.read()  # comes to its end only when every worker, which holds the other end, is gone
    run.stderr.close()


def test_what_a_dead_run_left_is_told_and_nothing_else_is_touched(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to="fixed")
    folder = world.folder / "archive" / DATE / "vgen2"
    mine = folder / "notes.txt"
    mine.write_text("of the observer")
    half_made = folder / ".ledger-VMPA00000001.fits.fz"
    half_made.write_bytes(b"half")
    result = world.advance(to="fixed")
    assert result.settled == [".ledger-VMPA00000001.fits.fz: left behind, removed"]
    assert not half_made.exists()
    assert mine.read_text() == "of the observer"


def test_a_file_of_somebody_under_a_name_like_ours_is_not_touched(sqlite_world):
    """``funpack VMPA00000001.fits.fz`` makes such a file; only what a run left that died is removed."""
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to="compressed")
    unpacked = world.folder / "archive" / DATE / "vgen2" / "VMPA00000001.fits"
    unpacked.write_bytes(b"of somebody")
    assert world.advance().settled == []
    assert unpacked.read_bytes() == b"of somebody"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_in_order(sqlite_world, number):
    world = sqlite_world
    world.data["engine"] = {"executor": "processes", "workers": 1}
    world.simulate(scale=1, scenario=("pdi", "slow", "onecamera"))
    command = [sys.executable, "-m", "ledger.cli", "--config", str(world.config_path), "advance", "--date", DATE]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    for line in run.stderr:
        if "consolidated" in line:
            break
    run.send_signal(number)
    asked = time.monotonic()
    _, said = run.communicate(timeout=60)
    assert run.returncode == 128 + number, said
    assert time.monotonic() - asked < 5
    assert "the same command goes on" in said
    assert world.query("SELECT exit_status FROM run ORDER BY id DESC LIMIT 1") == [(128 + number,)]
    world.data["engine"]["executor"] = "inline"
    assert set(world.advance().states) == {"manifested"}


def test_two_at_once(world):
    world.simulate(scale=0.02, scenario=("pdi",))
    machine = world.machine()
    with machine.holding(world.night(), "advance", {}):
        busy = world.run("advance", "--date", DATE)
        assert busy.returncode == 75
        assert f"night {DATE} is held by run 1 (`ledger advance`, process {os.getpid()}" in busy.stderr
    assert world.run("advance", "--date", DATE, "--to", "raw").returncode == 0


def test_a_run_that_was_suspended_cannot_write_over_its_successor(world):
    world.simulate(scale=0.02, scenario=("pdi",))
    late = world.machine()
    with late.holding(world.night(), "advance", {}) as (steps, _):
        registration.register(steps)
        world.now_us += 60_000_000  # its heartbeat is old by now
        assert world.machine().advance(world.night(), to="synced").succeeded
        rows = world.query("SELECT id, state FROM file ORDER BY id")
        with pytest.raises(Busy, match="has taken over"):
            steps.journal.unmake_products(record.products(world.store(), steps.journal.night))
        assert world.query("SELECT id, state FROM file ORDER BY id") == rows
