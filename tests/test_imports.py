"""The import rule of pyproject.toml holds, and a breach of any of its contracts is found.

On a copy, so that the checkout keeps neither a breach nor the tool's cache.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]

#: A module and the import that it must not have: one for each contract, in the order of pyproject.toml.
BREACHES = [
    ("ledger/db/store.py", "import ledger.run.machine"),
    ("stages/fits/timing.py", "import stages.transport.proof"),
    ("ledger/night/lease.py", "import ledger.night.journal"),
    ("stages/pairing/flc.py", "import sqlmodel"),
    ("ledger/cli/status.py", "import sqlalchemy"),
    ("ledger/db/schema.py", "import transitions"),
    ("ledger/query/history.py", "import ledger.db.readonly"),
    ("ledger/cli/doctor.py", "import ledger.audit._deep_tasks"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for package in ("ledger", "stages"):
        shutil.copytree(CHECKOUT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    return tmp_path


def verdicts(tree: Path) -> tuple[int, list[str]]:
    """Return the exit status of `lint-imports`, and its verdict on each contract, in order."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "", "COLUMNS": "200"},
    )
    found = re.findall(r" (KEPT|BROKEN)\b", done.stdout)
    assert found, done.stdout + done.stderr
    return done.returncode, found


def test_the_rule_holds(tree: Path) -> None:
    assert verdicts(tree) == (0, ["KEPT"] * len(BREACHES))


def test_a_breach_of_each_contract_is_found(tree: Path) -> None:
    for module, line in BREACHES:
        path = tree / module
        path.write_text(f"{path.read_text()}\n{line}\n")
    status, found = verdicts(tree)
    assert status == 1
    assert found[: len(BREACHES)] == ["BROKEN"] * len(BREACHES)


def test_one_breach_is_enough(tree: Path) -> None:
    module, line = BREACHES[1]
    path = tree / module
    path.write_text(f"{path.read_text()}\n{line}\n")
    status, found = verdicts(tree)
    assert status == 1
    assert found[: len(BREACHES)] == ["KEPT", "BROKEN", *["KEPT"] * (len(BREACHES) - 2)]


def test_what_takes_long_to_import_is_left_out_where_nothing_needs_it() -> None:
    heavy = ("astropy", "alembic", "imagecodecs")
    imports = "import sys, ledger.query.history, ledger.run.machine"
    check = f"{imports}; sys.exit(str(sorted(sys.modules.keys() & {set(heavy)!r})))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
