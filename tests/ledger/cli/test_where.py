"""Which configuration and which ledger a command means, and where no new one is made."""

import json
import shutil
import sys

import pytest

from ledger.cli import main
from ledger.config.read import packaged_config
from tests.world import DATE, World


@pytest.fixture
def bare(monkeypatch, capsys, tmp_path):
    """Return the command line in this process, as in a shell that names no configuration."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no configuration"))
    monkeypatch.delenv("LEDGER_CONFIG", raising=False)

    def run(folder, *arguments):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["ledger", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        said = capsys.readouterr()
        return int(exited.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def night(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    assert sqlite_world.config_path.is_file()
    return sqlite_world


COMMANDS = [("advance", "."), ("status",), ("doctor",), ("catch-up",), ("exclude", DATE, "--reason", "x"), ("rebuild",)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_command_inside_a_night_names_the_configuration_of_its_ledger(night, bare, command):
    for place in (f"archive/{DATE}", f"archive/{DATE}/vcam1", "destination/archive"):
        before = night.tree(night.folder)
        status, out, err = bare(night.folder / place, *command)
        assert (status, out) == (2, "")
        assert f"{night.folder / place} belongs to the ledger of {night.folder}/config.yaml" in err
        assert "in use would be the packaged default (there is no --config, LEDGER_CONFIG, config.yaml, " in err
        assert f"run the command with --config {night.folder}/config.yaml" in err
        assert "init" not in err
        assert night.tree(night.folder) == before  # no log, no folder


def test_a_command_inside_a_night_of_an_unknown_ledger_says_so(night, bare, tmp_path):
    elsewhere = tmp_path / "disk" / DATE
    shutil.copytree(night.folder / "archive" / DATE, elsewhere)
    before = night.tree(elsewhere)
    for command in COMMANDS:
        status, _, err = bare(elsewhere, *command)
        assert status == 2
        assert f"{elsewhere} is a night, and its configuration was not found" in err
        assert "--config FILE, the configuration of its ledger, or in the folder that has it" in err
    assert night.tree(elsewhere) == before


def test_a_ledger_that_is_configured_by_the_environment_alone_works_inside_a_night(night, bare, monkeypatch):
    monkeypatch.setenv("LEDGER_DATABASE__URL", night.url)
    monkeypatch.setenv("LEDGER_LOG", str(night.folder / "ledger.log"))
    monkeypatch.setenv("LEDGER_ARCHIVE__ROOT", str(night.folder / "archive"))
    status, out, err = bare(night.folder / "archive" / DATE, "status")
    assert (status, DATE in out) == (0, True), err


def test_no_second_ledger_is_made_where_one_is(night, bare):
    for place in (f"archive/{DATE}", f"archive/{DATE}/vcam1", "archive", "destination/archive"):
        status, _, err = bare(night.folder / place, "init")
        assert status == 2
        assert f"--config {night.folder}/config.yaml" in err
        assert not list((night.folder / place).glob("*.yaml"))


def test_no_ledger_is_made_in_a_night_of_any_ledger(night, bare, tmp_path):
    elsewhere = tmp_path / "disk" / DATE
    shutil.copytree(night.folder / "archive" / DATE, elsewhere)
    for place in (elsewhere, elsewhere / "vcam1"):
        status, _, err = bare(place, "init")
        assert status == 2
        assert f"{elsewhere} is a night" in err
    assert not list(elsewhere.rglob("*.yaml"))
    status, out, err = bare(elsewhere.parent, "init")
    assert status == 0, err
    assert "wrote config.yaml" in out


@pytest.mark.parametrize("text", ["services:\n  web: {image: x}\n", "version: 2\n"])
def test_a_configuration_of_something_else_is_said_to_be_that(tmp_path, bare, text):
    (tmp_path / "config.yaml").write_text(text)
    for command in (["status"], ["init"], ["config"]):
        status, _, err = bare(tmp_path, *command)
        assert status == 2
        assert f"configuration {tmp_path}/config.yaml: not a ledger's" in err
        assert "--config FILE" in err
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_the_configuration_is_shown_with_where_each_value_comes_from(tmp_path, bare, monkeypatch):
    text = packaged_config().read_text().replace("hours: 6", "hours: 7").replace("log_format: text", "#")
    (tmp_path / "config.yaml").write_text(text)
    monkeypatch.setenv("LEDGER_TRANSFER__SSH__PORT", "2222")
    monkeypatch.setenv("LEDGER_DATABASE__URL", "postgresql+psycopg://me:secret@host/ledger")
    status, out, err = bare(tmp_path, "config", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["notify.hours"] == {"value": 7, "from": "config.yaml"}
    assert found["log_format"] == {"value": "text", "from": "default"}
    assert found["transfer.ssh.port"] == {"value": 2222, "from": "LEDGER_TRANSFER__SSH__PORT"}
    assert found["archive.root"]["value"] == str(tmp_path / "archive")
    assert found["database.url"]["from"] == "LEDGER_DATABASE__URL"
    assert "secret" not in out
    monkeypatch.setenv("LEDGER_NOTIFY__HEARTBEAT", "https://me:pw@hc.example.org/a-secret-path")
    found = json.loads(bare(tmp_path, "config", "--json")[1])
    assert found["notify.heartbeat"]["value"] == "https://hc.example.org/***"
    status, out, err = bare(tmp_path, "config")
    assert f"configuration: {tmp_path}/config.yaml (the first that was found)" in err
    assert "notify.hours\t7.0\tconfig.yaml" in out.splitlines()
    assert "transfer.window\tnull\tconfig.yaml" in out.splitlines()


@pytest.mark.parametrize(("how", "why"), [("option", "named by --config"), ("variable", "named by LEDGER_CONFIG")])
def test_why_a_configuration_is_read_is_said(tmp_path, bare, monkeypatch, how, why):
    file = tmp_path / "mine.yaml"
    shutil.copyfile(packaged_config(), file)
    if how == "variable":
        monkeypatch.setenv("LEDGER_CONFIG", str(file))
    status, _, err = bare(tmp_path, *(["--config", str(file)] if how == "option" else []), "status")
    assert status == 2
    assert f"in use is {file} ({why})" in err
