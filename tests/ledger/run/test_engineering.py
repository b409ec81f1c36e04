"""The engineering pipeline: no frame IDs and no manifest, products keep their names, and the way back is as exact."""

from ledger.audit import laws
from tests.inside import call
from tests.world import DATE, World


def test_end_to_end_and_back(world: World):
    truth = world.simulate(scale=0.05, scenario=("pdi", "untriggered"), pipeline="engineering")
    night = world.folder / "engineering" / DATE
    destination = world.folder / "destination/engineering"
    before = world.tree(night)
    result = world.advance()
    assert result.succeeded, result
    assert result.pipeline == "engineering"
    assert set(result.states) == {"transferred"}
    assert world.query("SELECT COUNT(*) FROM frame_id") == [(0,)]
    names = {name for (name,) in world.query("SELECT name FROM file WHERE kind = 'product'")}
    assert any(name.startswith("vsync_06:00:0") for name in names)
    expected = {f"vgen2/{name}{suffix}" for name in names for suffix in (".fits.fz", ".txt")} | {"vgen2/lineage.tsv"}
    made = world.tree(night)
    assert {n for n in made if n.startswith("vgen2/")} == expected
    assert not any("manifest" in name for name in made)
    assert {name: made[name] for name in before} == before
    copies = world.tree(destination / DATE)
    assert {name: copies[name][0] for name in expected} == {name: made[name][0] for name in expected}
    assert world.tree(world.destination) == {}
    n_frames = sum(file.n_frames for file in truth.files)
    assert world.query("SELECT SUM(n_frames) FROM file WHERE kind = 'product'") == [(n_frames,)]
    store = world.store()
    found = [v for _, violations in laws.check_laws(store, laws.read_laws()) for v in violations]
    assert found + list(laws.check_files(store, world.config)) == []
    assert world.rollback().succeeded
    assert world.tree(night) == before
    assert world.tree(destination) == {}
    assert world.advance().succeeded
    assert world.tree(night) == made


def test_states_that_it_does_not_have(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",), pipeline="engineering")
    for arguments in (("advance", "--date", DATE, "--to", "manifested"), ("rollback", "--date", DATE, "--to", "id'd")):
        done = call(sqlite_world, *arguments)
        assert done.returncode == 2
        assert "in pipeline engineering: expected one of raw, synced" in done.stderr


def test_new_raw_pairs_the_night_anew(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("slow",), pipeline="engineering")
    night = sqlite_world.folder / "engineering" / DATE
    timing = min((night / "vcam1").glob("*.txt"))
    content = timing.read_bytes()
    timing.unlink()
    assert sqlite_world.advance(to="compressed").succeeded
    timing.write_bytes(content)
    assert sqlite_world.advance().succeeded
    assert all(
        synchronised for (synchronised,) in sqlite_world.query("SELECT synchronised FROM file WHERE kind='product'")
    )
    names = {p.name.removesuffix(".fits.fz") for p in (night / "vgen2").glob("*.fz")}
    copies = sqlite_world.folder / "destination/engineering" / DATE / "vgen2"
    assert {p.name.removesuffix(".fits.fz") for p in copies.glob("*.fz")} == names


def test_both_pipelines_hold_the_same_night(sqlite_world):
    for pipeline in ("archive", "engineering"):
        sqlite_world.simulate(scale=0.02, scenario=("onecamera",), pipeline=pipeline)
    for pipeline in ("archive", "engineering"):
        done = call(sqlite_world, "advance", str(sqlite_world.folder / pipeline / DATE))
        assert done.returncode == 0, done.stderr
        assert f"night {DATE} ({pipeline})" in done.stdout
    assert sqlite_world.query("SELECT pipeline, COUNT(*) FROM file WHERE kind = 'raw' GROUP BY pipeline") == [
        ("archive", 1),
        ("engineering", 1),
    ]
    assert call(sqlite_world, "audit").returncode == 0
