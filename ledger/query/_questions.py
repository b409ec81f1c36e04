"""What ``ledger status`` asks the database: a few statements for all nights, answered from indexes (migration 0010).

Plain SQL of both databases, as :mod:`ledger.db.readonly` explains. What other rooms ask as well is a view
(``migrations/guards/views.sql``).
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ledger.config.model import Config
from ledger.db.readonly import Reader, newest_revision
from ledger.disk.outside import Rule
from ledger.errors import Busy, LedgerError
from ledger.text import named

_NIGHTS = "SELECT id, pipeline, date, numbered_us, excluded_reason, streams_ns FROM night"
_NUMBERING = "SELECT newest_date, from_date FROM numbering WHERE prefix = :prefix"
_DECISIONS = "SELECT pattern, reason, pipeline, date FROM outside_decision ORDER BY id"
_RAWS = """
SELECT file.folder, file.name FROM file JOIN night ON night.id = file.night_id
WHERE night.pipeline = :pipeline AND night.date = :date AND file.kind = 'raw'"""

#: Of some nights: files by state, those in quarantine or failed, live frame IDs, what the archive said and how much of
#: it is otherwise than on record.
_FILES = """
SELECT night_id, kind, state, COUNT(*), SUM(n_frames), SUM(lost_frames)
FROM file WHERE {} GROUP BY night_id, kind, state"""
_ODD = """
SELECT night_id, kind, state, quarantine_reason IS NOT NULL, error IS NOT NULL, is_discarded
FROM file WHERE (quarantine_reason IS NOT NULL OR error IS NOT NULL OR is_discarded) AND {}"""
_FRAME_IDS = "SELECT night_id, COUNT(*) FROM frame_id WHERE status = 'live' AND {} GROUP BY night_id"
_SAID = """
SELECT night_id, COUNT(*), SUM(CASE WHEN difference IS NULL THEN 0 ELSE 1 END), MAX(receipt_id)
FROM archive_word WHERE {} GROUP BY night_id"""
_RECEIPTS = "SELECT id, read_us FROM receipt"

#: Copies that were not right; an index of identities finds their products: a plus keeps that of nights out of it.
_REFUTED = """
SELECT refuted.night_id, refuted.identity, file.error IS NOT NULL
FROM refuted LEFT JOIN file ON file.identity = refuted.identity AND +file.night_id = refuted.night_id"""
_IN_DOUBT = "SELECT DISTINCT night_id FROM mail_in_doubt"

#: The newest entry of a night that tells of a change: what was only tried has left it as it was.
_CHANGED = """
SELECT at_us FROM entry WHERE id = (
    SELECT MAX(id) FROM entry
    WHERE night_id = :night AND event NOT IN ('started', 'failed', 'left', 'settled'))"""

#: When the last product came to each state, by the entries of nights.
_REACHED = """
SELECT night_id, destination, MAX(at_us) FROM entry
WHERE event = 'done' AND destination IS NOT NULL AND {} GROUP BY night_id, destination"""

#: Catch-ups as a whole have no arguments; those of a night have.
_LAST_CATCH_UP = """
SELECT started_us, ended_us, exit_status, host FROM run
WHERE command = 'catch-up' AND CAST(arguments AS TEXT) = '{}' ORDER BY id DESC LIMIT 1"""
_UNENDED = """
SELECT id, command, arguments, host, boot, pid, started_us, begun_by FROM run
WHERE ended_us IS NULL AND exit_status IS NULL ORDER BY id DESC"""
_LAST_BACKUP = "SELECT arguments FROM run WHERE command = 'backup' ORDER BY id DESC LIMIT 1"
_LAST_AT_WORK = "SELECT started_us FROM run WHERE command = 'catch-up' ORDER BY id DESC LIMIT 1"

#: What was mailed, from the few rows that there are of each mail and not from its lines: the journal has which nights
#: were in a mail, when what was mailed of a night was withdrawn, and when that was told. SQLite is told to begin with
#: nights.
_MAILS = "SELECT message_id, transport, begun_us, sent_us FROM mail WHERE error IS NULL"
_MAILED = """
SELECT entry.night_id, entry.event, entry.detail
FROM night CROSS JOIN entry
WHERE entry.night_id = night.id AND entry.event IN ('mailed', 'mail_written', 'unmailed', 'withdrawal_sent') AND {}
ORDER BY entry.id"""
_LISTED = "SELECT night_id, MAX(made_us) FROM manifest WHERE withdrawn_us IS NULL AND {} GROUP BY night_id"

#: Of one night: how many listed products no mail names, and how many none that the ledger sent itself.
_LINES = """
SELECT SUM(CASE WHEN {0}) THEN 0 ELSE 1 END), SUM(CASE WHEN {0} AND mail.transport <> 'eml') THEN 0 ELSE 1 END)
FROM manifest JOIN manifest_line ON manifest_line.manifest_id = manifest.id
WHERE manifest.night_id = :night AND manifest.withdrawn_us IS NULL""".format("""EXISTS (
    SELECT 1 FROM mail_line JOIN mail ON mail.id = mail_line.mail_id
    WHERE mail_line.frame_id = manifest_line.frame_id AND mail_line.withdrawn_us IS NULL
      AND mail.error IS NULL AND mail.sent_us IS NOT NULL""")

#: Of one night: whether its products were made here, and raw files in quarantine.
_PAIRED = "SELECT 1 FROM paired_night WHERE night_id = :night"
_PUT_ASIDE = """
SELECT folder, name, size_bytes, mtime_ns, timing_size_bytes, timing_mtime_ns
FROM file WHERE night_id = :night AND kind = 'raw' AND quarantine_reason IS NOT NULL"""


class NightRow(NamedTuple):
    """The row of a night."""

    id: int
    pipeline: str
    date: str
    numbered_us: int | None
    excluded_reason: str | None
    streams_ns: int | None


class CatchUpRow(NamedTuple):
    """The row of a catch-up."""

    began_us: int
    ended_us: int | None
    exit_status: int | None
    host: str


class Odd(NamedTuple):
    """Files of a night, alike, that are in quarantine, failed or discarded."""

    kind: str
    state: str
    quarantined: bool
    failed: bool
    discarded: bool
    files: int


@dataclass(slots=True)
class Counts:
    """What is counted of a night's files."""

    raws: Counter[str] = field(default_factory=Counter)  # by state
    products: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    lost: int = 0
    odd: list[Odd] = field(default_factory=list)
    frame_ids: int = 0
    confirmed: int = 0
    contradicted: int = 0
    said_us: int | None = None  # when the archive last said something
    mailed_us: int | None = None  # by the ledger, all that is listed
    written_us: int | None = None  # as a file that somebody sends, some or all of it
    refuted: dict[str, bool] = field(default_factory=dict)  # identity, and whether it failed too
    has_mail_in_doubt: bool = False
    withdrawn: list[str] = field(default_factory=list)  # files that are to be sent, each with to whom


def open_ledger(config: Config) -> Reader:
    """Open the database of a ledger; what is wrong with it is said as by every other command.

    Raises
    ------
    UsageError
        If there is no ledger of the code's revision.
    """
    reader = None
    try:
        reader = Reader(config.database.url)
        if reader.value("SELECT version_num FROM alembic_version") == newest_revision():
            return reader
    except Busy:
        raise
    except LedgerError:
        pass
    if reader is not None:
        reader.close()
    from ledger.db.absent import advised  # noqa: PLC0415  which takes long to import
    from ledger.db.store import Store  # noqa: PLC0415

    store = Store(config.database.url)
    try:
        with advised(config):
            store.open()
    finally:
        store.close()
    return Reader(config.database.url)


def nights(reader: Reader) -> list[NightRow]:
    """Return all nights."""
    return [NightRow(*row) for row in reader.rows(_NIGHTS)]


def numbering(reader: Reader, prefix: str) -> tuple[str | None, str | None]:
    """Return the night of the newest frame ID in order, and the first night that gets any."""
    return next(((newest, first) for newest, first in reader.rows(_NUMBERING, prefix=prefix)), (None, None))


def decisions(reader: Reader) -> list[Rule]:
    """Return the decisions about files outside that stand."""
    return [
        Rule(pattern, reason, None if date is None else (pipeline, date))
        for pattern, reason, pipeline, date in reader.rows(_DECISIONS)
    ]


def raws(reader: Reader, pipeline: str, date: str) -> set[str]:
    """Return the registered raw files of a night, by stream and name."""
    return {f"{stream}/{name}" for stream, name in reader.rows(_RAWS, pipeline=pipeline, date=date)}


def is_paired(reader: Reader, night: NightRow) -> bool:
    """Whether this ledger has made products of a night."""
    return bool(reader.rows(_PAIRED, night=night.id))


def changed_us(reader: Reader, night: NightRow) -> int | None:
    """Return when something changed at a night, by its entries; None if it has none."""
    found: int | None = reader.value(_CHANGED, night=night.id)
    return found


def last_catch_up(reader: Reader) -> CatchUpRow | None:
    """Return the newest catch-up on record, or None."""
    return next((CatchUpRow(*row) for row in reader.rows(_LAST_CATCH_UP)), None)


def reached_us(reader: Reader, ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """Return when the last product came to each state, by the numbers of nights."""
    found: dict[int, dict[str, int]] = defaultdict(dict)
    statement = _REACHED.format(f"night_id IN ({', '.join(map(str, ids)) or 'NULL'})")
    for night_id, state, at_us in reader.rows(statement):
        found[night_id][state] = at_us
    return found


def unended(reader: Reader) -> list[tuple[Any, ...]]:
    """Return the runs that have no end: number, command, arguments, host, boot, process, begin, and who began them."""
    return reader.rows(_UNENDED)


def catch_up_at_work_us(reader: Reader) -> int | None:
    """Return when a catch-up began anything, itself or a night, last; None if it never did."""
    found: int | None = reader.value(_LAST_AT_WORK)
    return found


def backup_failure(reader: Reader) -> str | None:
    """Return why the last backup failed; None if it did not."""
    arguments = reader.value(_LAST_BACKUP) or {}
    found: str | None = (json.loads(arguments) if isinstance(arguments, str) else arguments).get("error")
    return found


def put_aside(reader: Reader, night: NightRow) -> list[tuple[Any, ...]]:
    """Return stream, name, and sizes and times of cube and txt, of a night's raw files in quarantine."""
    return reader.rows(_PUT_ASIDE, night=night.id)


def counts(reader: Reader, ids: Sequence[int] | None) -> dict[int, Counts]:
    """Return what is counted of nights, by their numbers; of all if `ids` is None."""
    of_these = "night_id IS NOT NULL" if ids is None else f"night_id IN ({', '.join(map(str, ids)) or 'NULL'})"

    def rows(statement: str) -> list[tuple[Any, ...]]:
        return reader.rows(statement.format(of_these))

    found: dict[int, Counts] = defaultdict(Counts)
    for night_id, kind, state, files, frames, lost in rows(_FILES):
        count = found[night_id]
        count.lost += int(lost or 0)
        if kind == "raw":
            count.raws[state] += files
            count.frames += int(frames or 0)
        else:
            count.products[state] += files
    for (night_id, *row), files in Counter(rows(_ODD)).items():
        kind, state, quarantined, failed, discarded = row
        found[night_id].odd.append(Odd(kind, state, bool(quarantined), bool(failed), bool(discarded), files))
    for night_id, n in rows(_FRAME_IDS):
        found[night_id].frame_ids = n
    read_us = dict(reader.rows(_RECEIPTS))
    for night_id, n, n_otherwise, receipt in rows(_SAID):
        found[night_id].confirmed = n - int(n_otherwise)
        found[night_id].contradicted = int(n_otherwise)
        found[night_id].said_us = read_us[receipt]
    mails = {message_id: _Mailing(*mail) for message_id, *mail in reader.rows(_MAILS)}
    if mails:
        listed_us = dict(rows(_LISTED))
        for night_id, (mailings, withdrawn) in _mailings(rows(_MAILED), mails).items():
            found[night_id].withdrawn = withdrawn
            if mailings and night_id in listed_us:
                times = _mailed(reader, night_id, mailings, listed_us[night_id])
                found[night_id].mailed_us, found[night_id].written_us = times
    for night_id, identity, failed in reader.rows(_REFUTED):
        found[night_id].refuted[identity] = bool(failed)
    for (night_id,) in reader.rows(_IN_DOUBT):
        found[night_id].has_mail_in_doubt = True
    return found


class _Mailing(NamedTuple):
    """A mail that was taken, or perhaps was; a file counts as taken when it is written."""

    transport: str
    begun_us: int
    sent_us: int | None


def _mailings(
    entries: Iterable[tuple[Any, ...]], mails: Mapping[str, _Mailing]
) -> dict[int, tuple[list[_Mailing], list[str]]]:
    """Return the mails of each night that stand, oldest first, and what was withdrawn and not told, by the journal."""
    found: dict[int, tuple[list[_Mailing], list[str]]] = defaultdict(lambda: ([], []))
    for night_id, event, detail in entries:
        mailings, withdrawn = found[night_id]
        facts = json.loads(detail) if isinstance(detail, str) else detail
        if event == "withdrawal_sent":
            withdrawn.clear()
        elif event == "unmailed":
            mailings.clear()
            withdrawn.append(f"{facts['file']} to {named(facts['recipients'])}")
        elif (mail := mails.get(facts.get("message_id"))) and mail.sent_us is not None:
            mailings.append(mail)
    return found


def _mailed(
    reader: Reader, night_id: int, mailings: Sequence[_Mailing], listed_us: int
) -> tuple[int | None, int | None]:
    """Return when a night was mailed by the ledger, and when written as a mail; neither if only a part was.

    Parameters
    ----------
    reader : Reader
        Counts lines, where mails alone do not tell.
    night_id : int
        The night.
    mailings : sequence of _Mailing
        Its mails that stand; there is one.
    listed_us : int
        When the last of its products were listed. A mail has all that is listed by then and was not mailed before.
    """
    sent_us = [mail.sent_us or 0 for mail in mailings if mail.transport != "eml"]
    written_us = [mail.sent_us or 0 for mail in mailings if mail.transport == "eml"]
    n_unmailed, n_unsent = 0, len(written_us)
    if (sent_us and written_us) or max(mail.begun_us for mail in mailings) < listed_us:
        ((n_unmailed, n_unsent),) = reader.rows(_LINES, night=night_id)
    if n_unmailed:
        return None, None
    return (None, max(written_us, default=None)) if n_unsent else (max(sent_us), None)
