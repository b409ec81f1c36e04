"""The command line in a process of its own that goes on while the test does: for signals, and on a terminal.

It is forked from the server that has imported all it needs (`tests.processes`).
"""

import fcntl
import os
import pty
import signal
import struct
import sys
import tempfile
import termios
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests import processes
from tests.world import World

TIMEOUT_S = 60


class Running(AbstractContextManager["Running"]):
    """A command that runs.

    Parameters
    ----------
    world : World
        Whose configuration it has, in whose folder it runs.
    *arguments : str
        After ``ledger``.
    """

    def __init__(self, world: World, *arguments: str) -> None:
        self._outputs = tempfile.TemporaryDirectory()
        shown = [Path(self._outputs.name) / name for name in ("stdout", "stderr")]
        self._stdout, self._stderr = shown
        self._process = start(processes._run, *_call(world, arguments), dict(os.environ), shown)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._process.close()
        self._outputs.cleanup()

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    @property
    def told(self) -> str:
        """Return what it wrote to standard error."""
        return self._stderr.read_text() if self._stderr.exists() else ""

    @property
    def shown(self) -> str:
        """Return what it wrote to standard output."""
        return self._stdout.read_text() if self._stdout.exists() else ""

    def is_over(self) -> bool:
        return not self._process.is_alive()

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for its end; return its exit status."""
        self._process.join(TIMEOUT_S)
        assert self.is_over(), self.told
        return int(self._process.exitcode)


def start(target: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own, which has imported what commands import."""
    process = processes._processes.Process(target=target, args=arguments)
    process.start()
    return process


def on_terminal(
    world: World, answer: str, *arguments: str, after: str = "", columns: int | None = None
) -> tuple[int, str]:
    """Run a command on a terminal of its own, of so many columns, and type an answer after something is shown.

    Return the exit status and what was shown.
    """
    ours, theirs = map(Connection, pty.openpty())  # a connection can be given to another process
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": "xterm"}
    with ours:
        with theirs:
            if columns is not None:
                fcntl.ioctl(theirs.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            process = start(_run_on_terminal, *_call(world, arguments), environment, theirs)
        shown = b""
        is_answered = False
        with suppress(OSError):  # the terminal closes with the process
            while True:
                if not is_answered and after.encode() in shown:
                    os.write(ours.fileno(), answer.encode())
                    is_answered = True
                shown += os.read(ours.fileno(), 65536)
        process.join()
    status = process.exitcode
    process.close()
    return status, shown.decode()


def _call(world: World, arguments: Sequence[str]) -> tuple[Sequence[str], Path]:
    return ["--config", str(world.config_path), *arguments], world.folder


def _run_on_terminal(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], terminal: Connection
) -> None:
    for number in (0, 1, 2):
        os.dup2(terminal.fileno(), number)
    terminal.close()
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  as a new interpreter has it
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    processes._run(arguments, folder, environment, [])
