"""Decisions about files outside: taken, taken back, refused, and shown."""

import json

import pytest

from ledger.disk.outside import Rule
from ledger.errors import UsageError
from ledger.night import decisions
from tests.ledger.disk.test_outside import NEXT, compress, night
from tests.world import DATE

__all__ = ["night"]  # a fixture


def test_a_decision_is_taken_back(world):
    world.simulate(scale=0.02, scenario=("slow",))
    compress(world)
    decisions.ignore(world.store(), world.config, "*.gz", "why", DATE)
    assert decisions.rules(world.store()) == [Rule("*.gz", "why", ("archive", DATE))]
    decisions.wait(world.store(), world.config, "*.gz", DATE)
    assert decisions.rules(world.store()) == []
    assert not world.advance().succeeded
    with pytest.raises(UsageError, match="no decision"):
        decisions.wait(world.store(), world.config, "*.gz", DATE)
    events = "SELECT event FROM entry WHERE event IN ('left_out', 'waited_for') ORDER BY id"
    assert world.query(events) == [("left_out",), ("waited_for",)]


@pytest.mark.parametrize(
    ("pattern", "reason", "date", "told"),
    [
        ("*.gz", " ", DATE, "--reason is empty"),
        ("*", "why", None, "every file of every night"),
        ("*.bz2", "why", DATE, "covers no file"),
        ("*.gz", "why", "20260230", "not a date"),
    ],
)
def test_a_decision_that_is_none_is_refused(night, pattern, reason, date, told):
    compress(night)
    before = night.query("SELECT COUNT(*) FROM entry")
    with pytest.raises(UsageError, match=told):
        decisions.ignore(night.store(), night.config, pattern, reason, date)
    assert night.query("SELECT COUNT(*) FROM entry") == before


def test_a_decision_about_one_night_is_not_one_about_another(sqlite_world):
    sqlite_world.simulate_two(DATE, NEXT)
    for date in (DATE, NEXT):
        compress(sqlite_world, date)
    decisions.ignore(sqlite_world.store(), sqlite_world.config, "*.gz", "why", DATE)
    assert sqlite_world.advance(DATE).succeeded
    assert not sqlite_world.advance(NEXT).succeeded


def test_the_command_line_says_what_was_decided(night):
    compress(night)
    done = night.run("outside", "ignore", "*.gz", "--reason", "a test", "--date", DATE)
    assert done.stdout == f"*.gz of night {DATE} (1 file now) is left out: a test\n"
    assert "a test" in night.run("outside", "rules").stdout
    assert json.loads(night.run("outside", "rules", "--json").stdout)[0]["pattern"] == "*.gz"
    assert "left out: a test" in night.run("outside", "list").stdout
    assert night.run("outside", "wait", "*.gz", "--date", DATE).returncode == 0
    refused = night.run("outside", "wait", "*.gz", "--date", DATE)
    assert (refused.returncode, "no decision" in refused.stderr) == (2, True)
