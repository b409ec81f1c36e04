"""The pages of README.md and docs/, and the blocks of code in them."""

import os
import re
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"
#: All that somebody wrote: what is made when they are built lies in folders whose names begin with an underscore.
PAGES = [
    CHECKOUT / "README.md",
    *(path for path in sorted(DOCS.rglob("*.md")) if not path.relative_to(DOCS).parts[0].startswith("_")),
]

#: A fenced block: the line before it, its language, what is in it.
BLOCK = re.compile(r"^([^\n]*)\n```([\w{}-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def label(page: Path) -> str:
    """Return the path of a page in the checkout."""
    return page.relative_to(CHECKOUT).as_posix()


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Return the line before each fenced block, its language, and what is in it."""
    return [(match[1], match[2], match[3]) for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def in_a_shell(line: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody types it."""
    return subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
