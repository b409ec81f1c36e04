"""The last mile: what is finished is mailed, once; what is only a file is not; and what nobody confirms is told."""

import json

import pytest
from sqlalchemy import text

from ledger.delivery import manifest
from ledger.delivery.notify import notify
from ledger.delivery.outstanding import send_outstanding, send_unattended, unconfirmed
from ledger.delivery.receipt import receive
from ledger.disk.dates import Dates
from ledger.errors import ConfigError, NotReady, UsageError
from ledger.night.pipeline import pipelines
from ledger.query.status import nights as standing
from tests.inside import call
from tests.ledger.delivery.manifests import NEXT, attached, listed_bytes, mails, note_sent, prepare, read, send
from tests.world import DATE

DAY_US = 86_400_000_000


@pytest.fixture
def mailing(listed):
    """A world with two nights that are manifested, and a program that takes mails."""
    by_sendmail(listed)
    return listed


@pytest.fixture
def anywhere(world):
    """The same, on both databases."""
    by_sendmail(prepare(world))
    return world


def by_sendmail(world, status=0):
    program = world.folder / "sendmail"
    program.write_text(f"#!/bin/sh\ncat > {world.folder}/sent.eml\nexit {status}\n")
    program.chmod(0o755)
    world.data["mail"] |= {"transport": "sendmail", "sendmail": str(program)}


def night(world, date=DATE):
    (found,) = standing(world.config, pipelines(world.config), dates=Dates([date]))
    return found


def cells(world, date=DATE):
    """Return what the table of `ledger status` has in the columns of a night's mail and confirmation."""
    head, *rows = (line.split("\t") for line in call(world, "status", "--date", date).stdout.splitlines())
    (row,) = rows
    return row[head.index("mailed")], row[head.index("confirmed")]


def receipt(world, date=DATE, n=None):
    """Read a receipt of the first products of a night, or of all."""
    lines = [line.split("|") for line in listed_bytes(world, date).decode().splitlines()][:n]
    path = world.folder / "receipt.csv"
    path.write_text("".join(f"{frame_id},{size}\n" for frame_id, _, size in lines))
    return receive(world.store(), world.config, path)


# all that is finished


def test_all_finished_nights_go_in_one_mail_once(mailing):
    sent = send_outstanding(mailing.machine())
    assert sent.listing.dates == (DATE, NEXT)
    assert attached(read(mailing.folder / "sent.eml"))[1] == listed_bytes(mailing) + listed_bytes(mailing, NEXT)
    assert send_outstanding(mailing.machine()) is None
    assert mails(mailing) == [("sendmail", 1, 0, 0)]


def test_only_what_was_not_mailed_goes(mailing):
    send(mailing, NEXT)
    assert send_outstanding(mailing.machine()).listing.dates == (DATE,)


def test_what_is_not_finished_waits(mailing):
    mailing.rollback(NEXT, to="compressed")
    assert send_outstanding(mailing.machine()).listing.dates == (DATE,)
    assert mailing.advance(NEXT).succeeded
    assert send_outstanding(mailing.machine()).listing.dates == (NEXT,)


def test_a_night_that_was_withdrawn_goes_again(mailing):
    send_outstanding(mailing.machine())
    assert mailing.rollback(withdraws=True).succeeded
    assert night(mailing).mailed_us is None
    assert mailing.advance().succeeded
    assert cells(mailing)[0] == "no"
    assert send_outstanding(mailing.machine()) is None  # the list of what was withdrawn goes first
    note_sent(mailing)
    assert send_outstanding(mailing.machine()).listing.dates == (DATE,)
    assert night(mailing).mailed_us == mailing.now_us


def change(world, *statements):
    """Change the database around its guards."""
    with world.store().write() as session:
        for statement in statements:
            session.execute(text(statement))


def test_what_nobody_knows_of_does_not_go_again(mailing):
    send_outstanding(mailing.machine())
    change(  # as if it had been killed
        mailing,
        "DROP TRIGGER guard_mail_update",
        "UPDATE mail SET sent_us = NULL",
        "DROP TRIGGER guard_entry_delete",
        "DELETE FROM entry WHERE event = 'mailed'",
    )
    assert night(mailing).mailed_us is None
    assert send_outstanding(mailing.machine()) is None


def test_by_command(mailing):
    done = call(mailing, "manifest", "--send")
    assert done.returncode == 0
    assert "sent to archive@example.org, stars@example.org" in done.stdout
    done = call(mailing, "manifest", "--send")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("nothing to mail")
    assert json.loads(call(mailing, "manifest", "--send", "--json").stdout) is None
    for option in ("--again", "--partial"):
        done = call(mailing, "manifest", "--send", option)
        assert done.returncode == 2
        assert "no night is named" in done.stderr


# what is only a file


def test_a_file_is_written_and_not_mailed(listed):
    listed.data["mail"]["recipients"] = []
    done = call(listed, "manifest", "--send")
    assert done.returncode == 0
    assert f"written to {listed.folder}/manifests/manifest_VMP_{DATE}-{NEXT}.eml, not sent: send it to" in done.stdout
    found = night(listed)
    assert found.mailed_us is None
    assert found.written_us is not None
    assert cells(listed)[0].startswith("written 20")
    assert listed.query("SELECT DISTINCT event FROM entry WHERE event LIKE '%mail%'") == [("mail_written",)]
    (frame_id,) = listed_bytes(listed).decode().split("|")[:1]
    assert "mail_written" in call(listed, "history", frame_id).stdout
    assert "mailed" not in call(listed, "explain", frame_id).stdout
    assert call(listed, "manifest", "--send").stdout.startswith("nothing to mail")
    with pytest.raises(UsageError, match=r"written as a mail, which may have been sent, on .*--withdraw"):
        listed.rollback()


def test_it_is_mailed_when_it_is_asked_for_again(listed):
    send(listed)
    listed.now_us += DAY_US
    by_sendmail(listed)
    assert send_outstanding(listed.machine()).listing.dates == (NEXT,)
    assert night(listed).written_us == listed.now_us - DAY_US
    send(listed, is_again=True)
    assert (night(listed).mailed_us, night(listed).written_us) == (listed.now_us, None)


def test_without_an_address_nothing_counts_as_mailed(mailing):
    mailing.data["mail"]["recipients"] = []
    with pytest.raises(UsageError, match=r"mail\.recipients"):
        send_outstanding(mailing.machine())
    assert mails(mailing) == []
    assert cells(mailing) == ("no", "")


# when


def test_status_says_when_it_was_mailed_and_confirmed(anywhere):
    mailing = anywhere
    assert cells(mailing) == ("no", "")
    send(mailing)
    mailing.now_us += DAY_US
    n = night(mailing).frame_ids
    receipt(mailing, n=1)
    assert cells(mailing) == ("2027-01-15", f"1 of {n}")
    assert (night(mailing).mailed_us, night(mailing).confirmed_us) == (mailing.now_us - DAY_US, None)
    mailing.now_us += DAY_US
    receipt(mailing)
    assert cells(mailing) == ("2027-01-15", "2027-01-17")
    assert night(mailing).confirmed_us == mailing.now_us
    assert cells(mailing, NEXT) == ("no", "")


def test_what_was_mailed_before_it_was_listed_is_mailed(anywhere):
    mailing = anywhere
    mailing.rollback(NEXT, to="transferred")
    send(mailing, NEXT, is_partial=True)
    mailing.now_us += DAY_US
    assert night(mailing, NEXT).stands == "transferred"
    assert mailing.advance(NEXT).succeeded
    assert night(mailing, NEXT).mailed_us == mailing.now_us - DAY_US
    assert send_outstanding(mailing.machine()).listing.dates == (DATE,)


def test_what_was_listed_since_is_not_mailed(mailing):
    send_outstanding(mailing.machine())
    change(  # as if one product had come later
        mailing,
        "DROP TRIGGER guard_mail_line_delete",
        "DELETE FROM mail_line WHERE position = 0",
        "DROP TRIGGER guard_manifest_update",
        "UPDATE manifest SET made_us = made_us + 1",
    )
    assert night(mailing).mailed_us is None
    assert night(mailing, NEXT).mailed_us == mailing.now_us
    sent = send_outstanding(mailing.machine())
    assert (sent.listing.dates, len(sent.listing.lines)) == ((DATE,), 1)


# by itself


def test_catch_up_mails_if_it_may(mailing):
    assert call(mailing, "catch-up").stdout == ""
    mailing.data["mail"]["automatic"] = True
    done = call(mailing, "catch-up")
    assert done.returncode == 0
    assert "sent to archive@example.org" in done.stdout
    done = call(mailing, "catch-up")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert mails(mailing) == [("sendmail", 1, 0, 0)]


def test_a_failure_is_told_and_does_not_come_every_hour(mailing):
    mailing.data["mail"]["automatic"] = True
    by_sendmail(mailing, status=3)
    done = call(mailing, "catch-up")
    assert done.returncode == 1
    assert "mail of manifests: " in done.stderr
    assert "ended with 3" in done.stderr
    (log,) = [line for line in (mailing.folder / "ledger.log").read_text().splitlines() if "mail of manifests" in line]
    assert "ERROR" in log
    by_sendmail(mailing)
    done = call(mailing, "catch-up")
    assert (done.returncode, done.stdout) == (0, "")
    assert call(mailing, "manifest", "--send").returncode == 0, "by hand it is tried at once"
    assert mails(mailing) == [("sendmail", 0, 1, 0), ("sendmail", 1, 0, 0)]


def test_after_a_failure_it_waits_longer_each_time(mailing):
    mailing.data["mail"]["automatic"] = True
    by_sendmail(mailing, status=3)
    for minutes, n_tried in ((0, 1), (9, 1), (2, 2), (18, 2), (3, 3)):
        mailing.now_us += minutes * 60 * 10**6
        found = send_unattended(mailing.machine())
        assert isinstance(found, NotReady) == (len(mails(mailing)) == n_tried and minutes in (0, 2, 3)), minutes
        assert len(mails(mailing)) == n_tried


def test_a_night_that_is_held_waits(mailing):
    mailing.data["mail"]["automatic"] = True
    with mailing.machine().holding(mailing.night(), "verify", {}):
        assert send_unattended(mailing.machine()) is None
    assert send_unattended(mailing.machine()).listing.dates == (DATE, NEXT)


# nobody answers


def test_a_night_that_nobody_confirms_is_told_once_in_a_while(mailing):
    mailing.data["notify"] |= {"unconfirmed_days": 2, "command": ["cat"]}
    send(mailing)
    told = lambda: list(unconfirmed(mailing.store(), mailing.config))  # noqa: E731
    mailing.now_us += DAY_US
    assert told() == []
    mailing.now_us += DAY_US
    n = night(mailing).frame_ids
    (trouble,) = told()
    assert (trouble.kind, trouble.where) == ("unconfirmed", f"night {DATE} (archive)")
    assert f"mailed on 2027-01-15 UT, and the archive has confirmed 0 of {n} products" in trouble.text
    assert notify(mailing.store(), mailing.config, [trouble]) == 1
    mailing.now_us += DAY_US
    assert told() == []
    mailing.now_us += DAY_US
    assert told() == [trouble]
    receipt(mailing)
    assert told() == []


def test_what_is_only_written_is_told_too(listed):
    listed.data["notify"]["unconfirmed_days"] = 2
    manifest.send(listed.machine(), [listed.night()])
    listed.now_us += 3 * DAY_US
    (trouble,) = unconfirmed(listed.store(), listed.config)
    assert trouble.text.startswith("written as a mail on")
    listed.data["notify"]["unconfirmed_days"] = None
    assert list(unconfirmed(listed.store(), listed.config)) == []


def test_catch_up_tells_it(mailing):
    assert call(mailing, "manifest", "--date", DATE, "--send").returncode == 0
    mailing.data["notify"] |= {"unconfirmed_days": 1e-9, "command": ["sh", "-c", f"cat > {mailing.folder}/alert"]}
    done = call(mailing, "catch-up")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert f"unconfirmed: night {DATE} (archive): mailed on" in (mailing.folder / "alert").read_text()


@pytest.mark.parametrize(
    ("block", "more"),
    [
        ("notify", {"unconfirmed_days": 0}),
        ("notify", {"unconfirmed_days": "two"}),
        ("notify", {"unconfirmed_days": 2, "kinds": ["failed"]}),
        ("mail", {"automatic": "often"}),
    ],
)
def test_faults_of_the_configuration(sqlite_world, block, more):
    sqlite_world.data[block] |= more
    with pytest.raises(ConfigError, match=rf"{block}\.{next(iter(more))}"):
        _ = sqlite_world.config
