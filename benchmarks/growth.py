"""How large a ledger becomes, and what its backups cost: bytes and seconds for each product of a whole night.

A night as in `bookkeeping` is taken to `manifested`, mailed, and confirmed by the archive. Every product has a SHA-256
of its own for its identity, as real ones have: so the pages of indexes are as full as they become.

    a product       bytes in the database, those of the journal, and those of a backup
    a backup        microseconds for each product: made, checked, and proven at a destination on this machine
    ten years       of 200 nights a year, at that rate

    python benchmarks/growth.py [--products N] [--only KIND]

PostgreSQL is measured where its server is installed (the extra `dev` brings one).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import bookkeeping
import common
from common import Figure
from sqlalchemy import text

from ledger.config.read import packaged_config, read_config
from ledger.db import backup
from ledger.delivery import manifest
from ledger.delivery.receipt import receive
from ledger.disk.nights import find_night
from ledger.run.machine import Machine

N_PRODUCTS = 10_000
NIGHTS = 200 * 10
PER_NIGHT = (1000, 10_000)

#: Bytes of all tables and indexes, and of those of the journal. A table and its indexes that are yet empty count.
SIZES = {
    "sqlite": "SELECT sum(pgsize), sum(pgsize) FILTER (WHERE name IN ('entry', 'ix_entry_identity',"
    " 'ix_entry_night_id_event')) FROM dbstat",
    "postgresql": "SELECT sum(pg_total_relation_size(oid)), sum(pg_total_relation_size(oid))"
    " FILTER (WHERE relname = 'entry') FROM pg_class"
    " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
}


def confirmed(folder: Path, url: str, n_products: int) -> bookkeeping.Night:
    """Return a night that is done, to the archive's answer."""
    night = bookkeeping.Night(folder, url)
    night.fill(n_products)
    for state in night.config.archive.states[2:]:
        if state == "compressed":
            night.put_files()
        night.advance(state)
    mail = {"TRANSPORT": "eml", "FOLDER": str(folder / "manifests"), "RECIPIENTS": '["archive@example.org"]'}
    given = {**night.environment, **{f"LEDGER_MAIL__{name}": value for name, value in mail.items()}}
    config = read_config(packaged_config(), environment=given)
    manifest.send(Machine(config, night.store), [find_night(config, date=bookkeeping.DATE)])
    with night.store.read() as session:
        lines = session.execute(text("SELECT frame_id, size_bytes FROM mail_line")).all()
    answer = folder / "receipt.csv"
    answer.write_text("".join(f"{frame_id},{size}\n" for frame_id, size in lines))
    if not receive(night.store, config, answer).succeeded:
        raise RuntimeError("the archive's answer was not taken")
    return night


def measure(url: str, n_products: int) -> Iterator[Figure]:
    """Measure on one database."""
    kind = url.partition(":")[0].partition("+")[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        night = confirmed(folder, url, n_products)
        with night.store.read() as session:
            size, journal = map(int, session.execute(text(SIZES[kind])).one())
        config = read_config(
            packaged_config(), environment={**night.environment, "LEDGER_BACKUP__FOLDER": str(folder / "backups")}
        )
        start = time.perf_counter()
        made, _ = backup.make(night.store, config)
        each_us = (time.perf_counter() - start) * 1e6 / n_products
        backup_size = made.stat().st_size
        night.store.close()
    yield Figure(f"{kind}: a product, of {n_products}", f"{size / n_products:.0f} bytes")
    yield Figure(f"{kind}: of that, its journal", f"{journal / n_products:.0f} bytes")
    yield Figure(f"{kind}: a product in a backup", f"{backup_size / n_products:.0f} bytes")
    yield Figure(f"{kind}: a backup, for each product", f"{each_us:.0f} µs")
    for per_night in PER_NIGHT:
        of = f"ten years, {NIGHTS} nights of {per_night} products"
        n = NIGHTS * per_night
        yield Figure(f"{kind}: {of}", f"{size / n_products * n / 1e9:.1f} GB")
        yield Figure(
            f"{kind}: a backup of them", f"{backup_size / n_products * n / 1e9:.1f} GB, {each_us * n / 6e7:.1f} min"
        )


def figures(n_products: int = N_PRODUCTS, only: str | None = None) -> Iterator[Figure]:
    """Measure on every database."""
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
        for url in common.databases(Path(folder)):
            if only is None or url.startswith(only):
                yield from measure(url, n_products)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=N_PRODUCTS)
    parser.add_argument("--only", help="sqlite or postgresql")
    given = parser.parse_args()
    common.show(figures(given.products, given.only))
    return 0


if __name__ == "__main__":
    sys.exit(main())
