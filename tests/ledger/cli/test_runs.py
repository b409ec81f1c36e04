"""Runs as people see them: who works on what, how far it is, and how it is stopped."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.db.store import Store
from tests.inside import call
from tests.ledger.cli.forked import Running
from tests.tools import missing
from tests.world import DATE, World

TIMEOUT_S = 60


@pytest.fixture
def slow(sqlite_world: World, sshd) -> World:
    """A compressed night of which each product takes two seconds to be sent."""
    world = sqlite_world
    world.send_afar(sshd)
    world.simulate(scale=0.005, scenario=("pdi",))
    world.bring(to="compressed")
    world.data["transfer"]["ssh"]["limit_mb_s"] = 0.02
    return world


def until(is_so, running: Running | None = None) -> None:
    begin = time.monotonic()
    while not is_so():
        assert time.monotonic() - begin < TIMEOUT_S
        assert running is None or not running.is_over(), running and running.told
        time.sleep(0.05)


def sent(world: World) -> int:
    return len(list(world.destination.rglob("VMPA*.fz")))


def at_work(world: World) -> list[dict[str, object]]:
    return [run for run in json.loads(call(world, "runs", "--json").stdout) if run["stands"] == "works"]


def test_a_run_is_watched_and_asked_to_stop_by_its_number(slow):
    world = slow
    with Running(world, "advance", "--date", DATE) as running:
        until(lambda: sent(world) >= 1, running)
        (run,) = at_work(world)
        assert (run["command"], run["date"], run["pid"], run["host"]) == ("advance", DATE, running.pid, os.uname()[1])
        assert run["begun_by"]
        far = json.loads(call(world, "watch", "--json").stdout)
        assert far["number"] == run["number"]
        assert far["progress"]["step"] == "transfer"
        assert sum(far["progress"]["states"].values()) > 0
        assert f"run {run['number']} (advance, night {DATE}): works" in call(world, "status").stderr
        done = call(world, "stop", str(run["number"]))
        assert done.returncode == 0, done.stderr
        assert running.wait() == 128 + signal.SIGTERM
    (first, *_) = json.loads(call(world, "runs", "--json").stdout)
    assert (first["stands"], first["number"]) == ("ended", run["number"])
    states = dict(world.query("SELECT state, count(*) FROM file WHERE kind = 'product' GROUP BY state"))
    assert set(states) == {"compressed", "transferred"}
    assert call(world, "watch", str(run["number"])).returncode == 1
    again = call(world, "stop", str(run["number"]))
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[list[str]]:
    """Return the words that begin a call of tmux, whose server is this test's own."""
    if shutil.which("tmux") is None:
        missing("tmux (Debian: tmux)")
    tmux = ["tmux", "-f", "/dev/null", "-S", str(tmp_path / "tmux")]
    yield tmux
    subprocess.run([*tmux, "kill-server"], capture_output=True, check=False)


def test_in_the_background_a_run_outlives_its_terminal(slow, terminal):
    world = slow
    said = world.folder / "said"
    words = [sys.executable, "-m", "ledger.cli", "--config", str(world.config_path), "advance", "--background"]
    command = f"{shlex.join(words)} --date {DATE} > {shlex.quote(str(said))} 2>&1; read -r"
    begin = [*terminal, "new-session", "-d", "-c", str(Path.cwd()), command]
    subprocess.run(begin, check=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    until(lambda: said.exists() and "works in the background" in said.read_text())
    until(lambda: sent(world) >= 1)
    subprocess.run([*terminal, "kill-server"], check=True)
    number = at_work(world)[0]["number"]
    shown = call(world, "watch", str(number))
    assert shown.returncode == 0, shown.stdout
    assert f"run {number} (advance, night {DATE}): in order" in shown.stdout
    assert world.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("manifested",)]
    assert "products" in (world.folder / "ledger.log.background").read_text()


def test_what_keeps_a_run_from_beginning_is_said_at_once(sqlite_world):
    world = sqlite_world
    done = world.run("advance", "--background", "--date", DATE)
    assert done.returncode == 2
    assert f"no night {DATE}" in done.stdout + done.stderr


def test_ended_runs_are_listed_and_idle_catch_ups_only_if_asked(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("onecamera",))
    assert call(world, "advance", DATE).returncode == 0
    assert call(world, "catch-up").returncode == 0
    listed = call(world, "runs").stdout.splitlines()
    assert [line.split("\t")[1:3] for line in listed[1:]] == [["advance", DATE]]
    assert len(call(world, "runs", "--all").stdout.splitlines()) == len(listed) + 1
    assert (
        call(world, "runs", "--csv")
        .stdout.splitlines()[0]
        .startswith("number,command,pipeline,date,begun_by,host,pid,started_us,")
    )
    world.store().begin_run("advance", {"pipeline": "archive", "date": DATE})
    with world.store().write() as session:
        session.connection().exec_driver_sql("UPDATE run SET pid = 2147483647 WHERE ended_us IS NULL")
    assert "was killed" in call(world, "runs").stdout
    assert call(world, "watch").returncode == 2


def test_only_what_a_process_began_itself_stops_it(sqlite_world):
    """A number of a process comes again, in containers at once; a run that has ended hands the request on."""
    world = sqlite_world
    store = world.store()
    before = store.begin_run("advance", {"date": DATE})  # of this process, by its number
    store.ask_to_stop(before)
    now = Store(world.url)
    try:
        first = now.begin_run("advance", {"date": DATE})
        with now.read() as session:
            assert not now.is_asked_to_stop(session)
        now.end_run(first, 0, in_order=True)
        now.begin_run("advance", {"date": "20260103"})
        store.ask_to_stop(first)
        with now.read() as session:
            assert now.is_asked_to_stop(session)
    finally:
        now.close()


def test_a_number_of_a_process_means_the_night_that_it_is_at(sqlite_world):
    world = sqlite_world
    store = world.store()
    first = store.begin_run("advance", {"pipeline": "archive", "date": DATE})
    store.end_run(first, 0, in_order=True)
    second = store.begin_run("advance", {"pipeline": "archive", "date": "20260103"})
    assert f"run {second} " in call(world, "stop", str(first)).stdout
    assert world.query(f"SELECT stop_asked_us IS NULL FROM run WHERE id IN ({first}, {second}) ORDER BY id") == [
        (1,),
        (0,),
    ]


@pytest.mark.parametrize("words", [("watch", "99"), ("stop", "99")])
def test_a_run_that_is_not_there_is_one_line(sqlite_world, words):
    done = call(sqlite_world, *words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "ledger: no run 99; expected one of `ledger runs`\n")


def test_watching_ends_with_ctrl_c_and_leaves_the_run_alone(slow):
    world = slow
    with Running(world, "advance", "--date", DATE) as running:
        until(lambda: sent(world) >= 1, running)
        with Running(world, "watch") as watching:
            until(lambda: "transfer" in watching.shown, watching)
            watching.send_signal(signal.SIGINT)
            assert watching.wait() == 0
            assert "goes on; `ledger stop" in watching.told
        assert not running.is_over()
        world.data["transfer"]["ssh"]["limit_mb_s"] = None
