"""What README.md and the pages in docs/ say is so: commands run, queries run, links lead somewhere."""

import os
import re
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_group
from typer.testing import CliRunner

import ledger.cli  # noqa: F401  registers the commands
from ledger.cli.common import app
from ledger.config.read import packaged_config, read_config
from ledger.config.stages import load_stages
from ledger.config.urls import parse_url
from ledger.db.connection import query
from tests.acceptance.pages import CHECKOUT, PAGES, blocks, in_a_shell, label, prose
from tests.processes import run_command
from tests.world import World

on_every_page = pytest.mark.parametrize("page", PAGES, ids=label)
GROUPS = {key: group.commands for key, group in get_group(app).commands.items() if hasattr(group, "commands")}
COMMANDS = sorted({*get_group(app).commands} - {*GROUPS} | {f"{a} {b}" for a, group in GROUPS.items() for b in group})

#: Code within a line.
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


# what is run


def test_the_commands_of_the_readme_work_in_order_in_a_fresh_folder(tmp_path: Path) -> None:
    """The first by the script that is installed, as a shell finds it; the others are forked."""
    scripts = Path(sys.executable).parent
    assert (scripts / "ledger").is_file()
    environment = {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path / "home")}
    folder = tmp_path / "fresh"
    folder.mkdir()
    lines = [
        line
        for page in ("README.md", "docs/operating.md")
        for before, language, text in blocks(CHECKOUT / page)
        if before == "<!-- run -->" and language == "console"
        for line in text.splitlines()
    ]
    assert len(lines) > 10
    assert lines[0].startswith("$ ledger ")
    for number, line in enumerate(lines):
        assert line.startswith("$ "), line
        words = shlex.split(line.removeprefix("$ "))
        if number and words[0] == "ledger":
            assert not set("|&;<>()$`*?[]~#\\") & set(line.removeprefix("$ ")), "words for a shell"
            done = run_command(words[1:], folder, environment)
        else:
            done = in_a_shell(line.removeprefix("$ "), folder, environment)
        assert done.returncode == 0, (line, done.stdout, done.stderr)


def test_the_queries_of_the_page_on_tables_work(world: World) -> None:
    world.simulate(scale=0.02)
    assert world.advance().succeeded
    found = [(before, text) for before, language, text in blocks(CHECKOUT / "docs/tables.md") if language == "sql"]
    assert len(found) >= 8
    for before, text in found:
        columns, rows = query(parse_url(world.url), text)
        assert columns, text
        assert bool(rows) is (before != "<!-- empty -->"), text


def test_the_page_on_tables_names_every_table_and_view_and_no_column_that_is_not_there(sqlite_world: World) -> None:
    names = {
        name: {row[1] for row in sqlite_world.query(f"PRAGMA table_info({name})")}
        for (name,) in sqlite_world.query("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        if name != "alembic_version" and not name.startswith("sqlite_")
    }
    described = set()
    for line in re.findall(r"^\| `.*$", prose(CHECKOUT / "docs/tables.md"), re.MULTILINE):
        subjects, *_, columns = line.strip("| ").split(" | ")
        described |= set(SPAN.findall(subjects))
        # values stand in brackets, or are states; what else is code is a column
        named = set(SPAN.findall(re.sub(r"\([^)]*\)|`\[[^`]*\]`", "", columns))) - {"synced"}
        assert named <= set().union(*(names[name] for name in SPAN.findall(subjects))), line
    assert described == set(names)


# what is configured


def keys(block: dict[str, Any], path: str = "") -> dict[str, object]:
    """Return the values of a configuration by their dotted paths."""
    found: dict[str, object] = {}
    for key, value in block.items():
        found |= keys(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return found


def test_the_page_on_configuration_names_every_key_with_its_default() -> None:
    declaring = re.compile(r"states\.\w+(\.(stage|scope|forward|reverse|makes_products|requires)|\.parameters)?")
    given = keys(yaml.safe_load((CHECKOUT / "config.yaml").read_text()))
    expected = {path: value for path, value in given.items() if not declaring.fullmatch(path) and value != {}}
    rows = re.findall(r"^\| `([\w.]+)` \| `(.*?)` \|", prose(CHECKOUT / "docs/configuration.md"), re.MULTILINE)
    assert {path: yaml.safe_load(default) for path, default in rows} == expected


@pytest.mark.parametrize("page", ["docs/operating.md", "docs/configuration.md"])
def test_variables_that_are_mentioned_override_the_configuration(page: str) -> None:
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    found = dict(shlex.split(match)[0].split("=", 1) for match in re.findall(r"LEDGER_[A-Z_]+=[^`\n]*", text))
    assert found
    before = keys(yaml.safe_load(packaged_config().read_text()))
    after = read_config(packaged_config(), environment=found).model_dump(mode="json")
    load_stages(read_config(packaged_config(), environment=found))
    for name in found:
        path = name.removeprefix("LEDGER_").lower().replace("__", ".")
        assert keys(after)[path] != before[path], name


# what is mentioned


@cache
def help_of(command: str) -> str:
    """Return what `ledger COMMAND --help` prints."""
    done = CliRunner().invoke(app, [*command.split(), "--help"], terminal_width=200)
    assert done.exit_code == 0, (command, done.output)
    return done.output


def mentions(page: Path) -> list[list[str]]:
    """Return the words after every `ledger` in spans of code, and in blocks that are no Python or SQL."""
    code = SPAN.findall(prose(page))
    for _, language, text in blocks(page):
        if language not in ("python", "sql"):
            code += text.splitlines()
    found = [match for line in code if (match := re.search(r"(?:^|[\s/=])ledger (.+)", line))]
    return [shlex.split(match[1], comments=True) for match in found]


def test_mentions_are_found() -> None:
    found = [words[0] for page in PAGES for words in mentions(page)]
    assert {"advance", "rollback", "catch-up", "sql", "init"} <= set(found)
    assert len(found) > 30


@on_every_page
def test_commands_and_options_that_are_mentioned_exist(page: Path) -> None:
    for words in mentions(page):
        command, *others = words[2:] if words[0] == "--config" else words
        if command in GROUPS and others:  # by itself a group is mentioned as a whole
            command = f"{command} {others.pop(0)}"
        assert command in {*COMMANDS, *GROUPS}, words
        options = {word.partition("=")[0] for word in others if word.startswith("--")}
        assert options <= set(re.findall(r"(?<![\w-])--[a-z-]+", help_of(command))), words


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_an_example(command: str) -> None:
    example = help_of(command).partition("Example")[2]
    assert re.search(rf"ledger (--config \S+ )?{command}\b", example)


# what is linked


@on_every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert CHECKOUT in target.resolve().parents, link
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}, link


@on_every_page
def test_files_of_the_project_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"`((?:ledger|stages|migrations|tests|docs)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (CHECKOUT / name).exists()] == []
