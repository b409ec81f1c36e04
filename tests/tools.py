"""What several tests need of the machine that they run on."""

import os
import shutil
from typing import NoReturn

import pytest

PACKAGES = {
    "fpack": "libcfitsio-bin",
    "funpack": "libcfitsio-bin",
    "fitsverify": "fitsverify",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "rsync": "rsync",
}


def missing(what: str) -> NoReturn:
    """Skip the test, naming what is missing; fail it in CI, where nothing may be."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing: {what}")
    pytest.skip(f"missing: {what}")


def need(*tools: str) -> None:
    """Skip the test where one of `tools` is not on PATH; fail it in CI."""
    for tool in tools:
        if shutil.which(tool) is None:
            missing(tool + (f" (Debian: {PACKAGES[tool]})" if tool in PACKAGES else ""))
