"""The laws proven from the files: what is on record is read again, whole, and frames are compared with raw.

Each raw file, product and manifest is one call of :mod:`stages.check.reread`, in a worker; nothing is written. A night
that a run works on meanwhile is not judged.
"""

import shlex
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from ledger.audit._deep_tasks import Task, afar, folder_of, tasks_of
from ledger.audit.laws import Violation, check_night, nights_of
from ledger.config.model import Config
from ledger.db.models import Night
from ledger.db.store import Store
from ledger.disk.dates import Dates
from ledger.errors import Interrupted, LedgerError
from ledger.ids.check_rows import Explained
from ledger.night import record
from ledger.night.given_out import mailed
from ledger.night.lease import Hold, read_hold, why_unsettled
from ledger.report import Reporter, Silent, Stop
from ledger.run import engine
from stages.check.reread import Fault, Found
from stages.further import raw_headers_sha256

#: Calls in hand a worker: none of them waits for work.
IN_HAND_PER_WORKER = 4
#: How soon a signal is looked at that comes while workers are busy.
POLL_S = 0.2

#: What is counted: nights that were judged, their products, files that were read whole, frames that were compared
#: with raw, and bytes of these files and raw frames.
COUNTED = ("nights", "products", "files", "frames", "bytes")


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes
    ----------
    violations : list of Violation
        By night; within it what `check_night` finds, raw files, products in ID order, manifests.
    explained : list of Explained
        What was not judged, and why.
    counts : mapping of str to int
        See `COUNTED`.
    seconds : float
        How long it took.
    """

    violations: list[Violation] = field(default_factory=list)
    explained: list[Explained] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    seconds: float = 0.0


def audit_deeply(
    store: Store,
    config: Config,
    *,
    dates: Dates | None = None,
    nights: Sequence[Night] | None = None,
    jobs: int | None = None,
    reporter: Reporter | None = None,
    stop: Stop | None = None,
) -> Report:
    """Read all files of nights again, and compare them with rows, copies, manifests and raw.

    Parameters
    ----------
    store, config
        The ledger.
    dates : Dates, optional
        Only these nights.
    nights : sequence of Night, optional
        Instead of those on record, perhaps with other roots.
    jobs : int, optional
        Workers, instead of the configuration's.
    reporter : Reporter, optional
        Gets the progress.
    stop : Stop, optional
        Set by a signal handler.

    Raises
    ------
    UsageError
        If there is no night of one of these dates in the ledger.
    Interrupted
        As soon as `stop` is set.
    LedgerError
        If a worker dies.
    """
    begin, report = time.monotonic(), Report()
    nights = nights_of(store, dates) if nights is None else nights
    with engine.executor(config, jobs) as pool:
        calls = _Calls(pool, engine.workers_of(config, jobs), reporter or Silent(), stop or Stop())
        for night in nights:
            _look_at(store, config, night, calls, report)
    report.seconds = time.monotonic() - begin
    return report


@dataclass(frozen=True, slots=True)
class _Calls:
    """Where calls are made, by how many workers, and where progress is reported."""

    pool: Executor
    n_workers: int
    reporter: Reporter
    stop: Stop

    def make(self, name: str, tasks: Sequence[Task]) -> list[Found]:
        """Make all calls, a few at a time; return what they found, in the order of `tasks`."""
        self.reporter.phase(name, len(tasks))
        results = [Found() for _ in tasks]
        waiting = deque(enumerate(tasks))
        running: dict[Future[Found], int] = {}
        while waiting or running:
            while waiting and len(running) < IN_HAND_PER_WORKER * self.n_workers and self.stop.signal_number is None:
                number, task = waiting.popleft()
                running[self.pool.submit(task.call)] = number
            finished, _ = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
            if self.stop.signal_number is not None:
                raise Interrupted(self.stop.signal_number, "stopped: this audit is not complete; nothing was changed")
            in_hand = [tasks[number].path for number in running.values()]
            for future in finished:
                number = running.pop(future)
                results[number] = _result(future, tasks[number], in_hand)
            self.reporter.advance(len(finished))
        return results


def _result(future: Future[Found], task: Task, in_hand: Sequence[Path]) -> Found:
    """Return what a call found; one that failed has not passed."""
    try:
        return future.result()
    except BrokenExecutor as exc:
        names = ", ".join(map(str, in_hand))
        raise LedgerError(
            f"a worker process died at one of {names} (out of memory?); audit again with --jobs 1"
        ) from exc
    except Exception as exc:  # noqa: BLE001  whatever it was
        what = f"{task.path} could not be checked ({type(exc).__name__}: {exc})"
        return Found([Fault("unchecked", task.path, what)])


def _look_at(store: Store, config: Config, night: Night, calls: _Calls, report: Report) -> None:
    """Judge one night, unless a run has it, or had it meanwhile."""
    before = _hold(store, night)
    items = record.products(store, night)
    found: dict[tuple[str, str], Violation] = {}
    counts: Counter[str] = Counter(nights=1, products=len(items))
    reason = why_unsettled(before, before)
    if reason is None:
        found |= {(v.law, v.what): v for v in check_night(store, config, night)}
        tasks = tasks_of(store, config, night, items)
        withdraw = " --withdraw" if mailed(store, night) else ""
        for task, result in zip(tasks, calls.make(f"deep audit {night.date}", tasks), strict=True):
            found |= {(v.law, v.what): v for v in _violations(night, task, result, withdraw)}
            counts += Counter(files=result.n_files, frames=result.n_frames, bytes=result.n_bytes)
        reason = why_unsettled(before, _hold(store, night))
    if reason is not None:
        why = f"{reason}: its files were not judged"
        report.explained.append(Explained("busy", why, len(items), night.date, night.date))
        return
    report.violations += found.values()
    report.explained += afar(store, night)
    for what, n in counts.items():
        report.counts[what] += n


def _hold(store: Store, night: Night) -> Hold:
    with store.read() as session:
        return read_hold(session, night, store.common_us(session))


def _violations(night: Night, task: Task, result: Found, withdraw: str) -> list[Violation]:
    """Return what is wrong; `withdraw` is the option that a rollback needs once the night's manifest was mailed."""
    faults = [*task.faults, *result.faults]
    return [
        Violation(
            "row_without_file" if fault.law == "gone" else fault.law,
            fault.what,
            _next(night, task, fault, faults, withdraw),
        )
        for fault in faults
    ]


def _next(night: Night, task: Task, fault: Fault, faults: Sequence[Fault], withdraw: str) -> str:
    """Return what to do about a fault: the only good one of several files is never put at risk."""
    folder = shlex.quote(str(folder_of(night)))
    is_of_manifest = task.product is None or fault.law == "manifest"
    to = " --to transferred" if is_of_manifest else ""  # it is made again from products that are right
    again = f"`ledger rollback {folder}{to} --yes{withdraw}` and `ledger advance {folder}`"
    if raw_headers_sha256(task.path.name):
        again = "put it back from a backup of either place: raw headers are nowhere else"
    if fault.law == "unchecked":
        return f"audit the night again: `ledger audit --deep --date {night.date}`; if that does not help, it is a bug"
    if fault.law == "pixels":
        return _next_of_pixels(task, fault, again)
    if fault.path not in {file.path for file in task.files}:
        return "raw files are read-only: put it back from another copy of it, and do not roll the night back before"
    bad = {fault.path for fault in faults if fault.law != "pixels"}
    pairs = [(file.copy_of, file.path) for file in task.files if file.copy_of]
    twins = [here if fault.path == there else there for here, there in pairs if fault.path in (here, there)]
    good = [path for path in twins if path not in bad]
    is_wrong_as_recorded = (
        fault.law == "checksum" or fault in task.faults or (task.product is not None and fault.law == "manifest")
    )
    if good and not is_wrong_as_recorded:
        is_there = fault.path in {there for _, there in pairs}
        command = f"`cp -p {shlex.quote(str(good[0]))} {shlex.quote(str(fault.path))}` and audit again"
        if is_there and bad.isdisjoint(here for here, _ in pairs):
            command = f"`ledger verify {folder} --repair` copies it again"
        elif not is_there and task.product is not None and bad.isdisjoint(there for _, there in pairs):
            command = f"`ledger recall {folder}` brings it back"
        if fault.path.parent.is_dir():
            return command
        return f"mount the disk of {fault.path.parent}; if it is lost, make the folder again, then {command}"
    in_the_way = [str(there) for _, there in pairs if there in bad and there.exists()]
    return (f"no good copy is left: move {' and '.join(in_the_way)} away, then " if in_the_way else "") + again


def _next_of_pixels(task: Task, fault: Fault, again: str) -> str:
    """Return what to do about frames that differ from raw, in a file whose bytes are those on record, if any are."""
    if fault.raw_is_sound:
        return f"the raw file agrees with its own DATASUM: {again}"
    is_proven = task.product is not None and task.product.sha256 is not None
    keep = "the product has the bytes that were proven: keep it; " if is_proven else ""
    if fault.raw_is_sound is False:
        return (
            f"{keep}the raw file contradicts its own DATASUM: put it back from another copy of it, before any rollback"
        )
    return f"{keep}compare the raw file with another copy of it before any rollback; only if it is right, {again}"
