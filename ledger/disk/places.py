"""Places that belong to a ledger whose configuration is elsewhere: no new one is made there, and no command works."""

from pathlib import Path

from ledger.config.model import Config
from ledger.config.read import packaged_config, read_config
from ledger.disk.access import is_folder
from ledger.disk.dates import is_date
from ledger.errors import LedgerError, UsageError


def refuse_inside(folder: Path) -> None:
    """Refuse to make a ledger inside a night, or where an existing ledger has its nights or copies.

    Parameters
    ----------
    folder : Path
        Where the configuration and the database would be.

    Raises
    ------
    UsageError
        If it is such a place, with the configuration of the ledger that is there, if it is known.
    """
    if not (owner := _owner(folder)):
        return
    what, file = owner
    if file:
        raise UsageError(f"{what}: a second one is not made inside it; run the command with --config {file}")
    raise UsageError(
        f"{what}: no ledger is made inside it; name the configuration of its ledger with --config FILE, or run"
        " `ledger init` in the folder where a new ledger is to be"
    )


def refuse_to_work_inside(folder: Path, looked_for: str) -> None:
    """Refuse to work in such a place by the packaged default, which would put log and database there.

    Parameters
    ----------
    folder : Path
        The working directory.
    looked_for : str
        Where a configuration was looked for, in words.

    Raises
    ------
    UsageError
        If it is such a place, with the configuration of the ledger that is there, if it is known.
    """
    if owner := _owner(folder):
        what, file = owner
        raise UsageError(
            f"{what}, and its configuration was not found: in use would be {looked_for}; run the command with"
            f" --config {file or 'FILE, the configuration of its ledger, or in the folder that has it'}"
        )


def _owner(folder: Path) -> tuple[str, Path | None] | None:
    """Return to what a folder belongs, in words, and the configuration of that ledger, if it is known."""
    for file in (parent / "config.yaml" for parent in folder.parents):
        if file.is_file() and _has_nights_at(file, folder):
            return f"{folder} belongs to the ledger of {file}", file
    streams = [stream.name for stream in read_config(packaged_config(), {}).instrument.streams]
    for place in (folder, *folder.parents):
        if is_date(place.name) and any(is_folder(place / name) for name in streams):
            return f"{place} is a night", None
    return None


def refuse_among_data(config: Config, path: Path) -> None:
    """Refuse to write something for people where nights or their copies are.

    Raises
    ------
    UsageError
        If it lies in a root or at a destination.
    """
    sites = [site for name in config.pipelines for site in config.sites(name)]
    places = {site.root for site in sites if site.has_nights} | {site.destination for site in sites if site.has_copies}
    for place in sorted(places):
        if path.resolve().is_relative_to(place.resolve()):
            raise UsageError(f"{path}: lies in {place}, where nights or their copies are; expected another place")


def _has_nights_at(file: Path, folder: Path) -> bool:
    """Whether a file is the configuration of a ledger that has nights or copies where a folder is."""
    try:
        config = read_config(file, {})
    except LedgerError:
        return False
    roots = [pipeline.root for pipeline in config.pipelines.values()]
    here = [config.site(name).destination for name in config.pipelines if config.site(name).destination_host is None]
    return any(folder.resolve().is_relative_to(place.resolve()) for place in (*roots, *here))
