"""Writes the pages of the reference that are made from the program: its commands, and the values of its configuration.

Sphinx calls :func:`write_pages` before it reads any page (docs/conf.py). Git ignores docs/_generated, where they lie.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from pydantic import TypeAdapter
from typer.main import get_command

import ledger.cli  # noqa: F401  registers the commands
from ledger.cli.common import app
from ledger.cli.groups import GROUPS
from ledger.config.model import Config
from ledger.config.read import packaged_config, read_config
from ledger.config.stages import load_stages

FOLDER = Path(__file__).with_name("_generated")

#: Types of values, and limits, in words.
_TYPES = {
    "path": "path",
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
    "null": "`null`",
}
_LIMITS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to"}

#: Exit statuses, as docs/design.md has them in full.
_STATUSES = """\
0
: Done.

1
: Something failed, the gate is closed, or an audit found something.

2
: The command, what it names, or the configuration is wrong.

3
: A bug.

75
: Another run holds the night, or another process writes to the database.

129, 130, 143
: Stopped in order by a signal; the same command continues.
"""

_FILES = """\
--config FILE, $LEDGER_CONFIG, ./config.yaml, ~/.config/ledger/config.yaml, /etc/ledger/config.yaml
: The configuration is the first of these that exists, or else the default that comes with the package.
"""

_ENVIRONMENT = """\
LEDGER_CONFIG
: The configuration.

LEDGER_SMTP_PASSWORD
: The password of `mail.smtp.user`.

LEDGER_KEY, LEDGER_BLOCK__KEY
: Any key of the configuration, in capitals, with two underscores between levels.
"""


@dataclass(frozen=True)
class Page:
    """A page of one command, and of the commands below it.

    Attributes
    ----------
    name : str
        Of the page and of the manual page: ``ledger-advance``.
    title : str
        What is typed: ``ledger advance``.
    summary : str
        One sentence.
    text : str
        The page, in MyST.
    """

    name: str
    title: str
    summary: str
    text: str


def command_pages() -> list[Page]:
    """Return a page for the program, and one for each of its commands."""
    root = get_command(app)
    return [_program(root), *(_page(f"ledger {name}", command) for name, command in root.commands.items())]


def commands_by_group() -> str:
    """Return tables of all commands, in the groups that ``ledger --help`` shows, and the tree of their pages."""
    pages = {page.title.removeprefix("ledger "): page for page in command_pages()}
    lines = []
    for group, names in GROUPS.items():
        lines += [f"## {group}\n", "| command | does |", "|---|---|"]
        lines += [f"| {{doc}}`{n} </_generated/{pages[n].name}>` | {_cell(pages[n].summary)} |" for n in names]
        lines.append("")
    entries = [f"/_generated/{page.name}" for page in pages.values()]
    return "\n".join([*lines, "```{toctree}", ":hidden:", "", *entries, "```", ""])


def configuration_table() -> str:
    """Return a table of all keys and of what each may be, from the models that check them."""
    found = dict(_keys(Config.model_json_schema()))
    config = read_config(packaged_config(), {})
    for state, stage in load_stages(config).items():
        if stage.params is not None:
            given = config.states[state].parameters
            prefix = given if isinstance(given, str) else f"states.{state}.parameters"
            found |= _keys(TypeAdapter(type(stage.params)).json_schema(), f"{prefix}.")
    rows = [f"| `{path}` | {_cell(_allowed(schema))} |" for path, schema in found.items()]
    return "\n".join(["| key | may be |", "|---|---|", *rows, ""])


def write_pages() -> None:
    """Write all pages, and remove those of commands that are gone. What has not changed is left as it is."""
    FOLDER.mkdir(exist_ok=True)
    wanted = {f"{page.name}.md": page.text for page in command_pages()}
    wanted |= {"commands.txt": commands_by_group(), "configuration.txt": configuration_table()}
    for path in FOLDER.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


# commands


def _program(root: Any) -> Page:
    lists = []
    for group, names in GROUPS.items():
        lists.append(f"### {group}\n")
        lists += [f"{{doc}}`ledger {n} <ledger-{n}>`\n: {_summary(root.commands[n])}.\n" for n in names]
    parts = {
        "Synopsis": "`ledger [--config FILE] COMMAND [OPTIONS] [ARGUMENTS]`",
        "Description": _prose(root.help),
        "Commands": "\n".join(lists),
        "Options": _parameters("ledger", root, "option"),
        "Files": _FILES,
        "Environment": _ENVIRONMENT,
        "Exit status": _STATUSES,
    }
    return Page("ledger", "ledger", _summary(root), _sections("ledger", parts))


def _page(title: str, command: Any) -> Page:
    if below := getattr(command, "commands", {}):
        inner = {f"{title} {name}": _parts(f"{title} {name}", one).values() for name, one in below.items()}
        texts = [f"### {name}\n\n" + "\n\n".join(filter(None, texts)) for name, texts in inner.items()]
        parts = {"Description": _prose(command.help), "Commands": "\n\n".join(texts)}
    else:
        parts = _parts(title, command)
    parts["See also"] = "{doc}`ledger(1) <ledger>`, which says what the exit statuses mean"
    return Page(title.replace(" ", "-"), title, _summary(command), _sections(title, parts))


def _parts(title: str, command: Any) -> dict[str, str]:
    match = re.fullmatch(r"Example(?:, ([^:]+))?: (.*)", command.epilog or "")
    if match is None:
        raise ValueError(f"{title}: the epilog is {command.epilog!r}, expected Example: and a command")
    before, example = match.groups()
    shown = f"{before.capitalize()}:\n\n```text\n{example}\n```" if before else f"```console\n$ {example}\n```"
    return {
        "Synopsis": _synopsis(title, command),
        "Description": _prose(command.help),
        "Arguments": _parameters(title, command, "argument"),
        "Options": _parameters(title, command, "option"),
        "Example": shown,
    }


def _sections(title: str, parts: Mapping[str, str]) -> str:
    return "\n".join([f"# {title}\n", *(f"## {name}\n\n{text}\n" for name, text in parts.items() if text)])


def _summary(command: Any) -> str:
    """Return the first sentence of a command's help."""
    return " ".join(command.help.split("\n\n")[0].split()).split(". ")[0].removesuffix(".")


def _prose(text: str) -> str:
    """Return a help text as paragraphs: spans of code as they are, everything else without any markup."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else re.sub(r"([*_<\[{\\])", r"\\\1", piece) for piece in pieces)


def _synopsis(title: str, command: Any) -> str:
    arguments = _of_kind(command, "argument")
    words = [one.metavar if one.required or "[" in one.metavar else f"[{one.metavar}]" for one in arguments]
    return f"`{' '.join([title, '[OPTIONS]', *words])}`"


def _of_kind(command: Any, kind: str) -> list[Any]:
    context = typer.Context(command, help_option_names=["-h", "--help"])
    return [one for one in command.get_params(context) if one.param_type_name == kind]


def _parameters(title: str, command: Any, kind: str) -> str:
    """Return the arguments or the options of a command; options are objects that other pages can refer to."""
    context = typer.Context(command)
    entries = []
    for one in _of_kind(command, kind):
        names, text = one.get_help_record(context)
        text = _prose(text.removesuffix("[required]").strip())
        entries.append(f"{one.metavar}\n: {text}" if kind == "argument" else f":::{{option}} {names}\n{text}\n:::")
    before = [f":::{{program}} {title}\n:::"] if entries and kind == "option" else []
    return "\n\n".join([*before, *entries])


# configuration


def _keys(schema: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the dotted path of each key, and what the schema says of it; those of states are of their stages."""
    definitions = schema.get("$defs", {})

    def walk(block: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for key, given in block["properties"].items():
            choices = [_named(one, definitions) for one in given.get("anyOf", [given])]
            inner = next((one for one in choices if "properties" in one), None)
            if inner is not None:
                yield from walk(inner, f"{path}{key}.")
            elif f"{path}{key}" not in ("states", "header", "source"):
                yield f"{path}{key}", {**given, "anyOf": choices}

    yield from walk(schema, prefix)


def _named(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema with the definition that it refers to in its place."""
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    found = definitions[name] if name else schema
    items = found.get("items")
    return {**found, "items": _named(items, definitions)} if items else found


def _allowed(schema: Mapping[str, Any]) -> str:
    """Say what a value may be."""
    if "anyOf" in schema:
        return ", or ".join(_allowed(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of: {_allowed(schema['items'])}"
    if "properties" in schema:
        return "mapping of " + ", ".join(f"`{key}`" for key in schema["properties"])
    limits = [f"{word} {schema[name]:,}" for name, word in _LIMITS.items() if name in schema]
    limits += [f"that matches `{schema['pattern']}`"] if "pattern" in schema else []
    return " ".join([_TYPES.get(schema.get("format", ""), _TYPES[schema["type"]]), *limits]).strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
