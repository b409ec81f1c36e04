"""Where every night stands, on disk and in the ledger.

Asked all day long, by people and by ``ledger catch-up``: a few statements for all nights
(:mod:`ledger.query._questions`), and as little of the disk as will do.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from ledger.config.model import Config
from ledger.config.site import Site
from ledger.db.readonly import Reader
from ledger.disk.access import is_folder, translate_read_errors
from ledger.disk.dates import Dates
from ledger.disk.nights import NightFolder, before_first, has_products, night_of, nights_on_disk
from ledger.disk.outside import Rule, find_outside, sort_out
from ledger.disk.raws import has_raws, stat_raw, streams_ns
from ledger.disk.uncarried import uncarried
from ledger.errors import UsageError
from ledger.night.pipeline import Pipeline
from ledger.query import _questions as ask
from ledger.query._questions import Counts, NightRow


@dataclass(frozen=True, slots=True)
class NightStatus:
    """Where a night stands.

    Attributes
    ----------
    pipeline, date : str
        The night.
    raws, frames : int
        Registered raw files and the frames that they declare.
    lost : int
        How many of those frames salvaged files have lost.
    quarantined : int
        Raw files and products in quarantine.
    failed : int
        Products whose last step failed, or whose copies are not right.
    outside : int
        Files that may hold frames and are no raw files, of which nobody has decided; looked for in nights that are not
        finished.
    unproven : int
        Products whose copies at the destination were not right when last read.
    states : mapping of str to int
        Products in each state.
    frame_ids : int
        Live frame IDs of the night.
    confirmed : int
        Products that the archive says it has.
    mailed_us : int or None
        When the ledger mailed the manifest, the last time (UNIX, microseconds); None if not all that is listed was
        mailed.
    written_us : int or None
        Instead of that: when the mail was written to a file, which somebody has to send by hand.
    confirmed_us : int or None
        When the archive confirmed the last of all products that go on.
    withdrawn : str
        Lists of products that were mailed and are withdrawn, each with to whom it has to be sent; empty once they were.
    uncarried : int
        Files in its folder that nothing carries to the destination; looked for only if that is asked.
    stands : str
        In a word: ``on disk``, ``raw``, a state, ``finished``, ``changed`` (finished, and raw files came or
        went since), ``unproven`` (finished, and copies were not right when last read), ``quarantined`` (nothing of it
        went on, and nobody has decided so), ``excluded``, ``foreign``, ``empty``.
    next_command : str
        What to do; empty if there is nothing to do.
    """

    pipeline: str
    date: str
    raws: int = 0
    frames: int = 0
    lost: int = 0
    quarantined: int = 0
    failed: int = 0
    outside: int = 0
    unproven: int = 0
    states: dict[str, int] = field(default_factory=dict)
    frame_ids: int = 0
    confirmed: int = 0
    mailed_us: int | None = None
    written_us: int | None = None
    confirmed_us: int | None = None
    withdrawn: str = ""
    uncarried: int = 0
    stands: str = "on disk"
    next_command: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.stands in ("finished", "excluded", "foreign", "empty")

    @property
    def needs_person(self) -> bool:
        """Whether somebody has to decide or repair something: what comes next is nothing that `catch-up` does."""
        is_advance = self.next_command.startswith("ledger advance ") and " --late" not in self.next_command
        return bool(self.next_command) and not is_advance


def untold(night: NightStatus, named: str) -> tuple[str, str]:
    """Return that what was withdrawn of a night was not told, and what to do; `named` names it to a command."""
    text = "lists what was mailed and is withdrawn, and was not sent"
    return text, f"send it, and then `ledger manifest {named} --withdrawal-sent`"


def nights(
    config: Config, pipelines: dict[str, Pipeline], *, dates: Dates | None = None, seeks_uncarried: bool = False
) -> list[NightStatus]:
    """Return where every night stands, on disk and in the ledger, by pipeline and date.

    Parameters
    ----------
    config, pipelines
        The ledger.
    dates : Dates, optional
        Only these.
    seeks_uncarried : bool
        Look through the folders of nights for files that nothing carries.

    Raises
    ------
    UsageError
        If there is no such night, or no ledger.
    Damaged
        If the database shows that it is.
    """
    reader = ask.open_ledger(config)
    try:
        reader.refuse_damaged()
        found = _Nights(config, pipelines, reader, seeks_uncarried=seeks_uncarried).found(dates)
    finally:
        reader.close()
    if dates and not found:
        raise UsageError(f"no night {dates}, on disk or in the ledger; expected one of `ledger status`")
    return found


class _Nights:
    """All nights, on disk and in the ledger, at one moment.

    Parameters
    ----------
    config, pipelines
        The ledger.
    reader : Reader
        Its database.
    seeks_uncarried : bool
        See `nights`.
    """

    def __init__(
        self, config: Config, pipelines: dict[str, Pipeline], reader: Reader, *, seeks_uncarried: bool
    ) -> None:
        self.config = config
        self.pipelines = pipelines
        self.reader = reader
        self.seeks_uncarried = seeks_uncarried

    @cached_property
    def rows(self) -> dict[tuple[str, str], NightRow]:
        """Return the nights that are in the ledger, by pipeline and date."""
        return {(night.pipeline, night.date): night for night in ask.nights(self.reader)}

    @cached_property
    def rules(self) -> list[Rule]:
        """Return the decisions about files outside."""
        return ask.decisions(self.reader)

    def found(self, dates: Dates | None) -> list[NightStatus]:
        """Return them, or only those of some dates."""
        every = self.rows.values()
        known = [night for night in every if not dates or night.date in dates]
        counts = ask.counts(self.reader, [night.id for night in known] if dates else None)
        found = []
        for name, pipeline in self.pipelines.items():
            newest = numbers_from = None
            if pipeline.numbering is not None:
                newest, numbers_from = ask.numbering(self.reader, self.config.instrument.prefix)
            rows = {night.date: night for night in known if night.pipeline == name}
            folders = self._on_disk(name, has_rows=any(night.pipeline == name for night in every))
            for day in sorted(rows.keys() | folders.keys()):
                row = rows.get(day)
                is_before_first = before_first(self.config, name, day, row.numbered_us if row else None, numbers_from)
                if (not dates or day in dates) and not is_before_first:
                    of_night = counts[row.id] if row else Counts()
                    found.append(self._night(pipeline, day, row, folders.get(day), of_night, newest))
        if not dates:
            return self._behind_the_gate(found)
        if any(self._waits(night) for night in found):  # for a night that may not be one of these
            return [night for night in self.found(None) if night.date in dates]
        return found

    def _behind_the_gate(self, nights: Sequence[NightStatus]) -> list[NightStatus]:
        """Let nights that wait for an earlier one to be numbered say what that one needs."""
        found = []
        blocking: dict[str, str] = {}  # the command of the earliest night that is not numbered, by pipeline
        for night in nights:
            is_behind = night.pipeline in blocking and self._waits(night)
            found.append(replace(night, next_command=blocking[night.pipeline]) if is_behind else night)
            if self._blocks(night):
                blocking.setdefault(night.pipeline, night.next_command)
        return found

    def _blocks(self, night: NightStatus) -> bool:
        """Whether later nights wait for this one: it has no frame IDs yet, or not all of them any more."""
        pipeline = self.pipelines[night.pipeline]
        if pipeline.numbering is None or night.is_finished or night.stands == "quarantined":
            return False
        before = pipeline.states[: pipeline.position(pipeline.numbering.state)]
        return self._is_to_be_numbered(night) or night.stands in (*before, "changed")

    def _is_to_be_numbered(self, night: NightStatus) -> bool:
        row = self.rows.get((night.pipeline, night.date))
        is_numbered = row is not None and row.numbered_us is not None
        return self.pipelines[night.pipeline].numbering is not None and not is_numbered and not night.is_finished

    def _waits(self, night: NightStatus) -> bool:
        """Whether a night is where nights wait for earlier ones: paired, and with no files yet."""
        return self._is_to_be_numbered(night) and night.stands == self.pipelines[night.pipeline].steps[0].state

    def _on_disk(self, pipeline: str, *, has_rows: bool) -> dict[str, NightFolder]:
        config = self.config
        has_root = config.site(pipeline).has_nights and is_folder(config.pipelines[pipeline].root)
        is_used = pipeline == config.main or has_rows or has_root
        return {night.date: night for night in nights_on_disk(config, pipeline)} if is_used else {}

    def _night(
        self,
        pipeline: Pipeline,
        date: str,
        row: NightRow | None,
        folder: NightFolder | None,
        counts: Counts,
        newest: str | None,
    ) -> NightStatus:
        """Return where a night stands.

        Parameters
        ----------
        pipeline : Pipeline
            Its pipeline's.
        date : str
            Its date.
        row : NightRow or None
            Its row, if it has one.
        folder : NightFolder or None
            Its folder, if it is on disk.
        counts : Counts
            Of its files.
        newest : str or None
            Date of the newest night with a frame ID in order.
        """
        config = self.config
        skips = config.failures.barrier == "skip"
        odd = [o for o in counts.odd if o.kind == "product"]
        left_out = [o for o in odd if o.discarded or (o.quarantined and skips)]
        going_on = counts.products - sum((Counter({o.state: o.files}) for o in left_out), Counter[str]())
        is_held = any(o.quarantined for o in odd if o not in left_out)
        unproven = len(counts.refuted)
        stands = self._stands(pipeline, row, folder, counts, going_on)
        outside = self._outside(pipeline, folder) if stands not in ("finished", "excluded", "foreign") else 0
        if outside and stands == "empty" and self.config.waits(pipeline.name):
            stands = "on disk"
        if unproven and stands in ("finished", "changed"):
            stands = "unproven"
        is_done = stands in ("finished", "excluded", "foreign", "empty")
        was_numbered = row is not None and row.numbered_us is not None
        lacks_ids = not was_numbered or going_on.total() > counts.frame_ids  # raw files may have come since
        late = " --late --reason TEXT" if newest is not None and date < newest and lacks_ids else ""
        is_held = is_held or stands == "quarantined"
        site = self.config.site(pipeline.name)
        named = site.named(date)
        command = f"ledger quarantine list --date {date}" if is_held else f"ledger advance {named}{late}"
        if is_done and (counts.contradicted or counts.has_mail_in_doubt):
            is_done, command = False, f"ledger doctor --date {date}"
        where = "" if is_held else site.goes_on_at(stands)
        if outside and not is_held and self.config.waits(pipeline.name):
            where, command = "", f"ledger outside list --date {date}"
        if unproven:
            command = f"ledger verify {named} --repair"
            where = "" if site.sending is None else site.goes_on_at(site.sending)
        return NightStatus(
            pipeline=pipeline.name,
            date=date,
            raws=counts.raws.total(),
            frames=counts.frames,
            lost=counts.lost,
            quarantined=sum(o.files for o in counts.odd if o.quarantined),
            # a product that also failed, on its way back, is counted once
            failed=sum(o.files for o in odd if o.failed) + unproven - sum(counts.refuted.values()),
            outside=outside,
            unproven=unproven,
            states=dict(sorted(counts.products.items(), key=lambda item: pipeline.position(item[0]))),
            frame_ids=counts.frame_ids,
            confirmed=counts.confirmed,
            mailed_us=counts.mailed_us,
            written_us=counts.written_us,
            confirmed_us=counts.said_us if 0 < going_on.total() <= counts.confirmed else None,
            withdrawn="; ".join(counts.withdrawn),
            uncarried=self._uncarried(folder, stands),
            stands=stands,
            next_command="" if is_done and not unproven else f"{command}{where}",
        )

    def _stands(
        self,
        pipeline: Pipeline,
        row: NightRow | None,
        folder: NightFolder | None,
        counts: Counts,
        states: Collection[str],
    ) -> str:
        instrument = self.config.instrument
        if row is not None and row.excluded_reason:
            return "excluded"
        if folder is not None and not states and self._is_foreign(row, folder):
            return "foreign"
        if not counts.raws:
            has = folder is not None and has_raws(folder, instrument)
            return "on disk" if has else "empty"
        first = pipeline.states[0]
        put_aside = sum(o.files for o in counts.odd if o.kind == "raw" and o.state == first and o.quarantined)
        if counts.raws[first] > put_aside:
            return first
        slowest = min(states, key=pipeline.position, default=pipeline.last)
        if slowest != pipeline.last:
            return slowest
        at_rest = (
            "quarantined" if not states and any(o.quarantined and not o.discarded for o in counts.odd) else "finished"
        )
        if row is None or folder is None:
            return at_rest
        is_seen = row.streams_ns == streams_ns(folder, instrument)
        return at_rest if is_seen and not (put_aside and self._is_mended(row, folder)) else "changed"

    def _outside(self, pipeline: Pipeline, folder: NightFolder | None) -> int:
        """Return how many files of a night may hold frames, are no raw files, and wait for a decision."""
        if folder is None:
            return 0
        of_all = [rule for rule in self.rules if rule.night in (None, (pipeline.name, folder.date))]
        found = find_outside(folder, self.config.instrument, of_all)
        raws = partial(ask.raws, self.reader, pipeline.name, folder.date)
        return len(sort_out(found, of_all, waits=True, raws=raws).undecided)

    def _uncarried(self, folder: NightFolder | None, stands: str) -> int:
        """Return how many files of a night nothing carries, if that is asked and the night is not left alone."""
        if not self.seeks_uncarried or folder is None or stands in ("excluded", "foreign", "empty"):
            return 0
        return len(uncarried(self.config, folder))

    def _is_foreign(self, row: NightRow | None, folder: NightFolder) -> bool:
        """Whether the night has products that this ledger did not make."""
        has = has_products(folder, self.config.instrument)
        return has and (row is None or not ask.is_paired(self.reader, row))

    def _is_mended(self, row: NightRow, folder: NightFolder) -> bool:
        """Whether a raw file in quarantine was written to since; its folder does not tell."""
        streams = {stream.name: stream for stream in self.config.instrument.streams}
        for stream_name, name, *stats in ask.put_aside(self.reader, row):
            cube, stream = folder.path / stream_name / name, streams.get(stream_name)
            with translate_read_errors(cube):
                is_there = cube.exists()
            if stream is not None and is_there and stat_raw(cube, stream).stats != tuple(stats):
                return True
        return False


def unfinished(config: Config, pipelines: dict[str, Pipeline]) -> list[NightFolder]:
    """Return the nights on disk that are not finished, excluded, foreign or empty, oldest first.

    One of which all is in quarantine waits for a person, or until its raw files change.
    """
    waiting = [
        night_of(config, s.pipeline, s.date)
        for s in nights(config, pipelines)
        if not s.is_finished and s.stands != "quarantined" and _has_work_here(config.site(s.pipeline), s)
    ]
    return sorted(waiting, key=lambda night: (night.date, night.pipeline))


def _has_work_here(site: Site, night: NightStatus) -> bool:
    """Whether an unfinished night is here, or (on a host that fetches) has products that wait to be fetched."""
    if site.has_nights:
        return is_folder(site.root / night.date)
    return any(not site.goes_on_at(state) for state in night.states)
