"""A world that tells somebody of trouble, and what it told."""

import pytest

from tests.world import World


@pytest.fixture
def told(sqlite_world: World) -> World:
    """A world with a night, and a program that writes what it is told to a file."""
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    program = sqlite_world.folder / "tell"
    program.write_text(f"#!/bin/sh\ncat >> {sqlite_world.folder}/alerts\n")
    program.chmod(0o755)
    sqlite_world.data["notify"]["command"] = [str(program)]
    return sqlite_world


def alerts(world: World) -> str:
    """Return what was told since this was asked last."""
    path = world.folder / "alerts"
    text = path.read_text() if path.exists() else ""
    path.unlink(missing_ok=True)
    return text
