"""Nights on disk, by date and by folder. Reads folders only."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.config.model import Config
from ledger.disk.access import entries_of, is_folder, translate_read_errors
from ledger.disk.dates import Dates, is_date, parse_date
from ledger.errors import UsageError
from stages.base import TEMPORARY_PREFIX
from stages.instrument import Instrument

#: At the destination: where the own files of nights are while they are fetched. Begins with a dot: no data.
WORK = f"{TEMPORARY_PREFIX}nights"


@dataclass(frozen=True, slots=True)
class NightFolder:
    """A night on disk: which pipeline it belongs to, by its root, and its UT date (YYYYMMDD).

    On a host that fetches, the root is on the other host, and the run works in `working_folder` instead.
    """

    pipeline: str
    root: Path
    date: str
    working_folder: Path | None = None

    @property
    def path(self) -> Path:
        """Return the folder."""
        return (self.working_folder or self.root) / self.date


def find_night(config: Config, *, date: str | None = None, folder: Path | None = None) -> NightFolder:
    """Return the night that a command names, by date or by folder.

    A date in both roots means the one of the main pipeline. A night must be a direct child of a root.

    Raises
    ------
    UsageError
        If there is no such night, saying what was expected instead.
    """
    if (date is None) == (folder is None):
        raise UsageError("expected one night: either --date YYYYMMDD or a night's folder")
    if date is not None:
        return _night_of_date(config, parse_date(date))
    return _night_of_folder(config, Path(str(folder)))


def find_nights(
    config: Config, dates: Dates, folders: Sequence[Path] = (), recorded: Sequence[NightFolder] = ()
) -> list[NightFolder]:
    """Return the nights that a command names, each once, oldest first.

    Parameters
    ----------
    config : Config
        With the roots.
    dates : Dates
        A range means every night of it that there is.
    folders : sequence of Path
        Nights' folders. A date that is no folder is taken for a date.
    recorded : sequence of NightFolder
        Nights that are in the ledger, which then need not be on disk.

    Raises
    ------
    UsageError
        If a night that is named is not there, or nothing is named.
    """
    if not (dates or folders):
        raise UsageError("no night is named: expected --date YYYYMMDD (or a range, 20260101..20260105) or a folder")
    found = [_night_of_word(config, folder) for folder in folders]
    found += [_there_or_recorded(config, date, recorded) for date in dates.single]
    if dates.ranges:
        in_ranges = {night.date for night in (*recorded, *every_night(config)) if night.date in dates.ranges}
        if not in_ranges:
            raise UsageError(f"no night in {dates.ranges}: expected one of `ledger status`")
        found += [_there_or_recorded(config, date, recorded) for date in in_ranges]
    return sorted(dict.fromkeys(found), key=lambda night: (night.date, night.pipeline))


def every_night(config: Config) -> list[NightFolder]:
    """Return the nights on disk of all pipelines whose roots are there.

    Raises
    ------
    UsageError
        If the main pipeline's root is not there.
    """
    used = [name for name, pipeline in config.pipelines.items() if name == config.main or is_folder(pipeline.root)]
    return [night for name in used for night in nights_on_disk(config, name)]


def _there_or_recorded(config: Config, date: str, recorded: Sequence[NightFolder]) -> NightFolder:
    if config.site().has_nights:
        for name, pipeline in config.pipelines.items():
            night = NightFolder(name, pipeline.root, date)
            if is_folder(night.path) or night in recorded:
                return night
    return find_night(config, date=date)


def _night_of_word(config: Config, word: Path) -> NightFolder:
    if is_date(str(word)) and not is_folder(word):
        return find_night(config, date=str(word))
    return find_night(config, folder=word)


def also_in(config: Config, night: NightFolder) -> list[str]:
    """Return the other pipelines whose root has a night of the same date; none on a host that fetches."""
    if not config.site().has_nights:
        return []
    others = [(name, p) for name, p in config.pipelines.items() if name != night.pipeline]
    return [name for name, p in others if is_folder(p.root / night.date)]


def night_of(config: Config, pipeline: str, date: str) -> NightFolder:
    """Return the night of a date, whether it is there or not."""
    site = config.site(pipeline)
    return NightFolder(pipeline, site.root, date, None if site.has_nights else site.destination / WORK)


def _night_of_date(config: Config, date: str) -> NightFolder:
    if not config.site().has_nights:  # the database says whether there is one
        return night_of(config, config.main, date)
    for name, pipeline in config.pipelines.items():
        if is_folder(pipeline.root / date):
            return NightFolder(name, pipeline.root, date)
    roots = " or ".join(f"{p.root} ({name})" for name, p in config.pipelines.items())
    raise UsageError(f"no night {date}: expected a folder {date!r} in {roots}; check the date, or archive.root")


def _night_of_folder(config: Config, folder: Path) -> NightFolder:
    named = Path(os.path.normpath(folder.absolute()))
    path = named.parent.resolve() / named.name  # a night may be a link
    if config.site().has_nights and not is_folder(path):
        raise UsageError(f"{str(folder)!r}: no such folder; expected a night, <root>/YYYYMMDD, or --date")
    for name, pipeline in config.pipelines.items():
        if path.parent == pipeline.root.resolve():
            if len(path.name) != 8 or not is_date(path.name):
                raise UsageError(f"{str(folder)!r} is not a night: expected a folder named YYYYMMDD in {pipeline.root}")
            return night_of(config, name, parse_date(path.name))
    roots = " or ".join(f"{p.root} ({name})" for name, p in config.pipelines.items())
    raise UsageError(f"{str(folder)!r} is not a night: expected a direct child of {roots}; check archive.root")


def nights_on_disk(config: Config, pipeline: str) -> list[NightFolder]:
    """Return the nights under the root of `pipeline`, oldest first, from its ``first_night`` on.

    On a host that fetches there are none: nights are on the other host.

    Raises
    ------
    UsageError
        If the root is not there.
    """
    settings = config.pipelines[pipeline]
    if not config.site(pipeline).has_nights:
        return []
    if not is_folder(settings.root):
        raise UsageError(
            f"{pipeline}.root {str(settings.root)!r}: no such folder; expected the folder that holds the nights;"
            f" mount its disk, or correct {pipeline}.root; make the folder only for a new ledger"
        )
    first = settings.first_night or ""
    with translate_read_errors(settings.root):
        dates = [p for p in settings.root.iterdir() if len(p.name) == 8 and is_date(p.name)]
        # a link to nothing is reported when the night is read
        names = sorted(p.name for p in dates if p.is_dir() or p.is_symlink())
    return [NightFolder(pipeline, settings.root, name) for name in names if name >= first]


def before_first(
    config: Config, pipeline: str, date: str, numbered_us: int | None, numbers_from: str | None
) -> str | None:
    """Return the first night that the pipeline takes, in words, if a night is before it; None if it is not.

    Parameters
    ----------
    config : Config
        With the pipeline's ``first_night``.
    pipeline, date : str
        The night.
    numbered_us : int or None
        When it first had its frame IDs.
    numbers_from : str or None
        The first night that gets numbers (``ledger ids start --from``); applies to nights that have none yet.
    """
    configured = config.pipelines[pipeline].first_night
    if configured is not None and date < configured:
        return f"{configured} ({pipeline}.first_night)"
    if numbers_from is not None and date < numbers_from and numbered_us is None:
        return f"{numbers_from} (`ledger ids start --from`)"
    return None


def refuse_lost(night: NightFolder) -> None:
    """Refuse a night that is a link to nothing: its disk is not there."""
    if night.path.is_symlink():
        with translate_read_errors(night.path):
            night.path.stat()


def has_products(night: NightFolder, instrument: Instrument) -> bool:
    """Whether the product folder holds anything but hidden files."""
    products = night.path / instrument.product_folder
    with translate_read_errors(products):
        return products.is_dir() and not all(entry.name.startswith(".") for entry in entries_of(products))
