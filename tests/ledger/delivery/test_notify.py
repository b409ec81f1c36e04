"""Alerts: what went wrong is told, once."""

import email
import email.policy
import os
import socket
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger.delivery.mail import piped
from ledger.delivery.notify import Trouble, notify
from ledger.errors import ConfigError
from tests.ledger.delivery.telling import alerts, told
from tests.smtpd import running_smtpd
from tests.world import DATE

HOST = socket.gethostname()
__all__ = ["told"]  # a fixture


def window_that_is_closed():
    """Return an hour of the day that is not this one, nor the next."""
    begin = (datetime.now(UTC).hour + 6) % 24
    return f"{begin:02d}:00-{begin:02d}:59"


def test_of_a_good_night_nothing_is_told(told):
    assert told.run("advance", "--date", DATE).returncode == 0
    assert alerts(told) == ""


def test_what_is_put_in_quarantine_is_told_once(told):
    for path in list((told.folder / "archive" / DATE).glob("vcam1/*.txt"))[:2]:
        path.unlink()
    told.run("advance", "--date", DATE, "--to", "synced")
    text = alerts(told)
    assert text.startswith(f"VAMPIRES: ledger on {HOST} has 2 problems\n")
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


def test_what_was_told_in_the_future_is_told_again(told):
    """The clock of that run was years ahead: until then nobody would hear of it."""
    trouble = [Trouble("space", f"night {DATE}", "", "no room")]
    told.now_us += 10**15
    assert notify(told.store(), told.config, trouble) == 1
    assert notify(told.store(), told.config, trouble) == 0
    told.now_us -= 10**15
    assert notify(told.store(), told.config, trouble) == 1
    assert notify(told.store(), told.config, trouble) == 0


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
    ("key", "value"),
    [
        ("recipients", ["a@b"]),
        ("recipients", ["a"]),
        ("kinds", ["weather"]),
        ("hours", -1),
        ("stalled_hours", 0),
        ("ignore", "*.bak"),
        *(("heartbeat", value) for value in ("hc-ping.com/x", "ftp://host/x", "https:///x", [], [1], {"url": "x"}, 5)),
    ],
)
def test_faults_of_the_configuration(sqlite_world, key, value):
    sqlite_world.data["notify"][key] = value
    with pytest.raises(ConfigError, match=rf"notify\.{key}"):
        _ = sqlite_world.config


@pytest.mark.parametrize("heartbeat", ["https://hc-ping.com/a-b?create=1", "http://[::1]:8000", ["tell", "-q"], None])
def test_a_configuration_of_before_is_read(sqlite_world, heartbeat):
    sqlite_world.data["notify"] = {"kinds": ["failed", "quarantined", "space", "mismatch"], "heartbeat": heartbeat}
    notifying = sqlite_world.config.notify
    assert (len(notifying.kinds), notifying.stalled_hours, notifying.ignore) == (4, 48, ())
    del sqlite_world.data["notify"]
    assert {"stopped", "stalled", "gone", "stray", "broken"} < set(sqlite_world.config.notify.kinds)


def test_a_run_that_stops_before_its_goal_is_told(told):
    told.data["ids"]["authority"] = "blocks"  # and nobody has handed out any
    told.run("advance", "--date", DATE)
    assert alerts(told).splitlines()[2].startswith(f"stopped: night {DATE} (archive): ")


def test_a_run_that_waits_for_its_time_of_day_is_not_told(told):
    told.data["transfer"]["window"] = window_that_is_closed()
    done = told.run("advance", "--date", DATE)
    assert "transfer.window" in done.stdout
    assert alerts(told) == ""


def test_a_host_that_is_down_is_told_in_one_line(told):
    program = told.data["notify"]["command"]
    told.data["notify"]["command"] = []
    told.run("advance", "--date", DATE, "--to", "synced")
    told.data["notify"]["command"] = program
    told.data["transfer"] = {"destination": "nobody@127.0.0.1:/nowhere", "ssh": {"port": 1}}
    for command in (("advance", "--date", DATE), ("catch-up",)):
        told.run(*command)
        text = alerts(told)
        assert text.startswith(f"VAMPIRES: ledger on {HOST} has 1 problem\n")
        assert f"failed: night {DATE} (archive): frame numbers in use" in text
        told.data["notify"]["hours"] = 0


def test_what_is_the_same_for_many_products_is_told_in_one_line(told):
    told.run("advance", "--date", DATE, "--to", "compressed")
    told.data["transfer"] = {"destination": "nobody@127.0.0.1:/nowhere", "ssh": {"port": 1}}
    done = told.run("advance", "--date", DATE)
    ((n,),) = told.query("SELECT count(*) FROM file WHERE kind = 'product' AND error IS NOT NULL")
    assert n > 1
    assert done.stdout.count("FAILED") == 1
    assert f"FAILED       VMPA00000001 and {n - 1} more: " in done.stdout
    text = alerts(told)
    assert text.startswith(
        f"VAMPIRES: ledger on {HOST} has {n} problems\n\nfailed: night {DATE} (archive), VMPA00000001 and "
    )
    assert text.count("failed") == 1
    told.run("advance", "--date", DATE)
    assert alerts(told) == ""


def test_a_receipt_that_differs_is_told(told):
    told.run("advance", "--date", DATE)
    path = told.folder / "receipt.csv"
    path.write_text("VMPA00000001,1\n")
    assert told.run("receipt", str(path)).returncode == 1
    assert "mismatch: receipt receipt.csv, VMPA00000001: 1 bytes, expected" in alerts(told)


def test_what_a_command_had_started_ends_with_it(tmp_path):
    with pytest.raises(subprocess.TimeoutExpired):
        piped(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/pid; wait"], b"", 1)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return
        time.sleep(0.05)
    pytest.fail("it still runs")
