"""Headers as a table: a row for each product of nights, or for each FITS file of a folder.

Rows are spooled to a file of the system's own, so that memory does not grow with their number; which columns there are,
and of which types, is known at the end.
"""

import fnmatch
import os
import pickle
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from ledger.config.model import Config
from ledger.config.site import Site
from ledger.db.models import Copy, File, FrameId, Night
from ledger.db.store import Store
from ledger.disk.access import translate_read_errors
from ledger.disk.nights import NightFolder
from ledger.errors import UsageError, translated
from ledger.night import record
from ledger.night.site import site_of
from ledger.query._condition import Condition
from stages.fits.image import ImageHeaders, Layout

#: Columns that are no keywords.
OWN_COLUMNS = ("path", "frame_id", "sibling_set")

#: Endings of the files of a folder that are read.
_ENDINGS = (".fits", ".fits.fz")

#: Keyword whose value the products of one group share, and no others do (`stages.fits.header`).
_SHARED = "MJD"

#: Types of values, each of which can be written as the ones after it.
KINDS = {bool: "logical", int: "integer", float: "real", str: "text"}


@dataclass(frozen=True, slots=True)
class Source:
    """A file whose header is a row.

    Attributes
    ----------
    path : Path
        The file.
    frame_id : str or None
        On record; None: as its header says.
    sibling_set : str or None
        What the products of one group share; None: the value of ``MJD``, which they share too.
    """

    path: Path
    frame_id: str | None = None
    sibling_set: str | None = None


def products_of(store: Store, config: Config, folder: NightFolder) -> tuple[list[Source], int]:
    """Return the products of a night that have files, in the order of their frame IDs.

    Parameters
    ----------
    store, config
        The ledger.
    folder : NightFolder
        The night.

    Returns
    -------
    sources : list of Source
        Each with its file on this host: in the night's folder, or, if that is on another host or the file was pruned,
        its copy at the destination.
    n_away : int
        How many products have no file on this host that is right, as far as is known.
    """
    night = record.find_night(store, folder.pipeline, folder.date)
    if night is None:
        return [], 0
    columns = (col(File.identity), col(File.folder), col(File.files), col(File.group_number), col(File.pruned_us))
    query = (
        select(*columns, col(FrameId.frame_id))
        .outerjoin(FrameId, (col(FrameId.identity) == col(File.identity)) & (col(FrameId.status) == "live"))
        .where(col(File.night_id) == night.id, col(File.kind) == "product")
        .order_by(col(FrameId.frame_id).is_(None), col(FrameId.frame_id), col(File.name))
    )
    with store.read() as session:
        rows = [row for row in session.execute(query) if row.files]
    site = site_of(store, config, folder.pipeline, folder.date)
    needs_copies = not site.has_nights or any(row.pruned_us for row in rows)
    copies = _copies(store, night, site) if site.has_copies and needs_copies else {}
    of_night = night.date if folder.pipeline == config.main else f"{folder.pipeline}-{night.date}"
    found, n_away = [], 0
    for row in rows:
        path = Path(night.root, night.date, row.folder, row.files[0])
        if row.pruned_us is not None or not site.has_nights:
            if row.identity not in copies:
                n_away += 1
                continue
            path = copies[row.identity]
        found.append(Source(path, row.frame_id, f"{of_night}-{row.group_number}"))
    return found, n_away


def _copies(store: Store, night: Night, site: Site) -> dict[str, Path]:
    """Return the copies of a night's products at its destination, those that are right, by identity."""
    query = select(col(Copy.identity), col(Copy.path)).where(
        col(Copy.night_id) == night.id,
        col(Copy.host) == site.destination_name,
        col(Copy.withdrawn_us).is_(None),
        col(Copy.refuted_us).is_(None),
    )
    with store.read() as session:
        return {row.identity: Path(row.path) for row in session.execute(query)}


def files_of(folder: Path) -> list[Source]:
    """Return the FITS files of a folder and of those inside it, by path; hidden ones are none.

    Raises
    ------
    UsageError
        If there is no such folder.
    NotReady
        If one cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{str(folder)!r}: no such folder; expected a night, a date, or a folder of FITS files")
    found = []

    def refuse(exc: OSError) -> None:
        raise exc

    with translate_read_errors(folder):
        for top, folders, names in os.walk(folder.absolute(), onerror=refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [Source(Path(top, n)) for n in names if n.endswith(_ENDINGS) and not n.startswith(".")]
    return sorted(found, key=lambda source: source.path)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table.

    Attributes
    ----------
    name : str
        One of :data:`OWN_COLUMNS`, or a keyword.
    kinds : mapping of type to Path
        Types of values that there are, and of each the first file.
    """

    name: str
    kinds: Mapping[type, Path]

    @property
    def kind(self) -> type:
        """Return the type that all values can be written as; text if there are none."""
        kinds = set(self.kinds)
        return float if kinds == {int, float} else kinds.pop() if len(kinds) == 1 else str

    @property
    def remark(self) -> str | None:
        """Return what is to be said of values of several types; None if they are of one."""
        found = ", ".join(f"{KINDS[kind]} (as in {path})" for kind, path in self.kinds.items())
        return f"{self.name} differs in type: {found}" if len(self.kinds) > 1 else None


class HeaderTable(AbstractContextManager["HeaderTable"]):
    """Headers that were read.

    Parameters
    ----------
    keywords : sequence of str
        Patterns of keywords (``*`` and ``?``, in any case) that are columns; none: all that there are.
    where : str, optional
        A condition in SQL on the columns; rows of which it is not true are left out.
    frame_id : str
        Keyword of the card with the frame ID.
    """

    def __init__(self, keywords: Sequence[str] = (), where: str | None = None, frame_id: str = "FRAMEID") -> None:
        self._patterns = [pattern.upper() for pattern in keywords]
        self._shown = re.compile("|".join(map(fnmatch.translate, self._patterns or ["*"])))
        self._condition = None if where is None else Condition(where)
        self._frame_id = frame_id
        self._reader = ImageHeaders(self._is_read)
        self._kinds: dict[str, dict[type, Path]] = {name: {} for name in OWN_COLUMNS}  # by column, in order
        self._layouts: list[Layout] = []
        self._seen: dict[Layout, tuple[int, set[tuple[type, ...]]]] = {}
        self._spool = tempfile.TemporaryFile(prefix="ledger-headers-")  # noqa: SIM115  closed with the table
        self._chosen: set[int] | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.close()

    def add(self, source: Source) -> list[str]:
        """Read a header; return what could not be read of single cards.

        Raises
        ------
        BadInput
            If it is no FITS file, or has no image where it should be: it is no row.
        NotReady
            If it cannot be read.
        """
        with translated():
            layout, values, faults = self._reader.read(source.path)
        if layout not in self._seen:
            self._seen[layout] = len(self._layouts), set()
            self._layouts.append(layout)
            for keyword in layout.keywords:
                self._kinds.setdefault(keyword, {})
        number, signatures = self._seen[layout]
        frame_id, sibling_set = source.frame_id, source.sibling_set
        if sibling_set is None:
            frame_id, sibling_set = (_text(layout, values, keyword) for keyword in (self._frame_id, _SHARED))
        signature = tuple(map(type, values))
        if signature not in signatures:
            signatures.add(signature)
            for keyword, kind in zip(layout.keywords, signature, strict=True):
                if kind in KINDS:
                    self._kinds[keyword].setdefault(kind, source.path)
        own = (str(source.path), frame_id, sibling_set)
        pickle.dump((number, own, values), self._spool, protocol=pickle.HIGHEST_PROTOCOL)
        return faults

    def finish(self) -> None:
        """Choose the rows, once all are read.

        Raises
        ------
        UsageError
            If the condition is none on the columns that there are.
        """
        if self._condition is not None:
            named = [name for name in self._kinds if self._condition.names(name)]
            known = [*OWN_COLUMNS, *sorted(self._reader.known)]
            self._chosen = self._condition.numbers(named, known, self._rows(named))

    @property
    def columns(self) -> list[Column]:
        """Return the columns: the table's own, then keywords, in the order of patterns and of headers."""
        keywords = list(self._kinds)[len(OWN_COLUMNS) :]
        if self._patterns:
            matching = (fnmatch.filter(keywords, each) if _is_glob(each) else [each] for each in self._patterns)
            keywords = list(dict.fromkeys(keyword for found in matching for keyword in found))
        own = [Column(name, {str: Path()}) for name in OWN_COLUMNS]
        return [*own, *(Column(keyword, self._kinds.get(keyword, {})) for keyword in keywords)]

    @property
    def unmatched(self) -> list[str]:
        """Return the patterns that no keyword of any header is like."""
        return [pattern for pattern in self._patterns if not fnmatch.filter(self._kinds, pattern)]

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the chosen rows, the values of :attr:`columns`; None where a header has none."""
        for number, row in enumerate(self._rows([column.name for column in self.columns])):
            if self._chosen is None or number in self._chosen:
                yield row

    def _rows(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Yield the values of some columns of all rows."""
        self._spool.seek(0)
        places: dict[int, list[int]] = {}
        while True:
            try:
                number, own, values = pickle.load(self._spool)  # noqa: S301  written above
            except EOFError:
                return
            if number not in places:
                layout = (*OWN_COLUMNS, *self._layouts[number].keywords)
                places[number] = [layout.index(name) if name in layout else len(layout) for name in names]
            cells = (*own, *values, None)
            yield tuple([cells[place] for place in places[number]])

    def _is_read(self, keyword: str) -> bool:
        is_asked = self._condition is not None and self._condition.names(keyword)
        return is_asked or keyword in (self._frame_id, _SHARED) or self._shown.fullmatch(keyword) is not None


def _is_glob(pattern: str) -> bool:
    return any(character in pattern for character in "*?[")


def _text(layout: Layout, values: Sequence[Any], keyword: str) -> str | None:
    """Return a value as text; None where the header has none, or blanks."""
    if keyword not in layout.keywords:
        return None
    value = values[layout.keywords.index(keyword)]
    return None if value is None else str(value).strip() or None
