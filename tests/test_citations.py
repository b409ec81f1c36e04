"""What code and documents cite is in the repository."""

import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]

#: A section of the design, cited by the name of its heading; a second one may follow.
CITATION = re.compile(r"docs/design\.md, ([A-Z][^.()\n`:;]*)")


def sources() -> list[Path]:
    folders = ("ledger", "stages", "migrations", "tests", "benchmarks")
    return [path for folder in folders for path in (CHECKOUT / folder).rglob("*.py") if path != Path(__file__)]


def test_every_section_that_is_cited_is_in_the_design() -> None:
    design = (CHECKOUT / "docs/design.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^## \d+\. (.+)$", design, re.MULTILINE))
    cited = {}
    for path in sources():
        text = re.sub(r"\n\s*(#:? )?", " ", path.read_text(encoding="utf-8"))
        for words in CITATION.findall(text):
            names = (words.strip(), *words.strip().split(" and ", 1))
            known = [name for name in names if any(name == h or name.startswith(f"{h},") for h in headings)]
            cited[f"{path.relative_to(CHECKOUT)}: {words}"] = bool(known)
    assert len(cited) > 40
    assert [where for where, is_there in cited.items() if not is_there] == []
