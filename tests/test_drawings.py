"""The drawings of docs/architecture.md are those of the code and the configuration."""

import importlib.util
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_drawings_are_true() -> None:
    spec = importlib.util.spec_from_file_location("drawings", DOCS / "drawings.py")
    assert spec is not None
    assert spec.loader is not None
    drawings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawings)
    page = drawings.PAGE.read_text(encoding="utf-8")
    assert drawings.draw(page) == page, f"run {Path(sys.executable).name} docs/drawings.py"
