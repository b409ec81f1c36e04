"""The plan is what then happens, and making it writes nothing at all."""

import json
from typing import Any

import pytest

from ledger.delivery import manifest
from ledger.night.space import HEADER_BYTES
from ledger.run.plan import Plan, in_words, plan_advance, plan_rollback
from tests.inside import call
from tests.world import DATE, World

TABLES = ("night", "file", "lineage", "entry", "frame_id", "frame_sequence", "copy", "manifest", "manifest_line", "run")


def everything(world: World) -> tuple[Any, ...]:
    """Return all that a plan must leave as it is."""
    rows = {table: sorted(world.query(f"SELECT * FROM {table}"), key=repr) for table in (*TABLES, "lease")}
    return world.tree(), world.tree(world.destination), rows


def steps(plan: Plan) -> dict[str, int]:
    """Return how many products each step takes; registration and pairing are counted in files of another kind."""
    return {step.verb: step.files for step in plan.steps if step.verb not in ("register", "sync", "unsync")}


def moved(result: Any) -> dict[str, int]:
    return {verb: n for verb, n in result.moved.items() if verb not in ("sync", "unsync")}


@pytest.mark.parametrize("start", [None, "raw", "synced", "fixed", "compressed", "manifested"])
def test_advance_does_what_its_plan_says(sqlite_world, start):
    sqlite_world.simulate(scale=0.02, scenario=("bad",))
    if start:
        sqlite_world.bring(to=start)
    before = everything(sqlite_world)
    plan = plan_advance(sqlite_world.machine(), sqlite_world.night(), None)
    assert everything(sqlite_world) == before
    result = sqlite_world.advance()
    assert result.succeeded
    assert steps(plan) == moved(result)
    assert {name for name, _ in plan.quarantined} == {name for name, _ in result.quarantined}
    registered = [step.files for step in plan.steps if step.verb == "register"]
    assert registered == ([] if start else [result.registered + len(result.quarantined)])


def test_a_plan_of_new_files_before_numbering_pairs_the_night_anew(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    timing = next((sqlite_world.folder / "archive" / DATE / "vcam1").glob("*.txt"))
    content = timing.read_bytes()
    timing.unlink()
    assert sqlite_world.advance(to="fixed").succeeded
    timing.write_bytes(content)
    before = everything(sqlite_world)
    plan = plan_advance(sqlite_world.machine(), sqlite_world.night(), None)
    assert everything(sqlite_world) == before
    result = sqlite_world.advance()
    assert steps(plan) == moved(result)
    assert {"unfix", "unconsolidate"} <= set(steps(plan))


@pytest.mark.parametrize("to", ["compressed", "fixed", "synced", "raw"])
def test_rollback_does_what_its_plan_says(sqlite_world, to):
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    sqlite_world.bring()
    before = everything(sqlite_world)
    plan = plan_rollback(sqlite_world.machine(), sqlite_world.night(), to)
    assert everything(sqlite_world) == before
    result = sqlite_world.rollback(to=to)
    assert result.succeeded
    assert {step.verb: step.files for step in plan.steps} == dict(result.moved)


def test_a_plan_stops_where_it_is_told(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    plan = plan_advance(sqlite_world.machine(), sqlite_world.night(), "id'd")
    assert [step.state for step in plan.steps] == ["raw", "synced", "consolidated", "fixed", "identified"]
    assert plan.destination_bytes == 0
    assert plan_advance(sqlite_world.machine(), sqlite_world.night(), "synced").space_bytes == 0


def test_space_is_enough_and_time_is_known_from_history(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    plan = plan_advance(sqlite_world.machine(), sqlite_world.night(), None)
    assert plan.seconds is None
    assert sqlite_world.advance(to="fixed").succeeded
    products = sqlite_world.folder / "archive" / DATE / "vgen2"
    plain = sum(path.stat().st_size for path in products.iterdir())
    n_products = len(list(products.glob("*.fits")))
    assert plain <= plan.space_bytes < 2 * plain + HEADER_BYTES * (n_products + 1)  # one more is packed beside itself
    assert sqlite_world.advance().succeeded
    assert sqlite_world.rollback(to="synced").succeeded
    plan = plan_advance(sqlite_world.machine(), sqlite_world.night(), None)
    assert plan.seconds is not None
    assert plan.seconds > 0


def test_nothing_to_do(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    sqlite_world.bring()
    plan = plan_advance(sqlite_world.machine(), sqlite_world.night(), None)
    assert plan.steps == ()
    assert "nothing to do" in in_words(plan)[-1]


def test_dry_run_at_the_command_line(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("bad",))
    before = everything(sqlite_world)
    done = call(sqlite_world, "advance", "--date", DATE, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    keys = {"pipeline", "date", "steps", "quarantined", "outside", "stopped", "seconds"}
    keys |= {"space_bytes", "destination_bytes"}
    assert set(plan) == keys
    assert set(plan["steps"][0]) == {"verb", "state", "files", "size_bytes", "seconds", "accuracy"}
    words = call(sqlite_world, "advance", "--date", DATE, "--dry-run").stdout
    assert all(step["verb"] in words for step in plan["steps"])
    assert "quarantine" in words
    assert "space needed" in words
    assert everything(sqlite_world) == before
    assert sqlite_world.advance().succeeded
    before = everything(sqlite_world)
    done = call(sqlite_world, "rollback", "--date", DATE, "--dry-run", "--json")
    assert set(json.loads(done.stdout)) == keys
    assert everything(sqlite_world) == before


def test_a_dry_run_leaves_no_trace(sqlite_world):
    def files():
        found = (path for path in sqlite_world.folder.rglob("*") if not path.name.startswith("ledger.db-"))
        return {(str(path), path.stat().st_mtime_ns) for path in found if path.is_file() and path.name != "config.yaml"}

    sqlite_world.data["backup"]["automatic"] = True
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    before = files()
    assert call(sqlite_world, "advance", "--date", DATE, "--dry-run").returncode == 0
    assert files() == before
    assert call(sqlite_world, "advance", "--date", DATE).returncode == 0
    before = files()
    assert call(sqlite_world, "rollback", "--date", DATE, "--dry-run").returncode == 0
    assert call(sqlite_world, "prune").returncode == 0
    assert files() == before


def test_a_plan_of_rollback_is_refused_as_the_rollback_is(sqlite_world):
    def refused(*options):
        words = [call(sqlite_world, "rollback", "--date", DATE, option, *options) for option in ("--dry-run", "--yes")]
        assert [done.returncode for done in words] in ([1, 1], [2, 2])
        assert words[0].stderr == words[1].stderr
        return words[0].returncode, words[0].stderr

    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    assert sqlite_world.advance().succeeded
    manifest.send(sqlite_world.machine(), [sqlite_world.night()])
    assert "--withdraw" in refused("--to", "transferred")[1]
    done = call(sqlite_world, "rollback", "--date", DATE, "--dry-run", "--withdraw")
    assert done.returncode == 0
    assert "unlist" in done.stdout
    sqlite_world.data["prune"]["raw_days"] = 30
    assert call(sqlite_world, "prune", "--yes").returncode == 0
    status, text = refused("--to", "compressed", "--withdraw")
    assert (status, "ledger recall" in text) == (1, True)
    status, text = refused("--to", "raw", "--withdraw")
    assert (status, "ledger prune" in text) == (1, True)


def test_a_plan_stops_at_a_window_that_is_closed(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    sqlite_world.data["transfer"]["window"] = "08:10-08:20"  # it is 08:00 in tests
    plan = plan_advance(sqlite_world.machine(), sqlite_world.night(), None)
    assert "transfer.window" in str(plan.stopped)
    assert [step.state for step in plan.steps][-1] == "compressed"
    assert sqlite_world.advance().stopped == plan.stopped
    sqlite_world.data["transfer"]["window"] = None
    assert sqlite_world.advance().succeeded
    sqlite_world.data["transfer"]["window"] = "08:10-08:20"
    assert plan_advance(sqlite_world.machine(), sqlite_world.night(), None).stopped is None
