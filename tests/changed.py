"""The tests of what changed since a branch or commit: `python -m tests.changed BASE [OPTION …]`, run by `make check`.

A test file lies in the folder of the room that it proves, so a module's tests are those of its name, or of its room.
On SQLite alone, unless a change is one of the database's own.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
TESTS = CHECKOUT / "tests"
#: What pages say, and that they can be built.
ACCEPTANCE_OF_PAGES = [f"tests/acceptance/test_{name}.py" for name in ("docs", "guides", "readme")]
#: What else is proven elsewhere than in a folder of its name, by the beginning of its path.
ELSEWHERE = {
    "docs": ["tests/test_citations.py", "tests/test_drawings.py", *ACCEPTANCE_OF_PAGES],
    "README.md": ACCEPTANCE_OF_PAGES,
    "migrations": ["tests/migrations", "tests/ledger/db"],
    "config.yaml": ["tests/ledger/config"],
    "pyproject.toml": ["tests/test_imports.py"],
    "benchmarks": ["tests/benchmarks"],
}
#: Where both databases matter whatever the change is.
OF_DATABASES = ("migrations", "ledger/db", "ledger/night", "ledger/audit/queries")


def changed(base: str) -> list[str]:
    """Return the names of files that are new, or other than where this branch left `base`."""

    def names(*command: str) -> list[str]:
        return subprocess.run(
            ["git", *command], cwd=CHECKOUT, capture_output=True, text=True, check=True
        ).stdout.split()

    (fork,) = names("merge-base", base, "HEAD")
    return sorted({*names("diff", "--name-only", fork), *names("ls-files", "--others", "--exclude-standard")})


def tests_of(name: str) -> Iterator[Path]:
    """Yield the files and folders whose tests prove what is in a file."""
    path = Path(name)
    if name.startswith("tests/"):
        if path.name.startswith("test_"):
            yield CHECKOUT / path
    elif path.parts[0] in ("ledger", "stages"):
        folder = TESTS / path.parent
        named = sorted(folder.glob(f"test_*{path.stem.strip('_')}*.py"))
        yield from named or [folder if len(path.parts) > 2 or path.parts[0] == "stages" else folder / "cli"]
        yield TESTS / "test_citations.py"
    else:
        yield from (CHECKOUT / test for test in ELSEWHERE.get(path.parts[0], []))


def main(base: str, *options: str) -> int:
    """Run them."""
    names = changed(base)
    chosen = sorted({str(test) for name in names for test in tests_of(name) if test.exists()})
    if not chosen:
        print(f"nothing that tests prove changed since {base}")  # noqa: T201
        return 0
    both = any(name.startswith(OF_DATABASES) for name in names)
    only = [] if both else ["-k", "not postgresql"]
    return pytest.main(["-q", "-n", "auto", "--dist", "worksteal", *only, *options, *chosen])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
