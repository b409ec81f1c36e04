"""Pages of nights and their index in a folder; and those that `catch-up` writes."""

from collections.abc import Sequence

from ledger.config.model import Config
from ledger.db.store import Store
from ledger.disk.nights import NightFolder, night_of
from ledger.disk.places import refuse_among_data
from ledger.errors import LedgerError
from ledger.night.pipeline import Pipeline
from ledger.pages.night import Collector
from ledger.pages.write import environment, make_folder, page_name, write_index, write_night


def write_finished(
    store: Store,
    config: Config,
    pipelines: dict[str, Pipeline],
    worked_on: Sequence[NightFolder],
) -> list[str]:
    """Write the pages of those nights that are finished now, and the index; return what could not be written, and why.

    Nothing is done unless `report.folder` names a folder.

    Parameters
    ----------
    store, config, pipelines
        The ledger.
    worked_on : sequence of NightFolder
        Nights at which something was done.
    """
    folder = config.report.folder
    if folder is None:
        return []
    complaints = []
    what = f"pages in {folder}"
    try:
        environment()
        refuse_among_data(config, folder)
        make_folder(folder)
        collector = Collector(store, config, pipelines)
        finished = [night for night in worked_on if collector.is_finished(night.pipeline, night.date)]
        for night in finished:
            what = f"page of night {night.date} ({night.pipeline})"
            try:
                write_night(config, collector.collect(night), folder / page_name(config, night.pipeline, night.date))
            except Exception as exc:  # noqa: BLE001  as below
                complaints.append(f"{what}: {_told(exc)}; then `{command(config, night)}`")
        what = f"index of the pages in {folder}"
        if finished:
            write_index(config, folder)
    except Exception as exc:  # noqa: BLE001  the edge: whatever is wrong with a page, the night is done
        complaints.append(f"{what}: {_told(exc)}; then `ledger report --all`")
    return complaints


def _told(exc: Exception) -> str:
    """Return an error in a line."""
    return str(exc) if isinstance(exc, LedgerError) else f"{type(exc).__name__}: {exc}"


def command(config: Config, night: NightFolder) -> str:
    """Return the command that writes the page of a night."""
    return f"ledger report {config.site(night.pipeline).named(night.date)}"


def every_night(config: Config, collector: Collector) -> list[NightFolder]:
    """Return every night that has raw files on record, oldest first."""
    return [night_of(config, pipeline, date) for pipeline, date in collector.every]
