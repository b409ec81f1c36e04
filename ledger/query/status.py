"""Where every night stands, on disk and in the ledger.

Asked all day long, by people and by ``ledger catch-up``: a few statements for all nights, through
:mod:`ledger.db.readonly`, and as little of the disk as will do.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from ledger.config.model import Config
from ledger.config.site import Site
from ledger.db.readonly import Reader, newest_revision
from ledger.disk.access import is_folder, translate_read_errors
from ledger.disk.nights import NightFolder, before_first, has_products, night_of, nights_on_disk
from ledger.disk.outside import Rule, find_outside, sort_out
from ledger.disk.raws import has_raws, stat_raw, streams_ns
from ledger.errors import Busy, LedgerError, UsageError
from ledger.night import record
from ledger.night.pipeline import Pipeline

#: All nights, the newest that has a frame ID in order, and the first that gets any (`ledger ids start --from`).
_NIGHTS = "SELECT id, pipeline, date, numbered_us, excluded_reason, streams_ns FROM night"
_NEWEST = """
SELECT night.date FROM frame_id JOIN night ON night.id = frame_id.night_id
WHERE frame_id.prefix = :prefix AND frame_id.status = 'live' AND NOT frame_id.late
ORDER BY frame_id.number DESC LIMIT 1"""
_RULES = """
SELECT outside_rule.pattern, outside_rule.reason, night.pipeline, night.date
FROM outside_rule LEFT JOIN night ON night.id = outside_rule.night_id
WHERE outside_rule.withdrawn_us IS NULL ORDER BY outside_rule.id"""
_RAWS = """
SELECT file.folder, file.name FROM file JOIN night ON night.id = file.night_id
WHERE night.pipeline = :pipeline AND night.date = :date AND file.kind = 'raw'"""
_NUMBERS_FROM = "SELECT from_date FROM frame_sequence WHERE prefix = :prefix"

#: Of some nights, from indexes alone (migration 0010): files by state, and those in quarantine or failed.
_FILES = """
SELECT night_id, kind, state, COUNT(*), SUM(n_frames), SUM(lost_frames)
FROM file WHERE {} GROUP BY night_id, kind, state"""
_ODD = """
SELECT night_id, kind, state, quarantine_reason IS NOT NULL, error IS NOT NULL, is_discarded
FROM file WHERE (quarantine_reason IS NOT NULL OR error IS NOT NULL OR is_discarded) AND {}"""
_FRAME_IDS = "SELECT night_id, COUNT(*) FROM frame_id WHERE status = 'live' AND {} GROUP BY night_id"

#: What the archive said, and how much of it is otherwise than on record, of all nights and of some: without statistics
#: SQLite joins best in the order that it is told.
_SAID = """
SELECT night_id, COUNT(*), SUM(CASE WHEN archive_word.difference IS NULL THEN 0 ELSE 1 END)
FROM archive_word CROSS JOIN frame_id
WHERE frame_id.frame_id = archive_word.frame_id AND status = 'live' AND {}
GROUP BY night_id"""
_SAID_OF_SOME = _SAID.replace("archive_word CROSS JOIN frame_id", "frame_id CROSS JOIN archive_word")

#: Copies that were not right (an index of identities finds their products: a plus keeps that of nights out of it), and
#: nights of mails that may not have arrived, in whole or in part; whether they are in doubt is for `mailed` to say.
_REFUTED = """
SELECT refuted.night_id, refuted.identity, file.error IS NOT NULL
FROM refuted LEFT JOIN file ON file.identity = refuted.identity AND +file.night_id = refuted.night_id"""
_DOUBTFUL = """
SELECT DISTINCT frame_id.night_id FROM mail CROSS JOIN mail_line CROSS JOIN frame_id
WHERE mail.error IS NULL AND (mail.sent_us IS NULL OR CAST(mail.refused AS TEXT) <> '[]')
  AND mail_line.mail_id = mail.id AND frame_id.frame_id = mail_line.frame_id"""

#: Of one night: whether its products were made here, and raw files in quarantine.
_WAS_PAIRED = "SELECT 1 FROM entry WHERE night_id = :night AND edge = :verb LIMIT 1"
_PUT_ASIDE = """
SELECT folder, name, size_bytes, mtime_ns, timing_size_bytes, timing_mtime_ns
FROM file WHERE night_id = :night AND kind = 'raw' AND quarantine_reason IS NOT NULL"""


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
    stands : str
        In a word: ``on disk``, ``raw``, a state, ``finished``, ``changed`` (finished, and raw files came or
        went since), ``unproven`` (finished, and copies were not right when last read), ``excluded``, ``foreign``,
        ``empty``.
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
    stands: str = "on disk"
    next_command: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.stands in ("finished", "excluded", "foreign", "empty")


class _Night(NamedTuple):
    """A row of `_NIGHTS`."""

    id: int
    pipeline: str
    date: str
    numbered_us: int | None
    excluded_reason: str | None
    streams_ns: int | None


class _Odd(NamedTuple):
    """Files of a night that are alike, in a row of `_ODD` each."""

    kind: str
    state: str
    quarantined: bool
    failed: bool
    discarded: bool
    files: int


@dataclass(slots=True)
class _Counts:
    """What is counted of a night's files."""

    raws: Counter[str] = field(default_factory=Counter)  # by state
    products: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    lost: int = 0
    odd: list[_Odd] = field(default_factory=list)
    frame_ids: int = 0
    confirmed: int = 0
    contradicted: int = 0
    refuted: dict[str, bool] = field(default_factory=dict)  # identity, and whether it failed too
    has_doubtful_mail: bool = False


def nights(config: Config, pipelines: dict[str, Pipeline], *, date: str | None = None) -> list[NightStatus]:
    """Return where every night stands, on disk and in the ledger, by pipeline and date.

    Parameters
    ----------
    config, pipelines
        The ledger.
    date : str, optional
        Only this one.

    Raises
    ------
    UsageError
        If there is no such night, or no ledger.
    Damaged
        If the database shows that it is.
    """
    reader = _opened(config.database.url)
    try:
        reader.refuse_damaged()
        found = _Look(config, pipelines, reader).found(date)
    finally:
        reader.close()
    if date is not None and not found:
        raise UsageError(f"no night {date}, on disk or in the ledger; expected one of `ledger status`")
    return found


def _opened(url: str) -> Reader:
    """Open the database; what is wrong with it is said as by every other command."""
    reader = None
    try:
        reader = Reader(url)
        if reader.value("SELECT version_num FROM alembic_version") == newest_revision():
            return reader
    except Busy:
        raise
    except LedgerError:
        pass
    if reader is not None:
        reader.close()
    from ledger.db.store import Store  # noqa: PLC0415  which takes long to import

    store = Store(url)
    try:
        store.open()
    finally:
        store.close()
    return Reader(url)


class _Look:
    """One look at all nights.

    Parameters
    ----------
    config, pipelines
        The ledger.
    reader : Reader
        Its database.
    """

    def __init__(self, config: Config, pipelines: dict[str, Pipeline], reader: Reader) -> None:
        self.config = config
        self.pipelines = pipelines
        self.reader = reader

    @cached_property
    def rules(self) -> list[Rule]:
        """Return the decisions about files outside."""
        return [
            Rule(pattern, reason, None if date is None else (pipeline, date))
            for pattern, reason, pipeline, date in self.reader.rows(_RULES)
        ]

    def found(self, date: str | None) -> list[NightStatus]:
        """Return them, or only that of a date."""
        every = [_Night(*row) for row in self.reader.rows(_NIGHTS)]
        known = [night for night in every if date in (None, night.date)]
        counts = self._counts([night.id for night in known] if date is not None else None)
        found = []
        for name, pipeline in self.pipelines.items():
            newest = numbers_from = None
            if pipeline.numbering is not None:
                newest, numbers_from = (
                    self.reader.value(statement, prefix=self.config.instrument.prefix)
                    for statement in (_NEWEST, _NUMBERS_FROM)
                )
            rows = {night.date: night for night in known if night.pipeline == name}
            folders = self._on_disk(name, has_rows=any(night.pipeline == name for night in every))
            for day in sorted(rows.keys() | folders.keys()):
                row = rows.get(day)
                is_before_first = before_first(self.config, name, day, row.numbered_us if row else None, numbers_from)
                if date in (None, day) and not is_before_first:
                    of_night = counts[row.id] if row else _Counts()
                    found.append(self._night(pipeline, day, row, folders.get(day), of_night, newest))
        return found

    def _on_disk(self, pipeline: str, *, has_rows: bool) -> dict[str, NightFolder]:
        config = self.config
        has_root = config.site(pipeline).has_nights and is_folder(config.pipelines[pipeline].root)
        is_used = pipeline == "archive" or has_rows or has_root
        return {night.date: night for night in nights_on_disk(config, pipeline)} if is_used else {}

    def _counts(self, ids: Sequence[int] | None) -> dict[int, _Counts]:
        """Return what is counted of nights, by their numbers; of all if there are none."""
        of_these = "night_id IS NOT NULL" if ids is None else f"night_id IN ({', '.join(map(str, ids)) or 'NULL'})"

        def rows(statement: str) -> list[tuple[Any, ...]]:
            return self.reader.rows(statement.format(of_these))

        counts: dict[int, _Counts] = defaultdict(_Counts)
        for night_id, kind, state, files, frames, lost in rows(_FILES):
            count = counts[night_id]
            count.lost += int(lost or 0)
            if kind == "raw":
                count.raws[state] += files
                count.frames += int(frames or 0)
            else:
                count.products[state] += files
        for (night_id, *row), files in Counter(rows(_ODD)).items():
            kind, state, quarantined, failed, discarded = row
            counts[night_id].odd.append(_Odd(kind, state, bool(quarantined), bool(failed), bool(discarded), files))
        for night_id, n in rows(_FRAME_IDS):
            counts[night_id].frame_ids = n
        for night_id, n, n_otherwise in rows(_SAID if ids is None else _SAID_OF_SOME):
            counts[night_id].confirmed = n - int(n_otherwise)
            counts[night_id].contradicted = int(n_otherwise)
        for night_id, identity, failed in self.reader.rows(_REFUTED):
            counts[night_id].refuted[identity] = bool(failed)
        for (night_id,) in self.reader.rows(_DOUBTFUL):
            counts[night_id].has_doubtful_mail = True
        return counts

    def _night(
        self,
        pipeline: Pipeline,
        date: str,
        row: _Night | None,
        folder: NightFolder | None,
        counts: _Counts,
        newest: str | None,
    ) -> NightStatus:
        """Return where a night stands.

        Parameters
        ----------
        pipeline : Pipeline
            Its pipeline's.
        date : str
            Its date.
        row : _Night or None
            Its row, if it has one.
        folder : NightFolder or None
            Its folder, if it is on disk.
        counts : _Counts
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
        late = " --late --reason TEXT" if newest is not None and date < newest and not was_numbered else ""
        command = f"quarantine list --date {date}" if is_held else f"advance --date {date}{late}"
        if is_done and row and (counts.contradicted or (counts.has_doubtful_mail and _is_in_doubt(config, row))):
            is_done, command = False, f"doctor --date {date}"
        site = self.config.site(pipeline.name)
        where = "" if is_held else site.goes_on_at(stands)
        if outside and not is_held and self.config.waits(pipeline.name):
            where, command = "", f"outside list --date {date}"
        if unproven:
            command = f"verify --date {date} --repair"
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
            stands=stands,
            next_command="" if is_done and not unproven else f"ledger {command}{where}",
        )

    def _stands(
        self,
        pipeline: Pipeline,
        row: _Night | None,
        folder: NightFolder | None,
        counts: _Counts,
        states: Collection[str],
    ) -> str:
        instrument = self.config.instrument
        if row is not None and row.excluded_reason:
            return "excluded"
        if folder is not None and not states and self._is_foreign(pipeline, row, folder):
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
        if row is None or folder is None:
            return "finished"
        is_seen = row.streams_ns == streams_ns(folder, instrument)
        return "finished" if is_seen and not (put_aside and self._is_mended(row, folder)) else "changed"

    def _outside(self, pipeline: Pipeline, folder: NightFolder | None) -> int:
        """Return how many files of a night may hold frames, are no raw files, and wait for a decision."""
        if folder is None:
            return 0
        of_all = [rule for rule in self.rules if rule.night in (None, (pipeline.name, folder.date))]
        found = find_outside(folder, self.config.instrument, of_all)

        def raws() -> set[str]:
            known = self.reader.rows(_RAWS, pipeline=pipeline.name, date=folder.date)
            return {f"{stream}/{name}" for stream, name in known}

        return len(sort_out(found, of_all, waits=True, raws=raws).undecided)

    def _is_foreign(self, pipeline: Pipeline, row: _Night | None, folder: NightFolder) -> bool:
        """Whether the night has products that this ledger did not make; `gate.is_foreign` in one statement less."""
        if not has_products(folder, self.config.instrument):
            return False
        verb = pipeline.step(pipeline.born).forward
        return row is None or not self.reader.rows(_WAS_PAIRED, night=row.id, verb=verb)

    def _is_mended(self, row: _Night, folder: NightFolder) -> bool:
        """Whether a raw file in quarantine was written to since; its folder does not tell."""
        streams = {stream.name: stream for stream in self.config.instrument.streams}
        for stream_name, name, *stats in self.reader.rows(_PUT_ASIDE, night=row.id):
            cube, stream = folder.path / stream_name / name, streams.get(stream_name)
            with translate_read_errors(cube):
                is_there = cube.exists()
            if stream is not None and is_there and stat_raw(cube, stream).stats != tuple(stats):
                return True
        return False


def _is_in_doubt(config: Config, night: _Night) -> bool:
    """Whether a mail of a night may not have arrived."""
    from ledger.db.store import Store  # noqa: PLC0415
    from ledger.night import given_out  # noqa: PLC0415  rare, and takes long to import

    store = Store(config.database.url)
    try:
        row = record.find_night(store, night.pipeline, night.date)
        with store.read() as session:
            return row is not None and bool(given_out.in_doubt(session, row))
    finally:
        store.close()


def unfinished(config: Config, pipelines: dict[str, Pipeline]) -> list[NightFolder]:
    """Return the nights on disk that are not finished, excluded, foreign or empty; oldest first."""
    waiting = [
        night_of(config, s.pipeline, s.date)
        for s in nights(config, pipelines)
        if not s.is_finished and _has_work_here(config.site(s.pipeline), s)
    ]
    return sorted(waiting, key=lambda night: (night.date, night.pipeline))


def _has_work_here(site: Site, night: NightStatus) -> bool:
    """Whether an unfinished night is here, or (on a host that fetches) has products that wait to be fetched."""
    if site.has_nights:
        return is_folder(site.root / night.date)
    return any(not site.goes_on_at(state) for state in night.states)
