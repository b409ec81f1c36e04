"""How long it takes to register raw files, in nights of up to 10^5, and in a ledger that has years behind it.

The cubes have one frame of 8 x 8 pixels each, which is the most that a logger can make of them. The baseline is to open
and read the same headers and txt, and nothing else, in one process.

    of a night      milliseconds for each file, of 1000, 10 000 and 100 000         budget 0.5 ms beyond the baseline
    again           milliseconds for each file, to see that nothing changed
    of a new night  milliseconds for each file, of 300 and 10 000, where 10^6 are known already: likewise

    python benchmarks/registering.py [--files N …] [--known N] [--new N …] [--only KIND]

PostgreSQL is measured where its server is installed (the extra `dev` brings one).
"""

import argparse
import gc
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import common
from common import Figure

from ledger.cli import OBJECTS
from ledger.db.models import Entry, File
from ledger.db.store import chunks, insert_many
from ledger.disk.nights import find_night
from ledger.night import record
from ledger.run.machine import Machine
from stages.fits.cards import BLOCK
from stages.instrument import Stream

FIRST_DATE = date(2026, 1, 2)
FIRST_US = 1_767_333_600_000_000  # 06:00 UT of it
DAY_US = 86_400_000_000
#: Between two cubes of a camera, so that 50 000 of each are taken in eight hours.
STEP_US = 600_000
OFFSET_US = 110
SIDE = 8
N_BLOCKS = 4
ROWS_AT_ONCE = 5000

CARDS = {
    "SIMPLE": "T",
    "BITPIX": "16",
    "NAXIS": "3",
    "NAXIS1": str(SIDE),
    "NAXIS2": str(SIDE),
    "NAXIS3": "1",
    "BSCALE": "1",
    "BZERO": "32768",
    "EXPTIME": "0.001",
    "EXTTRIG": "T",
    "U_FLCEN": "F",
    "U_TRIGJT": "0",
    "PRD-RNG2": "536",
    "RET-ANG1": "0.0",
    "U_FLCST": "'OUT     '",
    "U_DETMOD": "'FAST    '",
    "FILTER01": "'Open    '",
    "FILTER02": "'Open    '",
    "OBJECT": "'HD 34700'",
}
ROW = "%10d  %10d  %15s   %20s  %17s   %10d   %10d\n"


def write_night(folder: Path, streams: Sequence[Stream], n_files: int, start_us: int) -> list[Path]:
    """Write the cubes of a night, with a txt each, and return them; each has a header of its own."""
    n_cards = N_BLOCKS * BLOCK // 80
    cards = [f"{keyword:<8}= {value:>20}" for keyword, value in CARDS.items()]
    cards += [f"KEY{i:05d}= {i / 7:20.12f} / a number" for i in range(n_cards - len(cards) - 2)]
    header, end = "".join(f"{card:<80}" for card in cards).encode(), b"END".ljust(80)
    cubes = []
    for stream in streams:
        (folder / stream.name).mkdir(parents=True)
    for number in range(n_files):
        stream = streams[number % len(streams)]
        time_us = start_us + number // len(streams) * STEP_US + OFFSET_US * (stream.camera - 1)
        seconds, us = divmod(time_us % DAY_US, 1_000_000)
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{us:06d}000"
        cube = f"{folder}/{stream.name}/{stream.name}_{clock}"
        pixels = number.to_bytes(4, "big") * (SIDE * SIDE // 2)
        card = f"SERIAL  = {number:>20}".ljust(80).encode()
        with open(f"{cube}.fits", "wb") as file:  # noqa: PTH123  pathlib takes as long as the system
            file.write(b"".join((header, card, end, pixels, bytes(BLOCK - len(pixels)))))
        logged, acquired = f"{time_us / 1e6:.9f}", f"{time_us // 1_000_000}.{us:06d}"
        with open(f"{cube}.txt", "w") as file:  # noqa: PTH123
            file.write(ROW % (0, number, "0.000000000", logged, acquired, number, number))
        cubes.append(Path(f"{cube}.fits"))
    return cubes


def read(cubes: Sequence[Path]) -> None:
    """Read headers and txt."""
    for cube in cubes:
        name = str(cube)
        with open(name, "rb", buffering=0) as file:  # noqa: PTH123
            file.read(N_BLOCKS * BLOCK)
        with open(f"{name.removesuffix('.fits')}.txt", "rb", buffering=0) as file:  # noqa: PTH123
            file.read()


def row_of(night_id: int) -> File:
    """Return what the rows of raw files have in common."""
    return File(
        night_id=night_id,
        pipeline="archive",
        kind="raw",
        state="raw",
        identity="",
        folder="vcam1",
        name="",
        camera=1,
        n_frames=1,
        exposure_us=1000,
        size_bytes=(N_BLOCKS + 1) * BLOCK,
        mtime_ns=FIRST_US * 1000,
        timing_size_bytes=113,
        timing_mtime_ns=FIRST_US * 1000,
        cards=CARDS,
    )


def own_columns(number: int) -> dict[str, object]:
    """Return what they have not; hashes come in no order, as hashes do."""
    time_us = FIRST_US - number * STEP_US
    hashed = hashlib.sha256(str(number).encode()).hexdigest()
    return {
        "identity": hashed,
        "name": f"vcam1_{number:09d}.fits",
        "first_us": time_us,
        "last_us": time_us,
        "header_sha256": hashed,
        "timing_sha256": hashed,
    }


class Ledger:
    """A ledger of its own, and roots with nothing in them.

    Parameters
    ----------
    folder : Path
        For the roots.
    url : str
        Of an empty database.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.config, self.store = common.empty_ledger(folder, url)
        self.nights = 0

    def know(self, n_files: int) -> None:
        """Insert rows of raw files that are nowhere on disk, 100 000 of each night before."""
        for first in range(0, n_files, 100_000):
            day = f"{FIRST_DATE - timedelta(days=1 + first // 100_000):%Y%m%d}"
            night = record.ensure_night(self.store, "archive", self.config.archive.root, day)
            of_all = row_of(int(night.id or 0)).model_dump(exclude={"id"})
            numbers = range(first, min(first + 100_000, n_files))
            for some in chunks(numbers, ROWS_AT_ONCE):
                rows = [{**of_all, **own_columns(number)} for number in some]
                born = {"at_us": 0, "event": "registered", "destination": "raw", "detail": {}}
                entries = [{**born, **{key: row[key] for key in ("night_id", "identity", "name")}} for row in rows]
                with self.store.write() as session:
                    insert_many(session, Entry, entries)
                    insert_many(session, File, rows)

    def measure(self, n_files: int, among: str) -> Iterator[Figure]:
        """Measure a night of so many files that nobody has seen."""
        day = FIRST_DATE + timedelta(days=self.nights)
        start_us = FIRST_US + self.nights * DAY_US
        self.nights += 1
        folder = self.config.archive.root / f"{day:%Y%m%d}"
        cubes = write_night(folder, self.config.instrument.streams, n_files, start_us)
        read(cubes)
        bare_ms = _ms_of(lambda: read(cubes), n_files)
        machine = Machine(self.config, self.store)
        night = find_night(self.config, date=folder.name)
        registered = []
        each_ms = _ms_of(lambda: registered.append(machine.scan(night).registered), n_files)
        again_ms = _ms_of(lambda: registered.append(machine.scan(night).registered), n_files)
        if registered != [n_files, 0]:
            raise RuntimeError(f"registered {registered} files, expected {n_files}, and then none")
        most_ms = bare_ms + 0.5
        yield Figure(
            f"{self.store.engine.dialect.name}: {n_files} new raw files{among}",
            f"{each_ms:.3f} ms each",
            f"reading their headers and txt, {bare_ms:.3f} ms",
            f"{bare_ms / each_ms:.2f} x",
            f"<= {most_ms:.3f} ms",
            each_ms <= most_ms if n_files >= 1000 else None,  # of fewer, the start of workers is most of it
        )
        yield Figure(f"{self.store.engine.dialect.name}: the same again", f"{again_ms:.3f} ms each")


def _ms_of(call: Callable[[], object], n_files: int) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000 / n_files


def figures(
    n_files: Sequence[int] = (1000, 10_000, 100_000),
    n_known: int = 1_000_000,
    n_new: Sequence[int] = (300, 10_000),
    only: str | None = None,
) -> Iterator[Figure]:
    """Measure on every database."""
    gc.set_threshold(OBJECTS)  # as the command does
    with tempfile.TemporaryDirectory(prefix="ledger-") as databases:
        for url in common.databases(Path(databases)):
            if only is not None and not url.startswith(only):
                continue
            with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
                ledger = Ledger(Path(folder), url)
                for n in n_files:
                    yield from ledger.measure(n, "")
                ledger.know(n_known)
                for n in n_new:
                    yield from ledger.measure(n, f", {n_known} known before")
                ledger.store.close()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="*", default=[1000, 10_000, 100_000], help="of nights")
    parser.add_argument("--known", type=int, default=1_000_000, help="raw files of other nights")
    parser.add_argument("--new", type=int, nargs="*", default=[300, 10_000], help="of nights after them")
    parser.add_argument("--only", help="sqlite or postgresql")
    given = parser.parse_args()
    common.show(figures(given.files, given.known, given.new, given.only))


if __name__ == "__main__":
    main()
