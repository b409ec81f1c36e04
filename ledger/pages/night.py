"""All that the page of a night tells, collected. Reads only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ledger.config.model import Config
from ledger.db.store import Store
from ledger.disk.nights import NightFolder
from ledger.night import record
from ledger.night.pipeline import Pipeline
from ledger.pages._archive import Archive, read_archive
from ledger.pages._settings import Lane, gaps, lanes, taken
from ledger.pages._thumbnails import Thumbnail, read_thumbnails
from ledger.pages._timings import Timings, read_timings
from ledger.query.standing import Still, standing_still
from ledger.query.status import NightStatus, nights
from ledger.query.summary import Summary, summarise
from ledger.query.verdict import looks
from ledger.text import counted

#: How a night stands, the worst first: somebody has to act; something needs a look; it goes on by itself; in order.
Level = Literal["person", "look", "under way", "in order"]


@dataclass(frozen=True, slots=True)
class Need:
    """Something that a person has to decide or repair, and what to do."""

    text: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NightPage:
    """A night as its page tells it.

    Attributes
    ----------
    instrument, pipeline, date : str
        Which night.
    made_us : int
        When this was collected.
    level : str
        Of :data:`Level`.
    verdict : str
        In a sentence.
    needs : tuple of Need
        What a person has to do.
    looks : tuple of str
        What needs a look.
    summary : Summary
        Frames by minute and target.
    status : NightStatus or None
        Where it stands; None if it is neither on disk nor in the ledger any more.
    first_us, last_us : int or None
        First and last time of a frame.
    lanes : tuple of Lane
        How the instrument was set.
    gaps : tuple of (int, int)
        When no frame was taken for long.
    timings : Timings
        What timing files say.
    thumbnails : tuple of Thumbnail
        Mean frames.
    archive : Archive
        What was given out.
    parameters : tuple of (str, mapping)
        By state, those of the configuration.
    version : str
        Of the program.
    """

    instrument: str
    pipeline: str
    date: str
    made_us: int
    level: Level
    verdict: str
    needs: tuple[Need, ...]
    looks: tuple[str, ...]
    summary: Summary
    status: NightStatus | None
    first_us: int | None
    last_us: int | None
    lanes: tuple[Lane, ...]
    gaps: tuple[tuple[int, int], ...]
    timings: Timings
    thumbnails: tuple[Thumbnail, ...]
    archive: Archive
    parameters: tuple[tuple[str, Mapping[str, Any]], ...]
    version: str

    @property
    def day(self) -> str:
        """Return the date as people write it."""
        return f"{self.date[:4]}-{self.date[4:6]}-{self.date[6:]}"


class Collector:
    """Collects nights of a ledger, as all of them stand at one moment.

    Parameters
    ----------
    store, config, pipelines
        The ledger.

    Raises
    ------
    UsageError
        If a root is not there, or there is no ledger.
    Unreachable
        If a folder cannot be read.
    """

    def __init__(self, store: Store, config: Config, pipelines: dict[str, Pipeline]) -> None:
        self._store = store
        self._config = config
        self._pipelines = pipelines
        every = nights(config, pipelines)
        still = standing_still(config, pipelines, store.clock(), every=every)
        self._status = {(night.pipeline, night.date): night for night in every}
        self._still = {(s.pipeline, s.date): s for s in still}

    @property
    def every(self) -> list[tuple[str, str]]:
        """Return pipeline and date of every night that has raw files, oldest first."""
        with_raws = (key for key, night in self._status.items() if night.raws)
        return sorted(with_raws, key=lambda key: (key[1], key[0]))

    def is_finished(self, pipeline: str, date: str) -> bool:
        """Whether nothing of a night is left to do."""
        return (pipeline, date) in self._status and self._status[pipeline, date].is_finished

    def collect(self, folder: NightFolder) -> NightPage:
        """Return what the page of a night tells."""
        store, config = self._store, self._config
        summary = summarise(store, config, folder)
        status = self._status.get((folder.pipeline, folder.date))
        night = record.find_night(store, folder.pipeline, folder.date)
        archive, files, timings, thumbnails = Archive(), [], Timings(), []
        if night is not None:
            with store.snapshot() as session:  # each statement rests on what those before it found
                archive = read_archive(session, night)
                files = taken(session, config, night)
                timings = read_timings(session, night)
                thumbnails = read_thumbnails(session, night, files, config.instrument.cards.target)
        needs = tuple(_needs(status, self._still.get((folder.pipeline, folder.date)), summary))
        found = tuple(looks(summary))
        level, verdict = _judge(summary, status, needs, found)
        return NightPage(
            instrument=config.instrument.name,
            pipeline=folder.pipeline,
            date=folder.date,
            made_us=store.clock(),
            level=level,
            verdict=verdict,
            needs=needs,
            looks=found,
            summary=summary,
            status=status,
            first_us=files[0].first_us if files else None,
            last_us=max((file.last_us for file in files), default=None),
            lanes=tuple(lanes(files, config.instrument)),
            gaps=tuple(gaps(files)),
            timings=timings,
            thumbnails=tuple(thumbnails),
            archive=archive,
            parameters=tuple((s, config.parameters(s)) for s in config.pipelines[folder.pipeline].states),
            version=_version(),
        )


def _needs(status: NightStatus | None, still: Still | None, summary: Summary) -> list[Need]:
    """Return what a person has to do about a night."""
    if not summary.balance.holds:
        return [Need("the sum of its frames does not hold", f"`ledger audit --date {summary.date}` says what to do")]
    if still is not None:
        return [Need(still.text, still.remedy)]
    if status is not None and status.needs_person:
        return [Need(f"it is {status.stands}, and somebody has to look at it", f"`{status.next_command}`")]
    return []


def _judge(
    summary: Summary, status: NightStatus | None, needs: tuple[Need, ...], found: tuple[str, ...]
) -> tuple[Level, str]:
    """Return how a night stands, and the same as a sentence."""
    if summary.excluded_reason is not None:
        return "in order", f"Left out of the archive: {summary.excluded_reason}"
    if needs:
        return "person", "Somebody has to act."
    n_targets = sum(target.name is not None for target in summary.targets)
    done = status is not None and status.is_finished
    if n_looks := len(found) - (not summary.is_judged):  # that it is not yet judged is said among them
        return "look", f"{counted(n_looks, 'thing')} to look at{'' if done else '; not finished yet'}."
    if found or not done:
        stands = "not known" if status is None else status.stands
        return "under way", f"Under way: {stands}. Nothing unexpected so far."
    return "in order", f"Finished. Nothing unexpected in {counted(n_targets, 'target')}."


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415  takes long to import

    return version("ledger")
