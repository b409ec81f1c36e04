"""The command line in this process, for what needs no process of its own: everything is imported and compiled here."""

import contextlib
import io
import sys
from subprocess import CompletedProcess

from ledger.cli import main
from tests.world import World


def call(world: World, *arguments: str) -> CompletedProcess[str]:
    """Run the command line in the folder of a world; return its status and what it wrote."""
    command = ["ledger", "--config", str(world.config_path), *arguments]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    before, status = sys.argv, 0
    sys.argv = command
    try:
        with contextlib.chdir(world.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as exc:
        status = int(exc.code or 0)
    finally:
        sys.argv = before
    return CompletedProcess(command, status, *(stream.buffer.getvalue().decode() for stream in (out, err)))
