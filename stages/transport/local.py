"""The way to a destination that is a folder here: `stages.transport.proof`, for many products at once."""

import errno
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from stages.base import TEMPORARY_PREFIX, BadInput, Irreversible, Job, Retry, StageError
from stages.files import retry_on_os_error
from stages.transport import proof
from stages.transport.base import Copy, Group, Proven

#: What the system refuses for one file and may grant for the next.
_OF_ONE_FILE = frozenset({errno.EIO, errno.EACCES, errno.EPERM})

T = TypeVar("T")
A = TypeVar("A")


class Local:
    """A folder here.

    Parameters
    ----------
    job : Job
        With its destination.
    in_flight : int
        Groups that are worked on at once.
    """

    host = ""
    tool = proof.TOOL

    def __init__(self, job: Job, in_flight: int) -> None:
        self._job = job
        self._in_flight = in_flight

    def __enter__(self) -> Self:
        self._base = proof.destination_of(self._job).parent
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing open."""

    def put(self, groups: Sequence[Group], replaceable: Sequence[bool]) -> list[Proven | StageError]:
        """Bring files there and prove them."""
        return self._each(list(zip(groups, replaceable, strict=True)), self._put)

    def ignore_stop(self) -> None:
        """Do nothing: what is in hand is finished in any case."""

    def prove(self, groups: Sequence[Group]) -> list[Proven | StageError]:
        """Prove copies as they lie."""
        return self._each(groups, _prove)

    def withdraw(self, groups: Sequence[Group]) -> list[str | StageError | None]:
        """Remove copies that are provably ours."""
        return self._each(groups, _withdraw, gives_up=False)

    def fetch(self, groups: Sequence[Group], folder: Path) -> list[list[Path] | StageError]:
        """Bring copies back as temporaries, and prove them."""
        return self._each(groups, partial(_fetch, folder))

    def sizes(self, paths: Sequence[Path]) -> list[int | None]:
        """Return the sizes of files there, in bytes."""
        with retry_on_os_error(self._base):
            return [path.stat().st_size if path.exists() else None for path in paths]

    def source_sizes(self, paths: Sequence[Path]) -> list[int | None]:
        """Return the sizes of files here, in bytes."""
        return proof.sizes(paths)

    def names(self, folder: Path) -> set[str]:
        """Return the names in a folder there."""
        with retry_on_os_error(folder):
            return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def remove(self, paths: Sequence[Path]) -> None:
        """Remove files of the ledger's own."""
        for path in paths:
            proof.remove(path)

    def make_folders(self, folders: Sequence[Path]) -> None:
        """Make folders durably."""
        for folder in folders:
            proof.make_folder(folder)

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable."""
        proof.sync_folder(folder)

    def remove_if_empty(self, folders: Sequence[Path]) -> None:
        """Remove folders in which there is nothing."""
        for folder in folders:
            proof.remove_if_empty(folder)

    def free_bytes(self) -> int:
        """Return how much room there is."""
        with retry_on_os_error(self._base):
            return shutil.disk_usage(self._base).free

    def _put(self, argument: tuple[Group, bool]) -> Proven:
        group, may_replace = argument
        found = []
        for copy in group:
            found.append(proof.copy_proven(copy.source, copy.final, sha256=copy.sha256, may_replace=may_replace))
            if self._job.carried is not None:
                self._job.carried(found[-1].size_bytes)
        return tuple(found)

    def _each(self, arguments: Sequence[A], item: Callable[[A], T], *, gives_up: bool = True) -> list[T | StageError]:
        """Work on groups, some at once; raise what is wrong with the destination as a whole if it `gives_up`."""
        results: list[T | StageError] = []
        pool = ThreadPoolExecutor(self._in_flight)
        try:
            for future in [pool.submit(partial(item, argument)) for argument in arguments]:
                try:
                    results.append(future.result())
                except (BadInput, Irreversible, Retry) as exc:
                    if gives_up and isinstance(exc, Retry) and not _ails_one_file(exc):
                        raise
                    results.append(exc)
        finally:
            pool.shutdown(cancel_futures=True)
        return results


def _ails_one_file(exc: Retry) -> bool:
    """Whether an error is of one file (a bad sector, a wrong mode), not of a disk that is full, read-only or gone."""
    return isinstance(exc.__cause__, OSError) and exc.__cause__.errno in _OF_ONE_FILE


def _prove(group: Group) -> Proven:
    return tuple(
        proof.prove(copy.final, sha256=copy.sha256 or proof.source_digest(copy.source).sha256)
        for copy in group
        if copy.sha256 or proof.is_there(copy.source)
    )


def _fetch(folder: Path, group: Group) -> list[Path]:
    temporaries = []
    for copy in group:
        with retry_on_os_error(copy.final):
            if not copy.final.is_file():
                raise BadInput(f"{str(copy.final)!r}: found no file, expected a copy; it cannot be brought back")
        temporary = folder / f"{TEMPORARY_PREFIX}{copy.source.name}"
        try:
            proof.copy_proven(copy.final, temporary, sha256=copy.sha256)
        except BadInput as exc:
            raise BadInput(f"{str(copy.final)!r}: not brought back: {exc}") from exc
        temporaries.append(temporary)
    return temporaries


def _withdraw(group: Group) -> str | None:
    """Remove all files of a group, or none; return what could not be removed once others were."""
    for copy in group:
        proof.is_ours(copy.source, copy.final, sha256=copy.sha256)
    try:
        for copy in group:
            proof.remove(copy.final)
    except Retry as exc:
        if all(copy.final.exists() for copy in group):
            raise
        return str(exc)  # no state may stand on what is there in part
    return None


__all__ = ["Copy", "Local"]
