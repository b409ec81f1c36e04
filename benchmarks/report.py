"""Measures everything, prints it, and writes it into docs/performance.md, with the machine that it was measured on.

    python benchmarks/report.py [--only PART …] [--no-write]

It takes about half an hour, and wants a machine that does nothing else.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import bookkeeping
import common
import compressing
import growth
import headers
import moving
import night
import numbering
import registering
import syncing
from common import Figure

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURE = DOCS / "performance.md", DOCS / "performance-night.svg"


def alone(measure: Callable[[], Iterator[Figure]]) -> list[Figure]:
    """Measure in a process of its own: what another benchmark left in memory slows nobody."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(every, measure).result()


def every(measure: Callable[[], Iterator[Figure]]) -> list[Figure]:
    """Measure all of it."""
    return list(measure())


def stages() -> Iterator[Figure]:
    """Measure each stage on one core."""
    for benchmark in (moving, headers, compressing, syncing):
        yield from alone(benchmark.figures)


def whole_night() -> Iterator[Figure]:
    """Measure a night, and draw how it scales."""
    try:
        import matplotlib.figure  # noqa: F401, PLC0415  of the extra `report`
    except ImportError:
        print("matplotlib is not installed: no picture is drawn (pip install '.[report]')")
        return night.figures()
    return night.figures(picture=PICTURE)


def database() -> Iterator[Figure]:
    """Measure what the ledger itself costs."""
    yield from bookkeeping.figures()
    yield from numbering.figures()


PARTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "stages": stages,
    "night": whole_night,
    "registering": registering.figures,
    "database": database,
    "growth": growth.figures,
}


def write(name: str, content: str) -> None:
    """Put something between its marks on the page."""
    text = PAGE.read_text()
    before, mark, behind = text.partition(f"<!-- {name} -->\n")
    if not mark:
        raise ValueError(f"{PAGE} has no mark for {name!r}")
    PAGE.write_text(f"{before}{mark}{content}\n<!-- end -->{behind.partition('<!-- end -->')[2]}")


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--no-write", action="store_true", help="leave docs/performance.md alone")
    given = parser.parse_args()
    facts = "; ".join(f"{name}: {value}" for name, value in common.machine().items())
    print(facts)
    for name in given.only:
        figures = common.show(PARTS[name]())
        if not given.no_write:
            write(name, f"{common.markdown(figures)}\n\n{facts}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
