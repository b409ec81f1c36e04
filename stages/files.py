"""Files: what the system's errors mean to a stage."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.base import Retry


@contextmanager
def retry_on_os_error(path: Path) -> Iterator[None]:
    """Translate an ``OSError`` of the block into ``Retry``: it says nothing about the file's content.

    Parameters
    ----------
    path : Path
        Named in the message if the error names no file.

    Raises
    ------
    Retry
        In place of any ``OSError``.
    """
    try:
        yield
    except OSError as exc:
        raise Retry(
            f"{exc.filename or path}: the system refused to read or write it ({exc.strerror or exc}); "
            "check permissions, free space and the disk, then run again"
        ) from exc
