"""The pages are built without a warning, have every command and key in them, and ask for nothing outside."""

import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from typer.main import get_group
from typer.testing import CliRunner

from ledger.cli.common import app
from ledger.cli.groups import GROUPS
from stages import synced
from tests.acceptance.pages import CHECKOUT, DOCS, prose


def script(name: str) -> ModuleType:
    """Return a script of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


generate = script("generate")


class Page(HTMLParser):
    """What a page has a browser load by itself, and where it leads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.anchors.add(given.get("id", ""))
        if tag == "a":
            self.links.append(given.get("href", ""))
        else:
            self.loaded += [given[key] for key in ("src", "href", "srcset", "data", "action") if key in given]


def test_the_pages_are_built_whole_and_ask_for_nothing_outside(tmp_path: Path) -> None:
    command = [sys.executable, str(DOCS / "build.py"), str(tmp_path)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")

    html = tmp_path / "html"
    pages = {path: Page(path) for path in html.rglob("*.html")}
    written = [path for path in DOCS.rglob("*.md") if "_build" not in path.parts]
    assert {html / path.relative_to(DOCS).with_suffix(".html") for path in written} <= set(pages)
    for path, page in pages.items():
        for address in page.loaded:
            assert re.fullmatch(r"#.*|[\w./-]+(\?v=\w+)?", address), (path, address)
            assert (path.parent / re.split("[?#]", address)[0]).exists(), (path, address)
        for link in page.links:
            if not re.match("[a-z]+:", link):
                place, _, anchor = link.partition("#")
                target = (path.parent / place).resolve() if place else path
                assert target.exists(), (path, link)
                assert not anchor or target not in pages or anchor in pages[target].anchors, (path, link)
    for path in html.rglob("*.css"):
        assert re.findall(r"@import|url\(\s*[\"']?(?!data:|#)[a-z]*:?//", path.read_text(encoding="utf-8")) == [], path

    manual = {path.name for path in (tmp_path / "man/man1").iterdir()}
    assert manual == {"ledger.1", *(f"ledger-{name}.1" for name in get_group(app).commands)}
    assert (tmp_path / "man/man1/ledger-advance.1").read_text().count(r"\-\-dry\-run") >= 2


def test_every_command_and_option_is_in_the_reference() -> None:
    pages = {page.title: page.text for page in generate.command_pages()}
    assert set(pages) == {"ledger", *(f"ledger {name}" for names in GROUPS.values() for name in names)}
    for title, text in pages.items():
        commands = [title, *re.findall(r"^### (ledger .+)$", text, re.MULTILINE)]
        for command in commands:
            shown = CliRunner().invoke(app, [*command.split()[1:], "--help"], terminal_width=200).output
            _, _, listed = shown.partition("Options:\n")
            options = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", listed, re.MULTILINE)
            assert options, command
            for option in options:
                assert re.search(rf"^:::{{option}} .*{option}\b", text, re.MULTILINE), (command, option)
        assert "Example" in text or commands[1:] or title == "ledger"


def test_every_key_is_in_the_table_of_values() -> None:
    pages = (prose(DOCS / "configuration.md"), prose(DOCS / "reference/configuration-types.md"))
    explained = {key for text in pages for key in re.findall(r"^\| `([\w.]+)` \| `.*?` \|", text, re.MULTILINE)}
    table = dict(re.findall(r"^\| `([\w.]+)` \| (.+) \|$", generate.configuration_table(), re.MULTILINE))
    assert explained == set(table)
    assert table["engine.workers"] == "whole number from 1 up to 4,096, or `null`"
    assert table["states.compressed.parameters.tile"] == "`frame`, `row`"


def test_a_page_of_a_command_that_is_gone_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "FOLDER", tmp_path / "generated")
    generate.write_pages()
    gone = tmp_path / "generated/ledger-gone.md"
    gone.write_text("# ledger gone\n")
    kept = (tmp_path / "generated/ledger-advance.md").stat()
    generate.write_pages()
    assert not gone.exists()
    assert (tmp_path / "generated/ledger-advance.md").stat() == kept


def test_keys_that_the_configuration_leaves_out_have_the_defaults_that_the_page_names() -> None:
    text = prose(DOCS / "reference/configuration-types.md")
    named = dict(re.findall(r"^\| `states\.synced\.parameters\.(\w+)` \| `(.*?)` \|", text, re.MULTILINE))
    assert named
    for key, default in named.items():
        value = getattr(synced.Parameters(), key)
        assert yaml.safe_load(default) == (list(value) if isinstance(value, tuple) else value), key
