"""Kills a run at its n-th fault point, or lets the call fail: a sync, replace, removal, commit, or half of a write."""

import contextlib
import errno
import itertools
import os
import signal
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import sqlalchemy.orm
from sqlalchemy.exc import OperationalError

from ledger.db.store import Store
from ledger.run.machine import Machine
from tests.world import World

#: What changes the disk or the database, for good.
FAULT_POINTS = (
    (os, "fsync"),
    (os, "pwrite"),
    (os, "replace"),
    (os, "rmdir"),
    (Path, "replace"),
    (Path, "unlink"),
    (Path, "rmdir"),
    (Path, "mkdir"),
    (sqlalchemy.orm.Session, "commit"),
)


def run_and_kill(world: World, act: Callable[[Machine], object], at: int | None, *, fails: bool = False) -> int | None:
    """Run `act` in a process of its own, killed at fault point `at` (None: not at all).

    With `fails`, the call at the fault point raises what the system or the database would, and the run
    makes of it what it does; all later calls go well.

    Returns
    -------
    int or None
        How many fault points it passed if it came to its end; None if it was killed.
    """
    config = world.config
    with tempfile.NamedTemporaryFile() as counted, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads: the child makes none
        child = os.fork()
        if child == 0:
            status = 1
            try:
                points = _arm(at, fails=fails)
                store = Store(world.url, clock=lambda: world.now_us)
                with contextlib.suppress(Exception if fails else ()):
                    act(Machine(config, store))
                Path(counted.name).write_text(str(next(points)))
                status = 0
            finally:
                os._exit(status)
        _, how = os.waitpid(child, 0)
        if os.WIFSIGNALED(how):
            assert os.WTERMSIG(how) == signal.SIGKILL
            return None
        assert os.waitstatus_to_exitcode(how) == 0
        return int(Path(counted.name).read_text())


def _arm(at: int | None, *, fails: bool) -> "itertools.count[int]":
    points, pwrite, commit = itertools.count(), os.pwrite, sqlalchemy.orm.Session.commit

    def armed(original: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            if next(points) == at:
                if original is pwrite:  # a kill tears a write
                    descriptor, data, offset = args
                    pwrite(descriptor, bytes(data)[: len(bytes(data)) // 2], offset)
                if fails and original is commit:
                    raise OperationalError("COMMIT", {}, Exception("disk I/O error"))
                if fails:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return call

    for owner, name in FAULT_POINTS:
        setattr(owner, name, armed(getattr(owner, name)))
    return points
