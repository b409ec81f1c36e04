"""The database is lost, at every state: what is on disk gives it back."""

import os
import shutil

import pytest

from ledger.disk.nights import NightFolder
from ledger.night import record
from ledger.night.pipeline import pipelines
from ledger.rescue.rebuild import next_command
from tests.inside import call
from tests.ledger.rescue.lost import SECOND, carry_on, facts, lose, undisturbed
from tests.world import DATE, Tree, World

STATES = ["raw", "synced", "consolidated", "fixed", "identified", "compressed", "transferred", "manifested"]


def of_night(world: World) -> Tree:
    """Return the files of the night; manifests name the world's own folder."""
    return {name: file for name, file in world.tree().items() if not name.startswith("manifest")}


@pytest.mark.parametrize("state", STATES)
def test_the_database_is_lost_at_every_state(night, other_url, state):
    world = night
    raw = world.tree()
    clean = undisturbed(world)
    clean.bring()
    if state == "raw":
        world.machine().scan(world.night())
    else:
        world.bring(to=state)
    before, tree = facts(world), world.tree()
    made = lose(world, other_url)
    assert made.succeeded, made
    assert world.tree() == tree
    if state == "synced":  # nothing of it is on disk
        assert {row[3] for row in facts(world)["file"]} == {"raw"}
    else:
        now = facts(world)
        if not before["frame_id"]:
            assert now.pop("sequence") == [("VMPA", 1)]
            assert before.pop("sequence") == []
        assert now == before
    if state in {"raw", "synced", "consolidated", "fixed"}:
        assert "ids start" in str(world.advance().stopped)
        assert world.query("SELECT 1 FROM frame_id") == []
        carry_on(world, made)
    assert world.advance().succeeded
    assert of_night(world) == of_night(clean)
    assert [row[:6] for row in facts(world)["frame_id"]] == [row[:6] for row in facts(clean)["frame_id"]]
    clean.close()
    audit = call(world, "audit", "--deep")
    assert audit.returncode == 0, audit.stdout
    assert world.rollback().succeeded
    assert world.tree() == raw


def test_a_rebuilt_ledger_goes_on_with_later_nights(sqlite_world, new_url):
    world = sqlite_world
    world.simulate_two(DATE, SECOND)
    world.bring()
    n_ids = len(world.query("SELECT 1 FROM frame_id"))
    made = lose(world, new_url)
    assert made.frame_ids == n_ids
    assert made.lowest_id == f"VMPA{n_ids + 1:08d}"
    assert "ids start" in str(world.advance(SECOND).stopped)
    carry_on(world, made)
    assert world.advance(SECOND).succeeded
    assert world.query("SELECT count(*) FROM id_order WHERE disorder = 1") == [(0,)]
    assert call(world, "ids", "check").returncode == 0
    assert call(world, "doctor").returncode == 0


def test_the_way_back_works_after_a_rebuild(night, new_url):
    world = night
    raw = world.tree()
    world.bring()
    lose(world, new_url)
    assert world.rollback().succeeded
    assert world.tree() == raw
    assert not list((world.destination / DATE).glob("*")) if (world.destination / DATE).exists() else True


def test_a_pipeline_without_frame_ids_comes_back(night, new_url):
    world = night
    world.simulate(SECOND, pipeline="engineering", scale=0.02, scenario=("pdi",))
    engineering = NightFolder("engineering", world.folder / "engineering", SECOND)
    assert world.machine().advance(engineering).succeeded
    before = facts(world)
    assert any(row[3] == "transferred" for row in before["file"])
    assert lose(world, new_url).succeeded
    assert facts(world)["copy"] == before["copy"]
    assert facts(world)["lineage"] == before["lineage"]


def test_a_state_of_ones_own_comes_back(night, new_url, tmp_path, monkeypatch):
    world = night
    (tmp_path / "noted.py").write_text(
        "from stages.base import Outcome, remove_outputs\n"
        'SUFFIXES = (".note",)\n'
        "def forward(*, job, params):\n"
        '    name = job.product.files[0].split(".fits")[0] + ".note"\n'
        '    job.temporary(name).write_text("?")\n'
        "    files = [*job.product.files, name]\n"
        "    return Outcome(outputs={job.folder / name: job.temporary(name)},"
        ' facts={job.product.identity: {"files": files}})\n'
        "def reverse(*, job, params):\n"
        '    names = [name for name in job.product.files if name.endswith(".note")]\n'
        "    files = [name for name in job.product.files if name not in names]\n"
        "    return Outcome(superseded=tuple(job.folder / name for name in names),"
        ' facts={job.product.identity: {"files": files}})\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    world.data["archive"]["states"].insert(-2, "noted")
    world.data["states"]["noted"] = {"stage": "noted", "forward": "note", "reverse": "unnote"}
    world.store().init(pipelines(world.config).values())
    raw = world.tree()
    for state in ("noted", "manifested"):
        assert world.advance(to=state).succeeded
        before = facts(world)
        assert lose(world, f"{new_url}{state}").succeeded
        assert facts(world) == before
    assert world.rollback().succeeded
    assert world.tree() == raw


def test_half_a_night_comes_back_as_it_is(night, new_url):
    """A run that was stopped, and a database that was lost with it."""
    world = night
    clean = undisturbed(world)
    clean.bring()
    world.bring(to="identified")
    items = record.products(world.store(), record.find_night(world.store(), "archive", DATE))
    folder = world.folder / "archive" / DATE / "vgen2"
    for item in items[: len(items) // 2]:  # as they are after `compressed`, and between two names
        name = item.product.files[0]
        shutil.copy(clean.folder / "archive" / DATE / "vgen2" / f"{name}.fz", folder / f"{name}.fz")
    torn = folder / items[-1].product.files[0]
    torn.write_bytes(b"\0" * 2880 + torn.read_bytes()[2880:])
    made = lose(world, new_url)
    assert made.succeeded
    states = {state for (state,) in world.query("SELECT state FROM file WHERE kind = 'product'")}
    assert states == {"synced", "identified", "compressed"}
    assert world.advance().succeeded
    assert of_night(world) == of_night(clean)
    assert [row[:6] for row in facts(world)["frame_id"]] == [row[:6] for row in facts(clean)["frame_id"]]
    clean.close()


def test_late_ids_come_back(sqlite_world, new_url):
    world = sqlite_world
    world.simulate_two(DATE, SECOND)
    first = world.folder / "archive" / DATE
    hidden = world.folder / "hidden"
    first.rename(hidden)
    assert world.advance(SECOND).succeeded
    hidden.rename(first)
    assert world.advance(late_reason="found later").succeeded
    before = facts(world)
    assert {row[-1] for row in before["frame_id"]} == {0, 1} or {row[-1] for row in before["frame_id"]} == {False, True}
    assert lose(world, new_url).succeeded
    assert facts(world) == before
    assert call(world, "ids", "check").returncode == 0


def test_what_came_after_numbering_comes_back_with_its_own_manifest(sqlite_world, new_url):
    world = sqlite_world
    world.simulate(scale=0.05, scenario=("onecamera", "pdi"))
    night = world.folder / "archive" / DATE
    late = sorted(night.glob("vcam*/*.fits"), key=lambda path: path.stat().st_mtime_ns)[-1:]
    hidden = world.folder / "hidden"
    hidden.mkdir()
    for cube in late:
        for path in (cube, cube.with_suffix(".txt")):
            shutil.move(path, hidden / path.name)
    assert world.advance().succeeded
    for cube in late:
        for path in (cube, cube.with_suffix(".txt")):
            shutil.move(hidden / path.name, path)
    assert world.advance(late_reason="came later").succeeded
    before = facts(world)
    assert {row[20] for row in before["file"]} == {0, 1, None}
    assert len({row[0] for row in before["manifest"]}) == 2
    assert lose(world, new_url).succeeded
    assert facts(world) == before
    tree = world.tree()
    assert world.rollback().succeeded
    assert world.advance(late_reason="came later").succeeded
    now = facts(world)
    assert now["frame_id"] == before["frame_id"]
    assert {k: v for k, v in world.tree().items() if "manifest" not in k} == {
        k: v for k, v in tree.items() if "manifest" not in k
    }


@pytest.mark.parametrize("state", ["transferred", "compressed", "fixed", "synced", "raw"])
def test_a_night_that_was_taken_back_comes_back_as_it_is(night, new_url, state):
    world = night
    world.bring()
    tree = world.tree()
    assert world.rollback(to=state).succeeded
    before, files = facts(world), world.tree()
    made = lose(world, new_url)
    assert made.succeeded
    now = facts(world)
    assert world.tree() == files
    if state in {"transferred", "compressed"}:
        assert now == before
    else:  # no file has an ID
        assert now["frame_id"] == []
        carry_on(world, made)
    assert world.advance().succeeded
    assert world.tree() == tree
    assert call(world, "audit").returncode == 0


def test_numbers_that_were_handed_out_come_back(night, new_url):
    world = night
    world.data["ids"]["authority"] = "blocks"
    (world.folder / "ids.txt").write_text("VMPA00000101 VMPA00000103\nVMPA00000201 VMPA00000300\n")
    reserve = ("ids", "reserve", "--from-file", str(world.folder / "ids.txt"))
    assert call(world, *reserve).returncode == 0
    assert world.advance().succeeded
    before = facts(world)["frame_id"]
    made = lose(world, new_url)
    assert made.succeeded
    assert next_command(world.config, made) == "ledger ids reserve --from-file FILE"
    assert facts(world)["frame_id"] == before
    last = max(row[1] for row in before)
    (world.folder / "ids.txt").write_text(f"VMPA{last + 1:08d} VMPA00000300\n")
    done = call(world, *reserve)
    assert done.returncode == 0, done.stderr
    assert call(world, "ids", "check").returncode == 0
    assert call(world, "audit").returncode == 0


def test_a_salvaged_file_comes_back(night, new_url):
    world = night
    world.data["salvage"] = True
    cube = max((world.folder / "archive" / DATE / "vcam1").glob("*.fits"))
    os.truncate(cube, cube.stat().st_size - 2880 + 300)  # two frames and a bit
    world.machine().advance(world.night(), final=True)
    before = facts(world)
    assert world.query("SELECT count(*) FROM file WHERE lost_frames > 0") == [(1,)]
    assert lose(world, new_url).succeeded
    assert facts(world) == before
