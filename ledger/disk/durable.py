"""The one place that gives files their final names, or removes them; durable before it returns.

Order (docs/design.md, Journal, runs, leases, settling): temporaries are complete and synced already; here headers are
rewritten and synced, files replaced and renamed, folders synced. The caller then commits, and only then removes what is
superseded.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from stages.base import TEMPORARY_PREFIX, BadInput, Outcome, Rewrite

T = TypeVar("T")

Error = BadInput | OSError


def put_in_place(outcome: Outcome, group: str | None = None) -> None:
    """Rewrite, replace and rename what `outcome` says; then sync the folders concerned.

    Parameters
    ----------
    outcome : Outcome
        Of one stage call.
    group : str, optional
        Group that new files get.

    Raises
    ------
    BadInput
        If a cube is shorter than the header that it is to get, or a link; nothing was written.
    OSError
        As the system says; repeating the call is harmless.
    """
    (error,) = put_all_in_place([outcome], group)
    if error is not None:
        raise error


def put_all_in_place(outcomes: Sequence[Outcome], group: str | None = None) -> list[Error | None]:
    """Put several outcomes in place, one after the other, and sync each folder once for all of them.

    Returns
    -------
    list of BadInput or OSError or None
        What :func:`put_in_place` would have raised for each; the others are in place.
    """
    return _each(outcomes, partial(_put, group=group))


def _put(outcome: Outcome, group: str | None) -> set[Path]:
    for rewrite in outcome.rewrites:
        _rewrite(rewrite)
    for final, temporary in outcome.outputs.items():
        if group is not None:
            shutil.chown(temporary, group=group)
        temporary.replace(final)
    for rename in outcome.renames:
        if rename.source != rename.final and (rename.source.exists() or not rename.final.exists()):
            rename.source.replace(rename.final)
    finals = [*outcome.outputs, *(rewrite.final for rewrite in outcome.rewrites)]
    finals += [rename.final for rename in outcome.renames]
    return {final.parent for final in finals}


def _each(items: Sequence[T], change: Callable[[T], set[Path]]) -> list[Error | None]:
    """Make changes, which return the folders that they were made in; sync those; return the error of each, if any."""
    errors: list[Error | None] = [None] * len(items)
    changed: dict[Path, list[int]] = {}
    for number, item in enumerate(items):
        try:
            for folder in change(item):
                changed.setdefault(folder, []).append(number)
        except (BadInput, OSError) as exc:
            errors[number] = exc
    for folder, numbers in changed.items():
        try:
            sync_folder(folder)
        except OSError as exc:
            for number in numbers:
                errors[number] = exc
    return errors


def _rewrite(rewrite: Rewrite) -> None:
    """Write the whole header over the file's first bytes, sync, then give the file its name."""
    cube = next((path for path in rewrite.candidates if path.exists()), rewrite.candidates[0])
    if cube.is_symlink():
        raise BadInput(
            f"{cube}: a link, expected a file of the ledger's; what it leads to is left alone: remove the link"
        )
    descriptor = os.open(cube, os.O_WRONLY)
    with _closing(descriptor, cube):
        if os.fstat(descriptor).st_size < len(rewrite.header):
            raise BadInput(f"{cube}: shorter than its header; roll the product back and make it again")
        written = 0
        while written < len(rewrite.header):
            written += os.pwrite(descriptor, rewrite.header[written:], written)
        # The size stays, so data are all that has to be on disk: it does not wait for what others write meanwhile.
        getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS has the second only
    if cube != rewrite.final:
        cube.replace(rewrite.final)


def remove(paths: Iterable[Path]) -> None:
    """Remove files that are superseded, and temporary folders; what is gone already is fine."""
    (error,) = remove_all([paths])
    if error is not None:
        raise error


def remove_all(groups: Sequence[Iterable[Path]]) -> list[Error | None]:
    """Remove several groups of files, as :func:`remove` does; return what it would have raised for each."""
    return _each(groups, _unlink)


def _unlink(paths: Iterable[Path]) -> set[Path]:
    folders = set()
    for path in paths:
        if path.name.startswith(TEMPORARY_PREFIX) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        folders.add(path.parent)
    return {folder for folder in folders if folder.is_dir()}


def write_file(path: Path, data: bytes, temporary: Path, group: str | None = None) -> None:
    """Write a small file whole and durably, unless it has these bytes already."""
    if path.is_file() and path.read_bytes() == data:
        return
    with _naming(temporary), temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    put_in_place(Outcome(outputs={path: temporary}), group)


def remove_folder_if_empty(folder: Path) -> None:
    """Remove `folder` if nothing is in it."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        sync_folder(folder.parent)


def replace(source: Path, final: Path) -> None:
    """Give a file that is complete and synced its final name."""
    put_in_place(Outcome(outputs={final: source}))


def sync_file(path: Path) -> None:
    """Make what was written to a file durable."""
    descriptor = os.open(path, os.O_RDONLY)
    with _closing(descriptor, path):
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make renames and removals in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    with _closing(descriptor, folder):
        os.fsync(descriptor)


@contextmanager
def _closing(descriptor: int, path: Path) -> Iterator[None]:
    """Close a descriptor at the end."""
    try:
        with _naming(path):
            yield
    finally:
        os.close(descriptor)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let errors of the system name the file, where the call that failed knew a descriptor only."""
    try:
        yield
    except OSError as exc:
        if exc.errno and not exc.filename:
            exc.filename = str(path)
        raise
