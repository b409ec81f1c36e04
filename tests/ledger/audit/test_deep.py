"""A sound night passes a deep audit in every state; how it works, and is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ledger.delivery.copies import verify
from ledger.disk.dates import Dates
from ledger.errors import Interrupted, UsageError
from ledger.night import record
from ledger.night.lease import Lease
from ledger.report import Silent, Stop
from stages.check import reread
from stages.fits.cards import BLOCK
from stages.fits.cubes import read_cube_layout
from tests.inside import call
from tests.ledger.audit.damage import (
    SCENARIO,
    around_the_guards,
    audit,
    copy_of,
    flip,
    found,
    frames_of,
    night_of,
    product,
    put_on_record,
    repack,
)
from tests.world import DATE, World

STATES = ["raw", "synced", "consolidated", "fixed", "identified", "compressed", "transferred", "manifested"]


def test_a_sound_night_passes_in_every_state(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=(*SCENARIO, "untriggered", "bad"))
    for state in STATES:
        assert world.advance(to=state).succeeded
        report = audit(world)
        assert report.violations == []
        has_files = state not in STATES[:2]
        frames = "SELECT COUNT(*), COALESCE(SUM(n_frames), 0) FROM file WHERE kind = 'product'"
        ((n_products, n_frames),) = world.query(frames)
        assert report.counts["nights"] == 1
        assert report.counts["products"] == n_products
        assert report.counts["frames"] == (n_frames if has_files else 0)
    raws = "SELECT SUM(timing_size_bytes), COUNT(*) FROM file WHERE kind = 'raw' AND quarantine_reason IS NULL"
    ((raw_bytes, n_raws),) = world.query(raws)
    sent = [night_of(world), world.destination / DATE]
    files = [path for folder in sent for path in [*(folder / "vgen2").iterdir(), *folder.glob("manifest*")]]
    files = [path for path in files if path.name != "lineage.tsv"]
    of_frames = n_frames * 8 * 8 * 2
    assert report.counts["files"] == len(files) + n_raws
    assert report.counts["bytes"] == sum(path.stat().st_size for path in files) + raw_bytes + of_frames


def test_both_databases(world):
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring()
    assert found(world) == []
    flip(product(world, number=1))
    (violation,) = found(world)
    assert violation.law == "bytes"


def test_the_other_pipeline_and_one_night_alone(sqlite_world):
    world = sqlite_world
    world.simulate(pipeline="engineering", scale=0.02, scenario=("slow",))
    assert world.machine().advance(world.night()).succeeded
    world.simulate("20260103", scale=0.02, scenario=("onecamera",))
    assert world.advance("20260103").succeeded
    assert audit(world).counts["nights"] == 2
    path = min((world.folder / "engineering" / DATE / "vgen2").glob("*.fz"))
    flip(path)
    assert found(world, dates=Dates(["20260103"])) == []
    (violation,) = found(world, dates=Dates([DATE]))
    assert str(path) in violation.what
    with pytest.raises(UsageError, match="no night 20260104"):
        audit(world, dates=Dates(["20260104"]))


@pytest.mark.parametrize("tile", ["frame", "row"])
def test_cubes_are_compared_a_few_frames_at_a_time(sqlite_world, monkeypatch, tile):
    monkeypatch.setattr(reread, "_CHUNK_BYTES", 3 * 8 * 8 * 2)
    sqlite_world.data["states"]["compressed"]["parameters"]["tile"] = tile
    sqlite_world.simulate(scale=0.02, scenario=SCENARIO)
    assert sqlite_world.advance(to="compressed").succeeded
    assert found(sqlite_world) == []
    name, _ = frames_of(sqlite_world)[0]
    path = night_of(sqlite_world) / "vgen2" / name

    def spoil_the_last(plain: Path) -> None:
        cube = read_cube_layout(plain)
        flip(plain, cube.data_offset + cube.shape[0] * cube.frame_bytes - 1)

    repack(path, spoil_the_last)
    put_on_record(sqlite_world, path)
    (violation,) = found(sqlite_world)
    assert violation.law == "pixels"
    assert str(path) in violation.what


def test_a_salvaged_file_is_compared_as_far_as_it_is_used(sqlite_world):
    world = sqlite_world
    world.data["salvage"] = True
    world.simulate(scale=0.1, scenario=("slow",))
    path = min((night_of(world) / "vcam1").glob("*.fits"))
    path.write_bytes(path.read_bytes()[: -BLOCK - 200])
    assert world.advance().succeeded
    assert world.query("SELECT COUNT(*) FROM file WHERE lost_frames > 0") == [(1,)]
    assert found(world) == []


def test_a_night_that_a_run_works_on_is_not_judged(few):
    flip(product(few))
    store = few.store()
    night = record.find_night(store, "archive", DATE)
    run_id = store.begin_run("advance", {})

    class Unexpected(Silent):
        def phase(self, *_: object, **__: object) -> None:
            raise AssertionError("files are not read in vain")

    with Lease(store, night, run_id):
        report = audit(few, reporter=Unexpected())
    assert report.violations == []
    assert report.counts["nights"] == report.counts["files"] == 0
    assert [(e.kind, e.first, f"run {run_id} works on it" in e.reason) for e in report.explained] == [
        ("busy", DATE, True)
    ]
    assert found(few)


def test_a_night_that_a_run_has_had_meanwhile_is_not_judged(few):
    flip(product(few))
    store = few.store()
    night = record.find_night(store, "archive", DATE)
    run_id = store.begin_run("advance", {})

    class Visitor(Silent):
        def phase(self, *_: object, **__: object) -> None:
            with Lease(store, night, run_id):
                pass

    report = audit(few, reporter=Visitor())
    assert report.violations == []
    assert [(e.kind, "meanwhile" in e.reason) for e in report.explained] == [("busy", True)]


def test_copies_at_another_host_are_told(few):
    around_the_guards(few, "UPDATE copy SET host = 'stars'")
    report = audit(few)
    assert report.violations == []
    assert [(e.kind, "stars" in e.reason) for e in report.explained] == [("afar", True)]


def test_a_copy_afar_counts_once_however_often_it_was_proven(few):
    for _ in range(3):
        verify(few.machine(), few.night())
    around_the_guards(few, "UPDATE copy SET host = 'stars'")
    (explained,) = audit(few).explained
    assert explained.count == len(few.query("SELECT 1 FROM file WHERE kind = 'product'"))


def test_results_are_in_order_with_workers_too(manifested):
    for number in (3, 1):
        flip(product(manifested, number=number))
    flip(copy_of(manifested, product(manifested, number=2)))
    inline = audit(manifested)
    assert [v.law for v in inline.violations] == ["bytes", "copy", "bytes"]
    manifested.data["engine"]["executor"] = "processes"
    parallel = audit(manifested, jobs=2)
    assert parallel.violations == inline.violations
    assert parallel.counts == inline.counts


def test_a_stop_between_files(few):
    with pytest.raises(Interrupted, match="nothing was changed"):
        audit(few, stop=Stop(signal.SIGTERM))


def test_the_command(few):
    before, rows = few.tree(few.folder / "archive"), few.query("SELECT * FROM run")
    done = call(few, "audit", "--deep", "--date", DATE)
    assert done.returncode == 0, done.stderr
    *_, verdict, compared = done.stdout.splitlines()
    assert verdict.startswith("ok  ")
    ((n, frames),) = few.query("SELECT COUNT(*), SUM(n_frames) FROM file WHERE kind = 'product'")
    assert compared.startswith(f"compared: 1 night, {n} products, {frames} frames and ")
    assert f"deep audit {DATE}" in done.stderr
    assert few.tree(few.folder / "archive") == before
    assert few.query("SELECT * FROM run") == rows
    path = product(few)
    flip(path)
    done = call(few, "audit", "--deep")
    assert done.returncode == 1
    assert any(line.startswith(f"  bytes: {path} has SHA-256 ") for line in done.stdout.splitlines())
    done = few.run("audit", "--deep", "--json", "--jobs", "2")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert [v["law"] for v in told["violations"]] == ["bytes"]
    assert set(told["compared"]) == {"nights", "products", "files", "frames", "bytes", "seconds"}
    assert call(few, "audit").returncode == 0
    assert few.run("audit", "--jobs", "2").returncode == 2


#: So large that reading it takes a worker minutes, and no disk.
SPARSE_BYTES = 2 * 10**12


@pytest.fixture
def busy_audit(few: World) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Return a deep audit, and its worker that reads a file which takes very long."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to see what a process reads")
    path = product(few)
    os.truncate(path, SPARSE_BYTES)
    few.data["engine"] = {"executor": "processes", "workers": 1}
    command = [sys.executable, "-m", "ledger.cli", "--config", str(few.config_path), "audit", "--deep"]
    audit = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    readers: list[int] = []
    until(lambda: readers.extend(pid for pid in session(audit.pid) if reads(pid, path)) or readers)
    yield audit, readers[0]
    for pid in session(audit.pid):
        os.kill(pid, signal.SIGKILL)
    audit.communicate()


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def session(leader: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(sid) == leader and state != "Z":
            found.append(int(path.parent.name))
    return found


def reads(pid: int, path: Path) -> bool:
    try:
        return any(fd.resolve() == path for fd in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_at_once_and_leaves_nothing(busy_audit, number):
    audit, _ = busy_audit
    asked = time.monotonic()
    os.killpg(audit.pid, number)  # as a terminal does
    _, said = audit.communicate(timeout=30)
    assert audit.returncode == 128 + number, said
    assert time.monotonic() - asked < 5
    assert "nothing was changed" in said
    assert "Traceback" not in said
    until(lambda: not session(audit.pid), 10)


def test_a_worker_that_dies_is_told_with_what_it_read(busy_audit, few):
    audit, worker = busy_audit
    os.kill(worker, signal.SIGKILL)
    _, said = audit.communicate(timeout=30)
    assert audit.returncode == 1, said
    assert f"died at one of {product(few)}" in said
