"""What was made once is kept, and put back for each test that begins with it.

A night lies at the same place in every test of a process, since rows and manifests name it.
"""

import itertools
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.databases import keep, mark, put_back
from tests.tools import folder_of_process

_FOLDER = folder_of_process("kept")
_NUMBERS = itertools.count()
#: Written anew whenever it is read.
_CONFIG = "config.yaml"


@dataclass(frozen=True)
class Copy:
    """A folder and a database as they were after a step."""

    folder: Path
    name: str
    files: dict[str, Any]


_COPIES: dict[Hashable, Copy] = {}


def _all(folder: Path) -> dict[str, Any]:
    """Return what is in a folder, by name, and what changes when somebody writes there."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            if name == _CONFIG:
                continue
            path = os.path.join(parent, name)  # noqa: PTH118  names may be no text
            status = os.lstat(path)
            is_file = stat.S_ISREG(status.st_mode)
            found[os.path.relpath(path, folder)] = (
                status.st_mode,
                (status.st_size, status.st_mtime_ns) if is_file else None,
                os.readlink(path) if stat.S_ISLNK(status.st_mode) else None,  # noqa: PTH115
            )
    return found


class History:
    """The steps by which a folder and a database came to be as they are, for as long as nothing else changes them.

    Parameters
    ----------
    folder : Path
        All that steps write is in it.
    url : str
        Of a database.
    is_known : bool
        Whether the database is as all are in the beginning, and no other program knows of it.
    """

    def __init__(self, folder: Path, url: str, *, is_known: bool) -> None:
        self._folder = folder
        self.url = url
        self._left = self._seen() if is_known else None
        self._steps: tuple[Hashable, ...] | None = None
        if self._left is not None:
            self._steps = (str(folder), url, frozenset(self._left[0].items()))

    def _seen(self) -> tuple[Any, Any]:
        return _all(self._folder), mark(self.url)

    @contextmanager
    def step(
        self, *step: Hashable, closing: Callable[[], None] | None = None, is_repeatable: bool = True
    ) -> Iterator[bool]:
        """Take a step; yield whether it is done already, because what it left was put back.

        Parameters
        ----------
        *step : hashable
            What the step is: the same leaves the same.
        closing : callable, optional
            Closes the database; without it, there is nothing in the step that would be worth keeping.
        is_repeatable : bool
            Whether the step leaves nothing elsewhere, and is of this database.
        """
        if self._steps is None or not is_repeatable or self._seen() != self._left:
            self._steps = None
            yield False
            return
        self._steps = (*self._steps, step)
        if closing is None:
            yield False
        else:
            closing()
            if copy := _COPIES.get(self._steps):
                self._put_back(copy)
                yield True
            else:
                yield False
                closing()
                self._keep()
        self._left = self._seen()

    def _keep(self) -> None:
        folder = Path(tempfile.mkdtemp(dir=_FOLDER))
        name = f"kept_{next(_NUMBERS)}"
        keep(self.url, folder, name)
        shutil.copytree(self._folder, folder / "files", symlinks=True)
        _COPIES[self._steps] = Copy(folder, name, _all(self._folder))

    def _put_back(self, copy: Copy) -> None:
        here = _all(self._folder)
        for name in sorted(here.keys() - copy.files.keys(), reverse=True):
            path = self._folder / name
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        folders = []
        for name, status in sorted(copy.files.items()):
            source, target = copy.folder / "files" / name, self._folder / name
            if stat.S_ISDIR(status[0]):
                target.mkdir(exist_ok=True)
                folders.append((source, target))
            elif here.get(name) != status:
                target.unlink(missing_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)
        for source, target in reversed(folders):
            shutil.copystat(source, target)
        put_back(self.url, copy.folder, copy.name)
