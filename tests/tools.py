"""What several tests need of the machine that they run on."""

import os
import shutil

import pytest

PACKAGES = {"fpack": "libcfitsio-bin", "funpack": "libcfitsio-bin", "fitsverify": "fitsverify"}


def need(*tools: str) -> None:
    """Skip the test where one of `tools` is not on PATH; fail it in CI, where all must be."""
    for tool in tools:
        if shutil.which(tool) is None:
            package = f" (Debian: {PACKAGES[tool]})" if tool in PACKAGES else ""
            outcome = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
            outcome(f"{tool} not found{package}")
