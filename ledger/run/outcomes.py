"""What follows the end of a step: superseded files are removed, failures recorded and reported."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ledger.disk import durable
from ledger.errors import LedgerError, NotReady, UsageError
from ledger.night.journal import Failure
from ledger.night.pipeline import Direction, Step
from ledger.night.products import WorkItem
from ledger.run.steps import Steps
from stages import base


def remove_superseded(steps: Steps, superseded: Mapping[str, Iterable[Path]]) -> None:
    """Remove superseded files, given by product; what cannot be removed is a failure, and left to the next run."""
    groups = [list(paths) for paths in superseded.values()]
    for name, exc in zip(superseded, _remove_all(steps, groups), strict=True):
        if exc is None:
            continue
        steps.is_torn = True
        reason = f"{exc}; its step is done, and what it superseded could not be removed: run the same command again"
        steps.result.failed.append((name, reason))


def _remove_all(steps: Steps, groups: Sequence[Sequence[Path]]) -> Sequence[Exception | None]:
    if steps.site.has_nights:
        return durable.remove_all(groups)
    try:
        steps.remove([path for paths in groups for path in paths])
    except (OSError, UsageError, NotReady) as exc:
        return [exc for _ in groups]
    return [None for _ in groups]


def fail(steps: Steps, failures: Sequence[Failure], step: Step, direction: Direction) -> None:
    """Record failures of a step; forward, the configuration says when each is tried again or put in quarantine."""
    policy = steps.config.failures if direction == "forward" else None
    steps.journal.failed(failures, step.verb(direction), policy)
    for failure in failures:
        item = failure.item
        is_put_aside = policy is not None and item.quarantine_reason is not None
        hint = "; it is in quarantine now: see `ledger quarantine list`" if is_put_aside else ""
        steps.result.failed.append((item.product.frame_id or item.product.name, failure.error + hint))


def fail_all(steps: Steps, items: Sequence[WorkItem], exc: Exception, step: Step, direction: Direction) -> None:
    """Record that a call of many products failed; it counts for none: the cause lies outside of the night's folder."""
    fail(steps, [Failure(item, reason_of(exc), counts=False) for item in items], step, direction)


def reason_of(exc: BaseException) -> str:
    """Return an error as text: the message of an expected one, with the type of any other."""
    if isinstance(exc, OSError):
        return f"{exc}; check permissions, free space and the disk, then run the same command again"
    expected = isinstance(exc, base.StageError | LedgerError)
    return str(exc) if expected else f"{type(exc).__name__}: {exc}"
