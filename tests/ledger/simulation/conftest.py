"""A simulated night of all blocks and faults, made once."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from ledger.simulation.night import Truth, simulate_night
from tests.ledger.simulation.truths import DATE, acquired_us, tables, timing


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="session")
def truth(root) -> Truth:
    return simulate_night(root, DATE)


@pytest.fixture(scope="session")
def night(root, truth) -> Path:
    return root / DATE


@pytest.fixture(scope="session")
def trains(tmp_path_factory) -> dict[str, dict[int, list[tuple[np.ndarray, np.ndarray]]]]:
    """Return the hard trains: by target and camera, the times in each txt and the frames of the truth."""
    root = tmp_path_factory.mktemp("trains")
    truth = simulate_night(root, DATE, scenario=["trains"], shape=(1, 5))
    made: dict = {}
    for file, table in tables(truth):
        times_us = np.array(acquired_us(timing(root / DATE / file.path)))
        target = fits.getval(root / DATE / file.path, "OBJECT").strip()
        made.setdefault(target, {1: [], 2: []})[file.camera].append((times_us, table))
    return made
