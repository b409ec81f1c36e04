"""Frame IDs proven: order, gaps and duplicates against the database, the names of files, and their headers.

docs/design.md, Frame IDs. The database is looked at as a whole (:mod:`ledger.ids.check_rows`), names and headers night
by night (:mod:`ledger.ids._check_files`). Raw files carry no ID.
"""

from dataclasses import dataclass, replace

from sqlalchemy import func, select
from sqlmodel import col

from ledger.config.model import Config
from ledger.db.models import FrameId
from ledger.db.store import Store
from ledger.errors import UsageError
from ledger.ids._check_files import FilesCheck
from ledger.ids.check_rows import Disorder, Explained, find_disorders, find_explained, read_sequences
from ledger.night.pipeline import pipelines
from ledger.report import Reporter, Silent
from ledger.text import printable

__all__ = ["LAWS", "Disorder", "Explained", "Report", "check"]

#: What is proven, by the word that a disorder names it with.
LAWS = {
    "order": "live IDs are in order of exposure start, camera and FLC state, late ones apart",
    "late": "a late ID has a reason",
    "gap": "every number of a block below the counter was given to a product",
    "block": "no number lies outside of the blocks",
    "counter": "no number is at or above the counter",
    "text": "an ID is its prefix and eight digits of its number",
    "identity": "a product has one live ID",
    "product": "a product in a state that needs an ID has one, of its own time, camera and FLC state",
    "file": "the files of an identified product are named by its ID",
    "name": "a file that is named by an ID belongs to an identified product of its night",
    "foreign_number": "no file of a foreign night has a number that the ledger has given",
    "foreign_ahead": "no file of a foreign night has a number that the ledger is going to give",
    "twice": "no number is in two nights",
    "folder": "folders of products can be listed",
    "header": "the header of a cube that has an ID can be read, and nothing of the cube is missing",
    "header_frame_id": "the frame ID in a header is that in the name",
    "header_exposure_id": "the exposure ID in a header is that of the frame ID",
    "header_time": "the first exposure of a header began when its ID says",
    "header_order": "from ID to ID, the times of headers do not go back, late ones apart",
}


@dataclass(frozen=True, slots=True)
class Report:
    """What was found.

    Attributes
    ----------
    disorders : list of Disorder
        Empty if IDs are in order.
    explained : list of Explained
        What looks like disorder, and has its reason on record.
    counts : mapping of str to int
        How many ``frame IDs`` (live and withdrawn), ``nights``, ``files`` (named by an ID) and ``headers`` were
        looked at.
    """

    disorders: list[Disorder]
    explained: list[Explained]
    counts: dict[str, int]


def check(store: Store, config: Config, *, date: str | None = None, reporter: Reporter | None = None) -> Report:
    """Prove the order of frame IDs against database, names and headers.

    Parameters
    ----------
    store, config
        The ledger.
    date : str, optional
        Look at the files of this night (YYYYMMDD) only; the sequence is always proven as a whole.
    reporter : Reporter, optional
        Gets the progress, night by night.

    Raises
    ------
    UsageError
        If there is no night of this date, neither in the ledger nor on disk.
    Damaged
        If the database is: nothing is proven by one.
    """
    store.prove()
    with store.snapshot() as session:
        disorders, explained = list(find_disorders(session)), list(find_explained(session))
        n_ids = int(session.execute(select(func.count(col(FrameId.number)))).scalar() or 0)
        sequences = read_sequences(session)
    counts = {"frame IDs": n_ids, "nights": 0, "files": 0, "headers": 0}
    is_known = False
    for pipeline in pipelines(config).values():
        if pipeline.numbering is not None:
            files = FilesCheck(store, config, pipeline.name, pipeline.numbering.state, sequences)
            is_known |= files.check(date, reporter or Silent())
            disorders += files.disorders
            explained += files.explained
            for what, n in files.counts.items():
                counts[what] += n
    if date is not None and not is_known:
        raise UsageError(f"no night {date} in the ledger or on disk; expected one of `ledger status`")
    return Report([_printable(disorder) for disorder in disorders], explained, counts)


def _printable(disorder: Disorder) -> Disorder:
    """Return it with what cannot be printed of paths escaped: no terminal takes it."""
    return replace(disorder, where=printable(disorder.where), found=printable(disorder.found))
