"""A night, and where its ledger is made anew."""

from pathlib import Path

import pytest

from tests.world import World


@pytest.fixture
def night(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.02, scenario=("pdi", "untriggered"))
    return sqlite_world


@pytest.fixture
def new_url(tmp_path: Path) -> str:
    """Return a database that is not there, on SQLite: both kinds are made in the same way."""
    return f"sqlite:///{tmp_path / 'new.db'}"
