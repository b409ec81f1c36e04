"""What docs/accuracy.md says of pairing and FLC states is so; more of it in measured.py."""

import csv
import importlib.util
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("place", range(0, 540, 180))
def test_a_cell_measured_again(place):
    """A small sample; random numbers need not be the same with every version of numpy."""
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


@pytest.mark.parametrize("path", sorted((CHECKOUT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_it_can_be_read(path, monkeypatch):
    """That each can be run is tried by `make bench` (measured.py), as it takes long."""
    monkeypatch.syspath_prepend(CHECKOUT / "benchmarks")
    load(path.stem)


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
