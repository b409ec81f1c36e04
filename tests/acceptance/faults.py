"""Fault points of a run, found by the kernel, and what can happen at each: a kill, a torn write, an error."""

import errno
import json
import os
import signal
import socket
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import forkserver
from typing import Any, Literal

import pytest

from ledger.db.store import Store
from ledger.errors import LedgerError
from ledger.run.machine import Machine
from tests.acceptance.syscalls import GO_ON, Answer, Call, run_stopping, why_not
from tests.world import World

#: What a run does.
Act = Callable[[Machine], Any]
#: At a fault point: decides what becomes of the call.
Happens = Callable[[Call], Answer]

Direction = Literal["advance", "rollback"]


def advance(world: World, **options: Any) -> Act:
    """Return an advance of the world's night."""
    return lambda machine: machine.advance(world.night(), **options)


def rollback(world: World, **options: Any) -> Act:
    """Return a rollback of the world's night."""
    return lambda machine: machine.rollback(world.night(), **options)


ACTS: dict[Direction, Callable[[World], Act]] = {"advance": advance, "rollback": rollback}


@dataclass
class Ran:
    """How a run ended.

    Attributes
    ----------
    points : list of str
        The fault points that it came to, each with what it was about to change.
    said : mapping or None
        Its result, or ``error`` and ``exit_status``; None if it was killed.
    """

    points: list[str] = field(default_factory=list)
    said: dict[str, Any] | None = None

    @property
    def complaint(self) -> str:
        """Return every error that it told, one a line."""
        assert self.said is not None, "killed"
        told = [f"{f['file']}: {f['error']}" for f in self.said.get("failed", [])]
        return "\n".join([*told, *filter(None, (self.said.get("stopped"), self.said.get("error")))])


class Points:
    """Tells the fault points of a run from other calls, and lets something happen at one of them.

    A fault point is a call that changes a file under a night or the destination, the first write and the sync of
    every commit of SQLite, and the sending of every COMMIT to PostgreSQL. What lies between them is the database's.
    """

    def __init__(self, world: World, at: int | None = None, happens: Happens = lambda _: GO_ON) -> None:
        self.roots = tuple(f"{world.folder / name}/" for name in ("archive", "engineering", "destination"))
        self.at = at
        self.happens = happens
        self.ran = Ran()
        self._commits = False

    def __call__(self, call: Call) -> Answer:
        if (what := self.what(call)) is None:
            return GO_ON
        self.ran.points.append(what)
        return self.happens(call) if len(self.ran.points) - 1 == self.at else GO_ON

    def what(self, call: Call) -> str | None:
        """Return what a call is about to change if it is a fault point, or None."""
        if call.name == "sendto":
            return "COMMIT" if call.data is not None and b"COMMIT" in call.data else None
        path = next((path for path in call.paths if path.startswith(self.roots)), "")
        if path:
            return f"{call.name} {path}"
        if call.paths[0].endswith("-wal") and call.name in ("pwrite64", "fdatasync", "fsync"):
            began, self._commits = not self._commits, call.name == "pwrite64"
            if began or not self._commits:
                return f"{call.name} {call.paths[0]}"
        return None


def run(world: World, act: Act, at: int | None = None, happens: Happens = lambda _: GO_ON) -> Ran:
    """Run `act` in a process of its own, and let something happen at fault point `at`."""
    return run_under(world, act, Points(world, at, happens))


def run_under(
    world: World,
    act: Act,
    points: Points,
    *,
    prepare: Callable[[], object] = lambda: None,
    kill_after_s: float | None = None,
) -> Ran:
    """Run `act` in a process of its own; `points` decide.

    Parameters
    ----------
    world : World
        Whose clock and configuration are taken.
    act : callable
        What the run does.
    points : Points
        Asked at every call.
    prepare : callable
        Called in that process before anything else.
    kill_after_s : float, optional
        When to kill it, if it has not ended by then.

    Raises
    ------
    AssertionError
        If the run ended by an error that is none of the ledger's.
    """
    if reason := why_not():
        pytest.skip(f"missing: {reason}")  # on CI too: a kernel's abilities cannot be installed
    config = world.config
    ours, theirs = socket.socketpair()

    def child() -> None:
        forkserver._forkserver.__init__()  # not that of the tests, whose children would not be stopped
        prepare()
        try:
            store = Store(world.url, clock=lambda: world.now_us)
            said = act(Machine(config, store)).as_json()
        except LedgerError as exc:
            said = {"error": str(exc), "exit_status": exc.exit_status}
        except BaseException as exc:  # noqa: BLE001  told to the parent, which fails the test
            said = {"bug": repr(exc)}
        theirs.sendall(json.dumps(said).encode())
        os._exit(0)

    with ours, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads: the child needs none
        with theirs:
            status = run_stopping(child, points, kill_after_s=kill_after_s)
        told = b"".join(iter(lambda: ours.recv(65536), b""))
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return points.ran
    assert os.waitstatus_to_exitcode(status) == 0
    points.ran.said = json.loads(told)
    assert "bug" not in points.ran.said, points.ran.said["bug"]
    return points.ran


# what can happen


def kill(call: Call) -> Answer:
    """Kill the process, in the middle of a write; what is sent to a server is sent, and its answer never read."""
    if call.data is not None:
        call.perform(len(call.data) if call.name == "sendto" else len(call.data) // 2)
    return kill_before(call)


def kill_before(call: Call) -> Answer:
    """Kill the process before it makes the call."""
    os.kill(call.process, signal.SIGKILL)
    return GO_ON


def short(call: Call) -> Answer:
    """Write half of it, and say so; other calls go on."""
    if call.data is None or call.name == "sendto" or len(call.data) < 2:
        return GO_ON
    return Answer(value=call.perform(len(call.data) // 2))


def fails(number: int) -> Happens:
    """Return what lets a call fail; a write when half of it is made."""

    def happens(call: Call) -> Answer:
        if call.data is not None and call.name != "sendto":
            call.perform(len(call.data) // 2)
        return Answer(error=number)

    return happens


ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EROFS)
