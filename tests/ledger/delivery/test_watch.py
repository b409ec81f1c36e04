"""What catch-up tells people: that nights stand still, and that it is broken."""

import json
import socket
from pathlib import Path

import pytest

from tests.inside import call
from tests.ledger.delivery.telling import alerts, told
from tests.processes import run_command
from tests.world import DATE

HOST = socket.gethostname()
__all__ = ["told"]  # a fixture


def test_of_good_nights_nothing_is_told(told):
    for _ in range(2):
        assert call(told, "catch-up").returncode == 0
    assert alerts(told) == ""


def test_a_late_night_is_told_once(told):
    told.advance()
    told.simulate("20260101", scale=0.02, scenario=("onecamera",), seed=5)
    done = call(told, "catch-up")
    assert done.returncode == 1
    subject, _, *lines = alerts(told).splitlines()
    assert subject == f"VAMPIRES: ledger on {HOST} has 1 problem"
    assert lines[0].startswith("stopped: night 20260101 (archive): ")
    assert "--late" in lines[0]
    assert call(told, "catch-up").returncode == 1
    assert alerts(told) == ""


def test_a_disk_that_is_not_mounted_is_an_error(told):
    assert call(told, "catch-up").returncode == 0
    told.night().path.rename(told.folder / "elsewhere")
    done = call(told, "catch-up")
    assert done.returncode == 1
    assert done.stderr.startswith(f"ledger: archive.root: {told.folder / 'archive'}: no night is left in it")
    assert alerts(told).splitlines()[2].startswith("gone: archive.root: ")
    assert told.query("SELECT exit_status FROM run WHERE command = 'catch-up' ORDER BY id DESC LIMIT 1") == [(1,)]
    (told.folder / "elsewhere").rename(told.folder / "archive" / DATE)
    assert call(told, "catch-up").returncode == 0


def test_strays_and_what_stands_still_are_told(told):
    (told.folder / "archive/20260107b").mkdir()
    for path in told.night().path.glob("vcam*/*.txt"):
        path.unlink()
    told.advance(to="synced")
    done = call(told, "catch-up")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    text = alerts(told)
    assert f"stray: archive.root, {told.folder / 'archive/20260107b'}: looks like a night" in text
    assert f"quarantined: night {DATE} (archive): all of it is in quarantine" in text
    told.data["notify"] |= {"stalled_hours": 1e-9, "kinds": ["stalled"]}
    told.simulate("20260103", scale=0.02, scenario=("onecamera",), seed=5)
    told.data["outside"] = "wait"
    (told.folder / "archive/20260103/vcam1/x.fits.gz").write_bytes(b"\x1f\x8b")
    call(told, "catch-up")
    assert "stalled: night 20260103 (archive): it is" in alerts(told)


# broken


def test_a_root_that_is_missing_is_told(told):
    (told.folder / "archive").rename(told.folder / "elsewhere")
    assert call(told, "catch-up").returncode == 2
    assert alerts(told).splitlines()[2].startswith("broken: catch-up: ended with 2: archive.root")
    assert call(told, "catch-up").returncode == 2
    assert alerts(told) == ""
    assert told.query("SELECT DISTINCT exit_status FROM run WHERE command = 'catch-up'") == [(2,)]


def test_a_database_that_is_missing_is_told_once_too(told):
    told.data["database"]["url"] = f"sqlite:///{told.folder}/none.db"
    assert call(told, "catch-up").returncode == 2
    assert "broken: catch-up: ended with 2: " in alerts(told)
    kept = told.folder / "ledger.log.alerts"
    assert list(json.loads(kept.read_text())) == ["broken catch-up"]
    assert call(told, "catch-up").returncode == 2
    assert alerts(told) == ""
    for content in (b"", b"[1]", b'{"broken catch-up": "x"}', b"\xff"):  # whatever became of it
        kept.write_bytes(content)
        assert call(told, "catch-up").returncode == 2
        assert "broken" in alerts(told)
    told.data["notify"]["hours"] = 0
    call(told, "catch-up")
    assert "broken" in alerts(told)


def test_a_migration_that_is_missing_is_told(told):
    told.config  # noqa: B018  written
    with told.store().write() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '0009'")
    assert call(told, "catch-up").returncode == 2
    assert "ledger init" in alerts(told)


def test_a_file_that_cannot_be_written_is_no_reason_to_be_silent(told):
    told.data["database"]["url"] = f"sqlite:///{told.folder}/none.db"
    (told.folder / "ledger.log.alerts").mkdir()
    for _ in range(2):
        assert call(told, "catch-up").returncode == 2
        assert "broken" in alerts(told)
    assert "cannot be written" in (told.folder / "ledger.log").read_text()


def test_an_alert_that_could_not_be_sent_is_said(told):
    told.data["notify"]["command"] = ["false"]
    (told.folder / "archive").rename(told.folder / "elsewhere")
    done = call(told, "catch-up")
    assert done.returncode == 2
    assert "alert not sent: false ended with 1" in done.stderr


def test_an_exit_that_another_line_tells_is_not_told_twice(told):
    (told.destination / DATE).write_text("whose?")
    assert call(told, "catch-up").returncode == 1
    assert "broken" not in alerts(told)
    told.data["notify"] |= {"kinds": ["broken"], "hours": 0}
    assert call(told, "catch-up").returncode == 1
    assert f"broken: catch-up: ended with 1: see {told.folder / 'ledger.log'}" in alerts(told)


# on record


def test_each_catch_up_is_a_run_without_backup_or_entry(told):
    told.data["backup"]["automatic"] = True
    assert call(told, "catch-up").returncode == 0
    backups = sorted(Path(told.folder / "backups").iterdir())
    entries = told.query("SELECT count(*) FROM entry")
    assert call(told, "catch-up").returncode == 0
    assert sorted(Path(told.folder / "backups").iterdir()) == backups
    assert told.query("SELECT count(*) FROM entry") == entries
    runs = told.query(
        "SELECT exit_status, ended_us >= started_us FROM run"
        " WHERE command = 'catch-up' AND CAST(arguments AS TEXT) = '{}'"
    )
    assert runs == [(0, 1), (0, 1)]


def test_a_catch_up_that_was_killed_leaves_nothing_to_settle(told):
    told.advance(to="synced")
    told.store().begin_run("catch-up", {})
    assert told.advance(to="fixed").settled == []


# a configuration with faults


@pytest.mark.parametrize("fault", ["archive", "mail", "unknown", "environment"])
def test_a_configuration_with_faults_is_told_to_whom_it_names(told, monkeypatch, fault):
    told.data["notify"]["hours"] = 6
    if fault == "environment":
        monkeypatch.setenv("LEDGER_ARCHIVE__ROOOT", "x")
    else:
        told.data[{"unknown": "archives"}.get(fault, fault)] = {"no such key": 1}
    for expected in (True, False):  # once, and not again for some hours
        done = call(told, "catch-up")
        assert done.returncode == 2
        assert "configuration" in done.stderr
        said = alerts(told)
        assert ("broken: catch-up: ended with 2: configuration" in said) is expected
        assert (" fault" in said and "\\n" not in said) is expected


@pytest.mark.parametrize("fault", ["notify", "yaml", "none"])
def test_a_configuration_that_does_not_say_who_is_told_tells_nobody(told, fault):
    path = told.config_path
    text = path.read_text()
    if fault == "yaml":
        path.write_text(text + "\n\t: {")
    elif fault == "notify":
        told.data["notify"]["hourrs"] = 1
        path = told.config_path
    done = run_command(
        ["--config", str(path if fault != "none" else told.folder / "none.yaml"), "catch-up"], told.folder, {}
    )
    assert done.returncode == 2
    assert "onfig" in done.stderr
    assert "bug" not in done.stderr
    assert alerts(told) == ""


def test_the_heartbeat_of_a_configuration_with_faults_is_failure(told):
    told.data["notify"]["heartbeat"] = ["sh", "-c", f"echo $0 >> {told.folder}/beats"]
    told.data["archive"]["no such key"] = 1
    assert call(told, "catch-up").returncode == 2
    assert (told.folder / "beats").read_text() == "failure\n"
