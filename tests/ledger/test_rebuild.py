"""The database is lost, at every state: what is on disk gives it back."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ledger import backup
from ledger.errors import BadInput, Interrupted, NotReady
from ledger.flow import flows
from ledger.rebuild import Rebuilt, rebuild
from ledger.report import Silent, Stop
from ledger.scan import NightFolder
from tests.ledger.test_backup import fresh, other_url
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


def of_night(world: World) -> Tree:
    """Return the files of the night; manifests name the world's own folder."""
    return {name: file for name, file in world.tree().items() if not name.startswith("manifest")}


def undisturbed(world: World) -> World:
    """Return a world of the same nights that are advanced at once."""
    other = World(world.folder / "undisturbed", f"sqlite:///{world.folder / 'undisturbed.db'}")
    other.store().init(flows(other.config).values())
    for name in ("archive", "engineering"):
        shutil.copytree(world.folder / name, other.folder / name, dirs_exist_ok=True)
    return other


@pytest.mark.parametrize("state", STATES)
def test_the_database_is_lost_at_every_state(night, other_url, state):
    world = night
    raw = world.tree()
    clean = undisturbed(world)
    assert clean.advance().succeeded
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
        assert facts(world) == before
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
    assert world.advance().succeeded
    n_ids = len(world.query("SELECT 1 FROM frame_id"))
    made = lose(world, new_url)
    assert made.frame_ids == n_ids
    assert made.next_id == f"VMPA{n_ids + 1:08d}"
    assert world.advance(SECOND).succeeded
    assert world.query("SELECT count(*) FROM id_order WHERE disorder = 1") == [(0,)]
    assert world.run("ids", "check").returncode == 0
    assert world.run("doctor").returncode == 0


def test_the_way_back_works_after_a_rebuild(night, new_url):
    world = night
    raw = world.tree()
    assert world.advance().succeeded
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
    world.store().init(flows(world.config).values())
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
    assert clean.advance().succeeded
    assert world.advance(to="identified").succeeded
    works = world.store().works(world.store().find_night("archive", DATE))
    folder = world.folder / "archive" / DATE / "vgen2"
    for work in works[: len(works) // 2]:  # as they are after `compressed`, and between two names
        name = work.product.files[0]
        shutil.copy(clean.folder / "archive" / DATE / "vgen2" / f"{name}.fz", folder / f"{name}.fz")
    torn = folder / works[-1].product.files[0]
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
    assert world.advance().succeeded
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


def test_a_number_without_its_txt_stays_with_its_product(night, new_url):
    world = night
    assert world.advance(to="compressed").succeeded
    before = facts(world)["frame_id"]
    txt = sorted((world.folder / "archive" / DATE / "vgen2").glob("VMPA*.txt"))[1]
    txt.unlink()
    made = lose(world, new_url)
    assert [name for name, _ in made.nights[0].failed if name.startswith("VMPA")] == [txt.stem]
    assert facts(world)["frame_id"] == before


def test_a_number_of_nobody_stops_it(night, new_url):
    world = night
    assert world.advance().succeeded
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
    assert world.advance().succeeded
    before = facts(world)
    shutil.rmtree(world.folder / "archive" / DATE / "vgen2")
    with pytest.raises(BadInput, match="cp -Rp"):
        lose(world, new_url)
    shutil.copytree(world.destination / DATE / "vgen2", world.folder / "archive" / DATE / "vgen2")
    assert lose(world, new_url).succeeded
    assert facts(world) == before


def test_a_copy_that_differs_is_not_proven(night, new_url):
    world = night
    assert world.advance().succeeded
    copy = min((world.destination / DATE / "vgen2").glob("*.fz"))
    copy.write_bytes(bytes(len(copy.read_bytes())))
    made = lose(world, new_url)
    assert not made.succeeded
    assert world.query(f"SELECT state FROM file WHERE CAST(files AS TEXT) LIKE '%{copy.name}%'") == [("compressed",)]
    assert world.query("SELECT count(*) FROM manifest") == [(0,)]


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
    ],
)
def test_a_night_without_its_lineage_is_left_alone(night, new_url, damage):
    world = night
    assert world.advance().succeeded
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
    assert world.advance().succeeded
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


def test_late_ids_and_supplements_come_back(sqlite_world, new_url):
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
    assert world.advance().succeeded
    assert world.run("ids", "start", "VMPA", "500").returncode == 0
    backup.make(world.store(), world.config)
    made = lose(world, new_url)
    assert made.next_id == "VMPA00000500"
    assert backup.why_outdated(world.store(), world.config) is None
    assert world.run("audit").returncode == 0


def test_what_was_withdrawn_is_not_given_again(night, new_url):
    """A product that was made anew while the database was lost in the middle: its number is another one."""
    world = night
    assert world.advance(to="identified").succeeded
    folder = world.folder / "archive" / DATE / "vgen2"
    ids = sorted({path.stem for path in folder.glob("VMPA*")})
    (name,) = world.query(f"SELECT f.name FROM file f JOIN frame_id i ON i.identity = f.identity"
                          f" WHERE i.frame_id = '{ids[2]}'")[0]  # fmt: skip
    (folder / f"{ids[2]}.fits").rename(folder / f"{name}.fits")
    (folder / f"{ids[2]}.txt").rename(folder / f"{name}.txt")
    assert lose(world, new_url).succeeded
    assert world.query(f"SELECT 1 FROM frame_id WHERE frame_id = '{ids[2]}'") == []
    stopped = world.advance(to="identified").stopped
    assert "--late" in str(stopped)
    assert world.advance(to="identified", late_reason="lost").succeeded
    assert world.run("audit").returncode == 0


def test_a_database_with_runs_is_not_replaced(night):
    world = night
    assert world.advance().succeeded
    before = facts(world)
    with pytest.raises(BadInput, match="runs on record"):
        rebuild(world.config)
    assert facts(world) == before


def test_a_database_that_somebody_began_meanwhile_is_not_replaced(night, other_url):
    world = night
    assert world.advance().succeeded
    fresh(world, other_url)

    class Visitor(Silent):
        def phase(self, name: str, total: int) -> None:  # noqa: ARG002
            if name.endswith("states"):
                assert world.run("init").returncode == 0
                world.store().begin_run("scan", {})

    with pytest.raises(BadInput, match="1 runs on record"):
        rebuild(world.config, reporter=Visitor())
    assert world.query("SELECT command FROM run") == [("scan",)]


def test_it_needs_the_places_that_it_reads(night, new_url):
    world = night
    assert world.advance().succeeded
    away = world.destination.rename(world.destination.with_name("away"))
    with pytest.raises(BadInput, match="mounted"):
        lose(world, new_url)
    away.rename(world.destination)
    assert lose(world, new_url).succeeded


def test_the_command_says_what_it_did_and_what_is_lost(night, new_url):
    world = night
    assert world.advance().succeeded
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
    assert world.advance().succeeded
    tree = world.tree()
    assert world.rollback(to=state).succeeded
    before, files = facts(world), world.tree()
    assert lose(world, new_url).succeeded
    now = facts(world)
    assert world.tree() == files
    if state in {"transferred", "compressed"}:
        assert now == before
    else:  # no file has an ID
        assert now["frame_id"] == []
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
    assert made.next_id is None
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


def test_one_that_is_stopped_leaves_no_database(night, new_url):
    world = night
    assert world.advance().succeeded
    fresh(world, new_url)
    stop = Stop()
    stop.signal_number = 15
    with pytest.raises(Interrupted):
        rebuild(world.config, stop=stop)
    path = Path(new_url.removeprefix("sqlite:///"))
    assert not path.exists()
    assert not list(path.parent.glob(".ledger-*"))
    assert rebuild(world.config).succeeded


def test_odd_things_are_refused_or_passed_over(night, new_url):
    world = night
    assert world.advance().succeeded
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
    world.advance()
    assert (folder / "vgen2" / "notes.txt").read_text() == "mine"


def test_a_foreign_night_is_left_alone(night, new_url):
    world = night
    assert world.advance().succeeded
    before = facts(world)
    world.simulate(SECOND, scale=0.02, scenario=("pdi",))
    other = world.folder / "archive" / SECOND / "vgen2"
    other.mkdir()
    (other / "theirs.fits").write_bytes(b"theirs")
    made = lose(world, new_url)
    assert [bool(told.stopped) for told in made.nights] == [False, True]
    assert facts(world)["frame_id"] == before["frame_id"]
    assert (other / "theirs.fits").read_bytes() == b"theirs"
