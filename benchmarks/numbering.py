"""How fast a night gets its frame IDs, and the gate is passed, in a ledger that has years behind it.

Fills a database with nights that have their IDs, and gives one more night of many products its own: the
transaction of `ledger.ids.allocate.allocate`, with gate and guards. The baseline is the same rows inserted into tables
without guards or indexes, in one transaction of the same database: what is above it is the price of being sure.

    allocation  seconds for 100 000 IDs                        budget 5 s, on both databases
    ratio       to the bare insert of as many rows
    again       seconds to find that a night has all of its IDs
    gate        seconds to find that no earlier night lacks IDs, of as many nights as there are

    python benchmarks/numbering.py [--ids N] [--nights N]

PostgreSQL is measured where its server is installed (the extra `dev` brings one).
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import common
from common import Figure
from sqlalchemy import Column, MetaData, Table, insert, inspect, select
from sqlmodel import Session, col

from ledger.db.models import Entry, FrameId
from ledger.disk.nights import NightFolder
from ledger.ids import allocate, gate
from ledger.ids.numbers import Numbers
from ledger.night import record
from ledger.night.journal import Journal
from ledger.night.lease import Lease
from ledger.night.pipeline import Pipeline, pipelines
from ledger.night.products import WorkItem
from stages.product import Product

FIRST_DATE = date(2020, 1, 1)
DAY_US = 86_400_000_000
START_US = 1_577_836_800_000_000
SMALL_NIGHT = 100  # products of each night of before


def products_of(night: int, n: int) -> list[Product]:
    """Return the products of a night, in order of time."""
    step_us = DAY_US // (n + 1)
    return [
        Product(
            identity=f"{night:06d}-{i:058d}",
            name=f"vsync_{night}_{i}",
            camera=1 + i % 2,
            flc="AB"[i // 2 % 2],
            synchronised=True,
            group=i // 4,
            parts=(),
            sibling_parts=(),
            first_us=START_US + night * DAY_US + i // 4 * 4 * step_us + 1000,
            last_us=START_US + night * DAY_US + (i // 4 * 4 + 3) * step_us,
            exposure_us=1000,
        )
        for i in range(n)
    ]


class Ledger:
    """A database with nights in it, and roots with nothing in them.

    Parameters
    ----------
    folder : Path
        For the roots.
    url : str
        Of an empty database.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.config, self.store = common.empty_ledger(folder, url)
        self.pipeline: Pipeline = pipelines(self.config)["archive"]

    def folder(self, night: int) -> NightFolder:
        """Return a night's folder, which need not be there."""
        day = FIRST_DATE + timedelta(days=night)
        return NightFolder("archive", self.config.archive.root, f"{day:%Y%m%d}")

    def number(self, night: int, products: list[Product], *, are_new: bool = True) -> tuple[float, float]:
        """Give a night with `products` its IDs; return the seconds of all of it, and of the gate within."""
        folder = self.folder(night)
        row = record.ensure_night(self.store, "archive", folder.root, folder.date)
        run_id = self.store.begin_run("benchmark", {})
        gate_s = 0.0

        def look(session: Session) -> None:
            nonlocal gate_s
            start = time.perf_counter()
            gate.check_gate(session, self.config, self.pipeline, folder, now_us=self.store.clock())
            gate_s = time.perf_counter() - start

        items = [WorkItem(0, "fixed", product) for product in products]
        with Lease(self.store, row, run_id) as lease:
            journal = Journal(self.store, self.pipeline, row, lease, self.config.instrument.prefix)
            if are_new:
                journal.make_products(self.config.instrument.product_folder, products, {}, {})
            start = time.perf_counter()
            allocate.allocate(journal, self.config, items, look, numbers=Numbers("VMPA"))
            seconds = time.perf_counter() - start
        return seconds, gate_s

    def bare(self, n: int) -> float:
        """Return the seconds that the rows of the last `n` IDs take in tables without guards or indexes."""
        bare = []
        with self.store.write() as session:
            for model, number in ((FrameId, FrameId.number), (Entry, Entry.id)):
                newest = session.execute(select(model).order_by(col(number).desc()).limit(n)).scalars()
                rows = [row.model_dump() for row in newest]
                columns = [Column(c.name, c.type) for c in inspect(model).columns]
                bare.append((Table(f"bare_{model.__tablename__}", MetaData(), *columns), rows))
                bare[-1][0].create(session.connection())
        start = time.perf_counter()
        with self.store.write() as session:
            for table, rows in bare:
                session.execute(insert(table), rows)
        return time.perf_counter() - start


def measure(url: str, n_ids: int, n_nights: int) -> Iterator[Figure]:
    """Measure on one database."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder), url)
        for night in range(n_nights):
            ledger.number(night, products_of(night, SMALL_NIGHT))
        seconds, gate_s = ledger.number(n_nights, products_of(n_nights, n_ids))
        again_s = ledger.number(n_nights, products_of(n_nights, n_ids), are_new=False)[0]
        bare_s = ledger.bare(n_ids)
        ledger.store.close()
    kind = url.partition(":")[0].partition("+")[0]
    part, baseline = f"{kind}: {n_ids} frame IDs in one transaction", f"bare insert, {bare_s:.2f} s"
    yield Figure(part, f"{seconds:.2f} s", baseline, f"{bare_s / seconds:.2f} x", "<= 5 s", seconds <= 5)
    yield Figure(f"{kind}: the same night again", f"{again_s:.2f} s")
    yield Figure(f"{kind}: gate of {n_nights} nights", f"{gate_s * 1000:.0f} ms")


def figures(n_ids: int = 100_000, n_nights: int = 300) -> Iterator[Figure]:
    """Measure on every database."""
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
        for url in common.databases(Path(folder)):
            yield from measure(url, n_ids, n_nights)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", type=int, default=100_000, help="of the night that is measured")
    parser.add_argument("--nights", type=int, default=300, help="before it")
    given = parser.parse_args()
    common.show(figures(given.ids, given.nights))


if __name__ == "__main__":
    main()
