"""The command line in processes of their own that have imported it already: importing takes longer than most commands.

They are forked from a server that has done nothing but import and compile SQL statements (`tests.ready`), so they are
as fresh as new ones.
"""

import multiprocessing
import os
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

from ledger.cli import main

#: Imported by the server; the commands import them when they are needed.
PRELOADED = [
    "alembic.command",
    "astropy.io.fits",
    "ledger.run.catch_up",
    "ledger.ids.check",
    "ledger.query.history",
    "ledger.run.machine",
    "ledger.query.summary",
    "rich.table",
]
TIMEOUT_S = 300

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__, *PRELOADED, "tests.ready"])


def run_command(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> CompletedProcess[str]:
    """Run the command line in a folder, with warnings as errors; return its status and what it wrote.

    Parameters
    ----------
    arguments : sequence of str
        After ``ledger``.
    folder : Path
        Where it runs.
    environment : mapping
        Beside that of this process.
    """
    with tempfile.TemporaryDirectory() as outputs:
        shown = [Path(outputs) / name for name in ("stdout", "stderr")]
        process = _processes.Process(target=_run, args=(arguments, folder, {**os.environ, **environment}, shown))
        process.start()
        process.join(TIMEOUT_S)
        if process.is_alive():
            process.kill()
            process.join()
            raise TimeoutExpired(["ledger", *arguments], TIMEOUT_S)
        status = process.exitcode
        process.close()
        assert status is not None
        return CompletedProcess(["ledger", *arguments], status, *(path.read_text() for path in shown))


def _run(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], shown: Sequence[Path]) -> None:
    for descriptor, path in enumerate(shown, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    os.chdir(folder)
    sys.argv = ["ledger", *arguments]
    warnings.simplefilter("error")
    main()
