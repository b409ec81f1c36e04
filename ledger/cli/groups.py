"""The commands as the program shows them: in groups, and each summary whole. ``--config`` is taken anywhere."""

from collections.abc import Iterator
from typing import Any

import typer.core

#: Commands by what people come for.
GROUPS = {
    "The way of a night": ("advance", "catch-up", "rollback", "restore", "scan"),
    "Look": ("status", "runs", "watch", "stop", "summary", "headers", "history", "explain", "sql"),
    "The archive": ("manifest", "receipt", "verify", "recall", "prune"),
    "What a person decides": ("quarantine", "outside", "exclude", "include", "ids"),
    "Care": ("init", "config", "schedule", "doctor", "notify", "metrics", "audit", "backup", "rebuild", "relocate"),
    "Try": ("demo", "simulate"),
}

_CONFIG = "--config"


class Group(typer.core.TyperGroup):
    """Commands below one: each summary whole."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  as the library calls it
        """Write a section."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(command)) for name, command in self.commands.items()])


class Commands(typer.core.TyperGroup):
    """The commands of the program."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take ``--config`` wherever it stands."""
        return super().parse_args(ctx, config_first(args))

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  as the library calls it
        """Write a section for each group."""
        width = max(map(len, self.commands))
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{width}}", _summary(self.commands[name])) for name in names])


def config_first(words: list[str]) -> list[str]:
    """Return the words of a command line with ``--config`` and its value in front, as the program's own option."""
    end = words.index("--") if "--" in words else len(words)
    moved: list[str] = []
    others: list[str] = []
    rest: Iterator[str] = iter(words[:end])
    for word in rest:
        if word == _CONFIG:
            moved += [word, *(value for value in [next(rest, None)] if value is not None)]
        else:
            (moved if word.startswith(f"{_CONFIG}=") else others).append(word)
    return [*moved, *others, *words[end:]]


def _summary(command: Any) -> str:
    """Return the first sentence of a command's help."""
    paragraph = " ".join((command.help or "").split("\n\n")[0].split())
    return paragraph.split(". ")[0].removesuffix(".")
