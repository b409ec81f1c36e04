"""A small night for whole runs, made once."""

import pytest

from ledger.simulation.night import simulate_night
from tests.world import DATE


@pytest.fixture(scope="session")
def nights(tmp_path_factory):
    """Return a root with one night: a few raw files of one camera, and a few of two."""
    root = tmp_path_factory.mktemp("nights")
    simulate_night(root, DATE, scale=0.02, shape=(8, 8), scenario=("onecamera",))
    return root
