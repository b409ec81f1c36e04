"""The log: what somebody asks a year later."""

import getpass
import json
import logging
import socket
from pathlib import Path

import pytest

from ledger import log
from ledger.errors import UsageError
from tests.smtpd import running_smtpd
from tests.world import DATE, World


@pytest.fixture
def night(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    sqlite_world.data["log"] = str(sqlite_world.folder / "logs/ledger.log")
    return sqlite_world


def lines(world: World) -> list[tuple[str, str]]:
    """Return level and text of each line."""
    text = Path(world.data["log"]).read_text()
    found = [line.split(maxsplit=3) for line in text.splitlines()]
    return [(level, said) for _, _, level, said in found]


def told(world: World, level: str, part: str) -> list[str]:
    return [text for each, text in lines(world) if each == level and part in text]


def test_who_ran_what_and_how_it_ended(night, ledger):
    assert ledger("advance", "--date", DATE, "--to", "synced")[0] == 0
    (begin, *_, end) = lines(night)
    config = night.config_path
    command = f"ledger --config {config} advance --date {DATE} --to synced"
    assert begin == ("INFO", f"begin `{command}` by {getpass.getuser()} on {socket.gethostname()}")
    assert end[1].startswith("end with 0 after ")
    assert told(night, "INFO", f"night {DATE} (archive): advance: register ")


def test_each_failure_quarantine_and_stop_is_a_line(night, ledger):
    (spoilt, *_) = sorted(night.night().path.glob("vcam1/*.txt"))
    spoilt.unlink()
    assert ledger("advance", "--date", DATE, "--to", "fixed")[0] == 0
    assert told(night, "WARNING", f"quarantined: vcam1/{spoilt.stem}.fits: ")
    cube = min((night.night().path / "vgen2").glob("*.fits"))
    cube.write_bytes(cube.read_bytes()[:100])
    assert ledger("advance", "--date", DATE)[0] == 1
    (failed,) = told(night, "ERROR", "failed: ")
    assert str(cube) in failed
    assert told(night, "WARNING", "stopped: ")
    assert lines(night)[-1][1].startswith("end with 1 after ")


def test_a_command_that_is_refused_has_its_reason(night, ledger):
    assert ledger("advance", "--date", "20250101")[0] == 2
    assert told(night, "ERROR", "no night 20250101")
    assert lines(night)[-1][1].startswith("end with 2 after ")


def test_what_only_looks_leaves_no_line(night, ledger):
    for command in (["status"], ["advance", "--date", DATE, "--dry-run"], ["history", "VMPA00000001"]):
        ledger(*command)
    assert not Path(night.data["log"]).exists()


def test_a_decision_is_a_line_too(night, ledger):
    assert ledger("exclude", DATE, "--reason", "dome")[0] == 0
    assert told(night, "INFO", f"exclude {DATE} --reason dome` by ")


def test_alerts_and_mails(night, ledger):
    taken = night.folder / "mails/taken"
    night.data["notify"] |= {"recipients": ["a@example.org"], "command": ["true"]}
    with running_smtpd(taken, "none") as port:
        smtp = {"server": "localhost", "port": port, "security": "none"}
        night.data["mail"] |= {
            "transport": "smtp",
            "sender": "l@example.org",
            "recipients": ["b@example.org"],
            "smtp": smtp,
        }
        assert ledger("advance", "--date", DATE)[0] == 0
        assert ledger("manifest", "--date", DATE, "--send")[0] == 0
        cube = min((night.destination / DATE / "vgen2").glob("*.fz"))
        cube.write_bytes(b"?")
        assert ledger("verify", "--date", DATE)[0] == 1
    assert len(list(taken.iterdir())) == 2
    (manifest, alert) = told(night, "INFO", "mail '")
    assert "is sent to b@example.org (<" in manifest
    assert "is sent to a@example.org (<" in alert
    assert told(night, "INFO", f"alert 'VAMPIRES: ledger on {socket.gethostname()} has 1 problem' is given to true")


def test_an_alert_that_could_not_be_sent_is_an_error(night, ledger):
    night.data["notify"]["command"] = ["false"]
    (cube, *_) = sorted(night.night().path.glob("vcam1/*.txt"))
    cube.unlink()
    assert ledger("scan", "--date", DATE)[0] == 0
    assert told(night, "ERROR", "alert not sent: false ended with 1")


def test_lines_are_objects_on_request(night, ledger):
    night.data["log_format"] = "json"
    assert ledger("advance", "--date", DATE, "--to", "synced")[0] == 0
    found = [json.loads(line) for line in Path(night.data["log"]).read_text().splitlines()]
    assert {"time", "pid", "level", "text"} <= set.intersection(*(set(line) for line in found))
    assert (found[0]["event"], found[-1]["event"]) == ("begin", "end")
    assert found[-1]["status"] == 0
    (done,) = [line for line in found if line.get("event") == "done"]
    assert (done["pipeline"], done["date"], done["command"], done["level"]) == ("archive", DATE, "advance", "info")


def test_a_line_is_one_line_whatever_is_in_it(tmp_path):
    log.open_log(tmp_path / "log")
    try:
        log.write("a\nb\x1b", level=logging.ERROR)
    finally:
        log.close_log()
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.endswith("ERROR   a\\nb\\x1b")
    assert not log.is_open()


def test_a_log_that_cannot_be_opened_is_said_before_anything_is_done(night, ledger):
    (night.folder / "file").write_text("")
    night.data["log"] = str(night.folder / "file/ledger.log")
    status, _, err = ledger("advance", "--date", DATE)
    assert status == 2
    assert "set LEDGER_LOG to another file" in err
    assert night.query("SELECT * FROM night") == []
    with pytest.raises(UsageError, match="cannot be written"):
        log.open_log(night.folder / "file/ledger.log")
