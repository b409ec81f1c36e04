"""What the ledger itself costs, beside all that is done to files, in a night of many products.

A night is taken from `synced` to `manifested` by the machine as it is, with stages that touch no file
(`benchmarks/nothing.py`): what is left is the ledger's time for each change of a product's state. The database that
this fills is then asked what people ask, each time by a new process, as they do.

    a state       milliseconds for each product                          budget 0.5 ms
    advance       of the night once it is finished                       budget 1 s
    status        seconds                                                budget 0.3 s
    history       seconds, likewise explain                              budget 0.5 s
    audit         seconds                                                budget 60 s

    python benchmarks/bookkeeping.py [--products N] [--only KIND] [--repeats N]

PostgreSQL is measured where its server is installed (the extra `dev` brings one).
"""

import argparse
import gc
import hashlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import common
from common import Figure
from nothing import CONTENT
from sqlalchemy import func, select

from ledger.cli import OBJECTS
from ledger.config.model import Config
from ledger.config.read import packaged_config, read_config
from ledger.db.models import Entry, File
from ledger.db.store import Store
from ledger.disk.nights import find_night
from ledger.disk.raws import stat_raw, streams_ns
from ledger.night import record
from ledger.night.journal import Journal
from ledger.night.lease import Lease
from ledger.night.pipeline import pipelines
from ledger.night.products import to_raw
from ledger.run.machine import Machine
from stages.product import Part, Product

DATE = "20260102"
START_US = 1_767_333_600_000_000
#: Products of a raw file: of both cameras, and of states A and B, two files make two products each, on the average.
PRODUCTS_PER_RAW = 2
N_FRAMES = 200

#: What people ask of it, and how many seconds that may take.
COMMANDS = (
    (("advance", "--date", DATE), 1),
    (("status",), 0.3),
    (("history", "VMPA00000001"), 0.5),
    (("explain", "VMPA00000001"), 0.5),
    (("audit",), 60),
)

#: Stages that touch no file, in place of those that do.
WITHOUT_FILES = ("consolidated", "fixed", "identified", "compressed", "transferred")


class Night:
    """A night in a ledger of its own.

    Parameters
    ----------
    folder : Path
        For roots, destination and configuration.
    url : str
        Of an empty database.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.environment = {
            "LEDGER_DATABASE__URL": url,
            "LEDGER_BACKUP__AUTOMATIC": "false",
            "LEDGER_ENGINE__EXECUTOR": "inline",
            "LEDGER_SPACE__KEEP_FREE_MB": "null",
            "LEDGER_LOG": str(folder / "ledger.log"),
            "LEDGER_TRANSFER__DESTINATION": str(folder / "destination"),
            "PYTHONPATH": str(Path(__file__).parent),
        }
        for name in ("archive", "engineering"):
            self.environment[f"LEDGER_{name.upper()}__ROOT"] = str(folder / name)
        for name in ("destination", "archive", "engineering"):
            (folder / name).mkdir()
        for state in WITHOUT_FILES:
            self.environment[f"LEDGER_STATES__{state.upper()}__STAGE"] = "nothing"
            self.environment[f"LEDGER_STATES__{state.upper()}__PARAMETERS"] = "{}"
        self.config: Config = read_config(packaged_config(), environment=self.environment)
        self.store = Store(url)
        self.store.init(pipelines(self.config).values())
        self.path = self.config.archive.root / DATE

    def fill(self, n_products: int) -> None:
        """Write raw files of a byte, and register them, with products that their frames are in."""
        n_raws = n_products // PRODUCTS_PER_RAW
        pipeline, instrument = pipelines(self.config)["archive"], self.config.instrument
        for stream in instrument.streams:
            (self.path / stream.name).mkdir(parents=True)
        night = record.ensure_night(self.store, "archive", self.config.archive.root, DATE)
        run_id = self.store.begin_run("benchmark", {})
        rows = []
        for number in range(n_raws):
            stream = instrument.streams[number % 2]
            cube = self.path / stream.name / f"{stream.name}_{number:09d}.fits"
            for path in (cube, cube.with_suffix(".txt")):
                path.write_bytes(b" ")
            seen = stat_raw(cube, stream)
            rows.append(
                {
                    "identity": hashlib.sha256(f"raw {number}".encode()).hexdigest(),
                    "folder": stream.name,
                    "name": cube.name,
                    "camera": stream.camera,
                    "n_frames": N_FRAMES,
                    "first_us": START_US + number // 2 * 1_000_000,  # of both cameras
                    "last_us": START_US + number // 2 * 1_000_000 + 900_000,
                    "exposure_us": 1000,
                    "size_bytes": seen.size_bytes,
                    "mtime_ns": seen.mtime_ns,
                    "timing_size_bytes": seen.timing_size_bytes,
                    "timing_mtime_ns": seen.timing_mtime_ns,
                    "header_sha256": f"{number:064d}",
                    "timing_sha256": f"{number:064d}",
                    "quarantine_reason": None,
                    "cards": {"BITPIX": 16, "OBJECT": "HD 34700", "EXPTIME": 0.001, "U_DETMOD": "FAST"},
                }
            )
        with Lease(self.store, night, run_id) as lease:
            journal = Journal(self.store, pipeline, night, lease, instrument.prefix)
            for start in range(0, n_raws, 1000):
                journal.register(rows[start : start + 1000], {})
            rows = record.raws(self.store, night)
            products = [p for row in rows for p in products_of(row, to_raw(night, row))]
            journal.make_products(instrument.product_folder, products, {0: rows}, {})
            journal.looked_at(streams_ns(find_night(self.config, date=DATE), instrument))
        self.store.end_run(run_id, 0, in_order=True)

    def advance(self, state: str) -> float:
        """Take the night to a state; return the seconds."""
        machine = Machine(self.config, self.store)
        start = time.perf_counter()
        result = machine.advance(find_night(self.config, date=DATE), to=state)
        if not result.succeeded:
            raise RuntimeError(f"{state}: {result.stopped} {result.failed[:1]}")
        return time.perf_counter() - start

    def put_files(self) -> None:
        """Write what products that are compressed have."""
        for item in record.products(
            self.store, record.ensure_night(self.store, "archive", self.config.archive.root, DATE)
        ):
            for name in (f"{item.product.frame_id}.fits.fz", f"{item.product.frame_id}.txt"):
                (self.path / self.config.instrument.product_folder / name).write_bytes(CONTENT)

    def entries(self) -> int:
        """Return how many entries there are."""
        with self.store.read() as session:
            return int(session.execute(select(func.count()).select_from(Entry)).scalar() or 0)


def products_of(row: File, raw: object) -> list[Product]:
    """Return the products that the frames of a raw file are in."""
    return [
        Product(
            identity=hashlib.sha256(f"{row.id} {place}".encode()).hexdigest(),
            name=f"vsync_{row.id}.cam{row.camera}.{flc}",
            camera=row.camera,
            flc=flc,
            synchronised=True,
            group=(int(row.first_us or 0) - START_US) // 1_000_000,
            parts=(Part(raw, ((place, PRODUCTS_PER_RAW, N_FRAMES // PRODUCTS_PER_RAW),)),),  # type: ignore[arg-type]
            sibling_parts=(),
            first_us=int(row.first_us or 0),
            last_us=int(row.last_us or 0),
            exposure_us=1000,
        )
        for place, flc in enumerate("AB")
    ]


def measure(url: str, n_products: int, repeats: int) -> Iterator[Figure]:
    """Measure on one database."""
    kind = url.partition(":")[0].partition("+")[0]
    with tempfile.TemporaryDirectory() as folder:
        night = Night(Path(folder), url)
        night.fill(n_products)
        for state in night.config.archive.states[2:]:
            if state == "compressed":
                night.put_files()
            per_product_ms = night.advance(state) * 1000 / n_products
            yield common.limited(f"{kind}: {state}, of {n_products} products", per_product_ms, "ms each", 0.5, 3)
        of = f"{n_products} products, {night.entries()} entries"
        night.store.close()
        for words, most_s in COMMANDS:
            once = 1 if most_s > 10 else repeats
            seconds = common.seconds_of(lambda words=words: common.ledger(night.environment, *words), once)
            yield common.limited(f"{kind}: ledger {words[0]}, of {of}", seconds, "s", most_s)


def figures(repeats: int = 5, n_products: int = 100_000, only: str | None = None) -> Iterator[Figure]:
    """Measure on every database."""
    gc.set_threshold(OBJECTS)  # as the command does
    nothing = common.seconds_of(lambda: common.run(sys.executable, "-c", "pass"), repeats)
    yield Figure("python -c pass", f"{nothing:.2f} s")
    yield common.limited("ledger --help", common.seconds_of(lambda: common.ledger({}, "--help"), repeats), "s", 0.3)
    imports = "import ledger.query.history, ledger.config.model"
    seconds = common.seconds_of(lambda: common.run(sys.executable, "-c", imports), repeats)
    yield Figure("what ledger history imports", f"{seconds:.2f} s")
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
        for url in common.databases(Path(folder)):
            if only is None or url.startswith(only):
                yield from measure(url, n_products, repeats)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--only", help="sqlite or postgresql")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    common.show(figures(given.repeats, given.products, given.only))
    return 0


if __name__ == "__main__":
    sys.exit(main())
