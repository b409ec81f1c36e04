"""A night that was mailed and taken back: who has to be told is said until it is done."""

import json

import pytest

from tests.inside import call
from tests.ledger.delivery.manifests import NEXT, prepare, send
from tests.world import DATE, World

SENT = f"`ledger manifest --date {DATE} --withdrawal-sent`"


@pytest.fixture
def mailed(sqlite_world: World) -> World:
    world = prepare(sqlite_world)
    send(world)
    return world


@pytest.fixture
def withdrawn(mailed: World) -> World:
    done = call(mailed, "rollback", "--date", DATE, "--yes", "--withdraw", "--to", "fixed")
    assert done.returncode == 0, done.stderr
    assert f"send it to archive@example.org, stars@example.org, and then {SENT}" in done.stdout
    assert "catch-up takes the night forward again" in done.stdout
    return mailed


def told(world: World) -> list[bool]:
    """Return whether each way of asking says that the list has to be sent."""
    assert call(world, "catch-up").returncode == 0  # takes the night forward again, and mails nothing
    check = call(world, "status", "--check")
    shown = [call(world, "status").stderr, call(world, "doctor").stdout, check.stdout]
    return [f"withdrawn_{DATE}_" in text and SENT in text and "archive@example.org" in text for text in shown]


def test_it_is_said_until_it_is_noted_as_sent(withdrawn):
    (night, other) = json.loads(call(withdrawn, "status", "--json").stdout)
    assert night["withdrawn"].endswith(" to archive@example.org, stars@example.org")
    assert other["withdrawn"] == ""
    assert told(withdrawn) == [True, True, True]
    assert call(withdrawn, "status", "--check").returncode == 1
    assert call(withdrawn, "manifest", "--date", DATE, "--withdrawal-sent").returncode == 0
    assert told(withdrawn) == [False, False, False]
    assert call(withdrawn, "status", "--check").returncode == 0


@pytest.mark.parametrize("words", [("--date", NEXT), (DATE, NEXT), ("--send",), ("--date", DATE, "--send"), ()])
def test_only_what_was_withdrawn_is_noted(withdrawn, words):
    assert call(withdrawn, "manifest", *words, "--withdrawal-sent").returncode == 2
    assert withdrawn.query("SELECT * FROM entry WHERE event = 'withdrawal_sent'") == []


def test_a_second_withdrawal_is_to_be_sent_again(withdrawn):
    assert call(withdrawn, "manifest", "--date", DATE, "--withdrawal-sent").returncode == 0
    assert call(withdrawn, "manifest", "--date", DATE, "--withdrawal-sent").returncode == 2
    assert withdrawn.advance().succeeded
    send(withdrawn)
    assert withdrawn.rollback(to="fixed", withdraws=True).succeeded
    assert told(withdrawn) == [True, True, True]


def test_catch_up_says_that_it_takes_such_a_night_forward_again(withdrawn):
    shown = call(withdrawn, "catch-up").stdout
    assert f"night {DATE} (archive)" in shown
    assert (
        f"it was mailed and withdrawn, and is taken forward again, to be mailed anew; if that is not wanted, `ledger"
        f" exclude {DATE} --reason TEXT`" in shown
    )
    assert call(withdrawn, "catch-up").stdout == ""


def test_a_mail_that_was_never_sent_leaves_nothing_to_tell(mailed):
    assert mailed.rollback(NEXT).succeeded
    assert told(mailed) == [False, False, False]


# the plan of a night that was mailed


def test_the_plan_of_several_nights_has_those_that_were_mailed(mailed):
    done = call(mailed, "rollback", DATE, NEXT, "--dry-run")
    assert done.returncode == 1
    plans = done.stdout.split(f"night {DATE} (archive)\n")
    assert "stops there" not in plans[0]
    assert "unlist" in plans[1]
    assert f"stops there    night {DATE}: its manifest was written as a mail" in plans[1]
    assert "--withdraw takes it back all the same" in plans[1]


def test_a_night_that_was_mailed_is_named_once(mailed):
    done = call(mailed, "rollback", "--date", f"{DATE}..{NEXT}", "--yes")
    assert done.returncode == 2
    assert f"night {DATE} (archive): its manifest was written as a mail" in done.stderr
    assert {state for (state,) in mailed.query("SELECT DISTINCT state FROM file WHERE kind = 'product'")} == {
        "manifested"
    }
    before = mailed.query("SELECT count(*) FROM entry")
    done = call(mailed, "rollback", DATE, "--to", "fixed")  # nobody is asked what cannot be done
    assert done.returncode == 2
    assert "--withdraw" in done.stderr
    assert mailed.query("SELECT count(*) FROM entry") == before


def test_it_is_said_on_both_databases(world):
    prepare(world)
    send(world)
    assert world.rollback(to="fixed", withdraws=True).succeeded
    assert SENT in call(world, "status").stderr
    assert call(world, "manifest", "--date", DATE, "--withdrawal-sent").returncode == 0
    assert SENT not in call(world, "status").stderr


def test_a_night_is_not_mailed_anew_before_its_list_is_sent(withdrawn):
    """Its frame IDs are the same: told in the other order, the archive would forget what it was just given."""
    assert withdrawn.advance().succeeded
    done = call(withdrawn, "manifest", "--date", DATE, "--send")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert SENT in done.stderr
    before = withdrawn.query("SELECT count(*) FROM mail")
    call(withdrawn, "manifest", "--send")
    dates = withdrawn.query("SELECT CAST(dates AS TEXT) FROM mail ORDER BY id")[before[0][0] :]
    assert not any(DATE in row[0] for row in dates)
    assert call(withdrawn, "manifest", "--date", DATE, "--withdrawal-sent").returncode == 0
    assert call(withdrawn, "manifest", "--date", DATE, "--send").returncode == 0


def test_nothing_is_withdrawn_that_cannot_be_taken_back(mailed):
    away = mailed.destination.rename(mailed.folder / "away")
    done = call(mailed, "rollback", "--date", DATE, "--yes", "--withdraw", "--to", "fixed")
    assert done.returncode == 2
    assert "is the disk mounted?); nothing was withdrawn" in done.stderr
    assert mailed.query("SELECT count(*) FROM entry WHERE event = 'unmailed'") == [(0,)]
    assert not list(mailed.folder.rglob("withdrawn_*"))
    away.rename(mailed.destination)
    assert call(mailed, "rollback", "--date", DATE, "--yes", "--withdraw", "--to", "fixed").returncode == 0
