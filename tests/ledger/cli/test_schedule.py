"""What lets cron or systemd call `catch-up`: the lines that are printed work as these programs read them."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ledger.cli._timers import Call, call_of, crontab_lines, units, with_entry, without_entry
from ledger.errors import UsageError
from tests.inside import call
from tests.tools import missing
from tests.world import DATE, World

ODD = 'a "b" %c $d \\e'


def as_cron(entry: str, home: Path) -> "subprocess.CompletedProcess[str]":
    """Run an entry as cron does: with nothing of our environment (crontab(5))."""
    *_, command = entry.split(" ", 5)
    command, *stdin = re.split(r"(?<!\\)%", command)
    assert not stdin
    environment = {"HOME": str(home), "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", "LOGNAME": "anybody"}
    return subprocess.run(
        ["/bin/sh", "-c", command.replace(r"\%", "%")],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def odd_world(world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a configuration in a folder with an odd name, and set a variable that it needs."""
    folder = world.folder / ODD
    folder.mkdir()
    config = folder / "config.yaml"
    world.data["log"] = str(world.folder / "ledger.log")
    world.data["archive"]["root"], world.data["engineering"]["root"] = "nowhere", str(world.folder / "engineering")
    for name in ("archive", "engineering"):
        world.data[name]["destination"] = str(world.folder / "destination" / name)
    shutil.copy(world.config_path, config)
    monkeypatch.setenv("LEDGER_ARCHIVE__ROOT", str(world.folder / "archive"))
    return config


def test_the_entry_works_as_cron_calls_it(sqlite_world, monkeypatch):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("onecamera",))
    config = odd_world(world, monkeypatch)
    comment, entry = crontab_lines(call_of(config, 20, os.environ))
    assert comment.startswith("# ledger-")
    assert entry.startswith("*/20 * * * * ")
    done = as_cron(entry, world.folder)
    assert done.returncode == 0, done.stderr
    assert f"night {DATE} (archive)" in done.stdout
    assert world.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("manifested",)]


def test_the_units_are_as_systemd_wants_them(tmp_path):
    verify = shutil.which("systemd-analyze")
    if verify is None:
        missing("systemd-analyze (Debian: systemd)")
    program = tmp_path / ODD / "ledger"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    made = units(Call((str(program),), tmp_path / ODD / "config.yaml", {"LEDGER_A": ODD, "PATH": "/bin"}, 15), "root")
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [verify, "verify", *(tmp_path / n for n in made)], capture_output=True, text=True, check=False
    )
    mine = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "ledger-" in line]
    assert (done.returncode, mine) == (0, [])


def test_what_else_is_in_a_crontab_stays():
    ours = Call(("/x/ledger",), Path("/a/config.yaml"), {"PATH": "/bin"}, 60)
    others = Call(("/x/ledger",), Path("/b/config.yaml"), {"PATH": "/bin"}, 15)
    before = with_entry("MAILTO=me\n# mine\n1 2 * * * true", others)
    both = with_entry(before, ours)
    assert both.startswith("MAILTO=me\n# mine\n1 2 * * * true\n")
    assert both.count("catch-up\n") == 2
    assert with_entry(both, ours) == both
    changed = with_entry(both, Call(("/y/ledger",), Path("/a/config.yaml"), {"PATH": "/bin"}, 60))
    assert "/y/ledger" in changed
    assert changed.count("catch-up\n") == 2
    assert without_entry(both, ours) == before
    foreign = "0 4 * * * mount /d && flock /x ledger --config /a/config.yaml catch-up\n # off: ledger catch-up\n"
    assert without_entry(foreign, ours) == foreign
    comment, entry = crontab_lines(ours)
    for damaged in (f"{comment}\n5 * * * * backup\n", f"{comment}\nMAILTO=me\n{entry}\n5 * * * * backup\n"):
        left = without_entry(damaged, ours)  # whatever somebody did to our lines, others stay
        assert left in ("5 * * * * backup\n", "MAILTO=me\n5 * * * * backup\n")


def test_units_that_cannot_be_enabled_leave_those_of_before(sqlite_world, monkeypatch, tmp_path):
    """A user without a session cannot enable units; root's are the system's, which no test touches."""
    world = sqlite_world
    monkeypatch.setattr("ledger.cli._timers.unit_folder", lambda _: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "systemctl").write_text("#!/bin/sh\necho no session >&2\nexit 1\n")
    (tmp_path / "bin" / "systemctl").chmod(0o755)
    names = call(world, "schedule", "--systemd").stdout.split("# ")
    service = tmp_path / Path(names[1].splitlines()[0]).name
    service.write_text("of before")
    done = call(world, "schedule", "--systemd", "--install")
    assert (done.returncode, done.stderr) == (2, "ledger: systemctl daemon-reload: no session\n")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [service.name]
    assert service.read_text() == "of before"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEDGER_SMTP_PASSWORD", "secret"),
        ("LEDGER_DATABASE__URL", "postgresql+psycopg://me:secret@host/x"),
        ("LEDGER_LOG", "two\nlines"),
        ("LEDGER_DATABASE__URL", "postgresql+psycopg://u@h/db?password=secret"),
        ("LEDGER_DATABASE__URL", "postgresql+psycopg://u:se/cret@h/db"),
        ("LEDGER_NOTIFY__COMMAND", '["curl", "https://hooks.example.org/secret"]'),
        ("LEDGER_NOTIFY__HEARTBEAT", "https://hc.example.org/ping/secret"),
    ],
)
def test_what_no_crontab_is_to_hold_is_refused(name, value):
    with pytest.raises(UsageError, match=name):
        call_of(Path("/a/config.yaml"), 15, {"PATH": "/bin", name: value})


def test_a_folder_may_be_called_as_a_secret_is():
    environment = {"PATH": "/bin", "LEDGER_ARCHIVE__ROOT": "/data/tokens"}
    assert "LEDGER_ARCHIVE__ROOT=/data/tokens" in crontab_lines(call_of(Path("/a/config.yaml"), 15, environment))[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--every", "7"], "expected one of 1, 2, 3"), (["--install", "--remove"], "expected one of them")],
)
def test_bad_words_are_one_line(sqlite_world, words, message):
    done = call(sqlite_world, "schedule", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_it_is_shown_and_nothing_is_changed(sqlite_world):
    done = call(sqlite_world, "schedule")
    assert done.returncode == 0
    _, entry = done.stdout.splitlines()
    assert shlex.split(entry)[-2:] == [str(sqlite_world.folder / "config.yaml"), "catch-up"]
    assert ".timer" in call(sqlite_world, "schedule", "--systemd").stdout
    facts = json.loads(call(sqlite_world, "schedule", "--json").stdout)
    assert facts["cron"] == done.stdout.splitlines()
    assert len(facts["systemd"]) == 2


def test_it_is_set_up_and_taken_away_by_a_real_crontab(sqlite_world):
    """Where nobody's crontab is at stake: as root, on CI."""
    if not os.environ.get("CI") or os.geteuid() or shutil.which("crontab") is None:
        pytest.skip("missing: crontab of a machine that is nobody's (Debian: cron)")
    world = sqlite_world
    before = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)
    try:
        assert call(world, "schedule", "--install").returncode == 0
        assert "already" in call(world, "schedule", "--install").stdout
        there = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=True).stdout
        assert there == before.stdout + call(world, "schedule").stdout
        assert call(world, "schedule", "--remove").returncode == 0
        assert "no such entry" in call(world, "schedule", "--remove").stdout
        after = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)
        assert after.stdout == before.stdout
    finally:
        if before.returncode:
            subprocess.run(["crontab", "-r"], capture_output=True, check=False)
        else:
            subprocess.run(["crontab", "-"], input=before.stdout, text=True, check=True)
