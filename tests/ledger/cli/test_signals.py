"""Signals that are ignored when a command begins."""

import os
import signal
import subprocess
import sys

from tests.world import DATE, World


def test_a_command_under_nohup_outlives_its_terminal(sqlite_world: World) -> None:
    world = sqlite_world
    world.data["engine"] = {"executor": "processes", "workers": 1}
    world.simulate(scale=0.1, scenario=("pdi",))
    command = ["nohup", sys.executable, "-m", "ledger.cli", "--config", str(world.config_path)]
    with subprocess.Popen(
        [*command, "advance", "--date", DATE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stderr is not None
        while "consolidated" not in run.stderr.readline():
            assert run.poll() is None
        os.killpg(run.pid, signal.SIGHUP)  # as a terminal does that is closed
        _, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert "Traceback" not in said
    assert world.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("manifested",)]
