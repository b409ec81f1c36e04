"""Every benchmark can be run, and more cells of docs/accuracy.md are measured again: run by `make bench`."""

import subprocess
import sys

import pytest

from tests.benchmarks.test_benchmarks import CHECKOUT, accuracy, cells
from tests.tools import need


@pytest.mark.parametrize("place", range(0, 540, 45))
def test_a_cell_measured_again(place):
    """A sample; random numbers need not be the same with every version of numpy."""
    documented = cells()[place]
    measured = vars(accuracy.measure(list(accuracy.grid(8000))[place]))
    assert measured["lost"] == measured["mislabelled"] == 0
    for column in ("frames", "mispaired", "missed", "dubious", "unavoidable"):
        assert abs(measured[column] - documented[column]) <= 0.01 * documented["frames"], column


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
        ("growth", ["--products", "20", "--only", "sqlite"], "a backup of them"),
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
