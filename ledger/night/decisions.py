"""What people decided about files outside: by name or pattern, with a reason, on record."""

from sqlalchemy import and_, select, update
from sqlmodel import Session, col

from ledger.config.model import Config
from ledger.db.models import Entry, File, Night, OutsideRule
from ledger.db.store import Store
from ledger.db.views import OUTSIDE_DECISION
from ledger.disk.nights import NightFolder, find_night
from ledger.disk.outside import Found, Rule, find_outside, sort_out
from ledger.errors import UsageError
from ledger.night import record

#: A pattern that covers both covers everything.
_ANY = ("one/vcam1_06:00:00.000000001.fits", "another/cube.fits.fz")


def look(session: Session, config: Config, folder: NightFolder) -> Found:
    """Return the files outside of a night on disk, by whether somebody has decided about them.

    Raises
    ------
    Unreachable
        If the night or a stream cannot be read.
    """
    of_night = and_(col(Night.pipeline) == folder.pipeline, col(Night.date) == folder.date)
    found = [rule for rule in _standing(session) if rule.night in (None, (folder.pipeline, folder.date))]

    def raws() -> set[str]:
        query = select(col(File.folder), col(File.name)).join(Night, col(Night.id) == col(File.night_id))
        return {f"{stream}/{name}" for stream, name in session.execute(query.where(of_night, col(File.kind) == "raw"))}

    outside = find_outside(folder, config.instrument, found)
    return sort_out(outside, found, waits=config.waits(folder.pipeline), raws=raws)


def rules(store: Store) -> list[Rule]:
    """Return the decisions that stand, in the order in which they were made."""
    with store.read() as session:
        return _standing(session)


def _standing(session: Session) -> list[Rule]:
    found = session.execute(select(OUTSIDE_DECISION).order_by(OUTSIDE_DECISION.c.id))
    return [Rule(row.pattern, row.reason, None if row.date is None else (row.pipeline, row.date)) for row in found]


def ignore(store: Store, config: Config, pattern: str, reason: str, date: str | None) -> int | None:
    """Leave files outside out, of one night or of all that there are and will be.

    Parameters
    ----------
    store, config
        The ledger.
    pattern : str
        See :class:`ledger.disk.outside.Rule`.
    reason : str
        Why; it is kept.
    date : str or None
        The night; None: all.

    Returns
    -------
    int or None
        How many files of the night it covers now; None for all nights, which are not looked at.

    Raises
    ------
    UsageError
        If the reason is empty, the pattern covers all files of all nights, or no file of the night.
    """
    if not reason.strip():
        raise UsageError("--reason is empty: expected why these files are left out; it is kept for ever")
    rule = Rule(pattern, reason)
    if not pattern.strip() or pattern.startswith(("/", "../")):
        raise UsageError(f"pattern {pattern!r}: expected one of paths in a night (apapane/*), or of names (*.fits.gz)")
    if date is None and all(map(rule.covers, _ANY)):
        raise UsageError(f"pattern {pattern!r} means every file of every night: expected a narrower one, or --date")
    covered = None
    if date is not None:
        folder = find_night(config, date=date)
        with store.read() as session:
            undecided = look(session, config, folder).undecided
        covered = sum(rule.covers(file.path) for file in undecided)
        if not covered:
            raise UsageError(
                f"pattern {pattern!r} covers no file of night {date} that waits for a decision; expected one of `ledger"
                f" outside list --date {date}`, by its path within the night, or by its name"
            )
    _decide(store, config, pattern, date, reason)
    return covered


def wait(store: Store, config: Config, pattern: str, date: str | None) -> None:
    """Withdraw a decision: files of this pattern are waited for again.

    Raises
    ------
    UsageError
        If there is no such decision.
    """
    _decide(store, config, pattern, date, None)


def _decide(store: Store, config: Config, pattern: str, date: str | None, reason: str | None) -> None:
    """Record a decision, or (without a reason) its withdrawal."""
    night_id = None
    if date is not None:
        folder = find_night(config, date=date)
        known = record.find_night(store, folder.pipeline, folder.date)
        if known is None and reason is None:
            raise UsageError(_no_decision(pattern, date))
        night_id = (known or record.ensure_night(store, folder.pipeline, folder.root, folder.date)).id
    event = "left_out" if reason is not None else "waited_for"
    detail = {"pattern": pattern, "reason": reason}
    is_night = col(OutsideRule.night_id).is_(None) if night_id is None else col(OutsideRule.night_id) == night_id
    stands = (col(OutsideRule.pattern) == pattern, is_night, col(OutsideRule.withdrawn_us).is_(None))
    with store.recorded("outside", {"date": date, **detail}) as (session, run_id):
        if reason is None:
            withdrawn = update(OutsideRule).where(*stands).values(withdrawn_us=store.clock())
            if not session.execute(withdrawn.returning(col(OutsideRule.id))).all():
                raise UsageError(_no_decision(pattern, date))
        else:
            session.add(OutsideRule(pattern=pattern, night_id=night_id, reason=reason, made_us=store.clock()))
        session.add(
            Entry(at_us=store.clock(), run_id=run_id, night_id=night_id, name=date or "*", event=event, detail=detail)
        )


def _no_decision(pattern: str, date: str | None) -> str:
    of = f"of night {date}" if date else "of all nights"
    return f"there is no decision {of} about {pattern!r}; expected one of `ledger outside rules`"
