"""How the program shows its commands, and takes ``--config`` wherever it stands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from ledger.cli.common import app
from ledger.cli.groups import GROUPS, config_first
from tests.world import World


def test_each_command_is_in_one_group() -> None:
    names = [name for group in GROUPS.values() for name in group]
    assert sorted(names) == sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_no_summary_is_cut(ledger) -> None:
    status, out, _ = ledger("--help")
    assert status == 0
    assert "..." not in out.split("The way of a night")[1]
    assert all(title in out for title in GROUPS)
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("group", ["quarantine", "outside", "ids"])
def test_no_summary_in_a_group_is_cut(ledger, group) -> None:
    status, out, _ = ledger(group, "-h")
    assert status == 0
    assert "..." not in out.split("Commands:")[1]
    assert f"Example: ledger {group} " in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("words", [["-h"], ["advance", "-h"], ["quarantine", "-h"], ["quarantine", "list", "-h"]])
def test_help_has_a_short_name(ledger, words) -> None:
    status, out, _ = ledger(*words)
    assert status == 0
    assert out.startswith("Usage: ")


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["status", "--config", "a"], ["--config", "a", "status"]),
        (["status", "--config=a", "--json"], ["--config=a", "status", "--json"]),
        (["quarantine", "list", "--config", "a"], ["--config", "a", "quarantine", "list"]),
        (["--config", "a", "status"], ["--config", "a", "status"]),
        (["explain", "--", "--config", "a"], ["explain", "--", "--config", "a"]),
        (["status", "--config"], ["--config", "status"]),
    ],
)
def test_the_configuration_may_be_named_after_the_command(given, taken) -> None:
    assert config_first(given) == taken


def test_a_configuration_after_the_command_is_the_one_that_is_read(sqlite_world: World, ledger) -> None:
    other = sqlite_world.folder / "other.yaml"
    other.write_text(sqlite_world.config_path.read_text() + "nonsense: 1\n")
    status, _, err = ledger("status", "--config", str(other))
    assert status == 2
    assert "other.yaml" in err


def test_a_shell_completes_commands_and_options() -> None:
    program = Path(sys.executable).parent / "ledger"
    for typed, expected in (("ledger ad", {"advance"}), ("ledger advance --da", {"--date"})):
        words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
        environment = os.environ | words | {"_LEDGER_COMPLETE": "complete_bash"}
        done = subprocess.run([program], env=environment, capture_output=True, text=True, check=True)
        assert set(done.stdout.split()) == expected
