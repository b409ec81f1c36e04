"""What the tutorial and the how-tos show is so: the commands of each page work, in order, from where it begins.

Comments in a page, which no reader sees, say what is done with the block below them:

- ``given: …``: what there is in the beginning; by default nothing, in an empty folder.
- ``run``, ``run: 1``: commands, each of which exits with 0, or with the status that is named.
- ``prints``: lines of what the last command printed, from the first to the last; ``…`` stands for any text.
- ``set``: what is changed in the configuration; only where something is given.
- ``unseen: COMMAND``: what happens to whoever reads the page.
"""

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from textwrap import dedent
from typing import Any

import pytest
import yaml

from tests.acceptance.pages import DOCS, in_a_shell, label
from tests.inside import call
from tests.processes import run_command
from tests.world import World

GUIDES = sorted([*(DOCS / "tutorial").glob("*.md"), *(DOCS / "how-to").glob("*.md"), DOCS / "from-the-old-chain.md"])
STEP = re.compile(r"^( *)<!-- (\w+)(?:: ([^\n]*))? -->\n(?:\1```\w+\n(.*?)^\1```$)?", re.MULTILINE | re.DOTALL)


def small(world: World, *dates: str) -> None:
    for seed, date in enumerate(dates or ("20260102",)):
        world.simulate(date, seed=seed, scale=0.02, scenario=("pdi",))


def finished(world: World) -> None:
    small(world)
    world.bring()


def finished_and_raw(world: World) -> None:
    finished(world)
    world.simulate("20260103", seed=1, scale=0.02, scenario=("pdi",))


GIVEN: dict[str, Callable[[World], None]] = {
    "a raw night": small,
    "a raw night with faults": lambda world: world.simulate(scale=0.02) and None,
    "a finished night": finished,
    "a finished night and a raw one": finished_and_raw,
    "three raw nights": lambda world: small(world, "20260102", "20260103", "20260104"),
}


def steps(page: Path) -> Iterator[tuple[str, str, str]]:
    for match in STEP.finditer(page.read_text(encoding="utf-8")):
        yield match[2], match[3] or "", dedent(match[4] or "")


def merged(block: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(block.get(key), dict):
            merged(block[key], value)
        else:
            block[key] = value


def lines_of(text: str) -> str:
    """Return the regular expression of lines that are shown: blanks are of any number, and ``…`` is any text."""
    parts = [re.sub(r"(\\ )+", r"\\s+", re.escape(line.strip())) for line in text.splitlines()]
    return r"\s*\n\s*".join(part.replace("…", "(?s:.*?)") for part in parts)


def follow(page: Path, folder: Path, run: Callable[[list[str]], CompletedProcess[str]], data: dict[str, Any]) -> None:
    """Do what a page says, and compare what it shows."""
    scripts = Path(sys.executable).parent
    environment = {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
    printed = ""
    for what, option, text in steps(page):
        if what in ("run", "unseen"):
            for shown in [option] if what == "unseen" else text.splitlines():
                line = shown.removeprefix("$ ")
                is_ours = line.startswith("ledger ") and "$(" not in line
                done = run(shlex.split(line)[1:]) if is_ours else in_a_shell(line, folder, environment)
                printed = done.stdout + done.stderr
                expected = int(option) if what == "run" and option else 0
                assert done.returncode == expected, (line, printed)
        elif what == "prints":
            assert re.search(lines_of(text), printed), (text, printed)
        elif what == "set":
            merged(data, yaml.safe_load(text))
        else:
            assert what == "given", what


def given(page: Path) -> str | None:
    return next((option for what, option, _ in steps(page) if what == "given"), None)


@pytest.mark.parametrize("page", [page for page in GUIDES if given(page)], ids=label)
def test_the_commands_of_a_guide_work(page: Path, sqlite_world: World) -> None:
    world = sqlite_world
    GIVEN[given(page) or ""](world)
    follow(page, world.folder, lambda words: call(world, *words), world.data)


@pytest.mark.parametrize("page", [page for page in GUIDES if not given(page)], ids=label)
def test_the_commands_of_a_guide_work_in_an_empty_folder(page: Path, tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "LEDGER_ENGINE__EXECUTOR": "inline"}
    follow(page, tmp_path, lambda words: run_command(words, tmp_path, environment), {})
