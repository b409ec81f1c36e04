"""What docs/accuracy.md says of pairing and FLC states is so, and every benchmark can be run."""

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools import need

CHECKOUT = Path(__file__).parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", CHECKOUT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


accuracy = load("accuracy")


def cells():
    with (CHECKOUT / "docs" / "accuracy.tsv").open(newline="") as lines:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(lines, delimiter="\t")]


def test_the_page_has_every_cell_of_the_grid():
    keys = [(c["block"], c["drop"], c["rate_hz"], c["jitter_us"], c["offset"]) for c in cells()]
    assert keys == [(c.block, c.drop, c.rate_hz, c.jitter_us, c.offset) for c in accuracy.grid(8000)]


def test_the_page_claims_no_more_than_its_cells_show():
    for cell in cells():
        assert cell["lost"] == cell["mislabelled"] == 0, cell
        if cell["block"] >= 8:
            assert cell["mispaired"] == 0, cell
            assert cell["dubious"] <= 1.01 * cell["unavoidable"], cell
        if cell["block"] > 2 and cell["drop"] == 0:
            assert cell["missed"] == cell["mispaired"] == 0, cell


@pytest.mark.parametrize("place", range(0, 540, 45))
def test_a_cell_measured_again(place):
    """A sample; random numbers need not be the same with every version of numpy."""
    documented = cells()[place]
    measured = vars(accuracy.measure(list(accuracy.grid(8000))[place]))
    assert measured["lost"] == measured["mislabelled"] == 0
    for column in ("frames", "mispaired", "missed", "dubious", "unavoidable"):
        assert abs(measured[column] - documented[column]) <= 0.01 * documented["frames"], column


def test_what_nothing_could_label():
    """Of four triggers A B A B, camera 2 lacks the second, and camera 1 has the last twice."""
    blocks = accuracy.Blocks(
        trains=[],
        triggers=[accuracy.np.array([1, 2, 3, 4, 4]), accuracy.np.array([1, 3, 4])],
        flc=accuracy.np.array([0, 1, -1, 1, -1]),
        block=accuracy.np.zeros(5, int),
    )
    assert accuracy.unavoidable(blocks) == 2 + 1 + 1


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("accuracy", ["--triggers", "1"], "| block |"),
        ("syncing", ["--rows", "1", "--triggers", "2000"], ">= 10 x"),
        ("compressing", ["--frames", "2", "--repeats", "1"], ">= 1.5 x"),
        ("headers", ["--files", "2", "--repeats", "1"], ">= 20 x"),
        ("moving", ["--frames", "10", "--long", "20", "--repeats", "1"], "<= 300 MiB"),
        ("registering", ["--files", "20", "--known", "100", "--new", "10", "--only", "sqlite"], "100 known before"),
        ("numbering", ["--ids", "20", "--nights", "2"], "<= 5 s"),
        ("bookkeeping", ["--products", "20", "--only", "sqlite", "--repeats", "1"], "<= 0.5 ms each"),
    ],
)
def test_the_command_runs(name, options, said):
    need("fpack", "rsync")
    done = subprocess.run(
        [sys.executable, CHECKOUT / "benchmarks" / f"{name}.py", *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def test_a_night_is_measured_and_drawn(tmp_path):
    need("fpack")
    picture = tmp_path / "night.svg"
    options = ["--scale", "0.02", "--size", "16", "16", "--repeats", "1", "--workers", "1", "--plot", picture]
    command = [sys.executable, CHECKOUT / "benchmarks" / "night.py", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "<= 0.6 x" in done.stdout
    assert "night with 1 worker" in done.stdout
    assert picture.read_text().startswith("<?xml")


def test_figures_take_their_places_on_the_page(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(CHECKOUT / "benchmarks")
    report = load("report")
    page = tmp_path / "performance.md"
    page.write_text(report.PAGE.read_text())
    monkeypatch.setattr(report, "PAGE", page)
    for name in report.PARTS:
        report.write(name, f"figures of {name}")
    text = page.read_text()
    for name in report.PARTS:
        assert f"<!-- {name} -->\nfigures of {name}\n<!-- end -->" in text
    with pytest.raises(ValueError, match="no mark"):
        report.write("nothing", "")
