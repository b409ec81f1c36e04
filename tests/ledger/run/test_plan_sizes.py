"""What a plan says that will be sent is what is then sent: by what is compressed, or by how well others were."""

import re

import pytest

from ledger.run.plan import Plan, PlanStep, in_words, plan_advance, plan_rollback
from tests.world import DATE, World

LATER = "20260103"


def step_of(plan: Plan, verb: str) -> PlanStep:
    (found,) = (step for step in plan.steps if step.verb == verb)
    return found


def sent_bytes(world: World, date: str) -> int:
    """Return the size of the compressed cubes at the destination."""
    return sum(path.stat().st_size for path in (world.destination / date).rglob("*.fits.fz"))


def words_of(plan: Plan, verb: str) -> str:
    (line,) = (line for line in in_words(plan) if line.startswith(f"  {verb} "))
    return line


@pytest.fixture
def two_nights(sqlite_world: World) -> World:
    for seed, date in enumerate((DATE, LATER)):
        sqlite_world.simulate(date, seed=seed, scale=0.1, shape=(32, 32), scenario=("pdi", "slow"))
    return sqlite_world


def test_without_history_a_size_is_at_most(two_nights):
    plan = plan_advance(two_nights.machine(), two_nights.night(), None)
    planned = step_of(plan, "transfer")
    assert planned.accuracy == step_of(plan, "list").accuracy == "at most"
    assert step_of(plan, "compress").accuracy == ""
    assert re.search(r" files, at most [\d.]+ MB", words_of(plan, "transfer"))
    assert "at most" in in_words(plan)[-1].partition(" in the night's folder, ")[2]
    assert two_nights.advance().succeeded
    assert sent_bytes(two_nights, DATE) <= planned.size_bytes


def test_history_tells_about_how_much_is_sent(two_nights):
    two_nights.bring()
    plan = plan_advance(two_nights.machine(), two_nights.night(LATER), None)
    planned = step_of(plan, "transfer")
    assert planned.accuracy == "about"
    assert re.search(r" files, about [\d.]+ MB", words_of(plan, "transfer"))
    assert two_nights.advance(LATER).succeeded
    assert planned.size_bytes == pytest.approx(sent_bytes(two_nights, LATER), rel=0.1)
    assert planned.size_bytes != step_of(plan, "compress").size_bytes


def test_what_is_compressed_is_known(two_nights):
    two_nights.bring(to="compressed")
    plan = plan_advance(two_nights.machine(), two_nights.night(), None)
    planned = step_of(plan, "transfer")
    assert planned.accuracy == ""
    assert re.search(r" files, [\d.]+ MB", words_of(plan, "transfer"))
    assert two_nights.advance().succeeded
    assert planned.size_bytes == sent_bytes(two_nights, DATE)
    back = plan_rollback(two_nights.machine(), two_nights.night(), "raw")
    assert step_of(back, "withdraw").size_bytes == planned.size_bytes
    assert step_of(back, "decompress").size_bytes == step_of(back, "unfix").size_bytes != planned.size_bytes
