"""Alerts: what went wrong is told, once."""

import email
import email.policy
import os

import pytest

from ledger.errors import ConfigError
from tests.smtpd import running_smtpd
from tests.world import DATE


@pytest.fixture
def told(sqlite_world):
    """A world with a night, and a program that writes what it is told to a file."""
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    program = sqlite_world.folder / "tell"
    program.write_text(f"#!/bin/sh\ncat >> {sqlite_world.folder}/alerts\n")
    program.chmod(0o755)
    sqlite_world.data["notify"]["command"] = [str(program)]
    return sqlite_world


def alerts(world):
    path = world.folder / "alerts"
    text = path.read_text() if path.exists() else ""
    path.unlink(missing_ok=True)
    return text


def test_of_a_good_night_nothing_is_told(told):
    assert told.run("advance", "--date", DATE).returncode == 0
    assert alerts(told) == ""


def test_what_is_put_in_quarantine_is_told_once(told):
    for path in list((told.folder / "archive" / DATE).glob("vcam1/*.txt"))[:2]:
        path.unlink()
    told.run("advance", "--date", DATE, "--to", "synced")
    text = alerts(told)
    assert text.startswith("VAMPIRES: ledger has 2 problems\n")
    assert text.count("quarantined: night") == 2
    told.run("advance", "--date", DATE)
    assert alerts(told) == ""


def test_a_copy_that_is_not_right_is_told_and_told_again_later(told):
    told.run("advance", "--date", DATE)
    os.truncate(next(iter(told.destination.rglob("*.fz"))), 10)
    told.run("verify", "--date", DATE)
    assert "mismatch: night" in alerts(told)
    told.run("verify", "--date", DATE)
    assert alerts(told) == ""
    told.data["notify"]["hours"] = 0
    told.run("verify", "--date", DATE)
    assert "mismatch" in alerts(told)


def test_a_disk_that_is_short_is_told(told):
    told.data["space"]["keep_free_mb"] = 1e12
    told.run("advance", "--date", DATE)
    assert "space: night" in alerts(told)


def test_kinds_may_be_left_out(told):
    told.data["space"]["keep_free_mb"] = 1e12
    told.data["notify"]["kinds"] = ["failed"]
    told.run("advance", "--date", DATE)
    assert alerts(told) == ""


def test_by_mail(told):
    told.data["notify"]["command"] = []
    told.data["space"]["keep_free_mb"] = 1e12
    taken = told.folder / "mails/taken"
    with running_smtpd(taken, "none") as port:
        told.data["mail"] |= {"transport": "smtp", "sender": "ledger@example.org"}
        told.data["mail"]["smtp"] = {"server": "localhost", "port": port, "security": "none"}
        told.data["notify"]["recipients"] = ["night@example.org"]
        told.run("advance", "--date", DATE)
    (path,) = taken.iterdir()
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert message["To"] == "night@example.org"
    assert message.get_content().startswith("space: night")


@pytest.mark.parametrize("command", [["/nowhere/tell"], ["sh", "-c", "echo full >&2; exit 3"]])
def test_an_alert_that_cannot_be_sent_is_said_and_tried_again(told, command):
    right = told.data["notify"]["command"]
    told.data["notify"]["command"] = command
    told.data["space"]["keep_free_mb"] = 1e12
    done = told.run("advance", "--date", DATE)
    assert done.returncode == 1
    assert "alert not sent" in done.stderr
    told.data["notify"]["command"] = right
    told.run("advance", "--date", DATE)
    assert "space" in alerts(told)


@pytest.mark.parametrize(
    ("key", "value"), [("recipients", ["a@b"]), ("recipients", ["a"]), ("kinds", ["weather"]), ("hours", -1)]
)
def test_faults_of_the_configuration(sqlite_world, key, value):
    sqlite_world.data["notify"][key] = value
    with pytest.raises(ConfigError, match=rf"notify\.{key}"):
        _ = sqlite_world.config
