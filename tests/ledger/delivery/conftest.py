"""Nights for the tests of what goes to the archive."""

import pytest

from tests.databases import make_database
from tests.kept import History
from tests.ledger.delivery.manifests import prepare
from tests.ledger.delivery.pair import Pair


@pytest.fixture
def listed(sqlite_world):
    """A world with two nights that are manifested."""
    return prepare(sqlite_world)


@pytest.fixture
def pair(request, world_home, sshd):
    made = Pair(world_home, make_database(request, world_home, "postgresql", "ledger_world"), sshd)
    made.here.simulate(scale=0.005, scenario=("pdi",))
    made.history = History(world_home, made.here.url, is_known=True)
    yield made
    made.close()


@pytest.fixture
def fetched(pair):
    with pair.history.step("fetched", closing=pair.close) as is_done:
        if not is_done:
            assert pair.here.advance().succeeded
            assert pair.fetch().succeeded
    return pair
