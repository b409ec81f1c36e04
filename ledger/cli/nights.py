"""Commands on one night or several: which are meant, and what came of each."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Generic, Protocol, Self, TypeVar

import typer

from ledger import log
from ledger.cli.output import show_json
from ledger.errors import Interrupted, LedgerError, UsageError
from ledger.text import printable

if TYPE_CHECKING:
    from ledger.config.model import Config
    from ledger.db.store import Store
    from ledger.disk.dates import Dates
    from ledger.disk.nights import NightFolder
    from ledger.report import Reporter
    from ledger.run.plan import Plan

DatesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--date", metavar="D", help="UT date of a night, 20260102, or a range, 20260101..20260105; may be repeated."
    ),
]
Folders = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[NIGHT]...", help="Nights: folders, dates, or ranges of dates, 20260101..20260105."),
]


def show_plan(plan: "Plan") -> None:
    """Print a plan."""
    from ledger.run.plan import in_words

    typer.echo("\n".join(in_words(plan)))


class Found(Protocol):
    """What a command did or found out about a night."""

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""


T = TypeVar("T", bound=Found)


def dates_named(config: "Config", folders: Sequence[Path] | None, words: Sequence[str] | None) -> "Dates | None":
    """Return the dates that a command names, of a folder its own; None if it names none, which means all nights.

    Raises
    ------
    UsageError
        If a word is neither a date, nor a range, nor a night's folder.
    """
    from ledger.disk.dates import Dates, is_date
    from ledger.disk.nights import find_night

    nights, every = _apart(folders, words)
    every += [str(n) if is_date(str(n)) else find_night(config, folder=n).date for n in nights]
    return Dates(every) if every else None


def _apart(folders: Sequence[Path] | None, words: Sequence[str] | None) -> tuple[list[Path], list[str]]:
    """Return the nights that are named by a word, and dates and ranges: a range needs no ``--date``."""
    from ledger.disk.dates import is_range

    ranges = [str(word) for word in folders or () if is_range(str(word))]
    return [word for word in folders or () if str(word) not in ranges], [*(words or ()), *ranges]


def nights_named(
    config: "Config",
    folders: Sequence[Path] | None,
    words: Sequence[str] | None,
    say: Callable[[str], None],
    store: "Store",
    *,
    needs_folders: bool = True,
) -> "list[NightFolder]":
    """Return the nights that a command names, oldest first; `say` which is meant if a date is in several roots.

    Raises
    ------
    UsageError
        If one is not there; also if a date means a night on record whose folder has gone: its disk may be away, and
        another pipeline's night of that date is not meant.
    """
    from ledger.disk.access import is_folder
    from ledger.disk.dates import Dates, is_date
    from ledger.disk.nights import NightFolder, find_nights
    from ledger.night import record

    folders, words = _apart(folders, words)
    known = record.dates(store)
    recorded = [
        NightFolder(name, config.pipelines[name].root, date) for name in config.pipelines for date in known[name]
    ]
    nights = find_nights(config, Dates(words), folders, recorded)
    for night in nights if needs_folders and config.site().has_nights else ():
        if not is_folder(night.path):
            raise UsageError(
                f"no night {night.date}: it is on record for {night.pipeline}, and {night.path} is not there; expected"
                " its folder; mount its disk, or bring it back"
            )
    is_by_date = bool(words) or any(is_date(str(word)) and not is_folder(word) for word in folders)
    for night in nights if is_by_date else ():
        if which := which_of_both(config, night):
            say(which)
    return nights


def which_of_both(config: "Config", night: "NightFolder") -> str:
    """Return which night is meant where its date is in several roots; an empty string where it is not."""
    from ledger.disk.nights import also_in

    others = also_in(config, night)
    if not others:
        return ""
    return (
        f"{night.date} is in {' and '.join([night.pipeline, *others])}: {night.pipeline} is meant;"
        " for another give its folder"
    )


class EachNight(AbstractContextManager["EachNight[T]"], Generic[T]):
    """What a command does to each night that it names; it is shown at the end, whatever the end is.

    An error of one night of several does not keep the others from being tried, unless somebody asked to stop.

    Parameters
    ----------
    show : callable
        Prints what came of a night.
    is_right : callable
        Whether what came of a night is as it should be.
    as_json : bool
        Print it as JSON instead.
    folders, words
        The nights that the command names: of several, or of a range, JSON is a list, and otherwise an object.

    Attributes
    ----------
    status : int
        Exit status: that of the first night with which something is wrong.
    """

    def __init__(
        self,
        show: Callable[[T], None],
        is_right: Callable[[T], bool],
        folders: Sequence[Path] | None,
        words: Sequence[str] | None,
        *,
        as_json: bool,
    ) -> None:
        from ledger.disk.dates import RANGE

        folders, words = _apart(folders, words)
        self._show = show
        self._is_right = is_right
        self._as_json = as_json
        self._is_one = len(folders) + len(words) < 2 and not any(RANGE in word for word in words)
        self._found: list[T | dict[str, Any]] = []
        self.status = 0

    def do(
        self, nights: "Sequence[NightFolder]", act: "Callable[[NightFolder], T]", reporter: "Reporter | None" = None
    ) -> None:
        """Act on each night in turn; a reporter names it, if there are several."""
        is_of_several = len({night.pipeline for night in nights}) > 1
        for night in nights:
            if reporter is not None and len(nights) > 1:
                reporter.of_night(f"{night.date} ({night.pipeline})" if is_of_several else night.date)
            with self.telling(night):
                found = act(night)
                self.status = self.status or int(not self._is_right(found))
                self._found.append(found)

    @contextmanager
    def telling(self, night: "NightFolder") -> Iterator[None]:
        """Keep an error of one night of several, to be told at the end; an error of the only night is raised."""
        try:
            yield
        except Interrupted:
            raise
        except LedgerError as exc:
            if self._is_one:
                raise
            self.status = self.status or exc.exit_status
            why = str(exc).removeprefix(f"night {night.date}: ")
            text = f"night {night.date} ({night.pipeline}): {why}"
            log.write(text, level=logging.ERROR, event="error", date=night.date, pipeline=night.pipeline)
            self._found.append({"pipeline": night.pipeline, "date": night.date, "stopped": why})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._as_json and (self._found or error is None):
            facts = [found if isinstance(found, dict) else found.as_json() for found in self._found]
            show_json(facts[0] if self._is_one else facts)
            return
        for found in self._found:
            if isinstance(found, dict):
                typer.echo(printable(f"night {found['date']} ({found['pipeline']}): {found['stopped']}"), err=True)
            else:
                self._show(found)
