"""The product folder, and the night's own files beside it."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ledger.disk import durable
from ledger.errors import NotReady, UsageError
from ledger.night.pipeline import Step
from ledger.night.products import WorkItem
from ledger.run.steps import Steps
from stages import base


def make_folder(steps: Steps) -> None:
    """Make the product folder.

    Raises
    ------
    NotReady
        If the night's folder may not be written, or the product folder is a link.
    """
    if steps.product_folder.is_symlink():
        raise NotReady(
            f"{steps.product_folder}: a link, and products would lie outside of the night; expected no such folder,"
            " or one that the ledger made; remove the link"
        )
    try:
        steps.product_folder.mkdir(exist_ok=True)
        if steps.config.permissions.group is not None:
            shutil.chown(steps.product_folder, group=steps.config.permissions.group)
    except OSError as exc:
        raise NotReady(
            f"{steps.product_folder}: cannot be made ({exc.strerror}); expected a night's folder that may be written"
        ) from exc


def remove_folder(steps: Steps) -> None:
    """Remove the product folder if nothing is in it.

    Raises
    ------
    NotReady
        If the night's folder may not be written.
    """
    try:
        durable.remove_folder_if_empty(steps.product_folder)
    except OSError as exc:
        raise NotReady(
            f"{steps.product_folder}: empty, and cannot be removed ({exc.strerror}); expected a night's folder that"
            " may be written; run the same command again"
        ) from exc


def write_night_files(steps: Steps, step: Step, items: Sequence[WorkItem]) -> None:
    """Write the night's own files of a state for the products `items`; remove them if there are no products.

    Raises
    ------
    NotReady
        If a file of that name is somebody else's, or the folder may not be written.
    """
    writer = steps.stages[step.state].night_writer
    if writer is None:
        return
    try:
        with steps.translated():
            files = writer.night_files(job=steps.job(items), params=steps.stages[step.state].params)
    except UsageError as exc:
        raise NotReady(str(exc)) from exc
    if items and steps.journal.is_first(step.forward, "started"):  # a step starts once they are written
        for name, data in files.items():
            refuse_other(steps, steps.folder.path / name, data)
    try:
        for name, data in files.items():
            _write_night_file(steps, steps.folder.path / name, data if items else None)
    except OSError as exc:
        raise NotReady(
            f"{steps.folder.path}: {step.state} cannot write its files of the night ({exc}); expected a folder that"
            " may be written, and room; run the same command again"
        ) from exc


def _write_night_file(steps: Steps, path: Path, data: bytes | None) -> None:
    if data is None:
        if os.path.lexists(path):  # a disk that is read-only refuses to remove even what is not there
            steps.remove([path])
        return
    temporary = path.with_name(base.TEMPORARY_PREFIX + path.name)
    durable.write_file(path, data, temporary, steps.config.permissions.group)


def refuse_other(steps: Steps, path: Path, data: bytes) -> None:
    """Refuse to overwrite a file that this ledger did not write.

    Raises
    ------
    NotReady
        Naming the file, on the host where it is.
    """
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file() or path.read_bytes() != data):
        source = steps.source()
        place = path if source is None else f"{source.host.name}:{source.night / path.name}"
        raise NotReady(f"{place}: found a file that this ledger did not write, expected none; move it away")
