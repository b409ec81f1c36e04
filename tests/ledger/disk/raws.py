"""Raw files of a night, and folders that may not be entered."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from ledger.audit import laws
from tests.world import DATE, World


def raw_files(world: World, stream: str = "vcam1", date: str = DATE) -> list[Path]:
    """Return the cubes of a stream, in order of time."""
    return sorted((world.folder / "archive" / date / stream).glob("*.fits"))


def assert_clean(world: World) -> None:
    store = world.store()
    found = [v for _, violations in laws.check_laws(store, laws.read_laws()) for v in violations]
    assert found + list(laws.check_files(store, world.config)) == []


def forbid(monkeypatch: pytest.MonkeyPatch, call: str, folder: Path) -> None:
    """Make calls on what lies in `folder`, or that list it, fail as they do for who may not look."""
    places: list[tuple[Any, str]] = (
        [(Path, "iterdir"), (os, "listdir"), (os, "scandir")] if call == "list" else [(os, call)]
    )

    def forbidden(place: Any, name: str) -> Any:
        really = getattr(place, name)

        def refused(path: Any, *arguments: Any, **options: Any) -> Any:
            named = None if isinstance(path, int) else Path(path)
            if named is not None and (named if call == "list" else named.parent) == folder:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return really(path, *arguments, **options)

        return refused

    for place, name in places:
        monkeypatch.setattr(place, name, forbidden(place, name))
