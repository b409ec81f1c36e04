"""The database is lost, at every state: what is on disk gives it back."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger.db import backup
from ledger.disk.nights import NightFolder
from ledger.errors import BadInput, Interrupted, NotReady
from ledger.night import record
from ledger.night.journal import Failure
from ledger.night.pipeline import pipelines
from ledger.report import Silent, Stop
from ledger.rescue.rebuild import Rebuilt, rebuild, way_on
from tests.ledger.db.test_backup import fresh, other_url
from tests.world import DATE, Tree, World

__all__ = ["other_url"]

SECOND = "20260103"
STATES = ["raw", "synced", "consolidated", "fixed", "identified", "compressed", "transferred", "manifested"]

#: What a rebuilt ledger has as it was: rows of products and raw files, IDs, proofs, manifests.
FACTS = {
    "file": "SELECT n.pipeline, n.date, f.kind, f.state, f.identity, f.folder, f.name, f.camera, f.flc, f.synchronised,"
    " f.solo, f.group_number, f.n_frames, f.first_us, f.last_us, f.exposure_us, f.size_bytes, f.timing_sha256,"
    " f.sha256, CAST(f.files AS TEXT), f.supplement, f.quarantine_reason FROM file f JOIN night n ON n.id = f.night_id",
    "lineage": "SELECT p.identity, l.position, r.identity, l.n_frames, CAST(l.runs AS TEXT) FROM lineage l"
    " JOIN file p ON p.id = l.product_id JOIN file r ON r.id = l.raw_id",
    "frame_id": "SELECT frame_id, number, identity, start_us, camera, flc, status, late FROM frame_id",
    "copy": "SELECT identity, path, sha256, size_bytes FROM copy WHERE withdrawn_us IS NULL",
    "manifest": "SELECT m.name, m.sha256, l.position, l.frame_id, l.identity, l.path, l.size_bytes FROM manifest m"
    " JOIN manifest_line l ON l.manifest_id = m.id WHERE m.withdrawn_us IS NULL",
    "sequence": "SELECT prefix, next_number FROM frame_sequence",
}


@pytest.fixture
def night(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.02, scenario=("pdi", "untriggered"))
    return sqlite_world


@pytest.fixture
def new_url(tmp_path: Path) -> str:
    """Return a database that is not there, on SQLite: both kinds are made in the same way."""
    return f"sqlite:///{tmp_path / 'new.db'}"


def facts(world: World) -> dict[str, list[Any]]:
    return {name: sorted(world.query(query), key=repr) for name, query in FACTS.items()}


def lose(world: World, url: str) -> Rebuilt:
    """Lose the database, and make it anew."""
    fresh(world, url)
    return rebuild(world.config, clock=lambda: world.now_us)


def carry_on(world: World, made: Rebuilt) -> None:
    """Say where numbering goes on, as the command asks to."""
    world.now_us += 1_000_000
    done = world.run(*way_on(world.config, made).split()[1:])
    assert done.returncode == 0, done.stderr


def of_night(world: World) -> Tree:
    """Return the files of the night; manifests name the world's own folder."""
    return {name: file for name, file in world.tree().items() if not name.startswith("manifest")}


def undisturbed(world: World) -> World:
    """Return a world of the same nights that are advanced at once."""
    other = World(world.folder / "undisturbed", f"sqlite:///{world.folder / 'undisturbed.db'}")
    other.store().init(pipelines(other.config).values())
    for name in ("archive", "engineering"):
        shutil.copytree(world.folder / name, other.folder / name, dirs_exist_ok=True)
    return other


@pytest.mark.parametrize("state", STATES)
def test_the_database_is_lost_at_every_state(night, other_url, state):
    world = night
    raw = world.tree()
    clean = undisturbed(world)
    clean.bring()
    if state == "raw":
        world.machine().scan(world.night())
    else:
        assert world.advance(to=state).succeeded
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
    audit = world.run("audit", "--deep")
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
    assert world.run("ids", "check").returncode == 0
    assert world.run("doctor").returncode == 0


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


def test_a_compressed_cube_that_is_not_proven_is_left_as_it_is(night, new_url):
    world = night
    world.bring()
    cube = sorted((world.folder / "archive" / DATE / "vgen2").glob("*.fz"))[1]
    good = cube.read_bytes()
    cube.write_bytes(good[:-2880] + bytes(2880))
    damaged = cube.read_bytes()
    made = lose(world, new_url)
    assert not made.succeeded
    ((name, reason),) = [failed for failed in made.nights[0].failed if failed[0] == cube.name.split(".")[0]]
    assert "SHA256SUMS" in reason
    assert world.query("SELECT count(*) FROM file WHERE quarantine_reason IS NOT NULL") == [(1,)]
    world.advance()
    assert cube.read_bytes() == damaged
    assert len(world.query(f"SELECT 1 FROM frame_id WHERE frame_id = '{name}' AND status = 'live'")) == 1
    # made anew, as the reason says
    cube.unlink()
    cube.with_name(f"{name}.txt").unlink()
    assert world.run("quarantine", "release", name).returncode == 0
    world.advance(to="compressed")
    assert cube.read_bytes() == good


@pytest.mark.parametrize("damage", [Path.unlink, lambda txt: txt.write_text("0\n")], ids=["gone", "another"])
def test_a_number_without_its_txt_stays_with_its_product(night, new_url, damage):
    world = night
    world.bring(to="compressed")
    before = facts(world)["frame_id"]
    txt = sorted((world.folder / "archive" / DATE / "vgen2").glob("VMPA*.txt"))[1]
    damage(txt)
    made = lose(world, new_url)
    assert [name for name, _ in made.nights[0].failed if name.startswith("VMPA")] == [txt.stem]
    assert facts(world)["frame_id"] == before


def test_a_number_of_nobody_stops_it(night, new_url):
    world = night
    world.bring()
    stray = world.folder / "archive" / DATE / "vgen2" / "VMPA00009999.txt"
    stray.write_text("?")
    with pytest.raises(BadInput, match="VMPA00009999"):
        lose(world, new_url)
    stray.unlink()
    lineage = stray.with_name("lineage.tsv")
    text = lineage.read_text()
    lineage.write_text("".join(f"{line}\n" for line in text.split("\n")[:-2]))  # without the last product
    with pytest.raises(BadInput, match="VMPA0000000"):
        lose(world, new_url)
    lineage.write_text(text)
    assert lose(world, new_url).succeeded


def test_products_that_are_at_the_destination_only_stop_it(night, new_url):
    world = night
    world.bring()
    before = facts(world)
    shutil.rmtree(world.folder / "archive" / DATE / "vgen2")
    with pytest.raises(BadInput, match="cp -Rp"):
        lose(world, new_url)
    shutil.copytree(world.destination / DATE / "vgen2", world.folder / "archive" / DATE / "vgen2")
    assert lose(world, new_url).succeeded
    assert facts(world) == before


def test_a_copy_that_differs_is_not_proven(night, new_url):
    world = night
    world.bring()
    copy = min((world.destination / DATE / "vgen2").glob("*.fz"))
    copy.write_bytes(bytes(len(copy.read_bytes())))
    made = lose(world, new_url)
    assert not made.succeeded
    assert world.query(f"SELECT state FROM file WHERE CAST(files AS TEXT) LIKE '%{copy.name}%'") == [("compressed",)]
    assert world.query("SELECT count(*) FROM manifest") == [(0,)]


def with_cell(text: str, column: str, value: str) -> str:
    """Return a lineage with another value in the second line of a column."""
    rows = [line.split("\t") for line in text.split("\n")]
    rows[2][rows[0].index(column)] = value
    return "\n".join(map("\t".join, rows))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("identity", "identities", 1),
        lambda _: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("0:1:", "1:1:"),
        lambda text: text.replace("vcam1/", "vcam9/"),
        lambda text: text + text.split("\n")[1] + "\n",
        lambda text: text.replace("\t1\t", "\t" + "9" * 5000 + "\t"),
        lambda text: with_cell(text, "flc", "D"),
        lambda text: with_cell(text, "supplement", "1"),
        lambda text: with_cell(text, "group", "3000000000"),
    ],
)
def test_a_night_without_its_lineage_is_left_alone(night, new_url, damage):
    world = night
    world.bring()
    lineage = world.folder / "archive" / DATE / "vgen2" / "lineage.tsv"
    lineage.write_text(damage(lineage.read_text()))
    tree = world.tree()
    made = lose(world, new_url)
    assert "lineage.tsv" in str(made.nights[0].stopped)
    assert world.query("SELECT count(*) FROM file WHERE kind = 'product'") == [(0,)]
    with pytest.raises(NotReady, match="foreign"):
        world.advance()
    assert world.tree() == tree


def test_another_raw_file_leaves_the_night_alone(night, new_url):
    world = night
    world.bring()
    raw = min((world.folder / "archive" / DATE / "vcam1").glob("*.fits"))
    raw.rename(raw.with_name("other.fits"))
    raw.with_suffix(".txt").rename(raw.with_name("other.txt"))
    made = lose(world, new_url)
    assert raw.name in str(made.nights[0].stopped)
    raw.with_name("other.fits").rename(raw)
    raw.with_name("other.txt").rename(raw.with_suffix(".txt"))
    world.close()
    (world.folder / "again").mkdir()
    assert lose(world, f"sqlite:///{world.folder / 'again' / 'ledger.db'}").succeeded


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
    assert world.run("ids", "check").returncode == 0


def test_the_sequence_goes_on_above_what_backups_know(night, new_url):
    world = night
    world.data["backup"]["automatic"] = True
    world.bring()
    assert world.run("ids", "start", "VMPA", "500").returncode == 0
    backup.make(world.store(), world.config)
    made = lose(world, new_url)
    assert made.lowest_id == "VMPA00000500"
    assert world.query("SELECT next_number FROM frame_sequence") == [(500,)]
    assert backup.why_outdated(world.store(), world.config) is None
    assert world.run("audit").returncode == 0


def test_a_product_without_a_number_in_a_numbered_night_waits_for_a_decision(night, new_url):
    """It may have been discarded: that is on no disk."""
    world = night
    world.bring(to="identified")
    folder = world.folder / "archive" / DATE / "vgen2"
    ids = sorted({path.stem for path in folder.glob("VMPA*")})
    (name,) = world.query(f"SELECT f.name FROM file f JOIN frame_id i ON i.identity = f.identity"
                          f" WHERE i.frame_id = '{ids[2]}'")[0]  # fmt: skip
    (folder / f"{ids[2]}.fits").rename(folder / f"{name}.fits")
    (folder / f"{ids[2]}.txt").rename(folder / f"{name}.txt")
    made = lose(world, new_url)
    assert [failed[0] for failed in made.nights[0].failed] == [name]
    assert world.query(f"SELECT 1 FROM frame_id WHERE frame_id = '{ids[2]}'") == []
    assert "in quarantine" in str(world.advance().stopped)
    assert world.run("quarantine", "release", name).returncode == 0
    carry_on(world, made)
    assert "--late" in str(world.advance(to="identified").stopped)
    assert world.advance(to="identified", late_reason="lost").succeeded
    assert world.run("audit").returncode == 0


def test_a_database_with_runs_is_not_replaced(night):
    world = night
    world.bring()
    before = facts(world)
    with pytest.raises(BadInput, match="runs on record"):
        rebuild(world.config)
    assert facts(world) == before


def test_a_database_that_somebody_began_meanwhile_is_not_replaced(night, other_url):
    world = night
    world.bring()
    fresh(world, other_url)

    class Visitor(Silent):
        def phase(self, name: str, total: int) -> None:  # noqa: ARG002
            if name.endswith("copies"):
                assert world.run("init").returncode == 0
                world.store().begin_run("scan", {})

    with pytest.raises(BadInput, match="1 runs on record"):
        rebuild(world.config, reporter=Visitor())
    assert world.query("SELECT command FROM run") == [("scan",)]


def test_it_needs_the_places_that_it_reads(night, new_url):
    world = night
    world.bring()
    away = world.destination.rename(world.destination.with_name("away"))
    with pytest.raises(BadInput, match="mounted"):
        lose(world, new_url)
    away.rename(world.destination)
    assert lose(world, new_url).succeeded


def test_the_command_says_what_it_did_and_what_is_lost(night, new_url):
    world = night
    world.bring()
    fresh(world, new_url)
    done = world.run("rebuild")
    assert done.returncode == 0, done.stderr
    assert "manifested" in done.stdout
    assert "lost" in done.stdout
    assert world.run("audit").returncode == 0
    again = world.run("rebuild")
    assert again.returncode == 2
    assert "runs on record" in again.stderr
    assert "restored=1" in world.run("history", "VMPA00000001").stdout


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
    assert world.run("audit").returncode == 0


def test_numbers_that_were_handed_out_come_back(night, new_url):
    world = night
    world.data["ids"]["authority"] = "blocks"
    (world.folder / "ids.txt").write_text("VMPA00000101 VMPA00000103\nVMPA00000201 VMPA00000300\n")
    reserve = ("ids", "reserve", "--from-file", str(world.folder / "ids.txt"))
    assert world.run(*reserve).returncode == 0
    assert world.advance().succeeded
    before = facts(world)["frame_id"]
    made = lose(world, new_url)
    assert made.succeeded
    assert way_on(world.config, made) == "ledger ids reserve --from-file FILE"
    assert facts(world)["frame_id"] == before
    last = max(row[1] for row in before)
    (world.folder / "ids.txt").write_text(f"VMPA{last + 1:08d} VMPA00000300\n")
    done = world.run(*reserve)
    assert done.returncode == 0, done.stderr
    assert world.run("ids", "check").returncode == 0
    assert world.run("audit").returncode == 0


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


@pytest.mark.parametrize("phase", ["timing", "products", "copies"])
def test_one_that_is_stopped_leaves_no_database(night, new_url, phase):
    world = night
    world.bring()
    fresh(world, new_url)
    stop = Stop()

    class Stopping(Silent):
        def phase(self, name: str, total: int) -> None:  # noqa: ARG002
            if name.endswith(phase):
                stop.signal_number = 15

    with pytest.raises(Interrupted):
        rebuild(world.config, stop=stop, reporter=Stopping())
    path = Path(new_url.removeprefix("sqlite:///"))
    assert not path.exists()
    assert not list(path.parent.glob(".ledger-*"))
    assert rebuild(world.config).succeeded


def test_odd_things_are_refused_or_passed_over(night, new_url):
    world = night
    world.bring()
    before = facts(world)
    folder = world.folder / "archive" / DATE
    (folder / "vgen2" / "notes.txt").write_text("mine")
    (folder / "vgen2" / "sub").mkdir()
    os.mkfifo(folder / "vgen2" / "pipe.txt")
    (folder / "vgen2" / "dangling.fits").symlink_to("nowhere")
    (folder / "vgen2" / ".ledger-VMPA00000001.fits.fz").write_bytes(b"left by a run that died")
    (world.folder / "archive" / "20260104").mkdir()
    (world.folder / "archive" / "20260105").symlink_to("nowhere")
    with pytest.raises(NotReady, match="20260105"):
        lose(world, new_url)
    (world.folder / "archive" / "20260105").unlink()
    assert lose(world, new_url).succeeded
    assert facts(world) == before
    assert world.advance().succeeded
    assert (folder / "vgen2" / "notes.txt").read_text() == "mine"


def test_a_foreign_night_is_left_alone(night, new_url):
    world = night
    world.bring()
    before = facts(world)
    world.simulate(SECOND, scale=0.02, scenario=("pdi",))
    other = world.folder / "archive" / SECOND / "vgen2"
    other.mkdir()
    (other / "theirs.fits").write_bytes(b"theirs")
    made = lose(world, new_url)
    assert [bool(told.stopped) for told in made.nights] == [False, True]
    assert facts(world)["frame_id"] == before["frame_id"]
    assert (other / "theirs.fits").read_bytes() == b"theirs"


# what the files do not prove


def discard(world: World, place: int) -> str:
    """Let a product fail before it has a file, and give it up; return its name."""
    world.bring(to="synced")
    with world.machine().holding(world.night(), "test", {}) as (steps, _):
        items = record.products(steps.journal.store, steps.journal.night)
        failed = [Failure(items[place], "bad", is_final=True)]
        steps.journal.failed(failed, steps.journal.pipeline.steps[1].forward, world.config.failures)
    name = items[place].product.name
    assert world.run("quarantine", "discard", name, "--reason", "bad").returncode == 0
    return name


def test_a_number_goes_to_no_other_product_where_one_was_discarded(night, new_url):
    world = night
    discarded = discard(world, -2)
    assert world.advance().succeeded
    before = facts(world)["frame_id"]
    for top in (world.folder / "archive", world.destination):
        max((top / DATE / "vgen2").glob("VMPA*.txt")).unlink()
    made = lose(world, new_url)
    assert facts(world)["frame_id"] == before
    assert discarded in {name for name, _ in made.nights[0].failed}
    assert world.query("SELECT count(*) FROM file WHERE quarantine_reason IS NOT NULL") == [(2,)]


def test_a_discarded_product_gets_no_number_by_itself(night, new_url):
    world = night
    discarded = discard(world, -1)
    assert world.advance().succeeded
    before = facts(world)["frame_id"]
    made = lose(world, new_url)
    carry_on(world, made)
    assert "quarantine" in str(world.advance().stopped)
    assert facts(world)["frame_id"] == before
    assert world.run("quarantine", "discard", discarded, "--reason", "bad, as before").returncode == 0
    assert world.advance().succeeded
    assert facts(world)["frame_id"] == before
    assert world.run("audit").returncode == 0


def damage_end(content: bytes) -> bytes:
    return content[:-2880] + bytes(2880)


#: Of a compressed cube; the last is in what follows the last tile.
DAMAGES = {
    "truncated": lambda content: content[:-2880],
    "zeros": damage_end,
    "one bit": lambda content: content[:-4000] + bytes([content[-4000] ^ 1]) + content[-3999:],
    "longer": lambda content: content + bytes(2880),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_of_a_compressed_cube_is_found_without_checksums(night, new_url, damage):
    world = night
    world.bring(to="compressed")
    cube = min((world.folder / "archive" / DATE / "vgen2").glob("*.fz"))
    damaged = DAMAGES[damage](cube.read_bytes())
    cube.write_bytes(damaged)
    made = lose(world, new_url)
    assert [name for name, _ in made.nights[0].failed] == [cube.name.split(".")[0]]
    world.advance()
    assert cube.read_bytes() == damaged
    assert not list(world.destination.rglob(cube.name))
    assert world.query("SELECT count(*) FROM manifest") == [(0,)]


def test_a_plain_cube_wins_over_a_damaged_compressed_one(night, new_url):
    world = night
    clean = undisturbed(world)
    clean.bring()
    world.bring(to="identified")
    plain = min((world.folder / "archive" / DATE / "vgen2").glob("VMPA*.fits"))
    good = (clean.folder / "archive" / DATE / "vgen2" / f"{plain.name}.fz").read_bytes()
    clean.close()
    plain.with_name(f"{plain.name}.fz").write_bytes(good[:-2880])
    assert lose(world, new_url).succeeded
    assert world.query("SELECT state, count(*) FROM file WHERE kind = 'product' GROUP BY 1") == [("identified", 8)]
    assert world.advance().succeeded
    assert (world.destination / DATE / "vgen2" / f"{plain.name}.fz").read_bytes() == good


def test_a_plain_cube_with_other_pixels_is_made_anew(night, new_url):
    world = night
    world.bring(to="identified")
    before = facts(world)["frame_id"]
    plain = min((world.folder / "archive" / DATE / "vgen2").glob("VMPA*.fits"))
    good = plain.read_bytes()
    plain.write_bytes(damage_end(good))
    assert lose(world, new_url).succeeded
    assert world.advance(to="identified").succeeded
    assert plain.read_bytes() == good
    assert facts(world)["frame_id"] == before


def test_files_that_are_not_proven_stop_a_rollback(night, new_url):
    world = night
    raw = world.tree()
    world.bring()
    cube = sorted((world.folder / "archive" / DATE / "vgen2").glob("*.fz"))[1]
    cube.write_bytes(damage_end(cube.read_bytes()))
    lose(world, new_url)
    tree = world.tree()
    rolled = world.rollback()
    assert cube.name in str(rolled.stopped)
    assert world.tree() == tree
    for path in cube.parent.glob(cube.name.replace("fits.fz", "*")):
        path.unlink()
    world.rollback()
    assert {name for name in set(world.tree()) - set(raw) if not name.startswith("manifest")} == set()


# nights that are not all here


def test_a_night_that_is_at_the_destination_only_keeps_its_numbers(sqlite_world, new_url):
    world = sqlite_world
    world.simulate_two(DATE, SECOND)
    first, second = (world.folder / "archive" / date for date in (DATE, SECOND))
    hidden = first.rename(world.folder / "hidden")
    assert world.advance(SECOND).succeeded
    before = facts(world)
    ((last,),) = world.query("SELECT max(number) FROM frame_id")
    away = second.rename(world.folder / "away")
    hidden.rename(first)
    made = lose(world, new_url)
    assert not made.succeeded
    assert made.lowest_id == f"VMPA{last + 1:08d}"
    (told,) = [night for night in made.nights if night.date == SECOND]
    assert "destination" in str(told.stopped)
    assert world.query("SELECT date FROM night WHERE excluded_reason IS NOT NULL") == [(SECOND,)]
    carry_on(world, made)
    assert "before the first night" in str(stopped_by(world, DATE)), "its IDs would be out of order"
    for name in ("vgen2", "SHA256SUMS", *(path.name for path in away.glob("manifest*"))):
        (away / name).rename(world.folder / name)
    away.rename(second)
    assert "excluded" in str(stopped_by(world, SECOND)), "its frames have IDs already"
    for name in ("vgen2", "SHA256SUMS", *(path.name for path in world.folder.glob("manifest*"))):
        (world.folder / name).rename(second / name)
    world.close()
    made = lose(world, f"{new_url}2")
    assert made.succeeded
    assert facts(world)["frame_id"] == before["frame_id"]
    carry_on(world, made)
    assert "--late" in str(world.advance(DATE).stopped)


def stopped_by(world: World, date: str) -> str:
    try:
        return str(world.advance(date).stopped)
    except NotReady as exc:
        return str(exc)


def test_a_numbered_night_that_is_left_alone_keeps_its_place_in_time(sqlite_world, new_url):
    world = sqlite_world
    world.simulate_two(DATE, SECOND)
    first = world.folder / "archive" / DATE
    hidden = first.rename(world.folder / "hidden")
    assert world.advance(SECOND).succeeded
    hidden.rename(first)
    (world.folder / "archive" / SECOND / "vgen2" / "lineage.tsv").write_text("?")
    made = lose(world, new_url)
    assert [bool(night.stopped) for night in made.nights] == [False, True]
    carry_on(world, made)
    assert "before the first night" in stopped_by(world, DATE)


def test_an_id_of_two_nights_stops_it(sqlite_world, new_url):
    world = sqlite_world
    world.simulate_two(DATE, SECOND)
    world.bring()
    world.bring(SECOND)
    ((number,),) = world.query("SELECT min(f.number) FROM frame_id f JOIN night n ON n.id = f.night_id"
                               f" WHERE n.date = '{SECOND}'")  # fmt: skip
    for top in (world.folder / "archive", world.destination):
        for path in (top / SECOND / "vgen2").glob(f"VMPA{number:08d}*"):
            path.rename(path.with_name(path.name.replace(f"{number:08d}", "00000001")))
    with pytest.raises(BadInput, match="VMPA00000001 is in"):
        lose(world, new_url)


def test_places_of_every_pipeline_must_be_there(night, new_url):
    world = night
    world.bring()
    engineering = world.folder / "engineering"
    (world.config.destination("engineering") / SECOND).mkdir()
    away = engineering.rename(world.folder / "away")
    with pytest.raises(BadInput, match=r"engineering\.root"):
        lose(world, new_url)
    away.rename(engineering)
    known = world.data["engineering"]["destination"]
    world.data["engineering"]["destination"] = str(world.folder / "unmounted")
    with pytest.raises(BadInput, match=r"engineering\.destination"):
        lose(world, new_url)
    world.data["engineering"]["destination"] = known
    products = world.folder / "archive" / DATE / "vgen2"
    disk = products.rename(world.folder / "disk")
    products.symlink_to(world.folder / "unmounted")
    with pytest.raises(NotReady, match="vgen2"):
        lose(world, new_url)
    products.unlink()
    disk.rename(products)
    assert lose(world, new_url).succeeded


# what is at the destination


@pytest.mark.parametrize(
    "damage",
    [
        lambda here, there: there.unlink(),  # noqa: ARG005
        lambda here, there: there.write_text("other"),  # noqa: ARG005
        lambda here, there: here.write_bytes(here.read_bytes() + here.read_bytes().split(b"\n")[0] + b"\n"),  # noqa: ARG005
        lambda here, there: here.write_bytes(here.read_bytes().replace(b"/vgen2/", b"/nowhere/")),  # noqa: ARG005
        lambda here, there: here.write_bytes(here.read_bytes().replace(b"0\r\n", b"1\r\n", 1)),  # noqa: ARG005
    ],
    ids=["gone there", "another there", "a line twice", "other paths", "another size"],
)
def test_a_manifest_counts_only_as_it_would_be_written(night, new_url, damage):
    world = night
    world.bring()
    (here,) = (world.folder / "archive" / DATE).glob("manifest*")
    there = world.destination / DATE / here.name
    good = here.read_bytes()
    damage(here, there)
    made = lose(world, new_url)
    assert [name for name, _ in made.nights[0].failed] == [DATE]
    assert world.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("transferred",)]
    assert world.query("SELECT count(*) FROM manifest") == [(0,)]
    if here.read_bytes() == good:  # the next advance writes it there again
        assert world.advance().succeeded
        assert there.read_bytes() == good
    else:
        assert "did not write" in str(world.advance().stopped or world.advance().failed)


@pytest.mark.parametrize("name", ["SHA256SUMS", "vgen2/lineage.tsv"])
def test_a_file_of_the_night_that_is_not_right_there_is_told(night, new_url, name):
    world = night
    world.bring()
    before = facts(world)
    (world.destination / DATE / name).unlink()
    made = lose(world, new_url)
    assert [failed[0] for failed in made.nights[0].failed] == [name]
    assert facts(world) == before
    assert world.run("verify", "--date", DATE, "--repair").returncode == 0
    assert (world.destination / DATE / name).is_file()


# the database that it is


def test_somebody_who_has_the_database_open_is_not_written_over(night, new_url):
    world = night
    world.bring()
    before = facts(world)
    fresh(world, new_url)
    assert world.run("init").returncode == 0
    path = new_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as other:
        other.execute("SELECT count(*) FROM run").fetchall()
        done = world.run("rebuild")
        assert done.returncode == 1
        assert "open" in done.stderr
        assert other.execute("SELECT count(*) FROM run").fetchall() == [(0,)]
    done = world.run("rebuild")
    assert done.returncode == 0, done.stderr
    assert facts(world) == before


def test_a_journal_of_the_empty_database_does_no_harm(night, new_url):
    """Whoever had it open was killed: its journal is still there."""
    world = night
    world.bring()
    before = facts(world)
    fresh(world, new_url)
    path = Path(new_url.removeprefix("sqlite:///"))
    script = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA journal_mode = WAL');"
        " c.execute('CREATE TABLE alembic_version (version_num)'); c.commit(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True)
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0
    assert rebuild(world.config, clock=lambda: world.now_us).succeeded
    assert facts(world) == before
    with closing(sqlite3.connect(path)) as made:
        assert made.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_two_at_once_make_one_database(night, new_url):
    world = night
    world.bring()
    before = facts(world)
    fresh(world, new_url)
    others = []

    class Second(Silent):
        def phase(self, name: str, total: int) -> None:  # noqa: ARG002
            if name.endswith("copies") and not others:
                others.append(world.run("rebuild").returncode)

    with pytest.raises(BadInput, match="runs on record"):
        rebuild(world.config, reporter=Second())
    assert others == [0]
    assert facts(world) == before


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"garbage" * 5000, "damaged, or no database"), (None, "no file"), (b"", None)],
    ids=["garbage", "folder", "empty"],
)
def test_what_is_in_the_place_of_the_database_is_left_alone(night, new_url, content, told):
    world = night
    world.bring()
    fresh(world, new_url)
    path = Path(new_url.removeprefix("sqlite:///"))
    path.mkdir() if content is None else path.write_bytes(content)
    done = world.run("rebuild")
    assert done.returncode == (2 if told else 0)
    assert str(told) in done.stderr or told is None
    assert "raw: " not in done.stderr or told is None, "refused before any work"
    assert path.is_dir() or path.read_bytes() == content or told is None


def test_tables_of_somebody_else_are_left_alone(night, new_url):
    world = night
    world.bring()
    with closing(sqlite3.connect(new_url.removeprefix("sqlite:///"))) as other:
        other.execute("CREATE TABLE precious (x)")
        other.commit()
    with pytest.raises(BadInput, match="precious"):
        lose(world, new_url)


def test_the_highest_number_of_all_backups_counts(night, new_url):
    world = night
    world.data["backup"]["automatic"] = True
    assert world.run("ids", "start", "VMPA", "500").returncode == 0
    fresh(world, f"{new_url}.begun-anew")
    assert world.run("init").returncode == 0
    assert world.run("scan", "--date", DATE).returncode == 0
    newest = backup.found(world.config)[-1]
    newest.path.with_name(newest.path.name.replace(f"{newest.last_entry:012d}", f"{10**6:012d}")).write_bytes(
        b"?" * 999
    )
    assert len({found.path.parent for found in backup.found(world.config)}) == 2
    assert lose(world, new_url).lowest_id == "VMPA00000500"


def test_names_do_not_reach_the_terminal_as_they_are(night, new_url):
    world = night
    world.bring()
    folder = os.fsencode(world.destination / DATE / "vgen2")
    Path(os.fsdecode(folder + b"/VMPA00000001.\xff\x1b[31m")).touch()
    fresh(world, new_url)
    done = world.run("rebuild")
    assert done.returncode == 2
    assert "\\x1b[31m" in done.stderr
    assert "\x1b" not in done.stderr
