"""Runs: who works on which night since when, how far it is, and how it ended. Reads only."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sqlalchemy import func, select
from sqlmodel import Session, col

from ledger.db.models import Entry, File, Night, Run
from ledger.db.models import Lease as LeaseRow
from ledger.db.store import Store, is_catch_up
from ledger.errors import UsageError
from ledger.night.lease import DIED, is_dead, living_holder
from ledger.query.unattended import run_in_words

#: How a run stands: it works, ended, or was killed and left no word.
Stands = Literal["works", "stops", "ended", "died"]

#: Entries of so many last seconds say how fast a run is.
_RATE_S = 60

#: So many newest entries are looked through for those of a run that works.
_LATELY = 5000

#: Failures that are shown.
_FAILURES = 5


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run.

    Attributes
    ----------
    number : int
        Its row.
    command : str
        What was called.
    pipeline, date : str or None
        Its night; none of a command on no single one.
    begun_by : str or None
        Who called it; none of runs before this was on record.
    host : str
        Where it runs or ran.
    pid : int
        Its process.
    started_us, ended_us : int or None
        When (UNIX, microseconds).
    exit_status : int or None
        How it ended.
    stands : {"works", "stops", "ended", "died"}
        ``stops`` if it was asked to.
    process : str or None
        What the runs of one process share.
    arguments : mapping
        What it was called with.
    """

    number: int
    command: str
    pipeline: str | None
    date: str | None
    begun_by: str | None
    host: str
    pid: int
    started_us: int
    ended_us: int | None
    exit_status: int | None
    stands: Stands
    process: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether nothing works on it any more."""
        return self.stands in ("ended", "died")

    @property
    def words(self) -> str:
        """Return which run this is, how it stands and since when, in words."""
        return run_in_words(
            self.number, self.command, self.date, self.outcome, self.started_us, self.host, self.begun_by
        )

    @property
    def outcome(self) -> str:
        """Return how it stands or ended, in words."""
        if self.stands == "ended":
            return {0: "in order", 75: "night was held", DIED: "was killed"}.get(
                self.exit_status or 0, f"exit {self.exit_status}"
            )
        return {"works": "works", "stops": "stops", "died": "was killed"}[self.stands]

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return asdict(self)


def runs(store: Store, *, most: int | None = None, with_idle: bool = False) -> list[RunFacts]:
    """Return runs, the newest first.

    Parameters
    ----------
    store : Store
        The database.
    most : int, optional
        So many at most.
    with_idle : bool
        Also catch-ups that found nothing to do.
    """
    query = select(Run).order_by(col(Run.id).desc())
    if not with_idle:
        query = query.where(~(is_catch_up() & (col(Run.exit_status) == 0)))
    with store.read() as session:
        now_us = store.common_us(session)
        return [_facts(session, run, now_us) for run in session.execute(query.limit(most)).scalars()]


def run_of(store: Store, number: int) -> RunFacts:
    """Return a run.

    Raises
    ------
    UsageError
        If there is none of that number.
    """
    with store.read() as session:
        run = session.get(Run, number)
        if run is None:
            raise UsageError(f"no run {number}; expected one of `ledger runs`")
        return _facts(session, run, store.common_us(session))


def that_goes_on(store: Store, run: RunFacts) -> RunFacts:
    """Return the run that the process of a run works on now: a command on several nights has a run for each."""
    if not run.is_over:
        return run
    later = (other for other in at_work(store) if run.process is not None and other.process == run.process)
    return next((other for other in later if other.number > run.number), run)


def at_work(store: Store) -> list[RunFacts]:
    """Return the runs that work now, the newest first."""
    with store.read() as session:
        now_us = store.common_us(session)
        unended = session.execute(select(Run).where(col(Run.ended_us).is_(None)).order_by(col(Run.id).desc()))
        found = [_facts(session, run, now_us) for run in unended.scalars()]
    return [run for run in found if not run.is_over]


def _facts(session: Session, run: Run, now_us: int) -> RunFacts:
    return RunFacts(
        number=int(run.id or 0),
        command=run.command,
        pipeline=run.arguments.get("pipeline"),
        date=run.arguments.get("date"),
        begun_by=run.begun_by,
        host=run.host,
        pid=run.pid,
        started_us=run.started_us,
        ended_us=run.ended_us,
        exit_status=run.exit_status,
        stands=_stands(session, run, now_us),
        process=run.process,
        arguments={key: value for key, value in run.arguments.items() if key not in ("pipeline", "date")},
    )


def _stands(session: Session, run: Run, now_us: int) -> Stands:
    """Return how a run stands: on another host, one works if it holds a night and its heart beats."""
    if run.ended_us is not None or run.exit_status is not None:
        return "ended"
    holds = session.execute(select(LeaseRow).where(col(LeaseRow.run_id) == run.id)).scalars().all()
    if is_dead(run) or (holds and not any(living_holder(session, lease, now_us) for lease in holds)):
        return "died"
    return "works" if run.stop_asked_us is None else "stops"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a night is that a run works on.

    Attributes
    ----------
    states : dict of str to int
        How many raw files there are, and products in each state, in the order of the pipeline.
    step : str or None
        The step that it takes now, by its verb.
    files_per_s : float
        Steps of that kind a second, lately.
    left : int
        Products that this step is still to take.
    failures : list of (str, str)
        Some products that failed: name and reason.
    """

    states: dict[str, int]
    step: str | None
    files_per_s: float
    left: int
    failures: list[tuple[str, str]]

    @property
    def left_s(self) -> float | None:
        """Return how long this step still takes, seconds; None if that cannot be told."""
        return self.left / self.files_per_s if self.files_per_s and self.left else None

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return asdict(self) | {"left_s": self.left_s}


def progress(store: Store, run: RunFacts, states: Sequence[str]) -> Progress | None:
    """Return how far the night of a run is; None if it has none.

    Parameters
    ----------
    store : Store
        The database.
    run : RunFacts
        The run.
    states : sequence of str
        Of its pipeline, in order.
    """
    with store.read() as session:
        of_night = (col(Night.pipeline) == run.pipeline, col(Night.date) == run.date)
        night_id = session.execute(select(col(Night.id)).where(*of_night)).scalar()
        if night_id is None:
            return None
        counted = select(col(File.kind), col(File.state), func.count()).where(col(File.night_id) == night_id)
        found = {(k, s): int(n) for k, s, n in session.execute(counted.group_by(col(File.kind), col(File.state)))}
        odd = select(col(File.name), col(File.error)).where(
            col(File.night_id) == night_id, col(File.kind) == "product", col(File.error).is_not(None)
        )
        failures = [(str(name), str(error)) for name, error in session.execute(odd.limit(_FAILURES))]
        newest = func.coalesce(select(func.max(col(Entry.id))).scalar_subquery(), 0)
        lately = (
            select(col(Entry.at_us), col(Entry.event), col(Entry.edge), col(Entry.source))
            .where(col(Entry.id) > newest - _LATELY, col(Entry.run_id) == run.number)
            .order_by(col(Entry.id).desc())
        )
        entries = session.execute(lately).all() if not run.is_over else []
        now_us = store.common_us(session)
    by_state = {state: found.get(("product", state), 0) for state in states[1:]}
    step, source = next(((entry.edge, entry.source) for entry in entries if entry.edge), (None, None))
    taken = [e.at_us for e in entries if (e.event, e.edge) == ("done", step) and e.at_us > now_us - _RATE_S * 1e6]
    span_s = max((now_us - min(taken)) / 1e6, 1) if taken else 1
    left = found.get(("raw" if source == states[0] else "product", source), 0) if source else 0
    return Progress({states[0]: _raws(found)} | by_state, step, len(taken) / span_s, left, failures)


def _raws(found: dict[tuple[str, str], int]) -> int:
    return sum(n for (kind, _), n in found.items() if kind == "raw")
