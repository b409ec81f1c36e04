"""Processes that wait side by side, and set off at once; each does what it is told to one night, time after time."""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Literal, Self

from sqlalchemy import text
from sqlmodel import Session

from ledger.config.read import read_config
from ledger.db.store import Store
from ledger.disk.nights import find_night
from ledger.errors import Busy
from ledger.night import record
from ledger.report import Result
from ledger.run.machine import Machine
from tests.acceptance.numbering import refused
from tests.world import LATER_US, World

#: How long a process may be silent, in seconds, before the test gives up.
PATIENCE_S = 120


@dataclass(frozen=True, slots=True)
class Job:
    """What a process does to a night.

    `includes`: takes the night back into the chronology first. `dies`: is killed before the commit that gives the
    night its frame IDs, or right after it.
    """

    date: str
    to: str = "identified"
    includes: bool = False
    dies: Literal["before", "after"] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went: `done`, `refused` and why, `busy` and why, `killed`, or `failed` with a traceback."""

    job: Job
    how: Literal["done", "refused", "busy", "killed", "failed"]
    text: str = ""


class Mortal(Store):
    """A database whose process dies when it gives a night its frame IDs."""

    def __init__(self, url: str, job: Job) -> None:
        super().__init__(url, clock=later)
        self.job = job

    @contextmanager
    def write(self, fence: Callable[[Session], None] | None = None) -> Iterator[Session]:
        """Open a session that writes, and die where it is time."""
        with super().write(fence) as session:
            before = self._ids(session)
            yield session
            gives = self._ids(session) > before
            if gives and self.job.dies == "before":
                os.kill(os.getpid(), signal.SIGKILL)
        if gives and self.job.dies == "after":
            os.kill(os.getpid(), signal.SIGKILL)

    def _ids(self, session: Session) -> int:
        query = "SELECT COUNT(*) FROM frame_id JOIN night ON night.id = frame_id.night_id WHERE night.date = :date"
        return int(session.execute(text(query), {"date": self.job.date}).scalar_one())


def later() -> int:
    """Return a time long after the nights of the tests, as `World` has it."""
    return LATER_US


def serve(connection: Connection) -> None:
    """Do jobs until there are no more."""
    while (order := connection.recv()) is not None:
        config, url, job = order
        store = Store(url, clock=later) if job.dies is None else Mortal(url, job)
        try:
            machine = Machine(read_config(config, environment={}), store)
            connection.send("ready")
            connection.recv()  # all set off
            connection.send(_do(job, machine))
        except Exception:  # noqa: BLE001  told to the test
            connection.send(Outcome(job, "failed", traceback.format_exc()))
        finally:
            store.close()


def _do(job: Job, machine: Machine) -> Outcome:
    def act() -> Result:
        night = find_night(machine.config, date=job.date)
        if job.includes:
            record.exclude(machine.store, night.pipeline, night.root, night.date, None)
        return machine.advance(night, to=job.to)

    try:
        why = refused(act)
    except Busy as exc:
        return Outcome(job, "busy", str(exc))
    except Exception:  # noqa: BLE001  told to the test
        return Outcome(job, "failed", traceback.format_exc())
    return Outcome(job, "done") if why is None else Outcome(job, "refused", why)


@dataclass(slots=True)
class Racer:
    """A process, and the line to it."""

    process: Any
    line: Connection


@dataclass(slots=True)
class Racers:
    """Processes that are kept for many races; a context manager."""

    idle: list[Racer] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for racer in self.idle:
            racer.line.send(None)
        for racer in self.idle:
            racer.process.join()
            racer.line.close()

    def race(self, world: World, jobs: Sequence[Job]) -> list[Outcome]:
        """Let one process for each of `jobs` set off at the same moment; return how it went once all are through."""
        return self.finish(self.start(world, jobs))

    def start(self, world: World, jobs: Sequence[Job]) -> list[tuple[Racer, Job]]:
        """Let one process for each of `jobs` set off at the same moment."""
        while len(self.idle) < len(jobs):
            self.idle.append(_start())
        config = world.config_path
        running = [(self.idle.pop(), job) for job in jobs]
        for racer, job in running:
            racer.line.send((config, world.url, job))
        for racer, _ in running:
            ready = _heard(racer)
            assert ready == "ready", ready
        for racer, _ in running:
            racer.line.send("go")
        return running

    def finish(self, running: Sequence[tuple[Racer, Job]]) -> list[Outcome]:
        """Wait until all are through; return how it went."""
        return [self._outcome(racer, job) for racer, job in running]

    def _outcome(self, racer: Racer, job: Job) -> Outcome:
        try:
            outcome = _heard(racer)
        except (EOFError, ConnectionResetError):
            racer.process.join()
            assert racer.process.exitcode == -signal.SIGKILL
            racer.line.close()
            return Outcome(job, "killed")
        self.idle.append(racer)
        return outcome


def _heard(racer: Racer) -> Any:
    assert racer.line.poll(PATIENCE_S), "a process does not answer"
    return racer.line.recv()


def _start() -> Racer:
    """Start a process; not by fork, which would hand connections to the database down to it.

    The server that it is forked from has imported all that `tests.processes` names.
    """
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # so that the line breaks when the process is gone
    return Racer(process, ours)
