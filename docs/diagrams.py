"""Shows the Mermaid diagrams of the pages as tables of their arrows, so that a built page needs no script from outside.

Of Mermaid it knows what docs/drawings.py writes: arrows ``a --> b``, with a label or without.
"""

import re
from typing import ClassVar

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

_ARROW = re.compile(r"(\S+) --> ([^:\s]+)(?:: (.+))?")
_OTHERS = re.compile(r"flowchart TD|stateDiagram-v2|direction LR|\[\*\] --> .*")


def as_table(text: str) -> str:
    """Return the arrows of a diagram as a table: one row for each node and label that arrows go out from.

    Raises
    ------
    ValueError
        If a line is not known.
    """
    targets: dict[tuple[str, str], list[str]] = {}
    for line in map(str.strip, text.strip().splitlines()):
        if match := _ARROW.fullmatch(line) if not _OTHERS.fullmatch(line) else None:
            targets.setdefault((match[1], match[3] or ""), []).append(f"`{match[2]}`")
        elif not _OTHERS.fullmatch(line):
            raise ValueError(f"{line!r}: expected a --> b, or a --> b: label")
    rows = [f"| `{source}` | {label} → {', '.join(names)} |" for (source, label), names in targets.items()]
    return "\n".join(["| from | to |", "|---|---|", *rows])


class Mermaid(SphinxDirective):
    """A diagram."""

    has_content: ClassVar[bool] = True

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        return self.parse_text_to_nodes(as_table("\n".join(self.content)))
