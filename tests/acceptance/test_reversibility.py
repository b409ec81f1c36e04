"""From every state to every earlier one and back: the same bytes, the same IDs; at raw, the folder as it was."""

import itertools

from tests.world import DATE, World


def snapshot(world: World) -> tuple:
    """Return all that must come back: the night, the destination, and whose each frame ID is."""
    ids = world.query("SELECT frame_id, identity, status FROM frame_id ORDER BY frame_id")
    states = world.query("SELECT kind, state, identity, sha256 FROM file ORDER BY kind, identity")
    return world.tree(), world.tree(world.destination), ids, states


def test_every_pair_of_states(world):
    world.simulate(scale=0.02, scenario=("pdi", "onecamera"))
    before = world.tree()
    states = world.machine().pipelines["archive"].states
    machine, night = world.machine(), world.night()
    seen = {}
    machine.scan(night)
    for state in states:
        assert machine.advance(night, to=state).succeeded
        seen[state] = snapshot(world)
    assert seen["raw"][:2] == (before, {})
    assert len({str(tree) for tree, *_ in seen.values()}) >= 6  # every state with files of its own shows on disk
    numbered = seen["identified"][2]
    assert numbered
    for high, low in itertools.combinations(reversed(states), 2):
        if low == states[states.index(high) - 1]:  # the first of those from this state
            assert machine.rollback(night, to=high).succeeded
        result = machine.rollback(night, to=low)
        assert result.succeeded, (high, low, result)
        assert snapshot(world) == (*seen[low][:2], numbered, seen[low][3]), (high, low)
        assert machine.advance(night, to=high).succeeded
        assert snapshot(world) == (*seen[high][:2], numbered, seen[high][3]), (high, low)
    audit = world.run("audit")
    assert audit.returncode == 0, audit.stdout


def test_the_same_night_gives_the_same_bytes_with_any_number_of_workers(sqlite_world, tmp_path, request):
    world = sqlite_world
    world.simulate(scale=0.05)
    assert world.advance(to="compressed").succeeded
    inline = world.tree()
    assert world.rollback().succeeded
    world.data["engine"] = {"executor": "processes", "workers": 2}
    assert world.advance(to="compressed").succeeded
    assert world.tree() == inline


def test_rolling_back_what_was_never_advanced_says_so(sqlite_world):
    sqlite_world.simulate(scale=0.02)
    done = sqlite_world.run("rollback", str(sqlite_world.folder / "archive" / DATE), "--yes")
    assert done.returncode == 2
    assert "not in the ledger" in done.stderr
