"""Executors: where stage functions run. They know no database, so they run anywhere."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from ledger.config import Config

T = TypeVar("T")


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
    """Open the configured executor; at the end, what has not begun is cancelled."""
    if config.engine.executor == "inline":
        yield Inline()
        return
    umask = config.permissions.umask
    pool = ProcessPoolExecutor(
        workers_of(config, jobs),
        mp_context=_context(),
        initializer=partial(_begin_worker, int(umask, 8) if umask else None),
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _context() -> multiprocessing.context.BaseContext:
    # Not fork: a forked worker would share the database connections and locks of this process.
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["stages.consolidated", "stages.compressed", "stages.synced"])
        return context
    return multiprocessing.get_context("spawn")


def _begin_worker(umask: int | None) -> None:
    # The coordinating process decides when to stop; a Ctrl-C at the terminal reaches the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if umask is not None:
        os.umask(umask)
