"""Inspected raw files, and which of them are duplicates of others."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Row

from ledger.db.models import File
from ledger.db.store import Store
from ledger.disk.raws import RawOnDisk
from ledger.night import record
from ledger.night.pipeline import Pipeline
from stages import base
from stages.files import retry_on_os_error
from stages.fits.cards import padded
from stages.raw import RawFacts, same_bytes
from stages.transport import proof


@dataclass(frozen=True, slots=True)
class Inspected:
    """A raw file that was inspected.

    Attributes
    ----------
    raw : RawOnDisk
        The file.
    row : File or None
        Its row, if it has one.
    found : RawFacts, BadInput or Retry
        What to register of it, or why it cannot be used or read.
    """

    raw: RawOnDisk
    row: File | None
    found: RawFacts | base.BadInput | base.Retry


def is_salvaged(facts: RawFacts | File | Row[Any]) -> bool:
    """Whether the end of a file is missing, even if only padding: a whole file ends with a whole block."""
    size_bytes = int(facts.size_bytes or 0)
    return facts.lost_frames > 0 or size_bytes != padded(size_bytes)


class Twins:
    """Raw files in use that others may duplicate: those of equal header and first time.

    Parameters
    ----------
    store : Store
        Knows the registered ones.
    pipeline : Pipeline
        The pipeline whose nights are searched.
    files : iterable of Inspected
        Files that may be duplicates.
    removed : mapping
        SHA-256 of files that were removed, by where they were and where something stands in for them.
    """

    def __init__(
        self, store: Store, pipeline: Pipeline, files: Iterable[Inspected], removed: Mapping[Path, str] | None = None
    ) -> None:
        self._removed = removed or {}
        found = (file.found for file in files)
        keys = dict.fromkeys(key for facts in found if isinstance(facts, RawFacts) for key in _keys(facts))
        self._known: dict[tuple[str, int], list[tuple[Path, RawFacts | Row[Any]]]] = defaultdict(list)
        self._made_of: set[Path] = set()  # files that products are made of
        for row in record.twins(store, pipeline.name, list(keys)):
            path = Path(row.root) / row.date / row.folder / row.name
            if row.state != pipeline.states[0]:
                self._made_of.add(path)
            self._known[row.header_sha256, row.first_us].append((path, row))

    def add(self, cube: Path, facts: RawFacts) -> None:
        """Add a file that is going to be registered."""
        self._known[facts.header_sha256, facts.first_us].append((cube, facts))

    def why_duplicate(self, cube: Path, facts: RawFacts) -> str | None:
        """Return why a file is a duplicate, or None.

        It is a duplicate if its bytes are the same. So is a copy that was cut off, by header and first time: its
        frames would be used twice.

        Raises
        ------
        Retry
            If one of the two cannot be read.
        """
        for path, other in (known for key in _keys(facts) for known in self._known.get(key, ())):
            if path == cube:
                continue
            is_comparable = path.is_file() or path in self._removed
            if not is_comparable and path not in self._made_of:
                continue
            if _is_alike(facts, other):
                if not is_comparable:
                    return (
                        f"duplicate: header, txt and size of {path}, of which products are made, and which is gone: put"
                        " it back there"
                    )
                if self._is_same(path, cube):
                    return f"duplicate: the same bytes as {path}, which is registered"
            if is_salvaged(facts) or is_salvaged(other):
                return (
                    f"duplicate: the same frames as {path}, which is registered, and one of the two was cut off; keep"
                    " one"
                )
        return None

    def _is_same(self, a: Path, b: Path) -> bool:
        """Whether two files have the same bytes, or had before one of them was removed."""
        if self._removed.keys().isdisjoint((a, b)):
            return same_bytes(a, b)
        return self._sha256(a) == self._sha256(b)

    def _sha256(self, cube: Path) -> str:
        if cube in self._removed:
            return self._removed[cube]
        with retry_on_os_error(cube):
            return proof.digest(cube).sha256


def _keys(facts: RawFacts) -> list[tuple[str, int]]:
    """Return header and first time to search by; a file without acquisition times may be registered with time 0."""
    first_us = (facts.first_us,) if facts.has_acquisition else (facts.first_us, 0)
    return [(facts.header_sha256, time_us) for time_us in first_us]


def _is_alike(facts: RawFacts, other: RawFacts | Row[Any]) -> bool:
    """Whether the bytes of two files have to be compared."""
    return (facts.size_bytes, facts.timing_sha256) == (other.size_bytes, other.timing_sha256)
