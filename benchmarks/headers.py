"""How fast headers are rewritten and read, against astropy on the same files in the same run.

fixed           the header of a product rewritten in place, synced, against astropy's mode="update",
                which changes as many cards, synced                                              budget 20 x
header table    60 keywords of each file, against astropy's getheader                            budget 20 x

python benchmarks/headers.py [--files N] [--repeats N]
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import common
from astropy.io import fits
from common import Figure

from ledger.cli._header_files import write_csv
from ledger.disk import durable
from ledger.query.headers import HeaderTable, Source
from ledger.simulation.night import simulate_night
from stages import fixed
from stages.base import Job
from stages.fits.cards import read_header
from stages.fits.header import HeaderRules, build_header
from stages.instrument import Instrument, Stream
from stages.product import Part, Product, Raw

N_UPDATED = 250
N_COLUMNS = 60


def products(folder: Path, n_files: int) -> tuple[Job, list[Product]]:
    """Write products as they are before `fixed`, out of one raw file of a simulated night."""
    simulate_night(folder, "20260102", scenario=("onecamera",), scale=0.02)
    raw_path = min((folder / "20260102" / "vcam1").glob("*.fits"))
    info = raw_path.stat()
    cards = {"EXPTIME": 0.0015}
    raw = Raw(
        raw_path,
        raw_path.with_suffix(".txt"),
        "0" * 64,
        1,
        8,
        info.st_size,
        info.st_mtime_ns,
        10**15,
        10**15,
        1500,
        cards,
    )
    instrument = Instrument("VAMPIRES", (Stream("vcam1", 1), Stream("vcam2", 2)))
    made = folder / "vgen2"
    made.mkdir()
    found = []
    for number in range(n_files):
        name = f"product{number}"
        product = Product(
            "0" * 64,
            name,
            1,
            "A",
            False,
            0,
            (Part(raw, ((0, 1, 8),)),),
            (),
            10**15,
            10**15 + 10**6,
            1500,
            files=(f"{name}.fits", f"{name}.txt"),
        )
        header, _ = build_header(read_header(raw_path), product, instrument, "consolidated", HeaderRules())
        (made / f"{name}.fits").write_bytes(header + bytes(2880 * 6))
        found.append(product)
    return Job(folder / "20260102", "20260102", made, instrument), found


def rewrite(job: Job, made: list[Product]) -> None:
    """Rewrite headers as stage and machine do: each file is synced, and their folder once."""
    outcomes = [fixed.forward(job=replace(job, products=(product,)), params=HeaderRules()) for product in made]
    if any(durable.put_all_in_place(outcomes)):
        raise RuntimeError("a header could not be written")


def by_astropy(path: Path, header: fits.Header) -> None:
    """Rewrite a header in the plain way."""
    with fits.open(path, mode="update", memmap=False) as hdus:
        for keyword in list(header)[10 : 10 + N_UPDATED]:
            hdus[0].header[keyword] = header[keyword]
        hdus[0].header["OBJECT"] = "changed"
    common.sync(path)


def table(paths: list[Path], keywords: list[str]) -> None:
    """Write a table of headers, as `ledger headers -k …` does."""
    with HeaderTable(keywords) as made, Path(os.devnull).open("w", encoding="ascii") as file:
        for path in paths:
            made.add(Source(path))
        made.finish()
        write_csv(made, file)


def figures(repeats: int = 5, n_files: int = 50) -> Iterator[Figure]:
    """Measure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job, made = products(folder, n_files)
        paths = [job.folder / product.files[0] for product in made]
        copies = [Path(shutil.copy(path, path.with_suffix(".copy"))) for path in paths]
        header = fits.getheader(paths[0])
        for keyword in ("EXTEND", "CHECKSUM", "DATASUM"):
            header.remove(keyword, ignore_missing=True)
        seconds = common.taking_turns(
            {
                "ours": lambda: rewrite(job, made),
                "astropy": lambda: [by_astropy(path, header) for path in copies],
            },
            repeats,
        )
        rates = {way: n_files / median for way, median in seconds.items()}
        baseline = f"astropy mode='update', {rates['astropy']:.0f} files/s"
        yield common.compared("fixed", f"{rates['ours']:.0f} files/s", baseline, rates["ours"] / rates["astropy"], 20)

        keywords = [k for k in header if k not in ("", "COMMENT", "HISTORY")][:N_COLUMNS]
        seconds = common.taking_turns(
            {
                "ours": lambda: table(paths, keywords),
                "astropy": lambda: [[h[k] for k in keywords] for h in map(fits.getheader, paths)],
            },
            repeats,
        )
        rates = {way: n_files / median for way, median in seconds.items()}
        baseline = f"astropy getheader, {rates['astropy']:.0f} files/s"
        ratio = rates["ours"] / rates["astropy"]
        yield common.compared(f"header table, {N_COLUMNS} columns", f"{rates['ours']:.0f} files/s", baseline, ratio, 20)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    common.show(figures(arguments.repeats, arguments.files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
