"""A command that goes on when the terminal closes."""

import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import typer

from ledger.cli.common import begin_log, open_store, read_config
from ledger.text import printable

if TYPE_CHECKING:
    from ledger.query.runs import RunFacts

#: The option, which the command in the background is called without.
OPTION = "--background"

#: Size of what is kept of what earlier ones said, before it is put aside.
_MOST_BYTES = 1_000_000

#: Seconds between two looks whether the run is on record.
_LOOK_S = 0.1


def start() -> int:
    """Call this program again without the option, in a session of its own; return the exit status.

    It is waited for until its run is on record, and then said how to watch and stop it; if it ends before, what it said
    is passed on.
    """
    from ledger.query.runs import at_work

    config = read_config()
    begin_log(config)
    output = config.log.with_name(f"{config.log.name}.background")
    words = [word for word in sys.argv[1:] if word != OPTION]
    if output.exists() and output.stat().st_size > _MOST_BYTES:
        output.replace(output.with_name(f"{output.name}.1"))
    with open_store(config) as store, output.open("ab") as file:
        begin, begun_us = file.tell(), store.clock()
        process = subprocess.Popen(
            [sys.executable, "-m", "ledger.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )

        def is_it(run: "RunFacts") -> bool:
            return (run.host, run.pid) == (socket.gethostname(), process.pid) and run.started_us >= begun_us

        while process.poll() is None:
            if run := next(filter(is_it, at_work(store)), None):
                typer.echo(
                    f"run {run.number} works in the background: `ledger watch {run.number}` shows it, `ledger stop"
                    f" {run.number}` ends it in order; what it says is in {printable(str(output))}"
                )
                return 0
            time.sleep(_LOOK_S)
    with output.open("rb") as said:
        said.seek(begin)
        sys.stdout.write(said.read().decode(errors="replace"))
    return process.returncode if process.returncode >= 0 else 128 - process.returncode
