"""Executors: where stage functions run. They know no database, so they run anywhere."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from ledger.config.model import Config
from ledger.errors import LedgerError

T = TypeVar("T")

#: Signals that ask to stop.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Inline(Executor):
    """Runs each call at once, in this process."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run `fn` and return a future that is done."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:  # noqa: BLE001  a future carries what the call raised, whatever it is
            future.set_exception(exc)
        return future


@dataclass(frozen=True, slots=True)
class Timed(Generic[T]):
    """A result and how long it took."""

    value: T
    seconds: float


def timed(fn: Callable[..., T], **kwargs: Any) -> Timed[T]:
    """Call `fn` and measure it. Runs in the worker."""
    start = time.perf_counter()
    value = fn(**kwargs)
    return Timed(value, time.perf_counter() - start)


def workers_of(config: Config, jobs: int | None = None) -> int:
    """Return how many workers to use: `jobs`, else the configuration's, else the processors this process may use."""
    if jobs or config.engine.workers:
        return int(jobs or config.engine.workers or 1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def executor(config: Config, jobs: int | None = None) -> Iterator[Executor]:
    """Open the configured executor; at the end, what has not begun is cancelled, and after an error all that has.

    Raises
    ------
    LedgerError
        If a worker died.
    """
    if config.engine.executor == "inline":
        yield Inline()
        return
    umask = config.permissions.umask
    context = _context()
    alive, held = context.Pipe(duplex=False)  # closed by the system when this process is gone, however it went
    pool = _Pool(
        workers_of(config, jobs),
        mp_context=context,
        initializer=partial(_begin_worker, alive, int(umask, 8) if umask else None),
    )
    try:
        yield pool
    except BaseException as exc:
        # Workers end at once: one that has a result for a pool that is broken would wait, and be waited for, for ever.
        held.close()
        if isinstance(exc, BrokenExecutor):
            raise LedgerError("a worker process died (out of memory?); run the same command again") from exc
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        held.close()
        alive.close()


class _Pool(ProcessPoolExecutor):
    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        with _signals_held():  # a worker begins with the signals of this thread: none may hit it half-way
            return super().submit(fn, *args, **kwargs)


@contextmanager
def _signals_held() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _context() -> multiprocessing.context.BaseContext:
    # Not fork: a forked worker would share the database connections and locks of this process.
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["stages.consolidated", "stages.compressed", "stages.synced"])
        return context
    return multiprocessing.get_context("spawn")


def _begin_worker(alive: Connection, umask: int | None) -> None:
    # The coordinating process decides when to stop; a Ctrl-C at the terminal reaches the whole group.
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    if umask is not None:
        os.umask(umask)
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()


def _end_with(alive: Connection) -> None:
    """End this worker when the coordinating process is gone: it would write for nobody, beside a successor."""
    with contextlib.suppress(EOFError, OSError):
        alive.recv()
    os._exit(1)
