"""Nights in the states that a deep audit is tried on."""

import pytest

from tests.ledger.audit.damage import standing
from tests.world import World


@pytest.fixture
def manifested(sqlite_world: World) -> World:
    return standing(sqlite_world, "manifested")


@pytest.fixture
def few(sqlite_world: World) -> World:
    """Return a manifested night of two products, which have sums."""
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    sqlite_world.bring()
    return sqlite_world


@pytest.fixture
def compressed(sqlite_world: World) -> World:
    return standing(sqlite_world, "compressed")


@pytest.fixture
def fixed(sqlite_world: World) -> World:
    return standing(sqlite_world, "fixed")
