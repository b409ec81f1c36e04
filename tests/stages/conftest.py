"""Nights of timing files, and random numbers that are the same in each test."""

import numpy as np
import pytest

from tests.stages.nights import Night


@pytest.fixture
def night(tmp_path):
    return Night(tmp_path)


@pytest.fixture
def rng():
    return np.random.default_rng(1)
