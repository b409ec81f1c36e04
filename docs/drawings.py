"""Draws the rooms and the states into docs/architecture.md: from the imports of the code, and from config.yaml.

``python docs/drawings.py`` writes them; a test compares them with what is there.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import grimp

from ledger.config.read import read_config
from ledger.night.pipeline import DIRECTIONS, Pipeline

PAGE = Path(__file__).with_name("architecture.md")
CONFIG = Path(__file__).parents[1] / "config.yaml"


def rooms() -> str:
    """Return the rooms as a Mermaid flowchart: an arrow is an import, those that follow from others are left out."""
    graph = grimp.build_graph("ledger", "stages")
    names = [*sorted(graph.find_children("ledger")), "stages"]
    edges = {
        (a, b)
        for a in names
        for b in names
        if a != b and graph.direct_import_exists(importer=a, imported=b, as_packages=True)
    }
    needed = [(a, b) for a, b in sorted(edges) if b not in _reached(a, edges - {(a, b)})]
    lines = [f"    {_short(a)} --> {_short(b)}" for a, b in needed]
    return _block("flowchart TD", lines)


def states() -> str:
    """Return the states of the pipeline that has most of them, as a Mermaid state diagram."""
    config = read_config(CONFIG, {})
    pipeline = max((Pipeline(name, config) for name in config.pipelines), key=lambda p: len(p.states))
    lines = [f"    [*] --> {pipeline.states[0]}"]
    for direction in DIRECTIONS:
        lines += [f"    {s.source(direction)} --> {s.target(direction)}: {s.verb(direction)}" for s in pipeline.steps]
    return _block("stateDiagram-v2", ["    direction LR", *lines])


def draw(page: str) -> str:
    """Return the page with both drawings as the code and the configuration have them now."""
    for name, drawing in (("rooms", rooms()), ("states", states())):
        pattern = rf"(<!-- {name} -->\n)(?:.*?\n)??(<!-- end -->)"
        page, n = re.subn(pattern, lambda m, new=drawing: m[1] + new + "\n" + m[2], page, flags=re.DOTALL)
        if n != 1:
            raise ValueError(f"{PAGE.name}: expected one place for the drawing {name!r}, found {n}")
    return page


def _block(kind: str, lines: Iterable[str]) -> str:
    return "\n".join(["```mermaid", kind, *lines, "```"])


def _reached(start: str, edges: set[tuple[str, str]]) -> set[str]:
    reached: set[str] = set()
    ahead = [start]
    while ahead:
        here = ahead.pop()
        new = {b for a, b in edges if a == here} - reached
        reached |= new
        ahead += new
    return reached


def _short(name: str) -> str:
    return name.removeprefix("ledger.")


if __name__ == "__main__":
    PAGE.write_text(draw(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
