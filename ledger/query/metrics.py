"""Figures of the ledger for monitoring, as Prometheus has them; reads only."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from sqlalchemy import func, select
from sqlmodel import col

from ledger.config.model import Config
from ledger.db.models import Entry, File
from ledger.db.store import Store
from ledger.night.pipeline import Pipeline
from ledger.query.standing import standing_still
from ledger.query.status import NightStatus, nights
from ledger.query.unattended import last_catch_up

#: Figures by the values of their labels.
Figures = dict[tuple[str, ...], float]

#: Steps taken last, of which it is told how long they took.
_RECENT = 20_000


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure, or one for each set of labels.

    Attributes
    ----------
    name : str
        With its unit at the end (https://prometheus.io/docs/practices/naming).
    help : str
        What it is.
    labels : tuple of str
        Names of its labels.
    values : dict of tuple of str to float
        By the labels' values.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    values: Figures = field(default_factory=dict)

    def as_json(self) -> list[dict[str, Any]]:
        """Return its figures as what JSON can hold."""
        return [
            {"name": self.name, "labels": dict(zip(self.labels, labels, strict=True)), "value": value}
            for labels, value in self.values.items()
        ]


def metrics(store: Store, config: Config, pipelines: dict[str, Pipeline]) -> Iterator[Metric]:
    """Yield the figures of now.

    Parameters
    ----------
    store, config, pipelines
        The ledger.

    Raises
    ------
    LedgerError
        If something cannot be read.
    """
    now_us = store.clock()
    every = nights(config, pipelines)
    yield Metric("ledger_info", "The program's version.", ("version",), {(version("ledger"),): 1})
    yield Metric("ledger_figures_timestamp_seconds", "When these figures were made.", (), {(): now_us / 1e6})
    yield from _of_nights(every, pipelines)
    found = Counter((still.pipeline, still.why) for still in standing_still(config, pipelines, now_us, every=every))
    yield Metric(
        "ledger_standing_still", "Nights that no catch-up takes on by itself.", ("pipeline", "why"), _figures(found)
    )
    last = last_catch_up(config)
    for name, time_us in (("start", last.began_us), ("end", last.ended_us)):
        help_ = f"The {name} of the newest catch-up."
        values: Figures = {} if time_us is None else {(): time_us / 1e6}
        yield Metric(f"ledger_catch_up_{name}_timestamp_seconds", help_, (), values)
    values = {} if last.exit_status is None else {(): float(last.exit_status)}
    yield Metric("ledger_catch_up_exit_status", "How the newest catch-up ended; 0: in order.", (), values)
    yield from _of_files(store)
    yield from _of_steps(store)


def _of_nights(every: list[NightStatus], pipelines: dict[str, Pipeline]) -> Iterator[Metric]:
    stands = Counter((night.pipeline, night.stands) for night in every)
    yield Metric("ledger_nights", "Nights by where they stand.", ("pipeline", "stands"), _figures(stands))
    products = Counter[tuple[str, str]]()
    for name, pipeline in pipelines.items():
        products.update({(name, state): 0 for state in pipeline.states[1:]})
    for night in every:
        products.update({(night.pipeline, state): n for state, n in night.states.items()})
    yield Metric("ledger_products", "Products by state.", ("pipeline", "state"), _figures(products))
    for attribute, name, help_ in (
        ("failed", "ledger_failed_products", "Products whose last step failed, or whose copies are not right."),
        ("quarantined", "ledger_quarantined_files", "Raw files and products in quarantine."),
        ("unproven", "ledger_unproven_copies", "Products whose copies were not right when last read."),
        ("outside", "ledger_undecided_files", "Files that may hold frames, and of which nobody has decided."),
    ):
        counts = Counter(dict.fromkeys(((pipeline,) for pipeline in pipelines), 0))
        for night in every:
            counts[night.pipeline,] += getattr(night, attribute)
        yield Metric(name, help_, ("pipeline",), _figures(counts))
    oldest: Figures = {
        (night.pipeline,): datetime.strptime(night.date, "%Y%m%d").replace(tzinfo=UTC).timestamp()
        for night in reversed(every)
        if not night.is_finished
    }
    help_ = "Midnight UT of the oldest night that is not finished."
    yield Metric("ledger_oldest_unfinished_timestamp_seconds", help_, ("pipeline",), oldest)
    unmailed: Counter[tuple[str, ...]] = Counter(
        (night.pipeline,)
        for night in every
        if night.stands == "finished" and night.frame_ids and not (night.mailed_us or night.written_us)
    )
    help_ = "Finished nights with frame IDs whose manifest was neither mailed nor written as a mail."
    yield Metric("ledger_unmailed_nights", help_, ("pipeline",), _figures(unmailed))


def _of_files(store: Store) -> Iterator[Metric]:
    query = select(col(File.pipeline), col(File.kind), func.sum(col(File.size_bytes)))
    query = query.where(col(File.pruned_us).is_(None)).group_by(col(File.pipeline), col(File.kind))
    with store.read() as session:
        found: Figures = {(pipeline, kind): float(size or 0) for pipeline, kind, size in session.execute(query)}
    help_ = "Raw cubes, and compressed products, that are here."
    yield Metric("ledger_files_bytes", help_, ("pipeline", "kind"), found)


def _of_steps(store: Store) -> Iterator[Metric]:
    recent = (
        select(col(Entry.edge), col(Entry.seconds), col(Entry.size_bytes))
        .where(col(Entry.event) == "done", col(Entry.seconds).is_not(None))
        .order_by(col(Entry.id).desc())
        .limit(_RECENT)
        .subquery()
    )
    query = select(recent.c.edge, func.avg(recent.c.seconds), func.sum(recent.c.seconds), func.sum(recent.c.size_bytes))
    with store.read() as session:
        rows = session.execute(query.group_by(recent.c.edge)).all()
    help_ = f"Mean seconds of a worker for a product, of the last {_RECENT} steps."
    means: Figures = {(edge,): float(mean) for edge, mean, _, _ in rows}
    yield Metric("ledger_step_seconds", help_, ("step",), means)
    rates: Figures = {(edge,): float(size) / float(total) for edge, _, total, size in rows if size and total}
    yield Metric("ledger_step_bytes_per_second", "Bytes a second of a worker, of the same.", ("step",), rates)


def _figures(counts: Mapping[Any, int]) -> Figures:
    return {labels: float(n) for labels, n in sorted(counts.items())}
