"""A backup that fails is on record until one succeeds, and people are told."""

import pytest

from tests.inside import call
from tests.ledger.delivery.telling import alerts, told  # noqa: F401  a fixture
from tests.world import DATE, World


@pytest.fixture
def unbacked(told: World) -> World:  # noqa: F811
    """Return a ledger whose destination takes no backup; the one here is made."""
    told.data["backup"]["automatic"] = True
    told.data["notify"]["hours"] = 0
    (told.destination / ".ledger").write_text("in the way")
    done = call(told, "advance", "--date", DATE, "--to", "synced")
    assert done.returncode == 0
    assert "no backup in " in done.stderr
    return told


def said(world: World) -> tuple[list[bool], int]:
    check = call(world, "status", "--check")
    shown = [call(world, "doctor").stdout, check.stdout]
    return [
        "the last one failed: no backup in " in text and "`ledger backup`" in text for text in shown
    ], check.returncode


def test_it_is_said_until_one_succeeds(unbacked):
    assert said(unbacked)[0] == [True, True]
    alerts(unbacked)
    assert call(unbacked, "catch-up").returncode == 0
    assert f"failed: backups: the last one failed: no backup in {unbacked.destination}/.ledger" in alerts(unbacked)
    assert said(unbacked) == ([True, True], 1)
    assert call(unbacked, "backup").returncode == 1
    assert said(unbacked) == ([True, True], 1)
    (unbacked.destination / ".ledger").unlink()
    assert call(unbacked, "catch-up").returncode == 0  # nothing to do but this
    assert said(unbacked) == ([False, False], 0)
    assert list((unbacked.destination / ".ledger").iterdir())
    alerts(unbacked)
    assert call(unbacked, "catch-up").returncode == 0
    assert alerts(unbacked) == ""


def test_the_command_ends_it(unbacked):
    (unbacked.destination / ".ledger").unlink()
    assert call(unbacked, "backup").returncode == 0
    assert said(unbacked)[0] == [False, False]


def test_nobody_is_told_where_there_are_to_be_none(unbacked):
    unbacked.data["backup"]["automatic"] = False
    assert said(unbacked)[0] == [False, False]


def test_it_is_on_record_on_both_databases(world):
    world.data["backup"]["automatic"] = True
    world.simulate(scale=0.02, scenario=("onecamera",))
    (world.destination / ".ledger").write_text("in the way")
    assert call(world, "scan", "--date", DATE).returncode == 0
    assert said(world)[0] == [True, True]
    (world.destination / ".ledger").unlink()
    assert call(world, "catch-up").returncode == 0
    assert said(world)[0] == [False, False]
